"""What proxies tell: who the client is, whatever a client sends, and which path is asked for."""

import pytest
from sanic.compat import Header

from sanic_qserver.config.settings import ServerConfig
from sanic_qserver.errors import ConfigError
from sanic_qserver.http.server.forwarding import Forwarding, Told, strip_prefix

PROXY, OUTER, CLIENT, FORGED = "10.0.0.1", "10.0.0.2", "192.0.2.7", "203.0.113.99"
TRUSTED = ("10.0.0.0/24", "2001:db8::1", "unix")
RFC7239 = ("forwarded",)


def read(peer, *headers, **settings):
    config = ServerConfig(**{"trusted_proxies": TRUSTED, **settings})
    return Forwarding(config).read(peer, Header(headers))


def told_for(peer, value, **settings):
    return read(peer, ("x-forwarded-for", value), **settings).address


@pytest.mark.parametrize(
    ("peer", "value", "address"),
    [
        (PROXY, CLIENT, CLIENT),
        (PROXY, f"{FORGED}, {CLIENT}", CLIENT),
        (PROXY, f"{FORGED}, {CLIENT}, {OUTER}", CLIENT),
        (PROXY, f"{PROXY}, {FORGED}, {CLIENT} , {OUTER}", CLIENT),
        (PROXY, f"nonsense, {CLIENT}", CLIENT),
        (PROXY, f"{FORGED}, nonsense", PROXY),
        (PROXY, f"{FORGED}, nonsense, {OUTER}", OUTER),
        (PROXY, "", PROXY),
        (PROXY, f"{OUTER}", OUTER),
        (PROXY, f"{'1.2.3.4, ' * 2000}{CLIENT}", CLIENT),
        (PROXY, f"{CLIENT}:50123", CLIENT),
        (PROXY, "[2001:db8::7]:50123", "2001:db8::7"),
        (PROXY, "2001:DB8:0::7", "2001:db8::7"),
        (PROXY, f"::ffff:{CLIENT}", CLIENT),
        ("2001:db8::1", CLIENT, CLIENT),
        (f"::ffff:{PROXY}", CLIENT, CLIENT),
        ("unix", CLIENT, CLIENT),
        ("unix", "", ""),
        (CLIENT, FORGED, CLIENT),
        ("2001:db8::2", FORGED, "2001:db8::2"),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_not_trusted(peer, value, address):
    assert told_for(peer, value) == address


def test_headers_that_come_twice_are_one_list():
    assert read(PROXY, ("x-forwarded-for", FORGED), ("x-forwarded-for", CLIENT)).address == CLIENT


@pytest.mark.parametrize("peer", [CLIENT, "unix"])
def test_a_peer_that_is_not_trusted_tells_nothing(peer):
    headers = [("x-forwarded-for", FORGED), ("x-forwarded-proto", "https"), ("x-forwarded-host", "evil.example"),
               ("x-forwarded-prefix", "/evil")]  # fmt: skip
    told = read(peer, *headers, trusted_proxies=("10.0.0.0/24",))
    assert told == Told("" if peer == "unix" else peer)


def test_scheme_host_and_prefix_are_those_of_the_nearest_proxy():
    told = read(
        PROXY,
        ("x-forwarded-for", CLIENT),
        ("x-forwarded-proto", "http, HTTPS"),
        ("x-forwarded-host", "evil.example, qs.example:8443"),
        ("x-forwarded-prefix", "/evil, /qs/"),
    )
    assert told == Told(CLIENT, "https", "qs.example:8443", "/qs")


@pytest.mark.parametrize(
    "prefix", ["//evil.example", "/a/../b", "/a//b", "qs", "/q s", "/", "/q?x", "/\\evil", "/a" * 30]
)
def test_a_prefix_that_is_no_path_is_not_there(prefix):
    assert read(PROXY, ("x-forwarded-prefix", prefix), root_path="/own").prefix == "/own"


def test_headers_that_are_not_listed_are_not_read():
    headers = [("x-forwarded-for", CLIENT), ("x-forwarded-host", "evil.example"), ("forwarded", f"for={FORGED}")]
    assert read(PROXY, *headers, forwarded_headers=("x-forwarded-for",)) == Told(CLIENT)
    assert read(PROXY, *headers) == Told(CLIENT, host="evil.example")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (f"for={CLIENT};proto=https;host=qs.example", Told(CLIENT, "https", "qs.example")),
        (f'For="{CLIENT}:4711" ; Proto=http, for={OUTER};proto=https', Told(CLIENT, "http")),
        (f'for={FORGED}, for="[2001:db8::7]:80"', Told("2001:db8::7")),
        (f'for="{FORGED}, for={CLIENT}', Told(CLIENT)),
        (f'for="{FORGED}, for="[2001:db8::7]"', Told("2001:db8::7")),
        (f"for={FORGED};proto=https, for=unknown", Told(PROXY)),
        (f"for={FORGED}, for=_hidden;proto=https", Told(PROXY)),
        (f"for={FORGED}, by={OUTER};for={CLIENT}", Told(CLIENT)),
        (f"for={FORGED},,for={CLIENT}", Told(CLIENT)),
        (f"for={FORGED} for={CLIENT}", Told(PROXY)),
        ("", Told(PROXY)),
        (";;;===", Told(PROXY)),
    ],
)
def test_the_header_of_rfc_7239_is_read_from_its_right_end(value, told):
    assert read(PROXY, ("forwarded", value), ("x-forwarded-for", FORGED), forwarded_headers=RFC7239) == told


@pytest.mark.parametrize(
    ("count", "value", "address"),
    [
        (1, f"{FORGED}, {CLIENT}", CLIENT),
        (2, f"{FORGED}, {CLIENT}, {OUTER}", CLIENT),
        (2, CLIENT, PROXY),
        (1, "nonsense", PROXY),
    ],
)
def test_proxies_that_are_only_counted_work_as_before(count, value, address):
    assert told_for(PROXY, value, proxies_count=count, trusted_proxies=()) == address


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trusted_proxies": ("10.0.0.0/33",)}, "trusted_proxies"),
        ({"trusted_proxies": ("proxy.example",)}, "trusted_proxies"),
        ({"trusted_proxies": ("unix",), "proxies_count": 1}, "proxies_count"),
        ({"forwarded_headers": ("forwarded", "x-forwarded-for")}, "forwarded_headers"),
        ({"root_path": "qs"}, "root_path"),
        ({"root_path": "/qs/"}, "root_path"),
        ({"root_path": "//qs"}, "root_path"),
    ],
)
def test_a_mistake_in_the_settings_is_told(settings, message):
    with pytest.raises(ConfigError, match=message):
        Forwarding(ServerConfig(**settings))


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (b"/qs/api/status?a=/qs/", b"/api/status?a=/qs/"),
        (b"/qs", b"/"),
        (b"/qs/", b"/"),
        (b"/qs?x=1", b"/?x=1"),
        (b"/api/status", b"/api/status"),
        (b"/qsx/api", b"/qsx/api"),
        (b"/qs/qs/api", b"/qs/api"),
        (b"http://host/qs/api", b"http://host/api"),
        (b"https://host:1/qs", b"https://host:1/"),
        (b"http://host", b"http://host"),
        (b"*", b"*"),
    ],
)
def test_a_prefix_is_taken_away_where_the_proxy_has_left_it(url, path):
    assert strip_prefix(url, "/qs") == path
    assert strip_prefix(url, "") == url
