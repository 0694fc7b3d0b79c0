"""Principals, identities, sessions, API keys, one-time things, attempts, epoch."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "qserver_principals",
        sa.Column("uuid", sa.String(36), primary_key=True),
        sa.Column("is_service", sa.Boolean, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("latest_activity", sa.Double),
    )
    op.create_table(
        "qserver_identities",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "principal_uuid",
            sa.String(36),
            sa.ForeignKey("qserver_principals.uuid", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("displayed_name", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("groups", sa.JSON, nullable=False),
        sa.Column("claims", sa.JSON, nullable=False),
        sa.Column("latest_login", sa.Double),
        sa.UniqueConstraint("provider", "name"),
    )
    op.create_index("ix_qserver_identities_principal_uuid", "qserver_identities", ["principal_uuid"])
    _credentials()
    op.create_table(
        "qserver_one_time",
        sa.Column("id", sa.String(80), primary_key=True),
        sa.Column("value", sa.JSON, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
    op.create_index("ix_qserver_one_time_expires_at", "qserver_one_time", ["expires_at"])
    op.create_table(
        "qserver_attempts",
        sa.Column("id", sa.String(80), primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("failed_at", sa.Double, nullable=False),
    )
    epoch = op.create_table(
        "qserver_epoch", sa.Column("id", sa.Integer, primary_key=True), sa.Column("value", sa.Integer, nullable=False)
    )
    op.bulk_insert(epoch, [{"id": 1, "value": 0}])


def _credentials() -> None:
    op.create_table(
        "qserver_sessions",
        sa.Column("uuid", sa.String(36), primary_key=True),
        sa.Column(
            "identity_id", sa.Integer, sa.ForeignKey("qserver_identities.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("refreshed_at", sa.Double, nullable=False),
        sa.Column("revoked_at", sa.Double),
    )
    op.create_index("ix_qserver_sessions_identity_id", "qserver_sessions", ["identity_id"])
    op.create_index("ix_qserver_sessions_expires_at", "qserver_sessions", ["expires_at"])
    op.create_table(
        "qserver_api_keys",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("first_eight", sa.String(8), nullable=False),
        sa.Column(
            "identity_id", sa.Integer, sa.ForeignKey("qserver_identities.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("note", sa.Text),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double),
        sa.Column("latest_activity", sa.Double),
    )
    op.create_index("ix_qserver_api_keys_identity_id", "qserver_api_keys", ["identity_id"])


def downgrade() -> None:
    """Drop the tables, and with them all sessions and keys."""
    for table in (
        "qserver_epoch",
        "qserver_attempts",
        "qserver_one_time",
        "qserver_api_keys",
        "qserver_sessions",
        "qserver_identities",
        "qserver_principals",
    ):
        op.drop_table(table)
