"""The worker processes of a server that was started with `--workers`."""

import contextlib
import os
from pathlib import Path


def two_workers(folder, redis_port, config=""):
    """The arguments that start a server with two workers, and its configuration: what they share, and more."""
    name = f"test-{os.urandom(4).hex()}"
    shared = f'[replicas]\nredis = "redis://127.0.0.1:{redis_port}/4"\nname = "{name}"\n'
    (folder / "config.toml").write_text(config + shared)
    return "serve", "--workers", 2, "--config", folder / "config.toml"


def workers_of(server):
    """The process ids of the workers."""
    found = set()
    for number in Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if "spawn_main" in Path(f"/proc/{number}/cmdline").read_text():
                found.add(int(number))
    return found
