"""The report: a table for people, the targets, and plots."""

import platform
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from load import Load
from servers import REFERENCE, Server

# Work, connections, numerator, denominator, at least.
TARGETS = (
    ("GET status", 16, "ours", ("GET status", 16, "reference"), 40.0),
    ("GET status", 64, "ours", ("GET status", 64, "reference"), 50.0),
    ("GET status", 16, "ours", ("GET status", 16, "bare"), 0.6),
    ("GET status", 64, "ours", ("GET status", 64, "bare"), 0.6),
    ("GET queue, 1000, unchanged", 16, "ours", ("GET queue, 1000, unchanged", 16, "reference"), 250.0),
    ("GET queue, 1000, 304", 16, "ours", ("GET queue, 1000, unchanged", 16, "reference"), 450.0),
    ("POST item/add", 64, "ours", ("POST item/add", 64, "reference"), 6.0),
    ("POST item/add", 64, "ours", ("batches of 64, raw", 64, "RE Manager"), 0.9),
    # Nobody adds faster than RE Manager.
    ("batches of 64, raw", 64, "RE Manager", ("POST item/add", 64, "reference"), 0.0),
)


def median(loads: list[Load]) -> Load:
    """Of several rounds, value by value."""
    names = {name for one in loads for name in one.latencies_ms}
    latencies = {name: statistics.median(one.latencies_ms.get(name, 0.0) for one in loads) for name in sorted(names)}
    return Load(
        statistics.median(one.rate for one in loads),
        latencies,
        sum(one.errors for one in loads),
        statistics.median(one.cpu_us for one in loads),
    )


def tell(bench: Any, servers: list[Server]) -> str:
    """The report in Markdown."""
    medians = {key: median(loads) for key, loads in bench.measured.items()}
    rounds = max((len(loads) for loads in bench.measured.values()), default=0)
    lines = ["# Benchmarks", "", f"Made by `python benchmarks/run.py` on {_today()}: {_machine()}.", ""]
    lines += [
        f"Medians of {rounds} round(s), of ratios the median of the rounds; everything in turns within a round.",
        "The load generator shares the machine.",
        "",
    ]
    lines += [f"*reference* is {REFERENCE}; *bare* a Sanic handler that does nothing; *ours* has the whole gate on:"]
    lines += ["key, permissions, two rate rules, metrics, request id. *ours, each alone* is without group commit.", ""]
    lines += ["## Targets", "", "| work | ratio to | at least | measured | |", "|---|---|---:|---:|---|"]
    lines += [row for target in TARGETS if (row := _target(bench.measured, *target))]
    lines += _further(medians, bench)
    lines += ["", "## Everything", ""]
    lines += ["| work | connections | server | requests/s | p50 ms | p99 ms | server µs | RE Manager µs | errors |"]
    lines += ["|---|---:|---|---:|---:|---:|---:|---:|---:|"]
    for (work, connections, name), one in medians.items():
        manager = bench.manager_us.get((work, connections, name))
        manager_us = f"{statistics.median(manager):,.0f}" if manager else ""
        p50, p99 = (f"{one.latencies_ms[share]:.2f}" if share in one.latencies_ms else "" for share in ("p50", "p99"))
        cpu = f"{one.cpu_us:,.0f}" if one.cpu_us else ""
        cells = (work, connections, name, f"{one.rate:,.0f}", p50, p99, cpu, manager_us, one.errors or "")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "Processor time is for a request (bulk: an item), of the server and of RE Manager apart.", ""]
    lines += ["| server | first answer after s | resident memory after each round, MB |", "|---|---:|---|"]
    for server in servers:
        rss = ", ".join(f"{value:.0f}" for value in bench.rss_mb.get(server.name, ()))
        lines.append(f"| {server.name} | {server.start_up_s:.2f} | {rss} |")
    return "\n".join([*lines, ""])


