"""create_app(config) -> App: wires everything, opens and closes what has to be opened and closed."""

import logging
import time

from sanic import Sanic

from sanic_qserver.api.bulk.shared import build_bulks
from sanic_qserver.api.items.verdicts import Validation
from sanic_qserver.api.proposals.desk import Proposals
from sanic_qserver.api.services import Services
from sanic_qserver.api.spreadsheets.readers import SheetReaders, sheet_limits
from sanic_qserver.api.table import ENDPOINTS, STREAMS
from sanic_qserver.auth.building import build_logins
from sanic_qserver.auth.providers.provider import Providers
from sanic_qserver.auth.tokens.rejected import Rejected
from sanic_qserver.config.replicas import refuse_unshared, take_fingerprints, warn_of_unshared
from sanic_qserver.config.settings import Config
from sanic_qserver.errors import ConfigError
from sanic_qserver.extensions.loading import Extensions, load_extensions
from sanic_qserver.extensions.running import Running
from sanic_qserver.http.application import App
from sanic_qserver.http.blueprints import mount_blueprints
from sanic_qserver.http.bodies import Bodies
from sanic_qserver.http.cors import allow_origins
from sanic_qserver.http.csrf import Browsers, warn_of_origins
from sanic_qserver.http.docs import mount_pages
from sanic_qserver.http.errors import ProblemHandler
from sanic_qserver.http.gate import Gate
from sanic_qserver.http.health import mount_operations
from sanic_qserver.http.lifecycle import mount_policies
from sanic_qserver.http.metrics.measuring import Metrics
from sanic_qserver.http.metrics.workers import OneWorker, Workers
from sanic_qserver.http.router import build_handler, mount, mount_options
from sanic_qserver.http.server.access import AccessLog
from sanic_qserver.http.server.connections import Connections
from sanic_qserver.http.server.forwarding import Forwarding
from sanic_qserver.http.server.request import DirectRequest, FrontedRequest
from sanic_qserver.http.server.tls import Certificates, add_hsts, check_client_certificates
from sanic_qserver.http.stream.sse import mount_streams
from sanic_qserver.http.tracing import build_tracing
from sanic_qserver.http.ui.pages import mount_ui
from sanic_qserver.http.watching import Watching
from sanic_qserver.manager.client.client import ManagerClient
from sanic_qserver.manager.console.output import Console
from sanic_qserver.manager.live.building import build_live
from sanic_qserver.manager.read_cache import ReadCache
from sanic_qserver.middleware.audit.sinks import build_audit
from sanic_qserver.middleware.idempotency.store import build_claims, warn_of_store
from sanic_qserver.middleware.stack import Middleware
from sanic_qserver.policy.policies import Policies
from sanic_qserver.policy.protocols import AccessPolicy
from sanic_qserver.shared_state.edit_lock import build_edit_lock
from sanic_qserver.shared_state.redis import SharedRedis, build_shared
from sanic_qserver.shared_state.watch import RedisWatch

log = logging.getLogger("sanic_qserver")


def create_app(config: Config, *, name: str = "sanic_qserver", workers: Workers | None = None) -> App:
    """The application for a configuration. `name` must be unique in the process: Sanic keeps apps by name.

    `workers`: those that it shares its metrics with.

    Raises ConfigError when the configuration or a policy holds a mistake.
    """
    refuse_unshared(config)
    warn_of_unshared(config)
    warnings: list[str] = [f"not carried over: {note}" for note in config.notes]
    for note in warnings:
        log.warning("%s", note)
    shared = build_shared(config.replicas)
    policies = Policies(config, warnings, shared)
    forwarding = Forwarding(config.server)
    request_class = DirectRequest if forwarding.is_off else FrontedRequest
    app = Sanic(name, error_handler=ProblemHandler(), request_class=request_class, configure_logging=False)
    app.ctx.forwarding = forwarding
    _configure(app, config, warnings)
    redis_watch = _open_shared(app, shared, warnings, config)
    manager = ManagerClient(config.manager, config.submissions)
    extensions = load_extensions(config, manager, ENDPOINTS, STREAMS)
    warnings.extend((*extensions.failures, *warn_of_store(config)))
    running = Running(extensions)
    hooks = running.hooks()
    claims = build_claims(config)
    endpoints = Middleware(hooks, claims).surround((*ENDPOINTS, *extensions.all("endpoints")))
    streams = (*STREAMS, *extensions.all("streams"))
    reads = ReadCache(manager, config.reads)
    counters = {"qserver_manager_calls": manager.counts, "qserver_reads": reads.counts}
    metrics = Metrics(config, counters, workers or OneWorker())
    watching = Watching(config, metrics, build_tracing(config, metrics.replica))
    access = extensions.access_policy(policies.access)
    live = build_live(config, reads, shared)
    services = Services(
        config=config,
        logins=build_logins(config, access.access_of, extensions.providers(), shared=shared),
        manager=manager,
        reads=reads,
        publications=live.publications,
        console=Console(config.console),
        live=live,
        validation=Validation(manager),
        proposals=Proposals(config, manager, hooks, live.events),
        metrics=metrics.text,
        warnings=warnings,
        audit=build_audit(config),
        hooks=hooks,
        sheet_readers=SheetReaders(extensions.all("sheet_readers"), sheet_limits(config.spreadsheets)),
        claims=claims,
        bulks=build_bulks(shared),
        rows=endpoints,
        rates=extensions.rate_policy(policies.rates),
        queue_edits=build_edit_lock(shared),
        redis_watch=redis_watch,
    )
    gate = _build_gate(config, services, access, extensions)
    bodies = Bodies(config.server)
    mount(app, endpoints, gate, bodies, services, watching)
    mount_streams(app, streams, gate, services)
    mount_blueprints(app, extensions.all("blueprints"), gate, bodies)
    mount_operations(app, services, gate)
    ping = next(row for row in endpoints if row.path == "/ping")
    mount_pages(app, endpoints, streams, build_handler(ping, gate, bodies, services, watching))
    mount_ui(app, config.server.title, extensions.all("pages"))
    mount_options(app)
    _check_root_path(app, config.server.root_path)
    app.ctx.connections = Connections(
        config.server.max_connections,
        config.server.max_connections_per_address,
        config.server.write_stall_s,
        config.live.stall_s,
        forwarding.trusts,
    )
    app.after_server_stop(lambda _: app.ctx.connections.settle())
    app.ctx.services = services
    app.ctx.gate = gate
    app.ctx.bodies = bodies
    app.ctx.rows = (*endpoints, *streams)
    app.ctx.extensions = running
    app.ctx.policies = policies
    mount_policies(app, policies, services.audit)
    _watch(app, services, metrics)
    _open_and_close(app, services, running, watching)
    return app


