"""The commands of the live page and of the service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import unet_edge
from unet_edge.cli.group import need
from unet_edge.cli.options import (
    backend_option,
    file_option,
    json_option,
    path_type,
    threads_option,
)
from unet_edge.cli.output import print_note

if TYPE_CHECKING:
    from unet_edge.runtime.packages import Package

_MODULES = ("starlette", "uvicorn", "python_multipart")


@click.command()
@click.argument("source")
@click.argument("model", metavar="BUNDLE", type=path_type())
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one."
)
@click.option("--smoothing", type=click.FloatRange(0, 1, max_open=True), default=0.0)
@file_option
@threads_option("as tuned, else all processors, at most four")
@backend_option
@json_option
def live(
    source: str,
    model: Path,
    host: str,
    port: int,
    smoothing: float,
    file: str | None,
    threads: int | None,
    backend: Package | None,
    as_json: bool,
) -> None:
    """Show the masks of a camera SOURCE on a page in the browser."""
    need("live", _MODULES)
    from unet_edge.live.app import make_app
    from unet_edge.live.camera import Camera
    from unet_edge.live.live_routes import LiveRoutes
    from unet_edge.live.model_choice import ModelChoice, ModelOptions
    from unet_edge.live.server import Server, listen
    from unet_edge.streams.open_source import open_source

    models = ModelChoice(model, ModelOptions(threads, backend))
    camera = Camera(lambda: open_source(source), models.open(file), smoothing=smoothing)
    routes = LiveRoutes(camera, models, None, unet_edge.__version__)
    with listen(host, port) as opened:
        camera.start()
        server = Server(make_app(routes), on_end=routes.signal.close)
        print_note(f"http://{host}:{opened.getsockname()[1]}/")
        try:
            server.run([opened])
        finally:
            camera.stop()
