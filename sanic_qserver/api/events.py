"""The stream of events: topics, the scope that each asks for, and where a watcher begins."""

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Stream
from sanic_qserver.errors import BadArguments, NotAuthenticated, ScopeMissing
from sanic_qserver.manager.live.event_log import (
    STATE_TOPICS,
    STREAM,
    TOPICS,
    Continuation,
    number_of,
    private_topic,
    public_topic,
)
from sanic_qserver.manager.live.live import Live
from sanic_qserver.manager.live.status_feed import Snapshot
from sanic_qserver.manager.live.subscriber import Marker, Message, Subscriber
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
    "proposals": Scope.WRITE_PROPOSALS,
}
"""What each topic asks for."""

DECIDES = (Scope.WRITE_PROPOSALS_DECIDE, Scope.WRITE_QUEUE_EDIT)
INSTEAD: dict[str, tuple[Scope, ...]] = {"proposals": DECIDES}
"""Scopes that open a topic as well."""

ANY_SCOPE = tuple(dict.fromkeys((*SCOPES.values(), *DECIDES)))


def scope_held(access: Access, topic: str) -> Scope | None:
    """The scope by which somebody may watch a topic; None for who may not."""
    return next((scope for scope in (SCOPES[topic], *INSTEAD.get(topic, ())) if access.holds(scope)), None)


def choose_routes(topics: Iterable[str], access: Access) -> frozenset[str]:
    """The topics as they are told to somebody: who does not decide on proposals hears of their own only."""
    principal = access.principal
    own = private_topic("proposals", f"{principal.provider}/{principal.name}")
    decides = any(access.holds(scope) for scope in DECIDES)
    return frozenset(own if topic == "proposals" and not decides else topic for topic in topics)


def narrowed(row: Stream, params: Params) -> Stream:
    """The row as the gate must see it: with the scope of a topic that was asked for.

    Of one that the anonymous may not see, if there is: then the gate waits for a credential. The others are seen to
    by `read_topics`.
    """
    named = sorted(topics_named(cast("EventsWatch", params)), key=lambda topic: topic == "status")
    return replace(row, scope=SCOPES[named[0]], any_scope=INSTEAD.get(named[0], ())) if named else row


def topics_named(params: EventsWatch) -> list[str]:
    """The topics that were asked for, by comma or by repetition. Raises BadArguments."""
    named = [topic.strip() for part in params.topics for topic in part.split(",") if topic.strip()]
    if unknown := sorted(set(named) - set(TOPICS)):
        raise BadArguments(f"topics: there is no {unknown}. Topics: {', '.join(TOPICS)}", extra={"field": "topics"})
    return named


def read_topics(params: EventsWatch, access: Access) -> frozenset[str]:
    """The topics to watch: those asked for, or all that the caller may. Raises ScopeMissing or NotAuthenticated."""
    named = topics_named(params)
    for topic in named:
        if scope_held(access, topic) is None:
            detail = f"Not enough permissions. Topic '{topic}' requires scopes ['{SCOPES[topic]}']"
            if access.principal == PUBLIC:
                raise NotAuthenticated(detail)
            raise ScopeMissing(detail, extra={"missing_scope": str(SCOPES[topic])})
    return frozenset(named or (topic for topic in TOPICS if scope_held(access, topic) is not None))


async def events(call: Call) -> Subscriber:
    """Stream everything that changes, as numbered events that one can continue from."""
    params = cast("EventsWatch", call.params)
    watched = read_topics(params, call.access)
    topics = choose_routes(watched, call.access)
    live = call.services.live
    since = call.headers.get("last-event-id") or params.since
    end = await live.state.want(watched - {"proposals"}, since)  # Proposals are told whether or not somebody watches.
    # From here on nothing waits: what is collected joins what is streamed without a gap.
    first, later = _first(live, topics, since, params)
    subscriber = Subscriber(
        live.events.broadcaster, (topics - later) | {STREAM}, _dropped(live), live.config.max_behind
    )
    subscriber.on_close(end)
    held = (scope_held(call.access, topic) for topic in watched)
    subscriber.scopes = frozenset(scope for scope in held if scope is not None)
    subscriber.begin_with(first)
    live.state.subscribe_later(subscriber, later)
    return subscriber


def _first(live: Live, topics: frozenset[str], event_id: str, params: EventsWatch) -> tuple[list[Message], set[str]]:
    """What one watcher gets first: a greeting, what it missed, and the state of what it cannot continue.

    And the topics whose state is not known now.
    """
    log = live.events
    missed = log.since(event_id, topics, live.state.unsure) if event_id else Continuation([], topics, "")
    snapshots, later = _snapshots(live, missed.lost_topics) if params.snapshot else ([], set())
    base_id = live.state.base_id if params.snapshot and missed.lost_topics & STATE_TOPICS else log.last_id
    greeting = {
        "topics": sorted(map(public_topic, topics)),
        "epoch": log.epoch,
        "last_id": log.last_id,
        "continued": not missed.lost_topics,
        "pending": sorted(later),
    }
    # With a continuation it has no id of its own: who leaves while it catches up continues from the last event it got.
    first = [log.message(STREAM, "hello", greeting, "" if event_id else base_id)]
    first += [message for message in missed.messages if number_of(message.id) <= number_of(base_id)]
    if event_id and missed.lost_topics:
        gap = {"topics": sorted(map(public_topic, missed.lost_topics)), "reason": missed.reason}
        first.append(log.message(STREAM, "gap", gap, base_id))
    # Snapshots of replicas may be some events old.
    return [*first, *snapshots, *log.since(base_id, topics).messages], later


def _snapshots(live: Live, topics: frozenset[str]) -> tuple[list[Message], set[str]]:
    """The snapshots of these topics, and the topics whose snapshot comes later."""
    found = {topic: live.state.snapshot(topic) for topic in TOPICS if topic in topics}
    snapshots = [message for message in found.values() if message is not None]
    later = {topic for topic in topics & STATE_TOPICS if found[topic] is None}
    if "status" in later:  # Its base: `available` follows, with the whole status, before any change.
        later.remove("status")
        snapshots.append(live.events.message("status", "unavailable", {"detail": "RE Manager does not answer"}))
    return snapshots, later


def _dropped(live: Live) -> Marker:
    def marker(count: int, last_id: str) -> Message:
        return live.events.message(STREAM, "dropped", {"count": count, "since": last_id})

    return marker


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
    """A listener that ignores what it hears: to follow makes the feed ask RE Manager, and the channel carries it."""
