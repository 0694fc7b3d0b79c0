"""The program of docs/items.md, as an agent runs it."""

import asyncio
import re
import sys

import pytest
from conftest import KEY, ROOT, until_status
from policy_people import as_, let_people_in

POLICY = """
roles:
  agent: {inherits: observer, scopes_add: ["write:proposals"]}
users:
  agent: {roles: agent}
  staff: {roles: expert}
"""


@pytest.mark.slow
async def test_the_agents_program_of_the_documentation_works(sanic_client, make_config, tmp_path):
    from servers import app_of

    program = re.search(
        r"<!-- program of an agent -->\n```python\n(.*?)```", (ROOT / "docs/items.md").read_text(), re.DOTALL
    )[1]
    policy = tmp_path / "permissions.yaml"
    policy.write_text(POLICY)
    database = {"url": f"sqlite:///{tmp_path / 'proposals.sqlite'}"}
    client = await sanic_client(app_of(make_config(policy={"permissions": str(policy)}, database=database)))
    let_people_in(client.app)
    client.headers.update(as_("staff"))
    await client.post("/api/environment/open")
    await until_status(client, 60, worker_environment_exists=True, manager_state="idle")
    environment = {"QSERVER": f"http://127.0.0.1:{client.port}/api", "KEY": "person:agent", "PATH": "/usr/bin"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        while not (proposals := (await client.get("/api/proposals?state=open")).json()["proposals"]):
            assert process.returncode is None, (await process.communicate())[1].decode()
            await asyncio.sleep(0.1)
        path = f"/api/proposals/{proposals[0]['id']}/approve"
        assert (await client.post(path, json={}, headers={"If-Match": '"1"'})).json()["success"]
        assert (await client.post("/api/queue/start")).json()["success"]
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert re.fullmatch(r"\['[0-9a-f-]{36}'\]\n", out.decode())
    assert KEY not in out.decode()
