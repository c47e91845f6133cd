"""Figures of the last seconds of a camera: rate, and each class's share over a minute."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

RATE_SECONDS = 3.0
"""The time over which the rate is averaged, s."""

HISTORY_SECONDS = 60
"""The time for which shares are kept, s."""


class FrameRate:
    """Frames a second over the last RATE_SECONDS."""

    def __init__(self) -> None:
        """No frame has come yet."""
        self._times: deque[float] = deque()

    def add(self, now: float) -> None:
        """Count a frame at `now`, a time.monotonic()."""
        self._times.append(now)
        self._forget(now)

    def at(self, now: float) -> float | None:
        """The rate at `now`; None before two frames, and 0 when none has come for RATE_SECONDS."""
        times = tuple(self._times)  # another thread may add to it
        recent = [time for time in times if time > now - RATE_SECONDS]
        if len(recent) > 1:
            return (len(recent) - 1) / (recent[-1] - recent[0]) if recent[-1] > recent[0] else None
        return 0.0 if times and times[-1] <= now - RATE_SECONDS else None

    def _forget(self, now: float) -> None:
        while len(self._times) > 2 and self._times[0] < now - RATE_SECONDS:
            self._times.popleft()


class History:
    """The shares of each class, one point a second: the mean of that second's frames."""

    def __init__(self) -> None:
        """No second is over yet."""
        self._points: deque[tuple[float, tuple[float, ...]]] = deque(maxlen=HISTORY_SECONDS)
        self._sums: list[float] = []
        self._frames = 0
        self._begun = 0.0

    def add(self, now: float, shares: Sequence[float]) -> None:
        """Count the shares of a frame at `now`."""
        if self._frames and (now - self._begun >= 1 or len(shares) != len(self._sums)):
            point = tuple(total / self._frames for total in self._sums)
            # The next frame may come after a pause.
            self._points.append((min(now, self._begun + 1), point))
            self._frames = 0
        if not self._frames:
            self._begun, self._sums = now, [0.0] * len(shares)
        self._sums = [total + share for total, share in zip(self._sums, shares, strict=True)]
        self._frames += 1

    def since(self, now: float) -> list[tuple[float, tuple[float, ...]]]:
        """Pairs of seconds ago and shares, the oldest first."""
        return [
            (now - time, shares)
            for time, shares in tuple(self._points)
            if now - time <= HISTORY_SECONDS
        ]
