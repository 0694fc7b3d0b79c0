"""The console as lines: what RE Manager publishes in pieces is sent to subscribers in one."""

from itertools import groupby

import msgspec

from sanic_qserver.manager.console.output import decode_message
from sanic_qserver.manager.live.subscriber import Message

_LINE_END = b'\\n"}'


def join_lines(messages: list[Message]) -> list[Message]:
    """Join the pieces of each line, as far as they came together.

    RE Manager publishes once for each write to the terminal: `print("a", 1)` makes four messages.
    """
    if all(message.body.endswith(_LINE_END) for message in messages):
        return messages
    line_number = 0
    numbers = []
    for message in messages:
        numbers.append(line_number)
        line_number += message.body.endswith(_LINE_END)
    pairs = zip(numbers, messages, strict=True)
    return [_join([message for _, message in line]) for _, line in groupby(pairs, key=lambda pair: pair[0])]


def _join(pieces: list[Message]) -> Message:
    if len(pieces) == 1:
        return pieces[0]
    try:
        decoded = [decode_message(piece.body) for piece in pieces]
    except msgspec.MsgspecError:
        return pieces[0]
    body = msgspec.json.encode({"time": decoded[0].time, "msg": "".join(piece.msg for piece in decoded)})
    return Message(pieces[0].topic, body)
