"""The command line, run as people run it."""

import os
import subprocess
import sys


def run(*arguments, environment=None, timeout_s=60, stdin=""):
    env = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **(environment or {})}
    command = [sys.executable, "-m", "sanic_qserver", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=timeout_s, check=False, input=stdin)
