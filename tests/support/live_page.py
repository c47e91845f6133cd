"""The live page in headless Chromium, and the server behind it."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page

PATIENCE = 60_000  # ms; a loaded machine needs seconds for what takes a tenth alone


@contextmanager
def live_command(source: str, bundle: Path, *options: object) -> Iterator[str]:
    """Run `unet-edge live`; yields the address that it prints."""
    command = [sys.executable, "-m", "unet_edge", "live", source, bundle, "--threads", 1, *options]
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    try:
        printed = ""
        for line in process.stdout:
            printed += line
            if found := re.search(r"http://\S+", line):
                yield found[0]
                return
        raise AssertionError(f"the server ended: {printed}")
    finally:
        process.terminate()
        process.communicate(timeout=60)


@contextmanager
def open_page(
    browser: Browser, address: str, *, ignore: str | None = None, **context: Any
) -> Iterator[Page]:
    """The page at `address`, in a browser without history.

    It must print nothing, except for what matches the pattern `ignore`.
    """
    opened = browser.new_context(**context)
    opened.set_default_timeout(PATIENCE)
    page = opened.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        page.goto(address)
        yield page
        assert [text for text in errors if ignore is None or not re.search(ignore, text)] == []
    finally:
        opened.close()


@dataclass(frozen=True)
class Canvas:
    """What the canvas shows: RGBA pixels, uint8 (H, W, 4), and the frame that was drawn."""

    pixels: NDArray[np.uint8]
    sequence: int
    index: int
    file: str


_READ = """(before) => {
    const canvas = document.querySelector("canvas");
    const { width, height } = canvas;
    if (canvas.dataset.sequence === undefined || Number(canvas.dataset.sequence) <= before) return;
    // Read from a copy: the page's own canvas would be moved out of the graphics memory.
    const copy = new OffscreenCanvas(width, height);
    const context = copy.getContext("2d", { willReadFrequently: true });
    context.drawImage(canvas, 0, 0);
    const bytes = context.getImageData(0, 0, width, height).data;
    let text = "";
    for (let at = 0; at < bytes.length; at += 8192)
        text += String.fromCharCode(...bytes.subarray(at, at + 8192));
    return { width, height, bytes: btoa(text), ...canvas.dataset };
}"""


def read_canvas(page: Page, *, after: int = -1) -> Canvas:
    """Wait for a frame with a sequence above `after`, and read the canvas."""
    found = page.wait_for_function(_READ, arg=after, polling=20).json_value()
    pixels = np.frombuffer(base64.b64decode(found["bytes"]), np.uint8)
    return Canvas(
        pixels.reshape(found["height"], found["width"], 4),
        int(found["sequence"]),
        int(found["index"]),
        found["file"],
    )


def next_canvas(page: Page) -> Canvas:
    """Read a frame that was drawn after the call."""
    return read_canvas(page, after=read_canvas(page).sequence)
