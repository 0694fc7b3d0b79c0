"""The texts that clients and their tests match: part of the contract, as the reference server spells them.

Each stands at the beginning of the `detail` of a problem document, or inside it; what follows may change, these may
not. `tests/integration/http/test_texts.py` has a test for each.
"""

from enum import StrEnum


class Text(StrEnum):
    """What a client may look for in a `detail`."""

    ACCESS_TOKEN_EXPIRED = "Access token has expired"  # noqa: S105  # a text, not a secret
    INVALID_API_KEY = "Invalid API key"
    INVALID_TOKEN = "Could not validate credentials"  # noqa: S105
    LOGIN_REFUSED = "Incorrect username or password"
    NOT_AUTHORIZED = "User is not authorized to access the server"
    SESSION_EXPIRED = "Session has expired. Please re-authenticate"
    NOT_ENOUGH_PERMISSIONS = "Not enough permissions"
    UNSUPPORTED_KEYS = "Request contains keys the are not supported"
    MISSING_KEYS = "Some required keys are missing in the request"
    MISSING_TIME = "The required parameter 'time' is missing in the API call"
    TIMEOUT = "Request timeout: ZMQ communication error: timeout occurred"
    TOO_MANY_SCOPES = "must be a subset of the allowed principal's scopes"
    NO_API_KEY = "No API key was provided with this request"
    NOT_YOUR_SESSION = "requester has insufficient permissions"
    NOT_FOUND = "Not Found"


def names(unsupported: list[str]) -> str:
    """Names as the reference server lists them: `{'a', 'b'}`."""
    return "{" + ", ".join(repr(name) for name in unsupported) + "}"
