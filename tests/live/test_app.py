"""The application ends when a part of it that works in the background fails."""

import asyncio
import signal

import pytest

pytest.importorskip("starlette", reason="starlette is part of unet-edge[live]")

from unet_edge.live.app import make_app
from unet_edge.live.metrics import Metrics
from unet_edge.live.security import Access


def served(background, seconds=0.2):
    """The signals that come while the application lives, with one task in the background."""
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))

    async def live():
        access = Access.of(["localhost"])
        app = make_app([], access, Metrics(), with_page=False, background=[background])
        messages = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive():
            kind = next(messages)
            if kind == "lifespan.shutdown":
                await asyncio.sleep(seconds)
            return {"type": kind}

        async def send(message):
            assert message["type"].endswith(".complete"), message

        await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)

    try:
        asyncio.run(live())
    finally:
        signal.signal(signal.SIGTERM, before)
    return came


def test_a_fault_in_the_background_is_printed_and_ends_the_server(capsys):
    async def fails():
        raise ValueError("the sweep is broken")

    assert served(fails) == [signal.SIGTERM]
    assert "ValueError: the sweep is broken" in capsys.readouterr().err


def test_the_end_of_the_server_is_no_fault(capsys):
    async def works():
        await asyncio.sleep(60)

    async def has_nothing_to_do():
        return

    assert served(works) == served(has_nothing_to_do) == []
    assert capsys.readouterr().err == ""
