"""The environment and its plans, controlled from the page, by RE Manager's own account of what happened."""

import re

import pytest
from conftest import app_of
from operator_page import COUNT, SLOW, button, confirm, fill_form, is_possible, past, region, row
from playwright.sync_api import expect
from servers import KEY, Instrument, Served

from sanic_qserver.config.settings import load

pytestmark = pytest.mark.slow


@pytest.fixture
def page(site):
    """The page of an expert, with an open environment and an empty history."""
    site.open_environment()
    site.ask("POST", "history/clear")
    yield site.open("alice")
    if site.ask("GET", "status")["manager_state"] == "paused":
        site.ask("POST", "re/abort")
        site.until("idle")


def start_slow(site, page):
    """Start a plan that takes long."""
    assert site.ask("POST", "queue/item/add", item=SLOW)["success"]
    is_possible(page, "Start queue")
    button(page, "Start queue").click()
    expect(region(page, "Running")).to_contain_text("num=200")
    is_possible(page, "Pause now")


def pause_now(page):
    button(page, "Pause now").click()
    is_possible(page, "Abort")


def test_a_plan_runs_pauses_resumes_and_aborts_and_goes_back_into_the_queue(site, page):
    start_slow(site, page)
    expect(region(page, "Console").get_by_role("log")).to_contain_text("seq_num")
    expect(region(page, "Running").get_by_role("listitem")).to_contain_text("open")
    button(page, "Pause").click()
    expect(region(page, "Status")).to_contain_text("paused", timeout=30_000)
    button(page, "Resume").click()
    is_possible(page, "Pause now")
    pause_now(page)
    confirm(page, "Abort", saying="count")
    expect(past(page, "aborted")).to_be_visible(timeout=30_000)
    confirm(page, "Clear queue")
    expect(region(page, "Queue")).to_contain_text("The queue is empty")
    past(page, "aborted").click()
    button(page, "Copy to queue").click()
    expect(row(page, 200)).to_be_visible()
    (item,) = site.queue()
    assert item["kwargs"]["num"] == 200


def test_a_stop_of_the_queue_is_cancelled_and_plans_are_stopped_and_halted(site, page):
    start_slow(site, page)
    button(page, "Stop queue").click()
    expect(region(page, "Status")).to_contain_text("stop pending")
    expect(button(page, "Stop queue")).to_have_accessible_description("A stop is pending already")
    button(page, "Cancel stop").click()
    expect(region(page, "Status")).not_to_contain_text("stop pending")
    assert not site.ask("GET", "status")["queue_stop_pending"]
    pause_now(page)
    button(page, "Stop plan").click()
    expect(past(page, "stopped")).to_be_visible(timeout=30_000)
    site.until("idle")
    site.ask("POST", "queue/clear")
    start_slow(site, page)
    pause_now(page)
    confirm(page, "Halt", saying="without its clean-up")
    expect(past(page, "halted")).to_be_visible(timeout=30_000)
    statuses = [item["result"]["exit_status"] for item in site.ask("GET", "history/get")["items"]]
    assert statuses == ["stopped", "halted"]


def test_a_plan_is_executed_at_once_and_the_queue_starts_by_itself_and_loops(site, page):
    fill_form(page, "count", detectors="det1", num="2")
    is_possible(page, "Execute now")
    button(page, "Execute now").click()
    expect(past(page, "num=2")).to_contain_text("completed", timeout=30_000)
    assert site.queue() == []
    for name in ("Loop", "Autostart"):
        page.get_by_role("switch", name=name).click()
        expect(page.get_by_role("switch", name=name)).to_have_attribute("aria-checked", "true")
    status = site.ask("GET", "status")
    assert status["plan_queue_mode"]["loop"]
    assert status["queue_autostart_enabled"]
    site.ask("POST", "queue/item/add", item=COUNT)
    again = region(page, "History").get_by_role("row").filter(has_text="num=1")
    expect(again.nth(1)).to_be_visible(timeout=30_000)
    for name in ("Autostart", "Loop"):
        page.get_by_role("switch", name=name).click()
        expect(page.get_by_role("switch", name=name)).to_have_attribute("aria-checked", "false")
    site.until("idle")
    assert not site.ask("GET", "status")["plan_queue_mode"]["loop"]


def test_the_environment_is_updated_closed_and_opened_and_destroyed_after_a_question(site, page):
    for name in ("Update environment", "Close environment"):
        is_possible(page, name)
        button(page, name).click()
        expect(page.get_by_role("status").filter(has_text=f"{name}: done")).to_be_visible()
    expect(button(page, "Start queue")).to_have_attribute("title", "The environment is not open", timeout=30_000)
    expect(button(page, "Interrupt kernel")).to_have_accessible_description(re.compile("IPython mode"))
    is_possible(page, "Open environment")
    button(page, "Open environment").click()
    is_possible(page, "Close environment")
    start_slow(site, page)
    confirm(page, "Destroy environment", saying="the running plan count is lost")
    is_possible(page, "Open environment")
    assert not site.ask("GET", "status")["worker_environment_exists"]


class InKernel(Instrument):
    """RE Manager whose worker is an IPython kernel: then its profile must lie where IPython's do."""

    def _profile(self):
        startup = self.folder / "ipython" / "profile_sim" / "startup"
        startup.parent.mkdir(parents=True)
        return super()._profile().rename(startup)


def test_a_script_in_the_kernel_is_interrupted_after_a_question(site, tmp_path):
    with InKernel(tmp_path / "instrument", more_options=("--use-ipython-kernel", "ON")) as own:
        served = Served(app_of(load(environment=own.environment, overrides={"auth": {"single_user_api_key": KEY}})))
        context = site.context()
        try:
            cookie = f"{served.url}/api/auth/cookie"
            assert context.request.post(cookie, headers={**served.key, "Origin": served.url}).ok
            page = site.page(context=context, url=served.url)
            page.goto(f"{served.url}/ui")
            is_possible(page, "Open environment")
            button(page, "Open environment").click()
            is_possible(page, "Close environment")
            script = {"script": "import time; print('it began', flush=True); time.sleep(600)"}
            task = served.client.post("/api/script/upload", json=script, headers=served.key).json()["task_uid"]
            expect(region(page, "Console").get_by_role("log")).to_contain_text("it began")
            expect(region(page, "Status")).to_contain_text("executing task")
            confirm(page, "Interrupt kernel", saying="cut short")
            expect(button(page, "Close environment")).not_to_have_attribute("aria-disabled", "true", timeout=30_000)
            result = served.client.get(f"/api/task/result?task_uid={task}", headers=served.key).json()["result"]
            assert "KeyboardInterrupt" in result["traceback"]
        finally:
            context.close()
            served.close()
