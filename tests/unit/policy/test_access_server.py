"""The access server: one that answers, and one that hangs, drips, lies, or sends garbage. Access never widens."""

import asyncio
import json
import logging

import pytest
from ports import free_port

from sanic_qserver.config.settings import AccessServerConfig, load
from sanic_qserver.errors import ConfigError, NotAuthenticated
from sanic_qserver.policy.access.access_server import AccessServer
from sanic_qserver.policy.access.sources import FilePermissions
from sanic_qserver.policy.policies import Policies
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.identity import PUBLIC, SINGLE_USER, Principal

GOOD = {
    "expert": {"alice": {"email": "a@x.org", "first_name": "Alice", "last_name": "Adams", "shoe_size": 38}},
    "observer": {"alice": {}, "bob": {"displayed_name": "Bob"}, "eve": None},
    "astronaut": {"zoe": {}},
}


class Server:
    """A tiny HTTP server that answers as it is told."""

    def __init__(self) -> None:
        self.port = free_port()
        self.asked: list[str] = []
        self.answer = self.response(GOOD)
        self.drip_s = 0.0
        self.tasks: set[asyncio.Task] = set()

    @staticmethod
    def response(body, status: str = "200 OK", more: str = "") -> bytes:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n{more}\r\n".encode() + data

    async def serve(self, reader, writer) -> None:
        self.tasks.add(asyncio.current_task())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.decode().split("\r\n")[0])
            for byte in range(0, len(self.answer), 1 if self.drip_s else len(self.answer) or 1):
                writer.write(self.answer[byte : byte + 1] if self.drip_s else self.answer)
                await writer.drain()
                await asyncio.sleep(self.drip_s)
            if not self.answer:
                await asyncio.sleep(30)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server():
    known = Server()
    listening = await asyncio.start_server(known.serve, "127.0.0.1", known.port)
    yield known
    listening.close()
    for task in known.tasks:
        task.cancel()
    await asyncio.gather(*known.tasks, return_exceptions=True)
    await asyncio.sleep(0.05)


class Now:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def policy(server, tmp_path):
    """A policy that has fetched nothing yet; `policy.now` is its clock."""
    file = tmp_path / "permissions.yaml"
    file.write_text("users: {eve: null}\ndefault: {user_group: primary}\n")
    warnings: list[str] = []
    now = Now()
    config = AccessServerConfig(
        url=f"http://127.0.0.1:{server.port}", instrument="TST", update_period_s=600, timeout_s=0.5
    )
    made = AccessServer(config, FilePermissions(file, warnings), warnings, now)
    made._run = asyncio.Event().wait  # The test fetches.
    await made.start()
    made.now, made.warnings = now, warnings
    yield made
    await made.stop()


def access(policy, name: str):
    return policy.access_of(Principal(name=name, provider="ldap"))


async def test_people_come_from_the_server_and_roles_from_the_file(policy, server):
    with pytest.raises(NotAuthenticated):
        access(policy, "alice")
    assert await policy.update()
    assert server.asked == ["GET /instrument/tst/qserver/access HTTP/1.1"]
    alice = access(policy, "alice")
    assert alice.roles == ("expert", "observer")
    assert alice.user == 'alice "Alice Adams <a@x.org>"'
    assert Scope.WRITE_SCRIPTS in alice.scopes
    assert access(policy, "bob").user == 'bob "Bob"'
    for nobody in ("eve", "zoe", "carl"):
        with pytest.raises(NotAuthenticated):
            access(policy, nobody)


async def test_an_unknown_role_is_left_out_and_told(policy, caplog):
    with caplog.at_level(logging.WARNING):
        await policy.update()
        access(policy, "alice")
    assert "astronaut" in caplog.text


async def test_who_is_taken_off_the_list_loses_access_at_once(policy, server):
    await policy.update()
    version = policy.version
    server.answer = server.response({"expert": {"bob": {}}})
    assert await policy.update()
    assert policy.version > version
    with pytest.raises(NotAuthenticated):
        access(policy, "alice")


BAD = {
    "not json": b"<html>down for maintenance</html>",
    "cut off": json.dumps(GOOD).encode()[:60],
    "a list": b'["admin"]',
    "people as a list": b'{"admin": ["mallory"]}',
    "a role as text": b'{"admin": "mallory"}',
    "half good": b'{"expert": {"mallory": {}}, "admin": 7}',
    "a person as text": b'{"admin": {"mallory": "yes"}}',
    "an empty login": b'{"admin": {"": {}}}',
    "nested": b'{"admin":' * 50_000,
    "not utf-8": b'{"admin": {"\xff\xfe": {}}}',
    "too large": b'{"admin": {"mallory": {}}}' + b" " * 10_000_001,
}


