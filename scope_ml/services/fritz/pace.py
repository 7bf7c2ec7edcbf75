"""How fast one token may ask: so many requests a second in the long run, so many at once, fewer after a refusal.

All threads of a client share one `Pace`. May import errors and `services.http`.
"""

from __future__ import annotations

import threading

from scope_ml.errors import ServiceError
from scope_ml.services.http import Clock

__all__ = ["Pace"]

#: After a refusal the pace is this part of what it was, and at least that part of what was configured...
SLOWER, SLOWEST = 0.5, 0.125

#: ... and with each answer this times as fast, up to what was configured.
FASTER = 1.05

#: No thread waits longer than this because the service asks for it [s].
LONGEST_S = 60.0

#: Less than this is a rounding of the clock and no reason to wait [s].
ROUNDING_S = 1e-6


class Pace:
    """A bucket that fills evenly and from which each request takes one; thread-safe.

    What is not there yet is booked under the lock and waited for outside it, so that threads come in turn.

    Parameters
    ----------
    rate
        Requests a second in the long run.
    burst
        Requests at once: what the bucket holds.
    clock
        Time, for tests.
    """

    def __init__(self, rate: float, burst: int, clock: Clock) -> None:
        self._full_rate = self._rate = rate
        self._burst, self._clock = burst, clock
        self._left, self._at = float(burst), clock.now()
        self._lock = threading.Lock()

    @property
    def rate(self) -> float:
        """Return the pace at the moment [1/s]."""
        return self._rate

    def take(self, stop: threading.Event) -> None:
        """Wait until a request may be sent.

        Raises
        ------
        ServiceError
            If `stop` is set meanwhile.
        """
        with self._lock:
            self._fill()
            self._left -= 1.0
            pause = -self._left / self._rate
        if pause > ROUNDING_S and self._clock.wait(stop, pause):
            raise ServiceError("Fritz is not asked any more: the client was closed")

    def refused(self, after_s: float = 0.0) -> None:
        """Slow down: the service said that there were too many.

        Parameters
        ----------
        after_s
            When it wants to be asked again [s]; every thread waits so long, `LONGEST_S` at most.
        """
        with self._lock:
            self._fill()
            self._rate = max(SLOWEST * self._full_rate, SLOWER * self._rate)
            # What was saved up is what was too many.
            self._left = min(self._left, -min(after_s, LONGEST_S) * self._rate)

    def answered(self) -> None:
        """Speed up a little, where it was slow."""
        with self._lock:
            self._fill()
            self._rate = min(self._full_rate, FASTER * self._rate)

    def _fill(self) -> None:
        now = self._clock.now()
        self._left = min(float(self._burst), self._left + (now - self._at) * self._rate)
        self._at = now
