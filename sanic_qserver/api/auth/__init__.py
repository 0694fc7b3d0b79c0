"""The rows of `/auth/…`."""
