"""Who may do what: roles, users, groups, claims, windows."""

import math

import pytest

from sanic_qserver.errors import ConfigError, NotAuthenticated
from sanic_qserver.policy.access.permissions import Permissions
from sanic_qserver.policy.access.windows import Clock
from sanic_qserver.policy.files.documents import parse_document
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.identity import PUBLIC, SINGLE_USER, Principal, Quota


def permissions(text: str) -> Permissions:
    return Permissions(parse_document(text or "{}", "permissions.yaml"))


class Times:
    """A clock that a test moves."""

    def __init__(self, now: float = 0.0) -> None:
        self.wall, self.uptime = now, 0.0
        self.clock = Clock(lambda: self.wall, lambda: self.uptime)

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.uptime += seconds


def access(text: str, name: str = "jdoe", clock: Clock | None = None, **principal):
    return permissions(text).access_of(Principal(name=name, provider="ldap", **principal), clock or Clock())


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        permissions(text)
    return str(raised.value)


# Roles


def test_built_in_roles_need_not_be_written():
    assert access("users: {jdoe: {roles: observer}}").scopes == {
        scope for scope in Scope if scope.startswith("read:")
    } | {Scope.USER_APIKEYS}


def test_a_built_in_role_is_changed_by_adding_and_removing():
    scopes = access(
        "{roles: {user: {scopes_add: write:scripts, scopes_remove: [write:queue:edit]}}, users: {jdoe: {roles: user}}}"
    ).scopes
    assert Scope.WRITE_SCRIPTS in scopes
    assert Scope.WRITE_EXECUTE in scopes
    assert not scopes & {Scope.WRITE_QUEUE_EDIT, Scope.WRITE_QUEUE_EDIT_OWN}


@pytest.mark.parametrize("nothing", ["null", "{scopes_set: []}", "{scopes_set: null}", "{scopes: []}"])
def test_a_role_set_to_nothing_holds_nothing(nothing):
    assert access(f"{{roles: {{user: {nothing}}}, users: {{jdoe: {{roles: user}}}}}}").scopes == frozenset()


def test_a_role_inherits_then_adds_then_removes():
    scopes = access(
        "{roles: {visitor: {inherits: observer, scopes_add: 'write:queue:edit:own', scopes_remove: 'read:config'}},"
        " users: {jdoe: {roles: visitor}}}"
    ).scopes
    assert Scope.READ_QUEUE in scopes
    assert Scope.WRITE_QUEUE_EDIT_OWN in scopes
    assert not scopes & {Scope.READ_CONFIG, Scope.WRITE_QUEUE_EDIT}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("roles: {user: {scopes_add: wirte:scripts}}", "did you mean 'write:scripts'"),
        ("roles: {a: {inherits: b}, b: {inherits: a}}", "a circle: a > b > a"),
        ("roles: {a: {inherits: nobody}}", "there is no role 'nobody'"),
        ("roles: {a: {scopes: [], scopes_set: []}}", "are the same"),
        ("users:\n  jdoe:\n    roles: [usr]", "permissions.yaml:3: users.jdoe.roles: there is no role 'usr'"),
        ("users:\n  ann: {}\n  jdoe: {rolls: user}", "permissions.yaml:3: users.jdoe: Object contains unknown field"),
        ("users: {jdoe: {}, jdoe: {}}", "'jdoe' stands here a second time"),
        ("users: {jdoe: {from: 2026-02-30T08:00}}", "is not a date or time"),
        ("users: {jdoe: {from: 2026-02-03, until: 2026-02-01}}", "not after 'from'"),
        ("users: {jdoe: {until: 2026-02-01, time_zone: Mars/Base}}", "there is no time zone 'Mars/Base'"),
        ("default: {roles: [nobody]}", "there is no role 'nobody'"),
        ("", "empty or not a mapping"),
        ("- a list", "empty or not a mapping"),
        ("a: [", "expected"),
        ("!!python/object/apply:os.system ['true']", "empty or not a mapping"),
        ("users: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
    ],
)
def test_a_mistake_is_refused_and_named(text, said):
    with pytest.raises(ConfigError, match=r"permissions\.yaml") as raised:
        Permissions(parse_document(text, "permissions.yaml"))
    assert said in str(raised.value)


# People


def test_who_is_not_listed_may_not_enter():
    with pytest.raises(NotAuthenticated, match="User is not authorized to access the server"):
        access("users: {ann: {roles: user}}")


def test_default_roles_let_everybody_in_who_can_log_in():
    assert access("default: {roles: observer}").roles == ("observer",)


def test_who_is_listed_with_nothing_may_not_enter_whatever_else_applies():
    with pytest.raises(NotAuthenticated):
        access("{users: {jdoe: null}, groups: {staff: {roles: expert}}}", groups=("staff",))


def test_a_login_at_another_provider_is_not_the_user():
    assert access("{users: {jdoe: {roles: expert, provider: pam}}, default: {roles: observer}}").roles == ("observer",)


def test_a_login_cannot_take_the_name_of_the_built_in_users():
    for built_in in (SINGLE_USER, PUBLIC):
        with pytest.raises(NotAuthenticated):
            access("", built_in.name)
        assert permissions("").access_of(built_in, Clock()).principal == built_in


