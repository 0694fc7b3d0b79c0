"""In place of systemd, which must be process 1: reads the units as they are, and starts what they say.

Known are the settings that decide how a service is started, told of its socket, and kept alive: ExecStart, ExecReload,
EnvironmentFile, Environment, DynamicUser, User, StateDirectory, WorkingDirectory, UMask, Type=notify, Restart=always,
TimeoutStopSec, and ListenStream of a socket. Hardening is not: `systemd-analyze verify` reads it in another test.
"""

import configparser
import contextlib
import os
import pwd
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

UNITS = Path("/etc/systemd/system")
STATE = Path("/run/services")
# Debian's own services, by what they run.
DEBIAN = {
    "nginx": {"ExecStart": "/usr/sbin/nginx -g 'daemon off;'", "ExecReload": "/bin/kill -HUP $MAINPID"},
    "postgresql": {
        "ExecStart": "sh -c 'read V C _ <<END\n$(pg_lsclusters -h)\nEND\n"
        "exec /usr/lib/postgresql/$V/bin/postgres -D /var/lib/postgresql/$V/$C "
        "-c config_file=/etc/postgresql/$V/$C/postgresql.conf'",
        "User": "postgres",
        "ready": "until pg_isready -q; do sleep 0.1; done",  # as pg_ctlcluster waits
    },
    "redis-server": {"ExecStart": "/usr/bin/redis-server /etc/redis/redis.conf", "User": "redis"},
}


class Unit(dict):
    """The settings of a service, over all sections; of a repeated one the last."""

    def __init__(self, name: str) -> None:
        super().__init__(DEBIAN.get(name, {}))
        self.name = name
        if name in DEBIAN:
            return
        self.update(_read(UNITS / f"{name}.service"))
        listening = UNITS / f"{name}.socket"
        self.address = _read(listening)["ListenStream"] if listening.exists() else ""

    address = ""

    @property
    def account(self) -> pwd.struct_passwd:
        """Who it runs as. A dynamic user is made at the first start."""
        if self.get("DynamicUser") == "yes":
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(self.name)
            number = 61184 + len(list(STATE.iterdir()))
            with Path("/etc/passwd").open("a") as file:
                file.write(f"{self.name}:x:{number}:{number}::/:/usr/sbin/nologin\n")
        return pwd.getpwnam(self.name if self.get("DynamicUser") == "yes" else self.get("User", "root"))

    def environment(self, more: dict[str, str]) -> dict[str, str]:
        """The service sees nothing of its caller's environment."""
        values = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **more}
        values.update(pair.partition("=")[::2] for pair in shlex.split(self.get("Environment", "")))
        file = self.get("EnvironmentFile", "")
        with contextlib.suppress(FileNotFoundError) if file.startswith("-") else contextlib.nullcontext():
            for line in Path(file.lstrip("-")).read_text().splitlines() if file else ():
                if match := re.match(r"(\w+)=(.*)", line):
                    values[match[1]] = "".join(shlex.split(match[2], comments=False)[:1])
        return values


