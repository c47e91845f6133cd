"""The routes of the live page: state, frames, and what its buttons do."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from unet_edge.errors import BackendError, BundleError, ConfigError, StreamError
from unet_edge.live.board_reader import BoardReader
from unet_edge.live.camera import Camera
from unet_edge.live.errors import RequestError
from unet_edge.live.model_choice import ChangeUnderwayError, ModelChoice
from unet_edge.live.published import Published
from unet_edge.live.recording import Recorder
from unet_edge.live.snapshot import make_snapshot
from unet_edge.live.state import board_state, camera_state, model_state
from unet_edge.runtime.interpreters import installed_versions

LONG_POLL = 10.0
"""The time that /api/frame waits for a frame, s."""

MOST_WAITING = 48
"""The most requests that wait for a frame, so that connections remain for others."""

_T = TypeVar("_T")

_MOST_COMMAND = 4096  # bytes of a command's JSON


class FrameSignal:
    """Wakes the requests that wait for a frame, from the camera's thread."""

    def __init__(self) -> None:
        """Nobody waits yet."""
        self._waiting: set[asyncio.Future[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def notify(self, _: Published) -> None:
        """Wake everybody; called in the camera's thread."""
        loop = self._loop
        if loop is not None and self._waiting:
            try:
                loop.call_soon_threadsafe(self._wake)
            except RuntimeError:  # the loop has ended
                self._loop = None

    def close(self) -> None:
        """Wake everybody, and let nobody wait any more; called in the loop."""
        self._closed = True
        self._wake()

    async def wait(self, timeout: float, is_there: Callable[[], object]) -> None:
        """Wait for a frame, at most `timeout` seconds, and not at all if `is_there`."""
        if self._closed or timeout <= 0:
            return
        self._loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.add(future)
        try:
            # A frame that came since the caller looked for one has woken nobody.
            if not is_there():
                await asyncio.wait([future], timeout=timeout)
        finally:
            self._waiting.discard(future)
            future.cancel()

    @property
    def waiting(self) -> int:
        """The number of requests that wait."""
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """Whether the server ends."""
        return self._closed

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)


class LiveRoutes:
    """Handlers of the live page's requests."""

    def __init__(
        self,
        camera: Camera,
        models: ModelChoice,
        recorder: Recorder | None,
        board: BoardReader,
        version: str,
    ) -> None:
        """Handlers for one camera; `recorder` is None if recording is not allowed."""
        self.camera, self.models, self.recorder = camera, models, recorder
        self.signal = FrameSignal()
        self._version = version
        self._board = board
        self._drawing = asyncio.Semaphore(1)  # a snapshot takes 0.1 s of a processor, and memory
        camera.watch(self.signal.notify)
        if recorder is not None:
            camera.watch(recorder.add)

    def routes(self) -> list[Route]:
        """The routes, for Starlette."""
        return [
            Route("/api/state", self.state, methods=["GET"]),
            Route("/api/frame", self.frame, methods=["GET"]),
            Route("/api/model", self.model, methods=["POST"]),
            Route("/api/snapshot", self.snapshot, methods=["POST"]),
            Route("/api/recording", self.recording, methods=["POST"]),
            Route("/api/stream", self.stream, methods=["POST"]),
        ]

    async def state(self, _: Request) -> Response:
        """GET /api/state."""
        return JSONResponse(await run_sync(self._state))

    def _state(self) -> dict[str, Any]:
        return {
            **camera_state(self.camera, self.recorder),
            "model": model_state(self.models, self.camera.segmenter),
            **board_state(self._board.board()),
            "version": self._version,
        }

    async def frame(self, request: Request) -> Response:
        """GET /api/frame?after=N: the newest frame whose sequence is above N."""
        after = _after(request)
        if self.signal.waiting >= MOST_WAITING:
            busy = ConfigError("too many pages wait for a frame", fix="close some of them")
            raise RequestError(503, busy, {"Retry-After": "5"})

        def newer() -> Published | None:
            newest = self.camera.newest
            return newest if newest is not None and newest.sequence > after else None

        loop = asyncio.get_running_loop()
        until = loop.time() + LONG_POLL
        while (newest := newer()) is None:
            if (left := until - loop.time()) <= 0 or self.signal.closed:
                return Response(status_code=204)
            await self.signal.wait(left, newer)
        message = await run_sync(newest.message)
        return Response(message, media_type="application/octet-stream")

    async def model(self, request: Request) -> Response:
        """POST /api/model {"file": name}."""
        file = await _command(request, "file", str)
        names = [entry["name"] for entry in self.models.files()]
        if file not in names:
            expected = f"it must be one of {', '.join(names)}" if names else "it is a single file"
            unknown = BundleError("the bundle has no such file", expected=expected)
            raise RequestError(404, unknown)
        try:
            segmenter = await run_sync(partial(self.models.change, file))
        except ChangeUnderwayError as error:
            raise RequestError(409, error) from None
        except BackendError as error:
            raise RequestError(422, error) from None
        self.camera.use(segmenter)
        return await self.state(request)

    async def snapshot(self, _: Request) -> Response:
        """POST /api/snapshot."""
        newest = self.camera.newest
        if newest is None:
            raise RequestError(409, StreamError("there is no frame yet", fix="try again"))
        about = {
            "source": self.camera.source.name,
            "smoothing": self.camera.smoothing,
            "bundle": self.models.bundle and self.models.bundle.digest,
            "versions": {"unet-edge": self._version, **installed_versions()},
        }
        async with self._drawing:
            shot = await run_sync(make_snapshot, newest, about, datetime.now())
        disposition = f'attachment; filename="{shot.name}"'
        return Response(
            shot.content,
            media_type="application/zip",
            headers={"Content-Disposition": disposition},
        )

    async def recording(self, request: Request) -> Response:
        """POST /api/recording {"on": bool}."""
        on = await _command(request, "on", bool)
        if self.recorder is None:
            error = ConfigError(
                "recording is not allowed", fix="start the server with --record FOLDER"
            )
            raise RequestError(409, error)
        await run_sync(self.recorder.start if on else self.recorder.stop)
        return await self.state(request)

    async def stream(self, request: Request) -> Response:
        """POST /api/stream {"running": bool}."""
        running = await _command(request, "running", bool)
        await run_sync(self.camera.start if running else self.camera.stop)
        return await self.state(request)


def _after(request: Request) -> int:
    text = request.query_params.get("after", "0")
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise RequestError(400, ConfigError("after is no number"))
    return int(text)


async def _command(request: Request, name: str, kind: type[_T]) -> _T:
    """The value of the one member of a command's JSON."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_COMMAND:
            raise RequestError(413, ConfigError(f"a command has more than {_MOST_COMMAND} bytes"))
    try:
        value = json.loads(body)[name]
    except (ValueError, KeyError, TypeError, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise RequestError(
            400,
            ConfigError(
                "the body is not the command's JSON",
                expected=f"it must be an object with {name!r}",
            ),
        )
    return value
