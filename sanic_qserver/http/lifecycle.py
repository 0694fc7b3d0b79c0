"""Policies and certificates live as long as the server: started and stopped with it, read anew on SIGHUP."""

import asyncio
import contextlib
import signal

from sanic_qserver.http.application import App
from sanic_qserver.http.server.tls import Certificates
from sanic_qserver.middleware.audit.sinks import Audit
from sanic_qserver.policy.policies import Policies


def mount_policies(app: App, policies: Policies, audit: Audit) -> None:
    """Start and stop the policies, the audit trail and the watch on certificates with the server."""
    certificates: Certificates | None = app.ctx.certificates
    reloading: set[asyncio.Task[None]] = set()

    async def reload_all() -> None:
        if certificates is not None:
            await certificates.reload()
        await policies.reload()

    def reload() -> None:
        task = asyncio.get_running_loop().create_task(reload_all())
        reloading.add(task)
        task.add_done_callback(reloading.discard)

    @app.before_server_start
    async def start(_: App) -> None:
        await audit.start()
        await policies.start()
        if certificates is not None:
            await certificates.start()
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
        if certificates is not None:
            await certificates.stop()

    @app.after_server_stop
    async def stop_audit(_: App) -> None:
        await audit.stop()
