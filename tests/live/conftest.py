"""A browser, and a server that shows the test pattern, for the tests of the live page."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import chromium
from live_page import live_command, open_page
from playwright.sync_api import Browser, Page

PATTERN = "pattern:320x240@10"


@pytest.fixture(scope="module")  # its event loop runs in this thread, where others need theirs
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(bundle_path: Path) -> Iterator[str]:
    with live_command(PATTERN, bundle_path, "--port", 0) as printed:
        yield printed


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    start = urllib.request.Request(f"{address}api/stream", b'{"running": true}', method="POST")
    start.add_header("Content-Type", "application/json")
    urllib.request.urlopen(start, timeout=60).close()  # a test before may have failed while stopped
    with open_page(browser, address) as opened:
        yield opened
