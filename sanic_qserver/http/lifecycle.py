"""Policies and certificates live as long as the server: started and stopped with it, read anew on SIGHUP."""

import asyncio
import contextlib
import signal

from sanic_qserver.http.application import App
from sanic_qserver.http.server.tls import Certificates
from sanic_qserver.middleware.audit.sinks import Audit
from sanic_qserver.policy.policies import Policies


def mount_policies(app: App, policies: Policies, audit: Audit) -> None:
    """Start and stop the policies, and the audit trail, with the server."""
    app.ctx.say = lambda _: None  # Until somebody listens.
    reloading: set[asyncio.Task[None]] = set()
    mount_certificates(app, app.ctx.certificates)

    def reload() -> None:
        task = asyncio.get_running_loop().create_task(_reload_all(app, policies))
        reloading.add(task)
        task.add_done_callback(reloading.discard)

    @app.before_server_start
    async def start(_: App) -> None:
        await audit.start()
        await policies.start()
        # Not on Windows, and not in a thread: then files are still looked at.
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError, AttributeError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)

    @app.before_server_stop
    async def stop(_: App) -> None:
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError, AttributeError):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        for task in reloading:
            task.cancel()
        await policies.stop()

    @app.after_server_stop
    async def stop_audit(_: App) -> None:
        await audit.stop()


def mount_certificates(app: App, certificates: Certificates | None) -> None:
    """Watch the certificate's files while the server runs, where there are any."""
    if certificates is not None:
        app.before_server_start(lambda _: certificates.start())
        app.before_server_stop(lambda _: certificates.stop())


async def _reload_all(app: App, policies: Policies) -> None:
    app.ctx.say("reloading")
    try:
        if app.ctx.certificates is not None:
            await app.ctx.certificates.reload()
        await policies.reload()
    finally:
        app.ctx.say("reloaded")