def _target(measured: dict[Any, list[Load]], work: str, connections: int, name: str, other: Any, least: float) -> str:
    pairs = zip(measured.get((work, connections, name), ()), measured.get(other, ()), strict=False)
    # The machine's mood changes from minute to minute: what was measured in the same round is compared.
    ratios = [mine.rate / theirs.rate for mine, theirs in pairs if theirs.rate]
    if not ratios:
        return ""
    ratio = statistics.median(ratios)
    what = f"{other[2]}, {other[0]}" if other[0] != work else other[2]
    good = "yes" if ratio >= least else "**no**"
    if least == 0:
        return f"| {work}, c={connections}: what is possible | {what} | | {ratio:.3g} | |"
    return f"| {work}, c={connections} | {what} | {least:g} | {ratio:.3g} | {good} |"


def _further(medians: dict[Any, Load], bench: Any) -> list[str]:
    lines = []
    direct, through = (
        medians.get(("raw 0MQ status", 1, "RE Manager")),
        medians.get(("GET status, one client", 1, "ours")),
    )
    if direct and through:
        added = through.latencies_ms["p50"] - direct.latencies_ms["p50"]
        lines.append(_limit("added latency, one client, p50, ms", 0.5, added))
    reads = medians.get(("mixed: reads of 100 watchers", 100, "ours"))
    if reads:
        lines.append(_limit("mixed load, reads, p99, ms", 50, reads.latencies_ms["p99"]))
    if rss := bench.rss_mb.get("ours"):
        lines.append(_limit("resident memory, MB", 110, max(rss)))
    return lines


def _limit(what: str, most: float, value: float) -> str:
    return f"| {what} | | at most {most:g} | {value:.3g} | {'yes' if value <= most else '**no**'} |"


def _today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


def _machine() -> str:
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "unknown")
    memory_gb = int(Path("/proc/meminfo").read_text().split()[1]) / 1e6
    cores = info.count("processor\t:")
    return f"{cores} cores of {model}, {memory_gb:.0f} GB, Python {platform.python_version()}"


def write(bench: Any, told: str, folder: Path) -> None:
    """`benchmarks.md` and its plots."""
    pictures = folder / "benchmarks"
    pictures.mkdir(parents=True, exist_ok=True)
    medians = {key: median(loads) for key, loads in bench.measured.items()}
    links = ["", "## Plots", ""]
    for name, title, work in (
        ("status", "GET status", "GET status"),
        ("adds", "POST item/add", "POST item/add"),
    ):
        rates = {key: one.rate for key, one in medians.items() if key[0] == work}
        _plot_rates(rates, title, pictures / f"{name}.png")
        links.append(f"![{title}](benchmarks/{name}.png)")
    _plot_bars({key: one for key, one in medians.items() if key[0].startswith("GET queue")}, pictures / "queue.png")
    links.append("![GET queue](benchmarks/queue.png)")
    (folder / "benchmarks.md").write_text(told + "\n".join([*links, ""]), "utf-8")


def _axes() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt.subplots(figsize=(7, 4), layout="constrained")


def _plot_rates(rates: dict[tuple[str, int, str], float], title: str, file: Path) -> None:
    figure, axes = _axes()
    for name in dict.fromkeys(key[2] for key in rates):
        points = sorted((key[1], rate) for key, rate in rates.items() if key[2] == name)
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="connections", ylabel="requests/s", title=title)
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=120)


def _plot_bars(loads: dict[tuple[str, int, str], Load], file: Path) -> None:
    figure, axes = _axes()
    names = [f"{work.removeprefix('GET queue, ')} ({name})" for work, _, name in loads]
    axes.barh(names, [one.rate for one in loads.values()])
    axes.set(xscale="log", xlabel="requests/s", title="GET queue, 16 connections")
    axes.invert_yaxis()
    axes.grid(visible=True, axis="x", alpha=0.3)
    figure.savefig(file, dpi=120)
