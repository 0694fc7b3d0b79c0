"""The files in `deploy/` are read by the programs they are for."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parent.parent.parent / "deploy"


def check(*command):
    if shutil.which(command[0], path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_finds_no_mistake_in_the_unit_and_its_socket(folder):
    unit = (DEPLOY / "sanic-qserver.service").read_text()
    (folder / "sanic-qserver.service").write_text(
        unit.replace("/opt/sanic-qserver/bin/sanic-qserver", f"{sys.executable} -m sanic_qserver")
    )
    shutil.copy(DEPLOY / "sanic-qserver.socket", folder)
    said = check("systemd-analyze", "verify", folder / "sanic-qserver.service", folder / "sanic-qserver.socket")
    assert "sanic-qserver" not in said, said


def test_nginx_reads_its_configuration(folder):
    (folder / "nginx.conf").write_text(
        f"pid {folder}/pid; error_log stderr; events {{}} http {{ access_log off; include {DEPLOY}/nginx.conf; }}"
    )
    check("nginx", "-t", "-q", "-p", folder, "-c", folder / "nginx.conf")


def test_haproxy_reads_its_configuration():
    check("haproxy", "-c", "-q", "-f", DEPLOY / "haproxy.cfg")
