"""Alembic's migrations of the database of logins. They ship inside the package and run at start."""
