"""The configuration: typed, strict, documented, and open to the environment names of today's deployments."""

import re
import tomllib

import msgspec
import pytest

from sanic_qserver.config import settings as configuration
from sanic_qserver.config.settings import ENVIRONMENT, Config, Section, load, shipped
from sanic_qserver.errors import ConfigError


def name_of(value):
    return value if isinstance(value, str) else ""


def sections(kind=Config, path=""):
    """Every section of the configuration with its name."""
    for field in msgspec.structs.fields(kind):
        parts = [field.type, *getattr(field.type, "__args__", ())]
        for part in parts:
            if isinstance(part, type) and issubclass(part, Section):
                name = f"{path}{field.name}"
                yield name, part
                yield from sections(part, f"{name}.")


@pytest.mark.parametrize(("name", "section"), list(sections()), ids=name_of)
def test_every_setting_is_documented_in_config_toml(name, section):
    text = shipped("config.toml").read_text("utf-8")
    assert re.search(rf"^(# )?\[+{re.escape(name)}[\].]", text, re.MULTILINE), f"[{name}] is missing"
    for field in msgspec.structs.fields(section):
        documented = rf"^#? ?{field.name} = |^(# )?\[+({re.escape(name)}\.)?{field.name}[\].]"
        documented += rf"|^# ?\[+{re.escape(name)}\.{field.name}"
        assert re.search(documented, text, re.MULTILINE), f"[{name}] {field.name} is missing"


def test_the_shipped_configuration_is_valid_and_its_comments_hold_the_defaults(folder):
    text = shipped("config.toml").read_text("utf-8")
    assert load(shipped("config.toml"), environment={}).server == Config().server
    core = {"server", "manager", "console"}
    active = re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE)
    sections = {name: part for name, part in tomllib.loads(_without_variables(active)).items() if name in core}
    sections["manager"].pop("deadlines_s")  # An example: there are no defaults for single methods.
    for name, settings in sections.items():
        defaults = msgspec.to_builtins(getattr(Config(), name))
        for key, value in settings.items():
            assert defaults[key] == value or list(defaults[key]) == value, f"[{name}] {key}"


def _without_variables(text):
    return re.sub(r'"\$\{\w+\}"', '""', text)


@pytest.mark.parametrize(("name", "target"), ENVIRONMENT, ids=name_of)
def test_the_environment_names_of_todays_deployments_work(name, target):
    kinds = {"encoding": "msgpack", "port": "61234", "control_address": "tcp://somewhere:1"}
    value = kinds.get(target[-1], "somewhere")
    settings = configuration.from_environment({name: value})
    for part in target:
        settings = settings[part]
    assert settings in (value, [value])


def test_the_order_is_command_line_file_environment_default(folder):
    file = folder / "config.toml"
    file.write_text('[manager]\ncontrol_address = "tcp://file:1"\n')
    environment = {"QSERVER_ZMQ_CONTROL_ADDRESS": "tcp://env:1", "QSERVER_ZMQ_INFO_ADDRESS": "tcp://env:2"}
    assert load(None, environment).manager.control_address == "tcp://env:1"
    loaded = load(file, environment)
    assert loaded.manager.control_address == "tcp://file:1"
    assert loaded.manager.info_address == "tcp://env:2"
    over = load(file, environment, {"manager": {"control_address": "tcp://line:1"}})
    assert over.manager.control_address == "tcp://line:1"
    assert load(None, {}).manager.control_address == "tcp://localhost:60615"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[sever]\n", "sever"),
        ("[server]\nprot = 1\n", "prot"),
        ('[server]\nport = "many"\n', r"\$.server.port"),
        ("[server]\nport = 99999\n", r"\$.server.port"),
        ("[manager]\nwindow = 0\n", r"\$.manager.window"),
        ('[manager]\ncontrol_address = "${NOT_SET}"\n', "NOT_SET"),
        ("[server\n", "config.toml"),
    ],
)
def test_a_mistake_is_refused_with_its_path(folder, text, says):
    file = folder / "config.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load(file, {})


def test_variables_expand_from_the_environment(folder):
    file = folder / "config.toml"
    file.write_text('[auth]\nsingle_user_api_key = "${KEY}"\n')
    assert load(file, {"KEY": "secret"}).auth.single_user_api_key == "secret"


def test_a_missing_file_is_a_mistake():
    with pytest.raises(ConfigError, match="no-such-file"):
        load("no-such-file.toml", {})


def test_origins_may_be_given_as_words_in_the_environment():
    loaded = load(None, {"QSERVER_HTTP_SERVER_ALLOW_ORIGINS": "http://a http://b"})
    assert loaded.server.allow_origins == ("http://a", "http://b")


def test_replicas_count_rates_and_keep_keys_in_the_redis_that_they_share(folder):
    file = folder / "config.toml"
    file.write_text('[replicas]\nredis = "redis://:${PW}@h:1/2"\n')
    config = load(file, environment={"PW": "secret"})
    assert config.policy.counters == config.idempotency.store == "redis://:secret@h:1/2"


@pytest.mark.parametrize(("section", "name", "place"), [
    ("policy", "counters", "memory"), ("idempotency", "store", "memory"), ("idempotency", "store", "sqlite"),
])  # fmt: skip
def test_replicas_refuse_a_place_that_they_do_not_share(folder, section, name, place):
    file = folder / "config.toml"
    file.write_text(f'[replicas]\nredis = "redis://h:1/2"\n[{section}]\n{name} = "{place}"\n')
    with pytest.raises(ConfigError, match=rf"\[{section}\] {name} = .{place}"):
        load(file, environment={})


def test_a_secret_may_stand_in_a_file_that_the_environment_names(folder):
    (folder / "secret").write_text("of-a-file\n")
    (folder / "config.toml").write_text('[auth]\nsecret_keys = ["${SIGNING}"]\n')
    named = {"SIGNING_FILE": str(folder / "secret"), "QSERVER_ZMQ_PUBLIC_KEY_FILE": str(folder / "secret")}
    loaded = load(folder / "config.toml", environment=named)
    assert (loaded.auth.secret_keys, loaded.manager.public_key) == (("of-a-file",), "of-a-file")
    assert load(folder / "config.toml", environment={**named, "SIGNING": "of-the-environment"}).auth.secret_keys == (
        "of-the-environment",
    )
    with pytest.raises(ConfigError, match=r"SIGNING_FILE: .*gone: No such file"):
        load(folder / "config.toml", environment={"SIGNING_FILE": str(folder / "gone")})
