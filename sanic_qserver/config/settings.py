"""Config: every setting, typed, from `config.toml` and the environment. The environment is read here only.

Order, strongest first: command line, file, environment, default.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from sanic_qserver.config.leftovers import left_over
from sanic_qserver.config.legacy import is_legacy, read_legacy, translate
from sanic_qserver.config.logins import AuthConfig, DatabaseConfig
from sanic_qserver.config.mistakes import explain, find_unusable
from sanic_qserver.errors import ConfigError
from sanic_qserver.structs.section import Count, Seconds, Section

PACKAGE = Path(__file__).resolve().parent.parent


ForwardedHeader = Literal["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix", "forwarded"]


class ServerConfig(Section, frozen=True, kw_only=True):
    """Where and how HTTP is served."""

    title: str = "Queue Server"
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 60610
    unix_socket: str = ""
    workers: Count = 1
    max_body_bytes: Count = 32_000_000
    max_bodies_bytes: Count = 96_000_000
    body_timeout_s: Seconds = 30.0
    write_stall_s: Seconds = 60.0
    max_connections: Count = 10_000
    max_connections_per_address: Count = 2_000
    drain_delay_s: Annotated[float, Meta(ge=0)] = 0.0
    shutdown_timeout_s: Seconds = 10.0
    max_nesting: Count = 200
    allow_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    forwarded_headers: tuple[ForwardedHeader, ...] = (
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-prefix",
    )
    proxies_count: Annotated[int, Meta(ge=0)] = 0
    root_path: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    tls_key_password: str = ""
    tls_client_ca: str = ""
    hsts_s: Annotated[int, Meta(ge=0)] = 0
    access_log: bool = False
    allow_anonymous_beyond_loopback: bool = False


class ManagerConfig(Section, frozen=True, kw_only=True):
    """How RE Manager is reached. Deadlines count from the sending of a call; `queue_wait_s` ends before it.

    The defaults answer a client before the official client's own time-out of 5 s (1.5 + 3).
    """

    control_address: str = "tcp://localhost:60615"
    info_address: str = "tcp://localhost:60625"
    public_key: str = ""
    encoding: Literal["json", "msgpack"] = "json"
    window: Annotated[int, Meta(ge=1, le=64)] = 8
    queue_limit: Count = 1000
    queue_wait_s: Seconds = 1.5
    short_deadline_s: Seconds = 3.0
    long_deadline_s: Seconds = 60.0
    deadlines_s: dict[str, Seconds] = field(default_factory=dict)
    unknown_params: Literal["refuse", "forward"] = "refuse"


class ReadsConfig(Section, frozen=True, kw_only=True):
    """Which replies are kept under RE Manager's uid, and how they are sent."""

    kept_bytes: Annotated[int, Meta(ge=0)] = 32_000_000
    compress_from_bytes: Count = 2_000


class SubmissionsConfig(Section, frozen=True, kw_only=True):
    """How single adds go to RE Manager."""

    group_commit: bool = True
    max_batch: Annotated[int, Meta(ge=1, le=64)] = 64


class ItemsConfig(Section, frozen=True, kw_only=True):
    """What the server adds to items: with `stamp`, who submitted them and when goes into their `meta`."""

    stamp: bool = False


class ProposalsConfig(Section, frozen=True, kw_only=True):
    """Reviewed submissions: whether one may approve one's own, how long they stay open, and how large they may be."""

    own_approval: bool = False
    keep_open_days: Seconds = 30.0
    max_items: Count = 500


class IdempotencyConfig(Section, frozen=True, kw_only=True):
    """How long and where answers to calls with an `Idempotency-Key` are kept.

    `store`: "sqlite" (a file beside the logins, or the configuration), "sqlite:///file", "memory", or a Redis URL.
    `max_keys` and `max_bytes` are what one principal may have.
    """

    store: Annotated[str, Meta(pattern=r"^(memory$|sqlite$|sqlite:///.|rediss?://|unix://)")] = "sqlite"
    keep_s: Seconds = 86_400.0
    max_keys: Count = 100_000
    max_bytes: Count = 20_000_000


class ConsoleConfig(Section, frozen=True, kw_only=True):
    """How much console output is kept."""

    max_messages: Count = 2000
    max_lines: Count = 2000
    max_watcher_messages: Count = 1000
    heartbeat_s: Seconds = 10.0


class LiveConfig(Section, frozen=True, kw_only=True):
    """How changes are pushed to watchers, and how long one may wait for them."""

    tick_s: Seconds = 0.02
    poll_s: Seconds = 0.5
    linger_s: Seconds = 60.0
    stall_s: Seconds = 60.0
    max_behind: Count = 1000
    kept_events: Count = 2000
    max_wait_s: Seconds = 60.0


