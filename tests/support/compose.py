"""In place of `docker`, which needs a daemon and a registry: starts what `compose.yaml` says, on a bare machine.

Each service gets the command, environment, secrets, files and user that it would have in its container, an address of
its own under its name, and its health check is asked. Not there: images, namespaces of each, read-only roots, networks.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
PIDS = Path("/run/containers")
# What the entry point of the image of PostgreSQL does.
POSTGRES = """
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1); data=/var/lib/postgresql/data
if ! [ -e $data/PG_VERSION ]; then
    $bin/initdb -D $data -U $POSTGRES_USER -A scram-sha-256 --pwfile $POSTGRES_PASSWORD_FILE
    echo 'host all all all scram-sha-256' >> $data/pg_hba.conf
    echo "CREATE DATABASE $POSTGRES_DB" | $bin/postgres --single -D $data postgres
fi
exec $bin/postgres -D $data -h postgres -k /run/postgresql
"""
# The programs of images that others make, where they have other names here.
PROGRAMS = {"nginx": ["nginx", "-g", "daemon off;"], "postgres": ["bash", "-euc", POSTGRES]}


def compose():
    """The file, with ${NAME:-default} from the environment."""
    text = re.sub(
        r"(?<!\$)\$\{(\w+):-([^}]*)\}",
        lambda found: os.environ.get(found[1], found[2]),
        (DEPLOY / "compose.yaml").read_text(),
    )
    return yaml.safe_load(text)


def instructions(target):
    """What the Containerfile says last of each instruction, in one stage."""
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    stage = text.partition(f" AS {target}\n")[2].partition("\nFROM ")[0]
    return dict(re.findall(r"^([A-Z]+) +(.*)$", stage, re.MULTILINE))


class Service:
    def __init__(self, name, number, content):
        self.name, self.address = name, f"127.0.0.{number + 10}"
        self.content = content["services"][name]
        self.image = self.content.get("image", "").rpartition("/")[2].partition(":")[0]
        build = self.content.get("build")
        self.built = instructions(build["target"]) if build else {}

    @property
    def command(self):
        if not self.built:
            return self.content.get("command") or PROGRAMS[self.name]
        entry = json.loads(self.built["ENTRYPOINT"])
        command = [*entry, *(self.content.get("command") or json.loads(self.built["CMD"]))]
        # All addresses of its own: here that is one.
        if self.name.startswith("server"):
            command += ["--host", self.address]
        return command

    @property
    def user(self):
        if self.name == "postgres":
            return subprocess.check_output(["id", "-u", "postgres"], text=True).strip()
        return str(self.content.get("user") or self.built.get("USER") or "0").partition(":")[0]

    @property
    def is_healthy(self):
        test = (self.content.get("healthcheck") or {}).get("test")
        if test is None:
            test = ["CMD", *json.loads(self.built["HEALTHCHECK"].partition(" CMD ")[2])]
        script = test[1] if test[0] == "CMD-SHELL" else shlex.join(test[1:])
        if self.name == "postgres":
            script += " --host postgres"
        script = script.replace("127.0.0.1", self.address if self.name != "nginx" else "127.0.0.1")
        return subprocess.run(["sh", "-c", script], capture_output=True, check=False).returncode == 0

    @property
    def folder(self):
        """Where it works: as its image says; those of others work in their volume."""
        named = [volume.partition(":")[2] for volume in self.content.get("volumes", ()) if not volume.startswith(".")]
        return self.built.get("WORKDIR") or (named or ["/"])[0]

    def start(self):
        for volume in self.content.get("volumes", ()):
            source, target = volume.split(":")[:2]
            if source.startswith("."):
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                Path(target).write_bytes((DEPLOY / source).read_bytes())
            else:
                subprocess.run(["install", "-d", "-o", self.user, Path(target)], check=True)
        for place in self.content.get("tmpfs", ()):
            if place.partition(":")[0] != "/tmp":
                subprocess.run(["install", "-d", "-o", self.user, place.partition(":")[0]], check=True)
        with (PIDS / f"{self.name}.log").open("ab") as log:
            process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env={**os.environ, **self.content.get("environment", {})},
                user=int(self.user), extra_groups=[], cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        (PIDS / self.name).write_text(str(process.pid))

    def wait(self):
        until = time.monotonic() + 90
        while not self.is_healthy:
            if time.monotonic() > until or self.is_over:
                sys.exit(f"{self.name} is not healthy:\n{(PIDS / f'{self.name}.log').read_text()[-4000:]}")
            time.sleep(0.2)

    def stop(self):
        os.kill(int((PIDS / self.name).read_text()), signal.SIGTERM)
        while not self.is_over:
            time.sleep(0.05)

    @property
    def is_over(self):
        stat = Path(f"/proc/{(PIDS / self.name).read_text()}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def services(content):
    """All, those first that others need."""
    made = {name: Service(name, number, content) for number, name in enumerate(content["services"])}
    ordered = []

    def add(name):
        for needed in made[name].content.get("depends_on", {}):
            add(needed)
        if made[name] not in ordered:
            ordered.append(made[name])

    for name in made:
        add(name)
    return ordered


def up(content):
    PIDS.mkdir()
    every = services(content)
    with Path("/etc/hosts").open("a") as hosts:
        hosts.writelines(f"{one.address} {one.name}\n" for one in every)
    Path("/run/secrets").mkdir()
    for name, secret in content["secrets"].items():
        (Path("/run/secrets") / name).write_bytes((DEPLOY / secret["file"]).read_bytes())
    for one in every:
        one.start()
        one.wait()
    _forward(443, 8443)


def _forward(outside, inside):
    """Docker's own forwarding of a published port."""
    script = (
        "import socket,threading\n"
        "def pump(a,b):\n"
        "  while data := a.recv(65536): b.sendall(data)\n"
        "  b.shutdown(1)\n"
        f"s=socket.create_server(('127.0.0.1',{outside}))\n"
        "while True:\n"
        f"  a=s.accept()[0]; b=socket.create_connection(('127.0.0.1',{inside}))\n"
        "  for pair in ((a,b),(b,a)): threading.Thread(target=pump,args=pair,daemon=True).start()\n"
    )
    subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    while True:
        try:
            socket.create_connection(("127.0.0.1", outside), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return


def build(target):
    """What the stage of the Containerfile puts into the image, beside programs."""
    if target == "re-manager":
        home = Path("/var/lib/re-manager")
        home.mkdir()
        (profile,) = Path(sys.prefix).glob("lib/python3*/site-packages/bluesky_queueserver/profile_collection_sim")
        shutil.copytree(profile, home / "profile")
        for one in (home, *home.rglob("*")):
            os.chown(one, 10002, 10002)


def main(arguments):
    if arguments[0] == "build":
        build(arguments[arguments.index("--target") + 1])
        return
    if arguments[0] == "run":
        words = arguments[arguments.index("sanic-qserver") + 1 :]
        os.execvp("sanic-qserver", ["sanic-qserver", *words])
    verb, *names = (one for one in arguments[1:] if not one.startswith("--"))
    content = compose()
    if verb == "up":
        up(content)
    for one in services(content):
        if one.name in names:
            {"stop": one.stop, "start": one.start}[verb]()
            if verb == "start":
                one.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
