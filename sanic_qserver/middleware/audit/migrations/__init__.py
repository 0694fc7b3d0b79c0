"""Alembic's migrations of the audit table. They ship inside the package and run when it is first written."""
