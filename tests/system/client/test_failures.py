"""What goes wrong ends with a clear message and the right exit code."""

import json
import os
import pty
import signal
import socket
import subprocess
import threading

import pytest
from conftest import KEY, needs
from ports import free_port
from proxy import Proxy
from qsctl import program, run, start
from servers import ServerProcess

from sanic_qserver.client.failures import BROKEN_PIPE, INTERRUPTED


@pytest.fixture
def environment(served):
    return {"QSERVER_HTTP_SERVER_URI": served.url, "QSERVER_API_KEY": KEY}


def test_an_address_where_nobody_listens_ends_with_4(tmp_path):
    ran = run(tmp_path, "status", "--server", f"http://127.0.0.1:{free_port()}")
    assert ran.code == 4
    assert "No connection to http://127.0.0.1" in ran.err
    assert "--server" in ran.err


def test_an_address_that_is_none_ends_with_2(tmp_path):
    assert run(tmp_path, "status", "--server", "ftp://somewhere").code == 2


def test_a_certificate_is_checked_and_the_prefix_of_a_proxy_counts(served, tmp_path):
    needs("nginx")
    key = {"QSERVER_API_KEY": KEY}
    with Proxy(tmp_path, served.port) as proxy:
        ran = run(tmp_path, "status", "--server", proxy.url, environment=key)
        assert ran.code == 4
        assert "certificate" in ran.err
        assert "--ca-file" in ran.err
        assert run(tmp_path, "status", "--server", proxy.url, "--ca-file", proxy.ca_file, environment=key).code == 0
        elsewhere = run(tmp_path, "status", "--server", proxy.origin, "--ca-file", proxy.ca_file, environment=key)
        assert elsewhere.code == 4
        assert "prefix" in elsewhere.err
        missing = run(tmp_path, "status", "--server", proxy.url, "--ca-file", tmp_path / "none.pem", environment=key)
        assert missing.code == 2


def test_a_lost_answer_to_a_change_ends_with_5_and_to_a_read_with_4(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up():
            for _ in range(2):
                connection, _ = listener.accept()
                connection.recv(65536)
                connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        server = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert run(tmp_path, "status", "--server", server).code == 4
        ran = run(tmp_path, "queue", "start", "--server", server, "--json")
        assert ran.code == 5
        assert "outcome is unknown" in json.loads(ran.err)["error"]["text"]
        thread.join(20)


def test_ctrl_c_ends_a_command_that_follows_without_a_traceback(environment, tmp_path):
    with start(tmp_path, "events", "status", environment=environment) as process:
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == INTERRUPTED
    assert "Traceback" not in err
    assert "interrupted" in err


def test_a_broken_pipe_is_no_error_to_talk_about(environment, tmp_path):
    read, write = os.pipe()
    os.close(read)
    env = {**os.environ, **environment, "XDG_STATE_HOME": str(tmp_path)}
    with subprocess.Popen(program("plans"), env=env, stdout=write, stderr=subprocess.PIPE, text=True) as process:
        os.close(write)
        _, err = process.communicate(timeout=60)
    assert process.returncode == BROKEN_PIPE
    assert err == ""


def test_a_person_at_a_terminal_is_asked(environment, tmp_path):
    outside, inside = pty.openpty()
    env = {**os.environ, **environment, "XDG_STATE_HOME": str(tmp_path)}
    process = subprocess.Popen(program("queue", "clear"), env=env, stdin=inside, stdout=inside, stderr=inside)
    os.close(inside)
    os.write(outside, b"n\n")
    assert process.wait(30) == 2
    text = os.read(outside, 4096).decode()
    os.close(outside)
    assert "Remove all items from the queue?" in text
    assert "Nothing was done" in text


def test_a_manager_that_does_not_answer_ends_with_4_and_nothing_was_done(tmp_path):
    (tmp_path / "config.toml").write_text(f"""
[manager]
control_address = "tcp://127.0.0.1:{free_port()}"
info_address = "tcp://127.0.0.1:{free_port()}"
queue_wait_s = 0.5
[console]
heartbeat_s = 0.2
[auth]
single_user_api_key = "{KEY}"
""")
    server = ServerProcess(tmp_path, "serve", "--config", tmp_path / "config.toml")
    environment = {"QSERVER_HTTP_SERVER_URI": server.url, "QSERVER_API_KEY": KEY}
    try:
        server.wait_for(lambda: server.answers("/healthz"))
        for words in (("status",), ("queue", "start"), ("environment", "open")):
            ran = run(tmp_path, *words, "--json", environment=environment)
            assert ran.code == 4, ran
            assert ran.error["hint"]
        file = tmp_path / "items.json"
        file.write_text(json.dumps([{"item_type": "plan", "name": "count", "args": [["det1"]]}]))
        ran = run(tmp_path, "add", "--file", file, "--patience", "0", environment=environment)
        assert ran.code == 5, ran  # The server may still hand it over when RE Manager comes.
        assert "0 of 1 were added so far" in ran.err
        assert "adds nothing twice" in ran.err
    finally:
        server.stop()


def test_who_sent_no_key_or_a_wrong_one_is_told_which_of_both(environment, tmp_path):
    nobody = run(tmp_path, "status", "--server", environment["QSERVER_HTTP_SERVER_URI"])
    assert (nobody.code, "Not logged in" in nobody.err, "qsctl login http" in nobody.err) == (3, True, True)
    wrong = run(tmp_path, "status", environment={**environment, "QSERVER_API_KEY": "wrong"})
    assert (wrong.code, "Check the key" in wrong.err) == (3, True)


@pytest.mark.parametrize("arguments", [
    ("lock", "--lock-key-file", "{file}/key"), ("profile", "use", "default"), ("add", "--file", "{items}"),
], ids=lambda arguments: arguments[0])  # fmt: skip
def test_a_file_that_cannot_be_written_is_named_before_anything_is_sent(environment, tmp_path, arguments):
    file, items = tmp_path / "a-file", tmp_path / "items.ndjson"
    file.write_text("no folder")
    items.write_text('{"item_type": "plan", "name": "count", "args": [["det1"]]}\n')
    words = [word.format(file=file, items=items) for word in arguments]
    home = {} if arguments[0] == "lock" else {"XDG_STATE_HOME": str(file)}
    ran = run(tmp_path, *words, environment={**environment, **home})
    assert ran.code == 2, ran.err
    assert str(file) in ran.err
    assert "Traceback" not in ran.err


def test_https_at_a_port_that_speaks_http_is_told_as_such(environment, tmp_path):
    ran = run(tmp_path, "status", "--server", environment["QSERVER_HTTP_SERVER_URI"].replace("http:", "https:"))
    assert (ran.code, "speaks no TLS" in ran.err) == (4, True)
