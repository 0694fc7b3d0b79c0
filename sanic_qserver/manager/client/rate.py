"""How fast RE Manager answers, as measured of late."""

import math

_WEIGHT = 0.05  # Of the newest call in the mean: about the last 20 count.


class Rate:
    """The mean time that RE Manager takes for a call; it does one after the other."""

    def __init__(self) -> None:
        self._service_s = 0.01
        self._answered_at = 0.0

    def answered(self, sent_at: float, now: float, calls: int) -> None:
        """An answer came, for so many calls that went together. Times are the loop's, in seconds."""
        took_s = now - max(self._answered_at, sent_at)
        self._answered_at = now
        self._service_s += _WEIGHT * (took_s / calls - self._service_s)

    @property
    def calls_per_s(self) -> float:
        """Calls that are answered in a second while some wait."""
        return 1 / max(self._service_s, 1e-6)

    def retry_after(self, waiting_count: int) -> str:
        """Whole seconds (1 to 60) until so many waiting calls will have been answered."""
        return str(max(1, min(60, math.ceil(waiting_count * self._service_s))))
