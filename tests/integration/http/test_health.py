"""`/healthz` and `/readyz`, as docs/operations.md tells them."""

import os
import re
from pathlib import Path

import pytest
from conftest import KEY, ROOT, until_connected
from ports import free_port
from servers import app_of

from sanic_qserver.http import health

HEADERS = {"Authorization": f"ApiKey {KEY}"}
NOBODY = {name: f"tcp://127.0.0.1:{free_port()}" for name in ("control_address", "info_address")}


async def asked(client, path="/readyz", headers=None):
    answer = await client.get(path, headers=headers)
    return answer.status_code, answer.json()


async def test_a_server_in_front_of_re_manager_is_ready(sanic_client, make_config):
    client = await sanic_client(app_of(make_config()))
    await until_connected(client)
    assert await asked(client, "/healthz") == (200, {"status": "ok"})
    status, body = await asked(client)
    assert (status, body["status"], body["warning_count"]) == (200, "ready", 0)
    assert set(body) == {"status", "checks", "warning_count"}
    assert set(body["checks"]) == {"manager", "publications"}
    assert body["checks"]["manager"] == "ok"


async def test_without_re_manager_it_lives_and_is_not_ready(sanic_client, make_config):
    client = await sanic_client(app_of(make_config(manager=NOBODY)))
    assert await asked(client, "/healthz") == (200, {"status": "ok"})
    status, body = await asked(client)
    assert (status, body["status"]) == (503, "not ready")
    assert body["checks"]["manager"] == "there is no connection to RE Manager"
    assert body["checks"]["publications"] == "nothing was published yet"


async def test_a_server_that_stops_is_not_ready_and_lives(sanic_client, make_config):
    client = await sanic_client(app_of(make_config()))
    await until_connected(client)
    client.app.ctx.connections.is_draining = True
    status, body = await asked(client)
    assert (status, body["status"], body["checks"]["server"]) == (503, "not ready", "it is stopping")
    assert await asked(client, "/healthz") == (200, {"status": "ok"})


async def test_a_database_of_logins_that_is_away_makes_it_not_ready(visitor):
    await until_connected(visitor)
    status, body = await asked(visitor)
    assert (status, body["checks"]["database"]) == (200, "ok")
    visitor.app.ctx.services.logins.accounts.is_away = True
    status, body = await asked(visitor)
    assert (status, body["status"]) == (503, "not ready")


async def test_a_replica_without_its_redis_is_degraded_and_stays(sanic_client, make_config, instrument):
    shared = {"redis": f"redis://127.0.0.1:{instrument.redis_port}/3", "name": os.urandom(6).hex()}
    client = await sanic_client(app_of(make_config(replicas=shared)))
    await until_connected(client)
    _, body = await asked(client)
    assert body["status"] == "ready"
    assert body["checks"]["replicas"] == "ok"
    assert body["checks"]["events"].startswith("ok: ")
    client.app.ctx.services.redis_watch.is_away = True
    status, body = await asked(client)
    assert (status, body["status"]) == (200, "degraded")


@pytest.mark.parametrize("role_has_it", [True, False])
async def test_warnings_are_for_those_who_run_the_server(sanic_client, make_config, role_has_it):
    change = {"scopes_add": ["admin:metrics"]} if role_has_it else {"scopes_remove": ["write:config"]}
    access = {"roles": {"unauthenticated_single_user": change}}
    client = await sanic_client(app_of(make_config(policy={"access": access})))
    client.app.ctx.services.warnings.append("a policy of alice has a mistake")
    _, body = await asked(client, headers=HEADERS)
    assert body["warning_count"] == 1
    assert ("warnings" in body) == role_has_it
    for headers in ({}, {"Authorization": "ApiKey wrong"}):
        assert "warnings" not in (await asked(client, headers=headers))[1]


def test_every_check_is_documented_and_there_is_no_other():
    source = Path(health.__file__).read_text("utf-8")
    chapter = (ROOT / "docs" / "operations.md").read_text("utf-8")
    table = chapter.partition("| check | | makes it |")[2].partition("\n\n")[0]
    documented = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    made = set(re.findall(r'checks\["(\w+)"\]', source)) | set(
        re.findall(r'^ {12}"(\w+)": "ok" if', source, re.MULTILINE)
    )
    assert made == documented
