"""Logins of a small site: users and argon2id hashes in the configuration."""

from sanic_qserver.auth.providers.passwords import HASH_PREFIX, Passwords, is_whole
from sanic_qserver.config.logins import Dictionary, DictionaryUser
from sanic_qserver.errors import ConfigError
from sanic_qserver.structs.identity import Principal


class DictionaryLogin:
    """Knows the users of one `[[auth.providers]]` section."""

    def __init__(self, config: Dictionary, passwords: Passwords) -> None:
        self.name = config.name
        self.title = config.title or config.name
        self._passwords = passwords
        self._users = {
            name: DictionaryUser(password=user) if isinstance(user, str) else user
            for name, user in config.users.items()
        }
        self.warnings: list[str] = []
        for name, user in self._users.items():
            if user.password.startswith(HASH_PREFIX) and not is_whole(user.password):
                self.warnings.append(
                    f"[[auth.providers]] {config.name}: the hash of '{name}' is an example, or cut off: nobody logs in "
                    "with it (sanic-qserver hash-password makes one)"
                )
            if not user.password:
                raise ConfigError(f"[[auth.providers]] {config.name}: the password of '{name}' is empty")

    async def login(self, username: str, password: str) -> Principal | None:
        """The user, or None for a wrong name or password: both take the same time."""
        user = self._users.get(username)
        if user is None or user.password.startswith(HASH_PREFIX):
            good = await self._passwords.verify(user.password if user else None, password)
        else:
            good = await self._passwords.verify_plain(user.password, password)
        if user is None or not good:
            return None
        return Principal(
            name=username,
            provider=self.name,
            displayed_name=user.displayed_name,
            email=user.email,
            groups=user.groups,
        )