def _open_shared(app: App, shared: SharedRedis | None, warnings: list[str], config: Config) -> RedisWatch | None:
    """Look after the Redis of the replicas. What is opened first is closed last."""
    if shared is None:
        return None
    watch = RedisWatch(shared, warnings, take_fingerprints(config))
    app.before_server_start(lambda _: watch.start())
    app.after_server_stop(lambda _: shared.close())
    app.after_server_stop(lambda _: watch.stop())
    return watch


def _watch(app: App, services: Services, metrics: Metrics) -> None:
    """What is asked for its value of the moment."""
    manager, publications, connections = services.manager, services.publications, app.ctx.connections
    watch = services.redis_watch

    def gauges() -> dict[str, float]:
        heard_at = publications.heard_at
        return {
            "qserver_manager_connected": int(manager.is_connected),
            "qserver_manager_waiting_calls": manager.waiting_count,
            "qserver_manager_calls_in_flight": manager.in_flight_count,
            "qserver_manager_calls_per_second": manager.rate.calls_per_s,
            "qserver_manager_published_age_seconds": time.monotonic() - heard_at if heard_at else -1,
            "qserver_kept_bytes": services.reads.cached_bytes,
            "qserver_connections": len(connections),
            "qserver_connections_refused": connections.refused_count,
            "qserver_streams": len(app.ctx.subscriptions),
            "qserver_warnings": len(services.warnings),
            **services.live.feed.gauges(),
            **({"qserver_replicas_redis_answering": int(not watch.is_away)} if watch is not None else {}),
        }

    metrics.watch(gauges)


def _build_gate(config: Config, services: Services, access: AccessPolicy, extensions: Extensions) -> Gate:
    ways = services.logins.ways.values()
    services.warnings.extend(warning for way in ways for warning in getattr(way, "warnings", ()))
    providers = Providers([*services.logins.recognisers, *extensions.providers()])
    services.logins.on_revocation(providers.forget)
    services.warnings.extend(warn_of_origins(config.server.allow_origins))
    browsers = Browsers(services.logins, config.server)
    rejected = Rejected(config.auth.attempts.rejected_credentials)
    return Gate(providers, access, services.rates, browsers, rejected, services)


def _check_root_path(app: App, root_path: str) -> None:
    """Refuse a prefix that paths of ours begin with: it could not be told whether a proxy has taken it away."""
    if root_path and any(f"/{route.path.strip('/')}/".startswith(f"{root_path}/") for route in app.router.routes):
        raise ConfigError(f"[server] root_path: paths of this server begin with {root_path} themselves; choose another")


def _configure(app: App, config: Config, warnings: list[str]) -> None:
    server = config.server
    check_client_certificates(config)
    app.ctx.certificates = Certificates(config, warnings) if server.tls_certificate else None
    app.config.AUTO_EXTEND = False  # It swallows import errors and starts without CORS, silently.
    app.config.ACCESS_LOG = False  # It has its own.
    app.ctx.access_log = AccessLog(config.log.format) if server.access_log else None
    app.config.REQUEST_MAX_SIZE = server.max_body_bytes
    app.config.REQUEST_TIMEOUT = server.body_timeout_s
    app.config.RESPONSE_TIMEOUT = 30 + max(
        config.manager.long_deadline_s,
        *config.manager.deadlines_s.values(),
        config.live.max_wait_s,
        config.spreadsheets.timeout_s + config.spreadsheets.max_rows / 100,  # RE Manager takes some 2 ms a plan.
    )
    app.config.GRACEFUL_SHUTDOWN_TIMEOUT = server.shutdown_timeout_s
    app.config.MOTD = False
    if server.hsts_s:
        add_hsts(app, server.hsts_s)
    allow_origins(app, server.allow_origins)


def _open_and_close(app: App, services: Services, running: Running, watching: Watching) -> None:
    @app.before_server_start
    async def open_all(_: App) -> None:
        await services.logins.open()
        services.publications.listen(services.console.hear)
        services.manager.open()
        await services.live.open()
        watching.metrics.open()
        await services.proposals.start()
        services.warnings.extend(await running.start(services.live.status))

    @app.before_server_stop
    async def end_waits(_: App) -> None:
        services.live.waits.end()

    @app.after_server_stop
    async def close_all(_: App) -> None:
        await running.stop()
        await services.proposals.close()
        await services.live.close()
        await services.logins.close()
        await services.manager.close()
        await services.claims.close()
        watching.metrics.close()
        if app.ctx.access_log is not None:
            app.ctx.access_log.flush()
        if watching.tracing is not None:
            await watching.tracing.close()
