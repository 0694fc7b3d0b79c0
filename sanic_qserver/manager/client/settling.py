"""After how many answers nothing that was sent before can still be under way, and what is there then."""

from typing import Any

import msgspec

from sanic_qserver.errors import GatewayError
from sanic_qserver.manager.client.client import ManagerClient
from sanic_qserver.manager.replies import decode_reply, refuse_unread


async def wait_until_nothing_is_under_way(manager: ManagerClient, fairness_key: str) -> None:
    """Ask RE Manager until it has done all that this server, or one that is gone, had sent before.

    It takes the calls of one connection in order and those of several by turns, and at most `window` of each were sent:
    so many answers, one after the other, and two more for turns that had begun. Raises what `request` raises.
    """
    for _ in range(manager.config.window + 2):
        await manager.request("ping", fairness_key=fairness_key)


async def find_items(manager: ManagerClient, fairness_key: str) -> list[dict[str, Any]]:
    """The items of the history and the queue, once nothing is under way. Raises GatewayError when they cannot be told.

    The queue is read first: what leaves it in between is in the history then.
    """
    await wait_until_nothing_is_under_way(manager, fairness_key)
    try:
        queue = decode_reply(await manager.request("queue_get", fairness_key=fairness_key))
        history = decode_reply(await manager.request("history_get", fairness_key=fairness_key))
    except msgspec.DecodeError as error:
        raise GatewayError(f"RE Manager's queue cannot be read: {error}") from None
    for reply in (queue, history):
        refuse_unread(bool(reply.get("success")), str(reply.get("msg")))
    found = (*history.get("items", ()), queue.get("running_item"), *queue.get("items", ()))
    return [item for item in found if isinstance(item, dict)]