def _read(file: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(re.sub(r"\\\n\s*", " ", file.read_text()))
    return {key: value for section in parser.sections() for key, value in parser[section].items()}


def supervise(unit: Unit) -> None:
    """Run it until SIGTERM comes, again and again when it ends by itself."""
    listener = None
    if unit.address:
        host, _, port = unit.address.rpartition(":")
        listener = socket.create_server((host, int(port)), backlog=1024)
    is_wanted = True

    def stop(*_: object) -> None:
        nonlocal is_wanted
        is_wanted = False
        process.terminate()

    while is_wanted:
        process = _start(unit, listener)
        signal.signal(signal.SIGTERM, stop)
        code = process.wait()
        (STATE / f"{unit.name}.ready").unlink(missing_ok=True)
        print(f"{unit.name} ended with code {code}", flush=True)
        if unit.get("Restart") != "always" and not (unit.get("Restart") == "on-failure" and code):
            break
        time.sleep(0.2)


def _start(unit: Unit, listener: socket.socket | None) -> "subprocess.Popen[bytes]":
    account, more = unit.account, {}
    if folder := unit.get("StateDirectory"):
        state = Path("/var/lib") / folder
        state.mkdir(exist_ok=True)
        # As systemd does: when the folder is somebody else's, all that is in it changes hands; else nothing.
        for one in (state, *state.rglob("*")) if state.stat().st_uid != account.pw_uid else ():
            os.chown(one, account.pw_uid, account.pw_gid)
        more["STATE_DIRECTORY"] = str(state)
    notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    address = STATE / f"{unit.name}.notify"
    address.unlink(missing_ok=True)
    notices.bind(str(address))
    address.chmod(0o666)
    if unit.get("Type") == "notify":
        more["NOTIFY_SOCKET"] = str(address)
    command = shlex.split(unit["ExecStart"])
    if listener is not None:  # As sd_listen_fds(3) says: number 3, and the process's own id.
        os.dup2(listener.fileno(), 3)
        command = ["/bin/sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh", *command]
    process = subprocess.Popen(
        command, env=unit.environment(more), cwd=unit.get("WorkingDirectory", "/"), user=account.pw_uid,
        group=account.pw_gid, extra_groups=[], umask=int(unit.get("UMask", "022"), 8), start_new_session=True,
        pass_fds=(3,) if listener is not None else (),
    )  # fmt: skip
    (STATE / f"{unit.name}.pid").write_text(str(process.pid))
    if unit.get("Type") == "notify":
        notices.settimeout(90)
        while b"READY=1" not in notices.recv(1000).splitlines():
            pass
    subprocess.run(["sh", "-c", unit.get("ready", "")], check=True, timeout=90)
    (STATE / f"{unit.name}.ready").touch()
    return process


def _wait_until(is_so: "object", what: str) -> None:
    until = time.monotonic() + 90
    while not is_so():  # type: ignore[operator]
        if time.monotonic() > until:
            sys.exit(f"systemctl: {what}")
        time.sleep(0.05)


def is_active(name: str) -> bool:
    """Whether it said that it is ready, or was started where it says nothing."""
    return (STATE / f"{name}.ready").exists()


def start(name: str) -> None:
    if is_active(name):
        return
    log = (STATE / f"{name}.log").open("ab")
    above = subprocess.Popen([sys.executable, __file__, "--supervise", name], stdout=log, stderr=log)
    (STATE / f"{name}.above").write_text(str(above.pid))

    def is_up() -> bool:
        if above.poll() is not None:
            sys.exit(f"systemctl: {name} failed:\n{(STATE / f'{name}.log').read_text()}")
        return is_active(name)

    _wait_until(is_up, f"{name} is not ready")


def stop(name: str) -> None:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        above = int((STATE / f"{name}.above").read_text())
        os.kill(above, signal.SIGTERM)
        _wait_until(lambda: not Path(f"/proc/{above}").exists() or _is_over(above), f"{name} does not end")
    (STATE / f"{name}.ready").unlink(missing_ok=True)


def _is_over(pid: int) -> bool:
    return "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]


def reload(name: str) -> None:
    command = Unit(name)["ExecReload"].replace("$MAINPID", (STATE / f"{name}.pid").read_text())
    subprocess.run(shlex.split(command), check=True)
    time.sleep(0.3)


def control(arguments: list[str]) -> None:
    """`systemctl VERB UNIT…`, for the verbs that the documentation uses."""
    STATE.mkdir(exist_ok=True)
    options = {one for one in arguments if one.startswith("-")}
    verb, *names = (one for one in arguments if one not in options)
    names = [name for name in names if not name.endswith(".timer")]
    names = list(dict.fromkeys(re.sub(r"\.(service|socket)$", "", name) for name in names))
    for name in names:
        if verb in ("start", "restart") or (verb == "enable" and "--now" in options):
            if verb == "restart":
                stop(name)
            start(name)
        elif verb in ("stop", "reload"):
            {"stop": stop, "reload": reload}[verb](name)
        elif verb == "kill":
            os.kill(int((STATE / f"{name}.pid").read_text()), signal.SIGKILL)
            (STATE / f"{name}.ready").unlink(missing_ok=True)
        elif verb == "is-active":
            print("active" if is_active(name) else "inactive")
            if not is_active(name):
                sys.exit(3)
        elif verb != "enable":
            sys.exit(f"systemctl: '{verb}' has no stand-in")


if __name__ == "__main__":
    if sys.argv[1] == "--supervise":
        supervise(Unit(sys.argv[2]))
    elif sys.argv[1] != "daemon-reload":
        control(sys.argv[1:])
