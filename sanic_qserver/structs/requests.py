"""One struct a method of RE Manager: what a client may send, with types.

The first line of each docstring is the summary of the operation in the OpenAPI document.
What stands inside `item` and `items` is RE Manager's business and is never re-shaped. So is the meaning of all other
arguments: what is missing here, or is a word that RE Manager does not know, is sent on, and its answer comes back. Only
a wrong JSON kind is refused here, and what this server serves by itself (the console, waiting, lists in parts).
Sources: RE Manager 0.0.25 (`bluesky_queueserver/manager/manager.py`, the handlers' `supported_param_names`).
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Position = Annotated[int | str, Meta(description='A number (from the back when negative), "front" or "back".')]
Offset = Annotated[int, Meta(ge=0)]
NonEmpty = Annotated[str, Meta(min_length=1)]


_CONDITION = (
    r"^(idle|paused|environment_open|environment_closed|queue_empty|item_finished:\w+|changed:\w+|[a-z][a-z_]*=\w+)$"
)


class Params(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all params: unknown fields are refused, fields that were not sent are not forwarded."""


class NoParams(Params, frozen=True, kw_only=True):
    """No arguments."""


class Reloadable(Params, frozen=True, kw_only=True):
    """Base of reads that accept `reload`, as the reference server does.

    There it forces past a cache of stale replies. Here every read is fresh, so it changes nothing.
    """

    reload: bool | UnsetType = UNSET


class QueueLocked(Params, frozen=True, kw_only=True):
    """Base of calls that are refused while the queue is locked, unless they carry the key."""

    lock_key: str | UnsetType = UNSET


class EnvironmentLocked(Params, frozen=True, kw_only=True):
    """Base of calls that are refused while the environment is locked, unless they carry the key."""

    lock_key: str | UnsetType = UNSET


class CallerQueueLocked(QueueLocked, frozen=True, kw_only=True):
    """Base of queue edits that say who makes them. What the client sends here is overwritten by the server."""

    user: Any = UNSET
    user_group: Any = UNSET


class CallerEnvironmentLocked(EnvironmentLocked, frozen=True, kw_only=True):
    """Base of executions that say who makes them. What the client sends here is overwritten by the server."""

    user: Any = UNSET
    user_group: Any = UNSET


class Ping(Reloadable, frozen=True, kw_only=True):
    """Get some answer from RE Manager: its status."""


class Status(Reloadable, frozen=True, kw_only=True):
    """Get the status of RE Manager.

    `wait_for`: answer once this is so: `idle`, `paused`, `environment_open`, `environment_closed`, `queue_empty`,
    `item_finished:<uid>`, `changed:<status_uid>` or `<member>=<value>`; at the latest after `timeout` seconds.
    """

    wait_for: Annotated[str, Meta(extra_json_schema={"pattern": _CONDITION})] | UnsetType = UNSET
    timeout: Annotated[float, Meta(ge=0)] = 30.0


class ConfigGet(Params, frozen=True, kw_only=True):
    """Get the configuration of RE Manager, with the connection data of the IPython kernel."""


class Part(Reloadable, frozen=True, kw_only=True):
    """Base of reads of long lists: from `offset` on, at most `limit` items, of each only the named `fields`."""

    offset: Offset | UnsetType = UNSET
    limit: Offset | UnsetType = UNSET
    fields: list[str] | UnsetType = UNSET


class QueueGet(Part, frozen=True, kw_only=True):
    """Get the items of the queue, and the running item."""


class QueueItemRead(Params, frozen=True, kw_only=True):
    """Get one item of the queue, or the running one, by the uid in the path."""


class QueueAutostart(EnvironmentLocked, frozen=True, kw_only=True):
    """Switch the autostart of the queue on or off."""

    enable: bool | UnsetType = UNSET


class QueueModeSet(QueueLocked, frozen=True, kw_only=True):
    """Set the mode of the queue: `{"loop": …, "ignore_failures": …}`, or back to `"default"`.

    `loop`: plans that have run go to the back of the queue again. `ignore_failures`: the queue goes on after a failure.
    """

    mode: dict[str, Any] | str | UnsetType = UNSET
    loop: bool | UnsetType = UNSET
    ignore_failures: bool | UnsetType = UNSET


