"""Pictures of the operator's page for its documentation: `python benchmarks/screenshots.py URL`, of a demo's server.

It adds plans and runs them, so that there is something to see: never point it at an instrument.
"""

import sys
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parent.parent / "docs" / "console"
SHOTS = {
    "light": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}


def fill(api):
    """A day's work: some that ran, one that runs, some that wait."""
    for path in ("queue/clear", "history/clear", "environment/open"):
        api.post(path)
    api.get("status", params={"wait_for": "idle", "timeout": 60})
    quick = [["count", [["det1", "det2"]], {"num": 5}], ["scan", [["det1"], "motor", -1, 1, 11], {}],
             ["count", [["det3"]], {"num": 3, "delay": 0.2}]]  # fmt: skip
    add(api, quick)
    api.post("queue/start")
    api.get("status", params={"wait_for": "queue_empty", "timeout": 60})
    add(api, [["count", [["det1", "det2"]], {"num": 100, "delay": 1}], *quick, *quick[:2]])
    api.post("queue/start")
    api.get("status", params={"wait_for": "re_state=running", "timeout": 30})


def add(api, plans):
    items = [{"item_type": "plan", "name": name, "args": args, "kwargs": kwargs} for name, args, kwargs in plans]
    api.post("queue/item/add/batch", json={"items": items}).raise_for_status()


def main(url):
    api = httpx.Client(base_url=f"{url}/api/", timeout=90)
    fill(api)
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for name, options in SHOTS.items():
            page = browser.new_page(**options)
            page.goto(f"{url}/ui")
            page.get_by_text("Live", exact=True).wait_for()
            page.get_by_role("textbox", name="Plan", exact=True).fill("count")
            page.get_by_role("textbox", name="detectors").fill("det1, det2")
            page.get_by_role("textbox", name="num").fill("10")
            page.get_by_text("RE Manager would accept this.").wait_for()
            page.evaluate("scrollTo(0, 0)")
            page.wait_for_timeout(300)
            page.screenshot(path=FOLDER / f"{name}.png")
        browser.close()
    api.post("re/pause", json={"option": "immediate"})
    api.get("status", params={"wait_for": "paused", "timeout": 30})
    api.post("re/abort")


if __name__ == "__main__":
    main(sys.argv[1])
