"""The broadcaster with connections that fail: no failure reaches another subscriber, and nobody loses a message."""

import pytest

from sanic_qserver.config.settings import LiveConfig
from sanic_qserver.manager.live.broadcaster import Broadcaster
from sanic_qserver.manager.live.subscriber import Framing, Message, Subscriber

LINES = Framing(lambda message: message.body + b"\n")
TOPICS = frozenset({"queue"})


class Connection:
    """What an subscriber needs of a transport."""

    def __init__(self, error=None):
        self.error = error
        self.written = b""
        self.was_aborted = False
        self.pending = 0

    def write(self, data):
        if self.error is not None:
            raise self.error
        self.written += data

    def get_write_buffer_size(self):
        return self.pending

    def is_closing(self):
        return False

    def get_extra_info(self, _):
        return None

    def abort(self):
        self.was_aborted = True


@pytest.fixture
async def channel():
    return Broadcaster(LiveConfig())


def attached(channel, connection, framing=LINES, topics=TOPICS):
    subscriber = Subscriber(channel, topics, None, 10)
    subscriber.attach(connection, framing)
    return subscriber


def publish(channel, *bodies, topic="queue"):
    channel.publish(Message(topic, body) for body in bodies)
    channel.flush()


@pytest.mark.parametrize("error", [RuntimeError("Cannot call write() after write_eof()"), OSError("gone"), TypeError()])
async def test_a_connection_that_takes_nothing_more_costs_nobody_else_a_message(channel, error):
    connections = [Connection(), Connection(error), Connection()]
    for connection in connections:
        attached(channel, connection)
    publish(channel, b"1")
    publish(channel, b"2")
    assert [connection.written for connection in connections] == [b"1\n2\n", b"", b"1\n2\n"]
    assert [connection.was_aborted for connection in connections] == [False, True, False]
    assert channel.subscriber_count == 2


async def test_a_connection_that_fails_while_it_catches_up_costs_the_others_nothing(channel):
    connections = [Connection() for _ in range(3)]
    for connection in connections:
        attached(channel, connection)
        connection.pending = 1_000_000
    publish(channel, b"1")
    assert channel.lagging_count == 3
    connections[1].error = RuntimeError("Cannot call write() after write_eof()")
    for connection in connections:
        connection.pending = 0
    channel._catch_up()
    assert [connection.written for connection in connections] == [b"1\n", b"", b"1\n"]
    assert channel.lagging_count == 0


async def test_a_topic_that_is_added_begins_with_its_own_messages_and_behind_what_was_collected(channel):
    connection = Connection()
    subscriber = attached(channel, connection, topics=frozenset({"status"}))
    channel.publish([Message("queue", b"old change"), Message("status", b"status")])
    assert subscriber.add_topics(TOPICS, [Message("queue", b"snapshot")])
    publish(channel, b"new change")
    assert connection.written == b"status\nsnapshot\nnew change\n"


async def test_who_is_behind_is_not_given_a_topic_before_it_has_caught_up(channel):
    connection = Connection()
    subscriber = attached(channel, connection, topics=frozenset({"status"}))
    connection.pending = 1_000_000
    publish(channel, b"status", topic="status")
    assert not subscriber.add_topics(TOPICS, [Message("queue", b"snapshot")])
    assert subscriber.topics == {"status"}
