"""What RE Manager answers, typed, for the OpenAPI document. Replies are never decoded into these on the way.

Source: `reference/endpoints.md` and replies of RE Manager 0.0.25.
"""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

ManagerState = Literal[
    "initializing",
    "idle",
    "paused",
    "creating_environment",
    "starting_queue",
    "executing_queue",
    "executing_task",
    "closing_environment",
    "destroying_environment",
]
WorkerState = Literal["initializing", "failed", "idle", "executing_plan", "executing_task", "closing", "closed"]


class Reply(Struct, kw_only=True):
    """What every operation answers: a refused one has `success` false, and `msg` says why."""

    success: bool
    msg: str


class PlanQueueMode(Struct, kw_only=True):
    """How the queue runs."""

    loop: bool
    ignore_failures: bool


class LockState(Struct, kw_only=True):
    """What is locked."""

    environment: bool
    queue: bool


class StatusReply(Struct, kw_only=True):
    """The status of RE Manager. Each uid changes with the data that it names."""

    msg: str
    time: str
    status_uid: str
    items_in_queue: int
    items_in_history: int
    running_item_uid: str | None
    manager_state: ManagerState
    queue_stop_pending: bool
    queue_autostart_enabled: bool
    worker_environment_exists: bool
    worker_environment_state: WorkerState
    worker_background_tasks: int
    re_state: str | None
    ip_kernel_state: str | None
    ip_kernel_captured: bool | None
    pause_pending: bool
    run_list_uid: str
    plan_queue_uid: str
    plan_history_uid: str
    devices_existing_uid: str
    plans_existing_uid: str
    devices_allowed_uid: str
    plans_allowed_uid: str
    plan_queue_mode: PlanQueueMode
    task_results_uid: str
    lock_info_uid: str
    lock: LockState


class ItemResult(Struct, kw_only=True):
    """How a plan of the history ended."""

    exit_status: str
    run_uids: list[str]
    scan_ids: list[int]
    time_start: float
    time_stop: float
    msg: str
    traceback: str


class Item(Struct, kw_only=True):
    """A plan, instruction or function, as RE Manager keeps it."""

    item_type: str
    name: str
    item_uid: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    meta: dict[str, Any] | list[dict[str, Any]] = {}
    user: str = ""
    user_group: str = ""
    properties: dict[str, Any] = {}
    result: ItemResult | None = None


class ConfigReply(Reply, kw_only=True):
    """RE Manager's configuration."""

    config: dict[str, Any]


class QueueReply(Reply, kw_only=True):
    """The queue; `running_item` is `{}` when nothing runs."""

    items: list[Item]
    running_item: dict[str, Any]
    plan_queue_uid: str


class ItemReply(Reply, kw_only=True):
    """One item; `{}` or null on failure."""

    item: dict[str, Any] | None


class QueueItemReply(Reply, kw_only=True):
    """One item, and its position in the queue (null for the running one)."""

    item: dict[str, Any]
    position: int | None
    is_running: bool


class Verdict(Struct, kw_only=True):
    """Whether an item would be accepted; `msg` says why not. `item` is what would be submitted, after hooks."""

    valid: bool
    msg: str
    item: dict[str, Any]


class VerdictReply(Reply, kw_only=True):
    """The verdict on an item. `success` is false when RE Manager would not judge (a lock)."""

    valid: bool
    item: dict[str, Any]


class VerdictsReply(Reply, kw_only=True):
    """The verdicts on a batch, one for each item; `valid` says whether the whole would be accepted."""

    valid: bool
    results: list[Verdict]


class PlanSchemasReply(Reply, kw_only=True):
    """JSON Schemas (2020-12) of an object with the arguments by name, for each plan."""

    plans_allowed_uid: str
    plans: dict[str, dict[str, Any]]


class ItemStateMembers(Struct, kw_only=True):
    """Where an item is. `ahead` counts the items that run before it; times are POSIX, in seconds."""

    item_uid: str
    state: Literal[
        "proposed", "queued", "running", "completed", "failed", "stopped", "aborted", "halted", "skipped", "unknown"
    ]
    position: int | None
    ahead: int | None
    item: dict[str, Any]
    result: dict[str, Any] | None
    run_uids: list[str]
    scan_ids: list[int]
    time_start: float | None
    time_stop: float | None


class ItemStateReply(ItemStateMembers, kw_only=True):
    """The state of one item."""

    success: bool
    msg: str


