"""The dashboard and the alert rules: sound, and of metrics that a server really has."""

import json
import os
import re
import subprocess

import pytest
import yaml
from conftest import KEY, ROOT, find_program, needs, until_connected
from prometheus_client.parser import text_string_to_metric_families
from servers import app_of

DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "prometheus-alerts.yaml"
DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text("utf-8"))
DOCUMENTED = re.compile(r"`(qserver_\w+)`", re.MULTILINE)
METRIC = re.compile(r"\b((?:qserver|process)_\w+)(?:\{([^}]*)\})?")
SCRAPED_BY = {"job", "instance"}  # Prometheus adds these.


def panels():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def of_dashboard():
    queries = [variable["definition"] for variable in DASHBOARD["templating"]["list"] if "definition" in variable]
    queries = [query.removeprefix("label_values(").rpartition(",")[0] for query in queries]
    told = [one["expr"] for one in DASHBOARD["annotations"]["list"]]
    return [*queries, *told, *(target["expr"] for panel in panels() for target in panel["targets"])]


def of_alerts():
    groups = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def promtool(*arguments):
    needs("promtool")
    command = [find_program("promtool"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
async def replica(sanic_client, make_config, instrument):
    """A server with all that has metrics."""
    shared = {"redis": f"redis://127.0.0.1:{instrument.redis_port}/3", "name": os.urandom(6).hex()}
    access = {"roles": {"unauthenticated_single_user": {"scopes_add": ["admin:metrics"]}}}
    client = await sanic_client(app_of(make_config(replicas=shared, policy={"access": access})))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    await until_connected(client)
    return client


async def test_every_metric_and_label_is_one_of_a_real_server(replica):
    await replica.get("/api/status")
    found = {}
    for family in text_string_to_metric_families((await replica.get("/metrics")).text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    expressions = of_dashboard() + of_alerts()
    assert len(expressions) > 40
    for expression in expressions:
        names = METRIC.findall(expression)
        assert names or "up{" in expression, expression
        for name, selectors in names:
            assert name in found, f"{name} in {expression}"
            for label, value in re.findall(r'(\w+)=~?"([^"]*)"', selectors):
                assert label in found[name] or label in SCRAPED_BY, f"{label} in {expression}"
                if label == "outcome":
                    assert set(value.split("|")) <= found[name][label], expression


async def test_every_metric_of_ours_is_explained(replica):
    await replica.get("/api/status")
    families = text_string_to_metric_families((await replica.get("/metrics")).text)
    ours = {f"{one.name}{'_total' * (one.type == 'counter')}" for one in families if one.name.startswith("qserver_")}
    chapter = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert ours == set(DOCUMENTED.findall(chapter))


def test_the_alert_rules_are_sound_and_raise_what_they_should():
    promtool("check", "rules", ALERTS)
    promtool("test", "rules", DEPLOY / "prometheus-alerts-test.yaml")


def test_every_query_of_the_dashboard_can_be_read_by_prometheus(folder):
    variables = {"$__rate_interval": "5m", "$job": ".*", "$instance": ".*"}
    rules = []
    for number, query in enumerate(of_dashboard()):
        expression = re.sub(r"\$\w+", lambda found: variables[found[0]], query)
        rules.append({"record": f"query_{number}", "expr": expression})
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    promtool("check", "rules", folder / "rules.yaml")


def test_the_panels_of_the_dashboard_have_a_place_of_their_own():
    taken = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["targets"]


def test_each_alert_says_how_bad_it_is_and_what_to_do():
    for rule in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"].startswith(("{{ $labels.instance }}", "{{ $labels.job }}"))
        assert rule["annotations"]["description"].endswith((".", "?"))
