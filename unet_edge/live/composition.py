"""The parts of a server, put together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from unet_edge.live.app import Background, make_app
from unet_edge.live.board_reader import BoardReader
from unet_edge.live.camera import Camera
from unet_edge.live.connections import ConnectionLimits, Connections
from unet_edge.live.live_routes import LiveRoutes
from unet_edge.live.metrics import Metrics
from unet_edge.live.model_choice import ModelChoice
from unet_edge.live.recording import Recorder
from unet_edge.live.security import Access
from unet_edge.live.server import Server
from unet_edge.live.service import Service
from unet_edge.live.service_routes import ServiceRoutes
from unet_edge.live.status_routes import StatusRoutes
from unet_edge.system.service_notification import notify, watchdog_interval

_STATUS_SECONDS = 10.0


@dataclass(frozen=True)
class Parts:
    """What a server serves; `camera` is None for the service alone."""

    models: ModelChoice
    service: Service
    access: Access
    version: str
    camera: Camera | None = None
    recorder: Recorder | None = None
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)


def make_server(parts: Parts, *, on_start: Callable[[], None] = lambda: None) -> Server:
    """Put the server together; it serves when it is run, and calls `on_start` when it does."""
    metrics, board = Metrics(), BoardReader()
    connections = Connections(parts.limits)
    status = StatusRoutes(parts.camera, parts.service, metrics, connections, board, parts.version)
    routes = [*status.routes(), *ServiceRoutes(parts.service).routes()]
    background: list[Background] = [connections.sweep_forever, _watchdog(status)]
    live = None
    if parts.camera is not None:
        live = LiveRoutes(parts.camera, parts.models, parts.recorder, board, parts.version)
        routes += live.routes()
        background.append(_status_lines(parts.camera))
    app = make_app(routes, parts.access, metrics, with_page=live is not None, background=background)
    on_end = live.signal.close if live else lambda: None
    return Server(app, connections, on_start=on_start, on_end=on_end)


def _watchdog(status: StatusRoutes) -> Background:
    async def run() -> None:
        """Tell systemd that the server is well, and nothing when the camera gives no frames."""
        interval = watchdog_interval()
        while interval is not None:
            if status.problem() is None:
                notify("WATCHDOG=1")
            await asyncio.sleep(interval)

    return run


def _status_lines(camera: Camera) -> Background:
    async def run() -> None:
        """Tell systemd what the camera does; 'systemctl status' shows it."""
        while notify(f"STATUS={_status_line(camera)}"):
            await asyncio.sleep(_STATUS_SECONDS)

    return run


def _status_line(camera: Camera) -> str:
    rate = camera.rate
    figures = f", {rate:.1f} frames a second" if rate is not None else ""
    return f"{camera.status}{figures}, {camera.frames} frames, {camera.dropped} dropped"


@contextlib.contextmanager
def closing_parts(parts: Parts) -> Iterator[None]:
    """Free the camera, finish the recording and end the service at the end."""
    try:
        yield
    finally:
        notify("STOPPING=1")
        if parts.camera is not None:
            parts.camera.stop()
        if parts.recorder is not None:
            parts.recorder.stop()
        parts.service.close()
