"""What a caller is told when RE Manager gives no answer: was the call sent, and is the outcome known."""

from sanic_qserver.errors import ManagerLost, ManagerTimeout, ManagerUnavailable, Overloaded
from sanic_qserver.manager.client.call import Entry
from sanic_qserver.texts import Text


def too_many(waiting_count: int, retry_after: str) -> Overloaded:
    """The line is full."""
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


def timed_out(entry: Entry) -> ManagerTimeout:
    """It was sent, and its deadline passed."""
    return ManagerTimeout(
        f"{Text.TIMEOUT}: RE Manager did not answer '{entry.method}' within {entry.deadline_s:g} s" + _outcome(entry)
    )


def lost(entry: Entry) -> ManagerLost:
    """It was sent, and the connection died."""
    return ManagerLost(
        f"{Text.TIMEOUT}: the connection to RE Manager was lost before it answered '{entry.method}'" + _outcome(entry)
    )


def _outcome(entry: Entry) -> str:
    return "" if entry.is_read else ". The outcome is unknown: look at the state before trying again"
