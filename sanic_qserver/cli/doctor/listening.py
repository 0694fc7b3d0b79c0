"""The server as its clients see it: whether it answers and is ready, or its port is free."""

import asyncio
import ssl
from typing import Any
from urllib.parse import urlsplit

import httpx

from sanic_qserver.cli.doctor.files import judge_certificate
from sanic_qserver.cli.doctor.finding import Clock, Finding, Findings, failed, ok, warning
from sanic_qserver.cli.listening import format_address
from sanic_qserver.config.settings import ServerConfig
from sanic_qserver.demo import is_taken

_ASK_S = 10.0


async def check_server(server: ServerConfig, url: str, key: str, clock: Clock) -> Findings:
    """The server at the URL; without one, whoever answers at the configured port, if anybody does.

    `key`: an API key, with which `/readyz` tells its warnings.
    """
    given, url = url, url.rstrip("/") or _guess_url(server)
    headers = {"Authorization": f"ApiKey {key}"} if key else {}
    # The certificate is not for the address of this machine, which is asked where no URL is given.
    async with httpx.AsyncClient(timeout=_ASK_S, headers=headers, trust_env=False, verify=bool(given)) as client:
        try:
            alive = await client.get(f"{url}/healthz")
        except httpx.HTTPError as error:
            yield _judge_silence(server, given, error)
            if given.startswith("https"):
                yield await _check_served_certificate(given, clock)
            return
        if alive.status_code != 200 or b'"ok"' not in alive.content:
            do = "name this server, with its path prefix; or look at the proxy in front of it, whose answer this may be"
            yield failed(f"server at {url}", f"/healthz gives {alive.status_code}: not this server's answer", do)
            return
        yield ok(f"server at {url}", "answers")
        if url.startswith("https"):
            yield await _check_served_certificate(url, clock)
        yield _judge_readiness((await client.get(f"{url}/readyz")).json())


def _guess_url(server: ServerConfig) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(server.host, server.host)  # noqa: S104
    return f"{'https' if server.tls_certificate else 'http'}://{format_address(host, server.port)}"


def _judge_silence(server: ServerConfig, given: str, error: httpx.HTTPError) -> Finding:
    if given:
        do = "start the server (sanic-qserver serve), or look at the proxy and the firewall between"
        return failed(f"server at {given}", f"does not answer: {str(error) or type(error).__name__}", do)
    what = f"port {server.port}"
    if is_taken(server.host, server.port):
        return failed(what, "is taken by something else", f"look who has it (ss -ltnp 'sport = :{server.port}')")
    return ok(what, "is free: no server runs here now")


async def _check_served_certificate(url: str, clock: Clock) -> Finding:
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 443)
    try:
        pem = await asyncio.to_thread(ssl.get_server_certificate, address, timeout=_ASK_S)
    except (OSError, ValueError) as error:
        return failed(f"certificate of {url}", str(error), "look whether TLS is served there")
    return judge_certificate(f"certificate of {url}", pem.encode(), clock)


def _judge_readiness(answer: dict[str, Any]) -> Finding:
    bad = [f"{name}: {said}" for name, said in answer.get("checks", {}).items() if said != "ok"]
    warnings = answer.get("warnings", [])
    told = "; ".join([*bad, *map(str, warnings)])
    if answer.get("status") == "degraded":
        return warning("readiness", f"degraded: {told}", "see the findings on Redis above")
    if answer.get("status") != "ready":
        return failed("readiness", told or "not ready", "see the findings above, and the log of the server")
    if count := int(answer.get("warning_count", 0)):
        do = "put them right" if warnings else "see them in the log, or ask with --key-file, a key with admin:metrics"
        return warning("readiness", f"ready, with warnings ({count}): {told}", do)
    return ok("readiness", "; ".join(["ready", *bad]))
