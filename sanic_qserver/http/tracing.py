"""Traces by OpenTelemetry: a span for each request, and within it for the gate, the wait and each call to RE Manager.

Off unless `[telemetry] traces` is set; nothing of it is imported then. Where spans go and how many are kept is told by
OpenTelemetry's own environment (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, …). A thread sends them in
batches; when they cannot be sent, or come too fast, they are dropped, and no request waits.
"""

import asyncio
import logging
import os
import time
from typing import Any
from urllib.parse import urlsplit

from sanic import Request

from sanic_qserver import __version__
from sanic_qserver.api.endpoint import Endpoint
from sanic_qserver.config.settings import Config
from sanic_qserver.errors import ConfigError
from sanic_qserver.http.request_id import read_request_id
from sanic_qserver.manager.client.timeline import CallTimes, Timeline

log = logging.getLogger("sanic_qserver")

TRACE_RESPONSE = "traceresponse"
"""The header by which a client learns of the trace (W3C Trace Context, level 2)."""
_FLUSH_S = 3.0


def build_tracing(config: Config, replica: str, exporter: Any = None) -> "Tracing | None":
    """What traces requests; None where it is off. `exporter`: in place of OTLP over HTTP. Raises ConfigError."""
    if not config.telemetry.traces:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  # an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ConfigError("[telemetry] traces: needs the extra: pip install 'sanic-qserver[otel]'") from None
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "sanic-qserver"}
    resource = Resource.create({**named, "service.version": __version__, "service.instance.id": replica})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    return Tracing(provider, config.manager.control_address)


class Tracing:
    """Begins and ends the span of each request."""

    def __init__(self, provider: Any, manager_address: str) -> None:
        from opentelemetry import trace  # noqa: PLC0415  # an extra
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._trace = trace
        self._provider = provider
        self._tracer = provider.get_tracer("sanic_qserver", __version__)
        self._extract = TraceContextTextMapPropagator().extract
        parts = urlsplit(manager_address)
        self._manager = {"server.address": parts.hostname or manager_address, "server.port": parts.port or 0}

    def begin(self, timeline: Timeline, request: Request, row: Endpoint) -> None:
        """Begin the span of a request: of the client's trace, where it names one."""
        now = time.time_ns()
        attributes = {
            "http.request.method": request.method,
            "http.route": row.path,
            "url.path": request.path,
            "url.scheme": request.scheme,
            "network.protocol.version": request.version,
            "client.address": request.client_ip,
            "user_agent.original": request.headers.get("user-agent", ""),
            "qserver.request_id": read_request_id(request),
        }
        parent = self._extract({name: request.headers.get(name, "") for name in ("traceparent", "tracestate")})
        span = self._tracer.start_span(
            f"{request.method} {row.path}", parent, self._trace.SpanKind.SERVER, attributes, start_time=now
        )
        timeline.span = span
        context = span.get_span_context()
        timeline.trace_id = f"{context.trace_id:032x}"
        request.ctx.__dict__["trace_id"] = timeline.trace_id
        timeline.began_ns = now
        told = f"00-{timeline.trace_id}-{context.span_id:016x}-{int(context.trace_flags):02x}"
        timeline.headers = {TRACE_RESPONSE: told}

    def end(self, timeline: Timeline, request: Request, status: int, ended_at: float) -> None:
        """End the span, and tell what was within it."""
        span = timeline.span
        if span.is_recording():
            span.set_attribute("http.response.status_code", status)
            principal = request.ctx.__dict__.get("principal")
            if principal is not None:
                span.set_attribute("enduser.id", f"{principal.provider}:{principal.name}")
            if status >= 500:
                span.set_attribute("error.type", str(status))
                span.set_status(self._trace.StatusCode.ERROR)
            self._tell(timeline, "gate", timeline.started_at, timeline.admitted_at or ended_at)
            for call in timeline.calls(ended_at):
                self._tell_call(timeline, call)
        span.end(timeline.to_ns(ended_at))

    def _tell_call(self, timeline: Timeline, call: CallTimes) -> None:
        sent_at = max(call.sent_at, call.queued_at) if call.sent_at else call.answered_at
        self._tell(timeline, "queue wait", call.queued_at, sent_at, {"rpc.method": call.method})
        if call.sent_at:
            attributes = {
                "rpc.system": "bluesky_queueserver",
                "rpc.method": call.method,
                "qserver.shared": call.is_shared,
                **self._manager,
            }
            self._tell(timeline, f"RE Manager {call.method}", sent_at, call.answered_at, attributes, is_call=True)

    def _tell(
        self, timeline: Timeline, name: str, start: float, end: float, attributes: Any = None, *, is_call: bool = False
    ) -> None:
        within = self._trace.set_span_in_context(timeline.span)
        kind = self._trace.SpanKind.CLIENT if is_call else self._trace.SpanKind.INTERNAL
        span = self._tracer.start_span(name, within, kind, attributes, start_time=timeline.to_ns(start))
        span.end(timeline.to_ns(end))

    async def close(self) -> None:
        """Send what is left, for a moment, and end."""
        try:
            async with asyncio.timeout(2 * _FLUSH_S):
                await asyncio.to_thread(self._provider.force_flush, int(_FLUSH_S * 1000))
                await asyncio.to_thread(self._provider.shutdown)
        except TimeoutError:
            log.warning("The last traces could not be sent")
