"""What `qsctl top` shows, as lines of text: the state of things, fed by events. It knows no terminal."""

from collections import deque
from collections.abc import Mapping
from typing import Any

from sanic_qserver.client.control import describe_arguments
from sanic_qserver.client.output import clean

_CONSOLE_LINES = 200


class Screen:
    """The instrument as it was last heard of."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.status: dict[str, Any] = {}
        self.is_available = True
        self.running: dict[str, Any] = {}
        self.items: dict[str, dict[str, Any]] = {}
        self.order: list[str] = []
        self.console: deque[str] = deque(maxlen=_CONSOLE_LINES)
        self.partial = ""
        self.message = ""

    def take(self, event: Mapping[str, Any]) -> None:
        """Learn from an event."""
        topic, kind, data = event["topic"], event["type"], event["data"]
        if topic == "status":
            self.is_available = kind != "unavailable"
            self.status |= data.get("changed", {}) if kind == "changed" else data if self.is_available else {}
        elif topic == "console" and kind == "output":
            *lines, self.partial = (self.partial + clean(data["text"])).split("\n")
            self.console.extend(line for line in lines if line.strip())
        elif topic == "queue":
            self._take_queue(kind, data)

    def _take_queue(self, kind: str, data: Mapping[str, Any]) -> None:
        if kind == "snapshot":
            self.items = {item["item_uid"]: item for item in data["items"]}
            self.order, self.running = list(self.items), data["running_item"] or {}
            return
        uid = data.get("item_uid", "")
        if kind in {"item_added", "item_updated"}:
            self.items[uid] = data["item"]
        if kind in {"item_removed", "item_started", "item_moved", "item_added"} and uid in self.order:
            self.order.remove(uid)
        if kind in {"item_added", "item_moved"}:
            behind = data.get("after_uid")
            self.order.insert(self.order.index(behind) + 1 if behind in self.order else 0, uid)
        elif kind == "item_started":
            self.running = data["item"]
        elif kind == "item_finished":
            self.message = f"{data.get('name')} {data.get('exit_status')}"
            if self.running.get("item_uid") == uid:
                self.running = {}

    def draw(self, width: int, height: int, keys: str) -> list[str]:
        """Exactly `height` lines, none wider than `width`."""
        status = self.status
        state = str(status.get("manager_state", "…")) if self.is_available else "RE MANAGER DOES NOT ANSWER"
        engine = status.get("re_state") or status.get("worker_environment_state") or ""
        pending = "".join(
            f"  {text}" for name, text in (("queue_stop_pending", "STOP PENDING"), ("pause_pending", "PAUSE PENDING"))
            if status.get(name)
        )  # fmt: skip
        locked = "  LOCKED" if any((status.get("lock") or {}).values()) else ""
        head = [
            f"{self.server}  {state}  {engine}{pending}{locked}",
            f"running: {_tell(self.running) if self.running else '-'}",
            f"queue: {len(self.order)} items   history: {status.get('items_in_history', '…')}   {self.message}",
        ]
        room = max(0, height - len(head) - 3)
        for_queue = min(len(self.order), max(room // 2, room - len(self.console)))
        listed = [f"{at:>4}  {_tell(self.items[uid])}" for at, uid in enumerate(self.order[:for_queue])]
        for_console = room - len(listed)
        lines = [*head, "-" * width, *listed, "-" * width, *list(self.console)[-for_console or room :][:for_console]]
        lines = [*lines, *[""] * (height - 1 - len(lines))][: height - 1]
        return [clean(line).expandtabs(4)[:width] for line in (*lines, keys)]


def _tell(item: Mapping[str, Any]) -> str:
    user = f"{item['user']}: " if item.get("user") else ""
    return f"{user}{item.get('name')} {describe_arguments(dict(item))}"
