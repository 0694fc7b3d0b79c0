"""What one reads on the page: history, console, devices and plans, a page of a module's own."""

import csv
import io
import json
import re

import pytest
import redis
from operator_page import COUNT, button, past, region, saved, saved_json
from playwright.sync_api import expect

pytestmark = pytest.mark.slow

FAILING = """
def fails_loudly(text: str = "x"):
    raise RuntimeError("the motor is =stuck=")
    yield
"""


def test_the_history_is_filtered_explained_plotted_and_saved_as_a_whole(site, instrument):
    site.run_script(FAILING)
    site.ask("POST", "history/clear")
    site.ask("POST", "queue/item/add", item=COUNT)
    site.ask("POST", "queue/item/add", item={"item_type": "plan", "name": "fails_loudly", "args": ["=1+1"]})
    site.ask("POST", "queue/start")
    site.until("items_in_history=2")
    site.until("idle")
    make_older(site, instrument, 700)
    page = site.open("alice")
    history = region(page, "History")
    expect(history).to_contain_text("702 items")
    history.get_by_role("combobox", name="Outcome").select_option("failed")
    expect(history.get_by_role("row")).to_have_count(2)
    past(page, "fails_loudly").click()
    button(history, "Details").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("RuntimeError: the motor is =stuck=")
    expect(dialog).to_contain_text("Traceback")
    button(dialog, "Close").click()

    (failed,) = saved_json(page, "Export JSON")
    assert failed["name"] == "fails_loudly"
    history.get_by_role("combobox", name="Outcome").select_option("Any outcome")
    history.get_by_role("searchbox").fill("older")
    rows = list(csv.reader(io.StringIO(saved(page, "Export CSV"))))
    assert rows[0][:4] == ["outcome", "plan", "arguments", "user"]
    assert len(rows) == 701, "what is not loaded is saved as well"
    history.get_by_role("searchbox").fill("fails")
    (_, failed) = csv.reader(io.StringIO(saved(page, "Export CSV")))
    assert failed[2] == "'=1+1", "no formula for a spreadsheet program"

    button(history, "Day").click()
    plot = page.get_by_role("dialog").get_by_role("img")
    expect(plot).to_have_accessible_name("702 plans, 1 users")
    assert plot.locator("rect.failed").count() == 1
    assert plot.locator("rect").count() < 700, "what stands within a pixel is one bar"
    page.goto(f"{site.served.url}/ui")
    page.get_by_role("link", name="Day report").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Day report")
    expect(page.get_by_role("row").filter(has_text="alice").filter(has_text="failed")).to_contain_text("1")


def make_older(site, instrument, count):
    """Put plans in front of the history, where RE Manager keeps it."""
    with redis.Redis(port=instrument.redis_port) as store:
        (key,) = (key for key in store.scan_iter() if b"history" in key and store.type(key) == b"list")
        first = json.loads(store.lindex(key, 0))
        older = [json.dumps({**first, "name": "count", "item_uid": f"older-{at}", "kwargs": {"num": 1, "md": "older"}})
                 for at in range(count)]  # fmt: skip
        store.lpush(key, *older)
    site.ask("POST", "history/clear", size=count + 2)


def test_nothing_is_said_of_queue_and_history_before_it_is_known(site):
    stranger = site.page()
    stranger.goto(f"{site.served.url}/ui")
    expect(stranger.get_by_role("dialog")).to_be_visible()
    for text in ("The queue is empty", "0 items"):
        assert not any(said.is_visible() for said in stranger.get_by_text(text).all())
    expect(region(site.open("alice"), "Queue")).to_contain_text("The queue is empty")
    assert [text for text in site.problems if "401" not in text] == []
    site.problems.clear()


def test_what_could_not_be_fetched_for_a_moment_is_fetched_again(site):
    page, failed = site.page("alice"), []

    def fail(route):
        path = route.request.url.partition("/api/")[2]
        failed.append(path)
        route.abort() if path == "devices/allowed" else route.fulfill(status=503, body="{}")

    for path in ("plans/allowed/schema", "devices/allowed"):
        page.route(f"**/api/{path}", fail, times=1)
    page.goto(f"{site.served.url}/ui?view=lists")
    lists = region(page, "Devices and plans")
    expect(lists.get_by_text("det1", exact=True).first).to_be_visible()
    expect(lists.get_by_text("count", exact=True).first).to_be_visible()
    assert sorted(failed) == ["devices/allowed", "plans/allowed/schema"]
    assert [text for text in site.problems if not re.search(r"503|ERR_", text)] == []
    site.problems.clear()


def test_the_console_shows_colours_is_searched_copied_and_saved(site):
    page = site.open("alice")
    log = region(page, "Console").get_by_role("log")
    site.run_script("print('\\x1b[1;32mgreen\\x1b[0m and plain <b>needle</b>')")
    expect(log.locator(".f2.a1")).to_have_text("green")
    expect(log).to_contain_text("green and plain <b>needle</b>")
    site.run_script("for n in range(300): print(f'hay {n} of the stack')")
    expect(log).to_contain_text("hay 299 of the stack")
    search = region(page, "Console").get_by_role("searchbox")
    search.fill("NEEDLE")
    expect(log.locator(".line-row")).to_have_count(1)
    button(region(page, "Console"), "Copy").click()
    expect(page.get_by_role("status").filter(has_text="Copied").first).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "green and plain <b>needle</b>"
    site.run_script("print('another needle')")
    expect(log.locator(".line-row")).to_have_count(2)
    search.fill("")
    expect(log).to_contain_text("another needle")
    text = saved(page, "Download")
    assert "\ngreen and plain <b>needle</b>\n" in text
    assert "\nhay 0 of the stack\nhay 1 of the stack\n" in text
    assert "\x1b" not in text


def test_devices_and_plans_are_found_and_explained(site):
    page = site.open("alice", "/ui?view=lists")
    lists = region(page, "Devices and plans")
    lists.get_by_role("searchbox").fill("motor1")
    expect(lists.get_by_text("motor1", exact=True)).to_be_visible()
    expect(lists.get_by_text("SynAxis · readable, movable").first).to_be_visible()
    assert lists.get_by_text("det1", exact=True).count() == 0
    lists.get_by_role("searchbox").fill("count")
    lists.locator("summary").filter(has_text="Take one or more readings").first.click()
    expect(lists.locator("pre").first).to_contain_text("detectors")
    page.get_by_role("link", name="Operate").click()
    expect(region(page, "Queue")).to_be_visible()
    page.go_back()
    expect(lists).to_be_visible()
