"""The commands `live` and `serve`: a page with a camera's masks, and a service for pictures."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

import unet_edge
from unet_edge.cli.group import is_exported, need
from unet_edge.cli.mqtt import MqttOptions, mqtt_options
from unet_edge.cli.options import (
    backend_option,
    file_option,
    path_type,
    threads_option,
)
from unet_edge.cli.output import print_line, print_note
from unet_edge.errors import ConfigError
from unet_edge.system.captured_output import captured_output
from unet_edge.system.files import read_regular, require_writable_path

if TYPE_CHECKING:
    from unet_edge.live.camera import Camera
    from unet_edge.live.composition import Parts
    from unet_edge.live.model_choice import ModelChoice
    from unet_edge.live.recording import Recorder
    from unet_edge.live.security import Access
    from unet_edge.live.service import Service
    from unet_edge.runtime.packages import Package

_F = TypeVar("_F", bound=Callable[..., Any])

_MODULES = ("starlette", "uvicorn", "python_multipart")
_TOKEN_VARIABLE = "UNET_EDGE_TOKEN"
_MIB = 2**20
_SWITCH_SECONDS = 0.0005
_ANY_ADDRESS = ("0.0.0.0", "::", "")


@dataclass(frozen=True)
class _ServerOptions:
    """The values of the options that both commands have."""

    host: str
    port: int
    allowed_host: tuple[str, ...]
    token_file: Path | None
    file: str | None
    threads: int | None
    backend: Package | None
    queue: int
    workers: int
    max_upload: int
    as_json: bool


def _server_options(command: _F) -> _F:
    """Add the options of _ServerOptions to a command."""
    options = [
        click.option(
            "--host",
            default="127.0.0.1",
            show_default=True,
            help="Address to listen on; 0.0.0.0 for every network. A token is then needed, and "
            "printed.",
        ),
        click.option(
            "--port",
            type=click.IntRange(0, 65535),
            default=8000,
            show_default=True,
            help="Port to listen on; 0 takes a free one.",
        ),
        click.option(
            "--allowed-host",
            multiple=True,
            metavar="NAME",
            help="Another name that this machine is reached by, as behind a proxy. Repeat it for "
            "several.",
        ),
        click.option(
            "--token-file",
            type=path_type(),
            metavar="FILE",
            help=f"File with the token. The environment variable {_TOKEN_VARIABLE} may hold it, "
            "too.  [default: a new one at each start]",
        ),
        click.option(
            "--queue",
            type=click.IntRange(1, 1000),
            default=8,
            show_default=True,
            help="Requests to /segment that may wait; more are answered 429.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(1, 32),
            default=1,
            show_default=True,
            help="Requests to /segment that are segmented at once, each by an interpreter.",
        ),
        click.option(
            "--max-upload",
            type=click.IntRange(1, 1024),
            default=32,
            show_default=True,
            metavar="MIB",
            help="Largest upload, in MiB.",
        ),
        file_option,
        threads_option("as tuned, else all processors, at most four"),
        backend_option,
        click.option(
            "--json",
            "as_json",
            is_flag=True,
            help="Print one line of JSON with the address and the token when the server is ready.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("source")
@click.argument("model", metavar="BUNDLE", type=path_type())
@click.option(
    "--record",
    type=path_type(),
    metavar="FOLDER",
    help="Allow the page to record videos into this folder.  [default: no recording]",
)
@click.option(
    "--smoothing",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Weight of the frames before in each frame's scores, against flicker. It changes masks.",
)
@mqtt_options
@_server_options
def live(
    source: str,
    model: Path,
    record: Path | None,
    smoothing: float,
    mqtt: MqttOptions,
    **options: Any,
) -> None:
    """Show the masks of a camera on a page in the browser.

    SOURCE is a camera such as /dev/video0 or picamera, a network stream, a video file, or pattern
    for a test pattern. BUNDLE may be a file or a run, too. The newest frame is segmented whenever
    the model is free; older ones are dropped and counted.

    By default only this machine reaches the page. From another one, forward the port with ssh, or
    choose --host: then the address that is printed holds a token, and nobody gets in without it.
    The connection is not encrypted. Ctrl-C ends the server.

    \b
    Examples:
      unet-edge live /dev/video0 bundle
      unet-edge live picamera bundle --host 0.0.0.0
      unet-edge live 'rtsp://camera/stream' bundle --port 8080 --record recordings
      unet-edge live pattern bundle
      unet-edge live /dev/video0 bundle --mqtt mqtt://homeassistant.local
    """
    need("live", _MODULES)
    from unet_edge.live.camera import Camera
    from unet_edge.streams.open_source import open_source

    settings = _ServerOptions(**options)
    access, recorder = _access(settings), _recorder(record)
    open_source(source)  # a wrong name fails before the model is opened, which may take long
    with contextlib.ExitStack() as at_end, _listen(settings) as opened:
        models = _models(model, settings)
        with captured_output():
            segmenter = models.open(settings.file)
        camera = Camera(
            partial(open_source, source),
            segmenter,
            smoothing=smoothing,
            on_failure=lambda message: print_note(f"the camera has failed: {message}"),
        )
        if sink := mqtt.open(segmenter.spec):
            at_end.callback(sink.close)
            camera.watch(lambda published: sink.write(published.result))
        _run(_parts(models, settings, access, camera, recorder), settings, opened)


@click.command()
@click.argument("model", metavar="BUNDLE", type=path_type())
@_server_options
def serve(model: Path, **options: Any) -> None:
    """Segment pictures that other programs send, without a camera.

    POST a picture to /segment; Accept, or ?output=, chooses a mask (PNG), an overlay (JPEG), COCO
    or JSON. A form with several files is answered at once. /openapi.json describes everything,
    /healthz and /metrics are for monitoring.

    By default only this machine reaches the service. With another --host a token is needed, as
    'Authorization: Bearer TOKEN'. The connection is not encrypted. Ctrl-C ends the server.

    \b
    Examples:
      unet-edge serve bundle
      curl -T photo.jpg -X POST http://localhost:8000/segment > mask.png
      curl -F file=@a.jpg -F file=@b.jpg 'http://localhost:8000/segment?output=json'
      unet-edge serve bundle --host 0.0.0.0 --token-file token --workers 2
    """
    need("live", _MODULES)
    settings = _ServerOptions(**options)
    access = _access(settings)
    with _listen(settings) as opened:
        _run(_parts(_models(model, settings), settings, access), settings, opened)


def _models(path: Path, settings: _ServerOptions) -> ModelChoice:
    from unet_edge.live.model_choice import ModelChoice, ModelOptions

    return ModelChoice(path, ModelOptions(settings.threads, settings.backend))


def _recorder(folder: Path | None) -> Recorder | None:
    if folder is None:
        return None
    from unet_edge.live.recording import Recorder, overlay_video
    from unet_edge.streams.av_input import require_av

    require_av()  # at the start, and not when somebody presses the button
    folder.mkdir(parents=True, exist_ok=True)
    require_writable_path(folder)
    return Recorder(folder, overlay_video)


def _listen(settings: _ServerOptions) -> socket.socket:
    from unet_edge.live.server import listen

    return listen(settings.host, settings.port)


def _parts(
    models: ModelChoice,
    settings: _ServerOptions,
    access: Access,
    camera: Camera | None = None,
    recorder: Recorder | None = None,
) -> Parts:
    from unet_edge.live.composition import Parts

    service = _service(models, settings)
    return Parts(models, service, access, unet_edge.__version__, camera, recorder)


def _run(parts: Parts, settings: _ServerOptions, opened: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    from unet_edge.live.composition import closing_parts, make_server

    # The camera's thread waits for the interpreter's lock after each call into NumPy or a model, up
    # to this time while requests are handled. Under 200 slow clients, three runs kept 50 to 90 % of
    # the frames with Python's 5 ms, three runs all of them with this (AMD EPYC, two busy cores).
    sys.setswitchinterval(_SWITCH_SECONDS)
    with closing_parts(parts):
        if parts.camera is not None:
            parts.camera.start()
        else:
            with captured_output():
                parts.service.open_now()  # a model that cannot run is told at once
        server = make_server(parts, on_start=lambda: _announce(parts, settings, opened))
        server.run([opened])
    if not settings.as_json:
        print_note("\nstopped")


def _service(models: ModelChoice, settings: _ServerOptions) -> Service:
    from unet_edge.live.service import Service, ServiceSettings
    from unet_edge.runtime.threads import thread_count

    bounds = ServiceSettings(settings.queue, settings.workers, settings.max_upload * _MIB)
    threads = max(1, thread_count(settings.threads) // settings.workers)
    if settings.workers > 1 and not is_exported(models.path):
        raise ConfigError(
            "--workers is given for a Keras model",
            expected="Keras keeps every processor busy by itself",
            fix="leave out --workers",
        )
    return Service(
        lambda: models.open(settings.file, threads if settings.workers > 1 else None), bounds
    )


def _access(settings: _ServerOptions) -> Access:
    from unet_edge.live.security import LOOPBACK, Access, is_loopback, new_token, require_token

    token = None
    if settings.token_file:
        text = read_regular(settings.token_file, 4096).decode(errors="replace")
        token = require_token(text, str(settings.token_file))
    elif text := os.environ.get(_TOKEN_VARIABLE, ""):
        token = require_token(text, _TOKEN_VARIABLE)
    names: Sequence[str] = (*LOOPBACK, *settings.allowed_host)
    if settings.host not in _ANY_ADDRESS:
        names = (*names, settings.host)
    if not is_loopback(settings.host):
        machine = socket.gethostname()
        names = (*names, machine, f"{machine.partition('.')[0]}.local")
        token = token or new_token()
    return Access.of(names, token)


def _announce(parts: Parts, settings: _ServerOptions, opened: socket.socket) -> None:
    """Tell the address, once the server answers."""
    from unet_edge.live.security import is_loopback
    from unet_edge.system.service_notification import notify, writes_to_journal

    port = opened.getsockname()[1]
    token = parts.access.token
    host = socket.gethostname() if settings.host in _ANY_ADDRESS else settings.host
    base = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
    notify("READY=1")
    if settings.as_json:
        import json

        about = {"address": base, "host": settings.host, "port": port, "token": token}
        click.echo(json.dumps(about))
        return
    chosen = settings.token_file or (os.environ.get(_TOKEN_VARIABLE) and _TOKEN_VARIABLE)
    if chosen and writes_to_journal():  # others may read it
        print_note(f"the token is that of {chosen}")
        token = None
    fragment = f"#token={token}" if token and parts.camera else ""
    print_line(f"{base}{fragment}")
    if token and not parts.camera:
        print_line(f"Authorization: Bearer {token}")
    if settings.allowed_host and parts.access.token is None:
        print_note(
            f"who reaches it as {settings.allowed_host[0]} needs no token: give a --token-file, or "
            "let the proxy check who gets in"
        )
    if is_loopback(settings.host):
        machine = socket.gethostname()
        print_note(
            f"only this machine reaches it; from another one: ssh -L {port}:localhost:{port} "
            f"{machine}, then open http://localhost:{port}/"
        )
    else:
        print_note("the connection is not encrypted: use a network that you trust")
    if settings.host in _ANY_ADDRESS:
        name = host.partition(".")[0]
        print_note(
            f"if a browser does not find {host}, write {name}.local or the machine's IP address"
        )
    print_note("Ctrl-C ends it")
