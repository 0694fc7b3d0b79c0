"""The configuration: typed, strict, documented, and open to the environment names of today's deployments."""

import re
import tomllib

import msgspec
import pytest
import zmq

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
        ('[server]\nport = "many"\n', r"\[server\] port"),
        ("[server]\nport = 99999\n", r"\[server\] port"),
        ("[manager]\nwindow = 0\n", r"\[manager\] window"),
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
    (folder / "secret").write_text(f"{'of-a-file':x<40}\n")
    (folder / "config.toml").write_text('[auth]\nsecret_keys = ["${SIGNING}"]\n')
    named = {"SIGNING_FILE": str(folder / "secret"), "QSERVER_ZMQ_PUBLIC_KEY_FILE": str(folder / "secret")}
    loaded = load(folder / "config.toml", environment=named)
    (secret,) = loaded.auth.secret_keys
    assert secret == loaded.manager.public_key == f"{'of-a-file':x<40}"
    assert load(folder / "config.toml", environment={**named, "SIGNING": "of-the-environment"}).auth.secret_keys == (
        "of-the-environment",
    )
    with pytest.raises(ConfigError, match=r"SIGNING_FILE: .*gone: No such file"):
        load(folder / "config.toml", environment={"SIGNING_FILE": str(folder / "gone")})


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("[server]\nprot = 1", "[server]: there is no setting 'prot'; did you mean 'port'?"),
        ("[serve]\nport = 1", "there is no section [serve]; did you mean 'server'?"),
        ("[zzz]\na = 1", "there is no section [zzz]; there are audit, auth, "),
        ("[server]\nport = 'x'", "[server] port: Expected `int`, got `str`"),
        ("[log]\nlevel = 'loud'", "[log] level: Invalid enum value 'loud'; give one of debug, error, info, warning"),
        ("[manager.deadlines_s]\nstatus = 'x'", "[manager] deadlines_s: Expected `float`, got `str`"),
        ("[auth]\nsecret_keys = ['longer than 8', 'x']", "[auth] secret_keys no. 2: Expected `str` of length >= 8"),
        (
            "[[auth.providers]]\nkind = 'ldp'\nname = 'x'",
            "[auth] providers no. 1, kind: Invalid value 'ldp'; give one of ",
        ),
        (
            "[[auth.providers]]\nkind = 'ldap'\nname = 'x'\nserver_address = 'x'\nbind_dn_templat = 'x'",
            "[auth] providers no. 1: there is no setting 'bind_dn_templat'; did you mean 'bind_dn_template'?",
        ),
        ("[server", "is not TOML: "),
    ],
    ids=name_of,
)
def test_a_mistake_names_the_setting_as_it_is_written_and_what_may_stand_there(folder, written, told):
    (folder / "config.toml").write_text(written)
    with pytest.raises(ConfigError) as error:
        load(folder / "config.toml", environment={})
    assert told in str(error.value)
    assert str(error.value).startswith(str(folder / "config.toml"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("control_address", "localhost:60615"),
        ("control_address", "tcp://localhost"),
        ("control_address", "tcp://*:60615"),  # what RE Manager binds
        ("info_address", "http://localhost:60625"),
        ("public_key", "abc"),
    ],
)
def test_what_0mq_would_refuse_is_a_mistake_of_the_configuration(name, value):
    with pytest.raises(ConfigError, match=rf"\[manager\] {name} .*; give "):
        load(None, {}, {"manager": {name: value}})


def test_addresses_and_keys_that_0mq_takes_are_taken():
    key = zmq.curve_keypair()[0].decode()
    for address in ("tcp://[::1]:60615", "tcp://eth0;host:60615", "ipc:///run/re-manager"):
        loaded = load(None, {}, {"manager": {"control_address": address, "public_key": key}})
        assert (loaded.manager.control_address, loaded.manager.public_key) == (address, key)


def test_a_file_that_is_not_there_says_how_to_get_one_and_a_folder_which_file_to_name(folder):
    with pytest.raises(ConfigError, match=r"there is no such file; 'sanic-qserver init FOLDER'"):
        load(folder / "gone.toml", environment={})
    (folder / "config.toml").write_text("")
    with pytest.raises(ConfigError, match=r"name the file: .*config\.toml"):
        load(folder, environment={})