def test_groups_and_claims_give_roles_together():
    text = """
    groups: {"cn=staff": {roles: advanced, user_group: staff}}
    claims:
      - {claim: realm.roles, matches: "qs-*", roles: [expert], user_group: experts}
      - {claim: is_admin, matches: "true", roles: admin}
    """
    claims = {"realm": {"roles": ["x", "qs-expert"]}, "is_admin": True}
    given = access(text, groups=("cn=staff",), claims=claims)
    assert given.roles == ("expert", "admin", "advanced")
    assert given.user_group == "experts"
    with pytest.raises(NotAuthenticated):
        access(text, claims={"realm": "qs-expert-not-a-mapping"})


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        ("{}", "jdoe"),
        ("{email: j@x.org}", "jdoe <j@x.org>"),
        ("{displayed_name: John Doe}", 'jdoe "John Doe"'),
        ("{displayed_name: John Doe, email: j@x.org}", 'jdoe "John Doe <j@x.org>"'),
    ],
)
def test_the_displayed_name_has_the_reference_servers_four_forms(entry, shown):
    assert access(f"{{users: {{jdoe: {entry}}}, default: {{roles: user}}}}").user == shown


def test_nobody_can_look_like_another_by_a_clever_login():
    victim = access("users: {jdoe: {displayed_name: John, roles: user}}").user
    assert access("default: {roles: user}", 'jdoe "John"').user != victim


def test_the_user_group_is_by_user_then_claim_then_group_then_role_then_default():
    role = "roles: {user: {user_group: by-role}}"
    assert access(f"{{{role}, users: {{jdoe: {{roles: user, user_group: by-user}}}}}}").user_group == "by-user"
    assert access(f"{{{role}, groups: {{g: {{roles: user, user_group: by-group}}}}}}", groups=("g",)).user_group == (
        "by-group"
    )
    assert access(f"{{{role}, users: {{jdoe: {{roles: user}}}}}}").user_group == "by-role"
    assert access("{default: {roles: user, user_group: by-default}}").user_group == "by-default"
    assert access("{default: {roles: user}}").user_group == "primary"


def test_the_largest_quota_of_the_roles_holds_unless_the_user_has_one():
    roles = "roles: {user: {quota: {queue_items: 5}}, advanced: {quota: {queue_items: 9, batch_items: 3}}}"
    both = access(f"{{{roles}, users: {{jdoe: {{roles: [user, advanced, observer]}}}}}}")
    assert both.quota == Quota(queue_items=9, batch_items=3)
    own = access(f"{{{roles}, users: {{jdoe: {{roles: advanced, quota: {{queue_items: 2}}}}}}}}")
    assert own.quota == Quota(queue_items=2)


def test_a_limited_key_holds_no_more_than_its_owner():
    text = "users: {jdoe: {roles: user}}"
    key = frozenset({"read:status", "write:scripts", "write:queue:edit:own"})
    assert access(text, key_scopes=key).scopes == {Scope.READ_STATUS, Scope.WRITE_QUEUE_EDIT_OWN}


# Windows and clocks

VISIT = "users: {jdoe: {roles: user, from: 2026-06-01T08:00, until: 2026-06-05, time_zone: Europe/Berlin}}"
BEGIN = 1780293600.0  # 2026-06-01T06:00Z
END = 1780696800.0  # 2026-06-05T22:00Z: the end of that day in Berlin


@pytest.mark.parametrize(
    ("now", "is_in"), [(BEGIN - 1, False), (BEGIN, True), (END - 1, True), (END, False), (END + 1e6, False)]
)
def test_a_visitor_enters_during_the_beamtime_only(now, is_in):
    clock = Times(now).clock
    if is_in:
        assert access(VISIT, clock=clock).expires_at == END
    else:
        with pytest.raises(NotAuthenticated, match="at this time"):
            access(VISIT, clock=clock)


def test_setting_the_clock_back_does_not_prolong_a_beamtime():
    times = Times(END - 10)
    times.passes(20)
    times.wall -= 3600
    with pytest.raises(NotAuthenticated):
        access(VISIT, clock=times.clock)


def test_setting_the_clock_forth_does_not_begin_a_beamtime():
    times = Times(BEGIN - 3600)
    times.wall += 7200
    with pytest.raises(NotAuthenticated):
        access(VISIT, clock=times.clock)
    times.clock.anchor()
    assert access(VISIT, clock=times.clock).roles == ("user",)


def test_without_a_window_access_does_not_expire():
    assert access("users: {jdoe: {roles: user}}").expires_at is None
    assert access("users: {jdoe: {roles: user}}", expires_at=5.0).expires_at == 5.0
    assert not math.isinf(access(VISIT, clock=Times(BEGIN).clock).expires_at or math.inf)


# Files that get shorter

FULL = """\
roles:
  user:
    scopes_add: [write:scripts]
    scopes_remove: [write:queue:edit]
users:
  ann: {roles: user}
  bob: {roles: user, quota: {queue_items: 3}}
  eve: null
default:
  roles: [observer]
"""


def test_every_way_of_cutting_a_policy_off_is_seen_to_widen_or_gives_nobody_more():
    whole = permissions(FULL)
    for length in range(len(FULL)):
        try:
            part = permissions(FULL[:length])
        except ConfigError:
            continue
        if part.describe_added_grants(whole):
            continue
        for name in ("ann", "bob", "eve", "zoe"):
            principal = Principal(name=name, provider="ldap")
            try:
                now = part.access_of(principal, Clock())
            except NotAuthenticated:
                continue
            before = whole.access_of(principal, Clock())
            assert now.scopes <= before.scopes, (length, name)
            assert now.quota == before.quota