class AccessServerConfig(Section, frozen=True, kw_only=True):
    """A server of the facility that says who has which role: asked at `URL/instrument/INSTRUMENT/qserver/access`."""

    url: str = ""
    instrument: str = ""
    token: str = ""
    update_period_s: Seconds = 600.0
    expiration_s: Annotated[float, Meta(ge=0)] = 0.0
    timeout_s: Seconds = 5.0

    @property
    def expires_after_s(self) -> float:
        """Seconds after which people lose access when no answer came."""
        return self.expiration_s or 1.5 * self.update_period_s


class PolicyConfig(Section, frozen=True, kw_only=True):
    """Where the policies stand. A relative path counts from the folder of `config.toml`; "" means the shipped one.

    `access` is the content of a permissions file in the configuration itself; `access_class` is `module:Class` of a
    custom policy, made with `access_args`. At most one of `permissions`, `access` and `access_class` is set;
    `access_server` goes with the first two.
    `counters` is where rates are counted: "memory", or the URL of a Redis, which several workers need.
    """

    permissions: str = ""
    access: dict[str, Any] = field(default_factory=dict)
    access_class: str = ""
    access_args: dict[str, Any] = field(default_factory=dict)
    access_server: AccessServerConfig = AccessServerConfig()
    rate_limits: str = ""
    counters: str = "memory"
    rate_class: str = ""
    rate_args: dict[str, Any] = field(default_factory=dict)


class SpreadsheetsConfig(Section, frozen=True, kw_only=True):
    """What an uploaded spreadsheet may be at most, and how its plans are handed to RE Manager."""

    max_bytes: Count = 20_000_000
    max_rows: Count = 20_000
    max_columns: Count = 200
    max_cell_chars: Count = 10_000
    max_unpacked_bytes: Count = 200_000_000
    max_memory_bytes: Annotated[int, Meta(ge=200_000_000)] = 1_000_000_000
    timeout_s: Seconds = 30.0
    batch_size: Count = 100


class ExtensionsConfig(Section, frozen=True, kw_only=True):
    """Custom modules: which are loaded, from where, and what happens when one fails.

    `required`: whether one that cannot be loaded stops the start. None: all but plain blueprints, since these add
    routes and no rules.
    """

    modules: tuple[str, ...] = ()
    blueprints: tuple[str, ...] = ()
    paths: tuple[str, ...] = (".",)
    entry_points: bool = True
    required: bool | None = None
    blueprint_scope: str = "write:queue:edit"
    hook_timeout_s: Seconds = 2.0
    endpoint_timeout_s: Seconds = 60.0
    blocked_after_s: Seconds = 0.5
    options: dict[str, dict[str, Any]] = field(default_factory=dict)


class AuditConfig(Section, frozen=True, kw_only=True):
    """Where the audit trail goes: the log, a file of its own, a table (SQLite or PostgreSQL) for `GET /api/audit`."""

    log: bool = True
    file: str = ""
    database: str = ""
    keep_days: Count = 365


class ReplicasConfig(Section, frozen=True, kw_only=True):
    """What several processes, on one machine or more, share to serve as one: workers and replicas.

    `redis` is its URL; "" means that this process is alone. `name` keeps apart servers that use the same Redis.
    With it, `[policy] counters` and `[idempotency] store` are this Redis unless they name another one.
    """

    redis: Annotated[str, Meta(pattern=r"^$|^(rediss?|unix)://")] = ""
    name: Annotated[str, Meta(pattern=r"^[\w.-]+$")] = "sanic-qserver"


class LogConfig(Section, frozen=True, kw_only=True):
    """What is logged, and in which form. A request that takes `slow_request_s` is logged with where the time went."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    slow_request_s: Annotated[float, Meta(ge=0)] = 1.0


class TelemetryConfig(Section, frozen=True, kw_only=True):
    """What metrics and traces say of this server. `replica` tells replicas apart; "" is the machine's name and port.

    `traces`: by OpenTelemetry, which takes all else from its own environment (`OTEL_…`).
    """

    replica: str = ""
    traces: bool = False


class Config(Section, frozen=True, kw_only=True):
    """The whole configuration. `source` is the file it came from; `notes` say what of it is not carried over."""

    server: ServerConfig = ServerConfig()
    log: LogConfig = LogConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    manager: ManagerConfig = field(default_factory=ManagerConfig)
    reads: ReadsConfig = ReadsConfig()
    submissions: SubmissionsConfig = SubmissionsConfig()
    items: ItemsConfig = ItemsConfig()
    proposals: ProposalsConfig = ProposalsConfig()
    idempotency: IdempotencyConfig = IdempotencyConfig()
    console: ConsoleConfig = ConsoleConfig()
    live: LiveConfig = LiveConfig()
    auth: AuthConfig = field(default_factory=AuthConfig)
    database: DatabaseConfig = DatabaseConfig()
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    audit: AuditConfig = AuditConfig()
    spreadsheets: SpreadsheetsConfig = SpreadsheetsConfig()
    extensions: ExtensionsConfig = field(default_factory=ExtensionsConfig)
    replicas: ReplicasConfig = ReplicasConfig()
    source: str = ""
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder that relative paths count from."""
        return Path(self.source).resolve().parent if self.source else Path.cwd()


