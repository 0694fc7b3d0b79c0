"""What commands print: tables for people, one JSON object a line for programs. No command prints otherwise.

Text from the instrument is data: control characters, with which it could steer a terminal, are taken out.
"""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: object) -> str:
    """Text without escape sequences and control characters, but for tabs and line ends."""
    return _CONTROL.sub("", str(text))


def compact(value: Any) -> str:
    """A value in one line: text as it is, the rest as JSON."""
    return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).replace("\n", " ")


def tell_time(at: object) -> str:
    """A POSIX time in local time; empty for none."""
    if not isinstance(at, (int, float)) or isinstance(at, bool):
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


class PipeClosed(Exception):
    """Who read the output does not any more. No OSError: click would end the program by itself."""


class Output:
    """Where a command prints to, and in which form."""

    def __init__(self, *, is_json: bool, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.is_json = is_json
        self.out, self.err = out or sys.stdout, err or sys.stderr

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at it."""
        return self.out.isatty()

    def line(self, text: str) -> None:
        """Print a line for people."""
        if not self.is_json:
            self._write(clean(text))

    def record(self, value: Mapping[str, Any]) -> None:
        """Print an object for programs."""
        if self.is_json:
            self._write(json.dumps(value, ensure_ascii=False, separators=(",", ":")))

    def done(self, text: str, value: Mapping[str, Any]) -> None:
        """Tell a result: as text, or as an object."""
        self.record(value)
        self.line(text)

    def fields(self, value: Mapping[str, Any], shown: Mapping[str, Any] | None = None) -> None:
        """Print an object: its members one a line (or those in `shown`)."""
        self.record(value)
        if not self.is_json:
            rows = [(name, compact(one)) for name, one in (value if shown is None else shown).items()]
            width = max((len(name) for name, _ in rows), default=0)
            for name, text in rows:
                self._write(f"{name:<{width}}  {text}".rstrip())

    def table(self, columns: Sequence[str], rows: Iterable[tuple[Sequence[Any], Mapping[str, Any]]]) -> None:
        """Print rows: each has its cells for people, and its object for programs."""
        if self.is_json:
            for _, value in rows:
                self.record(value)
            return
        cells = [[compact("" if cell is None else cell) for cell in row] for row, _ in rows]
        for text in lay_out(columns, cells, self.width):
            self._write(text)

    @property
    def width(self) -> int:
        """The columns of the terminal; without one nothing is cut."""
        return shutil.get_terminal_size().columns if self.is_terminal else 0

    def note(self, text: str) -> None:
        """Say something beside the result, on the error stream: to programs as an object, too."""
        self.err.write((json.dumps({"note": text}, ensure_ascii=False) if self.is_json else clean(text)) + "\n")
        self.err.flush()

    def raw(self, text: str) -> None:
        """Print text for people, without ending the line."""
        try:
            self.out.write(clean(text))
            self.out.flush()
        except BrokenPipeError:
            raise PipeClosed from None

    def _write(self, text: str) -> None:
        try:
            self.out.write(text + "\n")
            self.out.flush()
        except BrokenPipeError:
            raise PipeClosed from None


def lay_out(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int = 0) -> list[str]:
    """The lines of a table. When it is wider than `width` columns, the last cell of each line is cut."""
    widths = [max(len(name), *(len(row[at]) for row in rows)) if rows else len(name) for at, name in enumerate(columns)]
    lines = []
    for row in ([name.upper() for name in columns], *rows):
        text = "  ".join(f"{cell:<{size}}" for cell, size in zip(row, widths, strict=True)).rstrip()
        lines.append(text if not width or len(text) <= width else text[: width - 1] + "…")
    return lines


def close_quietly() -> None:
    """After a broken pipe: nothing more is written, nor complained about when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
