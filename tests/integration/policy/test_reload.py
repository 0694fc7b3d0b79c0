"""Policies that change, break and vanish while the server runs: what was in force stays in force."""

import asyncio
import os
import signal

import pytest
from conftest import KEY, app_of

WIDE = "roles:\n  unauthenticated_single_user:\n    scopes: ['read:*', 'write:*']\n    scopes_remove: [write:scripts]\n"
NARROW = "roles:\n  unauthenticated_single_user:\n    scopes: ['read:status']\n"


@pytest.fixture
async def server(sanic_client, make_config, tmp_path):
    """A server with a permissions file of its own; `server.file` is the file."""
    file = tmp_path / "permissions.yaml"
    file.write_text(WIDE)
    client = await sanic_client(app_of(make_config(policy={"permissions": str(file)})))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    client.file = file
    return client


async def scopes(server) -> set[str]:
    access = server.app.ctx.gate.access
    from sanic_qserver.structs.identity import SINGLE_USER

    return set(access.access_of(SINGLE_USER).scopes)


async def until(claim, seconds=5.0):
    """Wait until the claim holds; generous, since the machine may be busy."""
    end = asyncio.get_running_loop().time() + seconds
    while not await claim():
        assert asyncio.get_running_loop().time() < end, "it did not come true"
        await asyncio.sleep(0.05)


async def warnings(server) -> list[str]:
    return list(server.app.ctx.services.warnings)


async def test_a_change_takes_effect_without_a_restart(server):
    assert (await server.get("/api/queue/get")).status_code == 200
    server.file.write_text(NARROW)
    started = asyncio.get_running_loop().time()

    async def is_refused():
        return (await server.get("/api/queue/get")).status_code == 403

    await until(is_refused)
    print(f"took effect after {asyncio.get_running_loop().time() - started:.2f} s")
    assert await warnings(server) == []


BROKEN = ("", "roles: [", "roles: {user: {scopes: [nonsense:scope]}}", "\x00\x01", "{}{")


async def test_a_broken_file_leaves_the_old_in_force_and_says_so(server):
    before = await scopes(server)

    async def is_told():
        return any(str(server.file) in warning for warning in await warnings(server))

    async def is_well():
        return not await warnings(server)

    for broken in BROKEN:
        server.file.write_text(broken)
        await until(is_told)
        assert await scopes(server) == before
        server.file.write_text(WIDE)
        await until(is_well)
    server.file.write_text(NARROW)

    async def is_narrow():
        return await scopes(server) == {"read:status"}

    await until(is_narrow)


async def test_a_file_that_cannot_be_read_leaves_the_old_in_force(server):
    before = await scopes(server)
    server.file.unlink()
    server.file.mkdir()

    async def is_told():
        return bool(await warnings(server))

    await until(is_told)
    assert await scopes(server) == before


async def test_a_file_that_was_cut_off_does_not_widen_access(server):
    before = await scopes(server)
    server.file.write_text(WIDE[: WIDE.index("    scopes_remove")])

    async def is_told():
        return any("truncated" in warning for warning in await warnings(server))

    await until(is_told)
    assert await scopes(server) == before
    os.kill(os.getpid(), signal.SIGHUP)

    async def is_meant():
        return "write:scripts" in await scopes(server)

    await until(is_meant)
    assert await warnings(server) == []


async def test_a_file_replaced_by_renaming_is_seen(server):
    other = server.file.with_suffix(".new")
    other.write_text(NARROW)
    other.replace(server.file)

    async def is_narrow():
        return await scopes(server) == {"read:status"}

    await until(is_narrow)


async def test_what_is_open_is_not_admitted_any_more_when_the_policy_says_so(server):
    from sanic_qserver.api.table import STREAMS
    from sanic_qserver.structs.identity import SINGLE_USER

    gate = server.app.ctx.gate
    access = gate.access.access_of(SINGLE_USER)
    assert gate.still_admitted(access, STREAMS[0])
    server.file.write_text(NARROW)

    async def is_out():
        return not gate.still_admitted(access, STREAMS[0])

    await until(is_out)


async def test_a_clock_that_jumped_is_told_until_sighup(server):
    clock = server.app.ctx.policies.access.clock
    clock._offset -= 7200

    async def is_told():
        return any("system clock" in warning for warning in await warnings(server))

    await until(is_told)
    os.kill(os.getpid(), signal.SIGHUP)

    async def is_well():
        return not await warnings(server)

    await until(is_well)


