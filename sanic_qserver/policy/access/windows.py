"""When somebody may enter: validity windows, and a clock that does not open them early or close them late."""

import math
import time
from collections.abc import Callable
from datetime import date, datetime, time as day_time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from sanic_qserver.errors import ConfigError


def uptime() -> float:
    """Seconds that go on in a suspended machine too, where the platform has such a clock."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


class Clock:
    """The time of day, twice: as the system says, and as it was at the start plus what has passed since.

    A system clock that is set back or forth in between makes the two differ. A window is open only when both
    say so: a wrong clock may shut people out, it never lets them in. `anchor` trusts the system clock anew.
    """

    def __init__(self, wall: Callable[[], float] = time.time, uptime: Callable[[], float] = uptime) -> None:
        self._wall = wall
        self._uptime = uptime
        self._offset = 0.0
        self.anchor()

    def anchor(self) -> None:
        """Believe the system clock from now on."""
        self._offset = self._wall() - self._uptime()

    @property
    def earliest(self) -> float:
        """The earlier of the two times, POSIX."""
        return min(self._wall(), self._uptime() + self._offset)

    @property
    def latest(self) -> float:
        """The later of the two times, POSIX."""
        return max(self._wall(), self._uptime() + self._offset)

    @property
    def jumped_s(self) -> float:
        """By how many seconds the system clock was set since it was last believed."""
        return self._wall() - self._uptime() - self._offset


class Window(Struct, frozen=True):
    """From when until when, POSIX times; the end itself is outside."""

    opens_at: float = -math.inf
    closes_at: float = math.inf

    def is_open(self, clock: Clock) -> bool:
        """Whether now is inside, whichever of the clock's two times is right."""
        return self.opens_at <= clock.earliest and clock.latest < self.closes_at


ALWAYS = Window()


def window(begin: Any, end: Any, zone: str, where: str) -> Window:
    """A window from what YAML or TOML gives: dates, times or ISO texts. A date as the end includes that day.

    Raises ConfigError, naming `where`.
    """
    if begin is None and end is None:
        return ALWAYS
    try:
        zone_info = ZoneInfo(zone)
    except (KeyError, OSError, ValueError):
        raise ConfigError(f"{where}.time_zone: there is no time zone '{zone}'") from None
    opens_at = -math.inf if begin is None else _instant(begin, zone_info, f"{where}.from", is_end=False)
    closes_at = math.inf if end is None else _instant(end, zone_info, f"{where}.until", is_end=True)
    if closes_at <= opens_at:
        raise ConfigError(f"{where}.until: it is not after 'from'")
    return Window(opens_at, closes_at)


def told(window: Window, zone: str) -> str:
    """A window for people, in a time zone."""
    opens_at, closes_at = (
        "" if math.isinf(at) else datetime.fromtimestamp(at, ZoneInfo(zone)).isoformat(timespec="minutes")
        for at in (window.opens_at, window.closes_at)
    )
    start = f" from {opens_at}" if opens_at else ""
    end = f" until {closes_at}" if closes_at else ""
    return f"the window is open{start}{end} ({zone})"


def _instant(value: Any, zone: ZoneInfo, where: str, *, is_end: bool) -> float:
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value) if len(value) == len("2026-01-31") else datetime.fromisoformat(value)
        except ValueError:
            raise ConfigError(f"{where}: '{value}' is not a date or time like 2026-01-31 or 2026-01-31T08:00") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value + timedelta(days=1 if is_end else 0), day_time())
    if not isinstance(value, datetime):
        raise ConfigError(f"{where}: {value!r} is not a date or time")
    return (value if value.tzinfo else value.replace(tzinfo=zone)).timestamp()
