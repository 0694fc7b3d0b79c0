"""Commands about one item, and about proposals."""

import json
from typing import Annotated, Any

import typer

from sanic_qserver.client.adding import read_pos
from sanic_qserver.client.completion import complete_queued
from sanic_qserver.client.control import describe_arguments
from sanic_qserver.client.failures import Refused, WrongUsage
from sanic_qserver.client.output import compact, tell_time
from sanic_qserver.client.runtime import Runtime, get_runtime
from sanic_qserver.client.submission import read_proposals
from sanic_qserver.client.watching import wait_for

Uid = Annotated[str, typer.Argument(metavar="UID", autocompletion=complete_queued)]
_ENDED_WELL = ("completed", "stopped")


def item_show(context: typer.Context, uid: Uid) -> None:
    """Show the state of an item, wherever it is."""
    run = get_runtime(context)
    _show(run, run.session.get(f"/item/{uid}"))


def _show(run: Runtime, state: dict[str, Any]) -> None:
    item, result = state["item"], state["result"] or {}
    shown = {
        "state": state["state"],
        "plan": f"{item.get('name')} {describe_arguments(item)}",
        "position": "" if state["position"] is None else f"{state['position']} ({state['ahead']} before it)",
        "user": item.get("user", ""),
        "began": tell_time(state["time_start"]),
        "ended": tell_time(state["time_stop"]),
        "runs": " ".join(state["run_uids"]),
        "message": result.get("msg", ""),
    }
    run.out.fields(state, {name: value for name, value in shown.items() if value})


def item_wait(
    context: typer.Context,
    uid: Uid,
    at_most: Annotated[float, typer.Option("--at-most", min=0, help="Seconds; 0: without end.")] = 0,
) -> None:
    """Wait until an item has ended, and show how. Ends with 1 when it did not end well."""
    run = get_runtime(context)
    state = run.session.get(f"/item/{uid}")
    if state["state"] == "proposed":
        raise Refused("It is proposed, and nobody has decided yet", "qsctl proposals list shows what waits for review.")
    uid = state["item_uid"]  # A proposed item has another one in the queue.
    wait_for(run.session, f"item_finished:{uid}", at_most)
    state = run.session.get(f"/item/{uid}")
    _show(run, state)
    if state["state"] not in _ENDED_WELL:
        raise Refused(f"The plan ended as {state['state']}", "", state=state["state"])


def item_move(
    context: typer.Context,
    uid: Uid,
    to: Annotated[str, typer.Option("--to", help="front, back, or a number.")] = "",
    before: Annotated[str, typer.Option(metavar="UID")] = "",
    after: Annotated[str, typer.Option(metavar="UID")] = "",
) -> None:
    """Move an item of the queue."""
    run = get_runtime(context)
    body = {"uid": uid, "pos_dest": read_pos(to), "before_uid": before or None, "after_uid": after or None}
    if sum(value is not None for value in body.values()) != 2:
        raise WrongUsage("Where to?", "Say one of --to, --before and --after.")
    run.out.done(f"Moved {uid}", run.change("/queue/item/move", body))


def item_remove(
    context: typer.Context, uids: Annotated[list[str], typer.Argument(autocompletion=complete_queued)]
) -> None:
    """Remove items from the queue: all of them, or none."""
    run = get_runtime(context)
    if len(uids) == 1:
        reply = run.change("/queue/item/remove", {"uid": uids[0]})
    else:
        reply = run.change("/queue/item/remove/batch", {"uids": uids, "ignore_missing": False})
    run.out.done(f"Removed {' '.join(uids)}", reply)


def item_update(
    context: typer.Context,
    uid: Uid,
    changes: Annotated[list[str], typer.Argument(help="NAME=VALUE of the plan's parameters, or item=JSON.")],
) -> None:
    """Change the arguments of an item of the queue: its uid stays."""
    run = get_runtime(context)
    state = run.session.get(f"/item/{uid}")
    if state["state"] != "queued":
        raise Refused(f"The item is {state['state']}: only what is in the queue is changed")
    item = dict(state["item"])
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not name:
            raise WrongUsage(f"{change!r} is not NAME=VALUE")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        if name == "item":
            item |= value
        else:
            item["kwargs"] = {**item.get("kwargs", {}), name: value}
    reply = run.change("/queue/item/update", {"item": {**item, "item_uid": uid}})
    run.out.done(f"{uid}  {item['name']} {describe_arguments(reply['item'])}", reply)


