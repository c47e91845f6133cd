"""The protocol of sinks: what becomes of segmented frames."""

from __future__ import annotations

from typing import Protocol

from unet_edge.runtime.stream import SegmentedFrame


class Sink(Protocol):
    """Takes segmented frames, in order."""

    def write(self, result: SegmentedFrame) -> None:
        """Take a frame. Raises StreamError or OSError when it cannot be written."""
        ...

    def close(self) -> None:
        """Finish what was written. It is called once, also after an error."""
        ...
