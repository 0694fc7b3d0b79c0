"""Workers under the process that supervises them."""

import contextlib
import os
import signal
import time
from pathlib import Path

import httpx
import pytest
from ports import free_port
from servers import KEY, ServerProcess, until, with_key
from worker_processes import two_workers, workers_of

HEADERS = {"Authorization": f"ApiKey {KEY}"}
DIES = """
import multiprocessing, os

def register(host):
    if multiprocessing.parent_process() is not None:
        os._exit(7)
"""

DEAF = """
import multiprocessing, signal

def register(host):
    if multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
"""


def is_running(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.slow
def test_killed_workers_are_replaced_while_clients_wait_and_all_end_at_sigterm(instrument, folder):
    with ServerProcess(folder, *two_workers(folder, instrument.redis_port), environment=with_key(instrument)) as server:
        for kill_all in (False, True):
            until(lambda: len(workers_of(server)) == 2)
            before = workers_of(server)
            killed = before if kill_all else {min(before)}
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            until(lambda before=before, killed=killed: len(workers_of(server) - before) == len(killed))
            # Nobody is refused: the process above the workers listens on.
            assert httpx.get(f"{server.url}/api/ping", headers=HEADERS, timeout=60).status_code == 200
        last = workers_of(server)
        assert server.stop() == 0, server.text
        assert not any(is_running(pid) for pid in last)


@pytest.mark.slow
def test_sigusr2_replaces_the_workers_one_by_one_with_the_configuration_of_then_and_no_request_fails(
    instrument, folder
):
    with ServerProcess(folder, *two_workers(folder, instrument.redis_port), environment=with_key(instrument)) as server:
        before, file = workers_of(server), folder / "config.toml"
        file.write_text('[server]\ntitle = "Renewed"\n' + file.read_text())
        server.process.send_signal(signal.SIGUSR2)
        end = time.monotonic() + 60
        while workers_of(server) & before or len(workers_of(server)) != 2:
            assert time.monotonic() < end, server.text
            assert httpx.get(f"{server.url}/api/ping", headers=HEADERS, timeout=60).status_code == 200
        assert "Renewed" in httpx.get(f"{server.url}/ui", timeout=60).text
        file.write_text("a mistake")
        before = workers_of(server)
        server.process.send_signal(signal.SIGUSR2)
        server.says("The workers are not replaced")
        assert workers_of(server) == before
        assert server.answers()
        assert server.stop() == 0, server.text


@pytest.mark.slow
def test_a_worker_that_was_replaced_and_does_not_end_is_killed(instrument, folder):
    (folder / "deaf.py").write_text(DEAF)
    settings = '[server]\nshutdown_timeout_s = 0.1\n[extensions]\nmodules = ["deaf"]\n'
    options = two_workers(folder, instrument.redis_port, settings)
    with ServerProcess(folder, *options, environment=with_key(instrument)) as server:
        until(lambda: len(workers_of(server)) == 2)
        before = workers_of(server)
        server.process.send_signal(signal.SIGUSR2)
        until(lambda: len(workers_of(server)) == 2 and not workers_of(server) & before, 60)
        assert server.text.count("was told to end and did not") == 2
        server.stop()


@pytest.mark.slow
def test_workers_end_with_the_process_above_them(instrument, folder):
    with ServerProcess(folder, *two_workers(folder, instrument.redis_port), environment=with_key(instrument)) as server:
        workers = workers_of(server)
        assert len(workers) == 2
        server.process.kill()
        until(lambda: not any(is_running(pid) for pid in workers))


@pytest.mark.slow
def test_a_server_whose_workers_never_come_up_ends_with_a_code(folder):
    (folder / "dies.py").write_text(DIES)
    config = f'[extensions]\nmodules = ["dies"]\n[auth]\nsingle_user_api_key = "{KEY}"\n'
    server = ServerProcess(folder, *two_workers(folder, free_port(), config))
    try:
        assert server.process.wait(60) == 1, server.text
    finally:
        server.stop()
    assert "did not come up" in server.text
