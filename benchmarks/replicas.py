"""A facility's deployment on one machine: nginx, two replicas, their Redis and PostgreSQL, RE Manager with its Redis.

Each part can be killed, stopped and started again as it was. With `links`, every connection of a replica goes through a
`Link`, and so do nginx' to it: a part can be partitioned from one replica, or from all.
"""

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from parts import ROOT, DurableInstrument, Links, rss_mb, start_nginx, start_redis, wait_for, write_nginx

from sanic_qserver.demo import Part

sys.path.append(str(ROOT / "tests" / "support"))
from ports import free_port  # no other process on this machine is given the same
from postgres import Postgres

NAMES = ("a", "b")
USERS = ("ada", "bea", "cai", "dan")
PASSWORD = "a-password-of-the-benchmarks"
CONFIG = """
[server]
port = {port}
trusted_proxies = ["127.0.0.1"]
drain_delay_s = 1.0
[log]
level = "{level}"
[manager]
queue_wait_s = 5.0  # RE Manager shares two cores with all the rest.
control_address = "tcp://127.0.0.1:{control}"
info_address = "tcp://127.0.0.1:{info}"
[items]
stamp = true
[replicas]
redis = "redis://127.0.0.1:{redis}/0"
[database]
url = "{database}"
[auth]
secret_keys = ["{secret}"]
[[auth.providers]]
kind = "dictionary"
name = "staff"
[auth.providers.users]
{passwords}
[policy]
rate_limits = "rates.yaml"
[policy.access]
users = {{ {roles} }}
"""

_LEASE = re.compile(r"follows RE Manager from now on \(lease (\d+)\)")


