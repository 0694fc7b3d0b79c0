"""People for tests of policies: `Authorization: ApiKey person:alice` is alice, without a database."""

from sanic_qserver.structs.identity import Credential, CredentialKind, Principal


class People:
    """Recognises keys that begin with `person:`."""

    async def identify(self, credential: Credential) -> Principal | None:
        if credential.kind is not CredentialKind.API_KEY or not credential.value.startswith("person:"):
            return None
        name = credential.value.removeprefix("person:")
        return Principal(name=name, provider="test", key_id=name[:8], uuid=f"uuid-{name}")


def let_people_in(app) -> None:
    """Add them to a server that does not run yet, or does."""
    app.ctx.gate.providers.providers.append(People())


def as_(name: str) -> dict[str, str]:
    """The headers of a person."""
    return {"Authorization": f"ApiKey person:{name}"}
