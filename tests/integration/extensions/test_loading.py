"""Custom modules: found, imported, registered; what fails is contained and visible."""

import logging

import pytest
from custom_modules import HELLO, make, problem_of, serve, write_module  # noqa: F401

from sanic_qserver.config.settings import from_environment, load
from sanic_qserver.errors import ConfigError


async def test_a_custom_endpoint_is_scoped_typed_and_documented(write_module, serve):
    client = await serve(write_module("ext_hello", HELLO))
    assert (await client.get("/api/hello?name=Ada")).json()["greeting"] == "Hello, Ada"
    assert (await client.get("/hello", headers={"Authorization": ""})).status_code == 401
    refused = await client.get("/api/hello", params={"nam": "x"})
    assert refused.status_code == 400
    assert "nam" in problem_of(refused)["detail"]
    operation = (await client.get("/openapi.json")).json()["paths"]["/api/hello"]["get"]
    assert operation["summary"] == "Greet the caller."


def test_environment_names_take_commas_and_colons():
    environment = {"QSERVER_CUSTOM_MODULES": "one-a,two:three", "QSERVER_HTTP_CUSTOM_ROUTERS": "m.bp"}
    config = load(environment=environment)
    assert config.extensions.modules == ("one-a", "two", "three")
    assert config.extensions.blueprints == ("m.bp",)
    assert from_environment({"QSERVER_CUSTOM_MODULE": "one"})["extensions"]["modules"] == ["one"]


async def test_dashes_in_a_module_name_are_underscores(write_module, serve):
    write_module("ext_with_dash", HELLO)
    client = await serve("ext-with-dash")
    assert (await client.get("/hello")).status_code == 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_module_at_all", "no_such_module_at_all"),
        ("x = (\n", "SyntaxError"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("def register(host):\n    raise ValueError('no such file')", "ValueError: no such file"),
        ("async def register(host): ...", "register must be a plain function"),
        ("pass", "neither register(host) nor blueprint"),
        ("class APIRouter: ...\nblueprint = APIRouter()", "APIRouter is no Sanic blueprint"),
    ],
)
async def test_a_module_that_is_not_required_and_fails_leaves_the_standard_server_running(
    write_module, serve, caplog, text, said
):
    name = write_module("ext_broken", text)
    with caplog.at_level(logging.ERROR, "sanic_qserver.extensions"):
        client = await serve(name, required=False)
    assert (await client.get("/api/status")).status_code == 200
    (warning,) = (await client.get("/readyz")).json()["warnings"]
    assert "ext_broken" in warning
    assert said in warning
    assert "ext_broken" in caplog.text


async def test_the_failing_line_is_named(write_module, make):
    name = write_module("ext_line", "a = 1\nb = 2\nraise RuntimeError('third line')\n")
    with pytest.raises(ConfigError, match=r"ext_line\.py:3"):
        make(name)


def test_a_module_that_fails_stops_the_start_and_the_way_without_it_is_told(make):
    with pytest.raises(ConfigError, match=r"ext_gone.*required = false"):
        make("ext_gone")


def test_a_module_that_is_not_there_says_where_to_put_it_and_one_that_it_needs_to_install_that(write_module, make):
    with pytest.raises(ConfigError, match=r"ext_gone'; name the folder .* in \[extensions\] paths"):
        make("ext_gone")
    name = write_module("ext_needs", "import no_such_library\n")
    with pytest.raises(ConfigError, match=r"\(.*ext_needs\.py:1\); install what has no_such_library"):
        make(name)


def test_a_plain_blueprint_of_the_environment_that_fails_costs_its_routes_only(make):
    assert "ext_gone.bp" in make(blueprints=["ext_gone.bp"]).ctx.services.warnings[0]
    with pytest.raises(ConfigError, match="ext_gone"):
        make(blueprints=["ext_gone.bp"], required=True)


def test_the_environment_and_the_file_say_what_is_required(tmp_path):
    names = {"QSERVER_CUSTOM_MODULES": "a", "QSERVER_HTTP_CUSTOM_ROUTERS": "b.bp"}
    assert load(environment=names).extensions.required is None
    assert load(environment={**names, "QSERVER_CUSTOM_MODULES_REQUIRED": "0"}).extensions.required is False
    file = tmp_path / "config.toml"
    file.write_text('[extensions]\nblueprints = ["b.bp"]\n')
    assert load(file, environment={}).extensions.required is True
    assert load(file, environment={"QSERVER_CUSTOM_MODULES_REQUIRED": "0"}).extensions.required is False


def test_two_modules_that_claim_one_path_are_an_error_naming_both(write_module, make):
    one, two = write_module("ext_one", HELLO), write_module("ext_two", HELLO)
    with pytest.raises(ConfigError, match=r"'ext_two' and 'ext_one' both claim GET /api/hello"):
        make(one, two, required=True)
    app = make(one, two, required=False)
    assert "'ext_two' and 'ext_one' both claim" in app.ctx.services.warnings[0]
    assert sum(row.path == "/hello" for row in app.ctx.rows) == 1


def test_a_path_of_the_server_cannot_be_claimed(write_module, make):
    name = write_module("ext_status", HELLO.replace("/hello", "/status"))
    with pytest.raises(ConfigError, match="'ext_status' and the server both claim GET /api/status"):
        make(name, required=True)


