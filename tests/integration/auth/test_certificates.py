"""Logins by the certificate that a client shows in the TLS handshake."""

import datetime as dt
import ssl

import httpx
import pytest
from certificates import make_certificate
from conftest import app_of
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from logins import settings

from sanic_qserver.auth.providers.certificate import CertificateLogin
from sanic_qserver.config.logins import ClientCertificate
from sanic_qserver.errors import ConfigError, NotAuthenticated
from sanic_qserver.structs.identity import Credential, CredentialKind

POLICY = """
users:
  alice: {roles: [admin, expert]}
  alice@lab.example: {roles: user}
"""
PLAN = {"item": {"name": "count", "args": [["det1"]], "item_type": "plan"}}


class Authority:
    """Somebody who signs certificates of clients."""

    def __init__(self, folder, name):
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(_pem(self._sign(self.name, self.key.public_key(), is_ca=True)))

    def _sign(self, subject, key, *alternatives, is_ca=False, days=2):
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=5))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, *names, email="", days=2):
        """A certificate and its key in one file."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._sign(subject, key.public_key(), *([x509.RFC822Name(email)] if email else ()), days=days)
        file = self.folder / f"{self.file.stem}-{'-'.join(names)}-{days}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(_pem(made) + private)
        return file


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def authority(folder):
    return Authority(folder, "lab")


@pytest.fixture
async def serve(sanic_client, make_config, folder, authority):
    """Start a server that knows the authority; gives clients of it, each with a certificate or none."""
    opened = []

    async def start(**provider):
        make_certificate(folder)
        server = {
            "tls_certificate": str(folder / "cert.pem"),
            "tls_key": str(folder / "key.pem"),
            "tls_client_ca": str(authority.file),
        }
        kind = {"kind": "certificate", "name": "lab", **provider}
        served = await sanic_client(app_of(make_config(**settings(folder, kind, policy=POLICY), server=server)))

        def client(certificate=None):
            context = ssl.create_default_context(cafile=folder / "cert.pem")
            if certificate is not None:
                context.load_cert_chain(certificate)
            opened.append(httpx.AsyncClient(base_url=f"https://127.0.0.1:{served.port}", verify=context, timeout=20))
            return opened[-1]

        return client

    yield start
    for client in opened:
        await client.aclose()


async def test_whom_the_certificate_names_is_who_asks_at_each_request(serve, authority):
    client = await serve()
    alice, nobody = client(authority.issue("alice", email="alice@lab.example")), client()
    for _ in range(2):
        who = (await alice.get("/api/auth/whoami")).json()
        assert [(one["id"], one["provider"]) for one in who["identities"]] == [("alice", "lab")]
        assert (await nobody.get("/api/auth/whoami")).status_code == 401
    assert (await alice.post("/api/queue/item/add", json=PLAN)).status_code not in (401, 403)
    stranger = client(authority.issue("mallory"))
    assert (await stranger.get("/api/auth/whoami")).status_code == 401, "the policy gives no role"


async def test_another_part_of_the_certificate_may_be_the_name(serve, authority):
    client = await serve(user_from="email")
    alice = client(authority.issue("anything", email="alice@lab.example"))
    assert (await alice.get("/api/auth/whoami")).json()["identities"][0]["id"] == "alice@lab.example"
    assert (await client(authority.issue("alice")).get("/api/auth/whoami")).status_code == 401


async def test_a_certificate_that_somebody_else_signed_or_that_is_too_old_shakes_no_hands(serve, authority, folder):
    client = await serve()
    other = Authority(folder, "other")
    for certificate in (other.issue("alice"), authority.issue("alice", days=-1)):
        with pytest.raises(httpx.TransportError):
            await client(certificate).get("/api/auth/whoami")


async def test_a_certificate_of_two_names_or_none_is_refused(serve, authority):
    client = await serve()
    for names in (("alice", "bob"), ("UNAUTHENTICATED_SINGLE_USER",), ()):
        answer = await client(authority.issue(*names)).get("/api/auth/whoami")
        assert answer.status_code == 401
        assert "does not name one person" in answer.json()["detail"]


async def test_a_credential_that_is_sent_along_is_what_counts_and_pages_of_other_sites_change_nothing(serve, authority):
    client = await serve()
    alice = client(authority.issue("alice"))
    assert (await alice.get("/api/status", headers={"Authorization": "ApiKey nonsense"})).status_code == 401
    foreign = await alice.post("/api/queue/item/add", json=PLAN, headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403


async def test_a_certificate_that_expires_on_an_open_connection_counts_no_more():
    provider = CertificateLogin(ClientCertificate(name="lab"))
    shown = {"subject": ((("commonName", "alice"),),), "notAfter": "Jan  1 00:00:00 2020 GMT"}
    with pytest.raises(NotAuthenticated, match="expired"):
        await provider.identify(Credential(kind=CredentialKind.ANONYMOUS, certificate=shown))


def test_settings_that_are_worth_nothing_alone_are_mistakes(make_config, folder, authority):
    kind = {"kind": "certificate", "name": "lab"}
    with pytest.raises(ConfigError, match="tls_client_ca"):
        app_of(make_config(**settings(folder, kind, policy=POLICY)))
    with pytest.raises(ConfigError, match="tls_certificate"):
        app_of(make_config(server={"tls_client_ca": str(authority.file)}))
    make_certificate(folder)
    files = {"tls_certificate": str(folder / "cert.pem"), "tls_key": str(folder / "key.pem")}
    with pytest.raises(ConfigError, match=r"tls_client_ca: .* cannot be used"):
        app_of(make_config(server={**files, "tls_client_ca": str(folder / "key.pem")}))
