"""The settings of logins: one struct a kind of provider, tokens, keys, passwords, cookies, database.

Knows nothing of how they are used. `config` puts them under `[auth]` and `[database]`.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from sanic_qserver.structs.section import Count, Seconds, Section

ProviderName = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]+$", max_length=64)]


class Provider(Section, frozen=True, kw_only=True, tag_field="kind"):
    """Base: a place where people prove who they are. `name` stands in paths and beside each login."""

    name: ProviderName
    title: str = ""


class DictionaryUser(Section, frozen=True, kw_only=True):
    """A user of a small site: an argon2id hash, or a value from `${ENV}`."""

    password: str
    displayed_name: str = ""
    email: str = ""
    groups: tuple[str, ...] = ()


class Dictionary(Provider, frozen=True, kw_only=True, tag="dictionary"):
    """Users in this file. `plain_passwords` is set for configurations of today's deployments only."""

    users: dict[str, str | DictionaryUser]
    plain_passwords: bool = False


class Ldap(Provider, frozen=True, kw_only=True, tag="ldap"):
    """A directory. The options are those of the reference server's authenticator, by its names."""

    server_address: str | tuple[str, ...]
    server_port: int | None = None
    use_ssl: bool = False
    use_tls: bool = True
    ca_certs_file: str = ""
    verify_certificate: bool = True
    connect_timeout: Seconds = 5.0
    receive_timeout: Seconds = 30.0
    bind_dn_template: str | tuple[str, ...] = ()
    allowed_groups: tuple[str, ...] = ()
    group_search_base: str = ""
    valid_username_regex: str = r"^[A-Za-z][.A-Za-z0-9_-]{0,254}$"
    lookup_dn: bool = False
    user_search_base: str = ""
    user_attribute: str = ""
    lookup_dn_search_filter: str = "({login_attr}={login})"
    lookup_dn_search_user: str = ""
    lookup_dn_search_password: str = ""
    lookup_dn_user_dn_attribute: str = ""
    escape_userdn: bool = False
    search_filter: str = ""
    attributes: tuple[str, ...] = ()
    auth_state_attributes: tuple[str, ...] = ()
    use_lookup_dn_username: bool = True
    displayed_name_attribute: str = "cn"
    email_attribute: str = "mail"
    groups_attribute: str = "memberOf"
    threads: Count = 4


class Pam(Provider, frozen=True, kw_only=True, tag="pam"):
    """The accounts of this machine, or what its PAM service asks."""

    service: str = "login"
    threads: Count = 2
    timeout_s: Seconds = 60.0


class ClaimNames(Section, frozen=True, kw_only=True):
    """Which claims of a token hold what. A dot goes into an object: `realm_access.roles`.

    `name` "" is `sub`, which never changes; for a database from before that was so it is `preferred_username`.
    """

    name: str = ""
    displayed_name: str = "name"
    email: str = "email"
    groups: str = "groups"


class Oidc(Provider, frozen=True, kw_only=True, tag="oidc"):
    """An OpenID provider, with discovery at `<issuer>/.well-known/openid-configuration`."""

    issuer: str
    client_id: str
    client_secret: str = ""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    redirect_uri: str = ""
    algorithms: tuple[str, ...] = ("RS256", "ES256", "PS256")
    claims: ClaimNames = ClaimNames()
    clock_skew_s: Annotated[float, Meta(ge=0)] = 60.0
    timeout_s: Seconds = 10.0
    discovery_url: str = ""


class OidcBearer(Provider, frozen=True, kw_only=True, tag="oidc_bearer"):
    """Access tokens that the facility's own OpenID provider made. `scopes_claim` limits what they may do."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...] = ("RS256", "ES256", "PS256")
    claims: ClaimNames = ClaimNames()
    scopes_claim: str = ""
    scopes_map: dict[str, tuple[str, ...]] = field(default_factory=dict)
    clock_skew_s: Annotated[float, Meta(ge=0)] = 60.0
    timeout_s: Seconds = 10.0
    discovery_url: str = ""


class SamlAttributes(Section, frozen=True, kw_only=True):
    """Which attributes of an assertion hold what, by name or friendly name. `name = ""` takes the NameID."""

    name: str = "uid"
    displayed_name: str = "displayName"
    email: str = "mail"
    groups: str = "isMemberOf"


class Saml(Provider, frozen=True, kw_only=True, tag="saml"):
    """A SAML 2.0 identity provider. `entity_id` and `redirect_uri` are ours, as it knows us.

    `metadata` is theirs, a file or an https:// address. `max_bytes` is of a response, in base64.
    """

    entity_id: str
    redirect_uri: Annotated[str, Meta(pattern="^https?://")]
    idp_entity_id: str
    metadata: str
    attributes: SamlAttributes = SamlAttributes()
    want_assertions_signed: bool = True
    want_response_signed: bool = False
    clock_skew_s: Annotated[float, Meta(ge=0, le=300)] = 60.0
    timeout_s: Seconds = 10.0
    max_bytes: Annotated[int, Meta(ge=1, le=1_000_000)] = 250_000
    threads: Count = 2
    xmlsec_binary: str = ""


class ProxyIdentity(Provider, frozen=True, kw_only=True, tag="proxy"):
    """A reverse proxy that has seen who it is. Its header counts only from `addresses` (IPs or networks)."""

    addresses: tuple[str, ...]
    header: str = "X-Forwarded-User"
    certificate_header: str = ""
    groups_header: str = ""
    email_header: str = ""
    displayed_name_header: str = ""


class ClientCertificate(Provider, frozen=True, kw_only=True, tag="certificate"):
    """Certificates of clients, signed by `[server] tls_client_ca`. `user_from`: what of one is the person's name."""

    user_from: Literal["common_name", "user_id", "email", "uri", "dns"] = "common_name"


