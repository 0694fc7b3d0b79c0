"""What the README tells people to type works as it stands there."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from conftest import KEY, ROOT
from servers import ServerProcess

from sanic_qserver.cli import COMMANDS

README = (ROOT / "README.md").read_text("utf-8")


def block(name):
    """The code block after a mark."""
    return re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", README, re.DOTALL)[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A running demo."""
    key = {"QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY": KEY}
    with ServerProcess(tmp_path_factory.mktemp("demo"), "demo", environment=key) as server:
        yield server
        server.stop(signal.SIGINT)


@pytest.fixture
def demo(server):
    """The port of the running demo."""
    return server.port


@pytest.mark.slow
def test_the_three_commands_that_the_demo_prints_run_a_plan(server):
    commands = [line.strip() for line in server.text.splitlines() if line.startswith("  http ")]
    assert len(commands) == 3
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    key = {"Authorization": f"ApiKey {KEY}"}
    with httpx.Client(base_url=f"{server.url}/api", headers=key, timeout=90) as client:
        for command in commands:
            script = command.replace("http ", "http --ignore-stdin --check-status ", 1)
            done = subprocess.run(
                ["bash", "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=60
            )
            assert '"success": true' in done.stdout, (command, done.stdout, done.stderr)
            client.get("/status?wait_for=worker_environment_state=idle&timeout=60")
        client.get("/status?wait_for=idle&timeout=60")
        assert client.get("/history/get").json()["items"][-1]["result"]["exit_status"] == "completed"
        client.post("/environment/close")  # Others open it.
        client.get("/status?wait_for=environment_closed&timeout=60")


@pytest.mark.slow
def test_the_commands_of_a_person_work(demo):
    environment = {**os.environ, "KEY": KEY, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for line in block("commands of a person").strip().splitlines():
        command = line.replace("60610", str(demo)).replace("http ", "http --ignore-stdin --check-status ", 1)
        done = subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        assert '"success": false' not in done.stdout, (line, done.stdout)


@pytest.mark.slow
def test_the_program_of_a_person_works(demo):
    program = block("program of a person").replace("60610", str(demo))
    environment = {**os.environ, "KEY": KEY}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout.split()[-1]) == (0, "completed"), done.stderr


STEP = re.compile(r"<!-- run -->\n```(bash|python)\n(.*?)```\n(?:<!-- prints: (.*?) -->)?", re.DOTALL)


@pytest.mark.slow
def test_the_tutorial_goes_from_nothing_to_a_plan_that_ran(demo):
    environment = {**os.environ, "KEY": KEY, "QSERVER": f"http://127.0.0.1:{demo}/api"}
    key = {"Authorization": f"ApiKey {KEY}"}
    with httpx.Client(base_url=environment["QSERVER"], headers=key, timeout=90) as client:
        client.post("/environment/close")  # Other tests opened it; the tutorial begins with nothing.
        client.get("/status?wait_for=environment_closed&timeout=60")
        client.post("/history/clear")
    text = (ROOT / "docs" / "tutorial.md").read_text("utf-8").replace("60610", str(demo))
    steps = STEP.findall(text)
    assert len(steps) == text.count("<!-- run -->")
    for language, program, prints in steps:
        command = ["bash", "-ec", program] if language == "bash" else [sys.executable, "-c", program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, (program, done.stdout, done.stderr)
        assert '"success":false' not in done.stdout.replace(" ", ""), (program, done.stdout)
        assert prints.replace(" ", "") in done.stdout.replace(" ", ""), (program, done.stdout)


def commands():
    """The commands of the chapters about items and live data, and the upload of a sheet; not where they set the key."""
    for chapter in ("items", "live", "extending"):
        text = (ROOT / "docs" / f"{chapter}.md").read_text("utf-8")
        for command in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
            if "ApiKey $KEY" in command:
                yield command


@pytest.mark.slow
def test_the_commands_of_the_chapters_work(demo):
    key = {"Authorization": f"ApiKey {KEY}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{demo}/api", headers=key, timeout=90) as client:
        item = {"item_type": "plan", "name": "count", "args": [["det1"]]}
        uid = client.post("/queue/item/add", json={"item": item}).json()["item"]["item_uid"]
        client.post("/environment/open")  # for who waits for it
    environment = {**os.environ, "KEY": KEY, "QSERVER": f"http://127.0.0.1:{demo}/api", "ITEM_UID": uid}
    for command in commands():
        script = command.replace("60610", str(demo)).replace("curl -N", "timeout 3 curl -sN")
        done = subprocess.run(
            ["bash", "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=90
        )
        assert done.returncode == (124 if "timeout 3" in script else 0), (command, done.stderr)
        assert done.stdout, command
        assert "request_id" not in done.stdout, (command, done.stdout)  # of a problem document
        assert '"success":false' not in done.stdout.replace(" ", ""), (command, done.stdout)


OLD = """
authentication:
  providers:
    - provider: toy
      authenticator: bluesky_httpserver.authenticators:DictionaryAuthenticator
      args: {users_to_passwords: {bob: bobs-own-password}}
api_access:
  policy: bluesky_httpserver.authorization:DictionaryAPIAccessControl
  args: {users: {bob: {roles: [expert]}}}
"""


def test_the_chapter_about_the_reference_server_is_followed_with_an_old_configuration(tmp_path):
    (tmp_path / "old_config.yml").write_text(OLD)
    text = (ROOT / "docs" / "migration.md").read_text("utf-8")
    steps = re.findall(r"<!-- migration -->\n```bash\n(.*?)```", text, re.DOTALL)
    assert len(steps) == text.count("<!-- migration -->") == 2
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for step in steps:
        done = subprocess.run(
            ["bash", "-ec", step],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, (step, done.stdout, done.stderr)
    assert (tmp_path / "new" / "policies" / "permissions.yaml").exists()
    assert "bobs-own-password" not in (tmp_path / "new" / "config.toml").read_text("utf-8")


def test_ci_calls_the_readmes_test_command():
    assert "pytest" in block("test command")
    assert "test command" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_every_link_of_the_readme_leads_somewhere():
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_chapter_is_in_the_table_of_the_readme():
    table = README.partition("| chapter | for |")[2].partition("\n\n")[0]
    chapters = {f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md")} - {"docs/index.md"}
    assert chapters - set(re.findall(r"\]\(([^)]+)\)", table)) == set()


def test_every_command_is_named_in_the_readme():
    for command in COMMANDS:
        name = command.__name__.replace("_", "-")
        assert name in README, name
