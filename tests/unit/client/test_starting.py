"""`qsctl` starts fast, because it loads little."""

import subprocess
import sys

SERVER_PARTS = ("sanic", "zmq", "sqlalchemy", "pydantic", "msgspec", "uvloop", "yaml", "alembic", "openpyxl")


def loaded(code):
    listing = f"{code}\nimport sys\nprint(*sorted(sys.modules), sep='\\n')"
    return set(subprocess.check_output([sys.executable, "-c", listing], text=True, timeout=60).split())


def test_no_server_parts_are_loaded():
    modules = loaded("from sanic_qserver.client import build_app\nbuild_app()")
    assert modules & set(SERVER_PARTS) == set()
    ours = {name for name in modules if name.startswith("sanic_qserver.")}
    assert {name for name in ours if not name.startswith("sanic_qserver.client")} == set()


def test_what_few_commands_need_is_loaded_by_them():
    modules = loaded("from sanic_qserver.client import build_app\nbuild_app()")
    assert modules & {"httpx", "rich", "pygments", "anyio", "mcp", "keyring", "http.server", "webbrowser"} == set()


def test_the_command_line_of_httpx_is_not_loaded():
    modules = loaded("from sanic_qserver.client.session import load_httpx\nload_httpx()")
    assert "httpx" in modules
    assert modules & {"httpx._main", "rich", "pygments"} == set()
