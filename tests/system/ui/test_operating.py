"""An operator's day on the page, in a real browser and against RE Manager. Things are found by their names."""

import json
import re

import pytest
from conftest import needs
from operator_page import COUNT, button, drop_file, fill_form, region, row, select
from playwright.sync_api import expect
from proxy import Proxy
from servers import KEY, ServerProcess, with_key

pytestmark = pytest.mark.slow


def fill_queue(site, *nums):
    items = [{**COUNT, "kwargs": {"num": num}} for num in nums]
    assert site.ask("POST", "queue/item/add/batch", items=items)["success"]


def nums(site):
    return [item["kwargs"]["num"] for item in site.queue()]


def test_a_person_logs_in_with_a_password_and_out_again(site):
    page = site.page()
    page.goto(f"{site.served.url}/")
    assert page.url.endswith("/ui")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Username").fill("alice")
    dialog.get_by_role("textbox", name="Password").fill("wrong")
    button(page, "Log in").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Incorrect username or password")
    assert [text for text in site.problems if "401" not in text] == []
    site.problems.clear()
    dialog.get_by_role("textbox", name="Password").fill("wonderland-1")
    dialog.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("banner")).to_contain_text("alice")
    expect(page.get_by_role("heading", level=1)).to_have_text("Test & <b>beamline</b>")
    for name in ("Status", "Queue", "Running", "History", "Console", "Add a plan", "Proposals"):
        expect(region(page, name)).to_be_visible()
    assert page.get_by_role("button", name="Log in").count() == 0
    button(page, "Log out").click()
    expect(page.get_by_role("dialog").get_by_role("textbox", name="Username")).to_be_visible()


def test_the_form_shows_the_refusal_of_re_manager_before_sending_and_adds_what_is_good(site):
    page = site.open("alice")
    add = fill_form(page, "count", detectors="det1, det2", num="five")
    expect(add.get_by_role("status", name="Verdict")).to_contain_text("valid integer")
    assert site.queue() == []
    add.get_by_role("textbox", name="num").fill("5")
    expect(add.get_by_role("status", name="Verdict")).to_contain_text("would accept")
    button(page, "Add to queue").click()
    expect(row(page, 5)).to_contain_text("[det1, det2]")
    (item,) = site.queue()
    assert (item["name"], item["kwargs"]) == ("count", {"detectors": ["det1", "det2"], "num": 5})
    assert item["user"] == "alice"


def test_varying_arguments_keep_their_places(site):
    page = site.open("alice")
    add = fill_form(page, "scan", detectors="det1", args="motor, -1, 1.5", num="3")
    expect(add.get_by_role("status", name="Verdict")).to_contain_text("would accept")
    button(page, "Add to queue").click()
    expect(region(page, "Queue").get_by_role("row").filter(has_text="scan")).to_be_visible()
    (item,) = site.queue()
    assert (item["args"], item["kwargs"]) == ([["det1"], "motor", -1, 1.5], {"num": 3})


def test_a_plan_goes_to_the_front_or_before_the_selected_one(site):
    fill_queue(site, 1, 2)
    page = site.open("alice")
    add = fill_form(page, "count", detectors="det1", num="3")
    add.get_by_role("combobox", name="Place").select_option("At the front")
    button(page, "Add to queue").click()
    expect(row(page, 3)).to_be_visible()
    assert nums(site) == [3, 1, 2]
    select(page, 2)
    fill_form(page, "count", num="4")
    add.get_by_role("combobox", name="Place").select_option("Before the selected item")
    button(page, "Add to queue").click()
    expect(row(page, 4)).to_be_visible()
    assert nums(site) == [3, 1, 4, 2]


def test_the_order_made_by_keyboard_and_by_mouse_is_that_of_re_manager(site):
    fill_queue(site, 1, 2, 3, 4)
    page = site.open("alice")
    select(page, 3)
    button(page, "Move up").click()
    expect(region(page, "Queue").get_by_role("row").nth(2)).to_contain_text("num=3")
    assert nums(site) == [1, 3, 2, 4]
    region(page, "Queue").get_by_role("grid").focus()
    page.keyboard.press("Alt+Home")
    expect(region(page, "Queue").get_by_role("row").nth(1)).to_contain_text("num=3")
    assert nums(site) == [3, 1, 2, 4]
    button(page, "Move to bottom").click()
    expect(region(page, "Queue").get_by_role("row").nth(4)).to_contain_text("num=3")
    row(page, 4).drag_to(row(page, 1), target_position={"x": 200, "y": 3})
    expect(region(page, "Queue").get_by_role("row").nth(1)).to_contain_text("num=4")
    assert nums(site) == [4, 1, 2, 3]


