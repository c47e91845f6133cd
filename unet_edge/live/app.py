"""The application: the page's files, the live routes, the service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from unet_edge.errors import ConfigError, UnetEdgeError
from unet_edge.live.errors import (
    RequestError,
    answer_own_error,
    answer_request_error,
    error_response,
)
from unet_edge.live.live_routes import LiveRoutes
from unet_edge.live.static_files import StaticFile, static_files


def make_app(live: LiveRoutes | None) -> Starlette:
    """The application; `live` is None for a server without a camera."""
    routes: list[Route] = []
    if live is not None:
        routes += live.routes()
        routes += [
            Route(path, _static(file), methods=["GET"]) for path, file in static_files().items()
        ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield

    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={
            RequestError: answer_request_error,
            UnetEdgeError: answer_own_error,
            HTTPException: _answer_http_error,
        },
    )
    app.router.redirect_slashes = False
    return app


def _static(file: StaticFile) -> Callable[[Request], Response]:
    def answer(_: Request) -> Response:
        return Response(file.content, media_type=file.media_type)

    return answer


async def _answer_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, ConfigError(error.detail), error.headers)
