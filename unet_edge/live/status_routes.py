"""The routes that monitoring uses: /healthz, /metrics and /openapi.json."""

from __future__ import annotations

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from unet_edge.live.board_reader import BoardReader
from unet_edge.live.camera import Camera
from unet_edge.live.connections import Connections
from unet_edge.live.metrics import CONTENT_TYPE, Metrics, Page
from unet_edge.live.openapi import description
from unet_edge.live.published import Published
from unet_edge.live.service import Service

SILENT_SECONDS = 10.0
"""A camera that runs and gives no frame for this long is unhealthy, s."""


class StatusRoutes:
    """Handlers of the requests of monitoring."""

    def __init__(
        self,
        camera: Camera | None,
        service: Service,
        metrics: Metrics,
        connections: Connections,
        board: BoardReader,
        version: str,
    ) -> None:
        """Handlers for one server; `camera` is None if it has none."""
        self._camera, self._service, self._metrics = camera, service, metrics
        self._connections, self._board, self._version = connections, board, version
        if camera is not None:
            camera.watch(self._count)

    def routes(self) -> list[Route]:
        """The routes, for Starlette."""
        return [
            Route("/healthz", self.healthz, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
            Route("/openapi.json", self.openapi, methods=["GET"]),
        ]

    def problem(self) -> str | None:
        """Why the server is unhealthy, without anything secret; None if it is well."""
        camera = self._camera
        if camera is None or camera.status in ("stopped", "ended"):
            return None
        if camera.status == "failed":
            return "the camera has failed"
        if camera.silent_for > SILENT_SECONDS:
            return f"the camera has given no frame for {SILENT_SECONDS:g} s"
        return None

    async def healthz(self, _: Request) -> Response:
        """GET /healthz."""
        if problem := self.problem():
            return JSONResponse({"status": "failing", "reason": problem}, 503)
        return JSONResponse({"status": "ok"})

    async def metrics(self, _: Request) -> Response:
        """GET /metrics."""
        text = await run_sync(self._page)
        return Response(text, headers={"Content-Type": CONTENT_TYPE})

    async def openapi(self, _: Request) -> Response:
        """GET /openapi.json."""
        return JSONResponse(description(self._version, with_camera=self._camera is not None))

    def _count(self, published: Published) -> None:
        self._metrics.count_frame(published.result.delay, published.result.stages)

    def _page(self) -> str:
        page = Page()
        page.several("unet_edge_info", "gauge", "Versions.", [({"version": self._version}, 1)])
        if self._camera is not None:
            self._add_camera(page, self._camera)
        page.several(
            "unet_edge_requests_total",
            "counter",
            "Answers by path and status.",
            [
                ({"path": path, "status": str(status)}, count)
                for (path, status), count in sorted(self._metrics.requests.items())
            ],
        )
        page.histograms(
            "unet_edge_segment_seconds",
            "Time of POST /segment, from its headers to its answer, if it gave a result.",
            [({}, self._metrics.segment)],
        )
        waiting, places = self._service.waiting, self._service.settings.queue
        page.single("unet_edge_queue_length", "gauge", "Requests that wait.", waiting)
        page.single("unet_edge_queue_places", "gauge", "Requests that may wait.", places)
        page.single(
            "unet_edge_connections", "gauge", "Open connections.", len(self._connections.open)
        )
        page.single(
            "unet_edge_connections_closed_total",
            "counter",
            "Connections closed because the client was slow or too many were open.",
            self._connections.closed_slow + self._connections.refused,
        )
        temperature = self._board.board().temperature
        page.single(
            "unet_edge_temperature_celsius", "gauge", "Temperature of the processor.", temperature
        )
        return page.text()

    def _add_camera(self, page: Page, camera: Camera) -> None:
        for name, about, value in (
            ("frames", "Frames that were segmented.", camera.frames),
            ("frames_dropped", "Frames that newer ones replaced.", camera.dropped),
            ("frames_damaged", "Frames that could not be decoded.", camera.damaged),
        ):
            page.single(f"unet_edge_{name}_total", "counter", about, value)
        running = int(camera.status == "running")
        page.single("unet_edge_camera_running", "gauge", "1 while frames come.", running)
        page.single("unet_edge_frame_rate", "gauge", "Frames a second.", camera.rate)
        page.histograms(
            "unet_edge_frame_delay_seconds",
            "Time from a frame's arrival until its labels were ready.",
            [({}, self._metrics.delay)],
        )
        page.histograms(
            "unet_edge_frame_stage_seconds",
            "Time of each stage of a frame.",
            [({"stage": stage}, each) for stage, each in dict(self._metrics.stages).items()],
        )
        if newest := camera.newest:
            classes = newest.result.grid.spec.classes
            page.several(
                "unet_edge_class_share",
                "gauge",
                "Share of each class in the newest frame, 0 to 1.",
                [
                    ({"class": name}, share)
                    for name, share in zip(classes, newest.shares, strict=True)
                ],
            )