def test_items_are_edited_duplicated_and_deleted(site):
    fill_queue(site, 1, 2)
    page, held = site.page("alice"), []
    # The list of plans comes late. (Playwright takes no method of a list.)
    page.route("**/plans/allowed/schema", lambda route: held.append(route))  # noqa: PLW0108
    page.goto(f"{site.served.url}/ui")
    select(page, 1)
    button(page, "Edit").click()
    expect(page.get_by_role("textbox", name="Item as JSON")).to_be_visible()
    held.pop().continue_()
    num = region(page, "Add a plan").get_by_role("textbox", name="num")
    expect(num).to_have_value("1")
    num.fill("7")
    button(page, "Save changes").click()
    expect(row(page, 7)).to_be_visible()
    select(page, 7)
    button(page, "Duplicate").click()
    expect(row(page, 7)).to_have_count(2)
    assert nums(site) == [7, 7, 2]
    select(page, 2)
    button(page, "Delete").click()
    expect(row(page, 2)).to_have_count(0)
    assert nums(site) == [7, 7]


def test_all_is_copied_and_clearing_the_queue_asks_first_and_names_what_is_lost(site):
    fill_queue(site, 1, 2)
    page = site.open("alice")
    region(page, "Queue").get_by_role("grid").focus()
    page.keyboard.press("Control+a")
    expect(region(page, "Queue")).to_contain_text("2 selected")
    button(region(page, "Queue"), "Copy as JSON").click()
    expect(page.get_by_role("status").filter(has_text="Copied").first).to_be_visible()
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert [item["kwargs"]["num"] for item in copied] == [1, 2]
    assert "item_uid" not in copied[0]
    button(page, "Clear queue").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("2 items are removed")
    dialog.get_by_role("button", name="Cancel").click()
    assert len(site.queue()) == 2
    button(page, "Clear queue").click()
    page.get_by_role("dialog").get_by_role("button", name="Clear queue").click()
    expect(region(page, "Queue")).to_contain_text("The queue is empty")
    assert site.queue() == []


def test_two_people_see_each_others_changes_and_a_move_that_no_longer_fits_is_explained(site):
    fill_queue(site, 1, 2)
    one, two = site.open("alice"), site.open("alice")
    select(one, 1)
    button(one, "Move down").click()
    expect(region(two, "Queue").get_by_role("row").nth(1)).to_contain_text("num=2")
    gone = site.queue()[0]["item_uid"]
    select(two, 1)
    # The neighbour goes away in the very moment: the page still names it.
    two.route("**/queue/item/move", lambda route: (site.ask("POST", "queue/item/remove", uid=gone), route.continue_()))
    button(two, "Move up").click()
    expect(two.get_by_role("alert").filter(has_text="no longer fits")).to_be_visible()
    assert nums(site) == [1]


def test_an_observer_sees_every_control_disabled_with_the_missing_scope(site):
    fill_queue(site, 1)
    page = site.open("olga")
    select(page, 1)
    for name, scope in {
        "Open environment": "write:manager:control", "Destroy environment": "write:manager:control",
        "Start queue": "write:queue:control", "Clear queue": "write:queue:edit", "Pause": "write:plan:control",
        "Abort": "write:plan:control", "Halt": "write:plan:control", "Lock": "write:lock",
        "Add to queue": "write:queue:edit", "Delete": "write:queue:edit", "Move up": "write:queue:edit",
    }.items():  # fmt: skip
        expect(button(page, name)).to_have_attribute("aria-disabled", "true")
        expect(button(page, name)).to_have_accessible_description(re.compile(scope))
    expect(page.get_by_role("switch", name="Autostart")).to_have_attribute("aria-disabled", "true")
    button(page, "Delete").click(force=True)
    expect(page.get_by_role("alert").filter(has_text="write:queue:edit")).to_be_visible()
    assert nums(site) == [1]


def test_a_sheet_that_is_dropped_there_is_shown_row_by_row_before_anything_is_added(site):
    page = site.open("alice")
    page.get_by_role("tab", name="Spreadsheet").click()
    drop_file(page, ".drop", "bad.csv", "name,detectors\ncount,\"['det1']\"\nnot_a_plan,\"['det1']\"\n")
    rows = region(page, "Add a plan").get_by_role("row")
    expect(rows.filter(has_text="✕")).not_to_have_count(0)
    expect(rows.filter(has_text="not_a_plan")).to_contain_text("✕")
    expect(button(page, "Add these plans")).to_have_attribute("aria-disabled", "true")
    assert site.queue() == []
    good = b"name,detectors\ncount,\"['det1']\"\ncount,\"['det2']\"\n"
    file = {"name": "good.csv", "mimeType": "text/csv", "buffer": good}
    page.locator("input[type=file]").set_input_files(file)
    expect(rows.filter(has_text="✕")).to_have_count(0)
    button(page, "Add these plans").click()
    expect(region(page, "Queue")).to_contain_text("2 items")
    assert len(site.queue()) == 2


