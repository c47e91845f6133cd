"""The application: the page's files, the live routes, the service, and what guards them."""

from __future__ import annotations

import asyncio
import signal
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from unet_edge.errors import ConfigError, UnetEdgeError
from unet_edge.live.errors import (
    RequestError,
    answer_fault,
    answer_own_error,
    answer_request_error,
    error_response,
)
from unet_edge.live.metrics import Metrics
from unet_edge.live.security import Access, Guard
from unet_edge.live.static_files import StaticFile, static_files

Background = Callable[[], Awaitable[Any]]
"""Runs in the event loop from the server's start to its end."""


def make_app(
    routes: Sequence[Route],
    access: Access,
    metrics: Metrics,
    *,
    with_page: bool,
    background: Sequence[Background] = (),
) -> Guard:
    """Make the application: `routes`, and the page's files if `with_page`, behind a Guard."""
    page = static_files() if with_page else {}

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.ensure_future(each()) for each in background]
        for task in tasks:
            task.add_done_callback(_end_after_fault)
        yield
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):  # a fault was printed
                await task

    app = Starlette(
        routes=[
            *routes,
            *(Route(path, _static(file), methods=["GET"]) for path, file in page.items()),
        ],
        lifespan=lifespan,
        exception_handlers={
            RequestError: answer_request_error,
            UnetEdgeError: answer_own_error,
            HTTPException: _answer_http_error,
            ClientDisconnect: _answer_nobody,
            Exception: answer_fault,
        },
    )
    app.router.redirect_slashes = False
    return Guard(app, access, metrics, page=frozenset(page), known=frozenset(map(_path, routes)))


def _path(route: Route) -> str:
    return route.path


def _static(file: StaticFile) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return Response(file.content, media_type=file.media_type)

    return answer


async def _answer_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, ConfigError(error.detail), error.headers)


async def _answer_nobody(_: Request, __: Exception) -> Response:
    """The answer to a client that has gone: the connection drops it."""
    return Response(status_code=400)


def _end_after_fault(task: asyncio.Future[Any]) -> None:
    """End the server if a background task failed: without it, its limits would not hold."""
    if not task.cancelled() and (fault := task.exception()) is not None:
        traceback.print_exception(fault)
        signal.raise_signal(signal.SIGTERM)
