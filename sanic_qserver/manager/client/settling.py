"""After how many answers nothing that was sent before can still be under way."""

from sanic_qserver.manager.client.client import ManagerClient


async def wait_until_nothing_is_under_way(manager: ManagerClient, fairness_key: str) -> None:
    """Ask RE Manager until it has done all that this server, or one that is gone, had sent before.

    It takes the calls of one connection in order and those of several by turns, and at most `window` of each were sent:
    so many answers, one after the other, and two more for turns that had begun. Raises what `request` raises.
    """
    for _ in range(manager.config.window + 2):
        await manager.request("ping", fairness_key=fairness_key)
