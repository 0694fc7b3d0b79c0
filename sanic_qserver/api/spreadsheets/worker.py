"""The process that reads one file: limits itself, reads a job from standard input, writes JSON to standard output.

Started by `isolation` as `python -m sanic_qserver.api.spreadsheets.worker`. It opens no files and no sockets.
"""

import contextlib
import sys

import msgspec

from sanic_qserver.api.spreadsheets.formats import read_grid
from sanic_qserver.api.spreadsheets.grid import BadSheet, Limits
from sanic_qserver.api.spreadsheets.job import Job, Outcome
from sanic_qserver.api.spreadsheets.sheet_plans import read_plans


def main() -> None:
    """Do one job. The job stands in the first line of standard input, the file follows."""
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    _limit(job.limits)
    try:
        outcome = _outcome(job, sys.stdin.buffer.read())
    except BadSheet as error:
        outcome = Outcome(mistake=str(error))
    except MemoryError:
        outcome = Outcome(mistake="the file needs more memory than one may use here")
    sys.stdout.buffer.write(msgspec.json.encode(outcome, enc_hook=str))


def _outcome(job: Job, body: bytes) -> Outcome:
    grid = read_grid(job.name, body, job.sheet, job.limits)
    if job.as_grid:
        return Outcome(sheet=grid.sheet, rows=[(number, list(cells)) for number, cells in grid.rows])
    return Outcome(plans=read_plans(grid))


def _limit(limits: Limits) -> None:
    """Let the kernel end us when we take too much. Where there is none of this, the deadline of `isolation` holds."""
    with contextlib.suppress(ImportError):
        import resource  # noqa: PLC0415  # POSIX only

        memory = limits.max_memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        cpu_s = int(limits.timeout_s) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
