"""The newest `websockets` for processes that tests start: the test environment holds an old one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def newer(tmp_path_factory):
    """The environment of processes that find the newest `websockets` first."""
    folder = tmp_path_factory.mktemp("websockets")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--target", str(folder), "websockets>=15"]  # fmt: skip
    subprocess.run(command, check=True, timeout=120)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parents[2])])}