def test_public_must_be_said(write_module, make):
    name = write_module("ext_public", HELLO.replace("Scope.READ_QUEUE", "None"))
    with pytest.raises(ConfigError, match=r"/hello: .*say public=True"):
        make(name, required=True)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"/hello"', '"hello"', "hello: a path begins with /"),
        ('"/hello"', '"/api/hello"', "is put before it by the server"),
        ('"GET"', '"get"', "'get' is none of GET"),
        ("Scope.READ_QUEUE", '"read:quue"', "there is no scope 'read:quue'"),
        ("name: str", "name: complex", "Hello cannot be used"),
        ("(Params, frozen=True, kw_only=True)", "", "must be a subclass of Params"),
        ("async def hello", "def hello", "must be `async def`"),
    ],
)
def test_a_row_that_could_not_be_served_is_told_with_its_path(write_module, make, old, new, said):
    name = write_module(
        "ext_badrow",
        HELLO.replace(old, new, 1) if old != "(Params, frozen=True, kw_only=True)" else HELLO.replace(old, ""),
    )
    with pytest.raises(ConfigError) as raised:
        make(name, required=True)
    assert said in str(raised.value)


def test_names_that_collide_are_told(write_module, make):
    one = write_module("ext_name1", HELLO.replace('"/hello"', '"/he/llo"'))
    two = write_module("ext_name2", HELLO.replace('"/hello"', '"/he_llo"'))
    with pytest.raises(ConfigError, match="'ext_name2' and 'ext_name1' both have a row named 'get_he_llo'"):
        make(one, two, required=True)
    blueprint = "from sanic import Blueprint\nblueprint = Blueprint('he', url_prefix='/else')\n"
    with pytest.raises(ConfigError, match="'ext_name3' and 'ext_name1' both have a blueprint 'he'"):
        make("ext_name1", write_module("ext_name3", blueprint), required=True)
    make(write_module("ext_name4", HELLO.replace('"/hello"', '"/queue/hello"')), required=True)


async def test_an_installed_package_offers_itself(write_module, make, tmp_path, monkeypatch):
    name = write_module("ext_installed", HELLO)
    info = tmp_path / "ext_installed-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ext-installed\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[sanic_qserver.extensions]\nany = {name}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert [row.path for row in make(entry_points=True).ctx.rows].count("/hello") == 1
    assert [row.path for row in make(entry_points=False).ctx.rows].count("/hello") == 0
    assert [row.path for row in make(name, entry_points=True).ctx.rows].count("/hello") == 1


BLUEPRINT = """
from sanic import Blueprint, json
blueprint = Blueprint("ext_site", url_prefix="/site")

@blueprint.on_request(priority=10)
async def early(request):
    if request.args.get("early"):
        return json({"leaked": True})

@blueprint.get("/who")
async def who(request):
    return json({"who": request.ctx.access.principal.name})

@blueprint.post("/count")
async def count(request):
    return json({"count": 1}, headers={"X-Mine": "1"})

@blueprint.post("/raises")
async def raises(request):
    raise KeyError("a secret")

@blueprint.websocket("/ws")
async def ws(request, ws):
    await ws.send("hello")
"""


async def test_a_bare_module_with_a_blueprint_is_served_behind_the_gate(write_module, serve, monkeypatch, caplog):
    client = await serve(write_module("ext_bare", BLUEPRINT))
    assert (await client.get("/site/who")).json() == {"who": "UNAUTHENTICATED_SINGLE_USER"}
    for path in ("/site/who", "/site/who?early=1", "/site/ws"):
        assert (await client.get(path, headers={"Authorization": ""})).status_code == 401, path
    assert (await client.get("/site/who?early=1")).json() == {"leaked": True}
    entries = []
    caplog.set_level(logging.INFO)  # Else the entry would go nowhere, and is not made.
    monkeypatch.setattr(client.app.ctx.gate.audit, "record", entries.append)
    counted = await client.post("/site/count", headers={"X-Request-ID": "mine"})
    assert (counted.headers["x-request-id"], counted.headers["x-mine"]) == ("mine", "1")
    assert [(entry.endpoint, entry.outcome) for entry in entries] == [("POST /site/count", "done")]
    failed = await client.post("/site/raises")
    assert failed.status_code == 502
    assert problem_of(failed)["extension"] == "ext_bare"
    assert "secret" not in failed.text


async def test_a_blueprint_is_taken_by_name(write_module, serve):
    write_module("ext_router", BLUEPRINT.replace("blueprint", "router").replace("ext_site", "ext_named"))
    client = await serve(blueprints=["ext_router.router"])
    assert (await client.get("/site/who")).status_code == 200


async def test_a_blueprint_may_be_declared_public(write_module, serve):
    register = "\ndef register(host):\n    host.add_blueprint(blueprint, public=True)\n"
    client = await serve(write_module("ext_open", BLUEPRINT.replace("ext_site", "ext_open_bp") + register))
    assert (await client.get("/site/who", headers={"Authorization": ""})).json() == {"who": "UNAUTHENTICATED_PUBLIC"}
    rows = [
        route.ctx.row
        for route in client.app.router.routes
        if route.path.startswith("site/") and "OPTIONS" not in route.methods
    ]
    assert rows
    assert all(row.scope is None for row in rows)


async def test_one_module_serves_several_applications(write_module, serve, make):
    name = write_module("ext_twice", BLUEPRINT.replace("ext_site", "ext_twice_bp"))
    for _ in range(2):
        client = await serve(name)
        assert (await client.get("/site/who")).status_code == 200
        assert (await client.get("/site/who", headers={"Authorization": ""})).status_code == 401


async def test_options_are_decoded_into_a_struct(write_module, make):
    text = """
    import msgspec
    class Options(msgspec.Struct):
        limit: float
    def register(host):
        host.options_as(Options)
    """
    name = write_module("ext_options", text)
    make(name, required=True, options={"ext_options": {"limit": 2.5}})
    with pytest.raises(ConfigError, match=r"\[extensions.options.ext_options\].*limit"):
        make(name, required=True, options={"ext_options": {"limit": "high"}})
