"""The description of the interface, OpenAPI 3.1."""

from __future__ import annotations

from typing import Any, get_args

from unet_edge.live.answers import MEDIA_TYPES, Output

_ERROR = {
    "description": "An error: what was found and expected, and what to do.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}

_COMMON = {
    "401": "The token is missing or wrong.",
    "403": "A page of another site sent it.",
    "421": "The server does not answer to that name.",
    "429": "Too many requests, or wrong tokens: try again after Retry-After seconds.",
}


def description(version: str, *, with_camera: bool) -> dict[str, Any]:
    """The description of a server, with or without a camera, as plain JSON values."""
    paths: dict[str, Any] = {
        "/segment": {"post": _segment()},
        "/healthz": {
            "get": {
                "summary": "Whether the server works",
                "security": [],
                "responses": {"200": _json("It works."), "503": _json("The camera gives nothing.")},
            }
        },
        "/metrics": {"get": _get("Figures in Prometheus' text format", "text/plain")},
        "/openapi.json": {"get": _get("This description", "application/json")},
    }
    if with_camera:
        paths |= _camera_paths()
    return {
        "openapi": "3.1.0",
        "info": {"title": "unet-edge", "version": version},
        "paths": paths,
        "security": [{"token": []}, {}],
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error", "fix"],
                    "properties": {"error": {"type": "string"}, "fix": {"type": "string"}},
                }
            },
        },
    }


def _segment() -> dict[str, Any]:
    picture = {"schema": {"type": "string", "format": "binary"}}
    files = {"type": "array", "items": {"type": "string", "format": "binary"}}
    return {
        "summary": "Segment a picture, or the pictures of a form",
        "description": "Accept or ?output= chooses the answer: a palette PNG, an overlay, COCO, "
        "or shares. The pictures of a form are answered as JSON, or as a zip of masks or overlays.",
        "parameters": [
            {
                "name": "output",
                "in": "query",
                "schema": {"type": "string", "enum": list(get_args(Output))},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "image/*": picture,
                "application/octet-stream": picture,
                "multipart/form-data": {
                    "schema": {"type": "object", "properties": {"file": files}}
                },
            },
        },
        "responses": {
            "200": {
                "description": "The result.",
                "content": {media: {} for media in (*MEDIA_TYPES.values(), "application/zip")},
            },
            **_errors(
                {
                    "400": "The output is unknown.",
                    "406": "Accept names no type of ours.",
                    "408": "The upload was too slow; the body is empty.",
                    "413": "The upload is too large.",
                    "415": "The body is no picture.",
                    "422": "The picture is damaged or has too many pixels.",
                    "429": "The queue is full: try again after Retry-After seconds.",
                }
            ),
        },
    }


def _camera_paths() -> dict[str, Any]:
    after = {"name": "after", "in": "query", "schema": {"type": "integer", "default": 0}}
    frame = _get("The newest frame after a sequence number", "application/octet-stream")
    frame["parameters"] = [after]
    frame["responses"]["204"] = {"description": "No frame has come for 10 s."}
    frame["responses"] |= _errors({"503": "Too many pages wait for a frame."})
    snapshot = _get("The newest picture, its mask and what made them", "application/zip")
    snapshot["responses"] |= _errors({"409": "There is no frame yet."})
    model = _command("Use another file of the bundle", "file", "string")
    model["responses"] |= _errors(
        {
            "404": "The bundle has no such file.",
            "409": "Another model is being opened.",
            "422": "The file cannot run here.",
        }
    )
    recording = _command("Begin or finish a recording", "on", "boolean")
    recording["responses"] |= _errors(
        {"409": "Recording is not allowed.", "422": "The recording cannot begin."}
    )
    stream = _command("Start or stop the camera", "running", "boolean")
    stream["responses"] |= _errors({"422": "The camera cannot be opened."})
    return {
        "/api/state": {"get": _get("Source, model and figures", "application/json")},
        "/api/frame": {"get": frame},
        "/api/model": {"post": model},
        "/api/snapshot": {"post": snapshot},
        "/api/recording": {"post": recording},
        "/api/stream": {"post": stream},
    }


def _get(summary: str, media: str) -> dict[str, Any]:
    ok = {"description": "The answer.", "content": {media: {}}}
    return {"summary": summary, "responses": {"200": ok, **_errors({})}}


def _command(summary: str, name: str, kind: str) -> dict[str, Any]:
    schema = {"type": "object", "required": [name], "properties": {name: {"type": kind}}}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": _json("The state, as /api/state."),
            **_errors({"400": "The body is not the command's JSON."}),
        },
    }


def _json(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {}}}


def _errors(texts: dict[str, str]) -> dict[str, Any]:
    return {
        status: {**_ERROR, "description": text} for status, text in {**_COMMON, **texts}.items()
    }
