"""TLS from certificate files, in a server without RE Manager, on both event loops."""

import asyncio
import contextlib
import logging
import ssl

import pytest
import uvloop
from certificates import make_certificate
from conftest import KEY, app_of, until_so

from sanic_qserver.config.settings import load
from sanic_qserver.errors import ConfigError
from sanic_qserver.http.server import tls

HOST = b"Host: 127.0.0.1\r\n"
PING = b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n"  # Answered with 404, without RE Manager.
READY = b"GET /readyz HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def make_loop(request):
    """Servers run on uvloop, and on asyncio's own loop where there is none."""
    return request.param


@pytest.fixture
def loop(request):
    """The event loop of a test, in the place of pytest-sanic's."""
    is_served = "make_loop" in request.fixturenames
    loop = request.getfixturevalue("make_loop")() if is_served else asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    loop.close()


def configure(folder, **server):
    files = {"tls_certificate": str(folder / "cert.pem"), "tls_key": str(folder / "key.pem")}
    return load(environment={}, overrides={"auth": {"single_user_api_key": KEY}, "server": {**files, **server}})


def trusting(folder):
    context = ssl.create_default_context(cafile=folder / "cert.pem")
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@pytest.fixture
async def serve(make_loop, sanic_client, folder, monkeypatch):
    """Start a server with a certificate; gives a function that connects to it."""
    monkeypatch.setattr(tls, "PERIOD_S", 0.05)
    writers = []

    async def start(**server):
        make_certificate(folder)
        client = await sanic_client(app_of(configure(folder, **server)))

        async def connect(context=None):
            pair = await asyncio.open_connection("127.0.0.1", client.port, ssl=context)
            writers.append(pair[1])
            return pair

        connect.app, connect.port = client.app, client.port
        return connect

    yield start
    for writer in writers:
        writer.transport.abort()


async def ask(line, request=PING):
    """The status line, head and body of one answer."""
    reader, writer = line
    writer.write(request)
    async with asyncio.timeout(20):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(one for one in head.lower().split(b"\r\n") if one.startswith(b"content-length:"))
        return head, await reader.readexactly(int(length.split(b":")[1]))


def serial(line):
    return line[1].get_extra_info("ssl_object").getpeercert()["serialNumber"]


async def test_https_is_served_as_http_1_1_and_nothing_in_plain(serve, folder):
    connect = await serve()
    line = await connect(trusting(folder))
    assert line[1].get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    assert line[1].get_extra_info("ssl_object").version() == "TLSv1.3"
    for _ in range(3):
        assert (await ask(line))[0].startswith(b"HTTP/1.1 404 ")
    reader, writer = await connect()
    writer.write(PING)
    assert b"HTTP" not in await asyncio.wait_for(reader.read(), 20)


@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE+AES128:!AESGCM:!AESCCM"),
        (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256"),
    ],
    ids=["TLS 1.1", "CBC", "no forward secrecy"],
)
async def test_what_is_weak_is_refused(serve, folder, version, ciphers):
    connect = await serve()
    context = trusting(folder)
    context.set_ciphers(ciphers)
    with (
        pytest.warns(DeprecationWarning, match="TLSv1_1")
        if version is ssl.TLSVersion.TLSv1_1
        else contextlib.nullcontext()
    ):
        context.minimum_version = context.maximum_version = version
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await connect(context)
    good = trusting(folder)
    good.maximum_version = ssl.TLSVersion.TLSv1_2
    assert (
        (await connect(good))[1]
        .get_extra_info("ssl_object")
        .cipher()[0]
        .endswith(("GCM-SHA384", "GCM-SHA256", "POLY1305"))
    )


async def test_a_renewed_certificate_is_for_new_connections_and_open_ones_go_on(serve, folder):
    connect = await serve()
    first = await connect(trusting(folder))
    before = serial(first)
    old = connect.app.ctx.certificates.context
    make_certificate(folder)
    await until_so(lambda: connect.app.ctx.certificates.context is not old)
    renewed = await connect(trusting(folder))
    assert serial(renewed) != before
    for line in (first, renewed):
        assert (await ask(line))[0].startswith(b"HTTP/1.1 404 ")


