"""Following the server's events: one stream, continued after a broken connection."""

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

from sanic_qserver.client.failures import Failure, Unreachable
from sanic_qserver.client.session import Session

SILENCE_S = 45.0  # The server's heartbeat comes every 10 s.
_PATIENCE_S = 60.0


def follow(session: Session, topics: Iterable[str] = (), *, snapshot: bool = True) -> Iterator[dict[str, Any]]:
    """Events as they come, without end. A connection that breaks is opened again, for a minute at most."""
    last, broken_since = "", 0.0
    while True:
        try:
            for event in _read(session, topics, last, snapshot=snapshot):
                broken_since = 0.0
                last = event.get("id") or last
                yield event
            failure: Failure = Unreachable(f"{session.profile.server} ended the stream", "Try again.")
        except Unreachable as error:
            failure = error
        now = time.monotonic()
        broken_since = broken_since or now
        if not last or now - broken_since > _PATIENCE_S:
            raise failure
        time.sleep(0.5)


def _read(session: Session, topics: Iterable[str], last: str, *, snapshot: bool) -> Iterator[dict[str, Any]]:
    query: dict[str, Any] = {"topics": ",".join(topics)} if topics else {}
    query["snapshot"] = str(snapshot).lower()
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
    timeout = session.read_timeout(SILENCE_S)
    for is_last in (False, True):
        sent = {**session.authorization(), **headers}
        try:
            with session.client.stream("GET", "/events", params=query, headers=sent, timeout=timeout) as response:
                if response.status_code != 200:
                    response.read()
                    if response.status_code == 401 and not is_last and session.refresh(response):
                        continue
                    session.read(response, is_change=False)
                    raise Unreachable(f"What answers at {session.profile.server} has no events", "Check the address.")
                for line in response.iter_lines():
                    if line.startswith("data:"):
                        yield json.loads(line[5:])
                return
        except session.errors as error:
            raise session.explain(error, is_change=False) from None