class ItemByKeyReply(ItemStateReply, kw_only=True):
    """The state of the item, the first one of a batch, and the uids of all."""

    item_uids: list[str]


class ItemStatesReply(Reply, kw_only=True):
    """The states of items: the running one, the queue from its front, the history from its newest."""

    items: list[ItemStateMembers]
    total: int
    offset: int


class ItemSizeReply(Reply, kw_only=True):
    """One item, and the size of the queue after the call (null on failure)."""

    item: dict[str, Any] | None
    qsize: int | None


class AddReply(ItemSizeReply, kw_only=True):
    """The item as it was added. `outcome`: RE Manager failed in a way that does not prove that nothing was added."""

    outcome: Literal["unknown"] | UnsetType = UNSET


class ItemResultReply(Reply, kw_only=True):
    """What happened to one item of a batch."""


class BatchReply(Reply, kw_only=True):
    """The items of a batch, what happened to each, and the size of the queue.

    `outcome`: RE Manager failed in a way that does not prove that nothing was added.
    """

    items: list[dict[str, Any]]
    results: list[ItemResultReply]
    qsize: int | None
    outcome: Literal["unknown"] | UnsetType = UNSET


class SheetRowReply(Struct, kw_only=True):
    """What became of one row. `sheet` and `row` are null where a custom reader does not say."""

    number: int
    sheet: str | None
    row: int | None
    success: bool
    msg: str
    item_uid: str | None


class SpreadsheetReply(BatchReply, kw_only=True):
    """The reply to a batch, and what became of each row of the sheet. After a `dry_run` nothing has a uid."""

    qsize: int | None = None
    rows: list[SheetRowReply]
    skipped_rows: list[int] = []
    dry_run: bool = False
    file: str = ""
    reader: str = ""


class ItemsSizeReply(Reply, kw_only=True):
    """Several items, and the size of the queue after the call."""

    items: list[dict[str, Any]]
    qsize: int | None


class HistoryReply(Reply, kw_only=True):
    """The history."""

    items: list[Item]
    plan_history_uid: str


class Run(Struct, kw_only=True):
    """A run of the current plan."""

    uid: str
    scan_id: int
    is_open: bool
    exit_status: str | None


class RunsReply(Reply, kw_only=True):
    """Runs of the current plan."""

    run_list: list[Run]
    run_list_uid: str


class MetadataReply(Reply, kw_only=True):
    """The metadata of the Run Engine."""

    re_metadata: dict[str, Any]


class PlansAllowedReply(Reply, kw_only=True):
    """Allowed plans by name."""

    plans_allowed: dict[str, Any]
    plans_allowed_uid: str | None


class PlansExistingReply(Reply, kw_only=True):
    """Existing plans by name."""

    plans_existing: dict[str, Any]
    plans_existing_uid: str | None


class DevicesAllowedReply(Reply, kw_only=True):
    """Allowed devices by name."""

    devices_allowed: dict[str, Any]
    devices_allowed_uid: str | None


class DevicesExistingReply(Reply, kw_only=True):
    """Existing devices by name."""

    devices_existing: dict[str, Any]
    devices_existing_uid: str | None


class PermissionsReply(Reply, kw_only=True):
    """RE Manager's user group permissions."""

    user_group_permissions: dict[str, Any]


class TaskReply(Reply, kw_only=True):
    """A started task."""

    task_uid: str | None


class FunctionReply(TaskReply, kw_only=True):
    """A started function."""

    item: dict[str, Any] | None


class TaskStatusReply(Reply, kw_only=True):
    """The status of one task, or of several by uid."""

    task_uid: str | list[str] | None
    status: str | dict[str, str] | None


class TaskResultReply(Reply, kw_only=True):
    """The result of a task."""

    task_uid: str | None
    status: str | None
    result: dict[str, Any] | None


class LockReply(Reply, kw_only=True):
    """The state of the lock."""

    lock_info: dict[str, Any]
    lock_info_uid: str | None


class ConsoleReply(Reply, kw_only=True):
    """The last lines of the console."""

    text: str


class ConsoleUidReply(Reply, kw_only=True):
    """Changes with the console output."""

    console_output_uid: str


class ConsoleMessage(Struct, kw_only=True):
    """One published piece of console output: POSIX time in seconds, and text."""

    time: float
    msg: str


class ConsoleUpdateReply(Reply, kw_only=True):
    """Console messages, and the uid to ask with next time."""

    last_msg_uid: str
    console_output_msgs: list[ConsoleMessage]
