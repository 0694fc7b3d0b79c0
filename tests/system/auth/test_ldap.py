"""Logins of a directory, against a real slapd."""

import asyncio
import os
import shutil

import pytest
from conftest import app_of
from directory import ADMIN, ADMIN_PASSWORD, BASE, PEOPLE, STAFF, running_directory
from logins import log_in, settings
from ports import free_port

from sanic_qserver.auth.providers.ldap import DirectoryAway, LdapLogin
from sanic_qserver.config.logins import Ldap
from sanic_qserver.errors import ConfigError

POLICY = """
groups:
  staff: {roles: expert}
default: {roles: observer}
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    if shutil.which("slapd", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        assert not os.environ.get("REQUIRE_ALL_TESTS"), "slapd is not installed"
        pytest.skip("slapd is not installed")
    with running_directory(tmp_path_factory.mktemp("slapd"), free_port) as directory:
        yield directory


@pytest.fixture
def ldap(directory):
    made = []

    def make(**options):
        base = {
            "name": "lab",
            "server_address": "127.0.0.1",
            "server_port": directory.port,
            "use_tls": False,
            "bind_dn_template": f"uid={{username}},{PEOPLE}",
        }
        made.append(LdapLogin(Ldap(**{**base, **options})))
        return made[-1]

    yield make
    for one in made:
        one.pool.close()


LOOK_UP = {
    "bind_dn_template": (),
    "lookup_dn": True,
    "user_search_base": PEOPLE,
    "user_attribute": "uid",
    "lookup_dn_search_user": ADMIN,
    "lookup_dn_search_password": ADMIN_PASSWORD,
}


async def test_a_person_binds_with_their_own_password(ldap):
    jane = await ldap(groups_attribute="", group_search_base=f"ou=groups,{BASE}").login("jdoe", "jane-password")
    assert (jane.name, jane.provider, jane.displayed_name, jane.email) == (
        "jdoe",
        "lab",
        "Jane Doe",
        "jane@lab.example",
    )
    assert jane.groups == ("staff", STAFF)
    assert await ldap().login("jdoe", "wrong") is None
    assert await ldap().login("nobody", "x") is None


async def test_an_empty_password_is_never_tried(ldap):
    assert await ldap().login("jdoe", "") is None


async def test_several_templates_are_tried_in_turn(ldap):
    way = ldap(bind_dn_template=(f"uid={{username}},ou=elsewhere,{BASE}", f"uid={{username}},{PEOPLE}"))
    assert (await way.login("jdoe", "jane-password")).name == "jdoe"


async def test_the_name_is_looked_up_by_an_attribute(ldap):
    way = ldap(**LOOK_UP)
    assert (await way.login("jdoe", "jane-password")).name == "jdoe"
    assert await way.login("jdoe", "wrong") is None
    assert await way.login("nobody", "x") is None
    by_mail = ldap(
        **{**LOOK_UP, "user_attribute": "mail", "lookup_dn_user_dn_attribute": "uid"},
        valid_username_regex=r"^[\w.@-]+$",
    )
    assert (await by_mail.login("jane@lab.example", "jane-password")).name == "jdoe"


async def test_a_wrong_account_of_the_server_is_its_own_fault(ldap):
    with pytest.raises(DirectoryAway, match="own account"):
        await ldap(**{**LOOK_UP, "lookup_dn_search_password": "wrong"}).login("jdoe", "jane-password")


async def test_only_allowed_groups_come_in(ldap):
    assert (await ldap(allowed_groups=(STAFF,)).login("jdoe", "jane-password")).name == "jdoe"
    assert await ldap(allowed_groups=(STAFF,)).login("visitor", "visitor-password") is None
    assert await ldap(allowed_groups=(f"cn=none,{BASE}",)).login("jdoe", "jane-password") is None


async def test_a_search_filter_must_find_exactly_the_person(ldap):
    options = {"user_search_base": PEOPLE, "user_attribute": "uid", "attributes": ("cn",)}
    good = ldap(search_filter="(&({userattr}={username})(employeeNumber=17))", **options)
    assert (await good.login("jdoe", "jane-password")).name == "jdoe"
    assert await good.login("visitor", "visitor-password") is None


async def test_attributes_become_claims(ldap):
    jane = await ldap(auth_state_attributes=("employeeNumber", "sn")).login("jdoe", "jane-password")
    assert jane.claims == {"employeeNumber": ["17"], "sn": ["Doe"]}


@pytest.mark.parametrize(
    "name", ["*", "jdoe)(uid=*", "*)(|(uid=*", "jdoe,ou=people", "j*", "jdoe\0", "jdoe)(&", "\\2a"]
)
async def test_a_name_is_never_a_filter(ldap, name):
    for options in ({}, LOOK_UP):
        assert await ldap(**options).login(name, "jane-password") is None
        anything = ldap(**options, valid_username_regex=r"^.*$")
        assert await anything.login(name, "jane-password") is None


async def test_starttls_and_ldaps_check_the_certificate(ldap, directory):
    certificate = {"ca_certs_file": directory.certificate}
    assert await ldap(use_tls=True, **certificate).login("jdoe", "jane-password")
    secure = {"use_ssl": True, "server_port": directory.tls_port}
    assert await ldap(**secure, **certificate).login("jdoe", "jane-password")
    for bad in ({"use_tls": True}, secure):
        with pytest.raises(DirectoryAway):
            await ldap(**bad).login("jdoe", "jane-password")
        assert await ldap(**bad, verify_certificate=False).login("jdoe", "jane-password")


async def test_another_server_of_the_pool_answers_when_one_is_away(ldap, directory):
    way = ldap(server_address=(f"127.0.0.1:{free_port()}", f"127.0.0.1:{directory.port}"), connect_timeout=1)
    assert await way.login("jdoe", "jane-password")


async def _hear_and_say_nothing(reader, writer):
    while await reader.read(1000):
        pass
    writer.close()


async def test_a_directory_that_is_away_or_hangs_is_503_and_blocks_nobody(ldap):
    with pytest.raises(DirectoryAway):
        await ldap(server_port=free_port(), connect_timeout=1).login("jdoe", "x")
    silent = await asyncio.start_server(_hear_and_say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.05)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    with pytest.raises(DirectoryAway):
        await ldap(server_port=port, connect_timeout=1, receive_timeout=1.0).login("jdoe", "x")
    ticking.cancel()
    silent.close()
    await asyncio.sleep(0.1)
    assert ticks > 5


def test_a_configuration_that_cannot_work_is_refused(ldap):
    with pytest.raises(ConfigError, match="bind_dn_template"):
        ldap(bind_dn_template=())
    with pytest.raises(ConfigError, match="user_search_base"):
        ldap(lookup_dn=True)
    with pytest.raises(ConfigError, match="valid_username_regex"):
        ldap(valid_username_regex="(")


async def test_groups_of_the_directory_give_roles(sanic_client, make_config, folder, directory):
    provider = {
        "kind": "ldap",
        "name": "lab",
        "server_address": ["127.0.0.1"],
        "server_port": directory.port,
        "use_tls": False,
        "bind_dn_template": f"uid={{username}},{PEOPLE}",
        "group_search_base": f"ou=groups,{BASE}",
    }
    client = await sanic_client(app_of(make_config(**settings(folder, provider, policy=POLICY))))
    await log_in(client, "jdoe", "lab", password="jane-password")
    assert (await client.get("/api/auth/scopes")).json()["roles"] == ["expert"]
    await log_in(client, "visitor", "lab", password="visitor-password")
    assert (await client.get("/api/auth/scopes")).json()["roles"] == ["observer"]


@pytest.mark.parametrize("options", [{}, LOOK_UP, {"user_attribute": "uid"}])
async def test_a_login_is_spelled_as_the_directory_spells_it(ldap, options):
    for typed in ("jdoe", "JDoe", "JDOE"):
        assert (await ldap(**options).login(typed, "jane-password")).name == "jdoe"


async def test_every_spelling_is_shut_out_and_shares_one_quota(sanic_client, make_config, folder, directory):
    provider = {
        "kind": "ldap",
        "name": "lab",
        "server_address": ["127.0.0.1"],
        "server_port": directory.port,
        "use_tls": False,
        "bind_dn_template": f"uid={{username}},{PEOPLE}",
    }
    policy = "users: {jdoe: null, Visitor: {roles: user, quota: {queue_items: 1}}}\ndefault: {roles: observer}\n"
    client = await sanic_client(app_of(make_config(**settings(folder, provider, policy=policy))))
    token = "/api/auth/provider/lab/token"
    for typed in ("jdoe", "JDoe", "JDOE"):
        refused = await client.post(token, data={"username": typed, "password": "jane-password"})
        assert refused.status_code == 401, typed
    seen = []
    for typed in ("visitor", "Visitor", "VISITOR"):
        await log_in(client, typed, "lab", password="visitor-password")
        seen.append((await client.get("/api/auth/whoami")).json())
    assert {(who["uuid"], who["identities"][0]["id"], tuple(who["roles"])) for who in seen} == {
        (seen[0]["uuid"], "visitor", ("user",))
    }
    plan = {"item": {"name": "count", "args": [["det1"]], "item_type": "plan"}}
    added = []
    for typed in ("visitor", "Visitor"):
        await log_in(client, typed, "lab", password="visitor-password")
        added.append((await client.post("/api/queue/item/add", json=plan)).status_code)
    await client.post("/api/queue/clear")
    assert added == [200, 429]


async def test_the_log_says_why_tls_failed(ldap, caplog):
    with pytest.raises(DirectoryAway):
        await ldap(use_tls=True).login("jdoe", "jane-password")
    assert "certificate verify failed" in caplog.text
    assert "jane-password" not in caplog.text


async def test_the_log_tells_a_missing_group_from_a_wrong_password(ldap, caplog):
    caplog.set_level("INFO")
    assert await ldap(allowed_groups=(STAFF,)).login("visitor", "visitor-password") is None
    assert "allowed_groups" in caplog.text
    caplog.clear()
    assert await ldap(allowed_groups=(STAFF,)).login("visitor", "wrong") is None
    assert "allowed_groups" not in caplog.text
    assert "wrong name or password" in caplog.text
