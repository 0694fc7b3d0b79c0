"""What `/api/auth/…` is sent. The first line of each docstring is the summary in the OpenAPI document."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType, field

from sanic_qserver.structs.requests import NonEmpty, Params

Text = Annotated[str, Meta(max_length=1024)]
Note = Annotated[str, Meta(max_length=4096)]
LongText = Annotated[str, Meta(max_length=8192)]
Name = Annotated[str, Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9_.@-]+$")]


class About(Params, frozen=True, kw_only=True):
    """See what this server is and how to log in, beside RE Manager's status for those who may read it."""

    reload: bool | UnsetType = UNSET


class Login(Params, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """Log in with name and password (a form), or ask whether a terminal's login is done (`device_code`).

    `code` is what the browser brought to a terminal that listens (`redirect_uri`). `cookie` also sets the cookies of a
    browser's session. Other fields of OAuth's password form are not looked at.
    """

    username: Text = ""
    password: Text = ""
    device_code: Text = ""
    code: Text = ""
    cookie: bool = False


class Authorize(Params, frozen=True, kw_only=True):
    """Go to the provider to log in with a browser, and come back to `next`, a path of this server."""

    next: Annotated[str, Meta(max_length=1024, extra_json_schema={"pattern": "^(/[a-z]+)?$"})] = ""


class DeviceStart(Params, frozen=True, kw_only=True):
    """Begin the login of a terminal: show the reply's address to the user, poll with its `device_code`.

    With `redirect_uri`, an address of the loopback interface where the terminal listens, the browser brings a `code`
    there in the end (or an `error`); nothing is polled, and the tokens need both codes.
    """

    redirect_uri: Annotated[
        str,
        Meta(
            max_length=256,
            extra_json_schema={"pattern": r"^(http://(127\.0\.0\.1|\[::1\]):[1-9][0-9]{3,4}/[A-Za-z0-9_-]{0,128})?$"},
        ),
    ] = ""


class Callback(Params, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """Come back from the provider. Answers the refresh token, or a page for a browser.

    A SAML provider sends a form of `SAMLResponse` and `RelayState`; others a query of `code` and `state`.
    """

    code: LongText = ""
    state: Text = ""
    error: Text = ""
    saml_response: Annotated[str, Meta(max_length=1_000_000)] = field(default="", name="SAMLResponse")
    relay_state: Text = field(default="", name="RelayState")


class DeviceForm(Params, frozen=True, kw_only=True):
    """Enter the code that a terminal shows, to log it in."""

    user_code: Text = ""


class Refresh(Params, frozen=True, kw_only=True):
    """Get new tokens for a refresh token. Each is good once."""

    refresh_token: LongText


class Revoke(Params, frozen=True, kw_only=True):
    """End one of your sessions."""


class ApiKeyNew(Params, frozen=True, kw_only=True):
    """Make an API key for yourself. `expires_in` is in seconds; null means until it is deleted."""

    expires_in: Annotated[float, Meta(gt=0, le=3.2e9)] | None
    scopes: list[Text] | None = None
    note: Note | None = None


class ApiKeyShow(Params, frozen=True, kw_only=True):
    """See what the API key that you send is good for."""


class ApiKeyDelete(Params, frozen=True, kw_only=True):
    """Delete one of your API keys, named by its first eight characters."""

    first_eight: NonEmpty


class Whoami(Params, frozen=True, kw_only=True):
    """See who you are to the server: logins, roles, scopes, keys and sessions."""


class Scopes(Params, frozen=True, kw_only=True):
    """See what you may do."""


class Logout(Params, frozen=True, kw_only=True):
    """End the session in use and take the cookies away."""


class Ticket(Params, frozen=True, kw_only=True):
    """Get a ticket: it opens one websocket or stream as `?ticket=`, once and soon."""


class Cookie(Params, frozen=True, kw_only=True):
    """Turn the credential that you send into a browser's session cookie."""


class PrincipalList(Params, frozen=True, kw_only=True):
    """List everybody known to the server."""

    offset: Annotated[int, Meta(ge=0)] = 0
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1000


class PrincipalShow(Params, frozen=True, kw_only=True):
    """See somebody known to the server."""


class ServiceNew(Params, frozen=True, kw_only=True):
    """Make a service account: a principal without a login, for the API keys of a program."""

    name: Name
    note: Note = ""


class ApiKeyNewFor(ApiKeyNew, frozen=True, kw_only=True):
    """Make an API key for somebody else, or for a service account."""


class ApiKeyDeleteFor(ApiKeyDelete, frozen=True, kw_only=True):
    """Delete somebody's API key."""


class RevokeFor(Params, frozen=True, kw_only=True):
    """End somebody's session."""
