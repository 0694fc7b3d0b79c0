"""The tables, as SQLAlchemy sees them. Migrations make them; instants are POSIX times in seconds.

The names have a prefix, so that the database of the server that this one replaces can be used as it is.
"""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

VERSION_TABLE = "qserver_alembic_version"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

principals = Table(
    "qserver_principals",
    metadata,
    Column("uuid", String(36), primary_key=True),
    Column("is_service", Boolean, nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("latest_activity", Double),
)

identities = Table(
    "qserver_identities",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("principal_uuid", String(36), ForeignKey("qserver_principals.uuid", ondelete="CASCADE"), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("folded_name", String(255), nullable=False, server_default=""),
    Column("displayed_name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("groups", JSON, nullable=False),
    Column("claims", JSON, nullable=False),
    Column("latest_login", Double),
    UniqueConstraint("provider", "name"),
    Index("ix_qserver_identities_principal_uuid", "principal_uuid"),
    Index("ix_qserver_identities_folded_name", "provider", "folded_name"),
)

sessions = Table(
    "qserver_sessions",
    metadata,
    Column("uuid", String(36), primary_key=True),
    Column("identity_id", Integer, ForeignKey("qserver_identities.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("refreshed_at", Double, nullable=False),
    Column("revoked_at", Double),
    Index("ix_qserver_sessions_identity_id", "identity_id"),
    Index("ix_qserver_sessions_expires_at", "expires_at"),
)

api_keys = Table(
    "qserver_api_keys",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("first_eight", String(8), nullable=False),
    Column("identity_id", Integer, ForeignKey("qserver_identities.id", ondelete="CASCADE"), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("note", Text),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("latest_activity", Double),
    Index("ix_qserver_api_keys_identity_id", "identity_id"),
)

# Things that are used once and soon: tickets, pending logins of browsers and terminals. The id is a hash.
one_time = Table(
    "qserver_one_time",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("value", JSON, nullable=False),
    Column("expires_at", Double, nullable=False),
    Index("ix_qserver_one_time_expires_at", "expires_at"),
)

attempts = Table(
    "qserver_attempts",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("failed_at", Double, nullable=False),
)

# One row. Grows in the transaction of each revocation: workers that see it change ask the database anew.
epoch = Table(
    "qserver_epoch",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("value", Integer, nullable=False),
)

# What is so for this database, by name. Migrations write it, so that servers that were there stay as they were.
facts = Table("qserver_facts", metadata, Column("name", String(64), primary_key=True))

proposals = Table(
    "qserver_proposals",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("title", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("items", JSON, nullable=False),
    Column("verdicts", JSON, nullable=False),
    Column("provider", String(64), nullable=False),
    Column("proposer", String(255), nullable=False),
    Column("proposer_user", Text, nullable=False),
    Column("user_group", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("changed_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("decided_by", Text),
    Column("decided_at", Double),
    Column("reason", Text, nullable=False),
    Column("item_uids", JSON, nullable=False),
    # The approval under way: where the items go, its own id, and until when its worker answers for it.
    Column("pos", JSON),
    Column("attempt", String(36), nullable=False),
    Column("claimed_until", Double, nullable=False),
    Index("ix_qserver_proposals_state", "state"),
    Index("ix_qserver_proposals_proposer", "provider", "proposer"),
)

proposal_versions = Table(
    "qserver_proposal_versions",
    metadata,
    Column("proposal_id", String(36), ForeignKey("qserver_proposals.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("title", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("items", JSON, nullable=False),
    Column("changed_at", Double, nullable=False),
)

proposal_comments = Table(
    "qserver_proposal_comments",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("proposal_id", String(36), ForeignKey("qserver_proposals.id", ondelete="CASCADE"), nullable=False),
    Column("author", Text, nullable=False),
    Column("written_at", Double, nullable=False),
    Column("text", Text, nullable=False),
    Index("ix_qserver_proposal_comments_proposal_id", "proposal_id"),
)
