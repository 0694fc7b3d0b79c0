"""The official client's monitors in HTTP mode, and this server, with the `websockets` that a user's installation has.

The test environment holds an old one (pytest-sanic pins it), which the official client cannot use at all.
"""

import json
import subprocess
import sys

import pytest
from conftest import KEY
from servers import ServerProcess

pytestmark = pytest.mark.slow
MONITOR = """
import json, sys, time
import websockets
from bluesky_queueserver_api.http import REManagerAPI

RM = REManagerAPI(http_server_uri=sys.argv[1])
RM.set_authorization_key(api_key=sys.argv[2])
RM.system_info_monitor.enable()
RM.console_monitor.enable()
message = RM.system_info_monitor.next_msg(timeout=15)
time.sleep(1.5)
item = {"name": "count", "args": [["det1"]], "item_type": "plan"}
added = RM.item_add(item)
text = ""
until = time.monotonic() + 20
while "Item added" not in text and time.monotonic() < until:
    try:
        text += RM.console_monitor.next_msg(timeout=1)["msg"]
    except RM.RequestTimeoutError:
        pass
until = time.monotonic() + 15
while message["msg"]["status"]["items_in_queue"] == 0 and time.monotonic() < until:
    message = RM.system_info_monitor.next_msg(timeout=5)
RM.item_remove(uid=added["item"]["item_uid"])
RM.system_info_monitor.disable_wait(timeout=10)
RM.console_monitor.disable_wait(timeout=10)
RM.close()
print(json.dumps({"websockets": websockets.__version__, "message": message, "text": text}))
"""


@pytest.fixture(scope="module")
def server(instrument, newer, tmp_path_factory):
    """A server of its own process, with the newer websockets, as a user starts it."""
    environment = {**newer, **instrument.environment, "QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY": KEY}
    with ServerProcess(tmp_path_factory.mktemp("server"), "serve", environment=environment) as server:
        yield server


@pytest.fixture(scope="module")
def url(server):
    return server.url


def test_the_official_monitors_work(url, newer):
    command = [sys.executable, "-W", "ignore", "-c", MONITOR, url, KEY]
    done = subprocess.run(command, env=newer, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert int(seen["websockets"].split(".")[0]) >= 15
    assert "Item added" in seen["text"]
    assert seen["message"]["msg"]["status"]["items_in_queue"] == 1


CLOSES = """
import json, sys
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

url, key = sys.argv[1].replace("http", "ws"), sys.argv[2]
header = {"Authorization": f"ApiKey {key}"}
seen = {}
with connect(url + "/api/console_output/ws", additional_headers=header, compression="deflate") as socket:
    seen["extensions"] = [extension.name for extension in socket.protocol.extensions]
with connect(url + "/api/status/ws", additional_headers=header, compression="deflate") as socket:
    seen["status"] = list(json.loads(socket.recv(timeout=10))["msg"])
    socket.send("ignored " * 100)
    seen["more"] = list(json.loads(socket.recv(timeout=10))["msg"])
for name, path, more in (("wrong", "/api/status/ws?api_key=wrong", {}), ("topic", "/api/events?topics=x", header)):
    with connect(url + path, additional_headers=more) as socket:
        try:
            while True:
                socket.recv(timeout=10)
        except ConnectionClosed as closed:
            seen[name] = closed.rcvd.code
with connect(url + "/api/events", additional_headers=header, subprotocols=["qserver"]) as socket:
    seen["subprotocol"] = socket.subprotocol
    seen["hello"] = json.loads(socket.recv(timeout=10))["type"]
with connect(url + "/api/events", additional_headers=header) as socket:
    seen["none"] = socket.subprotocol
    seen["again"] = json.loads(socket.recv(timeout=10))["type"]
print(json.dumps(seen))
"""


def test_handshakes_and_close_codes_are_those_of_the_old_version(url, newer):
    command = [sys.executable, "-c", CLOSES, url, KEY]
    done = subprocess.run(command, env=newer, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["wrong"], seen["topic"]) == (4001, 4400)
    assert (seen["hello"], seen["again"], seen["none"]) == ("hello", "hello", None)
    assert seen["subprotocol"] == "qserver"
    assert seen["extensions"] == ["permessage-deflate"]
    assert seen["status"] == seen["more"] == ["status"]


STAYS = """
import json, sys
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

url = sys.argv[1].replace("http", "ws") + "/api/events"
with connect(url, additional_headers={"Authorization": f"ApiKey {sys.argv[2]}"}) as socket:
    try:
        while True:
            print(json.loads(socket.recv(timeout=20))["type"], flush=True)
    except ConnectionClosed as closed:
        print(closed.rcvd.code, flush=True)
"""


def test_a_watcher_hears_that_the_server_ends(server, newer):
    """The last here: it ends the server."""
    command = [sys.executable, "-c", STAYS, server.url, KEY]
    with subprocess.Popen(command, env=newer, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout.readline() == "hello\n"
        server.process.terminate()
        said, _ = watcher.communicate(timeout=30)
    assert said.splitlines()[-1] == "1001"
    assert server.process.wait(60) == 0, server.text
    assert "Traceback" not in server.text