@pytest.mark.parametrize("what", BAD)
async def test_garbage_changes_nothing(policy, server, what):
    await policy.update()
    server.answer = server.response(BAD[what])
    assert not await policy.update()
    assert access(policy, "alice").roles == ("expert", "observer")
    with pytest.raises(NotAuthenticated):
        access(policy, "mallory")
    assert len(policy.warnings) == 1
    assert "gave no usable answer" in policy.warnings[0]


@pytest.mark.parametrize(
    "answer",
    [
        Server.response({"admin": {"mallory": {}}}, "500 Internal Server Error"),
        Server.response({"admin": {"mallory": {}}}, "203 Non-Authoritative Information"),
        Server.response(b"", "302 Found", "Location: http://127.0.0.1:1/\r\n"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\nConnection: close\r\n\r\n{}",
        b"not http at all\r\n\r\n",
        b"",
    ],
    ids=["500", "203", "redirect", "short body", "not http", "hangs"],
)
async def test_a_server_that_misbehaves_changes_nothing(policy, server, answer):
    await policy.update()
    server.answer = answer
    assert not await policy.update()
    assert access(policy, "alice").roles == ("expert", "observer")
    server.answer = server.response(GOOD)
    assert await policy.update()
    assert policy.warnings == []


async def test_a_server_that_drips_its_answer_is_not_waited_for(policy, server):
    await policy.update()
    server.drip_s = 0.1
    started = asyncio.get_running_loop().time()
    assert not await policy.update()
    assert asyncio.get_running_loop().time() - started < 5


async def test_everybody_loses_access_when_no_answer_came_for_too_long(policy, server):
    await policy.update()
    server.answer = b"not http at all\r\n\r\n"
    policy.now.now += 899
    await policy.update()
    assert access(policy, "alice")
    policy.now.now += 2
    with pytest.raises(NotAuthenticated, match="has not answered for too long"):
        access(policy, "alice")
    assert policy.access_of(SINGLE_USER).scopes
    assert policy.access_of(PUBLIC).scopes == frozenset()
    server.answer = server.response(GOOD)
    await policy.update()
    assert access(policy, "alice")


async def test_setting_the_system_clock_does_not_prolong_what_is_known(policy, monkeypatch):
    import time

    await policy.update()
    policy.now.now += 901
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with pytest.raises(NotAuthenticated):
        access(policy, "alice")


async def test_it_is_made_from_the_configuration_and_fetches_by_itself(server, tmp_path):
    section = {"url": f"http://127.0.0.1:{server.port}", "instrument": "TST", "update_period_s": 0.1}
    policies = Policies(load(environment={}, overrides={"policy": {"access_server": section}}), [])
    await policies.start()
    for _ in range(100):
        if len(server.asked) >= 3:
            break
        await asyncio.sleep(0.05)
    assert len(server.asked) >= 3
    await policies.stop()
    count = len(server.asked)
    await asyncio.sleep(0.4)
    assert len(server.asked) == count


@pytest.mark.parametrize("section", [{"url": "access.example", "instrument": "x"}, {"url": "http://x"}])
def test_settings_that_are_not_complete_are_refused(section):
    with pytest.raises(ConfigError, match=r"\[policy.access_server\]"):
        Policies(load(environment={}, overrides={"policy": {"access_server": section}}), [])


def test_people_in_the_file_as_well_are_refused(tmp_path):
    file = tmp_path / "permissions.yaml"
    file.write_text("users: {ann: {roles: expert}}")
    section = {"permissions": str(file), "access_server": {"url": "http://x", "instrument": "x"}}
    with pytest.raises(ConfigError, match="people come from there"):
        Policies(load(environment={}, overrides={"policy": section}), [])


def test_roles_may_stand_in_the_configuration():
    section = {"access": {"roles": {"user": {"scopes_add": "write:lock"}}}, "access_server": {"url": "http://x"}}
    section["access_server"]["instrument"] = "tst"
    access = Policies(load(environment={}, overrides={"policy": section}), []).access
    assert isinstance(access, AccessServer)
    assert Scope.WRITE_LOCK in access.permissions.scopes["user"]
