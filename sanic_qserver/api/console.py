"""The rows of the console: answered from memory, RE Manager is not asked."""

import time
from typing import cast

import msgspec

from sanic_qserver.api.call import Call
from sanic_qserver.manager.live.subscriber import Message, Subscriber
from sanic_qserver.structs.requests import ConsoleOutput, ConsoleOutputUpdate

_encode = msgspec.json.encode
CONSOLE_TOPIC = "console"
_TOPICS = frozenset({CONSOLE_TOPIC})


async def console_output(call: Call) -> bytes:
    """The last lines as text. `lines` is the manual's other name for `nlines`."""
    params = cast("ConsoleOutput", call.params)
    count = params.nlines if params.lines is msgspec.UNSET else int(params.lines)
    return _encode({"success": True, "msg": "", "text": call.services.console.text(max(count, 0))})


async def console_output_uid(call: Call) -> bytes:
    """A uid that changes with the output."""
    return _encode({"success": True, "msg": "", "console_output_uid": call.services.console.uid})


async def console_output_update(call: Call) -> bytes:
    """The messages after a uid, and the uid to ask with next time. Clients parse exactly these four members."""
    params = cast("ConsoleOutputUpdate", call.params)
    console = call.services.console
    messages = [msgspec.Raw(message) for message in console.messages_after(params.last_msg_uid)]
    return _encode({"success": True, "msg": "", "last_msg_uid": console.uid, "console_output_msgs": messages})


async def console_messages(call: Call) -> Subscriber:
    """Stream the console output as it is published.

    Nothing is replayed. A watcher that is slower than the output loses the oldest messages, and is told in the text.
    """
    services = call.services
    return Subscriber(services.live.console, _TOPICS, _dropped, services.config.console.max_watcher_messages)


def _dropped(count: int, _: str) -> Message:
    # As console output: clients parse these messages strictly.
    text = f"[{count} messages were dropped: this watcher is slower than the output]\n"
    return Message(CONSOLE_TOPIC, _encode({"time": time.time(), "msg": text}))
