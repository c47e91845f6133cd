"""Recording of the overlay video, in a thread that never stalls the camera."""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from unet_edge.errors import ConfigError, OutputError
from unet_edge.live.published import Published
from unet_edge.sinks.sink import Sink

LEAST_FREE = 2**28
"""The free space that a recording leaves on the disk, bytes: a full disk stops other programs."""

_QUEUED = 8  # frames that wait for the encoder; a 1280x720 frame holds 2.8 MB of pixels

MakeSink = Callable[[Path], Sink]
"""Makes the sink that writes a video to a path, complete or not at all."""


def overlay_video(path: Path) -> Sink:
    """The sink of overlay videos. Raises StreamError without PyAV."""
    from unet_edge.sinks.overlay_video import OverlayVideo  # here: it needs PyAV

    return OverlayVideo(path)


class Recorder:
    """Records segmented frames into a folder; the server names the files.

    Frames are left out while the encoder is behind, and `skipped` counts them.
    """

    def __init__(self, folder: Path, make_sink: MakeSink) -> None:
        """Nothing is written yet."""
        self.skipped = 0
        self.error: str | None = None
        self._folder = folder
        self._make_sink = make_sink
        self._lock = threading.Lock()
        self._recording: _Recording | None = None

    def state(self) -> dict[str, Any] | None:
        """The file, seconds and frames of the recording that runs; None without one."""
        recording = self._recording
        if recording is None:
            return None
        return {
            "file": recording.path.name,
            "seconds": time.monotonic() - recording.begun,
            "frames": recording.frames,
        }

    def start(self) -> None:
        """Begin a file; does nothing while one is written. Raises OutputError on a full disk."""
        with self._lock:
            if self._recording is not None:
                return
            _require_space(self._folder)
            self.error = None
            path = _free_name(self._folder)
            self._recording = _Recording(path, self._make_sink(path), self._ended)

    def stop(self) -> None:
        """Finish the file; does nothing without one."""
        with self._lock:
            recording, self._recording = self._recording, None
        if recording is not None:
            recording.finish()

    def add(self, published: Published) -> None:
        """Record a frame, if a recording runs. It returns at once."""
        recording = self._recording
        if recording is not None and not recording.add(published):
            self.skipped += 1

    def _ended(self, recording: _Recording, error: str) -> None:
        self.error = error
        if self._recording is recording:
            self._recording = None


class _Recording:
    """One file that is being written by a thread."""

    def __init__(self, path: Path, sink: Sink, failed: Callable[[_Recording, str], None]) -> None:
        self.path, self.frames, self.begun = path, 0, time.monotonic()
        self._sink, self._failed = sink, failed
        self._queue: queue.Queue[Published | None] = queue.Queue(_QUEUED)
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def add(self, published: Published) -> bool:
        """Queue a frame; False if the queue is full."""
        try:
            self._queue.put_nowait(published)
        except queue.Full:
            return False
        return True

    def finish(self) -> None:
        """Write what is queued, and close the file."""
        while self._thread.is_alive():
            with suppress(queue.Full):
                self._queue.put(None, timeout=0.5)
                break
        self._thread.join()

    def _run(self) -> None:
        try:
            try:
                while (published := self._queue.get()) is not None:
                    if self.frames % 30 == 0:
                        _require_space(self.path.parent)
                    self._sink.write(published.result)
                    self.frames += 1
            finally:
                self._sink.close()
            if not self.frames:
                raise OutputError("no frame came, so there is no file")
        except Exception as error:  # encoders raise many kinds; the camera must go on
            self._failed(self, str(error))


def _require_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE:
        raise OutputError(
            f"{free // 2**20} MiB are free in {folder}",
            expected=f"a recording leaves {LEAST_FREE // 2**20} MiB free",
            fix="delete old recordings",
        )


def _free_name(folder: Path) -> Path:
    """A name made of the time, which no file has yet."""
    stem = datetime.now().strftime("unet-edge-%Y%m%d-%H%M%S")
    for number in range(1, 100):
        path = folder / (f"{stem}.mp4" if number == 1 else f"{stem}-{number}.mp4")
        if not path.exists():
            return path
    raise ConfigError(f"{folder} has 99 recordings of this second")
