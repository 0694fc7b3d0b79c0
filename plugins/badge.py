"""A site login: lets people in by badge number, `Authorization: Badge 4711`.

In `config.toml`:

    [extensions]
    modules = ["badge"]
    [extensions.options.badge]
    roles = ["user"]
    [extensions.options.badge.people]
    4711 = "Ada Lovelace"
"""

import msgspec

from sanic_qserver.extension_api import Credential, ExtensionHost, NotAuthenticated, Principal


class Options(msgspec.Struct, frozen=True):
    """Names by badge number, and the roles that all of them hold."""

    people: dict[str, str]
    roles: tuple[str, ...] = ("observer",)


class BadgeProvider:
    """Recognises badges."""

    sees_only_value = True  # The answer depends on nothing but the badge: it may be used again for a second.

    def __init__(self, options: Options) -> None:
        self.options = options

    async def identify(self, credential: Credential) -> Principal | None:
        """Who holds the badge; None for other credentials. Raises NotAuthenticated for an unknown badge."""
        if credential.scheme != "badge":
            return None
        name = self.options.people.get(credential.value)
        if name is None:
            raise NotAuthenticated("Unknown badge")
        return Principal(name=name, provider="badge", roles=self.options.roles)


def register(host: ExtensionHost) -> None:
    """Add the login."""
    host.add_auth_provider(BadgeProvider(host.options_as(Options)))
