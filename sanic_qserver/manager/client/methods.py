"""What is known of RE Manager's methods apart from their params: which change nothing, which take long.

Source: RE Manager 0.0.25, `bluesky_queueserver/manager/manager.py`.
"""

from sanic_qserver.config.settings import ManagerConfig

READS = frozenset(
    {
        "ping",
        "status",
        "config_get",
        "queue_get",
        "queue_item_get",
        "history_get",
        "re_runs",
        "re_metadata",
        "plans_allowed",
        "plans_existing",
        "devices_allowed",
        "devices_existing",
        "permissions_get",
        "task_status",
        "task_result",
        "lock_info",
    }
)
"""Methods that change nothing: a lost answer is only a lost answer."""

SLOW = frozenset(
    {
        "queue_item_add_batch",
        "queue_item_remove_batch",
        "queue_item_move_batch",
        "queue_clear",
        "history_clear",
        "permissions_reload",
        "permissions_set",
    }
)
"""Methods whose work grows with what they are given: RE Manager validates about 600 plans a second."""


def deadline_s(method: str, config: ManagerConfig) -> float:
    """Seconds that RE Manager has for an answer, counted from the sending of the call."""
    configured = config.deadlines_s.get(method)
    if configured is not None:
        return configured
    return config.long_deadline_s if method in SLOW else config.short_deadline_s
