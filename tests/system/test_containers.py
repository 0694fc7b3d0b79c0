"""Containerfile, compose file and manifests: what can be said of them without a container runtime, and a cluster."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from bare_machine import needs_a_bare_machine, run_on_a_bare_machine
from conftest import ROOT, needs

from sanic_qserver.cli.checking import app_to_look_at, collect_warnings
from sanic_qserver.config.settings import ENVIRONMENT, load

DEPLOY = ROOT / "deploy"
CONFIG = DEPLOY / "kubernetes" / "config.toml"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVERS = ("server-one", "server-two")
NAMES = {name for name, _ in ENVIRONMENT} | {"QSERVER_HTTP_SERVER_CONFIG"}
NAMES |= set(re.findall(r"\$\{(\w+)\}", CONFIG.read_text()))


LOGS = 'trap "tail -n 30 /run/containers/*.log" EXIT\n'


# The Containerfile


def stages():
    """Each stage's instructions, in order."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Containerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for part in re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]:
        name = part.partition("\n")[0].rpartition(" AS ")[2]
        yield name, re.findall(r"^([A-Z]+) +(.*)$", part, re.MULTILINE)


STAGES = dict(stages())


@pytest.mark.parametrize("stage", ["server", "re-manager"])
def test_an_image_runs_as_a_user_without_rights_and_asks_itself_whether_it_is_well(stage):
    said = dict(STAGES[stage])
    assert int(said["USER"].partition(":")[0]) >= 10_000, "a number, so that Kubernetes knows it is not root"
    assert json.loads(said["HEALTHCHECK"].partition(" CMD ")[2])[0] == "python", "there is no curl in it"
    assert isinstance(json.loads(said["ENTRYPOINT"]), list), "the server itself gets SIGTERM, no shell"


def test_images_take_nothing_from_elsewhere_and_versions_are_the_tested_ones():
    every = [one for stage in STAGES.values() for one in stage]
    assert "ADD" not in dict(every)
    assert not [text for _, text in every if re.search(r"https?://|curl|wget", text) and "127.0.0.1" not in text]
    installing = [(name, dict(stage)) for name, stage in STAGES.items() if "pip" in dict(stage).get("RUN", "")]
    assert [name for name, _ in installing] == ["build", "re-manager"]
    assert all("constraints.txt" in said["RUN"] + said["ENV"] for _, said in installing)


def test_an_image_holds_what_is_named_and_no_secret():
    copied = [word for stage in STAGES.values() for verb, text in stage if verb == "COPY" and "--from" not in text
              for word in text.split()[:-1]]  # fmt: skip
    allowed = set(re.findall(r"^!(\S+)", (ROOT / ".containerignore").read_text(), re.MULTILINE))
    assert set(copied) == allowed
    assert all((ROOT / name).exists() for name in copied)
    assert (ROOT / ".dockerignore").read_text() == (ROOT / ".containerignore").read_text()
    names = [text for stage in STAGES.values() for verb, text in stage if verb in ("ENV", "ARG")]
    assert not [text for text in names if re.search(r"PASSWORD|SECRET|TOKEN|_KEY", text)]


# The configuration that compose.yaml and Kubernetes share


@pytest.fixture
def environment(folder):
    """Values for all names that the configuration needs."""
    return {
        "PROXIES": "10.0.0.0/8", "PUBLIC_NAME": "qserver.example.org", "REDIS_URL": "redis://redis:6379/1",
        "DATABASE_HOST": "postgres", "DATABASE_PASSWORD": "x", "SIGNING_SECRET": "y" * 32,
        "ALICE_PASSWORD": "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$" + "A" * 43,
    }  # fmt: skip


def test_the_configuration_of_replicas_is_usable_without_warnings(environment):
    config = load(CONFIG, environment=environment)
    assert list(collect_warnings(config, app_to_look_at(config, "check_of_containers"))) == []


def seconds(text):
    return float(str(text).removesuffix("s"))


def test_who_ends_a_server_waits_for_its_drain(environment):
    server = load(CONFIG, environment=environment).server
    drain_s = server.drain_delay_s + server.shutdown_timeout_s
    assert all(seconds(COMPOSE["services"][name]["stop_grace_period"]) >= drain_s + 5 for name in SERVERS)
    pod = deployment()["spec"]["template"]["spec"]
    hooks = pod["containers"][0].get("lifecycle", {}).get("preStop", {})
    before_s = hooks.get("sleep", {}).get("seconds", 0)
    assert hooks.keys() <= {"sleep"}
    assert pod["terminationGracePeriodSeconds"] >= before_s + drain_s + 5
    unit = (DEPLOY / "sanic-qserver.service").read_text()
    assert seconds(re.search(r"TimeoutStopSec=(\d+)", unit)[1]) >= drain_s + 5


