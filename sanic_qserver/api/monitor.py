"""The streams that existing clients watch: status and other information, framed exactly as they parse it."""

from sanic_qserver.api.call import Call
from sanic_qserver.manager.live.status_feed import Snapshot
from sanic_qserver.manager.live.subscriber import Subscriber

_STATUS = frozenset({"status"})
_INFO = frozenset({"status", "info"})


async def status_messages(call: Call) -> Subscriber:
    """Stream the status: `{"time", "msg": {"status": …}}` at once, on each change, and at least once a second."""
    return await _follow(call, _STATUS)


async def info_messages(call: Call) -> Subscriber:
    """Stream what RE Manager tells about itself: `{"time", "msg": {<class>: …}}`, status among it."""
    return await _follow(call, _INFO)


async def _follow(call: Call, topics: frozenset[str]) -> Subscriber:
    status = call.services.live.status
    end = status.follow(_nothing)
    try:
        await status.first()
    except BaseException:
        end()
        raise
    # Each status says all: a slow watcher needs the newest only, and no marker.
    subscriber = Subscriber(status.info, topics, None, max_behind=2)
    subscriber.on_close(end)
    if (message := status.frame_now()) is not None:
        subscriber.begin_with((message,))
    return subscriber


def _nothing(_: Snapshot | None) -> None:
    """Following keeps the status coming; the channel carries it."""
