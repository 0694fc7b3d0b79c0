"""The operator's page under load, in Chromium: how long its main thread is blocked, and whether its memory is steady.

    python benchmarks/page.py                # 10,000 items, 100 console lines a second, changes of the queue
    python benchmarks/page.py --minutes 10   # and then ten minutes of it, with the size of the heap
    python benchmarks/page.py --profile      # and which functions take the time while it loads

A long task is one of more than 50 ms, as the browser's own observer sees it. All processes share the machine, and where
that is busy a task takes long because it has to wait: so its processor time is told as well, and that of a busy loop.
"""

import argparse
import collections
import contextlib
import json
import os
import tempfile
import threading
import time
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright
from servers import ours

from sanic_qserver.demo import Instrument

# The observers begin before anything of the page.
OBSERVE = """
window.measured = {long: [], phase: 'load', rows: 0};
new PerformanceObserver(list => {
  for (const one of list.getEntries())
    measured.long.push({phase: measured.phase, at: Math.round(one.startTime), ms: Math.round(one.duration)});
}).observe({type: 'longtask', buffered: true});
const looking = setInterval(() => {
  if (!document.querySelector('qs-queue .canvas .vrow')) return;
  measured.rows = Math.round(performance.now());
  clearInterval(looking);
}, 5);
"""
CALIBRATE = """() => {
  const loop = () => { const begin = performance.now(); let n = 0; for (let i = 0; i < 1e7; i++) n += i % 7;
                       return performance.now() - begin + (n < 0 ? 1 : 0); };
  loop();
  const all = Array.from({length: 30}, loop).sort((a, b) => a - b);
  return `${all[0].toFixed(1)} ms at best, ${all[15].toFixed(1)} ms mostly, ${all[29].toFixed(1)} ms at worst`;
}"""
PRINTER = """
import time
for number in range({count}):
    print(f"\\x1b[32mline {{number:07d}}\\x1b[0m of the benchmark, as long as what a plan prints of a reading, about")
    time.sleep(1 / {rate})
"""


def add(api, count):
    """Items in batches."""
    for first in range(0, count, 500):
        items = [{"item_type": "plan", "name": "count", "args": [["det1", "det2"]],
                  "kwargs": {"num": number, "delay": 0.1, "md": {"sample": f"no {number}", "operator": "benchmark"}}}
                 for number in range(first, min(first + 500, count))]  # fmt: skip
        api.post("queue/item/add/batch", json={"items": items}).raise_for_status()


def change(api, stop, period_s):
    """Add, move and remove every so often, until told to stop."""
    uids = collections.deque()
    while not stop.wait(period_s):
        item = {"item_type": "plan", "name": "count", "args": [["det1"]], "kwargs": {"num": 1}}
        uids.append(api.post("queue/item/add", json={"item": item, "pos": "front"}).json()["item"]["item_uid"])
        api.post("queue/item/move", json={"uid": uids[-1], "pos_dest": "back"})
        if len(uids) > 20:
            api.post("queue/item/remove", json={"uid": uids.popleft()})


@contextlib.contextmanager
def watching(browser, page, phase, title):
    """Tell what blocked the main thread meanwhile."""
    browser.start_tracing(page=page, categories=["toplevel"])
    yield
    events = json.loads(browser.stop_tracing())["traceEvents"]
    mains = {(one["pid"], one["tid"]) for one in events if one.get("args", {}).get("name") == "CrRendererMain"}
    spent = collections.defaultdict(list)
    for one in events:
        if one.get("ph") == "X" and "tdur" in one and (one["pid"], one["tid"]) in mains:
            spent[one["pid"]].append(one["tdur"] / 1000)
    cpu_ms = max(max(spent.values(), key=sum))  # The page is the renderer that works most.
    long = [one["ms"] for one in page.evaluate("measured.long") if one["phase"] == phase]
    told = f", longest {max(long)} ms: {long[:20]}" if long else ""
    print(
        f"{title}: no task took more than {cpu_ms:.0f} ms of processor time; {len(long)} long tasks{told}", flush=True
    )


def sum_profile(profile):
    """Own time by function, of a CPU profile, in milliseconds."""
    nodes = {node["id"]: node["callFrame"] for node in profile["nodes"]}
    spent = collections.Counter()
    for node, delta in zip(profile["samples"], profile["timeDeltas"], strict=True):
        frame = nodes[node]
        place = f"{frame['url'].rsplit('/', 1)[-1]}:{frame['lineNumber']}"
        spent[f"{frame['functionName'] or '(anonymous)'} {place}"] += delta / 1000
    return spent.most_common(15)


