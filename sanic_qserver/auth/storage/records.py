"""The records of the store. They import no SQLAlchemy, because a server without logins needs the types too."""

from msgspec import Struct

from sanic_qserver.structs.identity import Principal

INHERIT = "inherit"


class Known(Struct, frozen=True, kw_only=True):
    """An identity with its number in the database."""

    id: int
    principal: Principal


class KeyRecord(Struct, frozen=True, kw_only=True):
    """A key as it is stored. `scopes` is ("inherit",) or a list."""

    hash: str
    first_eight: str
    scopes: tuple[str, ...]
    note: str | None
    created_at: float
    expires_at: float | None
