"""Where the reading of a video file begins, without decoding all frames before."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from unet_edge.streams.av_input import Damage, decoded, packets


def pictures_from(container: Any, stream: Any, pts: int, damage: Damage) -> Iterator[Any] | None:
    """Yield the av.VideoFrames from `pts` on, decoded from a key frame at or before it.

    They are those of a reading from the beginning. Returns None where this cannot be sure: a
    stream without times, a seek that finds no key frame, one that is no whole picture, or damage
    between it and `pts`.
    """
    damaged = False

    def damage_before() -> None:
        nonlocal damaged
        damaged = True
        damage()

    sought = _packets_from(container, stream, pts, damage_before)
    if sought is None:
        return None
    pictures = decoded(stream, sought, damage_before)
    before: Any = None
    for picture in pictures:
        # With "intra refresh", a stream has key frames that take further frames to be whole.
        if before is None and int(picture.pict_type) != _INTRA:
            return None
        # A decoder conceals damage with what it saw before, here nothing.
        if damaged or picture.pts is None:
            return None
        if picture.pts >= pts:
            return chain((picture,), pictures)
        before = picture
    return None


def restarts(container: Any) -> bool:
    """Whether the format is one whose times may start anew, so that a time may occur twice."""
    return bool(container.format.flags & _DISCONTINUOUS)


_INTRA = 1  # AV_PICTURE_TYPE_I
_DISCONTINUOUS = 0x200  # AVFMT_TS_DISCONT
_STEPS_BACK = (0, 2, 10, 60)  # seconds; some formats seek to any packet, after its key frame


def _packets_from(container: Any, stream: Any, pts: int, damage: Damage) -> Iterator[Any] | None:
    from av.error import FFmpegError

    for seconds in _STEPS_BACK:
        try:
            container.seek(pts - round(seconds / stream.time_base), stream=stream)
        except FFmpegError:
            return None
        following = packets(container, stream, damage)
        key = next((packet for packet in following if packet and packet.is_keyframe), None)
        if key is None:
            continue
        if key.pts is None:
            return None
        # A key frame at or before `pts` is all that frames from `pts` on need. Frames that are
        # shown before the key frame and stored after it may need more, and are not used.
        if key.pts <= pts:
            return chain((key,), following)
    return None
