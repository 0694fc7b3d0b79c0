"""The process above the workers: it keeps the listening sockets, replaces a worker that died, and ends with them.

Sanic's own manager is not used: it starts and stops workers, but one that dies is marked as failed and left at that,
and when the last one is gone the manager waits on (Sanic 25.12, `WorkerManager.monitor`).

- A worker that dies after it served is replaced at once; one that dies while it starts, after a wait that doubles.
  After `MOST_FAILED_STARTS` of these in a row all end, with code 1; after a mistake in the configuration at once. Not
  while another worker serves: what has broken since the start (a policy, a certificate, new code) can be mended.
- SIGTERM and SIGINT end all in order, SIGHUP and SIGUSR1 are handed on, SIGUSR2 replaces the workers one by one, with
  the configuration of then.
- A worker whose parent is gone ends by itself. Where systemd has a watchdog, one whose event loop hangs is killed.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from time import monotonic

from sanic_qserver.cli.listening import bind_sockets
from sanic_qserver.cli.logs import start_logging
from sanic_qserver.cli.process import serve_process
from sanic_qserver.cli.stopping import StopSignals
from sanic_qserver.cli.systemd import (
    ALIVE,
    READY,
    alive_period_s,
    notify,
    notify_stopping,
    say_to_systemd,
    take_watchdog,
)
from sanic_qserver.config.settings import Config
from sanic_qserver.errors import ConfigError
from sanic_qserver.http.metrics.slots import Slots
from sanic_qserver.http.metrics.workers import share_figures
from sanic_qserver.http.server.serving import BACKLOG

log = logging.getLogger("sanic_qserver")

MOST_FAILED_STARTS = 5
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 15.0
_LOOK_S = 1.0
_CONFIG_MISTAKE = 2  # The exit code for a mistake in the configuration.
_MARGIN_S = 5.0  # A worker may need so long beyond its drain.


def _work(config: Config, listeners: Sequence[socket.socket], channel: Connection, slots: Slots) -> None:
    """What a worker runs."""
    with StopSignals() as signals:
        start_logging(config.log)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        take_watchdog()

        def say(what: str) -> None:
            with contextlib.suppress(OSError):
                channel.send(what)

        try:
            serve_process(config, listeners, signals, are_kept=False, say=say, workers=share_figures(slots))
        except ConfigError as error:
            print(f"sanic-qserver: {error}", file=sys.stderr)
            sys.exit(_CONFIG_MISTAKE)


class _Worker:
    """One worker: its process, and whether it has begun to serve."""

    def __init__(self, config: Config, listeners: Sequence[socket.socket], slots: Slots) -> None:
        context = multiprocessing.get_context("spawn")
        self.channel, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=_work, args=(config, listeners, theirs, slots), daemon=True)
        self.process.start()
        theirs.close()
        self.is_ready = self.is_reloading = False
        self.heard_at = monotonic()
        self.ends_by: float | None = None  # When it was told to end.

    def look(self) -> None:
        """Take what it says."""
        with contextlib.suppress(EOFError, OSError):
            while self.channel.poll():
                said = self.channel.recv()  # Always: a dead worker's channel ends by raising.
                self.is_ready = self.is_ready or said == "ready"
                self.is_reloading = self.is_reloading and said != "reloaded"
                self.heard_at = monotonic()


class Workers:
    """All workers of a server."""

    def __init__(
        self, config: Config, listeners: Sequence[socket.socket], load_again: Callable[[], Config], *, are_kept: bool
    ) -> None:
        """`are_kept`: systemd has the listening sockets too. `load_again`: the configuration of then."""
        self._load_again = load_again
        self._is_asked_to_replace = self._is_reloading = False
        self._watchdog_s = 2 * alive_period_s()
        self._config = config
        self._listeners = listeners
        self._are_kept = are_kept
        self._slots = Slots.make(config.server.workers)
        self._workers: list[_Worker] = []
        self._old: list[_Worker] = []  # They serve until another one does.
        self._failed_starts = 0
        self._start_at = 0.0
        self._wake_up, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        self._is_stopping = False

    @property
    def _ending_s(self) -> float:
        """How long a worker that was told to end may take."""
        return self._config.server.drain_delay_s + self._config.server.shutdown_timeout_s + _MARGIN_S

    def stop(self) -> None:
        """End the workers, and `run`. From a signal handler."""
        self._is_stopping = True
        self._wake()

    def hand_on(self, number: int) -> None:
        """Send a signal to every worker. From a signal handler."""
        if number == signal.SIGHUP:
            say_to_systemd("reloading")
            self._is_reloading = True
            self._wake()
        for worker in (*self._workers, *self._old):
            if worker.process.pid is not None and worker.is_ready:
                worker.is_reloading = worker.is_reloading or number == signal.SIGHUP
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.process.pid, number)

    def replace_all(self) -> None:
        """Replace the workers, one by one, each when its successor serves. From a signal handler."""
        self._is_asked_to_replace = True
        self._wake()

    def _begin_replacement(self) -> None:
        self._is_asked_to_replace = False
        try:
            self._config = self._load_again()
        except ConfigError as error:
            log.error("The workers are not replaced: %s", error)  # noqa: TRY400  # its text says all
            return
        self._old += self._workers
        self._workers = []

    def run(self) -> int:
        """Keep the workers running until `stop`. The exit code."""
        code, is_told = 0, False
        period_s = min(alive_period_s() or _LOOK_S, _LOOK_S)
        while not self._is_stopping and not code:
            if self._is_asked_to_replace:
                self._begin_replacement()
            self._start_missing()
            self._wait(period_s)
            code = self._look()
            notify(ALIVE)
            self._end_reload()
            if not is_told and self._is_complete():
                is_told = True
                notify(READY)
        notify_stopping(self._config.server)
        return self._end_all() or code

    def _end_reload(self) -> None:
        if self._is_reloading and not any(worker.is_reloading for worker in (*self._workers, *self._old)):
            self._is_reloading = False
            notify(READY)

    def _end_hung(self) -> None:
        """End workers whose event loop hangs, as systemd's watchdog ends a server that is one process.

        And those that were told to end, and do not.
        """
        now = monotonic()
        for worker in (*self._workers, *self._old):
            if worker.is_ready and self._watchdog_s and now - worker.heard_at > self._watchdog_s:
                log.error("Worker %s has not said for %g s that it lives", worker.process.pid, self._watchdog_s)
            elif worker.ends_by is not None and now > worker.ends_by:
                log.error("Worker %s was told to end and did not", worker.process.pid)
            else:
                continue
            worker.process.kill()
            worker.heard_at, worker.ends_by = now, None  # Killed once, and told once.

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._waker, b"!")

    def _is_complete(self) -> bool:
        return len(self._workers) == self._config.server.workers and all(one.is_ready for one in self._workers)

    def _start_missing(self) -> None:
        """Start what is missing; in a replacement one after the other, and not before a wait is over."""
        while len(self._workers) < self._config.server.workers and monotonic() >= self._start_at:
            if self._old and any(not worker.is_ready for worker in self._workers):
                return
            self._workers.append(_Worker(self._config, self._listeners, self._slots))

    def _wait(self, period_s: float) -> None:
        every = (*self._workers, *self._old)
        left_s = max(0.0, self._start_at - monotonic()) or period_s
        channels = [one.channel for one in every if not one.channel.closed and not one.is_ready]
        ready = wait([self._wake_up, *(one.process.sentinel for one in every), *channels], min(left_s, period_s))
        if self._wake_up in ready:
            os.read(self._wake_up, 1024)

    def _look(self) -> int:
        """Note who is ready and who is dead. Gives an exit code when all has to end."""
        for worker in tuple(self._workers):
            was_ready = worker.is_ready
            worker.look()
            if worker.is_ready and not was_ready:
                self._failed_starts = 0
                self._retire_one()
            if not worker.process.is_alive() and (code := self._bury(worker)):
                return code
        for worker in self._old:
            worker.look()
        self._old = [worker for worker in self._old if worker.process.is_alive()]
        self._end_hung()
        return 0

    def _retire_one(self) -> None:
        serving = [worker for worker in self._old if worker.process.is_alive()]
        ready_count = sum(worker.is_ready for worker in self._workers)
        for worker in serving[: max(0, len(serving) + ready_count - self._config.server.workers)]:
            worker.process.terminate()
            worker.ends_by = worker.ends_by or monotonic() + self._ending_s

    def _bury(self, worker: _Worker) -> int:
        self._workers.remove(worker)
        code = worker.process.exitcode
        log.error("Worker %s ended with %s; starting another one", worker.process.pid, code)
        if worker.is_ready:
            return 0
        self._failed_starts += 1
        self._start_at = monotonic() + min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(self._failed_starts, 20))
        if any(other.is_ready and other.process.is_alive() for other in (*self._workers, *self._old)):
            return 0
        if code == _CONFIG_MISTAKE:
            return _CONFIG_MISTAKE
        if self._failed_starts >= MOST_FAILED_STARTS:
            log.error("%d workers in a row did not come up", self._failed_starts)
            return 1
        return 0

    def _end_all(self) -> int:
        """End the workers in order; kill who does not end. The worst of their exit codes."""
        if not self._are_kept:  # What waits in the queues is now theirs alone.
            for listener in self._listeners:
                listener.close()
        every = (*self._workers, *self._old)
        for worker in every:
            worker.process.terminate()
        until = monotonic() + self._ending_s
        for worker in every:
            worker.process.join(max(0.0, until - monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        return int(any(worker.process.exitcode and worker.is_ready for worker in every))


def supervise(
    config: Config, passed: Sequence[socket.socket], signals: StopSignals, load_again: Callable[[], Config]
) -> None:
    """Serve with several workers until a signal comes. Ends the process with a code when it is not 0."""
    listeners = passed or bind_sockets(config.server)
    for listener in listeners:
        listener.listen(BACKLOG)  # While a worker is replaced clients wait, they are not refused.
    workers = Workers(config, listeners, load_again, are_kept=bool(passed))
    signals.tell(workers.stop)
    for handed_on in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(handed_on, lambda number, _: workers.hand_on(number))
    signal.signal(signal.SIGUSR2, lambda *_: workers.replace_all())
    if code := workers.run():
        sys.exit(code)
