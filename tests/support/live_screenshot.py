"""Makes docs/pictures/live.webp: the live page on a desktop, with masks of generated cells.

Run it from a checkout: .venv/bin/python tests/support/live_screenshot.py
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from browser import chromium
from live_page import next_canvas, open_page
from live_server import live_server
from paths import ROOT
from PIL import Image
from trained_data import BUNDLE

from unet_edge import __version__ as VERSION
from unet_edge.demo.cells import draw_cells
from unet_edge.streams.frame import Frame, StreamInfo

TARGET = ROOT / "docs" / "pictures" / "live.webp"
SIZE = (640, 480)
RATE = 5  # frames a second; the browser that draws them has no graphics processor


class Microscope:
    """A window of 640x480 px that moves over generated cells, as a slide under a microscope."""

    name = "microscope"
    is_live = True
    info = StreamInfo(SIZE, Fraction(RATE))

    def __init__(self) -> None:
        """The same cells each time."""
        pixels, _ = draw_cells(320, np.random.default_rng(5))
        self._slide = Image.fromarray(pixels).resize((1000, 1000), Image.Resampling.BICUBIC)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames."""
        width, height = SIZE
        for index in range(10_000):
            time.sleep(1 / RATE)
            left = 4 * index % (1000 - width)
            window = self._slide.crop((left, 100, left + width, 100 + height))
            pixels = np.asarray(window)
            yield Frame(index, index, Fraction(1, RATE), time.monotonic(), lambda p=pixels: p)


def main() -> None:
    """Show a minute of the page, and write the picture."""
    screen = {"width": 1360, "height": 1110}
    with (
        live_server(BUNDLE, source=lambda *_: Microscope()) as server,
        chromium() as browser,
        open_page(browser, f"{server.url}/", viewport=screen, color_scheme="light") as page,
    ):
        next_canvas(page)
        page.wait_for_timeout(62_000)  # the plot covers a minute
        # The server of tests has a version of its own.
        page.evaluate("text => { document.getElementById('version').textContent = text }", VERSION)
        shot = page.screenshot()
    # PNG would have three times the bytes, because the picture is noisy.
    Image.open(io.BytesIO(shot)).convert("RGB").save(TARGET, quality=82, method=6)


if __name__ == "__main__":
    main()
