"""Commands that steer: the queue, the environment, the running plan, the lock; and the lists of plans and devices."""

import secrets
from typing import Annotated, Any

import typer

from sanic_qserver.client.completion import complete_plan
from sanic_qserver.client.failures import WrongUsage
from sanic_qserver.client.output import compact
from sanic_qserver.client.profiles import write_private
from sanic_qserver.client.runtime import get_runtime

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def describe_arguments(item: dict[str, Any]) -> str:
    """The arguments of an item in one line."""
    words = [compact(value) for value in item.get("args") or ()]
    return " ".join([*words, *(f"{name}={compact(value)}" for name, value in (item.get("kwargs") or {}).items())])


def queue_list(context: typer.Context) -> None:
    """Show the running item and the queue."""
    run = get_runtime(context)
    reply = run.session.get("/queue/get")
    running = reply["running_item"]
    rows: list[tuple[tuple[Any, dict[str, Any]], dict[str, Any]]]
    rows = [(("run", running), {**running, "position": None, "is_running": True})] if running else []
    rows += [((at, item), {**item, "position": at, "is_running": False}) for at, item in enumerate(reply["items"])]
    run.out.table(
        ("pos", "name", "item_uid", "user", "arguments"),
        [
            ((at, item.get("name"), item.get("item_uid"), item.get("user"), describe_arguments(item)), value)
            for (at, item), value in rows
        ],
    )


def queue_start(context: typer.Context) -> None:
    """Start the queue."""
    get_runtime(context).command("/queue/start", "The queue is started")


def queue_stop(
    context: typer.Context, cancel: Annotated[bool, typer.Option("--cancel", help="Take the stop back.")] = False
) -> None:
    """Stop the queue after the running plan."""
    path, text = ("/queue/stop/cancel", "The stop is taken back") if cancel else ("/queue/stop", "The queue will stop")
    get_runtime(context).command(path, text)


def queue_clear(context: typer.Context, yes: Yes = False) -> None:
    """Remove all items from the queue."""
    run = get_runtime(context)
    run.confirm("Remove all items from the queue?", is_sure=yes)
    run.command("/queue/clear", "The queue is empty")


def queue_mode(
    context: typer.Context,
    loop: Annotated[bool | None, typer.Option(help="Plans that have run go to the back of the queue again.")] = None,
    ignore_failures: Annotated[bool | None, typer.Option(help="Go on after a failure.")] = None,
    default: Annotated[bool, typer.Option("--default", help="Back to the default.")] = False,
) -> None:
    """Show how the queue runs, or change it."""
    run = get_runtime(context)
    wanted = {
        name: value for name, value in (("loop", loop), ("ignore_failures", ignore_failures)) if value is not None
    }
    if default and wanted:
        raise WrongUsage("--default stands alone")
    if default or wanted:
        run.change("/queue/mode/set", {"mode": "default" if default else wanted})
    run.out.fields(run.session.get("/status")["plan_queue_mode"])


def queue_autostart(context: typer.Context, switch: Annotated[str, typer.Argument(metavar="on|off")]) -> None:
    """Switch the autostart of the queue on or off."""
    if switch not in {"on", "off"}:
        raise WrongUsage(f"{switch!r} is neither on nor off")
    get_runtime(context).command("/queue/autostart", f"Autostart is {switch}", {"enable": switch == "on"})


def environment_open(context: typer.Context) -> None:
    """Begin to open the worker environment. `qsctl wait environment_open` waits for it."""
    get_runtime(context).command("/environment/open", "The environment is being opened")


def environment_close(context: typer.Context) -> None:
    """Begin to close the worker environment."""
    get_runtime(context).command("/environment/close", "The environment is being closed")


def environment_destroy(context: typer.Context, yes: Yes = False) -> None:
    """Kill the worker environment, whatever it does."""
    run = get_runtime(context)
    run.confirm("Kill the worker environment, whatever it does?", is_sure=yes)
    run.command("/environment/destroy", "The environment is being destroyed")


def environment_update(context: typer.Context) -> None:
    """Read the worker's namespace again for plans and devices."""
    get_runtime(context).command("/environment/update", "The lists of plans and devices are being read again")


def plan_pause(
    context: typer.Context, now: Annotated[bool, typer.Option("--now", help="Not at the next checkpoint.")] = False
) -> None:
    """Pause the running plan at its next checkpoint."""
    get_runtime(context).command("/re/pause", "The plan will pause", {"option": "immediate" if now else "deferred"})


def plan_resume(context: typer.Context) -> None:
    """Go on with the paused plan."""
    get_runtime(context).command("/re/resume", "The plan goes on")


def plan_stop(context: typer.Context) -> None:
    """Stop the paused plan: it counts as a success."""
    get_runtime(context).command("/re/stop", "The plan is being stopped")


def plan_abort(context: typer.Context) -> None:
    """Abort the paused plan: it counts as a failure."""
    get_runtime(context).command("/re/abort", "The plan is being aborted")