def test_a_session_that_ended_asks_again_and_loses_nothing_typed(site):
    page = site.open("alice", context=site.context("alice"))
    add = fill_form(page, "count", detectors="det1")
    page.context.clear_cookies(name="sanic_qserver_session")
    page.context.add_cookies([{"name": "sanic_qserver_session", "value": "over", "url": site.served.url}])
    button(page, "Add to queue").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Username").fill("alice")
    dialog.get_by_role("textbox", name="Password").fill("wonderland-1")
    dialog.get_by_role("button", name="Log in").click()
    expect(add.get_by_role("textbox", name="detectors")).to_have_value("det1")
    expect(region(page, "Queue")).to_contain_text("1 item")
    assert len(site.queue()) == 1
    assert [text for text in site.problems if "401" not in text] == []
    site.problems.clear()


def test_the_api_key_of_an_account_works_in_its_tab_and_is_kept_nowhere(site):
    made = site.ask("POST", "auth/apikey", expires_in=600, scopes=["read:status", "read:queue", "write:queue:edit"])
    fill_queue(site, 4)
    page = site.page()
    page.goto(f"{site.served.url}/ui")
    page.get_by_role("textbox", name="API key").fill(made["secret"])
    button(page, "Use this key").click()
    expect(row(page, 4)).to_be_visible()
    select(page, 4)
    button(page, "Delete").click()
    expect(row(page, 4)).to_have_count(0)
    assert site.queue() == []
    kept = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
    assert made["secret"] not in kept
    assert [text for text in site.problems if "403" not in text] == []
    site.problems.clear()


def test_a_lock_shows_its_note_to_others_and_opens_for_who_has_the_key(site):
    one, two, held = site.open("alice"), site.open("alice"), []
    one.route("**/api/lock", lambda route: held.append((route, route.fetch())))  # The event comes before the reply.
    button(one, "Lock").click()
    dialog = one.get_by_role("dialog")
    dialog.get_by_label("Lock key").fill("secret-of-one")
    dialog.get_by_label("Note for the others").fill("aligning <b>M1</b>")
    dialog.get_by_role("button", name="Lock").click()
    try:
        for page in (one, two):
            expect(region(page, "Status")).to_contain_text("aligning <b>M1</b>")
        ((route, reply),) = held
        route.fulfill(response=reply)
        expect(button(two, "Clear queue")).to_have_accessible_description(re.compile("Locked by alice: aligning"))
        expect(button(one, "Clear queue")).to_have_accessible_description("The queue is empty")
        button(one, "Unlock").click()
        expect(region(two, "Status")).to_contain_text("unlocked")
    finally:
        site.ask("POST", "unlock", lock_key="secret-of-one")


def test_the_page_works_under_a_path_prefix_behind_a_proxy_with_tls(site, tmp_path):
    needs("nginx")
    with Proxy(tmp_path, site.served.port) as proxy:
        page = site.page(context=site.context(ignore_https_errors=True), url=proxy.url)
        page.goto(f"{proxy.url}/ui")
        page.get_by_role("textbox", name="Username").fill("alice")
        page.get_by_role("textbox", name="Password").fill("wonderland-1")
        page.get_by_role("dialog").get_by_role("button", name="Log in").click()
        expect(page.get_by_role("banner")).to_contain_text("alice")  # What is typed below the dialog goes nowhere.
        fill_form(page, "count", detectors="det1", num="6")
        button(page, "Add to queue").click()
        expect(row(page, 6)).to_be_visible()
        page.get_by_role("link", name="Day report").click()
        page.get_by_role("link", name="Back").click()
        expect(row(page, 6)).to_be_visible()
        page.context.close()
    assert [text for text in site.problems if "401" not in text] == []
    site.problems.clear()


def test_a_server_with_one_key_says_where_it_is_and_comes_back_without_a_reload_when_it_was_killed(
    site, instrument, folder
):
    first = ServerProcess(folder, "serve", environment=with_key(instrument))
    with first:
        page = site.page(url=first.url)
        page.goto(f"{first.url}/ui")
        expect(page.get_by_text("It prints one when it starts")).to_be_visible()
        page.get_by_role("textbox", name="API key").fill(KEY)
        page.get_by_role("dialog").get_by_role("button", name="Log in").click()
        page.get_by_text("Live", exact=True).wait_for()
        expect(page.get_by_role("banner")).to_contain_text("single user")
        first.process.kill()
        expect(page.get_by_text("The connection to the server is lost")).to_be_visible()
        expect(button(page, "Clear queue")).to_have_attribute("title", "Connection lost")
    fill_queue(site, 9)
    with ServerProcess(folder, "serve", environment=with_key(instrument), port=first.port):
        expect(page.get_by_text("The connection to the server is lost")).to_be_hidden(timeout=60_000)
        expect(row(page, 9)).to_be_visible()
        page.context.close()
    assert [text for text in site.problems if not re.search(r"ERR_|127\.0\.0\.1", text)] == []
    site.problems.clear()
