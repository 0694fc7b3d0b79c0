"""TLS from certificate files, which are read anew when they change; and connections until their handshake is done.

The rules:
1. New files are tried in a context of their own. When they cannot be used the old certificate stays in force, and the
   log and `/readyz` say so. A handshake takes what is in force at that moment; open connections are left alone.
2. A connection counts from its first moment on, before anything of TLS is read, and has `body_timeout_s` to finish its
   handshake. asyncio's servers tell of a connection only after that.
"""

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

from sanic_qserver.config.logins import ClientCertificate
from sanic_qserver.config.settings import Config
from sanic_qserver.errors import ConfigError
from sanic_qserver.http.application import App
from sanic_qserver.http.server.connection import DeadlineProtocol
from sanic_qserver.http.server.connections import Connections, read_peer
from sanic_qserver.reloading import FileChanges, StandingWarning
from sanic_qserver.tasks import end_tasks

log = logging.getLogger("sanic_qserver.http")

PERIOD_S = 1.0  # So often the files are looked at. Polling works on network file systems too.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # Of TLS 1.2: forward secrecy and authenticated encryption. 1.3 has no others.
_CLOSING_S = 2.0  # So long a client may take to say that it closes too.
_QUIET_S = 1.0  # While the server stops, a handshake has so long.


def build_context(certificate: Path, key: Path | None, password: str, client_ca: Path | None) -> ssl.SSLContext:
    """A server's context. Raises ConfigError for files that cannot be used.

    `client_ca`: who signs the certificates of clients, which may show one, and need not.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # A function: without any password OpenSSL would ask for it on the terminal.
        context.load_cert_chain(certificate, key, lambda: password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        files = f"{certificate} and {key}" if key else f"{certificate}"
        raise ConfigError(f"[server] tls_certificate, tls_key: {files} cannot be used: {_explain(error)}") from None
    if client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ValueError) as error:
            raise ConfigError(f"[server] tls_client_ca: {client_ca} cannot be used: {_explain(error)}") from None
    return context


def _explain(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return "the key is not that of the certificate"
    if reason or isinstance(error, ssl.SSLError):
        return f"no certificate and key in PEM, or another password ({reason or 'not readable'})"
    return getattr(error, "strerror", None) or str(error)


class Certificates:
    """The certificate that new connections get. One an application."""

    def __init__(self, config: Config, warnings: list[str]) -> None:
        """Raises ConfigError. What is wrong with renewed files is put into `warnings` until it is mended."""
        server = config.server
        self._certificate = config.folder / server.tls_certificate
        self._key = config.folder / server.tls_key if server.tls_key else None
        self._client_ca = config.folder / server.tls_client_ca if server.tls_client_ca else None
        self._password = server.tls_key_password
        self._warning = StandingWarning(warnings, log)
        files = (self._certificate, self._key, self._client_ca)
        self._changes = FileChanges([file for file in files if file is not None])
        self.context = self._load()
        self._watching: asyncio.Task[None] | None = None

    @property
    def is_stale(self) -> bool:
        """Whether the files changed and cannot be used."""
        return bool(self._warning.text)

    async def start(self) -> None:
        """Begin to watch the files."""
        self._watching = asyncio.create_task(self._watch(), name="certificate files")

    async def stop(self) -> None:
        """Watch them no more."""
        await end_tasks(self._watching)

    async def reload(self) -> None:
        """Read the files now."""
        await asyncio.to_thread(self._changes.take)
        try:
            self.context = await asyncio.to_thread(self._load)
        except ConfigError as error:
            self._warning.say(f"{error} (the old certificate stays in force)")
        else:
            log.info("The certificate of %s is in force now", self._certificate)
            self._warning.say("")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_S)
            if await asyncio.to_thread(self._changes.have_settled):
                await self.reload()

    def _load(self) -> ssl.SSLContext:
        return build_context(self._certificate, self._key, self._password, self._client_ca)


class Handshake(asyncio.Protocol):
    """A connection until its handshake is done. Then a `DeadlineProtocol` takes its place."""

    websocket_handshake = DeadlineProtocol.websocket_handshake  # By this Sanic knows what settings a protocol takes.

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._registry: Connections = settings["app"].ctx.connections
        self._since = monotonic()
        self._socket: socket.socket
        self._task: asyncio.Task[None]

    def connection_made(self, transport: Any) -> None:
        """A client connects. The loop gets the connection again, for TLS, before it has read anything of it."""
        if self._registry.enter(self, read_peer(transport)):
            try:
                self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
            except OSError as error:  # Too many open files.
                log.warning("A connection was cut off: %s", error)
                self.leave()
            else:
                self._socket.settimeout(0)
                self._task = asyncio.get_running_loop().create_task(self._shake_hands())
        transport.abort()  # To one who is refused nothing can be said before a handshake.

    async def _shake_hands(self) -> None:
        app = self._settings["app"]
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Shaken(self.leave, **self._settings),
                self._socket,
                ssl=app.ctx.certificates.context,
                ssl_handshake_timeout=app.config.REQUEST_TIMEOUT,
                ssl_shutdown_timeout=_CLOSING_S,
            )
        except OSError as error:  # also ssl.SSLError, TimeoutError and ConnectionError
            log.debug("No TLS handshake: %r", error)
            self._socket.close()
            self.leave()

    def leave(self) -> None:
        """The handshake is over."""
        self._registry.leave(self, None)

    def look(self, now: float) -> None:
        """Do nothing: asyncio ends a handshake that takes too long."""

    def close_if_quiet(self, now: float) -> None:
        """The server stops: who has connected this moment ago may still shake hands and send a request."""
        if now - self._since > _QUIET_S:
            self.abort()

    def give_up(self) -> None:
        """End it."""
        self.abort()

    def abort(self) -> None:
        """End it; the loop notices."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class _Shaken(DeadlineProtocol):
    """A connection whose handshake is done; it is counted in the place of the handshake."""

    __slots__ = ("_end_handshake",)

    def __init__(self, end_handshake: Callable[[], None], **settings: Any) -> None:
        super().__init__(**settings)
        self._end_handshake = end_handshake

    def connection_made(self, transport: Any) -> None:
        """The client has shaken hands."""
        self._end_handshake()
        super().connection_made(transport)


def choose_protocol(app: App) -> type[Any]:
    """What a new connection begins as."""
    return DeadlineProtocol if app.ctx.certificates is None else Handshake


def check_client_certificates(config: Config) -> None:
    """Raises ConfigError for settings of which one is worth nothing without the other."""
    server, certificates = config.server, [one for one in config.auth.providers if isinstance(one, ClientCertificate)]
    if certificates and not server.tls_client_ca:
        raise ConfigError(
            f"[[auth.providers]] {certificates[0].name}: set [server] tls_client_ca, or no client has one"
        )
    if server.tls_client_ca and not server.tls_certificate:
        raise ConfigError(
            "[server] tls_client_ca: set tls_certificate too; a proxy that serves TLS looks at clients itself"
        )


def add_hsts(app: App, seconds: int) -> None:
    """Tell browsers, in every answer over HTTPS, to use nothing else."""
    value = f"max-age={seconds}"

    async def add(request: Any, response: Any) -> None:
        if request.find_site().scheme == "https":
            response.headers["Strict-Transport-Security"] = value

    app.register_middleware(add, "response")
