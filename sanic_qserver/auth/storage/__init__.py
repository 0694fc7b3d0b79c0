"""The database of logins."""
