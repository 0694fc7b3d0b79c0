"""Commands that read what goes on: the status, the queue's past, the console, the events; and waiting."""

from typing import Annotated, Any

import typer

from sanic_qserver.client.events import follow
from sanic_qserver.client.failures import Refused
from sanic_qserver.client.output import Output, compact, tell_time
from sanic_qserver.client.runtime import get_runtime

STATUS_SHOWN = (
    "manager_state",
    "re_state",
    "worker_environment_state",
    "items_in_queue",
    "running_item_uid",
    "items_in_history",
    "queue_stop_pending",
    "queue_autostart_enabled",
    "plan_queue_mode",
    "lock",
)
_LONGEST_WAIT_S = 20.0


def show_status(out: Output, status: dict[str, Any]) -> None:
    """Print a status: what people look for, or all of it for programs."""
    out.fields(status, {name: status.get(name) for name in STATUS_SHOWN})


def status(
    context: typer.Context, watch: Annotated[bool, typer.Option("--watch", help="Go on, at each change.")] = False
) -> None:
    """Show the status of RE Manager."""
    run = get_runtime(context)
    if not watch:
        show_status(run.out, run.session.get("/status"))
        return
    now: dict[str, Any] = {}
    for event in follow(run.session, ["status"]):
        if event["topic"] != "status":
            continue
        kind, data = event["type"], event["data"]
        if kind == "unavailable":
            run.out.done("RE Manager does not answer", {"unavailable": True})
            continue
        now = {**now, **(data.get("changed", {}) if kind == "changed" else data)}
        run.out.line(f"--- {tell_time(event['time'])}")
        show_status(run.out, now)


def history(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="At most so many; 0: all.")] = 20,
    follow_on: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what ends from now on.")] = False,
) -> None:
    """Show the plans that ran, the newest last."""
    run = get_runtime(context)
    items = run.session.get("/history/get")["items"]
    columns = ("ended", "status", "name", "item_uid", "user", "message")
    run.out.table(columns, [_history_row(item) for item in (items[-limit:] if limit else items)])
    if not follow_on:
        return
    for event in follow(run.session, ["history"], snapshot=False):
        if event["type"] == "item_added":
            cells, value = _history_row(event["data"]["item"])
            run.out.done("  ".join(compact(cell or "") for cell in cells), value)


def _history_row(item: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    result = item.get("result") or {}
    words = (tell_time(result.get("time_stop")), result.get("exit_status"), item.get("name"), item.get("item_uid"))
    return (*words, item.get("user"), result.get("msg")), item


def console(
    context: typer.Context,
    follow_on: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is printed from now on.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="So many lines of what was printed.")] = 50,
) -> None:
    """Show what RE Manager and its plans print."""
    run = get_runtime(context)
    text = run.session.get("/console_output", nlines=lines)["text"] if lines else ""
    if run.out.is_json:
        for line in text.splitlines():
            run.out.record({"text": line})
    elif text:
        run.out.line(text.rstrip("\n"))
    if not follow_on:
        return
    for event in follow(run.session, ["console"], snapshot=False):
        if event["type"] != "output":
            continue
        run.out.record({"text": event["data"]["text"], "time": event["time"]})
        if not run.out.is_json:
            run.out.raw(event["data"]["text"])


def events(
    context: typer.Context,
    topics: Annotated[list[str] | None, typer.Argument(help="status, queue, history, console, runs, lock …")] = None,
    snapshot: Annotated[bool, typer.Option(help="Begin with the state of each topic.")] = True,
) -> None:
    """Follow everything that changes, one event a line."""
    run = get_runtime(context)
    for event in follow(run.session, topics or [], snapshot=snapshot):
        if event["type"] == "heartbeat":
            continue
        words = f"{tell_time(event['time'])}  {event['topic']}  {event['type']}  {compact(event['data'])}"
        text = words if not run.out.width or len(words) <= run.out.width else words[: run.out.width - 1] + "…"
        run.out.done(text, event)


def wait(
    context: typer.Context,
    condition: Annotated[
        str,
        typer.Argument(
            metavar="CONDITION",
            help="idle, paused, environment_open, environment_closed, queue_empty, item_finished:UID or MEMBER=VALUE.",
        ),
    ],
    at_most: Annotated[float, typer.Option("--at-most", min=0, help="Seconds; 0: without end.")] = 0,
) -> None:
    """Wait until a condition holds. Ends with 1 when it does not in time."""
    run = get_runtime(context)
    status = wait_for(run.session, condition, at_most)
    run.out.record(status)
    run.out.line(f"{condition}: yes")


def wait_for(session: Any, condition: str, at_most_s: float = 0) -> dict[str, Any]:
    """The status once the condition holds. The server is asked again and again; each answer may take its time."""
    from time import monotonic

    until = monotonic() + at_most_s if at_most_s else float("inf")
    while True:
        left_s = max(0.0, min(_LONGEST_WAIT_S, session.timeout_s / 2, until - monotonic()))
        status: dict[str, Any] = session.get("/status", wait_for=condition, timeout=round(left_s, 3))
        if status["wait"]["met"]:
            return status
        if monotonic() >= until:
            raise Refused(f"Waited for {condition} for {at_most_s:g} s: it is not so", "", status=status)


COMMANDS = (status, history, console, events, wait)
