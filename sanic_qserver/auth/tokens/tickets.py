"""Tickets: a web page puts one into the URL of a websocket instead of a secret. Valid once, for half a minute."""

import msgspec

from sanic_qserver.auth.tokens.one_time import OneTime
from sanic_qserver.errors import NotAuthenticated
from sanic_qserver.structs.identity import Credential, CredentialKind, Principal


class Tickets:
    """Recognises tickets. They stand for the credential that asked for them, with its limits."""

    kinds = frozenset({CredentialKind.TICKET})

    def __init__(self, one_time: OneTime) -> None:
        self._one_time = one_time

    async def identify(self, credential: Credential) -> Principal | None:
        """Whose ticket this is. Raises NotAuthenticated for one that is spent, too old, or was never there."""
        if credential.kind is not CredentialKind.TICKET:
            return None
        kept = await self._one_time.take("ticket", credential.value)
        if kept is None:
            raise NotAuthenticated("This ticket is spent or too old")
        return msgspec.convert(kept, Principal)
