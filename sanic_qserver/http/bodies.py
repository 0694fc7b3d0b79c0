"""Reading bodies: after the gate has decided, within the limit of the row, and within a budget for all bodies.

The rules:
1. No route lets Sanic read the body first (`ignore_body=True`). What nobody asks for is dropped piece by piece.
2. The budget counts what is in memory, from its arrival until the call is done: of all clients, and of one address.
"""

from typing import Any

from sanic import Request
from sanic.exceptions import PayloadTooLarge

from sanic_qserver.config.settings import ServerConfig
from sanic_qserver.errors import BodyTooLarge, Overloaded


class BodyBudget:
    """How many bytes of bodies may be in memory at once: of all clients, and of one address."""

    def __init__(self, total: int, largest: int) -> None:
        """`largest`: the largest body there may be. The budget is never less; an address gets half of it at least."""
        self.total = max(total, largest)
        self.per_address = max(total // 2, largest)
        self.used = 0
        self._by_address: dict[str, int] = {}

    def take(self, address: str, size: int) -> None:
        """Count bytes that arrived. Raises Overloaded (503): then they are not counted."""
        of_address = self._by_address.get(address, 0) + size
        if self.used + size > self.total or of_address > self.per_address:
            whose = "this address" if of_address > self.per_address else "all clients"
            raise Overloaded(f"The bodies sent by {whose} take too much memory now", headers={"Retry-After": "2"})
        self.used += size
        self._by_address[address] = of_address

    def give_back(self, address: str, size: int) -> None:
        """Forget bytes that were counted."""
        self.used -= size
        left = self._by_address[address] - size
        if left:
            self._by_address[address] = left
        else:
            del self._by_address[address]


class Bodies:
    """Reads bodies. One an application."""

    def __init__(self, config: ServerConfig) -> None:
        self._largest = config.max_body_bytes
        self.budget = BodyBudget(config.max_bodies_bytes, config.max_body_bytes)

    def limit(self, request: Request, most_bytes: int) -> int:
        """Bound the body, whoever reads it, also when it is only read to be dropped. Returns the bound."""
        most_bytes = min(most_bytes, self._largest)
        stream: Any = request.stream
        stream.request_max_size = most_bytes
        return most_bytes

    async def read(self, request: Request, most_bytes: int) -> bytes:
        """The whole body. It counts against the budget until `release`.

        Raises BodyTooLarge (413), Overloaded (503), or what Sanic says of bad framing.
        """
        stream: Any = request.stream
        most_bytes = self.limit(request, most_bytes)
        pieces: list[bytes] = []
        size, address = 0, request.client_ip
        try:
            async for piece in stream:
                self.budget.take(address, len(piece))
                size += len(piece)
                pieces.append(piece)
        except BaseException as error:
            if size:
                self.budget.give_back(address, size)
            if isinstance(error, PayloadTooLarge):
                raise BodyTooLarge(f"The body is over {most_bytes} bytes, the limit of this path") from None
            raise
        request.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        request.ctx.body_bytes = size
        return request.body

    def release(self, request: Request) -> None:
        """The call is done: what was read does not count any more."""
        if request.body and (size := request.ctx.__dict__.pop("body_bytes", 0)):
            self.budget.give_back(request.client_ip, size)