class Replica:
    """One of our servers: the port that it listens on, its configuration, its process."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder, self.port = name, folder / name, free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.part: Part | None = None
        self.memory_mb: list[list[float]] = []  # of each process, once a second
        self._log_begins_at = 0

    def start(self) -> None:
        """Start it, without waiting."""
        command = [sys.executable, "-m", "sanic_qserver", "serve", "--config", str(self.folder / "config.toml")]
        log = self.folder / "server.log"
        self._log_begins_at = log.stat().st_size if log.exists() else 0
        self.part = Part("server", command, self.folder, {"STAFF_PASSWORD": PASSWORD})
        self.memory_mb.append([])

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.part is not None and self.part.is_running

    @property
    def has_served(self) -> bool:
        """Whether the process that was started last came so far."""
        with (self.folder / "server.log").open("rb") as log:
            log.seek(self._log_begins_at)
            return b"Listening on" in log.read()

    @property
    def log(self) -> str:
        """All that it said."""
        return (self.folder / "server.log").read_text("utf-8", "replace")

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.part is not None
        self.part.signal(number)

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait until it has ended, and kill it if it does not. Its exit code."""
        assert self.part is not None
        try:
            return self.part.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.part.signal(signal.SIGKILL)
            return self.part.process.wait()

    def is_ready(self) -> bool:
        """Whether it says so."""
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=2).status_code == 200
        return False

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until it is ready. Raises PartFailed."""
        assert self.part is not None
        until = time.monotonic() + timeout_s
        while not self.is_ready():
            if not self.is_running or time.monotonic() > until:
                raise self.part.failed("is not ready")
            time.sleep(0.05)

    def note_memory(self) -> None:
        """Look how much memory it has now."""
        if self.part is not None and (size := rss_mb(self.part.pid)):
            self.memory_mb[-1].append(size)


class Deployment:
    """All of it."""

    def __init__(self, folder: Path, *, database: str = "postgresql", links: bool = False) -> None:
        self.folder = folder
        self.instrument = DurableInstrument(folder / "instrument", ports=free_port)
        self.redis_port, self.port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.redis: Part | None = None
        self.nginx: Part | None = None
        self.postgres = Postgres() if database == "postgresql" else None
        self.replicas = [Replica(name, folder) for name in NAMES]
        self.links = Links() if links else None
        self._secret = secrets.token_hex(32)

    def start(self) -> None:
        """Start all, one after the other, and open the environment."""
        self.instrument.data_port = free_port()
        self.instrument.redis_port = self._link("manager.redis", self.instrument.data_port)
        self.start_redis()
        if self.postgres is not None:
            self.postgres.start()
        fronts = [self._link(f"{one.name}.front", one.port) for one in self.replicas]
        for replica in self.replicas:
            self._configure(replica)
        if self.links is not None:
            self.links.start()
        wait_for(self.redis_port)
        self.instrument.start()
        for replica in self.replicas:
            replica.start()
            replica.wait_ready()
        self._nginx_file = write_nginx(self.folder, self.port, fronts)
        self.start_nginx()
        wait_for(self.port)

    def start_redis(self) -> None:
        """Start the Redis of the replicas."""
        self.redis = start_redis(self.folder, self.redis_port, "shared-redis")

    def start_nginx(self) -> None:
        """Start nginx."""
        self.nginx = start_nginx(self._nginx_file)

    def make_keys(self) -> dict[str, str]:
        """Log everybody in, and make an API key for each."""
        keys = {}
        with httpx.Client(base_url=self.url, timeout=30) as client:
            for name in USERS:
                form = {"username": name, "password": PASSWORD}
                token = _told(client.post("/api/auth/provider/staff/token", data=form))["access_token"]
                made = client.post(
                    "/api/auth/apikey", json={"expires_in": 7200}, headers={"Authorization": f"Bearer {token}"}
                )
                keys[name] = _told(made)["secret"]
        return keys

    def stop(self) -> None:
        """End all, whatever state it is in."""
        for part in (self.nginx, *(one.part for one in self.replicas), self.redis):
            if part is not None:
                part.stop()
        self.instrument.stop()
        if self.links is not None:
            self.links.stop()
        if self.postgres is not None:
            self.postgres.remove()

    def find_tracebacks(self) -> dict[str, int]:
        """How many tracebacks each of the replicas wrote into its log."""
        return {one.name: count for one in self.replicas if (count := one.log.count("Traceback (most recent"))}

    def find_errors(self) -> list[str]:
        """The lines of the replicas' logs that are errors."""
        return [line for one in self.replicas for line in one.log.splitlines() if "ERROR" in line]

    def find_follower(self) -> Replica:
        """The replica that follows RE Manager for all, or was the last to do so: the one with the newest lease."""
        return max(self.replicas, key=lambda one: max(map(int, _LEASE.findall(one.log)), default=0))

    def _link(self, name: str, target: int) -> int:
        """The port to reach a target at: its own, or that of a link to it."""
        return target if self.links is None else self.links.add(name, free_port(), target)

    def _configure(self, replica: Replica) -> None:
        name = replica.name
        if self.postgres is None:
            database = f"sqlite:///{self.folder}/logins.sqlite"
        else:
            database = f"postgresql://qserver@127.0.0.1:{self._link(f'{name}.postgres', self.postgres.port)}/postgres"
        (replica.folder / "rates.yaml").write_text("rates: []\n")
        (replica.folder / "config.toml").write_text(
            CONFIG.format(
                port=replica.port,
                level=os.environ.get("LOG_LEVEL", "info"),
                control=self._link(f"{name}.control", self.instrument.control_port),
                info=self._link(f"{name}.info", self.instrument.info_port),
                redis=self._link(f"{name}.redis", self.redis_port),
                database=database,
                secret=self._secret,
                passwords="\n".join(f'{one} = "${{STAFF_PASSWORD}}"' for one in USERS),
                roles=", ".join(f'{one} = {{ roles = ["admin", "expert"] }}' for one in USERS),
            )
        )


def _told(reply: httpx.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    told: dict[str, Any] = reply.json()
    return told
