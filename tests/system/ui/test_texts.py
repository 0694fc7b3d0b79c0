"""What people type and what plans print never becomes markup, wherever the page shows it."""

import json

import pytest
from operator_page import MARKUP, button, fill_form, past, region
from playwright.sync_api import expect

pytestmark = pytest.mark.slow

EVE = "<i>eve</i><img src=x>"
SCRIPT = f'''
def a_plan_with_markup(text: str = {MARKUP!r}):
    """{MARKUP}

    Parameters
    ----------
    text : str
        {MARKUP}
    """
    raise RuntimeError({MARKUP!r})
    yield
print({MARKUP!r})
print("\\x1b[31m" + {MARKUP!r} + "\\x1b[0m")
'''
# Elements that only markup of a user can have made.
FOREIGN = "main img, main script, main b, main i, main iframe, dialog img, dialog script, dialog b, dialog i, .notice b"


@pytest.fixture
def fed(site):
    """The site, with markup in every field that can hold a text of somebody."""
    site.run_script(SCRIPT)
    site.ask("POST", "history/clear")
    eve = site.person(EVE).request
    csrf = next(one["value"] for one in site.person(EVE).cookies() if one["name"] == "sanic_qserver_csrf")

    def send(path, **body):
        answer = eve.post(
            f"{site.served.url}/api/{path}", data=body, headers={"Origin": site.served.url, "X-CSRF": csrf}
        )
        assert answer.ok, answer.text()
        return answer.json()

    item = {"item_type": "plan", "name": "a_plan_with_markup", "args": [MARKUP], "meta": {MARKUP: MARKUP}}
    assert send("queue/item/add", item=item)["success"]
    site.ask("POST", "queue/start")
    site.until("items_in_history=1")
    site.until("idle")
    site.ask("POST", "queue/clear")
    for more in ({"args": [MARKUP]}, {"args": [], "kwargs": {"text": MARKUP}}):
        assert send("queue/item/add", item={**item, **more})["success"]
    proposal = send("proposals", item=item, title=MARKUP, note=MARKUP)["proposal"]
    send(f"proposals/{proposal['id']}/comment", text=MARKUP)
    send("lock", lock_key="of eve", environment=True, queue=False, note=MARKUP)
    program = site.ask("POST", "auth/principal", name="a-program", note=MARKUP)
    site.ask("POST", f"auth/principal/{program['uuid']}/apikey", expires_in=600, note=MARKUP, scopes=None)
    key = site.ask("POST", "auth/apikey", expires_in=600, note=MARKUP, scopes=["read:status"])
    yield site
    site.ask("DELETE", f"auth/apikey?first_eight={key['first_eight']}")
    site.ask("POST", "unlock", lock_key="of eve")
    send(f"proposals/{proposal['id']}/withdraw")


def test_what_people_type_never_becomes_markup_in_any_view(fed):
    page = fed.open("alice")
    assert page.title() == "Test & <b>beamline</b>"
    queue, history = region(page, "Queue"), region(page, "History")
    first = queue.get_by_role("row").nth(1)
    expect(first).to_contain_text(MARKUP)
    expect(first).to_contain_text("eve")
    first.dblclick()
    expect(page.get_by_role("dialog")).to_contain_text("onerror")
    page.keyboard.press("Escape")
    expect(region(page, "Status")).to_contain_text(f": {MARKUP}")
    button(page, "Open environment").click(force=True)
    expect(region(page, "Console").get_by_role("log")).to_contain_text(MARKUP)
    article = region(page, "Proposals").get_by_role("article")
    expect(article).to_contain_text(MARKUP)
    button(article, "Details").click()
    expect(page.get_by_role("dialog").get_by_text(MARKUP).first).to_be_visible()
    page.keyboard.press("Escape")
    past(page, "failed").click()
    button(history, "Details").click()
    expect(page.get_by_role("dialog")).to_contain_text(f"RuntimeError: {MARKUP}")
    nothing_came_of_it(page)
    page.keyboard.press("Escape")
    button(history, "Day").click()
    expect(page.get_by_role("dialog").get_by_role("img")).to_be_visible()
    page.keyboard.press("Escape")
    add = fill_form(page, "a_plan_with_markup", text=MARKUP)
    expect(add.get_by_role("note")).to_contain_text(MARKUP)
    page.get_by_role("tab", name="JSON").click()
    page.get_by_role("textbox", name="Item as JSON").fill(json.dumps({"item_type": "plan", "name": MARKUP}))
    expect(page.get_by_role("status", name="Verdict")).to_contain_text("<img src=x")
    nothing_came_of_it(page)

    page.get_by_role("link", name="Devices and plans").click()
    region(page, "Devices and plans").locator("summary").filter(has_text="a_plan_with_markup").click()
    expect(region(page, "Devices and plans").locator("pre").filter(has_text=MARKUP).first).to_be_visible()
    page.get_by_role("link", name="My access").click()
    expect(region(page, "My access").get_by_text(MARKUP).first).to_be_visible()
    page.get_by_role("link", name="Admin").click()
    admin = region(page, "Admin")
    admin.locator("summary").filter(has_text="a-program").click()
    expect(admin.locator("details[open]").get_by_text(MARKUP, exact=True)).to_be_visible()
    button(admin, "Load audit").click()
    expect(admin.get_by_role("cell", name="eve").first).to_be_visible()
    nothing_came_of_it(page)
    page.goto(f"{fed.served.url}/ui?view=wall")
    expect(page.get_by_role("region", name="Queue")).to_contain_text("2 items")
    expect(page.get_by_role("main")).to_contain_text(MARKUP)
    nothing_came_of_it(page)


def nothing_came_of_it(page):
    """No element was made of a text, and none ran. What the policy would refuse fails the test as well (`WATCH`)."""
    assert (
        page.evaluate("selector => [...document.querySelectorAll(selector)].map(one => one.outerHTML)", FOREIGN) == []
    )
    assert page.title() == "Test & <b>beamline</b>"
