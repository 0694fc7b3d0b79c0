"""What the access log costs: `GET /api/status` with and without it, in turns: `python benchmarks/access_log.py`.

Needs `wrk`. The CPU time of the server for a request is compared, not the rate: one process is as fast as its core, and
what else runs on the machine does not count.
"""

import contextlib
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "tests" / "support")]

from servers import KEY, Instrument, ServerProcess

ROUNDS, SECONDS, CONNECTIONS = 15, 1, 16
RATES = "rates: []\n"
FORMS = {"off": "access_log = false", "text": "access_log = true", "json": 'access_log = true\n[log]\nformat = "json"'}


def cpu_s(pid: int) -> float:
    """CPU time that all threads of a process have used, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def load(server: ServerProcess) -> tuple[int, float]:
    """Requests that were answered, and the CPU time that the server used for them."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-H", f"Authorization: ApiKey {KEY}"]
    before = cpu_s(server.process.pid)
    told = subprocess.run([*command, f"{server.url}/api/status"], capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in told, told
    return int(re.search(r"(\d+) requests in", told)[1]), cpu_s(server.process.pid) - before


def main() -> None:
    """Three servers before one RE Manager, measured in turns."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        instrument = stack.enter_context(Instrument(folder / "instrument"))
        environment = {**instrument.environment, "QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY": KEY}
        servers = {}
        for form, setting in FORMS.items():
            place = folder / form
            place.mkdir()
            (place / "rates.yaml").write_text(RATES)
            (place / "config.toml").write_text(f'[policy]\nrate_limits = "rates.yaml"\n[server]\n{setting}\n')
            arguments = ("serve", "--config", place / "config.toml")
            servers[form] = stack.enter_context(ServerProcess(place, *arguments, environment=environment))
        costs: dict[str, list[float]] = {form: [] for form in FORMS}
        for _ in range(ROUNDS):
            for form, server in servers.items():
                requests, used_s = load(server)
                costs[form].append(used_s / requests * 1e6)
    alone = statistics.median(costs["off"])
    for form, all_us in costs.items():
        found = statistics.median(all_us)
        quartiles = statistics.quantiles(all_us, n=4)
        print(f"{form:5} {found:6.1f} µs of CPU a request ({quartiles[0]:.1f} to {quartiles[2]:.1f}), "
              f"rate {alone / found:.3f} of the one without")  # fmt: skip


if __name__ == "__main__":
    main()
