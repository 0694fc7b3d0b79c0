"""What else modules can add: logins, policies, streams; calls in the name of the caller."""

import httpx
import pytest
from conftest import KEY
from custom_modules import make, problem_of, serve, write_module  # noqa: F401

from sanic_qserver.errors import ConfigError

LOGIN = """
from sanic_qserver.extension_api import Credential, ExtensionHost, NotAuthenticated, Principal

class Badge:
    async def identify(self, credential: Credential) -> Principal | None:
        if credential.scheme != "badge":
            return None
        if credential.value == "broken":
            raise OSError("reader offline, password 1234")
        if credential.value != "4711":
            raise NotAuthenticated("Unknown badge")
        return Principal(name="ada", provider="badge", roles=("observer",))

def register(host: ExtensionHost) -> None:
    host.add_auth_provider(Badge())
"""


async def test_a_login_provider_lets_its_own_in(write_module, serve):
    client = await serve(write_module("ext_badge", LOGIN), required=True)
    badge = {"Authorization": "Badge 4711"}
    assert (await client.get("/api/queue/get", headers=badge)).status_code == 200
    assert (await client.post("/api/queue/clear", headers=badge)).status_code == 403
    refused = await client.get("/api/queue/get", headers={"Authorization": "Badge 1"})
    assert refused.status_code == 401
    assert problem_of(refused)["detail"] == "Unknown badge"


async def test_a_login_provider_that_fails_lets_nobody_in(write_module, serve):
    client = await serve(write_module("ext_badge2", LOGIN), required=True)
    failed = await client.get("/api/queue/get", headers={"Authorization": "Badge broken"})
    assert failed.status_code == 502
    assert problem_of(failed)["extension"] == "ext_badge2"
    assert "1234" not in failed.text
    assert (await client.get("/api/queue/get")).status_code == 200


POLICY = """
import msgspec
from sanic_qserver.extension_api import Access, Scope, TooManyRequests, Verdict

class ReadOnly:
    def __init__(self, policy):
        self.policy = policy
    @property
    def version(self):
        return self.policy.version
    def access_of(self, principal) -> Access:
        access = self.policy.access_of(principal)
        return msgspec.structs.replace(access, scopes=frozenset(s for s in access.scopes if s.startswith("read:")))

class OnlyOnce:
    def __init__(self, policy):
        self.policy, self.count = policy, 0
    async def admit(self, attempt) -> Verdict:
        if attempt.path == "/lock/info":
            self.count += 1
            if self.count > 1:
                raise TooManyRequests("once is enough", headers={"Retry-After": "1"})
        return await self.policy.admit(attempt)
    def __getattr__(self, name):
        return getattr(self.policy, name)

def register(host):
    host.add_access_policy(ReadOnly)
    host.add_rate_policy(OnlyOnce)
"""


async def test_policies_of_modules_refine_those_of_the_server(write_module, make, sanic_client):
    client = await sanic_client(make(write_module("ext_policy", POLICY), required=True))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    assert (await client.get("/api/lock/info")).status_code in (200, 400, 503)
    assert (await client.get("/api/lock/info")).status_code == 429
    assert (await client.post("/api/queue/clear")).status_code == 403


def test_a_policy_that_fails_stops_the_start(write_module, make):
    text = "def register(host):\n    host.add_access_policy(lambda policy: 1 / 0)\n"
    with pytest.raises(ConfigError, match=r"'ext_badpolicy' failed in its policy: ZeroDivisionError"):
        make(write_module("ext_badpolicy", text))


CALLER = """
from sanic_qserver.extension_api import Call, Endpoint, NoParams, Scope, Stream, json_bytes

def register(host):
    async def add(call: Call) -> bytes:
        "Add a plan in the caller's name."
        item = {"name": "count", "args": [["det1"]], "item_type": "plan"}
        return json_bytes(await host.manager_as(call).request("queue_item_add", item=item, user="nobody"))

    async def twice(call: Call) -> bytes:
        "Add two plans."
        item = {"name": "count", "args": [["det1"]], "item_type": "plan"}
        manager = host.manager_as(call)
        return json_bytes([await manager.request("queue_item_add", item=item) for _ in range(2)])

    async def unknown(call: Call) -> bytes:
        return json_bytes(await host.manager_as(call).request("no_such_method"))

    async def wrong(call: Call) -> bytes:
        return json_bytes(await host.manager_as(call).request("queue_item_add", item=3))

    async def plain(call: Call) -> bytes:
        return {"not": "bytes"}

    async def ticks(call: Call):
        "Count to three."
        for number in range(3):
            yield json_bytes({"tick": number})

    host.add_endpoint(Endpoint("POST", "/add/mine", Scope.READ_QUEUE, "", serve=add))
    host.add_endpoint(Endpoint("POST", "/add/twice", Scope.READ_QUEUE, "", serve=twice, changes=True))
    host.add_endpoint(Endpoint("POST", "/add/unknown", Scope.READ_QUEUE, "", serve=unknown))
    host.add_endpoint(Endpoint("POST", "/add/wrong", Scope.READ_QUEUE, "", serve=wrong))
    host.add_endpoint(Endpoint("GET", "/plain", Scope.READ_QUEUE, "", serve=plain))
    host.add_stream(Stream("/ticks", Scope.READ_QUEUE, ticks))
""" + LOGIN.replace("def register", "def register_badge")


@pytest.fixture
async def client(write_module, serve):
    name = write_module(
        "ext_caller", CALLER + "\n_add = register\ndef register(host):\n    _add(host)\n    register_badge(host)\n"
    )
    return await serve(name, required=True)


async def test_a_call_in_the_callers_name_is_stamped_and_authorised(client):
    reply = (await client.post("/api/add/mine")).json()
    assert reply["success"], reply
    assert reply["item"]["user"] == "UNAUTHENTICATED_SINGLE_USER"
    refused = await client.post("/api/add/mine", headers={"Authorization": "Badge 4711"})
    assert refused.status_code == 403
    assert problem_of(refused)["missing_scope"] == "write:queue:edit"


async def test_a_request_with_an_idempotency_key_may_make_several_calls_and_is_done_once(client):
    headers = {"Idempotency-Key": "k-" + "x" * 20}
    first = await client.post("/api/add/twice", headers=headers)
    again = await client.post("/api/add/twice", headers=headers)
    assert [reply["success"] for reply in first.json()] == [True, True], first.text
    assert again.json() == first.json()
    assert len((await client.get("/api/queue/get")).json()["items"]) == 2


async def test_a_method_without_an_endpoint_is_told(client):
    reply = await client.post("/api/add/unknown")
    assert reply.status_code == 400
    assert "no_such_method" in problem_of(reply)["detail"]


async def test_wrong_params_of_such_a_call_are_told(client):
    assert (await client.post("/api/add/wrong")).status_code == 400


async def test_an_endpoint_that_gives_no_bytes_is_told(client):
    failed = await client.get("/api/plain")
    assert failed.status_code == 502
    assert "returned dict" in problem_of(failed)["detail"]


async def test_a_stream_of_a_module_is_admitted_by_the_gate(client):
    reply = await client.get("/api/ticks", headers={"Accept": "application/x-ndjson"})
    assert reply.text.split() == ['{"tick":0}', '{"tick":1}', '{"tick":2}']
    async with httpx.AsyncClient(base_url=client.base_url) as nobody:
        assert (await nobody.get("/api/ticks")).status_code == 401


async def test_an_endpoint_without_params_is_documented_by_its_function(client):
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert paths["/api/add/mine"]["post"]["summary"] == "Add a plan in the caller's name."
