"""What a server that is alone does not load."""

import subprocess
import sys

_SAYS = """
import sys
from sanic_qserver.app import create_app
from sanic_qserver.config.settings import Config
create_app(Config())
ours = "sanic_qserver.manager.live.shared"
print([name for name in sys.modules if name.split(".")[0] == "redis" or name.startswith(ours)])
"""


def test_a_server_that_is_alone_loads_nothing_of_redis_or_of_replicas(tmp_path):
    said = subprocess.run([sys.executable, "-c", _SAYS], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert said.stdout.splitlines()[-1] == "[]"
