"""Tells a chat when the queue has finished: an outgoing HTTP call whenever RE Manager's state changes so.

In `config.toml`:

    [extensions]
    modules = ["announce"]
    [extensions.options.announce]
    url = "${CHAT_WEBHOOK}"
"""

from typing import Any

import msgspec

from sanic_qserver.extension_api import ExtensionHost


class Options(msgspec.Struct, frozen=True):
    """Where the message goes."""

    url: str


class Announcer:
    """Knows the last state, and whom to tell."""

    def __init__(self, host: ExtensionHost) -> None:
        self.host = host
        self.url = host.options_as(Options).url
        self.last_state = ""

    async def hear(self, status: dict[str, Any]) -> None:
        """Take a status."""
        state = status["manager_state"]
        if self.last_state == "executing_queue" and state == "idle":
            left = status["items_in_queue"]
            await self.host.http.post(self.url, json={"text": f"The queue has stopped; {left} plans are left."})
        self.last_state = state


def register(host: ExtensionHost) -> None:
    """Follow the status."""
    host.on_status(Announcer(host).hear)