class QueueClear(QueueLocked, frozen=True, kw_only=True):
    """Remove all items from the queue. The running item is not touched."""


class QueueStart(EnvironmentLocked, frozen=True, kw_only=True):
    """Start the queue: RE Manager must be idle and the environment open."""


class QueueStop(EnvironmentLocked, frozen=True, kw_only=True):
    """Stop the queue after the current plan."""


class QueueStopCancel(EnvironmentLocked, frozen=True, kw_only=True):
    """Take a pending stop of the queue back."""


class QueueItemAdd(CallerQueueLocked, frozen=True, kw_only=True):
    """Add a plan or instruction to the queue, by default at its back."""

    item: dict[str, Any] | UnsetType = UNSET
    pos: Position | UnsetType = UNSET
    before_uid: str | UnsetType = UNSET
    after_uid: str | UnsetType = UNSET


class QueueItemAddBatch(CallerQueueLocked, frozen=True, kw_only=True):
    """Add several items at once: all of them, or none when one is not valid."""

    items: list[dict[str, Any]] | UnsetType = UNSET
    pos: Position | UnsetType = UNSET
    before_uid: str | UnsetType = UNSET
    after_uid: str | UnsetType = UNSET


class QueueItemValidate(QueueLocked, frozen=True, kw_only=True):
    """Ask whether RE Manager would accept an item. Nothing is added."""

    item: dict[str, Any]


class QueueItemValidateBatch(QueueLocked, frozen=True, kw_only=True):
    """Ask which of several items RE Manager would accept. Nothing is added."""

    items: list[dict[str, Any]]


class ItemGet(Params, frozen=True, kw_only=True):
    """Get the state of an item, queued, running or ended, and the runs it made."""


class ItemByKey(Params, frozen=True, kw_only=True):
    """Get the state of the item that was added with an `Idempotency-Key` of the caller's own."""


class ItemsGet(Params, frozen=True, kw_only=True):
    """Get the items of a user, `me` by default or `*` for everybody, in the states that are named."""

    user: str | UnsetType = UNSET
    state: tuple[str, ...] | UnsetType = UNSET
    offset: Offset | UnsetType = UNSET
    limit: Offset | UnsetType = UNSET


class QueueItemAddStream(Params, frozen=True, kw_only=True):
    """Add any number of items: one a line in (NDJSON), one result a line out, as soon as it is decided.

    After a broken connection: `resume` with the token of the first line out, and send again from line `next` on, the
    first one without a result. `results="failed"` tells of what was not added only.
    """

    resume: str | UnsetType = UNSET
    next: Offset | UnsetType = UNSET
    results: Literal["all", "failed"] = "all"


class QueueItemExecute(CallerEnvironmentLocked, frozen=True, kw_only=True):
    """Execute one item at once, past the queue: RE Manager must be idle."""

    item: dict[str, Any] | UnsetType = UNSET


class QueueItemUpdate(CallerQueueLocked, frozen=True, kw_only=True):
    """Change an item of the queue, found by the `item_uid` in it; `replace` gives it a new uid."""

    item: dict[str, Any] | UnsetType = UNSET
    replace: bool | UnsetType = UNSET


class QueueItemGet(Params, frozen=True, kw_only=True):
    """Get one item of the queue by position (default: the last) or uid."""

    pos: Position | UnsetType = UNSET
    uid: str | UnsetType = UNSET


class QueueItemRemove(QueueLocked, frozen=True, kw_only=True):
    """Remove one item by position (default: the last) or uid."""

    pos: Position | UnsetType = UNSET
    uid: str | UnsetType = UNSET


class QueueItemRemoveBatch(QueueLocked, frozen=True, kw_only=True):
    """Remove several items by uid."""

    uids: list[str] | UnsetType = UNSET
    ignore_missing: bool | UnsetType = UNSET


class QueueItemMove(QueueLocked, frozen=True, kw_only=True):
    """Move one item: from `pos` or `uid` to `pos_dest`, `before_uid` or `after_uid`."""

    pos: Position | UnsetType = UNSET
    uid: str | UnsetType = UNSET
    pos_dest: Position | UnsetType = UNSET
    before_uid: str | UnsetType = UNSET
    after_uid: str | UnsetType = UNSET