# Environment names of today's deployments -> our setting. A later row wins over an earlier one.
ENVIRONMENT: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("QSERVER_ZMQ_ADDRESS", ("manager", "control_address")),
    ("QSERVER_ZMQ_ADDRESS_CONTROL", ("manager", "control_address")),
    ("QSERVER_ZMQ_CONTROL_ADDRESS", ("manager", "control_address")),
    ("QSERVER_ZMQ_ADDRESS_CONSOLE", ("manager", "info_address")),
    ("QSERVER_ZMQ_INFO_ADDRESS", ("manager", "info_address")),
    ("QSERVER_ZMQ_PUBLIC_KEY", ("manager", "public_key")),
    ("QSERVER_ZMQ_ENCODING", ("manager", "encoding")),
    ("QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY", ("auth", "single_user_api_key")),
    ("QSERVER_HTTP_SERVER_ALLOW_ANONYMOUS_ACCESS", ("auth", "allow_anonymous_access")),
    ("QSERVER_HTTP_SERVER_SECRET_KEYS", ("auth", "secret_keys")),
    ("QSERVER_HTTP_SERVER_DATABASE_URI", ("database", "url")),
    ("QSERVER_HTTP_SERVER_HOST", ("server", "host")),
    ("QSERVER_HTTP_SERVER_PORT", ("server", "port")),
    ("QSERVER_HTTP_SERVER_ALLOW_ORIGINS", ("server", "allow_origins")),
    ("QSERVER_CUSTOM_MODULE", ("extensions", "modules")),
    ("QSERVER_CUSTOM_MODULES", ("extensions", "modules")),
    ("QSERVER_HTTP_CUSTOM_ROUTERS", ("extensions", "blueprints")),
    ("QSERVER_CUSTOM_MODULES_REQUIRED", ("extensions", "required")),
)
# Settings that are lists, and what stands between their members.
_SEPARATORS: Mapping[tuple[str, str], str] = {
    ("server", "allow_origins"): r"\s+",
    ("auth", "secret_keys"): r"[\s;]+",
    ("extensions", "modules"): r"[\s,:]+",
    ("extensions", "blueprints"): r"[\s,:]+",
}


def load(
    path: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Read the configuration.

    `path`: a TOML file, or None for `QSERVER_HTTP_SERVER_CONFIG` in the environment, or for nothing but defaults.
    `overrides`: nested sections that win over all else (the command line).
    Raises ConfigError, naming the file and the path of the setting.
    """
    env = os.environ if environment is None else environment
    file = Path(path or env.get("QSERVER_HTTP_SERVER_CONFIG", "") or "")
    settings: dict[str, Any] = from_environment(env)
    if path or env.get("QSERVER_HTTP_SERVER_CONFIG"):
        is_public = (overrides or {}).get("auth", {}).get("allow_anonymous_access", False)
        _merge(settings, _translated(file, env, is_public=is_public) if is_legacy(file) else _own(file, env))
        settings["source"] = str(file / "config.yml" if file.is_dir() else file)
    _merge(settings, overrides or {})
    _share_among_replicas(settings)
    where = settings.get("source") or "configuration"
    try:
        config = msgspec.convert(settings, Config, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {explain(error, Config, settings)}") from None
    manager = config.manager
    if mistake := find_unusable(manager.control_address, manager.info_address, manager.public_key):
        raise ConfigError(f"{where}: {mistake}")
    return config


def from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    """The settings that today's environment names give, as nested sections."""
    settings: dict[str, Any] = {}
    for name, (section, key) in ENVIRONMENT:
        if value := _value(env, name):
            separator = _SEPARATORS.get((section, key))
            words = [word for word in re.split(separator, value) if word] if separator else value
            settings.setdefault(section, {})[key] = words
    return settings


def _value(env: Mapping[str, str], name: str) -> str | None:
    """What the environment has under a name, or a file named by NAME_FILE: containers hand over secrets as files."""
    if name in env or not (file := env.get(f"{name}_FILE")):
        return env.get(name)
    try:
        return Path(file).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}_FILE: {file}: {getattr(error, 'strerror', None) or 'is no text'}") from None


