"""Behind trusted proxies, and below a path prefix: addresses that count, and addresses that are given out."""

import json

import httpx
import pytest
from bluesky_queueserver_api.http import REManagerAPI
from conftest import KEY, app_of, until_connected
from logins import log_in, settings
from qsctl import Qsctl
from servers import Served
from watching import Watcher, all_leave

from sanic_qserver.api.auth.cookies import CSRF_COOKIE, SESSION_COOKIE
from sanic_qserver.config.settings import load
from sanic_qserver.errors import ConfigError

TOKEN = "/api/auth/provider/toy/token"
HERE = ["127.0.0.1"]
BROWSER = {"Accept": "text/html"}
HTTPS = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "qs.example", "X-Forwarded-For": "192.0.2.7"}


async def guess(client, forwarded_for):
    form = {"username": "nobody", "password": "x"}
    return (await client.post(TOKEN, data=form, headers={"X-Forwarded-For": forwarded_for})).status_code


@pytest.fixture
def serve(sanic_client, make_config, folder):
    async def start(server, **auth):
        audit = {"file": str(folder / "audit.jsonl")}
        client = await sanic_client(app_of(make_config(**settings(folder, **auth), server=server, audit=audit)))
        await until_connected(client)
        return client

    return start


@pytest.mark.parametrize(
    ("trusted", "forge"),
    [
        pytest.param(["10.9.9.9"], lambda number: f"10.0.0.{number}", id="directly"),
        pytest.param(HERE, lambda number: f"10.0.0.{number}, 192.0.2.7", id="through the proxy"),
    ],
)
async def test_forged_addresses_do_not_make_more_guesses(serve, trusted, forge):
    client = await serve(
        {"trusted_proxies": trusted}, attempts={"free": 1000, "free_by_address": 4, "first_delay_s": 300.0}
    )
    answers = [await guess(client, forge(number)) for number in range(10)]
    assert answers.count(401) == 4
    assert answers.count(429) == 6
    expected = 401 if trusted == HERE else 429
    assert await guess(client, "192.0.2.8") == expected, "another client of the proxy is another address"


async def test_the_audit_trail_has_the_clients_address(serve, folder):
    client = await serve({"trusted_proxies": HERE})
    await log_in(client, "bob")
    plan = {"item": {"name": "count", "args": [["det1"]], "item_type": "plan"}}
    await client.post("/api/queue/item/add", json=plan, headers={"X-Forwarded-For": "10.0.0.1, 192.0.2.7"})
    assert json.loads((folder / "audit.jsonl").read_text().splitlines()[-1])["address"] == "192.0.2.7"


async def test_a_proxy_may_hold_any_number_of_connections_and_others_may_not(sanic_client, make_config):
    for trusted, last in ((HERE, 200), (["10.9.9.9"], 503)):
        server = {"trusted_proxies": trusted, "max_connections_per_address": 2}
        client = await sanic_client(app_of(make_config(server=server)))
        async with (
            httpx.AsyncClient(base_url=client.base_url) as one,
            httpx.AsyncClient(base_url=client.base_url) as two,
        ):
            assert [(await each.get("/healthz")).status_code for each in (client, one, two)] == [200, 200, last]


async def test_behind_an_untrusted_proxy_the_forwarded_name_and_scheme_do_not_count(serve):
    client = await serve({"trusted_proxies": ["10.9.9.9"]}, allow_anonymous_access=True)
    form = {"username": "bob", "password": "builder-2", "cookie": "true"}
    reply = await client.post(TOKEN, data=form, headers=HTTPS | {"X-Forwarded-Prefix": "/evil"})
    assert not any("Secure" in cookie for cookie in reply.headers.get_list("set-cookie"))
    assert all("Path=/;" in cookie for cookie in reply.headers.get_list("set-cookie"))
    for headers, status in ((HTTPS, 200), ({**HTTPS, "Host": "evil.example", "X-Forwarded-Host": "localhost"}, 421)):
        assert (await client.get("/api/status", headers={**headers, "Authorization": ""})).status_code == status


PREFIXED = [
    pytest.param({"root_path": "/qs"}, "/qs", {}, id="setting"),
    pytest.param({"root_path": "/qs"}, "", {}, id="setting, taken away by the proxy"),
    pytest.param({"trusted_proxies": HERE}, "/qs", {"X-Forwarded-Prefix": "/qs"}, id="header"),
    pytest.param({"trusted_proxies": HERE}, "", {"X-Forwarded-Prefix": "/qs"}, id="header, taken away by the proxy"),
]


