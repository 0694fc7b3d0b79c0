"""What tests of logins share: cheap hashes, a policy, a configuration with a database of its own."""

from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher, Type

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, type=Type.ID)
PASSWORDS = {"alice": "wonderland-1", "bob": "builder-2", "olga": "observer-3", "carol": "nobody-4"}
SECRET_KEY = "a-secret-key-of-the-tests-0123456789"

POLICY = """
users:
  alice: {roles: [admin, expert]}
  bob: {roles: user}
  olga: {roles: observer}
"""


def dictionary(**users: str) -> dict[str, Any]:
    return {
        "kind": "dictionary",
        "name": "toy",
        "users": {name: CHEAP.hash(password) for name, password in (users or PASSWORDS).items()},
    }


def settings(folder: Path, *providers: dict[str, Any], policy: str = POLICY, **auth: Any) -> dict[str, Any]:
    """Sections for `make_config`: these providers, an SQLite database, and who may do what."""
    file = folder / "permissions.yaml"
    if not file.exists():
        file.write_text(policy)
    return {
        "auth": {
            "single_user_api_key": "",
            "secret_keys": [SECRET_KEY],
            "providers": list(providers) or [dictionary()],
            **auth,
        },
        "database": {"url": f"sqlite:///{folder}/logins.sqlite"},
        "policy": {"permissions": str(file)},
    }


async def log_in(client: httpx.AsyncClient, name: str = "bob", provider: str = "toy", **more: Any) -> dict[str, Any]:
    """Log in, and let the client carry the access token."""
    form = {"username": name, "password": PASSWORDS.get(name, name)} | more
    response = await client.post(f"/api/auth/provider/{provider}/token", data=form, headers={"Authorization": ""})
    assert response.status_code == 200, response.text
    tokens: dict[str, Any] = response.json()
    client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    return tokens
