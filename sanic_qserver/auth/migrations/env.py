"""Runs migrations on the connection that `auth.database` hands over; never opens one by itself."""

from alembic import context

from sanic_qserver.auth.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
