"""The audit table. Servers before these migrations made it themselves: then it is there already."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    if sa.inspect(op.get_bind()).has_table("qserver_audit"):
        return
    op.create_table(
        "qserver_audit",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Float, nullable=False, index=True),
        sa.Column("outcome", sa.String(10), nullable=False),
        sa.Column("endpoint", sa.String(200), nullable=False),
        sa.Column("user", sa.String(200), nullable=False, index=True),
        sa.Column("provider", sa.String(100), nullable=False),
        sa.Column("submitted_as", sa.Text, nullable=False),
        sa.Column("address", sa.String(100), nullable=False),
        sa.Column("key_id", sa.String(20), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("code", sa.String(60), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("request_id", sa.String(130), nullable=False),
        sa.Column("item_uids", sa.Text, nullable=False),
        sa.Column("more", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("qserver_audit")
