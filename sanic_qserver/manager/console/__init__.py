"""The console of RE Manager, as lines and as text."""
