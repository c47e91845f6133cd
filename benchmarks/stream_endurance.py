"""Check that memory, threads and handles do not grow over ten hours of a camera.

    python -m benchmarks.stream_endurance BUNDLE

Ten hours of 30 frames a second, 1,080,000 frames of 64x48 px, as fast as they can be segmented, by
the policy "latest". The camera is unplugged and plugged in again 100 times on the way. Resident
memory, threads and open handles are sampled every thousand frames; the first tenth is a warm-up.
Writes `benchmarks/reference/<machine>-stream-endurance.{md,json}`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.memory_slope import memory_slope
from benchmarks.reporting import REFERENCE, named, page, spelled, write_report
from benchmarks.resident_memory import resident_bytes
from unet_edge import Segmenter
from unet_edge.errors import StreamError
from unet_edge.runtime.stream import SegmentedStream
from unet_edge.streams.frame import Frame
from unet_edge.streams.reconnect import Reconnecting
from unet_edge.streams.test_pattern import TestPattern
from unet_edge.system.timing import machine

_EVERY = 1000
_HOURS = 10
_RATE = 30
