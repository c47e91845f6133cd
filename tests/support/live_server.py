"""A real live server in a thread of the test, on a free port."""

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from unet_edge.live.camera import Camera
from unet_edge.live.composition import Parts, closing_parts, make_server
from unet_edge.live.connections import ConnectionLimits
from unet_edge.live.model_choice import ModelChoice, ModelOptions
from unet_edge.live.security import LOOPBACK, Access
from unet_edge.live.server import listen
from unet_edge.live.service import Service, ServiceSettings
from unet_edge.streams.open_source import open_source

SMALL_PATTERN = "pattern:96x64@20"


@dataclass
class RunningServer:
    """A server that runs: its address, its parts and a client for it."""

    url: str
    port: int
    parts: Parts
    client: httpx.Client


@contextmanager
def live_server(
    bundle,
    *,
    source=SMALL_PATTERN,
    token=None,
    settings=None,
    limits=None,
    recorder=None,
    open_segmenter=None,
    start=True,
):
    """Run a server; without a `source` it has no camera."""
    models = ModelChoice(bundle, ModelOptions(threads=1))
    service = Service(open_segmenter or models.open, settings or ServiceSettings())
    camera = None
    if source is not None:
        make = source if callable(source) else lambda on_status: open_source(source, on_status)
        camera = Camera(make, models.open("model-int8.tflite"))
    access = Access.of(LOOPBACK, token)
    parts = Parts(models, service, access, "1.2.3", camera, recorder, limits or ConnectionLimits())
    started = threading.Event()
    with listen("127.0.0.1", 0) as opened, closing_parts(parts):
        port = opened.getsockname()[1]
        server = make_server(parts, on_start=started.set)
        thread = threading.Thread(target=server.run, args=([opened],), name="server")
        thread.start()
        try:
            assert started.wait(30)
            if camera is not None and start:
                camera.start()
            url = f"http://127.0.0.1:{port}"
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
                yield RunningServer(url, port, parts, client)
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def wait_until(condition, seconds=30.0):
    """Wait until `condition` gives something true, and return that; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "it has not come true"
        time.sleep(0.02)
    return result
