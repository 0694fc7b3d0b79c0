"""Live output in a browser: EventSource and WebSocket with a ticket, seen by DOM and by screenshot."""

import pytest
from conftest import KEY, needs

CHROMIUM = "/usr/bin/chromium"
PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip
PAGE = """<!doctype html><meta charset="utf-8"><title>Live</title>
<h1>Events</h1><pre id="events"></pre><h1>Console</h1><pre id="console"></pre><p id="refused"></p>
<script>
const tell = (id, text) => { document.getElementById(id).textContent += text };
const ticket = async () => {
  const reply = await fetch("/api/auth/ticket", {method: "POST", headers: {Authorization: "ApiKey " + KEY}});
  return (await reply.json()).ticket;
};
(async () => {
  const events = new EventSource("/api/events?topics=queue,console&ticket=" + await ticket());
  events.onmessage = message => {
    const event = JSON.parse(message.data);
    tell("events", `${message.lastEventId} ${event.topic} ${event.type} ${event.data.item_uid ?? ""}\\n`);
  };
  const url = `ws://${location.host}/api/console_output/ws`;
  const socket = new WebSocket(url, ["qserver", "qserver.ticket." + await ticket()]);
  socket.onmessage = message => tell("console", JSON.parse(message.data).msg);
  const wrong = new WebSocket(url + "?api_key=wrong");
  wrong.onclose = close => tell("refused", "refused with " + close.code);
})();
</script>"""


@pytest.mark.slow
def test_a_page_shows_live_output(served, folder):
    needs(CHROMIUM)
    from playwright.sync_api import sync_playwright

    broken = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1000, "height": 800})
        page.on("pageerror", lambda error: broken.append(str(error)))
        # A page of the server itself: what Playwright would serve counts as public, and may not open local websockets.
        page.goto(f"{served.url}/healthz")
        page.set_content(PAGE.replace("KEY", f'"{KEY}"'))
        page.wait_for_function("document.getElementById('events').textContent.includes('queue snapshot')")
        page.wait_for_function("document.getElementById('refused').textContent != ''")
        before = page.screenshot()
        added = served.client.post("/api/queue/item/add", json={"item": PLAN}, headers=served.key).json()
        uid = added["item"]["item_uid"]
        page.wait_for_function(f"document.getElementById('events').textContent.includes('queue item_added {uid}')")
        page.wait_for_function("document.getElementById('events').textContent.includes('console output')")
        page.wait_for_function("document.getElementById('console').textContent.includes('manager')")
        after = page.screenshot(path=folder / "live.png")
        refused = page.text_content("#refused")
        browser.close()
    served.client.post("/api/queue/clear", headers=served.key)
    assert refused == "refused with 4001"
    assert after != before
    assert len(after) > len(before)
    assert broken == []
