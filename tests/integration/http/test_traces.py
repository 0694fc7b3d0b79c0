"""Traces, as a collector receives them: OTLP over HTTP, in protobuf."""

import http.server
import subprocess
import sys
import threading

import pytest
from conftest import KEY, until_connected, until_so
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from ports import free_port
from servers import app_of

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SERVER, CLIENT, INTERNAL = 2, 3, 1


class Collector(http.server.ThreadingHTTPServer):
    """Keeps what it was sent."""

    def __init__(self):
        self.spans, self.resources, self.paths = [], [], []
        super().__init__(("127.0.0.1", 0), Receiver)

    def named(self, name):
        return [span for span in self.spans if span.name == name]


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        self.server.paths.append(self.path)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.server.resources.append(attributes(resource.resource))
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def attributes(span):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


@pytest.fixture
def collector(monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    with Collector() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody(monkeypatch):
    """A collector that is away."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")


@pytest.fixture
async def traced(sanic_client, make_config, folder):
    audit = {"file": str(folder / "audit.jsonl")}
    client = await sanic_client(app_of(make_config(telemetry={"traces": True, "replica": "hall-3"}, audit=audit)))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    await until_connected(client)
    return client


async def test_a_request_is_a_span_with_the_gate_the_wait_and_the_call_within(collector, traced, folder):
    parent = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    answer = await traced.post("/api/queue/item/add", json={"item": {"item_type": "nothing"}}, headers=parent)
    await until_so(lambda: collector.named("POST /queue/item/add"))
    (span,) = collector.named("POST /queue/item/add")
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.kind) == (TRACE, PARENT, SERVER)
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{span.span_id.hex()}-01"
    told = attributes(span)
    assert told["http.request.method"] == "POST"
    assert (told["http.route"], told["url.path"]) == ("/queue/item/add", "/api/queue/item/add")
    assert told["http.response.status_code"] == 200
    assert told["qserver.request_id"] == answer.headers["X-Request-ID"]
    assert told["enduser.id"].endswith(":UNAUTHENTICATED_SINGLE_USER")
    within = {one.name: one for one in collector.spans if one.parent_span_id == span.span_id}
    assert set(within) == {"gate", "queue wait", "RE Manager queue_item_add"}
    call = within["RE Manager queue_item_add"]
    assert (call.kind, attributes(call)["rpc.method"]) == (CLIENT, "queue_item_add")
    assert within["gate"].kind == INTERNAL
    for one in within.values():
        assert span.start_time_unix_nano <= one.start_time_unix_nano <= one.end_time_unix_nano
        assert one.end_time_unix_nano <= span.end_time_unix_nano
    assert collector.resources[0]["service.name"] == "sanic-qserver"
    assert collector.resources[0]["service.instance.id"] == "hall-3"
    assert set(collector.paths) == {"/v1/traces"}
    assert f'"trace_id":"{TRACE}"' in (folder / "audit.jsonl").read_text()


async def test_a_request_without_a_parent_begins_a_trace_and_one_that_is_not_sampled_is_not_sent(collector, traced):
    alone = await traced.get("/api/status")
    unwanted = await traced.get("/api/ping", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    refused = await traced.get("/api/status", headers={"Authorization": "ApiKey wrong", "traceparent": "nonsense"})
    assert unwanted.headers["traceresponse"].endswith("-00")
    assert refused.status_code == 401
    await until_so(lambda: len(collector.named("GET /status")) == 2)
    first, second = collector.named("GET /status")
    assert alone.headers["traceresponse"].split("-")[1] == first.trace_id.hex() != second.trace_id.hex()
    assert refused.headers["traceresponse"].split("-")[1] == second.trace_id.hex()
    assert attributes(second)["http.response.status_code"] == 401
    assert collector.named("GET /ping") == []


async def test_without_a_collector_requests_are_answered_all_the_same(nobody, traced):
    for _ in range(20):
        assert (await traced.get("/api/status")).status_code == 200


def test_nothing_of_it_is_imported_when_it_is_off():
    code = (
        "import sys\n"
        "from sanic_qserver.app import create_app\n"
        "from sanic_qserver.config.settings import load\n"
        "create_app(load(environment={}), name='x')\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('opentelemetry', 'google')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
