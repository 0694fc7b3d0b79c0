"""Two replicas behind nginx, with Redis, PostgreSQL and RE Manager, restarted and killed under load."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from postgres import find_program


@pytest.mark.slow
def test_restarts_and_a_kill_of_replicas_lose_nothing_and_an_orderly_restart_is_not_noticed(tmp_path):
    if shutil.which("nginx", path="/usr/sbin:/usr/bin") is None or find_program("initdb") is None:
        assert not os.environ.get("REQUIRE_ALL_TESTS"), "nginx or PostgreSQL is not installed"
        pytest.skip("nginx or PostgreSQL is not installed")
    command = ["timeout", "--kill-after=20", "140", sys.executable, ROOT / "benchmarks" / "rolling.py"]
    command += ["--seconds", "16", "--restarts", "2", "--kills", "1"]
    command += ["--submitters", "4", "--watchers", "5", "--readers", "2", "--log", tmp_path]
    played = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=170, check=False)
    assert played.returncode == 0, played.stdout + played.stderr
    verdict = json.loads(played.stdout.partition("\n}\n")[0] + "}")
    assert verdict["items acknowledged"] > 10
