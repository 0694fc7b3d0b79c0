"""Much at once: a long queue is taken in pieces, and only what is in sight is drawn. Counted, not timed."""

import pytest
from operator_page import COUNT, region, row
from playwright.sync_api import expect
from slow_link import SlowLink

pytestmark = pytest.mark.slow

# The texts look like the end of one item and the beginning of the next, inside strings, lists and objects.
NASTY = {"a": '"},{"', "b": [{"c": 1}, {"d": '}]},{"x":['}], "e": {"f": [{}, {}, [{"g": "\\\\"}, {}]]}}
LINES = "async () => (await import('./ui/static/store.js')).state.lines"
# Snapshots as the server writes them: many small items, one of many objects, none, a list elsewhere, no snapshot.
DIFFERENCES = """async () => {
  const { parseEvent } = await import('./ui/static/slices.js');
  const objects = Array.from({length: 30000}, (_, at) => ({at, text: '},{'.repeat(at % 3)}));
  const wrap = (data, type = 'snapshot') => JSON.stringify({id: null, time: 1.5, topic: 'queue', type, data});
  const texts = [
    wrap({items: objects, running_item: {}}), wrap({items: [{objects}, {objects}], running_item: {objects}}),
    wrap({items: [], running_item: {kwargs: {items: objects}}}), wrap({running_item: {items: objects}, items: objects}),
    wrap({items: objects}, 'other'), wrap({items: [objects, objects]}),
  ];
  const wrong = [];
  for (const [at, text] of texts.entries())
    if (JSON.stringify(await parseEvent(text)) !== text) wrong.push(at);
  return wrong;
}"""
SPY = """
window.longest = 0;
const parse = JSON.parse;
JSON.parse = text => { longest = Math.max(longest, text.length); return parse(text); };
"""


def test_a_long_queue_comes_in_pieces_and_only_what_is_in_sight_is_drawn(site):
    items = [{"item_type": "plan", "name": "count", "args": [["det1"]], "kwargs": {"num": 1, "md": {"at": at, **NASTY}}}
             for at in range(1500)]  # fmt: skip
    assert site.ask("POST", "queue/item/add/batch", items=items)["success"]
    page = site.page("alice")
    page.add_init_script(SPY)
    page.goto(f"{site.served.url}/ui")
    queue = page.get_by_role("region", name="Queue")
    expect(queue.get_by_text("1,500 items")).to_be_visible()
    longest = page.evaluate("longest")
    grid = queue.get_by_role("grid")
    grid.focus()
    for key, place in (("End", 1500), ("Home", 1), ("End", 1500)):
        page.keyboard.press(key)
        last = queue.get_by_role("row", selected=True)
        expect(last.get_by_role("gridcell").first).to_have_text(str(place))
    assert queue.get_by_role("row").count() < 100
    last.dblclick()
    expect(page.get_by_role("dialog")).to_contain_text('"at": 1499')
    expect(page.get_by_role("dialog")).to_contain_text(r'"a": "\"},{\""')
    whole = sum(len(str(item)) for item in site.queue())
    assert longest < 150_000 < whole, "the snapshot was not parsed in pieces"
    assert page.evaluate(DIFFERENCES) == []


def test_rows_that_are_drawn_while_the_queue_changes_are_those_that_were_counted(site):
    site.ask("POST", "queue/item/add/batch", items=[{"item_type": "plan", "name": "count", "args": [["det1"]]}] * 60)
    page = site.open("alice")
    queue = page.get_by_role("region", name="Queue")
    expect(queue.get_by_text("60 items")).to_be_visible()
    # An event has come, its listeners have not been called yet, and the viewport is scrolled.
    page.evaluate("""async () => {
        const { state } = await import("./ui/static/store.js");
        state.queue.length = 0;
        document.querySelector("qs-queue .viewport").scrollTop = 500;
        for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
    }""")
    assert site.problems == []


FLOOD = """
import os
for at in range({count}): print(os.urandom(120).hex())
print("end of flood {name}")
"""


def test_what_a_slow_connection_dropped_is_fetched_again_and_said_and_10_000_lines_are_kept(site):
    with SlowLink(site.served.port) as link:
        page = site.page("alice", url=link.url)
        page.goto(f"{link.url}/ui")
        page.get_by_text("Live", exact=True).wait_for()
        link.pause()
        site.run_script(FLOOD.format(count=4000, name=1))
        site.ask("POST", "queue/item/add", item={**COUNT, "kwargs": {"num": 77}})
        site.run_script(FLOOD.format(count=2000, name=2))
        link.resume()
        log = region(page, "Console").get_by_role("log")
        expect(row(page, 77)).to_be_visible()
        expect(log).to_contain_text("end of flood 2")
        kept = page.evaluate(LINES)
        assert len([line for line in kept if "some output is missing here" in line]) == 1
        site.run_script(FLOOD.format(count=10_000, name=3))
        expect(log).to_contain_text("end of flood 3")
        assert 10_000 <= len(page.evaluate(LINES)) <= 10_500
        assert log.locator(".line-row").count() < 100
        page.close()
