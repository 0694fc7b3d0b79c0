"""Commands that hand items to RE Manager: add and validate."""

import hashlib
import json
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from sanic_qserver.client.completion import WordsCommand, complete_words
from sanic_qserver.client.control import describe_arguments, unknown_plan
from sanic_qserver.client.failures import Failure, NotPermitted, OutcomeUnknown, Refused, WrongUsage
from sanic_qserver.client.item_files import is_sheet, read_bytes, read_items
from sanic_qserver.client.output import compact
from sanic_qserver.client.plan_schema import build_item
from sanic_qserver.client.runtime import Runtime, get_runtime
from sanic_qserver.client.submission import Submission, name_submission

INSTRUCTIONS = ("queue_stop",)
_BATCH = 500
_ADDED_BEFORE = "This file was added before: nothing more was added. --again adds it once more."
WORDS = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}

File = Annotated[str, typer.Option("--file", "-f", help="Items: JSON, NDJSON, or a spreadsheet; - is standard input.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PLAN [ARGUMENTS]...]",
        help="As qsctl plans PLAN shows them: det1 det2 --num 5.",
        autocompletion=complete_words,
    ),
]
Sheet = Annotated[str, typer.Option(help="The sheet of a workbook, by name or number.")]


def add(  # noqa: PLR0913, PLR0917  # one option each
    context: typer.Context,
    words: Words = None,
    file: File = "",
    pos: Annotated[str, typer.Option(help="front, back, or a number.")] = "",
    before: Annotated[str, typer.Option(metavar="UID", help="Before this item.")] = "",
    after: Annotated[str, typer.Option(metavar="UID", help="After this item.")] = "",
    meta: Annotated[str, typer.Option(help="The item's metadata, as JSON.")] = "",
    key: Annotated[str, typer.Option(help="The Idempotency-Key: the same call is done once.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask whether it would be accepted. Add nothing.")] = False,
    sheet: Sheet = "",
    again: Annotated[bool, typer.Option("--again", help="Add the file's items once more.")] = False,
    no_stamp: Annotated[bool, typer.Option("--no-stamp", help="Leave the items of a file as they are.")] = False,
    patience: Annotated[float, typer.Option(min=0, help="Seconds to go on trying while nobody answers.")] = 120,
) -> None:
    """Add a plan to the queue, or all items of a file.

    Options stand before the plan; what stands behind it are the plan's arguments. The same file is added once, however
    often the command is run: it goes on where it was interrupted.
    """
    run = get_runtime(context)
    if bool(file) == bool(words):
        raise WrongUsage("Name a plan, or a file with --file", "qsctl add count det1 --num 5")
    if file and is_sheet(file):
        _add_sheet(run, file, sheet, key=key, dry_run=dry_run, again=again)
    elif file:
        items = read_items(file, read_bytes(file))
        if dry_run:
            _validate_all(run, items)
        else:
            _add_all(run, items, again=again, stamps=not no_stamp, patience_s=patience)
    else:
        item = _build(run, words or [], meta)
        if dry_run:
            _validate_all(run, [item])
        else:
            _add_one(run, item, {"pos": read_pos(pos), "before_uid": before or None, "after_uid": after or None}, key)


def validate(context: typer.Context, words: Words = None, file: File = "", sheet: Sheet = "") -> None:
    """Ask whether a plan or a file would be accepted.

    Nothing is added.
    """
    add(context, words, file, sheet=sheet, dry_run=True)


def read_pos(text: str) -> int | str | None:
    """A place in the queue; None when none was said."""
    if not text or text in {"front", "back"}:
        return text or None
    try:
        return int(text)
    except ValueError:
        raise WrongUsage(f"--pos {text}: neither front nor back nor a number") from None


def _build(run: Runtime, words: list[str], meta: str) -> dict[str, Any]:
    """The item that the words mean."""
    name, *rest = words
    if name in INSTRUCTIONS:
        return {"item_type": "instruction", "name": name}
    schemas = run.session.get("/plans/allowed/schema")["plans"]
    if name not in schemas:
        raise unknown_plan(name, schemas)
    item = build_item(name, rest, schemas[name])
    if meta:
        try:
            item["meta"] = json.loads(meta)
        except ValueError as error:
            raise WrongUsage(f"--meta is not JSON: {error}") from None
    return item


def _add_one(run: Runtime, item: dict[str, Any], place: dict[str, Any], key: str) -> None:
    key = key or str(uuid.uuid4())
    try:
        reply = run.change("/queue/item/add", {"item": item, **place}, key=key)
    except OutcomeUnknown as failure:
        hint = f"Run it again with --key {key} before {item['name']}: it is then added once."
        raise OutcomeUnknown(failure.text, hint, **failure.details, idempotency_key=key) from None
    if "proposal" in reply:
        run.out.done(f"Proposed for review as {reply['proposal']['id']}", reply)
        return
    text = f"{reply['item']['item_uid']}  {item['name']} {describe_arguments(item)}".rstrip()
    run.out.done(f"{text}  ({reply['qsize']} in the queue)", reply)


