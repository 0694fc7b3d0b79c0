"""Metadata that a policy stamps on somebody's items."""

from sanic_qserver.policy.access.permissions import Permissions
from sanic_qserver.policy.access.windows import Clock
from sanic_qserver.policy.files.documents import parse_document
from sanic_qserver.scopes import COVERED_BY_EDIT, Scope
from sanic_qserver.structs.identity import SINGLE_USER, Principal

SITE = """
default: {metadata: {facility: X, cycle: "2026-1"}}
roles:
  user: {metadata: {cycle: "2026-2", station: A}}
  local: {inherits: [user]}
groups:
  team: {roles: [local], metadata: {cycle: "2026-3"}}
claims:
  - {claim: kind, matches: guest, metadata: {proposal: "{claim:grant.number}", note: "of {claim:kind} {claim:year}"}}
users:
  jdoe: {roles: [user], metadata: {station: B}}
"""


def metadata(text=SITE, name="jdoe", **principal):
    document = parse_document(text, "permissions.yaml")
    return Permissions(document).access_of(Principal(name=name, provider="ldap", **principal), Clock()).metadata


def test_the_more_personal_entry_wins_key_by_key():
    assert metadata(groups=("team",)) == {"facility": "X", "cycle": "2026-3", "station": "B"}
    assert metadata(name="other", groups=("team",)) == {"facility": "X", "cycle": "2026-3", "station": "A"}


def test_text_takes_claims_and_a_key_whose_claim_is_missing_is_left_out():
    claims = {"kind": "guest", "grant": {"number": 117}, "year": 2026}
    found = metadata(claims=claims)
    assert found["proposal"] == 117
    assert found["note"] == "of guest 2026"
    assert "proposal" not in metadata(claims={"kind": "guest", "year": 1})
    assert "note" not in metadata(claims={"kind": "guest"})


def test_nothing_is_stamped_when_no_policy_says_so():
    assert metadata("users: {jdoe: {roles: [user]}}") == {}


def test_no_built_in_role_and_no_pattern_holds_what_a_larger_scope_covers():
    permissions = Permissions(parse_document("roles: {all: {scopes: ['*']}}", "permissions.yaml"))
    assert not any(scopes & COVERED_BY_EDIT for scopes in permissions.scopes.values())
    assert not permissions.access_of(SINGLE_USER, Clock()).scopes & COVERED_BY_EDIT


def test_a_limited_key_of_one_who_may_edit_can_hold_what_that_covers():
    text = "users: {jdoe: {roles: [user]}}"
    document = parse_document(text, "permissions.yaml")
    key = Principal(name="jdoe", provider="ldap", key_scopes=frozenset({"write:proposals"}))
    assert Permissions(document).access_of(key, Clock()).scopes == {Scope.WRITE_PROPOSALS}
