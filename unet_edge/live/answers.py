"""What POST /segment answers: masks, overlays, COCO or JSON, as the request's Accept asks."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, assert_never

from unet_edge.errors import ConfigError, ImageError
from unet_edge.images.picture_file import opened
from unet_edge.live.errors import RequestError
from unet_edge.live.uploads import Upload
from unet_edge.masks.mask import png_bytes
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.system.files import json_text

Output = Literal["mask", "overlay", "coco", "json"]

MEDIA_TYPES: dict[Output, str] = {
    "mask": "image/png",
    "overlay": "image/jpeg",
    "coco": "application/vnd.coco+json",
    "json": "application/json",
}

_SUFFIXES: dict[Output, str] = {"mask": "mask.png", "overlay": "overlay.jpg"}

MOST_PIXELS = 50_000_000
"""Larger pictures are refused: 50 megapixels are 200 MB while they are decoded, and as large as
the cameras of phones make them."""

_QUALITY = 90  # without subsampling: colours end where classes do


@dataclass(frozen=True)
class Answer:
    """A body and its media type."""

    body: bytes
    media_type: str
    file_name: str | None = None


def choose_output(wanted: str | None, accept: str | None, *, many: bool) -> Output:
    """The output that a request asks for, by `?output=` or else by its Accept header.

    Raises RequestError: 400 for an unknown output, 406 if Accept names none of ours.
    """
    if wanted is not None:
        for output in MEDIA_TYPES:
            if wanted == output:
                return output
        raise RequestError(
            400,
            ConfigError(
                "that output is unknown", expected=f"it must be one of {', '.join(MEDIA_TYPES)}"
            ),
        )
    if not accept or not accept.strip():
        return "mask"
    types: dict[str, Output] = {media: output for output, media in MEDIA_TYPES.items()}
    if many:
        types = {"application/zip": "mask", MEDIA_TYPES["coco"]: "coco", "application/json": "json"}
    best: tuple[float, int, Output] | None = None
    for media, quality in _accepted(accept):
        for rank, (own, output) in enumerate(types.items()):
            fits = media in (own, "*/*", f"{own.partition('/')[0]}/*")
            if fits and quality > 0 and (best is None or (quality, -rank) > best[:2]):
                best = quality, -rank, output
    if best is None:
        raise RequestError(
            406,
            ConfigError("Accept names no type of ours", expected=f"one of {', '.join(types)}"),
        )
    return best[2]


def _accepted(accept: str) -> list[tuple[str, float]]:
    """The media types of an Accept header with their quality, 0..1 (RFC 9110, 12.5.1)."""
    found = []
    for entry in accept.lower().split(","):
        media, *parameters = (part.strip() for part in entry.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = min(1.0, max(0.0, float(parameter[2:])))
                except ValueError:
                    quality = 0.0
        found.append((media, quality))
    return found


def answer_one(segmenter: Segmenter, upload: Upload, output: Output) -> Answer:
    """Segment one picture. Raises RequestError, 415 or 422, if it cannot be read."""
    require_picture(upload.data)
    try:
        body = _body(segmenter, upload, output)
    except ImageError as error:
        raise RequestError(422, error) from None
    return Answer(body, MEDIA_TYPES[output])


def answer_many(
    segmenter: Segmenter, uploads: Sequence[Upload], output: Output, left: threading.Event
) -> Answer:
    """Segment the pictures of a form: a JSON list, or a zip of masks or overlays.

    A picture that cannot be read has an error in its entry. After `left` is set, no other picture
    is begun: the client has gone, or the server ends.
    """
    entries: list[dict[str, Any]] = []
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # stored: PNG and JPEG are compressed
        for number, upload in enumerate(uploads, start=1):
            if left.is_set():
                break
            entry: dict[str, Any] = {"name": upload.name}
            entries.append(entry)
            try:
                body = answer_one(segmenter, upload, output).body
            except RequestError as error:
                entry |= {"status": error.status, "error": error.error.problem}
                continue
            entry["status"] = 200
            if output in _SUFFIXES:
                # Numbered: a name in a request never becomes the name of a file.
                entry["file"] = f"{number:03}.{_SUFFIXES[output]}"
                archive.writestr(zipfile.ZipInfo(entry["file"]), body)
            else:
                entry["result"] = json.loads(body)
        document = {"model": segmenter.name, "pictures": entries}
        if output in _SUFFIXES:
            archive.writestr(zipfile.ZipInfo("index.json"), json_text(document))
    if output in _SUFFIXES:
        return Answer(buffer.getvalue(), "application/zip", "masks.zip")
    return Answer(json_text(document).encode(), "application/json")


def require_picture(data: bytes) -> None:
    """Read a picture's header. Raises RequestError, 415 for no picture and 422 for too many px."""
    try:
        with opened(data, load=False) as picture:
            width, height = picture.size
    except ImageError as error:
        raise RequestError(415, error) from None
    if width * height > MOST_PIXELS:
        raise RequestError(
            422,
            ImageError(
                f"the picture has {width}x{height} px",
                expected=f"it may have at most {MOST_PIXELS // 1_000_000} megapixels",
                fix="make it smaller, or cut it into parts",
            ),
        )


def _body(segmenter: Segmenter, upload: Upload, output: Output) -> bytes:
    mask = segmenter.segment(upload.data)
    match output:
        case "mask":
            return png_bytes(mask.picture("palette"))
        case "overlay":
            buffer = io.BytesIO()
            mask.overlay(upload.data).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
            return buffer.getvalue()
        case "coco":
            return json_text(mask.coco(upload.name or "picture")).encode()
        case "json":
            height, width = mask.labels.shape
            content = {
                "size": [width, height],
                "shares": mask.coverage(),
                "model": {
                    "file": segmenter.name,
                    "sha256": segmenter.digest,
                    "interpreter": segmenter.backend.name,
                },
            }
            return json_text(content).encode()
        case _:
            assert_never(output)
