"""Idempotency-Keys in a file: a restart of the server, also a crash, forgets none.

What is promised: a claim is in the file before the call is made, and an answer before it is given. Steps that wait for
the file together are one transaction (`BEGIN IMMEDIATE` … `COMMIT`, write-ahead log); nothing is written behind. The
file survives the end of the process at any moment (SIGKILL). With `synchronous = NORMAL` the last moments before a
loss of *power* may be missing, as they may be from RE Manager's Redis: a call of those moments may be done again.
What is unknown: a call whose worker ended between the claim and the answer. Its key says so.

Several workers on one machine may share the file. Leases count on the machine's monotonic clock, and end at a reboot.
The file is opened at the first key: who sends none pays nothing.
"""

import asyncio
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from sanic_qserver.config.settings import IdempotencyConfig
from sanic_qserver.errors import GatewayError
from sanic_qserver.middleware.idempotency.keys import (
    CUT_OFF,
    LEASE_S,
    Kept,
    Key,
    State,
    StoreUnavailable,
    read_worker,
    without_answer,
)
from sanic_qserver.middleware.idempotency.memory import fitting, too_many_keys

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (id BLOB PRIMARY KEY, owner BLOB NOT NULL, state TEXT NOT NULL, claim TEXT NOT NULL,
    kept BLOB NOT NULL, size INTEGER NOT NULL, expires_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keys_of_owner ON keys (owner, expires_at, size);
CREATE INDEX IF NOT EXISTS keys_by_time ON keys (expires_at);
CREATE TABLE IF NOT EXISTS leases (worker TEXT PRIMARY KEY, boot TEXT NOT NULL, until REAL NOT NULL);
"""
_BUSY_S = 2.0  # For another process that writes.
_SWEEP_S = 30.0
_AT_ONCE = 200  # Steps in one transaction.
_PER_SWEEP = 10_000

Step = Callable[[sqlite3.Connection], Any]


class SqliteKeys:
    """Implements `KeyStore`. A thread of its own does the steps, so that a slow disk stops nobody else."""

    def __init__(self, file: Path, config: IdempotencyConfig) -> None:
        self._file = file
        self._config = config
        self._steps: queue.SimpleQueue[tuple[Step, asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._budgets: dict[bytes, tuple[int, int, float]] = {}  # Keys and bytes of an owner, and until when it holds.
        self._sweep_at = 0.0
        self._boot = _boot_id()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Kept).decode

    async def claim(self, key: Key, claim: str, fingerprint: str) -> Kept | None:
        """See KeyStore."""
        kept: Kept | None = await self._do(lambda db: self._claim(db, key, claim, fingerprint))
        return kept

    async def read(self, key: Key) -> Kept | None:
        """See KeyStore."""
        where = (_id(key), time.time())
        query = "SELECT kept FROM keys WHERE id = ? AND expires_at > ?"
        found = await self._do(lambda db: db.execute(query, where).fetchone())
        return None if found is None else self._decode(found[0])

    async def keep(self, key: Key, claim: str, kept: Kept) -> None:
        """See KeyStore."""
        await self._do(lambda db: self._keep(db, key, claim, fitting(kept, self._config)))

    async def release(self, key: Key, claim: str) -> None:
        """See KeyStore."""
        where = (_id(key), claim, State.RUNNING)
        await self._do(lambda db: db.execute("DELETE FROM keys WHERE id = ? AND claim = ? AND state = ?", where))

    async def renew(self, worker: str) -> None:
        """See KeyStore."""
        await self._do(
            lambda db: db.execute(
                "INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", (worker, self._boot, time.monotonic() + LEASE_S)
            )
        )

    async def close(self) -> None:
        """Finish what was asked for, and close the file."""
        if self._thread is not None:
            self._steps.put(None)
            await asyncio.to_thread(self._thread.join, 5.0)
            self._thread = None

    def _claim(self, db: sqlite3.Connection, key: Key, claim: str, fingerprint: str) -> Kept | None:
        now, known_as = time.time(), _id(key)
        found = db.execute(
            "SELECT state, claim, kept FROM keys WHERE id = ? AND expires_at > ?", (known_as, now)
        ).fetchone()
        if found is None:
            self._count_in(db, key, now)
        elif found[0] != State.RUNNING:
            return self._decode(found[2])
        elif (worker := read_worker(found[1])) != read_worker(claim):
            running = self._decode(found[2])
            if self._has_lease(db, worker):
                return running
            lost = Kept(state=State.UNKNOWN, fingerprint=running.fingerprint, body=CUT_OFF)
            self._write(db, key, claim, lost)
            return lost
        self._write(db, key, claim, Kept(state=State.RUNNING, fingerprint=fingerprint))
        return None

    def _keep(self, db: sqlite3.Connection, key: Key, claim: str, kept: Kept) -> None:
        self._write(db, key, claim, kept)
        owner = _owner(key)
        count, size, until = self._budget(db, owner)
        size += len(kept.body)
        if size > self._config.max_bytes:
            size = self._drop_answers(db, owner)
        self._budgets[owner] = count, size, until

    def _drop_answers(self, db: sqlite3.Connection, owner: bytes) -> int:
        """Replace the oldest answers of an owner by summaries until half of its budget is free. The bytes left."""
        (size,) = db.execute("SELECT total(size) FROM keys WHERE owner = ?", (owner,)).fetchone()
        rows = db.execute("SELECT id, size FROM keys WHERE owner = ? AND size > 300 ORDER BY expires_at", (owner,))
        for known_as, its_size in rows.fetchall():
            if size <= self._config.max_bytes / 2:
                break
            (kept,) = db.execute("SELECT kept FROM keys WHERE id = ?", (known_as,)).fetchone()
            short = without_answer(self._decode(kept))
            db.execute(
                "UPDATE keys SET state = ?, kept = ?, size = ? WHERE id = ?",
                (short.state, self._encode(short), len(short.body), known_as),
            )
            size += len(short.body) - its_size
        return int(min(size, self._config.max_bytes / 2))  # When there is nothing more to drop, do not try each time.

    def _write(self, db: sqlite3.Connection, key: Key, claim: str, kept: Kept) -> None:
        db.execute(
            "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, ?, ?, ?)",
            (_id(key), _owner(key), kept.state, claim, self._encode(kept), len(kept.body),
             time.time() + self._config.keep_s),
        )  # fmt: skip

    def _has_lease(self, db: sqlite3.Connection, worker: str) -> bool:
        where = (worker, self._boot, time.monotonic())
        return (
            db.execute("SELECT 1 FROM leases WHERE worker = ? AND boot = ? AND until > ?", where).fetchone() is not None
        )

    def _count_in(self, db: sqlite3.Connection, key: Key, now: float) -> None:
        owner = _owner(key)
        count, size, until = self._budget(db, owner)
        if count >= self._config.max_keys:
            (oldest,) = db.execute("SELECT min(expires_at) FROM keys WHERE owner = ?", (owner,)).fetchone()
            raise too_many_keys(self._config, oldest - now)
        self._budgets[owner] = count + 1, size, until

    def _budget(self, db: sqlite3.Connection, owner: bytes) -> tuple[int, int, float]:
        known = self._budgets.get(owner)
        if known is None or known[2] < time.monotonic():
            count, size = db.execute("SELECT count(*), total(size) FROM keys WHERE owner = ?", (owner,)).fetchone()
            known = self._budgets[owner] = count, int(size), time.monotonic() + _SWEEP_S
        return known

    def _sweep(self, db: sqlite3.Connection) -> None:
        """Forget what is over, now and then, a bounded number at once."""
        if time.monotonic() < self._sweep_at:
            return
        self._sweep_at = time.monotonic() + _SWEEP_S
        self._budgets.clear()
        db.execute(
            "DELETE FROM keys WHERE id IN (SELECT id FROM keys WHERE expires_at <= ? LIMIT ?)",
            (time.time(), _PER_SWEEP),
        )
        db.execute("DELETE FROM leases WHERE boot != ? OR until < ?", (self._boot, time.monotonic() - 3600))

    async def _do(self, step: Step) -> Any:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="idempotency-keys", daemon=True)
            self._thread.start()
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._steps.put((step, done))
        return await done

    def _run(self) -> None:
        """The thread: takes what waits, does it as one transaction, tells the loop."""
        db: sqlite3.Connection | None = None
        is_open = True
        while is_open:
            waiting = [self._steps.get()]
            while len(waiting) < _AT_ONCE and not self._steps.empty():
                waiting.append(self._steps.get())
            is_open = None not in waiting
            steps = [one for one in waiting if one is not None]
            try:
                db = db or _open(self._file)
                results: list[Any] = self._transact(db, [step for step, _ in steps])
            except (sqlite3.Error, OSError) as error:
                self._budgets.clear()
                results = [StoreUnavailable(f"{self._file}: {error}")] * len(steps)
                if db is not None:
                    db.close()
                db = None
            _tell(steps, results)
        if db is not None:
            db.close()

    def _transact(self, db: sqlite3.Connection, steps: list[Step]) -> list[Any]:
        results: list[Any] = []
        db.execute("BEGIN IMMEDIATE")
        try:
            self._sweep(db)
            for step in steps:
                try:
                    results.append(step(db))
                except GatewayError as refusal:  # Before it wrote anything.
                    results.append(refusal)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return results


def _open(file: Path) -> sqlite3.Connection:
    """The file, made if need be: for its owner only."""
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    db = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.executescript(_SCHEMA)
    return db


def _tell(steps: list[tuple[Step, asyncio.Future[Any]]], results: list[Any]) -> None:
    def settle() -> None:
        for (_, done), result in zip(steps, results, strict=True):
            if done.done():
                continue
            if isinstance(result, Exception):
                done.set_exception(type(result)(*result.args) if isinstance(result, StoreUnavailable) else result)
            else:
                done.set_result(result)

    if steps:
        try:
            steps[0][1].get_loop().call_soon_threadsafe(settle)
        except RuntimeError:  # The loop is closed: nobody waits any more.
            return


def _id(key: Key) -> bytes:
    return blake2b(f"{key.owner}\n{key.name}".encode(), digest_size=16).digest()


def _owner(key: Key) -> bytes:
    return blake2b(key.owner.encode(), digest_size=12).digest()


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:  # Not Linux: a lease may outlive a reboot by its few seconds.
        return ""
