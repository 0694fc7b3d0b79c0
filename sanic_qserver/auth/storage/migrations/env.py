"""Runs migrations on the connection that `sanic_qserver.sql` hands over; never opens one by itself."""

from alembic import context

from sanic_qserver.auth.storage.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