def test_check_tells_of_a_mistake_in_a_policy(tmp_path):
    import subprocess
    import sys

    (tmp_path / "permissions.yaml").write_text("roles: {user: {scopes_add: [wirte:scripts]}}")
    (tmp_path / "config.toml").write_text('[policy]\npermissions = "permissions.yaml"\n')
    command = [sys.executable, "-m", "sanic_qserver", "check", "--config", str(tmp_path / "config.toml")]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "did you mean 'write:scripts'" in ended.stderr


CUSTOM = '''
from sanic_qserver.policy.protocols import NoRateLimits
from sanic_qserver.errors import TooManyRequests
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.identity import Access


class OnlyStatus:
    """A policy of a site."""

    version = 1

    def __init__(self, group):
        self.group = group
        self.seen = []

    def access_of(self, principal):
        return Access(principal=principal, roles=("custom",), scopes=frozenset({Scope.READ_STATUS}), user="x",
                      user_group=self.group)

    async def start(self):
        self.seen.append("start")

    async def stop(self):
        self.seen.append("stop")

    async def reload(self):
        self.seen.append("reload")


class Never(NoRateLimits):
    async def admit(self, attempt):
        raise TooManyRequests("never")
'''


async def test_a_class_of_ones_own_decides(sanic_client, make_config, tmp_path, monkeypatch):
    (tmp_path / "site_policy_for_tests.py").write_text(CUSTOM)
    monkeypatch.syspath_prepend(tmp_path)
    policy = {"access_class": "site_policy_for_tests:OnlyStatus", "access_args": {"group": "g"}}
    client = await sanic_client(app_of(make_config(policy=policy)))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    assert (await client.get("/api/queue/get")).status_code == 403
    assert (await client.get("/api/auth/scopes")).json() == {"roles": ["custom"], "scopes": ["read:status"]}
    await client.app.ctx.policies.reload()
    assert client.app.ctx.policies.access.seen == ["start", "reload"]
    policy = {"rate_class": "site_policy_for_tests:Never"}
    client = await sanic_client(app_of(make_config(policy=policy)))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    assert (await client.get("/api/status")).status_code == 429


@pytest.mark.parametrize("path", ["nothing", "no_such_module:Class", "json:NoSuchClass"])
def test_a_class_that_is_not_there_is_refused(make_config, path):
    from sanic_qserver.errors import ConfigError

    with pytest.raises(ConfigError, match=r"\[policy\] access_class"):
        app_of(make_config(policy={"access_class": path}))


async def test_the_configuration_itself_may_hold_the_policy(sanic_client, make_config):
    access = {"roles": {"unauthenticated_single_user": {"scopes": ["read:queue"]}}}
    client = await sanic_client(app_of(make_config(policy={"access": access})))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    assert (await client.get("/api/auth/scopes")).json()["scopes"] == ["read:queue"]


OPEN = "roles: {unauthenticated_public: {scopes: ['read:*', 'write:*']}}"


def test_an_open_policy_is_refused_beyond_this_machine_unless_told_twice(make_config, tmp_path):
    from sanic_qserver.errors import ConfigError

    file = tmp_path / "permissions.yaml"
    file.write_text(OPEN)
    policy = {"permissions": str(file)}
    with pytest.raises(ConfigError, match="allow_anonymous_beyond_loopback"):
        app_of(make_config(policy=policy, server={"host": "0.0.0.0"}))
    app_of(make_config(policy=policy, server={"host": "127.0.0.1"}))
    app_of(make_config(policy=policy, server={"host": "0.0.0.0", "allow_anonymous_beyond_loopback": True}))


async def test_a_file_does_not_become_open_while_others_reach_the_server(sanic_client, make_config, tmp_path):
    file = tmp_path / "permissions.yaml"
    file.write_text(WIDE)
    app = app_of(make_config(policy={"permissions": str(file)}, server={"host": "0.0.0.0"}))
    client = await sanic_client(app)
    file.write_text(OPEN)

    async def is_told():
        return any("without a key" in warning for warning in await warnings(client))

    await until(is_told)
    assert (await client.get("/api/queue/get")).status_code == 401
