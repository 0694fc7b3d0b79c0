"""Every permission that exists, spelled once. Policies grant scopes; endpoints ask for them."""

from collections.abc import Set as AbstractSet
from enum import StrEnum


class Scope(StrEnum):
    """What an endpoint can ask for. The names are those of the reference server's policies."""

    READ_STATUS = "read:status"
    READ_QUEUE = "read:queue"
    READ_HISTORY = "read:history"
    READ_RESOURCES = "read:resources"
    READ_CONFIG = "read:config"
    READ_MONITOR = "read:monitor"
    READ_CONSOLE = "read:console"
    READ_LOCK = "read:lock"
    READ_TESTING = "read:testing"
    WRITE_QUEUE_EDIT = "write:queue:edit"
    WRITE_QUEUE_EDIT_OWN = "write:queue:edit:own"
    WRITE_QUEUE_CONTROL = "write:queue:control"
    WRITE_MANAGER_CONTROL = "write:manager:control"
    WRITE_MANAGER_STOP = "write:manager:stop"
    WRITE_PLAN_CONTROL = "write:plan:control"
    WRITE_EXECUTE = "write:execute"
    WRITE_HISTORY_EDIT = "write:history:edit"
    WRITE_PERMISSIONS = "write:permissions"
    WRITE_SCRIPTS = "write:scripts"
    WRITE_CONFIG = "write:config"
    WRITE_LOCK = "write:lock"
    WRITE_TESTING = "write:testing"
    WRITE_PROPOSALS = "write:proposals"
    WRITE_PROPOSALS_DECIDE = "write:proposals:decide"
    USER_APIKEYS = "user:apikeys"
    ADMIN_APIKEYS = "admin:apikeys"
    ADMIN_READ_PRINCIPALS = "admin:read:principals"
    ADMIN_METRICS = "admin:metrics"
    ADMIN_AUDIT = "admin:audit"


COVERED_BY_EDIT = frozenset({Scope.WRITE_QUEUE_EDIT_OWN, Scope.WRITE_PROPOSALS, Scope.WRITE_PROPOSALS_DECIDE})
"""What `write:queue:edit` includes. Granted by name only: no pattern means them, and no built-in role lists them."""


DESCRIPTIONS: dict[Scope, str] = {
    Scope.READ_STATUS: "Read the status of RE Manager.",
    Scope.READ_QUEUE: "Read the plan queue and its items.",
    Scope.READ_HISTORY: "Read the plan history.",
    Scope.READ_RESOURCES: "Read the lists of allowed and existing plans and devices.",
    Scope.READ_CONFIG: "Read RE Manager's configuration and user group permissions.",
    Scope.READ_MONITOR: "Watch runs, tasks, RE metadata and the status stream.",
    Scope.READ_CONSOLE: "Read the console output of RE Manager.",
    Scope.READ_LOCK: "Read the state of RE Manager's lock.",
    Scope.READ_TESTING: "Use the endpoints that test clients without changing anything.",
    Scope.WRITE_QUEUE_EDIT: "Add, change, move and remove any item of the queue.",
    Scope.WRITE_QUEUE_EDIT_OWN: "Add items; change, move and remove one's own items only.",
    Scope.WRITE_QUEUE_CONTROL: "Start and stop the queue, set its mode.",
    Scope.WRITE_MANAGER_CONTROL: "Open, close and destroy the worker environment.",
    Scope.WRITE_MANAGER_STOP: "Stop RE Manager.",
    Scope.WRITE_PLAN_CONTROL: "Pause, resume, stop, abort and halt the running plan.",
    Scope.WRITE_EXECUTE: "Execute single items and functions at once.",
    Scope.WRITE_HISTORY_EDIT: "Clear the plan history.",
    Scope.WRITE_PERMISSIONS: "Set RE Manager's user group permissions.",
    Scope.WRITE_SCRIPTS: "Upload scripts to the worker: runs arbitrary code.",
    Scope.WRITE_CONFIG: "Reload RE Manager's permissions and lists.",
    Scope.WRITE_LOCK: "Lock and unlock RE Manager.",
    Scope.WRITE_TESTING: "Use the endpoints that break things on purpose.",
    Scope.WRITE_PROPOSALS: "Propose items for review.",
    Scope.WRITE_PROPOSALS_DECIDE: "Approve and deny proposals of others.",
    Scope.USER_APIKEYS: "Make, list and delete one's own API keys.",
    Scope.ADMIN_APIKEYS: "Make and delete API keys of others.",
    Scope.ADMIN_READ_PRINCIPALS: "List the people and programs known to the server.",
    Scope.ADMIN_METRICS: "Read the server's metrics.",
    Scope.ADMIN_AUDIT: "Read the audit trail.",
}


def listed(scopes: AbstractSet[str]) -> list[str]:
    """What a caller is told that they hold, sorted. The full right to edit includes the right to one's own items."""
    implied = {Scope.WRITE_QUEUE_EDIT_OWN} if Scope.WRITE_QUEUE_EDIT in scopes else frozenset[str]()
    return sorted(map(str, scopes - implied))
