"""Everything is killed and stopped at random, and it ends exact."""

import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_half_a_minute_of_chaos_ends_exact(tmp_path):
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "chaos.py"),
        "--seconds",
        "30",
        "--seed",
        "3",
        "--watchers",
        "8",
    ]
    played = subprocess.run(
        [*command, "--log", str(tmp_path)], capture_output=True, text=True, timeout=240, check=False
    )
    assert played.returncode == 0, played.stdout + played.stderr
