"""The official client: logs in, refreshes by itself, works with keys, watches in token mode."""

import json
import subprocess
import sys
import time

import pytest
from bluesky_queueserver_api.http import REManagerAPI
from conftest import Served, app_of
from logins import PASSWORDS, settings
from watching import Watcher, all_leave


@pytest.fixture(scope="module")
def facility(instrument, tmp_path_factory):
    """A server with logins whose access tokens live for a second."""
    from sanic_qserver.config.settings import load

    folder = tmp_path_factory.mktemp("facility")
    overrides = settings(folder, tokens={"access_token_s": 1.0})
    served = Served(app_of(load(environment=instrument.environment, overrides=overrides)))
    yield served
    served.close()


@pytest.fixture
def api(facility):
    api = REManagerAPI(http_server_uri=facility.url, http_auth_provider="toy/token")
    yield api
    api.close()


def test_it_logs_in_and_refreshes_by_itself(api):
    tokens = api.login("bob", password=PASSWORDS["bob"])
    assert api.auth_method == api.AuthorizationMethods.TOKEN
    api.queue_get()
    time.sleep(2.1)
    api.queue_get()
    assert api.auth_key[1] != tokens["refresh_token"], "it has refreshed"
    time.sleep(2.1)
    api.queue_get()


def test_it_makes_shows_and_deletes_keys(api):
    api.login("bob", password=PASSWORDS["bob"])
    key = api.apikey_new(expires_in=900, scopes=["read:queue"], note="from the client")
    assert api.apikey_info(api_key=key["secret"])["first_eight"] == key["first_eight"]
    assert api.whoami(api_key=key["secret"])["api_key_scopes"] == ["read:queue"]
    assert api.api_scopes(api_key=key["secret"]) == {"roles": ["user"], "scopes": ["read:queue"]}
    api.apikey_delete(first_eight=key["first_eight"])
    with pytest.raises(api.HTTPClientError, match="401: Invalid API key"):
        api.apikey_info(api_key=key["secret"])


def test_it_walks_principals_and_sessions_as_an_admin(api):
    api.login("bob", password=PASSWORDS["bob"])
    bob = api.whoami()
    api.login("alice", password=PASSWORDS["alice"])
    assert bob["uuid"] in {one["uuid"] for one in api.principal_info()}
    assert api.principal_info(principal_uid=bob["uuid"])["uuid"] == bob["uuid"]
    assert api.apikey_new(expires_in=60, principal_uid=bob["uuid"])["secret"]
    session = api.whoami()["session"]
    api.session_revoke(session_uid=session)
    with pytest.raises(api.HTTPClientError, match="401: Session has expired"):
        api.queue_get()


def test_it_logs_out(api):
    api.login("bob", password=PASSWORDS["bob"])
    api.logout()
    assert api.auth_method == api.AuthorizationMethods.NONE


def test_a_wrong_password_is_an_error_with_its_text(api):
    with pytest.raises(api.HTTPClientError, match="401: Incorrect username or password"):
        api.login("bob", password="wrong")


def test_the_key_that_it_makes_for_its_websocket_may_be_deleted_while_that_lives(api, facility):
    """What its system-info monitor does in token mode, step by step."""
    api.login("bob", password=PASSWORDS["bob"])
    key = api.apikey_new(expires_in=60)

    async def watch():
        watcher = await Watcher.connect(facility.port, "/api/info/ws", {"Authorization": f"ApiKey {key['secret']}"})
        frames = [json.loads(await watcher.recv())]
        return watcher, frames

    watcher, frames = facility.run(watch())
    api.apikey_delete(first_eight=key["first_eight"])
    frames += [json.loads(facility.run(watcher.recv())) for _ in range(3)]
    facility.run(all_leave())
    assert all("msg" in frame for frame in frames)


MONITOR = """
import sys, time
from bluesky_queueserver_api.http import REManagerAPI

RM = REManagerAPI(http_server_uri=sys.argv[1], http_auth_provider="toy/token")
RM.login("bob", password=sys.argv[2])
before = len(RM.whoami()["api_keys"])
RM.system_info_monitor.enable()
until = time.monotonic() + 6
seen = 0
while time.monotonic() < until or not seen:
    try:
        message = RM.system_info_monitor.next_msg(timeout=5)
    except RM.RequestTimeoutError:
        continue
    seen += "manager_state" in message["msg"].get("status", {})
RM.system_info_monitor.disable_wait(timeout=10)
print(seen, len(RM.whoami()["api_keys"]) - before)
RM.close()
"""


@pytest.mark.slow
def test_its_system_info_monitor_watches_in_token_mode(facility, newer):
    """It logs in, makes a key for the websocket, deletes it, and goes on hearing while its tokens change."""
    command = [sys.executable, "-c", MONITOR, facility.url, PASSWORDS["bob"]]
    done = subprocess.run(command, env=newer, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    seen, keys = map(int, done.stdout.split())
    assert seen >= 4
    assert keys == 0