class QueueItemMoveBatch(QueueLocked, frozen=True, kw_only=True):
    """Move several items by uid to the front, the back, or next to another item."""

    uids: list[str] | UnsetType = UNSET
    pos_dest: str | UnsetType = UNSET
    before_uid: str | UnsetType = UNSET
    after_uid: str | UnsetType = UNSET
    reorder: bool | UnsetType = UNSET


class QueueUploadSpreadsheet(Params, frozen=True, kw_only=True):
    """Add the plans of a spreadsheet to the queue. The file is the form part `spreadsheet`.

    `data_type` chooses among the site's readers. `sheet` is a name, or a number from 1. `dry_run` validates and
    shows the plans and adds nothing.
    """

    data_type: str | UnsetType = UNSET
    sheet: str | UnsetType = UNSET
    dry_run: bool = False
    lock_key: str | UnsetType = UNSET
    pos: Position | UnsetType = UNSET
    before_uid: str | UnsetType = UNSET
    after_uid: str | UnsetType = UNSET


class HistoryGet(Part, frozen=True, kw_only=True):
    """Get the plans that ran, with their results; `since` a POSIX time, or after the item with that uid."""

    since: float | str | UnsetType = UNSET


class HistoryClear(QueueLocked, frozen=True, kw_only=True):
    """Clear the history, or trim it to `size` items or to those after `item_uid`."""

    size: int | UnsetType = UNSET
    item_uid: str | UnsetType = UNSET


class EnvironmentOpen(EnvironmentLocked, frozen=True, kw_only=True):
    """Start opening the worker environment.

    `GET /api/status?wait_for=environment_open` answers when it is open.
    """


class EnvironmentClose(EnvironmentLocked, frozen=True, kw_only=True):
    """Start closing the worker environment: RE Manager must be idle."""


class EnvironmentDestroy(EnvironmentLocked, frozen=True, kw_only=True):
    """Kill the worker environment, whatever it does."""


class EnvironmentUpdate(EnvironmentLocked, frozen=True, kw_only=True):
    """Read the worker's namespace again for plans and devices."""

    run_in_background: bool | UnsetType = UNSET


class RePause(EnvironmentLocked, frozen=True, kw_only=True):
    """Pause the running plan: at the next checkpoint (`deferred`) or at once (`immediate`)."""

    option: str | UnsetType = UNSET


class ReResume(EnvironmentLocked, frozen=True, kw_only=True):
    """Resume the paused plan."""


class ReStop(EnvironmentLocked, frozen=True, kw_only=True):
    """Stop the paused plan: it counts as a success."""


class ReAbort(EnvironmentLocked, frozen=True, kw_only=True):
    """Abort the paused plan: it counts as a failure."""


class ReHalt(EnvironmentLocked, frozen=True, kw_only=True):
    """Halt the paused plan without its clean-up."""


class ReRuns(Reloadable, frozen=True, kw_only=True):
    """Get the runs of the current plan: all (`active`), `open` or `closed` ones."""

    option: str | UnsetType = UNSET


class ReRunsFixed(Reloadable, frozen=True, kw_only=True):
    """Get the active, open or closed runs of the current plan, as the path says."""


class ReMetadata(Params, frozen=True, kw_only=True):
    """Get the metadata dictionary of the Run Engine."""


class PlansAllowed(Reloadable, frozen=True, kw_only=True):
    """Get the plans that the caller's user group may run; `reduced` gives a form for user interfaces."""

    reduced: bool | UnsetType = UNSET
    user_group: Any = UNSET


class PlansAllowedSchema(Params, frozen=True, kw_only=True):
    """Get JSON Schemas of the plans that the caller's user group may run; `name` (repeated) narrows the reply."""

    name: tuple[str, ...] | UnsetType = UNSET


class DevicesAllowed(Reloadable, frozen=True, kw_only=True):
    """Get the devices that the caller's user group may use."""

    user_group: Any = UNSET


class PlansExisting(Reloadable, frozen=True, kw_only=True):
    """Get all plans of the worker environment; `reduced` gives a form for user interfaces."""

    reduced: bool | UnsetType = UNSET


class DevicesExisting(Reloadable, frozen=True, kw_only=True):
    """Get all devices of the worker environment."""


