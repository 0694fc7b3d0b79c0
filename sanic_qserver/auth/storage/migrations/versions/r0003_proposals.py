"""Proposals, their versions and their comments."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "qserver_proposals",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("items", sa.JSON, nullable=False),
        sa.Column("verdicts", sa.JSON, nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("proposer", sa.String(255), nullable=False),
        sa.Column("proposer_user", sa.Text, nullable=False),
        sa.Column("user_group", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("changed_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("decided_by", sa.Text),
        sa.Column("decided_at", sa.Double),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("item_uids", sa.JSON, nullable=False),
        sa.Column("pos", sa.JSON),
        sa.Column("attempt", sa.String(36), nullable=False),
        sa.Column("claimed_until", sa.Double, nullable=False),
    )
    op.create_index("ix_qserver_proposals_state", "qserver_proposals", ["state"])
    op.create_index("ix_qserver_proposals_proposer", "qserver_proposals", ["provider", "proposer"])
    op.create_table(
        "qserver_proposal_versions",
        sa.Column(
            "proposal_id", sa.String(36), sa.ForeignKey("qserver_proposals.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("items", sa.JSON, nullable=False),
        sa.Column("changed_at", sa.Double, nullable=False),
    )
    op.create_table(
        "qserver_proposal_comments",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "proposal_id", sa.String(36), sa.ForeignKey("qserver_proposals.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("written_at", sa.Double, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_index("ix_qserver_proposal_comments_proposal_id", "qserver_proposal_comments", ["proposal_id"])


def downgrade() -> None:
    """Drop them."""
    for name in ("qserver_proposal_comments", "qserver_proposal_versions", "qserver_proposals"):
        op.drop_table(name)