@pytest.mark.parametrize(("server", "sent", "headers"), PREFIXED)
async def test_addresses_that_are_given_out_have_the_prefix(serve, server, sent, headers):
    client = await serve(server)
    client.headers.update(headers)
    form = {"username": "alice", "password": "wonderland-1", "cookie": "true"}
    reply = await client.post(sent + TOKEN, data=form)
    cookies = {text.partition("=")[0]: text for text in reply.headers.get_list("set-cookie")}
    assert set(cookies) == {SESSION_COOKIE, CSRF_COOKIE}
    assert all("Path=/qs;" in text for text in cookies.values())
    client.cookies.clear()
    client.headers["Authorization"] = f"Bearer {reply.json()['access_token']}"
    links = (await client.get(f"{sent}/api/")).json()
    assert links["links"]["whoami"] == "/qs/api/auth/whoami"
    assert links["authentication"]["providers"][0]["links"]["token"] == f"/qs{TOKEN}"
    plan = {"name": "count", "args": [["det1"]], "item_type": "plan"}
    proposal = await client.post(f"{sent}/api/proposals", json={"title": "t", "items": [plan]})
    assert proposal.status_code == 201, proposal.text
    assert proposal.headers["location"].startswith("/qs/api/proposals/")
    for path in ("/openapi.json", "/api/openapi.json"):
        assert (await client.get(sent + path)).json()["servers"] == [{"url": "/qs"}]
    for path in (sent or "/", f"{sent}/"):
        assert (await client.get(path, headers=BROWSER)).headers["location"] == "/qs/ui"
    logout = await client.post(f"{sent}/api/auth/logout")
    assert all("Path=/qs;" in text for text in logout.headers.get_list("set-cookie"))


async def test_slashes_at_the_end_mean_the_same_below_a_prefix(serve):
    client = await serve({"root_path": "/qs"})
    await log_in(client, "bob")
    paths = ("/api/status", "/api/status/", "/status", "/docs", "/docs/", "/ui", "/ui/", "/ui//", "/nothing",
             "/api//status", "/", "/healthz/")  # fmt: skip
    for path in paths:
        plain, prefixed = await client.get(path), await client.get(f"/qs{path}")
        assert (plain.status_code, len(plain.content)) == (prefixed.status_code, len(prefixed.content)), path


async def test_the_prefix_is_taken_away_once_also_from_a_head_that_is_sent_again(serve):
    client = await serve({"root_path": "/qs"})
    await log_in(client, "bob")
    for path, status in (("/qs/api/status", 200), ("/qs/qs/api/status", 404)):
        assert [(await client.get(path)).status_code for _ in range(3)] == [status] * 3


async def test_a_prefix_that_paths_of_the_server_begin_with_is_refused(make_config):
    for root_path in ("/api", "/ui", "/docs", "/queue", "/api/queue"):
        with pytest.raises(ConfigError, match="root_path"):
            app_of(make_config(server={"root_path": root_path}))


@pytest.fixture(scope="module")
def prefixed(instrument):
    """A server at a prefix that nobody takes away."""
    overrides = {
        "auth": {"single_user_api_key": KEY},
        "idempotency": {"store": "memory"},
        "server": {"root_path": "/beamline/qs", "trusted_proxies": HERE},
    }
    served = Served(app_of(load(environment=instrument.environment, overrides=overrides)))
    yield served
    served.close()


def test_the_official_client_works_below_a_prefix(prefixed):
    api = REManagerAPI(http_server_uri=f"{prefixed.url}/beamline/qs")
    api.set_authorization_key(api_key=KEY)
    try:
        assert "manager_state" in api.ping()
        api.queue_clear()
        item = {"item_type": "plan", "name": "count", "args": [["det1"]]}
        assert api.item_add(item)["success"]
        assert len(api.queue_get()["items"]) == 1
        api.queue_clear()
    finally:
        api.close()


def test_qsctl_works_below_a_prefix(prefixed, folder, monkeypatch, capsys):
    uri = f"{prefixed.url}/beamline/qs/"
    qsctl = Qsctl(folder, monkeypatch, capsys, QSERVER_API_KEY=KEY, QSERVER_HTTP_SERVER_URI=uri)
    assert "manager_state" in qsctl.ok("status", "--json").records[0]
    assert qsctl.ok("queue", "list", "--json").code == 0


async def test_websockets_and_event_streams_work_below_a_prefix(prefixed):
    watcher = await Watcher.connect(prefixed.port, "/beamline/qs/api/status/ws", prefixed.key)
    assert watcher.status == 101
    assert "manager_state" in await watcher.recv()
    await all_leave()
    headers = {**prefixed.key, "Accept": "text/event-stream"}
    with prefixed.client.stream("GET", "/beamline/qs/api/events", headers=headers) as events:
        assert next(line for line in events.iter_lines() if line.startswith("data: "))