class PermissionsReload(QueueLocked, frozen=True, kw_only=True):
    """Read the user group permissions, and the lists of plans and devices, from disk again."""

    restore_plans_devices: bool | UnsetType = UNSET
    restore_permissions: bool | UnsetType = UNSET


class PermissionsGet(Params, frozen=True, kw_only=True):
    """Get RE Manager's user group permissions."""


class PermissionsSet(QueueLocked, frozen=True, kw_only=True):
    """Set RE Manager's user group permissions."""

    user_group_permissions: dict[str, Any] | UnsetType = UNSET


class FunctionExecute(CallerEnvironmentLocked, frozen=True, kw_only=True):
    """Start a function in the worker environment; the reply's `task_uid` finds its result."""

    item: dict[str, Any] | UnsetType = UNSET
    run_in_background: bool | UnsetType = UNSET


class ScriptUpload(EnvironmentLocked, frozen=True, kw_only=True):
    """Run a script in the worker environment; the reply's `task_uid` finds its result."""

    script: str | UnsetType = UNSET
    update_lists: bool | UnsetType = UNSET
    update_re: bool | UnsetType = UNSET
    run_in_background: bool | UnsetType = UNSET


class TaskStatus(Params, frozen=True, kw_only=True):
    """Get the status of one task, or of several: `running`, `completed` or `not_found`."""

    task_uid: str | list[str] | UnsetType = UNSET


class TaskResult(Params, frozen=True, kw_only=True):
    """Get the result of a finished task. RE Manager keeps it for at least 120 s."""

    task_uid: str | UnsetType = UNSET


class KernelInterrupt(EnvironmentLocked, frozen=True, kw_only=True):
    """Send Ctrl-C to the IPython kernel of the worker (IPython mode only)."""

    interrupt_task: bool | UnsetType = UNSET
    interrupt_plan: bool | UnsetType = UNSET


class Lock(Params, frozen=True, kw_only=True):
    """Lock the environment, the queue or both, so that changes need `lock_key`."""

    lock_key: str | UnsetType = UNSET
    environment: bool | UnsetType = UNSET
    queue: bool | UnsetType = UNSET
    note: str | UnsetType | None = UNSET
    user: Any = UNSET


class Unlock(Params, frozen=True, kw_only=True):
    """Unlock RE Manager with the key of the lock, or with the emergency key."""

    lock_key: str | UnsetType = UNSET


class LockInfo(Reloadable, frozen=True, kw_only=True):
    """Get the state of the lock; with `lock_key`, check that key."""

    lock_key: str | UnsetType = UNSET


class ManagerStop(Params, frozen=True, kw_only=True):
    """Stop RE Manager: when idle only (`safe_on`), or whatever it does (`safe_off`)."""

    option: str | UnsetType = UNSET


class ManagerKill(Params, frozen=True, kw_only=True):
    """Freeze RE Manager, to test that its watchdog restarts it. It does not answer."""


class ServerSleep(Params, frozen=True, kw_only=True):
    """Answer after `time` seconds (at most 60), to test a client's time-out."""

    time: Annotated[float, Meta(le=60)]


class Metrics(Params, frozen=True, kw_only=True):
    """Get the server's metrics in the text format of Prometheus."""


class ConsoleOutput(Params, frozen=True, kw_only=True):
    """Get the last lines of the console output as text."""

    nlines: int = 200
    # The manual of 0.0.4 sends `lines`, as text: `http GET …/console_output lines=500`.
    lines: int | Annotated[str, Meta(pattern="^[0-9]{1,9}$")] | UnsetType = UNSET


class ConsoleOutputUid(Params, frozen=True, kw_only=True):
    """Get a uid that changes with the console output."""


class ConsoleOutputUpdate(Params, frozen=True, kw_only=True):
    """Get the console messages after `last_msg_uid`; `"ALL"` gives all that are kept."""

    last_msg_uid: str


class EventsWatch(Params, frozen=True, kw_only=True):
    """Watch everything that changes.

    `topics`: by comma or repeated; all that the caller may see by default. `since`: the id of the last event seen
    (header `Last-Event-ID` wins). `snapshot`: begin with the state of each topic.
    """

    topics: list[str] = []
    since: str = ""
    snapshot: bool = True
