"""Login providers of custom modules, contained: one that fails refuses its own request only, and lets nobody in."""

import functools

from sanic_qserver.auth.providers.provider import AuthProvider
from sanic_qserver.middleware.hooks import Hook, limited
from sanic_qserver.structs.identity import Credential, Principal


class ContainedProvider:
    """Asks a provider of a module, for at most `limit_s` seconds. Raises ExtensionFailed (502) when it fails."""

    def __init__(self, module: str, provider: AuthProvider, limit_s: float) -> None:
        self.module = module
        self.provider = provider
        self.limit_s = limit_s
        self.kinds = getattr(provider, "kinds", None)
        self.sees_only_value = getattr(provider, "sees_only_value", False)
        self._hook = Hook(module, provider.identify)

    async def identify(self, credential: Credential) -> Principal | None:
        """Who sent this."""
        result = await limited(self._hook, self.limit_s, functools.partial(self.provider.identify, credential))
        if result is not None and not isinstance(result, Principal):
            raise self._hook.failed(f"returned {type(result).__name__}, not a Principal")
        return result
