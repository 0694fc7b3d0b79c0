"""Where an access policy comes from: a hot-reloaded file, or the configuration itself."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sanic_qserver.policy.access.permissions import Permissions
from sanic_qserver.policy.access.roles import BUILT_IN
from sanic_qserver.policy.access.windows import Clock
from sanic_qserver.policy.files.documents import Document
from sanic_qserver.policy.files.hot_reload import ReloadedFile
from sanic_qserver.structs.identity import Access, Principal


class FilePermissions:
    """The access policy of a file that is hot reloaded. Raises ConfigError at the start.

    `check` may refuse a new policy, at the start and later, by raising ConfigError.
    """

    def __init__(
        self,
        file: Path,
        warnings: list[str],
        clock: Clock | None = None,
        check: Callable[[Permissions], None] = lambda _: None,
        built_in: Mapping[str, tuple[str, ...]] = BUILT_IN,
        folding: frozenset[str] = frozenset(),
    ) -> None:
        def parse(document: Document) -> Permissions:
            permissions = Permissions(document, built_in, folding)
            check(permissions)
            return permissions

        self.watched = ReloadedFile(file, parse, warnings)
        self.clock = clock or Clock()

    @property
    def version(self) -> int:
        """Grows with each change of the file."""
        return self.watched.version

    @property
    def permissions(self) -> Permissions:
        """What is in force now."""
        return self.watched.current

    def access_of(self, principal: Principal) -> Access:
        """What the principal may do now. Raises NotAuthenticated for one who has no access."""
        return self.watched.current.access_of(principal, self.clock)


class ConfigPermissions:
    """The access policy of `[policy.access]` in the configuration: the same format as the file. It never changes."""

    def __init__(
        self,
        values: Mapping[str, Any],
        source: str,
        clock: Clock | None = None,
        built_in: Mapping[str, tuple[str, ...]] = BUILT_IN,
        folding: frozenset[str] = frozenset(),
    ) -> None:
        self.version = 1
        self.watched = None
        where = f"{source or 'configuration'}: policy.access"
        self.permissions = Permissions(Document(source=where, text="", values=dict(values)), built_in, folding)
        self.clock = clock or Clock()

    def access_of(self, principal: Principal) -> Access:
        """What the principal may do now. Raises NotAuthenticated for one who has no access."""
        return self.permissions.access_of(principal, self.clock)
