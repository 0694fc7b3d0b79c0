"""Files: until when certificates hold, and who may read what is secret."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from sanic_qserver.cli.doctor.finding import Clock, Finding, failed, ok, warning
from sanic_qserver.config.settings import Config
from sanic_qserver.errors import ConfigError

SOON_DAYS = 14
_DAY_S = 86_400
_OTHERS = 0o007
_SECRET = re.compile(r'^\s*\w*(?:secret|password|token|api_key)\w*\s*=\s*\[?\s*"(?!\$\{|\$argon2)[^"]+"', re.MULTILINE)


def judge_certificate(what: str, pem: bytes, clock: Clock) -> Finding:
    """Whether a certificate holds now, and for some time."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError:
        return failed(what, "is not a certificate in PEM form", "name the file of the chain, the server's own first")
    now = datetime.fromtimestamp(clock(), UTC)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    until = ends.strftime("%Y-%m-%d %H:%M UTC")
    if now >= ends:
        return failed(what, f"has expired: {until}", "renew it")
    if now < begins:
        return failed(what, f"does not hold before {begins:%Y-%m-%d %H:%M} UTC", "look at this machine's clock")
    if (ends - now).total_seconds() < SOON_DAYS * _DAY_S:
        return warning(what, f"expires soon: {until}", "renew it, and look why nothing renews it by itself")
    return ok(what, f"holds until {until}")


def check_certificate(config: Config, clock: Clock) -> Iterator[Finding]:
    """The certificate that is configured, where there is one."""
    if not config.server.tls_certificate:
        return
    file = config.folder / config.server.tls_certificate
    try:
        yield judge_certificate(f"certificate {file}", file.read_bytes(), clock)
    except OSError as error:
        yield failed(f"certificate {file}", str(error.strerror), "put [server] tls_certificate right")


def check_modes(config: Config) -> Iterator[Finding]:
    """Whether others on this machine may read secrets."""
    for file, what in _find_secrets(config):
        if not file.exists():
            continue
        mode = file.stat().st_mode
        if mode & _OTHERS:
            do = f"chmod o-rwx {file}"
            yield warning(f"mode of {file}", f"everybody on this machine may read {what} ({mode & 0o777:o})", do)
        else:
            yield ok(f"mode of {file}", f"{mode & 0o777:o}")


def _find_secrets(config: Config) -> Iterator[tuple[Path, str]]:
    source = Path(config.source) if config.source else None
    if source is not None and source.is_file() and _SECRET.search(source.read_text("utf-8", "replace")):
        yield source, "the secrets in it"
    if key := config.server.tls_key or config.server.tls_certificate:
        yield config.folder / key, "the private key"
    if config.audit.file:
        yield config.folder / config.audit.file, "who did what"
    if not config.auth.providers and not config.database.url:
        return
    from sanic_qserver.auth.accounts import database_url, secret_file  # noqa: PLC0415  # SQLAlchemy

    url = database_url(config)
    if url.startswith("sqlite") and ":memory:" not in url:
        yield Path(url.partition("///")[2].partition("?")[0]), "who may log in, and hashes of keys"
    if not config.auth.secret_keys:
        try:
            yield secret_file(config), "what signs tokens"
        except ConfigError:  # Said by what makes the application.
            return
