"""Identity from the certificate that a client has shown in the TLS handshake with this server itself.

TLS has checked that `[server] tls_client_ca` has signed it; what stands here is whom it names. Revocation is the
policy's business (a name that holds no role), or that of certificates which do not live long.
"""

import re
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any

from sanic_qserver.config.logins import ClientCertificate
from sanic_qserver.errors import NotAuthenticated
from sanic_qserver.structs.identity import Credential, CredentialKind, Principal

_GOOD = re.compile(r"[^\x00-\x1f\x7f]{1,255}").fullmatch
_ALTERNATIVE = {"email": "email", "uri": "URI", "dns": "DNS"}
_SUBJECT = {"common_name": "commonName", "user_id": "userId"}


class CertificateLogin:
    """Recognises requests without any other credential, on connections with a certificate."""

    kinds = frozenset({CredentialKind.ANONYMOUS})

    def __init__(self, config: ClientCertificate) -> None:
        self.name = config.name
        self._user_from = config.user_from

    async def identify(self, credential: Credential) -> Principal | None:
        """Whom the certificate names. Raises NotAuthenticated when that is nobody, or not one."""
        shown = credential.certificate
        if not shown:
            return None
        expires_at = float(ssl.cert_time_to_seconds(str(shown["notAfter"])))
        if expires_at < time.time():  # The connection is older.
            raise NotAuthenticated("The client's certificate has expired")
        names = list(_read_names(shown, self._user_from))
        if len(names) != 1 or not _GOOD(names[0]) or names[0].startswith("UNAUTHENTICATED_"):
            raise NotAuthenticated(f"The client's certificate does not name one person as its {self._user_from}")
        emails = list(_read_names(shown, "email"))
        return Principal(
            name=names[0], provider=self.name, email=emails[0] if len(emails) == 1 else "", expires_at=expires_at
        )


def _read_names(shown: Mapping[str, Any], what: str) -> Iterator[str]:
    """Of what `ssl.SSLSocket.getpeercert` gives."""
    if what in _SUBJECT:
        for group in shown.get("subject", ()):
            yield from (value for kind, value in group if kind == _SUBJECT[what])
    else:
        yield from (value for kind, value in shown.get("subjectAltName", ()) if kind == _ALTERNATIVE[what])