def test_a_pod_that_stops_is_served_until_the_balancer_has_heard_of_it(environment):
    probe = deployment()["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
    heard_s = probe["periodSeconds"] * probe["failureThreshold"]
    assert load(CONFIG, environment=environment).server.drain_delay_s > heard_s


def test_memory_holds_the_server_its_bodies_and_a_spreadsheet(environment):
    config = load(CONFIG, environment=environment)
    idle, watchers = 71_000_000, 30_000_000  # docs/operations.md, Sizing
    needed = idle + watchers + config.server.max_bodies_bytes + config.spreadsheets.max_memory_bytes
    limit = deployment()["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
    assert int(limit.removesuffix("Mi")) * 2**20 >= needed
    assert all(int(COMPOSE["services"][name]["mem_limit"].removesuffix("m")) * 2**20 >= needed for name in SERVERS)


# compose.yaml


def test_the_compose_file_follows_the_specification():
    if not os.environ.get("REQUIRE_ALL_TESTS"):
        pytest.importorskip("compose_spec")
    from compose_spec import PyOptions

    read = PyOptions(apply_merge=True).from_yaml((DEPLOY / "compose.yaml").read_text())
    read.validate()
    assert set(read.service_names()) == set(COMPOSE["services"])


def test_only_nginx_is_reached_from_outside_and_each_service_is_shut_in():
    for name, service in COMPOSE["services"].items():
        assert ("ports" in service) == (name == "nginx"), name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "healthcheck" in service or "HEALTHCHECK" in dict(STAGES[service["build"]["target"]]), name
        assert "privileged" not in service, name
        assert {"user", "build"} & set(service) or "unprivileged" in service["image"], f"{name} would run as root"


def test_secrets_of_the_compose_file_lie_where_git_does_not_look():
    folders = {str(Path(secret["file"]).parent) for secret in COMPOSE["secrets"].values()}
    assert folders == {"secrets"}
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_redis_forgets_nothing():
    command = " ".join(COMPOSE["services"]["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


@pytest.mark.parametrize("name", SERVERS)
def test_every_name_that_a_server_is_given_means_something_and_secrets_come_as_files(name):
    service = COMPOSE["services"][name]
    for variable, value in service["environment"].items():
        assert variable.removesuffix("_FILE") in NAMES, variable
        assert ("SECRET" in variable or "PASSWORD" in variable) == str(value).startswith("/run/secrets/"), variable
        if variable.endswith("_FILE"):
            assert Path(value).name in service["secrets"]
    for volume in service["volumes"]:
        assert (DEPLOY / volume.split(":")[0]).exists(), volume


# Kubernetes


def kubernetes():
    folder = DEPLOY / "kubernetes"
    named = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    return {made["kind"]: made for made in (yaml.safe_load((folder / name).read_text()) for name in named)}


def deployment():
    return kubernetes()["Deployment"]


def test_a_replica_is_always_there():
    spec = deployment()["spec"]
    assert spec["replicas"] >= 2
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert kubernetes()["PodDisruptionBudget"]["spec"]["minAvailable"] >= 1


def test_a_pod_has_no_rights_and_asks_the_right_paths():
    pod = deployment()["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (pod["securityContext"]["runAsNonRoot"], container["securityContext"]["readOnlyRootFilesystem"]) == (
        True,
        True,
    )
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert str(pod["securityContext"]["runAsUser"]) == dict(STAGES["server"])["USER"].partition(":")[0]
    assert not pod["automountServiceAccountToken"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_every_name_that_a_pod_is_given_means_something_and_is_one_that_the_configuration_needs():
    (container,) = deployment()["spec"]["template"]["spec"]["containers"]
    given = {one["name"].removesuffix("_FILE") for one in container["env"]}
    assert given <= NAMES
    assert set(re.findall(r"\$\{(\w+)\}", CONFIG.read_text())) <= given | {"NAME"}


def test_kustomize_builds_manifests_that_the_schemas_of_kubernetes_accept():
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    if not os.environ.get("REQUIRE_ALL_TESTS"):
        pytest.importorskip("kubernetes_validate")
    import kubernetes_validate

    done = subprocess.run(
        ["kubectl", "kustomize", DEPLOY / "kubernetes"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    for one in built:
        kubernetes_validate.validate(one, "1.32", strict=True)
    label = {"app.kubernetes.io/name": "sanic-qserver"}
    selected = {one["kind"]: one["spec"] for one in built if "spec" in one}
    assert selected["Service"]["selector"] == label
    assert all(selected[kind]["selector"]["matchLabels"] == label for kind in ("Deployment", "PodDisruptionBudget"))
    assert selected["NetworkPolicy"]["podSelector"]["matchLabels"] == label


# The chapter


@pytest.mark.slow
@pytest.mark.timeout(330)
def test_the_commands_of_the_chapter_start_two_servers_behind_nginx_and_either_may_go(folder):
    needs_a_bare_machine()
    needs("nginx", "openssl", "curl", "psql", "redis-cli", "wget")
    text = (ROOT / "docs" / "containers.md").read_text()
    commands = "\n".join(re.findall(r"^```bash\n(.*?)```", text, re.DOTALL | re.MULTILINE))
    programs = 'ln -s "$REDIS_SERVER" /usr/local/bin/redis-server; ln -s "$TEST_ENVIRONMENT/bin/qsctl" /usr/local/bin/'
    done = run_on_a_bare_machine(folder, f"{programs}\n{LOGS}{commands}\ntrap - EXIT; echo done\n")
    assert done.stdout.endswith("done\n"), done.stdout