class Custom(Provider, frozen=True, kw_only=True, tag="custom"):
    """A provider of one's own: `import_path = "package.module:Class"`, called with `options` as keywords."""

    import_path: str
    options: dict[str, Any] = field(default_factory=dict)


AnyProvider = Dictionary | Ldap | Pam | Oidc | OidcBearer | Saml | ProxyIdentity | ClientCertificate | Custom


class PasswordsConfig(Section, frozen=True, kw_only=True):
    """How passwords are hashed (argon2id), and how many at once. The least is OWASP's."""

    memory_kib: Annotated[int, Meta(ge=7168)] = 19456
    time_cost: Count = 2
    parallelism: Count = 1
    threads: Count = 1
    queue_limit: Count = 32


class AttemptsConfig(Section, frozen=True, kw_only=True):
    """Failed logins: after some of them the next must wait, twice as long each time.

    `free`: of one account from one address. `free_by_address`: of all accounts from one. `free_by_account`: of one
    account from all addresses. `rejected_credentials`: keys and tokens of one address that nobody knows, at once and
    then each minute, before no more are looked up.
    """

    free: Count = 5
    free_by_address: Count = 20
    free_by_account: Count = 100
    first_delay_s: Seconds = 1.0
    longest_delay_s: Seconds = 300.0
    forget_after_s: Seconds = 3600.0
    rejected_credentials: Count = 60


class TokensConfig(Section, frozen=True, kw_only=True):
    """Ages of what is given out at login, and how much of it somebody may have.

    `claims_max_age_s`: how long after a login its groups and claims count, for sessions and for keys.
    """

    issuer: str = "sanic-qserver"
    audience: str = "sanic-qserver"
    access_token_s: Seconds = 900.0
    refresh_token_s: Seconds = 604_800.0
    session_s: Seconds | None = 31_536_000.0
    refresh_grace_s: Annotated[float, Meta(ge=0)] = 10.0
    claims_max_age_s: Seconds | None = 2_592_000.0
    max_sessions: Count = 200
    max_api_keys: Count = 100


class BrowserConfig(Section, frozen=True, kw_only=True):
    """Cookies and tickets of browsers. `secure_cookies`: "auto" follows the scheme of the request."""

    cookie_s: Seconds = 43_200.0
    secure_cookies: Literal["auto", "always", "never"] = "auto"
    ticket_s: Seconds = 30.0


class AuthConfig(Section, frozen=True, kw_only=True):
    """Who may come in. Without logins there is one API key: this one, or one made at start.

    `allow_anonymous_access` lets callers without a credential read the status; they hold nothing otherwise.

    `secret_keys` sign tokens: the first signs, all are accepted. None: one is made and kept beside the database.
    """

    allow_anonymous_access: bool = False
    single_user_api_key: str = ""
    secret_keys: tuple[Annotated[str, Meta(min_length=8)], ...] = ()
    providers: tuple[AnyProvider, ...] = ()
    tokens: TokensConfig = field(default_factory=TokensConfig)
    passwords: PasswordsConfig = PasswordsConfig()
    attempts: AttemptsConfig = AttemptsConfig()
    browsers: BrowserConfig = BrowserConfig()

    @property
    def folding(self) -> frozenset[str]:
        """The providers whose logins people type: the spellings of one are the same person."""
        return frozenset(one.name for one in self.providers if isinstance(one, (Ldap, Pam, ProxyIdentity)))


class DatabaseConfig(Section, frozen=True, kw_only=True):
    """Where principals, sessions and keys are kept. "" means a file beside `config.toml`, when there are logins."""

    url: str = ""
    pool_size: Count = 5
    pool_pre_ping: bool = True