def _add_all(run: Runtime, items: list[dict[str, Any]], *, again: bool, stamps: bool, patience_s: float) -> None:
    server = run.session.profile.server
    who = run.session.get("/auth/whoami").get("uuid", "")
    name = name_submission(server, str(who), items)
    if again:
        name = f"{name}-{uuid.uuid4().hex[:8]}"
    submission = Submission(run.store.folder, name, items, stamps=stamps)
    if submission.is_known and not submission.key:
        submission.forget_refused()
        if not submission.pending:
            run.out.note(_ADDED_BEFORE)
    try:
        with _progress(run, submission) as tell:
            submission.run(run.session, tell, patience_s)
    except (Failure, KeyboardInterrupt) as failure:
        submission.save()
        if submission.added or not isinstance(failure, NotPermitted):
            run.out.note(f"{submission.added} of {len(items)} were added so far. Run the same command again to go on.")
        raise
    for line in range(len(items)):
        run.out.record({"line": line, **{k: v for k, v in submission.results[line].items() if k != "line"}})
    for line, result in submission.refused:
        run.out.note(f"Item {line + 1} was refused: {compact(result['msg'])}")
    proposed = sum(result.get("code") == "proposed" for result in submission.results.values())
    told = f", {proposed} of them proposed for review" if proposed else ""
    run.out.line(f"{submission.added} added, {len(submission.refused)} refused{told}")
    if submission.refused:
        raise Refused(f"{len(submission.refused)} of {len(items)} items were refused", "Mend them, and run it again.")


def _validate_all(run: Runtime, items: list[dict[str, Any]]) -> None:
    bad = 0
    for at in range(0, len(items), _BATCH):
        part = items[at : at + _BATCH]
        results = run.session.call("POST", "/queue/item/validate/batch", body={"items": part})["results"]
        for number, (item, verdict) in enumerate(zip(part, results, strict=True), at):
            bad += not verdict["valid"]
            run.out.record({"line": number, "valid": verdict["valid"], "msg": verdict["msg"], "item": verdict["item"]})
            if not verdict["valid"]:
                run.out.line(f"Item {number + 1}, {item.get('name')}: {compact(verdict['msg'])}")
    if bad:
        raise Refused(f"{bad} of {len(items)} items would be refused")
    run.out.line(f"{len(items)} would be accepted")


def _add_sheet(run: Runtime, file: str, sheet: str, *, key: str, dry_run: bool, again: bool) -> None:
    content = read_bytes(file)
    fields = {name: value for name, value in (("sheet", sheet), ("lock_key", run.session.lock_key)) if value}
    if dry_run:
        fields["dry_run"] = "true"
    digest = hashlib.sha256(content + json.dumps(fields, sort_keys=True).encode()).hexdigest()[:32]
    key = key or (str(uuid.uuid4()) if again else f"qsctl-{digest}")
    headers = {} if dry_run else {"Idempotency-Key": key}
    files = {"spreadsheet": (Path(file).name, content)}
    try:
        reply = run.session.call("POST", "/queue/upload/spreadsheet", headers=headers, data=fields, files=files)
    except Refused as failure:
        _tell_bad_rows(run, failure)
        raise
    for row in reply.get("rows", ()):
        run.out.record(row)
    if run.session.was_done_before:
        run.out.note(_ADDED_BEFORE)
    count = len(reply.get("items", ()))
    run.out.line(f"{count} would be accepted" if dry_run else f"{count} added")


def _tell_bad_rows(run: Runtime, failure: Refused) -> None:
    reply: Any = failure.details.get("reply") or {}
    for row in reply.get("rows", ()):
        if not row["success"] and row["msg"]:
            run.out.note(f"Row {row['row']} of {row['sheet']} was refused: {compact(row['msg'])}")


class _progress:  # noqa: N801  # used as a function
    """A bar on a terminal's error stream, and nothing elsewhere."""

    def __init__(self, run: Runtime, submission: Submission) -> None:
        self._submission = submission
        self._bar: Any = None
        self._is_shown = run.out.err.isatty() and not run.out.is_json and bool(submission.pending)

    def __enter__(self) -> "Any":
        if not self._is_shown:
            return lambda: None
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("adding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(file=sys.stderr))
        task = self._bar.add_task("", total=len(self._submission.items))
        self._bar.start()
        return lambda: self._bar.update(task, completed=len(self._submission.items) - len(self._submission.pending))

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


COMMANDS = (add, validate)
_WITH_WORDS = {"cls": WordsCommand, "context_settings": WORDS}
SETTINGS: dict[str, Any] = {"add": _WITH_WORDS, "validate": _WITH_WORDS}
