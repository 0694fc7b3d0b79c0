"""The stream of events: topics, the scope that each asks for, and where a watcher begins."""

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

from sanic_qserver.api.endpoint import Call, Stream
from sanic_qserver.errors import BadArguments, NotAuthenticated, ScopeMissing
from sanic_qserver.manager.live.broadcaster import Marker, Message, Outlet
from sanic_qserver.manager.live.event_log import STREAM, TOPICS
from sanic_qserver.manager.live.live import Live
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.identity import PUBLIC, Access
from sanic_qserver.structs.requests import EventsWatch, Params

SCOPES: dict[str, Scope] = {
    "status": Scope.READ_STATUS,
    "queue": Scope.READ_QUEUE,
    "history": Scope.READ_HISTORY,
    "console": Scope.READ_CONSOLE,
    "runs": Scope.READ_MONITOR,
    "lock": Scope.READ_LOCK,
    "plans": Scope.READ_RESOURCES,
    "devices": Scope.READ_RESOURCES,
    "info": Scope.READ_MONITOR,
}
"""What each topic asks for."""

ANY_SCOPE = tuple(dict.fromkeys(SCOPES.values()))


def narrowed(row: Stream, params: Params) -> Stream:
    """The row as the gate must see it: with the scope of a topic that was asked for.

    Of one that the anonymous may not see, if there is: then the gate waits for a credential. The others are seen to
    by `topics_of`.
    """
    named = sorted(topics_named(cast("EventsWatch", params)), key=lambda topic: topic == "status")
    return replace(row, scope=SCOPES[named[0]], any_scope=()) if named else row


def topics_named(params: EventsWatch) -> list[str]:
    """The topics that were asked for, by comma or by repetition. Raises BadArguments."""
    named = [topic.strip() for part in params.topics for topic in part.split(",") if topic.strip()]
    if unknown := sorted(set(named) - set(TOPICS)):
        raise BadArguments(f"topics: there is no {unknown}. Topics: {', '.join(TOPICS)}", extra={"field": "topics"})
    return named


def topics_of(params: EventsWatch, access: Access) -> frozenset[str]:
    """The topics to watch: those asked for, or all that the caller may. Raises ScopeMissing or NotAuthenticated."""
    named = topics_named(params)
    for topic in named:
        if not access.holds(SCOPES[topic]):
            detail = f"Not enough permissions. Topic '{topic}' requires scopes ['{SCOPES[topic]}']"
            if access.principal == PUBLIC:
                raise NotAuthenticated(detail)
            raise ScopeMissing(detail, extra={"missing_scope": str(SCOPES[topic])})
    return frozenset(named or (topic for topic in TOPICS if access.holds(SCOPES[topic])))


async def events(call: Call) -> Outlet:
    """Stream everything that changes, as numbered events that one can continue from."""
    params = cast("EventsWatch", call.params)
    topics = topics_of(params, call.access)
    live = call.services.live
    end = await live.state.want(topics)
    # From here on nothing waits: what is collected joins what is streamed without a gap.
    channel = live.events.channel
    outlet = Outlet(channel, topics | {STREAM}, _dropped(live), live.config.max_behind)
    outlet.on_close(end)
    outlet.scopes = frozenset(SCOPES[topic] for topic in topics)
    event_id = call.headers.get("last-event-id") or params.since
    outlet.collect(_first(live, topics, event_id, with_snapshots=params.snapshot))
    return outlet


def _first(live: Live, topics: frozenset[str], event_id: str, *, with_snapshots: bool) -> list[Message]:
    """What one watcher gets first: a greeting, what it missed, and the state of what it cannot continue."""
    log = live.events
    greeting = {"topics": sorted(topics), "epoch": log.epoch, "last_id": log.last_id, "continued": False}
    if not event_id:
        return [log.message(STREAM, "hello", greeting, log.last_id), *_snapshots(live, topics, wanted=with_snapshots)]
    missed = log.since(event_id, topics)
    greeting["continued"] = not missed.lost_topics
    # Without an id of its own: who leaves while it catches up continues from the last event that it got.
    first = [log.message(STREAM, "hello", greeting), *missed.messages]
    if missed.lost_topics:
        gap = {"topics": sorted(missed.lost_topics), "reason": missed.reason}
        first.append(log.message(STREAM, "gap", gap, log.last_id))
        first += _snapshots(live, missed.lost_topics, wanted=with_snapshots)
    return first


def _snapshots(live: Live, topics: Iterable[str], *, wanted: bool) -> list[Message]:
    if not wanted:
        return []
    found = [live.state.snapshot(topic) for topic in TOPICS if topic in topics]
    if "status" in topics and found[0] is None:
        found.append(live.events.message("status", "unavailable", {"detail": "RE Manager does not answer"}))
    return [message for message in found if message is not None]


def _dropped(live: Live) -> Marker:
    def marker(count: int, last_id: str) -> Message:
        return live.events.message(STREAM, "dropped", {"count": count, "since": last_id})

    return marker