async def test_a_broken_renewal_keeps_the_old_certificate_and_is_told_until_it_is_mended(serve, folder, caplog):
    connect = await serve()
    good = trusting(folder)
    before = serial(await connect(good))
    other = folder / "other"
    other.mkdir()
    make_certificate(other)
    for broken in ((other / "key.pem").read_bytes(), b"-----BEGIN NOTHING-----", b"", None):
        if broken is None:
            (folder / "key.pem").unlink()
        else:
            (folder / "key.pem").write_bytes(broken)
        await until_so(lambda: connect.app.ctx.certificates.is_stale)
        line = await connect(good)
        assert serial(line) == before
        assert (
            b'"certificate":"its files changed and cannot be used: the old one is in force"'
            in (await ask(line, READY))[1]
        )
        warnings = [one for one in connect.app.ctx.services.warnings if "the old certificate stays in force" in one]
        assert len(warnings) == 1
        assert warnings[0] in [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    make_certificate(folder)
    await until_so(lambda: not connect.app.ctx.certificates.is_stale)
    assert [one for one in connect.app.ctx.services.warnings if "certificate" in one] == []
    line = await connect(trusting(folder))
    assert serial(line) != before
    assert b'"certificate":"ok"' in (await ask(line, READY))[1]


async def test_connections_without_a_handshake_are_counted_and_cut(serve, folder):
    connect = await serve(body_timeout_s=2.0, max_connections_per_address=3)
    silent = [await connect() for _ in range(3)]
    silent[0][1].write(b"\x16\x03\x01")  # A handshake has begun.
    await until_so(lambda: len(connect.app.ctx.connections) == 3)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await connect(trusting(folder))
    assert connect.app.ctx.connections.refused_count == 1
    for reader, _ in silent:
        assert await asyncio.wait_for(_rest(reader), 20) == b""
    await until_so(lambda: not connect.app.ctx.connections)
    assert (await ask(await connect(trusting(folder))))[0].startswith(b"HTTP/1.1 404 ")


async def _rest(reader):
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_a_lack_of_files_cuts_a_connection_off_and_is_not_counted_for_good(serve, folder, monkeypatch):
    connect = await serve()

    def refuse(_):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(tls.os, "dup", refuse)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(trusting(folder))
    assert len(connect.app.ctx.connections) == 0
    assert (await ask(await connect(trusting(folder))))[0].startswith(b"HTTP/1.1 404 ")


async def test_deadlines_and_limits_hold_over_tls(serve, folder):
    connect = await serve(body_timeout_s=2.0, write_stall_s=1.0)
    slow = await connect(trusting(folder))
    slow[1].write(b"GET /nothing HTTP/1.1\r\n")
    assert (await asyncio.wait_for(slow[0].read(), 20)).startswith(b"HTTP/1.1 408 ")
    large = await connect(trusting(folder))
    large[1].write(b"POST /api/auth/logout HTTP/1.1\r\n" + HOST + b"Content-Length: 5000000\r\n\r\n" + b"x" * 5_000_000)
    assert (await asyncio.wait_for(large[0].readuntil(b"\r\n\r\n"), 20)).split()[1] in (b"401", b"408", b"413")
    unread = await connect(trusting(folder))
    unread[1].transport.pause_reading()
    asset = b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\n" + HOST + b"\r\n"
    unread[1].write(asset * 8)
    await until_so(lambda: len(connect.app.ctx.connections) > 0)
    for line in (slow, large):
        line[1].transport.abort()
    await until_so(lambda: not connect.app.ctx.connections)


@pytest.mark.parametrize("hsts_s", [0, 300])
async def test_hsts_is_an_option(serve, folder, hsts_s):
    connect = await serve(hsts_s=hsts_s)
    head, _ = await ask(await connect(trusting(folder)))
    assert (b"strict-transport-security: max-age=300\r\n" in head.lower()) is bool(hsts_s)


def test_a_key_may_have_a_password_and_stand_in_the_same_file(folder):
    make_certificate(folder, "sesame")
    app_of(configure(folder, tls_key_password="sesame"))
    (folder / "both.pem").write_bytes((folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes())
    app_of(configure(folder, tls_key_password="sesame", tls_certificate=str(folder / "both.pem"), tls_key=""))
    for password in ("", "wrong"):
        with pytest.raises(ConfigError, match="another password"):
            app_of(configure(folder, tls_key_password=password))


def test_a_password_does_not_stand_in_the_configuration(folder):
    (folder / "config.toml").write_text('[server]\ntls_key_password = "sesame"\n')
    with pytest.raises(ConfigError, match="tls_key_password"):
        load(folder / "config.toml", environment={})


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"cert.pem": b"nothing"}, "no certificate"),
        ({"key.pem": None}, "No such file"),
        ({"key.pem": b""}, "no certificate"),
    ],
)
def test_a_server_with_broken_files_does_not_start(folder, broken, says):
    make_certificate(folder)
    for name, content in broken.items():
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        app_of(configure(folder))
    with pytest.raises(ConfigError, match="tls_certificate"):
        app_of(configure(folder))


def test_a_key_of_another_certificate_is_told(folder):
    make_certificate(folder)
    (folder / "old").mkdir()
    make_certificate(folder / "old")
    with pytest.raises(ConfigError, match="not that of the certificate"):
        app_of(configure(folder, tls_key=str(folder / "old" / "key.pem")))
