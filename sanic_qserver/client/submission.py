"""Adding many items so that each is added once, whatever breaks, and however often the command is repeated.

The rules:
1. A submission has a name, made from the server, who asks, and the items. What is known of it is kept in a file; a
   repeated command goes on from there, and one that is complete sends nothing.
2. Each item carries `{"qsctl": {"submission", "line"}}` in its `meta`. So an item whose answer was lost can be found.
3. Items go out on the bulk stream. When it breaks it is resumed with its token, or found by its `Idempotency-Key`: what
   was decided is not done again.
4. When the server has forgotten the stream (it was restarted), or an outcome is unknown, RE Manager is asked often
   enough that nothing that was sent before can still be under way; then the queue, the history, and proposals of one's
   own, whatever became of them, are searched for the stamps. What is found was added, or proposed for review; the rest
   is sent again.
Without stamps rule 4 cannot be kept: the outcome of what was under way is then unknown, and nothing is sent again.
Who removes such an item from queue or history before the search makes it look as if it was never added.
"""

import contextlib
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sanic_qserver.client.failures import Failure, NotPermitted, OutcomeUnknown, Unreachable, WrongUsage
from sanic_qserver.client.profiles import make_private_folder, write_private
from sanic_qserver.client.session import Session, failure_for

STAMP = "qsctl"
_BARRIER = 12  # More calls than a server has under way at RE Manager (8).
_SAVE_EVERY_S = 1.0
_SILENCE_S = 60.0
_PAUSE_S = 0.5
_PAGE = 100  # Proposals.
_WINDOW = 200  # Lines in one request: their results are read when all are sent.

Item = dict[str, Any]
Result = dict[str, Any]