def _share_among_replicas(settings: dict[str, Any]) -> None:
    """With `[replicas] redis`, count rates and keep Idempotency-Keys there too. Raises ConfigError for less."""
    replicas = settings.get("replicas")
    url = replicas.get("redis") if isinstance(replicas, dict) else None
    if not url or not isinstance(url, str):
        return
    for section, name in (("policy", "counters"), ("idempotency", "store")):
        part = settings.setdefault(section, {})
        place = part.setdefault(name, url) if isinstance(part, dict) else url
        if isinstance(place, str) and not place.startswith(("redis://", "rediss://", "unix://")):
            raise ConfigError(
                f'[{section}] {name} = "{place}": replicas would not share it. Remove it ([replicas] redis is used), '
                "or give the URL of a Redis"
            )


def _translated(file: Path, env: Mapping[str, str], *, is_public: bool) -> dict[str, Any]:
    """The sections of a configuration of bluesky-httpserver. `is_public`: the command line allows the anonymous."""
    old = _expand(read_legacy(file), env, str(file))
    if is_public:
        old["authentication"] = {**(old.get("authentication") or {}), "allow_anonymous_access": True}
    said = env.get("QSERVER_HTTP_SERVER_ALLOW_ANONYMOUS_ACCESS") or "0"
    content = translate(old, str(file), allow_anonymous_access=said.lower() not in ("0", "false"))
    notes = [f"{file}: {note}" for note in left_over(old)]
    if lost := [note for note in notes if ": uvicorn.ssl_" in note]:
        raise ConfigError(lost[0])
    return {**content, "notes": notes}


def _own(file: Path, env: Mapping[str, str]) -> dict[str, Any]:
    written = _read_toml(file)
    _refuse_plain_passwords(written, file)
    content: dict[str, Any] = _expand(written, env, str(file))
    named = content.get("extensions")
    if isinstance(named, dict) and named.get("blueprints") and not env.get("QSERVER_CUSTOM_MODULES_REQUIRED"):
        named.setdefault("required", True)
    return content


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: there is no such file; 'sanic-qserver init FOLDER' writes a config.toml") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from None


def _refuse_plain_passwords(content: Mapping[str, Any], file: Path) -> None:
    """A password stands in a file as a hash, or as the name of an environment variable."""
    server = content.get("server")
    password = server.get("tls_key_password", "") if isinstance(server, dict) else ""
    if password and not (isinstance(password, str) and re.match(r"\$\{\w+\}$", password)):
        raise ConfigError(f"{file}: [server] tls_key_password must be ${{NAME}}, the name of an environment variable")
    auth = content.get("auth")
    providers = auth.get("providers") if isinstance(auth, dict) else None
    for provider in providers if isinstance(providers, list) else []:
        users = provider.get("users") if isinstance(provider, dict) else None
        for name, user in users.items() if isinstance(users, dict) else ():
            password = user.get("password") if isinstance(user, dict) else user
            if isinstance(password, str) and not re.match(r"\$argon2id\$|\$\{\w+\}$", password):
                raise ConfigError(
                    f"{file}: the password of '{name}' must be a hash (sanic-qserver hash-password) or ${{NAME}}"
                )


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def _expand(value: Any, env: Mapping[str, str], where: str) -> Any:
    """Replace `${NAME}` in every string by the environment's value; a name that is not set is a mistake."""
    if isinstance(value, dict):
        return {key: _expand(part, env, f"{where}: {key}") for key, part in value.items()}
    if isinstance(value, list):
        return [_expand(part, env, where) for part in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        value = _value(env, match[1])
        if value is None:
            raise ConfigError(f"{where}: environment variable {match[1]} is not set")
        return value

    return re.sub(r"\$\{(\w+)\}", replace, value)


def shipped(name: str) -> Path:
    """A data file that comes with the package: `config.toml`, or a file under `policies/`."""
    inside = PACKAGE / name
    return inside if inside.exists() else PACKAGE.parent / name


def resolve(config: Config, path: str, default: str) -> Path:
    """The file that a setting names: relative to the configuration's folder, or the shipped default."""
    if not path:
        return shipped(default)
    file = Path(path)
    return file if file.is_absolute() else config.folder / file