def read_heap(cdp):
    """What is in use after a collection."""
    cdp.send("HeapProfiler.collectGarbage")
    metrics = {one["name"]: int(one["value"]) for one in cdp.send("Performance.getMetrics")["metrics"]}
    return (
        f"{metrics['JSHeapUsedSize'] / 1e6:.2f} MB, {metrics['Nodes']} nodes, {metrics['JSEventListeners']} listeners"
    )


def watch_heap(page, cdp, minutes):
    """Sample the heap for some minutes."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < minutes * 60:
        print(f"heap after {passed:4.0f} s: {read_heap(cdp)}", flush=True)
        page.wait_for_timeout(20_000)
    print(f"heap at the end: {read_heap(cdp)}")


def load(browser, context, url, options):
    """Load the page once, and tell what it cost."""
    page = context.new_page()
    page.add_init_script(OBSERVE)
    cdp = context.new_cdp_session(page)
    cdp.send("Performance.enable")
    if options.profile:
        cdp.send("Profiler.enable")
        cdp.send("Profiler.setSamplingInterval", {"interval": 200})
        cdp.send("Profiler.start")
    with watching(browser, page, "load", "loading"):
        page.goto(f"{url}/ui")
        page.get_by_text(f"{options.items:,} items").wait_for(timeout=60_000)
        page.wait_for_timeout(2500)
    if options.profile:
        print("\n".join(f"{ms:8.1f} ms {name}" for name, ms in sum_profile(cdp.send("Profiler.stop")["profile"])))
    paint = page.evaluate("Math.round(performance.getEntriesByName('first-contentful-paint')[0].startTime)")
    print(f"first paint {paint} ms, first item {page.evaluate('measured.rows')} ms")
    return page, cdp


def measure(server, options):
    """All phases."""
    url = f"http://127.0.0.1:{server.port}"
    api = httpx.Client(base_url=f"{url}/api/", headers=server.headers, timeout=90)
    add(api, options.items)
    api.post("environment/open")
    api.get("status", params={"wait_for": "idle", "timeout": 60})
    print(f"{options.items} items; load average {os.getloadavg()[0]:.2f}", flush=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        for number in range(options.loads):
            context = browser.new_context(viewport={"width": 1440, "height": 1000})
            assert context.request.post(f"{url}/api/auth/cookie", headers={**server.headers, "Origin": url}).ok
            page, cdp = load(browser, context, url, options)
            if number + 1 < options.loads:
                context.close()
        print(f"a loop of 10 million turns in the page: {page.evaluate(CALIBRATE)}", flush=True)
        page.evaluate("measured.phase = 'console'")
        count = int(options.rate * (options.seconds * 2 + options.minutes * 60 + 10))
        script = PRINTER.format(count=count, rate=options.rate)
        api.post("script/upload", json={"script": script, "run_in_background": True}).raise_for_status()
        with watching(browser, page, "console", f"{options.rate} lines a second, {options.seconds} s"):
            page.wait_for_timeout(options.seconds * 1000)
        assert "of the benchmark" in page.get_by_role("log").inner_text()
        page.evaluate("measured.phase = 'changes'")
        with watching(browser, page, "changes", "and 6 changes of the queue a second"), changing(api, 0.5):
            page.wait_for_timeout(options.seconds * 1000)
        if options.minutes:
            with changing(api, 5):
                watch_heap(page, cdp, options.minutes)
        browser.close()


@contextlib.contextmanager
def changing(api, period_s):
    """Change the queue meanwhile."""
    stop = threading.Event()
    thread = threading.Thread(target=change, args=(api, stop, period_s))
    thread.start()
    yield
    stop.set()
    thread.join()


def main():
    """Start all that is needed, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=100, help="console lines a second")
    parser.add_argument("--seconds", type=int, default=20, help="of each phase")
    parser.add_argument("--loads", type=int, default=3, help="how often the page is loaded")
    parser.add_argument("--minutes", type=float, default=0, help="of watching the heap")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Instrument(folder / "instrument") as instrument, ours(folder, instrument) as server:
            measure(server, options)


if __name__ == "__main__":
    main()
