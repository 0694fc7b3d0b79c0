"""What is told about policies: explain, the table in the documentation, the examples."""

import pytest
from conftest import ROOT
from typer.testing import CliRunner

from sanic_qserver.api.endpoint import Endpoint
from sanic_qserver.api.table import ENDPOINTS, STREAMS
from sanic_qserver.cli.policy import matrix_lines
from sanic_qserver.config.settings import load, shipped
from sanic_qserver.policy.access.permissions import Permissions
from sanic_qserver.policy.access.roles import ANONYMOUS_BUILT_IN, BUILT_IN
from sanic_qserver.policy.access.windows import Clock
from sanic_qserver.policy.files.documents import read_document
from sanic_qserver.policy.policies import Policies
from sanic_qserver.policy.rates.limiter import RateRules
from sanic_qserver.scopes import COVERED_BY_EDIT, Scope
from sanic_qserver.structs.identity import Principal

ROWS = (*ENDPOINTS, *STREAMS)

READS = {scope for scope in Scope if scope.startswith("read:")}
QUEUE = {Scope.WRITE_QUEUE_EDIT, Scope.WRITE_QUEUE_CONTROL}
USER = (
    READS
    | QUEUE
    | {
        Scope.WRITE_MANAGER_CONTROL,
        Scope.WRITE_PLAN_CONTROL,
        Scope.WRITE_EXECUTE,
        Scope.WRITE_HISTORY_EDIT,
        Scope.USER_APIKEYS,
    }
)
# Written anew from the reference server's table of roles, not from the code.
EXPECTED = {
    "admin": {
        Scope.READ_STATUS,
        Scope.USER_APIKEYS,
        Scope.ADMIN_APIKEYS,
        Scope.ADMIN_READ_PRINCIPALS,
        Scope.ADMIN_METRICS,
    },
    "expert": USER | {Scope.WRITE_PERMISSIONS, Scope.WRITE_SCRIPTS, Scope.WRITE_CONFIG, Scope.WRITE_LOCK},
    "advanced": USER,
    "user": USER,
    "observer": READS | {Scope.USER_APIKEYS},
    "unauthenticated_single_user": {s for s in Scope if not s.startswith("admin:")} - COVERED_BY_EDIT,
    "unauthenticated_public": set(),
}


def test_the_expected_roles_are_the_built_in_ones():
    assert set(EXPECTED) == set(BUILT_IN)


def test_built_in_roles_hold_exactly_the_scopes_of_the_reference():
    permissions = Permissions(read_document(shipped("policies/permissions.yaml")))
    assert permissions.scopes == EXPECTED


def test_the_public_role_holds_the_status_where_anonymous_access_is_allowed():
    permissions = Permissions(read_document(shipped("policies/permissions.yaml")), ANONYMOUS_BUILT_IN)
    assert permissions.scopes == EXPECTED | {"unauthenticated_public": {Scope.READ_STATUS}}


@pytest.mark.parametrize("role", BUILT_IN)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{getattr(row, 'verb', 'GET')} {row.path}")
def test_every_row_admits_the_roles_that_it_should(row, role):
    permissions = Permissions(read_document(shipped("policies/permissions.yaml")))
    expected = row.scope is None or bool(EXPECTED[role] & {row.scope, *row.any_scope})
    scopes = permissions.scopes[role]
    assert (row.scope is None or row.scope in scopes or not scopes.isdisjoint(row.any_scope)) == expected


def test_the_table_in_the_documentation_is_the_generated_one():
    text = (ROOT / "docs" / "policies.md").read_text()
    begin, end = text.index("<!-- matrix -->\n"), text.index("<!-- end of matrix -->")
    written = text[begin:end].splitlines()[1:]
    assert written == list(matrix_lines()), "put the output of `sanic-qserver matrix` there"


EXAMPLES = sorted(path.name for path in (ROOT / "policies" / "examples").iterdir())


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_loads_and_is_checked(example):
    folder = ROOT / "policies" / "examples" / example
    policy = {"permissions": str(folder / "permissions.yaml"), "rate_limits": str(folder / "rate_limits.yaml")}
    policies = Policies(load(environment={}, overrides={"policy": policy}), [])
    assert policies.access.permissions.scopes
    assert policies.rates.rules.file.rates


def test_every_example_is_seen():
    assert EXAMPLES == ["beamline", "facility", "laptop"]


def at(example: str, name: str, when: float = 1780390800.0, **principal):
    permissions = Permissions(read_document(ROOT / "policies" / "examples" / example / "permissions.yaml"))
    return permissions.access_of(Principal(name=name, provider="p", **principal), Clock(lambda: when, lambda: 0.0))


