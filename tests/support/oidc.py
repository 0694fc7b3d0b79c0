"""A real OpenID provider for tests, in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from ports import free_port

_PROVIDER = """
import sys, warnings
warnings.simplefilter("ignore")
from oidc_provider_mock import User, run_server_in_thread
users = [User(sub="jane", claims={"preferred_username": "jane", "name": "Jane Doe", "email": "jane@lab.example",
                                  "groups": ["operators"]})]
with run_server_in_thread(port=int(sys.argv[1]), require_nonce=True, user_claims=users):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """The address of a provider with discovery."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-c", _PROVIDER, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout
        assert process.stdin
        assert b"ready" in process.stdout.readline()
        yield f"http://localhost:{port}"
        process.stdin.close()


def oidc(issuer: str, **more: Any) -> dict[str, Any]:
    """The settings of the provider."""
    claims = {"name": "sub"}
    return {"kind": "oidc", "name": "sso", "issuer": issuer, "client_id": "us", "client_secret": "s",
            "claims": claims, **more}  # fmt: skip
