"""What a shell completes by asking the server: plans, their parameters and devices, items of the queue.

It is silent about what goes wrong: there is nowhere to say it.
"""

from collections.abc import Iterable
from typing import Any

import typer
from typer.core import TyperCommand

from sanic_qserver.client.failures import Failure
from sanic_qserver.client.options import Options, environment
from sanic_qserver.client.runtime import Runtime

_PATIENCE_S = 3.0


def _ask(path: str) -> dict[str, Any]:
    """A reply, soon; `{}` when there is none."""
    run = Runtime(Options(timeout_s=_PATIENCE_S), environment())
    try:
        return run.session.get(path)
    except Failure:
        return {}
    finally:
        run.close()


def _matching(incomplete: str, words: Iterable[str]) -> list[str]:
    return sorted(word for word in words if word.startswith(incomplete))


def complete_plan(incomplete: str) -> list[str]:
    """Names of plans."""
    return _matching(incomplete, _ask("/plans/allowed/schema").get("plans", {}))


def complete_words(ctx: typer.Context, incomplete: str) -> list[str]:
    """The words of `add`: a plan, then its parameters and the devices."""
    before = ctx.params.get("words") or ()
    schemas = _ask("/plans/allowed/schema").get("plans", {})
    if not before:
        return _matching(incomplete, schemas)
    if incomplete.startswith("-"):
        parameters = schemas.get(before[0], {}).get("properties", {})
        return _matching(incomplete, (f"--{name}" for name in parameters))
    return _matching(incomplete, _ask("/devices/allowed").get("devices_allowed", {}))


def complete_queued(incomplete: str) -> list[str]:
    """Uids of items in the queue, and of the running one."""
    reply = _ask("/queue/get")
    items = [*reply.get("items", ()), reply.get("running_item") or {}]
    return _matching(incomplete, (item["item_uid"] for item in items if item))


class WordsCommand(TyperCommand):
    """A command whose options end where a plan's arguments begin."""

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Behind the plan `--` means the plan's parameters, not the command's options."""
        options = super().shell_complete(ctx, incomplete)
        if not ctx.params.get("words"):
            return options
        make_item = type(super().shell_complete(ctx, "--")[0])  # of click, or of typer's copy
        return [make_item(word) for word in complete_words(ctx, incomplete)]
