"""What the server logs: for programs or persons, with the request it belongs to, and no secret."""

import json
import signal

import httpx
from servers import KEY, ServerProcess, with_key

HEADERS = {"Authorization": f"ApiKey {KEY}", "X-Request-ID": "the-request"}


def test_json_logs_name_request_and_principal_and_the_level_follows_a_signal(instrument, folder):
    (folder / "config.toml").write_text("[server]\naccess_log = true\n[log]\nslow_request_s = 1e-6\n")
    options = ("serve", "--config", folder / "config.toml", "--log-format", "json")
    with ServerProcess(folder, *options, environment=with_key(instrument)) as server:
        with httpx.Client(base_url=server.url, headers=HEADERS, timeout=30) as client:
            assert client.post("/api/queue/clear").status_code == 200  # The audit trail logs it.
            assert client.get(f"/api/status?api_key={KEY}", headers={"Authorization": ""}).status_code == 200
        server.process.send_signal(signal.SIGUSR1)
        server.says("The log level is DEBUG now")
        server.process.send_signal(signal.SIGUSR1)
        server.says("The log level is INFO now")
        assert server.stop() == 0
        lines = [json.loads(line) for line in server.text.splitlines() if line.startswith("{")]
    audit = next(line for line in lines if line["logger"] == "sanic_qserver.audit")
    assert audit["request_id"] == "the-request"
    assert audit["principal"].endswith(":UNAUTHENTICATED_SINGLE_USER") or ":" in audit["principal"]
    assert any("GET" in line["message"] and "/api/status -> 200" in line["message"] for line in lines)
    access = next(line for line in lines if line.get("path") == "/api/queue/clear")
    assert (access["logger"], access["request_id"]) == ("sanic_qserver.access", "the-request")
    slow = next(line for line in lines if line["logger"] == "sanic_qserver.slow")
    assert (slow["request_id"], slow["slow"]["path"]) == ("the-request", "/api/queue/clear")
    assert slow["slow"]["calls"] == ["queue_clear"]
    assert slow["slow"]["seconds"] >= slow["slow"]["re_manager_s"] >= 0  # In ms: RE Manager may be faster.
    assert KEY not in server.text


def test_the_level_may_leave_nothing_but_errors(instrument, folder):
    options = ("serve", "--log-level", "error")
    with ServerProcess(folder, *options, environment=with_key(instrument)) as server:
        assert httpx.post(f"{server.url}/api/queue/clear", headers=HEADERS, timeout=30).status_code == 200
        assert server.stop() == 0
    assert " INFO " not in server.text
    assert " WARNING " not in server.text