def name_submission(server: str, who: str, items: Sequence[Item]) -> str:
    """The same for the same items of the same person at the same server."""
    text = json.dumps([server, who, list(items)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def stamp(item: Item, name: str, line: int) -> Item:
    """The item, with its mark in its `meta`."""
    mark = {STAMP: {"submission": name, "line": line}}
    meta = item.get("meta")
    marked = [*meta, mark] if isinstance(meta, list) else {**(meta or {}), **mark}
    return {**item, "meta": marked}


def read_stamp(item: Item) -> tuple[str, int] | None:
    """Submission and line of an item that we stamped."""
    meta = item.get("meta")
    for part in meta if isinstance(meta, list) else [meta]:
        mark = part.get(STAMP) if isinstance(part, dict) else None
        if isinstance(mark, dict) and isinstance(mark.get("line"), int):
            return str(mark.get("submission")), mark["line"]
    return None


class Submission:
    """One submission: its items, what is known of each, and the file where that is kept.

    `results` has for each decided line what the server said: `success`, `msg`, `item_uid`.
    """

    def __init__(self, folder: Path, name: str, items: Sequence[Item], *, stamps: bool = True) -> None:
        self.name, self.items, self.stamps = name, items, stamps
        self.results: dict[int, Result] = {}
        # Of the stream that is open: the key it began with, its token, and which lines it is given.
        self.key, self.token = "", ""
        self.lines: list[int] = []
        self.file = folder / f"submission-{name}.json"
        self.is_known = self._load()
        self._saved_at = self._progressed_at = self._patience_s = 0.0
        self._is_in_doubt = False

    def _load(self) -> bool:
        try:
            kept = json.loads(self.file.read_text("utf-8"))
        except (OSError, ValueError):
            return False
        self.results = {int(line): result for line, result in kept["results"].items()}
        self.key, self.token, self.lines = kept["key"], kept["token"], kept["lines"]
        return True

    def save(self) -> None:
        """Keep what is known. Raises WrongUsage before anything was sent, and OutcomeUnknown after."""
        kept = {"key": self.key, "token": self.token, "lines": self.lines, "results": self.results}
        try:
            make_private_folder(self.file.parent)
            write_private(self.file, json.dumps(kept))
        except WrongUsage as failure:
            if not self._saved_at:
                raise
            hint = "When it can be written, run the same command again: it goes on from here, and adds nothing twice."
            raise OutcomeUnknown(failure.text, hint) from None
        self._saved_at = time.monotonic()

    @property
    def added(self) -> int:
        """How many items were added."""
        return sum(result["success"] is True for result in self.results.values())

    @property
    def refused(self) -> list[tuple[int, Result]]:
        """The lines that RE Manager, or the server, said no to."""
        return [(line, result) for line, result in sorted(self.results.items()) if result["success"] is False]

    @property
    def pending(self) -> list[int]:
        """The lines of which it is not known that they were added or refused."""
        return [line for line in range(len(self.items)) if self.results.get(line, {}).get("success") is None]

    def forget_refused(self) -> None:
        """What was refused may be tried again: nothing was added."""
        for line, _ in self.refused:
            del self.results[line]

    def run(self, session: Session, progress: Callable[[], None], patience_s: float) -> None:
        """Send what is pending until nothing is. Raises what stood in the way for `patience_s` without progress.

        That is OutcomeUnknown when lines were sent of which nothing was heard.
        """
        self._patience_s, self._progressed_at = patience_s, time.monotonic()
        if self.is_known and not self.key and self.pending:
            self._search(session)
        while self.pending:
            known = len(self.pending)
            try:
                self._advance(session, progress)
            except (Unreachable, OutcomeUnknown) as failure:
                if len(self.pending) != known:
                    self._progressed_at = time.monotonic()
                if self._is_out_of_patience or not self._may_search:
                    self.save()
                    raise self._tell_doubt(failure) from None
                time.sleep(_PAUSE_S)
            progress()
        self._end_stream()

    @property
    def _is_out_of_patience(self) -> bool:
        return time.monotonic() - self._progressed_at > self._patience_s

    def _tell_doubt(self, failure: Failure) -> Failure:
        """The failure, if nothing of what was sent is in doubt."""
        if not self._is_in_doubt or isinstance(failure, OutcomeUnknown):
            return failure
        hint = "Run the same command again: it goes on from here, and adds nothing twice."
        return OutcomeUnknown(f"{failure.text} (of some lines that were sent nothing was heard)", hint)

    def _advance(self, session: Session, progress: Callable[[], None]) -> None:
        """Send some lines; find out what became of others first, if an answer was lost."""
        try:
            if self.key and not self.token:
                self._find_stream(session)
            if not self.key:
                self.key, self.lines = str(uuid.uuid4()), self.pending
                self.save()
            self._send(session, progress)
        except Failure as failure:
            if failure.details.get("status") not in {404, 409}:
                raise
            self._search(session)  # The server has forgotten the stream: it was restarted.

    def _find_stream(self, session: Session) -> None:
        """Ask by the key, sending no lines, for a stream whose token was lost with the connection."""
        decided = 0
        for told in self._exchange(session, {}, ()):
            if "stream" in told:
                self.token, decided = told["stream"], told["next_line"]
        if not decided:  # It may be a new one, of a server that has forgotten its keys.
            self._search(session)

    def _send(self, session: Session, progress: Callable[[], None]) -> None:
        """A window of lines, from the first one without a result on."""
        first = next((at for at, line in enumerate(self.lines) if line not in self.results), len(self.lines))
        query = {"resume": self.token, "next": first} if self.token else {}
        is_done = False
        for told in self._exchange(session, query, self.lines[first : first + _WINDOW]):
            if "stream" in told:
                self.token = told["stream"]
                self.save()
            elif "line" in told:
                self.results[self.lines[told["line"]]] = told
                self._progressed_at = time.monotonic()
                progress()
                if time.monotonic() - self._saved_at > _SAVE_EVERY_S:
                    self.save()
            is_done = is_done or told.get("done") is True
        if not is_done:
            raise Unreachable(f"{session.profile.server} ended the stream", "Run the same command again.")
        self._is_in_doubt = False
        if all(line in self.results for line in self.lines):
            if any(self.results[line]["success"] is None for line in self.lines):
                self._search(session)
            self._end_stream()

    def _end_stream(self) -> None:
        self.key, self.token, self.lines = "", "", []
        self.save()

    def _exchange(self, session: Session, query: dict[str, Any], lines: Sequence[int]) -> Iterator[dict[str, Any]]:
        headers = {"Content-Type": "application/x-ndjson", **session.authorization()}
        if not query:
            headers["Idempotency-Key"] = self.key
        body = b"".join(json.dumps(self._line(line), separators=(",", ":")).encode() + b"\n" for line in lines)
        sent = {"params": query, "content": body, "headers": headers, "timeout": session.read_timeout(_SILENCE_S)}
        try:
            with session.client.stream("POST", "/queue/item/add/stream", **sent) as response:
                if response.status_code >= 400:
                    response.read()
                    session.read(response, is_change=False)
                self._is_in_doubt = self._is_in_doubt or bool(lines)
                for line in response.iter_lines():
                    if line.strip():
                        yield read_line(line, session)
                    elif self._is_out_of_patience:  # The server is there, and waits: for a rate limit, or RE Manager?
                        session.get("/status")
                        self._progressed_at = time.monotonic()
        except session.errors as error:
            failure = session.explain(error, is_change=bool(lines))
            self._is_in_doubt = self._is_in_doubt or isinstance(failure, OutcomeUnknown)
            raise session.explain(error, is_change=False) from None

    @property
    def _may_search(self) -> bool:
        return self.stamps or bool(self.key)

    def _line(self, line: int) -> Item:
        return stamp(self.items[line], self.name, line) if self.stamps else self.items[line]

    def _search(self, session: Session) -> None:
        """Find out what was added of the lines without a result."""
        if not self.stamps:
            self._end_stream()
            text = f"The outcome of {len(self.pending)} items is unknown"
            raise OutcomeUnknown(text, "They carry no stamps by which they could be found. Look at qsctl queue list.")
        for _ in range(_BARRIER):
            session.get("/status")
        with contextlib.suppress(NotPermitted):  # Then there can be none.
            self._search_proposals(session)
        queue = session.get("/queue/get")
        history = session.get("/history/get")["items"]
        for line, item in self._find((*queue["items"], queue["running_item"], *history)):
            self.results[line] = {"success": True, "msg": "", "item_uid": item["item_uid"]}
        for line in self.pending:
            self.results.pop(line, None)
        self._is_in_doubt = False
        self._end_stream()

    def _search_proposals(self, session: Session) -> None:
        for proposal in read_proposals(session, mine="true"):
            told = {"success": True, "msg": "Proposed for review", "code": "proposed", "proposal": proposal["id"]}
            self.results.update((line, told) for line, _ in self._find(proposal["items"]))

    def _find(self, items: Iterable[Item | None]) -> Iterator[tuple[int, Item]]:
        """Those items that are ours, with their lines."""
        for item in items:
            mark = read_stamp(item or {})
            if item and mark is not None and mark[0] == self.name and 0 <= mark[1] < len(self.items):
                yield mark[1], item


def read_proposals(session: Session, **query: Any) -> Iterator[dict[str, Any]]:
    """The proposals that one may see, page by page, the newest first."""
    offset, total = 0, 1
    while offset < total:
        reply = session.get("/proposals", **query, offset=offset, limit=_PAGE)
        yield from reply["proposals"]
        offset, total = offset + _PAGE, reply["total"]


def read_line(line: str, session: Session) -> dict[str, Any]:
    """One object of the answer. Raises what a problem in the middle of it means."""
    try:
        told = json.loads(line)
    except ValueError:
        raise Unreachable(f"{session.profile.server} broke off in the middle", "Run the same command again.") from None
    if not isinstance(told, dict):
        raise WrongUsage(f"What answers at {session.profile.server} is not this server")
    if "code" in told and "status" in told and "line" not in told:
        raise failure_for(int(told["status"]), told, is_change=False, server=session.profile.server)
    return told
