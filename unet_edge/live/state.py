"""What /api/state tells: source, model, figures, and the board's temperature."""

from __future__ import annotations

import time
from typing import Any

from unet_edge.live.camera import Camera
from unet_edge.live.model_choice import ModelChoice
from unet_edge.live.recording import Recorder
from unet_edge.palette import CLEAR, has_background
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.system.board import Board
from unet_edge.system.printable import printable


def model_state(models: ModelChoice, segmenter: Segmenter) -> dict[str, Any]:
    """The model in use and the files of its bundle."""
    spec = segmenter.spec
    files = models.files() or [
        {"name": segmenter.name, "agreement": None, "kept_floor": True, "runs": True}
    ]
    return {
        "bundle": printable(models.path.absolute().name),
        "file": segmenter.name,
        "interpreter": segmenter.backend.name,
        "files": files,
        "classes": [
            {"name": name, "color": f"#{bytes(color).hex()}"}
            for name, color in zip(spec.classes, spec.palette, strict=True)
        ],
        "has_background": has_background(spec.classes) or spec.palette[0] == CLEAR,
    }


def camera_state(camera: Camera, recorder: Recorder | None) -> dict[str, Any]:
    """The source and the figures of its last seconds; times in ms."""
    newest = camera.newest
    figures = newest.figures() if newest else {"delay_ms": None, "stages_ms": {}}
    size = newest.result.grid.size if newest else camera.source.info.size
    now = time.monotonic()
    return {
        "source": {
            "name": printable(camera.source.name),  # JSON has no lone surrogates
            "status": camera.status,
            "message": camera.message,
            "size": size,
            "policy": "latest",
        },
        "frames": camera.frames,
        "dropped": camera.dropped,
        "damaged": camera.damaged,
        "rate": camera.rate,
        "delay_ms": figures["delay_ms"],
        "stages_ms": figures["stages_ms"],
        "history": camera.history.since(now),
        "recording": recorder.state() if recorder else None,
        "recording_error": recorder.error if recorder else None,
        "can_record": recorder is not None,
    }


def board_state(board: Board) -> dict[str, Any]:
    """Temperature in degrees Celsius, and throttling."""
    return {
        "temperature": board.temperature,
        "throttling": None if board.throttling is None else list(board.throttling),
    }
