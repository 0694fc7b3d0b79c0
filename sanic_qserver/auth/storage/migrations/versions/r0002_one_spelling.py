"""Logins without differences of case and width, and what was so before a default changed."""

import sqlalchemy as sa
from alembic import op

from sanic_qserver.structs.canonical import folded

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the folded names, and remember that the database is of a server that was there before."""
    facts = op.create_table("qserver_facts", sa.Column("name", sa.String(64), primary_key=True))
    with op.batch_alter_table("qserver_identities") as table:
        table.add_column(sa.Column("folded_name", sa.String(255), nullable=False, server_default=""))
    op.create_index("ix_qserver_identities_folded_name", "qserver_identities", ["provider", "folded_name"])
    connection = op.get_bind()
    identities = sa.table("qserver_identities", sa.column("id"), sa.column("name"), sa.column("folded_name"))
    for row in connection.execute(sa.select(identities.c.id, identities.c.name)).all():
        connection.execute(
            sa.update(identities).where(identities.c.id == row.id).values(folded_name=folded(row.name)[:255])
        )
    if connection.execute(sa.text("SELECT count(*) FROM qserver_principals")).scalar():
        op.bulk_insert(facts, [{"name": "oidc_names_by_preferred_username"}])


def downgrade() -> None:
    """Drop both."""
    op.drop_index("ix_qserver_identities_folded_name", "qserver_identities")
    with op.batch_alter_table("qserver_identities") as table:
        table.drop_column("folded_name")
    op.drop_table("qserver_facts")
