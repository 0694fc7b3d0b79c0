"""Metrics: what was answered, for those who may see it."""

from prometheus_client.parser import text_string_to_metric_families

from sanic_qserver.http.metrics.figures import BUCKETS_S


async def scraped(client):
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    families = text_string_to_metric_families(response.text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def labels(**named):
    return tuple(sorted(named.items()))


async def test_answers_are_counted_by_row_and_status(scraper):
    client = scraper
    for _ in range(3):
        await client.get("/status")
    await client.get("/api/queue/item/nowhere")
    samples = await scraped(client)
    status = labels(method="GET", path="/status")
    assert samples["qserver_http_requests_total", labels(method="GET", path="/status", status="200")] == 3
    assert samples["qserver_http_request_seconds_count", status] == 3
    assert 0 < samples["qserver_http_request_seconds_sum", status] < 3 * 20
    assert samples["qserver_http_request_seconds_bucket", labels(method="GET", path="/status", le="+Inf")] == 3
    assert len([key for key in samples if key[0].endswith("_bucket") and status[1] in key[1]]) == len(BUCKETS_S) + 1
    missing = labels(method="GET", path="/queue/item/<uid>", status="404")
    assert samples["qserver_http_requests_total", missing] == 1
    assert samples["qserver_manager_connected", labels(worker="0")] == 1
    assert samples["qserver_manager_calls_total", labels(outcome="answered")] > 0
    assert samples["process_resident_memory_bytes", labels(worker="0")] > 0


async def test_the_anonymous_see_no_metrics(anonymous):
    assert (await anonymous.get("/metrics")).status_code == 401
