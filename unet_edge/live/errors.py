"""The errors of requests: a status and what our own error says, as JSON."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from unet_edge.errors import UnetEdgeError


class RequestError(Exception):
    """A request that is refused with a status."""

    def __init__(
        self, status: int, error: UnetEdgeError, headers: Mapping[str, str] | None = None
    ) -> None:
        """`error` is told to the client; `headers` are added to the answer."""
        super().__init__(str(error))
        self.status, self.error, self.headers = status, error, headers


def error_response(
    status: int, error: UnetEdgeError, headers: Mapping[str, str] | None = None
) -> Response:
    """An error as JSON: {"error": what was found and expected, "fix": what to do}."""
    content = {"error": error.problem, "fix": error.fix}
    return JSONResponse(content, status, headers)


async def answer_request_error(_: Request, error: Exception) -> Response:
    """Answer a RequestError."""
    assert isinstance(error, RequestError)
    return error_response(error.status, error.error, error.headers)


async def answer_fault(_: Request, __: Exception) -> Response:
    """Answer a fault of ours; uvicorn prints its traceback."""
    return error_response(500, UnetEdgeError("the server has a fault", fix="see its output"))


async def answer_own_error(_: Request, error: Exception) -> Response:
    """Answer an error of ours that no handler expects, such as a camera that cannot be opened."""
    assert isinstance(error, UnetEdgeError)
    return error_response(422, error)
