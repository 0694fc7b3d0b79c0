"""The official Python client in HTTP mode, sync and async: every call of its API, with plans that run."""

import asyncio
import inspect
import time

import pytest
from bluesky_queueserver_api.http import REManagerAPI
from bluesky_queueserver_api.http.aio import REManagerAPI as AsyncREManagerAPI
from conftest import KEY

pytestmark = pytest.mark.slow

COUNT = {"item_type": "plan", "name": "count", "args": [["det1", "det2"]], "kwargs": {"num": 1}}
LONG = {"item_type": "plan", "name": "count", "args": [["det1"]], "kwargs": {"num": 20, "delay": 0.5}}
# Logins, sessions and keys are walked by the tests of the login.
LOGIN = {
    "api_scopes", "apikey_delete", "apikey_info", "apikey_new", "login", "logout", "principal_info",
    "session_refresh", "session_revoke", "set_user_name_to_login_name", "whoami",
}  # fmt: skip
# They send nothing of their own.
LOCAL = {"close", "get_default_lock_key", "set_authorization_key", "set_default_lock_key", "wait_for_condition",
         "wait_for_idle_or_running"}  # fmt: skip


class Walker:
    """Calls the API of either client and remembers what was called."""

    def __init__(self, api):
        self.api = api
        self.called = set()

    async def __call__(self, name, *args, **kwargs):
        self.called.add(name)
        result = getattr(self.api, name)(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    async def refused(self, name, *args, **kwargs):
        """The message of a call that RE Manager refuses."""
        with pytest.raises(self.api.RequestFailedError) as refused:
            await self(name, *args, **kwargs)
        return str(refused.value)


@pytest.fixture(params=[REManagerAPI, AsyncREManagerAPI], ids=["sync", "async"])
async def walk(request, served):
    api = request.param(http_server_uri=served.url)
    api.set_authorization_key(api_key=KEY)
    walk = Walker(api)
    status = await walk("status", reload=True)
    if any(status["lock"].values()):
        await walk("unlock", "secret")
    if status["manager_state"] != "idle":
        await walk("environment_destroy")
        await walk("wait_for_idle")
    if (await walk("status", reload=True))["worker_environment_exists"]:
        await walk("environment_destroy")
        await walk("wait_for_idle")
    await walk("queue_clear")
    await walk("history_clear")
    yield walk
    await walk("close")


async def test_every_call_of_the_official_client_works(walk):
    await _reads(walk)
    await _queue(walk)
    await _lock(walk)
    await walk("environment_open")
    await walk("wait_for_idle", timeout=60)
    assert (await walk("status", reload=True))["worker_environment_exists"]
    await _tasks(walk)
    await _plans_that_run(walk)
    await walk("permissions_reload", restore_permissions=True)
    permissions = (await walk("permissions_get"))["user_group_permissions"]
    await walk("permissions_set", permissions)
    await walk("environment_close")
    await walk("wait_for_idle", timeout=60)
    await walk("environment_open")
    await walk("wait_for_idle", timeout=60)
    await walk("environment_destroy")
    await walk("wait_for_idle", timeout=60)
    methods = {name for name in dir(walk.api) if not name.startswith("_") and name[0].islower()}
    calls = {name for name in methods if inspect.isroutine(getattr(type(walk.api), name, None))}
    assert calls - walk.called - LOGIN - LOCAL - {"send_request"} == set()


async def _reads(walk):
    assert (await walk("ping"))["msg"].startswith("RE Manager")
    assert "config" in await walk("config_get")
    for kind in ("plans_allowed", "devices_allowed", "plans_existing", "devices_existing"):
        assert (await walk(kind))[kind]
    assert (await walk("re_runs"))["run_list"] == []


async def _queue(walk):
    first = (await walk("item_add", COUNT))["item"]["item_uid"]
    second = (await walk("item_add", COUNT, pos="front"))["item"]["item_uid"]
    batch = (await walk("item_add_batch", [COUNT, LONG]))["items"]
    uids = [item["item_uid"] for item in batch]
    assert [item["item_uid"] for item in (await walk("queue_get"))["items"]] == [second, first, *uids]
    assert (await walk("item_get", uid=first))["item"]["item_uid"] == first
    await walk("item_move", uid=first, pos_dest="front")
    await walk("item_move_batch", uids=uids, pos_dest="front")
    assert [item["item_uid"] for item in (await walk("queue_get"))["items"]] == [*uids, first, second]
    item = (await walk("item_get", pos=0))["item"]
    assert (await walk("item_update", {**item, "kwargs": {"num": 2}}))["item"]["kwargs"] == {"num": 2}
    await walk("item_remove", uid=first)
    await walk("item_remove_batch", uids=uids)
    await walk("queue_mode_set", loop=True)
    assert (await walk("status", reload=True))["plan_queue_mode"]["loop"] is True
    await walk("queue_mode_set", mode="default")
    await walk("queue_clear")
    assert "environment" in await walk.refused("queue_start")


async def _lock(walk):
    for name in ("lock_environment", "lock_queue", "lock_all"):
        await walk(name, "secret", note="by a test")
        assert (await walk("lock_info"))["lock_info"]["note"] == "by a test"
        await walk("unlock", "secret")
    await walk("lock", "secret", queue=True)
    assert "locked" in await walk.refused("item_add", COUNT)
    await walk("item_add", COUNT, lock_key="secret")
    await walk("unlock", "secret")
    await walk("queue_clear")


async def _tasks(walk):
    task = (await walk("script_upload", "def twice(x):\n    return 2 * x\n"))["task_uid"]
    await walk("wait_for_completed_task", task, timeout=30)
    assert (await walk("task_result", task))["result"]["success"] is True
    assert (await walk("task_status", task))["status"] == "completed"
    function = {"item_type": "function", "name": "function_sleep", "args": [0.2]}
    task = (await walk("function_execute", function, run_in_background=True))["task_uid"]
    await walk("wait_for_completed_task", task, timeout=30)
    assert (await walk("task_status", [task]))["status"] == {task: "completed"}
    await walk("environment_update")
    await walk("wait_for_idle", timeout=30)
    assert "IPython" in await walk.refused("kernel_interrupt", interrupt_task=True)


async def _plans_that_run(walk):
    await walk("item_add", COUNT)
    await _start(walk)
    await walk("wait_for_idle", timeout=30)
    assert (await walk("history_get"))["items"][-1]["result"]["exit_status"] == "completed"
    await walk("item_execute", LONG)
    await _until_running(walk)
    await walk("queue_stop")
    await walk("queue_stop_cancel")
    await walk("re_pause", "deferred")
    await walk("wait_for_idle_or_paused", timeout=30)
    await walk("re_resume")
    await _until_running(walk)
    for end in ("re_stop", "re_abort", "re_halt"):
        await walk("re_pause", "immediate")
        await walk("wait_for_idle_or_paused", timeout=30)
        await walk(end)
        await walk("wait_for_idle", timeout=30)
        if end != "re_halt":
            await walk("queue_clear")
            await walk("item_execute", LONG)
            await _until_running(walk)
    await walk("queue_clear")
    await walk("queue_autostart", True)
    await walk("queue_autostart", False)


async def _start(walk):
    """Start the queue. The update of the environment may still run although the client has seen RE Manager idle."""
    until = time.monotonic() + 30
    while True:
        try:
            return await walk("queue_start")
        except walk.api.RequestFailedError as error:
            if "busy" not in str(error) or time.monotonic() > until:
                raise
            await asyncio.sleep(0.1)


async def _until_running(walk):
    until = time.monotonic() + 30
    while (await walk("status", reload=True))["re_state"] != "running":
        assert time.monotonic() < until
        time.sleep(0.1)
