"""The route of the service, POST /segment."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from unet_edge.errors import ImageError
from unet_edge.live.answers import Answer, answer_many, answer_one, choose_output
from unet_edge.live.errors import RequestError
from unet_edge.live.service import QueueFullError, Service
from unet_edge.live.uploads import Upload, UploadMemory, form_files

_FORM = "multipart/form-data"


class ServiceRoutes:
    """Handlers of the service's requests."""

    def __init__(self, service: Service) -> None:
        """Handlers that use `service`."""
        self.service = service
        self._memory = UploadMemory(4 * service.settings.max_upload)

    def routes(self) -> list[Route]:
        """The routes, for Starlette."""
        return [Route("/segment", self.segment, methods=["POST"])]

    async def segment(self, request: Request) -> Response:
        """POST /segment: a picture, or a form with several."""
        content_type = request.headers.get("content-type", "")
        many = content_type.lower().startswith(_FORM)
        output = choose_output(
            request.query_params.get("output"), request.headers.get("accept"), many=many
        )
        left = threading.Event()
        try:
            self.service.require_place()  # before the body is read
            async with self._memory.body(request, self.service.settings.max_upload) as body:
                if many:
                    most = self.service.settings.most_files
                    uploads = await run_sync(form_files, content_type, body, most)
                    if not uploads:
                        raise RequestError(
                            422, ImageError("the form has no files", fix="send -F file=@photo.jpg")
                        )
                    job = partial(answer_many, uploads=uploads, output=output, left=left)
                else:
                    job = partial(answer_one, upload=Upload("", body), output=output)
                del body  # a form's files are copies
                answer = await _unless_gone(request, self.service.submit(job))
        except QueueFullError as error:
            raise RequestError(429, error, {"Retry-After": str(error.retry_after)}) from None
        finally:
            left.set()
        headers = {"Vary": "Accept"}
        if answer.file_name:
            headers["Content-Disposition"] = f'attachment; filename="{answer.file_name}"'
        return Response(answer.body, media_type=answer.media_type, headers=headers)


async def _unless_gone(request: Request, result: asyncio.Future[Answer]) -> Answer:
    """Wait for a job; cancel it when the client has closed the connection."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watch: asyncio.Future[None] = asyncio.ensure_future(gone())
    waiting: list[asyncio.Future[Any]] = [result, watch]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not result.done():
            raise ClientDisconnect
        return result.result()
    finally:
        watch.cancel()
        result.cancel()
