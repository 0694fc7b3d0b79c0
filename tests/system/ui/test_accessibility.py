"""axe-core finds no violation of WCAG 2.1 AA, on any view, dark and light. `.ci/run` fetches axe-core from npm."""

import os
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow
AXE = Path(os.environ.get("AXE_CORE", ROOT / "build" / "node" / "node_modules" / "axe-core" / "axe.min.js"))
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


def violations(page):
    """What axe finds, dark and light."""
    if not page.evaluate("typeof window.axe === 'object'"):
        page.evaluate(AXE.read_text("utf-8"))
    found = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        seen = page.evaluate("rules => axe.run(document, rules)", RULES)["violations"]
        found += [(scheme, one["id"], [node["html"][:200] for node in one["nodes"]][:3]) for one in seen]
    return found


def test_no_view_violates_wcag_2_1_aa_dark_or_light(site):
    if not AXE.exists():
        pytest.skip("axe-core is not there: npm install --prefix build/node axe-core")
    item = {"item_type": "plan", "name": "count", "args": [["det1"]], "kwargs": {"num": 1}}
    site.ask("POST", "queue/item/add", item=item)
    found = {}
    page = site.open("alice")
    found["operate"] = violations(page)
    for view in ("Devices and plans", "My access", "Admin", "Operate"):
        page.get_by_role("link", name=view, exact=True).click()
        if view == "Admin":
            page.locator("summary").filter(has_text="alice").click()
            page.get_by_role("button", name="Load audit").click()
        found[view] = violations(page)
    page.set_viewport_size({"width": 360, "height": 900})
    page.get_by_role("region", name="Queue").get_by_role("row").nth(1).click()
    page.get_by_role("textbox", name="Plan", exact=True).fill("count")
    page.get_by_role("textbox", name="detectors").fill("d")
    found["a form, narrow"] = violations(page)
    page.get_by_role("textbox", name="detectors").fill("det1")
    page.get_by_role("button", name="Clear queue").click()
    found["a dialog"] = violations(page)
    page.goto(f"{site.served.url}/ui?view=wall")
    page.get_by_text("1 item").wait_for()
    found["wall"] = violations(page)
    nobody = site.page()
    nobody.goto(f"{site.served.url}/ui")
    nobody.get_by_role("dialog").wait_for()
    found["login"] = violations(nobody)
    assert {view: one for view, one in found.items() if one} == {}
