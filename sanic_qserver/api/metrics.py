"""The row for those who watch the server."""

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer


async def metrics(call: Call) -> Answer:
    """What was measured, in Prometheus' words."""
    return Answer(call.services.metrics(), content_type="text/plain; version=0.0.4; charset=utf-8")