def proposals_list(
    context: typer.Context,
    state: Annotated[str, typer.Option(help="open, queued, denied, withdrawn, expired; or all.")] = "open",
    mine: Annotated[bool, typer.Option("--mine", help="Your own only.")] = False,
) -> None:
    """List proposals, the newest first."""
    run = get_runtime(context)
    query = {"state": None if state == "all" else state, "mine": "true" if mine else None}
    rows = [
        ((one["id"], one["state"], len(one["items"]), one["proposer"], tell_time(one["changed_at"]), one["title"]), one)
        for one in read_proposals(run.session, **query)
    ]
    run.out.table(("id", "state", "items", "by", "changed", "title"), rows)


def proposals_show(context: typer.Context, id: str) -> None:  # noqa: A002  # what it is called
    """Show a proposal: items, verdicts, and comments."""
    run = get_runtime(context)
    one = run.session.get(f"/proposals/{id}")["proposal"]
    names = ("id", "version", "state", "title", "note", "proposer", "reason")
    run.out.fields(one, {name: one[name] for name in names if one[name]})
    if run.out.is_json:
        return
    verdicts = [*one["verdicts"], *({} for _ in one["items"])]
    for item, verdict in zip(one["items"], verdicts, strict=False):
        told = "" if verdict.get("valid", True) else f"  WOULD BE REFUSED: {compact(verdict['msg'])}"
        run.out.line(f"  {item.get('name')} {describe_arguments(item)}{told}")
    for comment in one["comments"]:
        run.out.line(f"  {comment['by']}, {tell_time(comment['at'])}: {compact(comment['text'])}")


def proposals_approve(
    context: typer.Context,
    id: str,  # noqa: A002
    version: Annotated[int, typer.Option(help="The version that you looked at.")] = 0,
    pos: Annotated[str, typer.Option(help="front, back, or a number.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Approve the version that is there now.")] = False,
) -> None:
    """Approve a proposal: its items are queued.

    They are the proposer's, as if they had added them.
    """
    run = get_runtime(context)
    headers = _decide_on(run, id, version, "Approve", yes)
    reply = run.change(f"/proposals/{id}/approve", {"pos": read_pos(pos)}, headers=headers)
    run.out.done(f"{id}: {reply['proposal']['state']} {' '.join(reply['proposal']['item_uids'])}", reply["proposal"])


def proposals_deny(
    context: typer.Context,
    id: str,  # noqa: A002
    reason: Annotated[str, typer.Option(help="What the proposer is told.")],
    version: Annotated[int, typer.Option(help="The version that you looked at.")] = 0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Deny the version that is there now.")] = False,
) -> None:
    """Deny a proposal, with a reason."""
    run = get_runtime(context)
    headers = _decide_on(run, id, version, "Deny", yes)
    reply = run.session.post(f"/proposals/{id}/deny", {"reason": reason}, headers=headers)
    run.out.done(f"{id}: {reply['proposal']['state']}", reply["proposal"])


def proposals_withdraw(
    context: typer.Context,
    id: str,  # noqa: A002
    version: Annotated[int, typer.Option(help="The version that you looked at.")] = 0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Withdraw the version that is there now.")] = False,
) -> None:
    """Take back an open proposal of your own."""
    run = get_runtime(context)
    headers = _decide_on(run, id, version, "Withdraw", yes)
    reply = run.session.post(f"/proposals/{id}/withdraw", headers=headers)
    run.out.done(f"{id}: {reply['proposal']['state']}", reply["proposal"])


def _decide_on(run: Runtime, proposal: str, version: int, verb: str, is_sure: bool) -> dict[str, str]:
    """The header that says which version was seen: nobody decides on another one."""
    if not version:
        one = run.session.get(f"/proposals/{proposal}")["proposal"]
        version = one["version"]
        names = ", ".join(f"{item.get('name')} {describe_arguments(item)}".strip() for item in one["items"])
        run.confirm(f"{verb} version {version} of {one['proposer']}: {compact(names)}?", is_sure=is_sure)
    return {"If-Match": f'"{version}"'}


COMMANDS = ()
GROUPS: dict[str, tuple[str, dict[str, Any]]] = {
    "item": (
        "One item: show, wait, move, remove, update.",
        {"show": item_show, "wait": item_wait, "move": item_move, "remove": item_remove, "update": item_update},
    ),
    "proposals": (
        "Proposals: list, show, approve, deny, withdraw.",
        {
            "list": proposals_list,
            "show": proposals_show,
            "approve": proposals_approve,
            "deny": proposals_deny,
            "withdraw": proposals_withdraw,
        },
    ),
}
