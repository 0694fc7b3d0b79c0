"""The script of docs/cli.md, as it stands there, over TLS behind a proxy with a path prefix."""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT, needs
from logins import PASSWORDS, settings
from proxy import Proxy
from servers import Served, app_of


@pytest.fixture
def closed(served):
    """The shared RE Manager as in the morning: nothing in the queue, and the environment closed."""

    def call(verb, path, **more):
        return served.client.request(verb, path, headers=served.key, timeout=60, **more).json()

    call("POST", "/api/queue/clear")
    if call("GET", "/api/status")["worker_environment_exists"]:
        call("POST", "/api/environment/close")
        call("GET", "/api/status", params={"wait_for": "environment_closed"})
    call("GET", "/api/status", params={"wait_for": "idle"})


@pytest.mark.slow
@pytest.mark.usefixtures("closed")
def test_the_morning_of_an_instrument_is_one_script(make_config, tmp_path):
    needs("nginx", "bash")
    text = (ROOT / "docs" / "cli.md").read_text("utf-8")
    script = re.search(r"<!-- the morning -->\n```bash\n(.*?)```", text, re.DOTALL)[1]
    (tmp_path / "password.txt").write_text(PASSWORDS["alice"] + "\n")
    line = '{"item_type": "plan", "name": "count", "args": [["det1"]]}\n'
    (tmp_path / "scans.ndjson").write_text(line * 3)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "qsctl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from sanic_qserver.client import main; main()" "$@"\n')
    program.chmod(0o755)
    served = Served(app_of(make_config(**settings(tmp_path))))
    try:
        with Proxy(tmp_path, served.port) as proxy:
            environment = {
                "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
                "HOME": str(tmp_path),
                "QSCTL_KEYRING": "0",
                "SERVER": proxy.url,
                "SSL_CERT_FILE": str(proxy.ca_file),
            }
            command = ["bash", "-c", script]
            done = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=150, check=False
            )
    finally:
        served.close()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 added, 0 refused" in done.stdout
    assert "completed" in done.stdout
    assert list((tmp_path / ".local/state/qsctl").glob("profile-*")) == []
