"""What extensions may import. These names are stable under semantic versioning.

An extension defines `register(host: ExtensionHost) -> None`, which is called once for each application, before the
server listens. Either everything that it adds is taken, or, when it fails, nothing.
"""

import msgspec

from sanic_qserver.api.around import Around
from sanic_qserver.api.call import Call, UploadedFile
from sanic_qserver.api.endpoint import Answer, Endpoint, Stamp, Stream, forward
from sanic_qserver.api.spreadsheets.grid import BadSheet
from sanic_qserver.api.spreadsheets.readers import SpreadsheetFile
from sanic_qserver.auth.providers.provider import AuthProvider, ExternalLogin, PasswordLogin
from sanic_qserver.errors import (
    BadArguments,
    ConfigError,
    Conflict,
    Forbidden,
    GatewayError,
    NotAuthenticated,
    NotFound,
    TooManyRequests,
)
from sanic_qserver.extension_api.caller import CallerManager
from sanic_qserver.extension_api.host import ExtensionHost
from sanic_qserver.middleware.hooks import AfterSubmit, BeforeSubmit, Item, Refusal, Submission
from sanic_qserver.policy.protocols import AccessPolicy, Attempt, RatePolicy, Verdict
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.identity import Access, Credential, CredentialKind, Principal, Quota
from sanic_qserver.structs.requests import NoParams, Params

API_VERSION = "1.1"
"""The version of this API. Major: something was removed or changed its meaning. Minor: something was added."""

json_bytes = msgspec.json.encode
"""Any value (dict, list, struct, dataclass) as JSON: what an endpoint returns."""

__all__ = [
    "API_VERSION",
    "Access",
    "AccessPolicy",
    "AfterSubmit",
    "Answer",
    "Around",
    "Attempt",
    "AuthProvider",
    "BadArguments",
    "BadSheet",
    "BeforeSubmit",
    "Call",
    "CallerManager",
    "ConfigError",
    "Conflict",
    "Credential",
    "CredentialKind",
    "Endpoint",
    "ExtensionHost",
    "ExternalLogin",
    "Forbidden",
    "GatewayError",
    "Item",
    "NoParams",
    "NotAuthenticated",
    "NotFound",
    "Params",
    "PasswordLogin",
    "Principal",
    "Quota",
    "RatePolicy",
    "Refusal",
    "Scope",
    "SpreadsheetFile",
    "Stamp",
    "Stream",
    "Submission",
    "TooManyRequests",
    "UploadedFile",
    "Verdict",
    "forward",
    "json_bytes",
]
