"""Errors for calls without a reply: whether the call was sent, and whether its outcome is known."""

from sanic_qserver.errors import ManagerLost, ManagerTimeout, ManagerUnavailable, Overloaded
from sanic_qserver.manager.client.call import QueuedCall
from sanic_qserver.texts import Text


def too_many(waiting_count: int, retry_after: str) -> Overloaded:
    """The queue is full."""
    return Overloaded(
        f"{waiting_count} calls wait for RE Manager already; this one was not sent",
        headers={"Retry-After": retry_after},
    )


def waited(queue_wait_s: float, retry_after: str) -> Overloaded:
    """Its turn did not come in time."""
    return Overloaded(
        f"The call waited {queue_wait_s:g} s for RE Manager and was not sent", headers={"Retry-After": retry_after}
    )


def unavailable(address: str, why: str) -> ManagerUnavailable:
    """There is no connection."""
    reason = f" ({why})" if why else ""
    return ManagerUnavailable(
        f"There is no connection to RE Manager at {address}{reason}; the call was not sent",
        headers={"Retry-After": "2"},
    )


def lease_ended() -> Overloaded:
    """Its Idempotency-Key, or the edit lock, is no longer this worker's for certain."""
    return Overloaded(
        "The call waited while this server lost its hold on the Idempotency-Key or the edit lock; it was not sent",
        headers={"Retry-After": "1"},
    )


def timed_out(call: QueuedCall) -> ManagerTimeout:
    """It was sent, and its deadline passed."""
    return ManagerTimeout(
        f"{Text.TIMEOUT}: RE Manager did not answer '{call.method}' within {call.deadline_s:g} s" + _outcome(call)
    )


def lost(call: QueuedCall) -> ManagerLost:
    """It was sent, and the connection died."""
    return ManagerLost(
        f"{Text.TIMEOUT}: the connection to RE Manager was lost before it answered '{call.method}'" + _outcome(call)
    )


def _outcome(call: QueuedCall) -> str:
    return "" if call.is_read else ". The outcome is unknown: look at the state before trying again"
