"""The client of RE Manager."""