def test_the_beamline_lets_visitors_edit_their_own_items_during_their_time():
    from sanic_qserver.errors import NotAuthenticated

    access = at("beamline", "vera")
    assert Scope.WRITE_QUEUE_EDIT_OWN in access.scopes
    assert not access.scopes & {Scope.WRITE_QUEUE_EDIT, Scope.WRITE_QUEUE_CONTROL, Scope.READ_CONFIG}
    assert (access.user_group, access.quota.queue_items) == ("visitors", 100)
    assert at("beamline", "victor").quota.queue_items == 500
    for name, when in (("vera", 1790000000.0), ("gone", 1780390800.0)):
        with pytest.raises(NotAuthenticated):
            at("beamline", name, when, groups=("cn=beamline-7,ou=groups,dc=facility,dc=example",))
    assert at("beamline", "sam", groups=("cn=beamline-7,ou=groups,dc=facility,dc=example",)).user_group == "staff"


def test_the_facility_knows_programs_and_tokens():
    assert Scope.WRITE_QUEUE_CONTROL not in at("facility", "pipeline-7").scopes
    agent = at("facility", "agent-gp")
    assert (agent.user_group, agent.quota.batch_items) == ("automation", 500)
    assert at("facility", "kim", claims={"groups": ["proposal-42"]}).user_group == "users"
    assert at("facility", "lee", claims={"realm_access": {"roles": ["controls-x"]}}).roles == ("expert", "admin")
    assert RateRules(read_document(ROOT / "policies/examples/facility/rate_limits.yaml")).concurrency.counts_requests


# explain


@pytest.fixture
def explain(tmp_path):
    import typer

    from sanic_qserver.cli.policy import explain as command

    folder = ROOT / "policies" / "examples" / "beamline"
    config = tmp_path / "config.toml"
    config.write_text(
        f'[policy]\npermissions = "{folder}/permissions.yaml"\nrate_limits = "{folder}/rate_limits.yaml"\n'
    )
    app = typer.Typer()
    app.command()(command)

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["--config", str(config), *words], catch_exceptions=False)
        return result.exit_code, result.output

    return run


def line_of(text: str) -> int:
    lines = (ROOT / "policies" / "examples" / "beamline" / "permissions.yaml").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_the_explanations_of_the_manual_end_as_it_says(explain):
    text = (ROOT / "docs" / "policies.md").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("sanic-qserver explain --config config.toml ")]
    assert [explain(*line.split()[4:])[0] for line in lines] == [0, 1, 0]


def test_an_allowed_call_is_explained_with_the_lines_that_allow_it(explain):
    code, said = explain("--user", "vera", "--at", "2026-06-02T10:00", "POST", "/api/queue/item/add")
    assert code == 0
    assert "asks for write:queue:edit" in said
    assert f"visitor from users.vera ({ROOT}/policies/examples/beamline/permissions.yaml:{line_of('  vera:')})" in said
    assert f"permissions.yaml:{line_of('write:queue:edit:own')})" in said
    assert "on one's own items only" in said
    assert "user group visitors" in said
    assert "100 items in the queue, 50 items in a batch" in said
    assert "visitors-changes: " in said


def test_inherited_scopes_are_followed_to_where_they_are_written(explain):
    code, said = explain("--role", "operator", "GET", "/queue/get")
    assert code == 0
    assert f"role operator inherits visitor ({ROOT}/policies/examples/beamline/permissions.yaml:" in said
    assert "role visitor inherits observer" in said
    assert "role observer has built in read:* (built in)" in said


def test_a_denied_call_names_the_missing_scope_and_what_removed_it(explain):
    code, said = explain("--role", "visitor", "GET", "/api/config/get")
    assert code == 1
    assert "DENIED: read:config is missing" in said
    assert f"role visitor removes read:config ({ROOT}/policies/examples/beamline/permissions.yaml:" in said
    assert explain("POST", "/api/queue/start")[0] == 1
    assert explain("--single-user", "POST", "/api/queue/start")[0] == 0


def test_a_shut_window_is_explained(explain):
    code, said = explain("--user", "vera", "--at", "2026-07-02T10:00", "GET", "/api/queue/get")
    assert code == 1
    assert "User is not authorized to access the server at this time" in said
    assert f"permissions.yaml:{line_of('  vera:')})" in said


def test_every_row_can_be_explained(explain):
    for row in ROWS:
        verb = row.verb if isinstance(row, Endpoint) else "WS"
        assert explain("--single-user", verb, "/api" + row.path)[0] in (0, 1)
