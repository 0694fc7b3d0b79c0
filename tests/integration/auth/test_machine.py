"""Logins by a reverse proxy's word, and by PAM."""

import os
import shutil
from pathlib import Path

import httpx
import pytest
from conftest import app_of
from logins import log_in, settings

POLICY = """
users:
  alice: {roles: [admin, expert]}
  pam-user: {roles: user}
groups:
  operators: {roles: user}
"""
PROXY = {
    "kind": "proxy",
    "name": "front",
    "addresses": ["127.0.0.1/32", "10.1.0.0/16"],
    "header": "X-Forwarded-User",
    "groups_header": "X-Forwarded-Groups",
    "certificate_header": "X-SSL-Client-S-DN",
    "email_header": "X-Forwarded-Email",
}


@pytest.fixture
def serve(sanic_client, make_config, folder):
    async def serve(*providers, **server):
        return await sanic_client(app_of(make_config(**settings(folder, *providers, policy=POLICY), server=server)))

    return serve


async def whoami(client, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.get("/api/auth/whoami", headers=headers)


async def test_whom_the_proxy_names_is_who_asks(serve):
    client = await serve(PROXY)
    alice = (await whoami(client, X_Forwarded_User="alice")).json()
    assert [(one["id"], one["provider"]) for one in alice["identities"]] == [("alice", "front")]
    other = (await whoami(client, X_Forwarded_User="jim", X_Forwarded_Groups="guests, operators")).json()
    assert other["roles"] == ["user"], "each request is its own: nothing is remembered of the one before"
    assert (await whoami(client)).status_code == 401
    by_certificate = await whoami(client, X_SSL_Client_S_DN="CN=alice,OU=staff,O=Lab")
    assert by_certificate.json()["identities"][0]["id"] == "alice"


async def test_a_header_from_elsewhere_means_nothing(serve):
    client = await serve({**PROXY, "addresses": ["10.1.0.0/16"]})
    assert (await whoami(client, X_Forwarded_User="alice")).status_code == 401
    forwarded = {"X_Forwarded_User": "alice", "X_Forwarded_For": "10.1.0.5", "X_Real_IP": "10.1.0.5"}
    assert (await whoami(client, **forwarded)).status_code == 401


async def test_the_forwarded_address_is_not_the_peer_even_behind_counted_proxies(serve):
    client = await serve({**PROXY, "addresses": ["10.1.0.0/16"]}, proxies_count=1)
    assert (await whoami(client, X_Forwarded_User="alice", X_Forwarded_For="10.1.0.5")).status_code == 401


async def test_a_header_that_comes_twice_is_refused(serve):
    client = await serve(PROXY)
    twice = [("X-Forwarded-User", "jim"), ("X-Forwarded-User", "alice")]
    response = await client.get("/api/auth/whoami", headers=twice)
    assert response.status_code == 401
    assert "more than once" in response.json()["detail"]


@pytest.mark.parametrize("name", ["UNAUTHENTICATED_SINGLE_USER", "x" * 300])
async def test_a_name_that_cannot_be_is_refused(serve, name):
    client = await serve(PROXY)
    assert (await whoami(client, X_Forwarded_User=name)).status_code == 401


async def test_another_sites_page_cannot_use_the_proxys_word(serve):
    client = await serve(PROXY)
    headers = {"X-Forwarded-User": "alice", "Origin": "https://evil.example"}
    assert (await client.post("/api/queue/autostart", json={"enable": False}, headers=headers)).status_code == 403
    del headers["Origin"]
    assert (await client.post("/api/queue/autostart", json={"enable": False}, headers=headers)).status_code == 200


async def test_whom_the_proxy_names_makes_keys(serve):
    client = await serve(PROXY)
    key = await client.post("/api/auth/apikey", json={"expires_in": 60}, headers={"X-Forwarded-User": "alice"})
    assert key.status_code == 200, key.text
    async with httpx.AsyncClient(base_url=client.base_url) as program:
        program.headers["Authorization"] = f"ApiKey {key.json()['secret']}"
        assert (await program.get("/api/auth/whoami")).json()["identities"][0]["id"] == "alice"


SERVICE = Path("/etc/pam.d/sanic-qserver-test")


@pytest.fixture
def pam_service(folder):
    """A PAM service that asks a script; PAM reads its services from /etc/pam.d only."""
    if os.geteuid() != 0 or not SERVICE.parent.is_dir():
        pytest.skip("a PAM service can be installed by root only")
    script = folder / "check"
    script.write_text('#!/bin/sh\nread -r password\n[ "$PAM_USER" = pam-user ] && [ "$password" = pam-password ]\n')
    script.chmod(0o755)
    for parent in script.parents[:3]:
        parent.chmod(0o755)
    SERVICE.write_text(
        f"auth required pam_exec.so expose_authtok quiet {shutil.which('sh')} {script}\n"
        "account required pam_permit.so\n"
    )
    yield SERVICE.name
    SERVICE.unlink()


async def test_pam_says_who_comes_in(serve, pam_service):
    client = await serve({"kind": "pam", "name": "host", "service": pam_service})
    await log_in(client, "pam-user", "host", password="pam-password")
    assert (await client.get("/api/auth/whoami")).json()["identities"][0]["id"] == "pam-user"
    for name, password in (("pam-user", "wrong"), ("other", "pam-password"), ("pam-user\0", "pam-password")):
        form = {"username": name, "password": password}
        assert (await client.post("/api/auth/provider/host/token", data=form)).status_code == 401
