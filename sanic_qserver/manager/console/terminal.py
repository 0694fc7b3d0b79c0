"""Text as a terminal would show it: carriage returns, backspaces, tabs and cursor movements are obeyed.

Lines are as long as they need to be, and the screen has no top: progress bars, which move the cursor up and
write over their lines, come out as people see them. Colours and other rendition are dropped.
Source of the sequences: ECMA-48, sections 8.3.18-22 (cursor), 8.3.39 (ED), 8.3.41 (EL).
"""

import re

_SPECIAL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
_TOKEN = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f]+)"
    r"|\x1b\[(?P<args>[0-9;?<=>!]*)[ -/]*(?P<final>[@-~])"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|\x1b[ -/]*[0-~]"
    r"|(?P<control>[\x00-\x1f\x7f])"
)
_TAB = 8
_MAX_COLUMN = 10_000  # A cursor sent beyond this stays here: a hostile column must not allocate a line of gigabytes.


class Terminal:
    """The last `max_lines` lines of what was written. `write` text, then read `lines`."""

    def __init__(self, max_lines: int) -> None:
        self.max_lines = max_lines
        self.lines: list[str] = [""]
        self._row = 0
        self._column = 0

    def write(self, text: str) -> None:
        """Show more text. Sequences must not be cut in two by separate calls."""
        if not _SPECIAL.search(text) and self._is_at_end():
            self._append(text)
        else:
            for match in _TOKEN.finditer(text):
                self._obey(match)
        self._trim()

    def text(self, count: int) -> str:
        """The last `count` lines, without the empty one after a final line feed."""
        lines = self.lines[:-1] if self.lines[-1] == "" else self.lines
        return "\n".join(lines[-count:]) if count > 0 else ""

    def _is_at_end(self) -> bool:
        return self._row == len(self.lines) - 1 and self._column == len(self.lines[-1])

    def _append(self, text: str) -> None:
        first, *rest = text.split("\n")
        self.lines[-1] += first
        self.lines.extend(rest)
        self._row = len(self.lines) - 1
        self._column = len(self.lines[-1])

    def _obey(self, match: "re.Match[str]") -> None:
        if (text := match["text"]) is not None:
            self._put(text)
        elif (control := match["control"]) is not None:
            self._control(control)
        elif (final := match["final"]) is not None and not match["args"].startswith(("?", "<", "=", ">", "!")):
            self._sequence(final, [int(arg or 0) for arg in match["args"].split(";")])

    def _put(self, text: str) -> None:
        line = self.lines[self._row].ljust(self._column)
        self.lines[self._row] = line[: self._column] + text + line[self._column + len(text) :]
        self._column += len(text)

    def _control(self, control: str) -> None:
        if control == "\n":
            self._row += 1
            self._column = 0
            if self._row == len(self.lines):
                self.lines.append("")
        elif control == "\r":
            self._column = 0
        elif control == "\b":
            self._column = max(0, self._column - 1)
        elif control == "\t":
            self._column = (self._column // _TAB + 1) * _TAB

    def _sequence(self, final: str, args: list[int]) -> None:
        count = max(1, args[0])
        if final in "AF":
            self._row = max(0, self._row - count)
        elif final in "BE":
            self._row = min(len(self.lines) - 1, self._row + count)
        elif final == "C":
            self._column = min(_MAX_COLUMN, self._column + count)
        elif final == "D":
            self._column = max(0, self._column - count)
        elif final == "G":
            self._column = min(_MAX_COLUMN, count - 1)
        elif final == "K":
            self._erase_in_line(args[0])
        elif final == "J":
            self._erase_in_display(args[0])
        if final in "EF":
            self._column = 0

    def _erase_in_line(self, how: int) -> None:
        line = self.lines[self._row]
        if how == 0:
            self.lines[self._row] = line[: self._column]
        elif how == 1:
            self.lines[self._row] = " " * min(self._column + 1, len(line)) + line[self._column + 1 :]
        elif how == 2:
            self.lines[self._row] = ""

    def _erase_in_display(self, how: int) -> None:
        if how == 0:
            self._erase_in_line(0)
            del self.lines[self._row + 1 :]
        elif how in (2, 3):
            self.lines = [""]
            self._row = 0

    def _trim(self) -> None:
        # One line more than asked for: the last may be the empty one after a line feed.
        if (excess := len(self.lines) - self.max_lines - 1) > 0:
            del self.lines[:excess]
            self._row = max(0, self._row - excess)
