"""The commands and files of docs/extending.md, run as a newcomer would from an empty folder; and the command line."""

import os
import re
import subprocess
import sys
import time

import httpx
import pytest
from conftest import ROOT
from ports import free_port

from sanic_qserver.cli.extensions import new_extension
from sanic_qserver.errors import ConfigError

TEXT = (ROOT / "docs" / "extending.md").read_text("utf-8")
STEP = re.compile(
    r"<!-- (file: (?P<file>\S+)|run|serve) -->\n```\w+\n(?P<text>.*?)```\n(<!-- prints: (?P<prints>.*?) -->)?",
    re.DOTALL,
)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def in_shell(text, port):
    """The commands, for the interpreter of this test and a port of its own."""
    text = text.replace("60610", str(port)).replace("sanic-qserver demo", f"sanic-qserver demo --port {port}")
    python = f"{sys.executable} -m"
    text = re.sub(r"^(sanic-qserver)", f"exec_ {python} sanic_qserver", text, flags=re.MULTILINE)
    text = re.sub(r"^(pytest)", f"{python} pytest -p no:cacheprovider", text, flags=re.MULTILINE)
    return text.replace("exec_ ", "")


def wait_for(url, until, process=None, headers=None):
    """Ask until the answer satisfies `until`."""
    for _ in range(600):
        assert process is None or process.poll() is None, "the server has ended"
        try:
            if until(httpx.get(url, headers=headers)):
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{url} never answered as wanted")


@pytest.mark.slow
def test_a_newcomer_who_follows_the_document_has_a_tested_route(tmp_path):
    port = free_port()
    servers = []
    try:
        for step in STEP.finditer(TEXT):
            if step["file"]:
                (tmp_path / step["file"]).write_text(step["text"])
            elif step[1] == "serve":
                script = in_shell(step["text"], port).replace(f"{sys.executable} -m", f"exec {sys.executable} -m")
                servers.append(subprocess.Popen(["bash", "-ec", script], cwd=tmp_path, env=ENVIRONMENT))
                wait_for(f"http://127.0.0.1:{port}/readyz", lambda reply: reply.status_code == 200, servers[0])
            else:
                done = subprocess.run(
                    ["bash", "-ec", in_shell(step["text"], port)], check=False, timeout=120,
                    cwd=tmp_path, env=ENVIRONMENT,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                )  # fmt: skip
                assert done.returncode == 0, done.stdout
                assert not step["prints"] or done.stdout.strip() == step["prints"]
    finally:
        for server in servers:
            server.terminate()
            server.wait(30)
    assert (tmp_path / "my_beamline" / "my_beamline.py").exists()


def test_the_first_route_takes_less_than_ten_lines_of_code():
    (code,) = [step["text"] for step in STEP.finditer(TEXT) if step["file"] == "hello.py"]
    assert len([line for line in code.splitlines() if line.strip()]) < 10


@pytest.mark.parametrize("name", ["json", "2fast", "class", "Upper", "a.b", "../up"])
def test_a_bad_name_for_an_extension_is_told(tmp_path, name):
    with pytest.raises(ConfigError):
        new_extension(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path):
    new_extension("my-ext", tmp_path)
    assert (tmp_path / "my-ext" / "my_ext.py").exists()
    with pytest.raises(ConfigError, match="is there already"):
        new_extension("my-ext", tmp_path)


def test_check_ends_with_a_failure_for_a_module_that_fails(tmp_path):
    (tmp_path / "config.toml").write_text('[extensions]\nmodules = ["ext_that_fails"]\n')
    (tmp_path / "ext_that_fails.py").write_text("import nothing_of_this_name\n")
    done = subprocess.run(
        [sys.executable, "-m", "sanic_qserver", "check", "--config", "config.toml"],
        check=False, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "ext_that_fails" in done.stderr
    with (tmp_path / "config.toml").open("a") as file:
        file.write("required = false\n")
    done = subprocess.run(
        [sys.executable, "-m", "sanic_qserver", "check", "--config", "config.toml"],
        check=False, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ext_that_fails" in done.stdout


TOML = '[extensions]\nmodules = ["motor_range"]\n[extensions.options.motor_range.ranges]\nmotor = [-10, 10]\n'
NAMED = {
    "config.toml": ({"config.toml": TOML}, {}),
    "environment": ({"config.toml": ""}, {"QSERVER_CUSTOM_MODULES": "motor_range"}),
    "old YAML": ({"config.yml": "server_configuration: {custom_modules: [motor_range]}\n"}, {}),
}


@pytest.mark.parametrize("named_by", NAMED)
def test_a_rule_that_is_named_and_not_found_stops_the_start(named_by, tmp_path):
    files, environment = NAMED[named_by]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "sanic_qserver", "serve", "--config", *files, "--port", str(free_port())],
        check=False, cwd=tmp_path, env={**ENVIRONMENT, **environment}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "motor_range" in done.stderr


@pytest.mark.slow
def test_a_changed_module_is_served_after_a_moment(tmp_path, instrument):
    module = tmp_path / "ext_reloaded.py"
    text = (
        "from sanic_qserver.extension_api import *\n"
        "async def say(call):\n    'Say it.'\n    return json_bytes('before')\n"
        "def register(host):\n    host.add_endpoint(Endpoint('GET', '/say', None, '', serve=say), public=True)\n"
    )
    module.write_text(text)
    port = free_port()
    (tmp_path / "config.toml").write_text(
        f'[server]\nport = {port}\n[manager]\ncontrol_address = "{instrument.control_address}"\n'
        '[extensions]\nmodules = ["ext_reloaded"]\n'
    )
    command = [sys.executable, "-m", "sanic_qserver", "serve", "--config", "config.toml", "--reload"]
    server = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT)
    try:
        url = f"http://127.0.0.1:{port}/api/say"
        wait_for(url, lambda reply: reply.text == '"before"', server)
        module.write_text(text.replace("before", "after"))
        wait_for(url, lambda reply: reply.text == '"after"', server)
    finally:
        server.terminate()
        server.wait(30)
    with pytest.raises(httpx.ConnectError):  # The process that it watched over has ended with it.
        httpx.get(url, timeout=5)
