"""The times of decoded frames: each has one, and they increase."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

_RARE = 10  # frames to a gap; where gaps come more often, the frame rate varies


class FrameTimes:
    """Gives frames their pts, in order.

    A frame's own pts is kept, if it is later than that of the frame before. A frame without one
    follows the frame before after that one's duration. One that goes back by less than a
    second comes one tick after the frame before. One that goes back further has a new clock, as
    where two recordings were joined: it and the frames after it are moved to follow on.
    """

    gaps: int
    """The number of places where there are no frames for half the length of one, or longer."""

    first_gap: tuple[int, int]
    """The end of the frame before it, and the pts of the frame after it."""

    def __init__(self, time_base: Fraction, rate: Fraction | None) -> None:
        """`rate` is in frames a second, for frames that do not say how long they last."""
        self._tick = max(1, round(1 / ((rate or 25) * time_base)))
        self._second = round(1 / time_base)
        self._offset = self._length = 0
        self._before: int | None = None
        self._frames = self._moved = 0
        self.gaps, self.first_gap = 0, (0, 0)

    @property
    def may_have_lost_frames(self) -> bool:
        """Whether there are gaps, and so few that the frame rate hardly varies.

        A moved frame counts as a gap: damage moves one or two, and a file that has no times of its
        own moves many, so that its gaps mean nothing.
        """
        return bool(self.gaps) and (self.gaps + self._moved) * _RARE <= self._frames

    def pts(self, frame: Any) -> int:
        """The pts of the next av.VideoFrame."""
        own = frame.pts if frame.pts is not None else frame.dts
        before = self._before
        following = 0 if before is None else before + self._length
        if own is None:
            pts = following
        else:
            pts = own + self._offset
            if before is not None and pts <= before:
                self._moved += 1
                if before - pts < self._second:
                    pts = before + 1
                else:
                    self._offset += following - pts
                    pts = following
        if pts - following > self._length / 2 and before is not None:
            self.first_gap = self.first_gap if self.gaps else (following, pts)
            self.gaps += 1
        self._frames += 1
        self._before, self._length = pts, frame.duration or self._tick
        return pts