def plan_halt(context: typer.Context) -> None:
    """Halt the paused plan without its clean-up."""
    get_runtime(context).command("/re/halt", "The plan is being halted")


def plans(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Show the parameters of this plan.", autocompletion=complete_plan)] = "",
) -> None:
    """List the plans that you may run, or the parameters of one."""
    run = get_runtime(context)
    schemas = run.session.get("/plans/allowed/schema")["plans"]
    if not name:
        rows = [((one, _first_line(schema)), {"name": one, **schema}) for one, schema in sorted(schemas.items())]
        run.out.table(("name", "description"), rows)
        return
    if name not in schemas:
        raise unknown_plan(name, schemas)
    schema = schemas[name]
    run.out.record({"name": name, **schema})
    run.out.line(f"{name}  {_first_line(schema)}".rstrip())
    if not run.out.is_json:
        run.out.table(
            ("parameter", "type", "default", "description"),
            [((one, tell_type(of), _default(one, of, schema), _first_line(of)), {}) for one, of in _parameters(schema)],
        )


def unknown_plan(name: str, known: Any) -> WrongUsage:
    """The failure for a plan that is not there, with the names that are close."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=3)
    hint = f"Did you mean {', '.join(close)}?" if close else "qsctl plans lists those that you may run."
    return WrongUsage(f"There is no plan {name!r} that you may run", hint)


def _parameters(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(schema["properties"].items())


def _first_line(schema: dict[str, Any]) -> str:
    return next((line.strip() for line in str(schema.get("description", "")).splitlines() if line.strip()), "")


def _default(name: str, of: dict[str, Any], schema: dict[str, Any]) -> str:
    return "(required)" if name in schema["required"] else compact(of["default"]) if "default" in of else ""


def tell_type(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if schema.get("x-qserver-type"):
        return str(schema["x-qserver-type"])
    if "enum" in schema:
        return "|".join(compact(value) for value in schema["enum"][:6])
    if "anyOf" in schema:
        return "|".join(dict.fromkeys(tell_type(one) for one in schema["anyOf"]))
    kinds = schema.get("type", "any")
    if kinds == "array":
        return f"list of {tell_type(schema['items'])}" if schema.get("items") else "list"
    return (
        kinds if isinstance(kinds, str) else "|".join(one for one in kinds if (one, kinds[0]) != ("boolean", "number"))
    )


def devices(context: typer.Context) -> None:
    """List the devices that you may use."""
    run = get_runtime(context)
    found = run.session.get("/devices/allowed")["devices_allowed"]
    kinds = ("is_readable", "is_movable", "is_flyable")
    rows = [
        (
            (name, " ".join(kind.removeprefix("is_") for kind in kinds if of.get(kind)), of.get("classname", "")),
            {"name": name, **of},
        )
        for name, of in sorted(found.items())
    ]
    run.out.table(("name", "may be", "class"), rows)


def lock(
    context: typer.Context,
    queue: Annotated[bool, typer.Option("--queue", help="Lock the queue only.")] = False,
    environment: Annotated[bool, typer.Option("--environment", help="Lock the environment only.")] = False,
    note: Annotated[str, typer.Option(help="What others are told.")] = "",
) -> None:
    """Lock RE Manager: changes then need a key.

    The key is read from `--lock-key-file`; when there is no such file, a key is made and put there.
    """
    run = get_runtime(context)
    file = run.options.lock_key_file
    if not file:
        raise WrongUsage("The lock needs a key", "Say --lock-key-file FILE: a key is made there, for its owner only.")
    from pathlib import Path

    if not Path(file).exists():
        write_private(Path(file), secrets.token_urlsafe(24) + "\n")
    both = queue == environment
    body = {"queue": queue or both, "environment": environment or both, "note": note or None}
    reply = run.change("/lock", body)
    run.out.done(f"Locked. The key is in {file}", reply["lock_info"])


def unlock(context: typer.Context) -> None:
    """Unlock RE Manager with the lock's key."""
    run = get_runtime(context)
    if not run.options.lock_key_file:
        raise WrongUsage("The lock's key is needed", "Say --lock-key-file FILE.")
    run.out.done("Unlocked", run.change("/unlock")["lock_info"])


COMMANDS = (plans, devices, lock, unlock)
GROUPS: dict[str, tuple[str, dict[str, Any]]] = {
    "queue": (
        "The queue: list, start, stop, clear, mode, autostart.",
        {
            "list": queue_list,
            "start": queue_start,
            "stop": queue_stop,
            "clear": queue_clear,
            "mode": queue_mode,
            "autostart": queue_autostart,
        },
    ),
    "environment": (
        "The worker environment: open, close, destroy, update.",
        {
            "open": environment_open,
            "close": environment_close,
            "destroy": environment_destroy,
            "update": environment_update,
        },
    ),
    "plan": (
        "The running plan: pause, resume, stop, abort, halt.",
        {"pause": plan_pause, "resume": plan_resume, "stop": plan_stop, "abort": plan_abort, "halt": plan_halt},
    ),
}
