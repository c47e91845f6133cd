"""The live page in a real browser: what it draws and shows, and what its controls do."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import numpy as np
import pytest
from live_page import PATIENCE, live_command, next_canvas, open_page, read_canvas
from live_server import live_server
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from unet_edge import Segmenter
from unet_edge.errors import StreamError
from unet_edge.images.placement import Labels, resize_labels
from unet_edge.live.recording import Recorder
from unet_edge.runtime.stream import SegmentedFrame
from unet_edge.streams.frame import Frame, StreamInfo
from unet_edge.streams.test_pattern import TestPattern

pytestmark = pytest.mark.slow  # a server, and a browser

expect.set_options(timeout=PATIENCE)

MEMBRANE = (255, 64, 133)
CELL = (0, 0, 0)


def offline(bundle: Path, index: int, *, file: str) -> Labels:
    """The mask of a frame of the pattern, segmented as a picture."""
    picture = TestPattern((320, 240), 10).picture(index)
    return Segmenter.open(bundle, file=file, threads=1).segment(picture).labels


def is_color(pixels: NDArray[np.uint8], color: tuple[int, int, int]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (pixels == (*color, 255)).all(axis=-1)
    return found


def choose(page: Page, label: str) -> None:
    page.get_by_role("radio", name=label, exact=True).check()


def fade_to(page: Page, percent: int) -> None:
    page.get_by_role("slider", name="Opacity").fill(str(percent))


def open_quiet_page(browser: Browser, address: str) -> AbstractContextManager[Page]:
    """A page of a test in which requests fail: Chromium prints each of them."""
    return open_page(browser, address, ignore=r"^error: Failed to load resource")


def test_a_filled_mask_is_the_offline_mask_pixel_by_pixel(page: Page, bundle_path: Path) -> None:
    fade_to(page, 100)
    for _ in range(3):
        shown = next_canvas(page)
        membrane = offline(bundle_path, shown.index, file=shown.file) == 1
        assert 0.05 < membrane.mean() < 0.95  # both classes occur
        assert shown.pixels.shape == (240, 320, 4)
        # No pixel of the pattern has the colour of membranes, so the two sets are equal.
        assert np.array_equal(is_color(shown.pixels, MEMBRANE), membrane)


def test_a_background_is_off_at_first_and_shows_the_picture(page: Page, bundle_path: Path) -> None:
    expect(page.get_by_role("checkbox", name="cell")).not_to_be_checked()
    fade_to(page, 100)
    shown = next_canvas(page)
    cell = offline(bundle_path, shown.index, file=shown.file) == 0
    picture = TestPattern((320, 240), 10).picture(shown.index)
    # JPEG at quality 75 or more: far from edges, a pixel of a flat area keeps its value by 8. The
    # mean over the picture includes edges.
    error = np.abs(shown.pixels[cell][:, :3].astype(int) - picture[cell]).mean()
    assert error < 8
    page.get_by_role("checkbox", name="cell").check()
    shown = next_canvas(page)
    cell = offline(bundle_path, shown.index, file=shown.file) == 0
    assert is_color(shown.pixels, CELL)[cell].all()


def test_a_mask_is_exact_on_a_picture_that_was_sent_smaller(
    browser: Browser, bundle_path: Path
) -> None:
    size = (1400, 420)
    with (
        live_command("pattern:1400x420@2", bundle_path, "--port", 0) as address,
        open_page(browser, address) as page,
    ):
        fade_to(page, 100)
        shown = next_canvas(page)
    assert shown.pixels.shape == (384, 1280, 4)
    segmenter = Segmenter.open(bundle_path, file=shown.file, threads=1)
    grid = segmenter.grid_labels(TestPattern(size, 2).picture(shown.index)).labels
    membrane = resize_labels(grid, 384, 1280) == 1
    assert np.array_equal(is_color(shown.pixels, MEMBRANE), membrane)


def test_outlines_are_the_pixels_within_1_px_of_another_class(
    page: Page, bundle_path: Path
) -> None:
    fade_to(page, 100)
    choose(page, "Outlines")
    shown = next_canvas(page)
    membrane = offline(bundle_path, shown.index, file=shown.file) == 1
    around = np.pad(membrane, 1, mode="edge")  # the picture's own edge is no outline
    neighbours = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    assert np.array_equal(is_color(shown.pixels, MEMBRANE), membrane & ~neighbours)


def test_opacity_mixes_colour_and_picture(page: Page, bundle_path: Path) -> None:
    choose(page, "Picture only")
    picture = next_canvas(page)
    choose(page, "Both")
    fade_to(page, 50)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_have_text("Stopped")
    mixed = read_canvas(page)
    choose(page, "Picture only")
    picture = read_canvas(page)
    assert picture.sequence == mixed.sequence
    membrane = offline(bundle_path, mixed.index, file=mixed.file) == 1
    # 128 of 255 is the opacity; the canvas rounds once for the layer and once for the sum.
    expected = picture.pixels[membrane][:, :3] * (127 / 255) + np.array(MEMBRANE) * (128 / 255)
    assert np.abs(mixed.pixels[membrane][:, :3] - expected).max() <= 2
    assert np.array_equal(mixed.pixels[~membrane], picture.pixels[~membrane])
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("#status")).to_have_text("Running")


def test_a_class_that_is_off_is_not_drawn(page: Page) -> None:
    fade_to(page, 100)
    assert is_color(next_canvas(page).pixels, MEMBRANE).any()
    page.get_by_role("checkbox", name="membrane").uncheck()
    assert not is_color(next_canvas(page).pixels, MEMBRANE).any()


def test_mask_only_and_picture_only(page: Page, bundle_path: Path) -> None:
    choose(page, "Mask only")
    expect(page.get_by_role("slider", name="Opacity")).to_be_disabled()
    shown = next_canvas(page)
    membrane = offline(bundle_path, shown.index, file=shown.file) == 1
    assert np.array_equal(is_color(shown.pixels, MEMBRANE), membrane)
    assert (shown.pixels[~membrane] == 0).all()  # clear
    choose(page, "Picture only")
    assert not is_color(next_canvas(page).pixels, MEMBRANE).any()


def test_figures_are_the_servers(page: Page, address: str) -> None:
    expect(page.locator("#rate")).to_have_text(re.compile(r"^\d+\.\d$"))
    expect(page.locator("#delay")).to_have_text(re.compile(r"^[\d.]+ ms$"))
    stages = page.locator("#stages tr")
    expect(stages).to_have_count(4)
    for name, row in zip(("decode", "place", "infer", "mask"), stages.all(), strict=True):
        expect(row).to_have_text(re.compile(rf"^{name}[\d.]+ ms$"))
    state = page.request.get(f"{address}api/state").json()
    rate = float(page.locator("#rate").inner_text())
    assert 0 < rate < 11  # the pattern gives 10 frames a second
    expect(page.locator("#source")).to_have_text("test pattern 320x240")
    expect(page.locator("#size")).to_have_text("320x240 px")
    expect(page.locator("#bundle")).to_have_text(state["model"]["bundle"])
    expect(page.locator("#version")).to_have_text(state["version"])
    read_canvas(page)
    assert page.title() == "test pattern 320x240 – unet-edge live"


def test_shares_are_those_of_the_offline_mask(page: Page, bundle_path: Path) -> None:
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_have_text("Stopped")
    shown = read_canvas(page)
    labels = offline(bundle_path, shown.index, file=shown.file)
    expect(page.get_by_role("img", name=re.compile("membrane"))).not_to_have_count(0)
    described = page.locator("canvas").get_attribute("aria-label")
    found = re.fullmatch(r"Camera picture with masks: cell (.+) %, membrane (.+) %", described)
    # The page rounds to 0.1 %.
    assert float(found[1]) == pytest.approx(100 * (labels == 0).mean(), abs=0.06)
    assert float(found[2]) == pytest.approx(100 * (labels == 1).mean(), abs=0.06)
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("#status")).to_have_text("Running")


def test_the_last_minute_is_a_plot_a_sentence_and_a_table(page: Page) -> None:
    plot = page.locator("#plot")
    expect(plot).to_have_attribute(
        "aria-label",
        re.compile(r"^Share of the picture over the last minute: membrane [\d.]+ % now, between"),
    )
    expect(plot.locator("path.share")).to_have_count(1)  # the background is off
    page.get_by_role("checkbox", name="cell").check()
    expect(plot.locator("path.share")).to_have_count(2)
    page.get_by_text("The same as a table").click()
    row = page.locator("#shares tr").nth(1)
    now, lowest, mean, highest = (float(text[:-2]) for text in row.locator("td").all_inner_texts())
    assert 5 < lowest <= min(now, mean) <= max(now, mean) <= highest < 95


def test_another_model_file_gives_its_own_masks(page: Page, bundle_path: Path) -> None:
    fade_to(page, 100)
    first = next_canvas(page)
    other = "model-int8.onnx" if first.file != "model-int8.onnx" else "model-float32.onnx"
    page.get_by_label("File").select_option(other)
    expect(page.locator("#model-file")).to_have_text(other)
    expect(page.locator("#notice-text")).to_have_text(f"The model file is {other}.")
    page.wait_for_function(
        "file => document.querySelector('canvas').dataset.file === file", arg=other
    )
    shown = read_canvas(page)
    mine = offline(bundle_path, shown.index, file=other) == 1
    theirs = offline(bundle_path, shown.index, file=first.file) == 1
    assert not np.array_equal(mine, theirs)  # the files differ on this frame
    assert np.array_equal(is_color(shown.pixels, MEMBRANE), mine)


def test_a_file_that_cannot_be_opened_is_refused_and_the_old_one_stays(
    browser: Browser, bundle_path: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for path in bundle_path.rglob("*"):
        if path.is_file():
            (bundle / path.relative_to(bundle_path)).parent.mkdir(parents=True, exist_ok=True)
            (bundle / path.relative_to(bundle_path)).write_bytes(path.read_bytes())
    (bundle / "model-int8.onnx").write_bytes(b"not a model")
    with (
        live_command("pattern:64x48@5", bundle, "--port", 0) as address,
        open_quiet_page(browser, address) as page,
    ):
        before = next_canvas(page).file
        page.get_by_label("File").select_option("model-int8.onnx")
        expect(page.locator("#notice")).to_have_attribute("data-kind", "error")
        expect(page.locator("#notice-text")).to_contain_text("model-int8.onnx")
        expect(page.get_by_label("File")).to_have_value(before)
        assert next_canvas(page).file == before


def test_a_file_that_another_page_chose_is_shown_as_chosen(
    browser: Browser, bundle_path: Path
) -> None:
    with (
        live_server(bundle_path) as server,
        open_page(browser, f"{server.url}/") as page,
    ):
        expect(page.get_by_label("File")).to_have_value("model-int8.tflite")
        server.client.post("/api/model", json={"file": "model-float32.onnx"}).raise_for_status()
        expect(page.locator("#model-file")).to_have_text("model-float32.onnx")
        expect(page.get_by_label("File")).to_have_value("model-float32.onnx")


def test_a_snapshot_is_the_offline_mask_of_its_picture(page: Page, bundle_path: Path) -> None:
    next_canvas(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Snapshot").click()
    name = download.value.suggested_filename
    assert re.fullmatch(r"unet-edge-\d{8}-\d{6}-\d+\.zip", name)
    expect(page.locator("#notice-text")).to_have_text(f"Snapshot: {name}")
    with zipfile.ZipFile(download.value.path()) as archive:
        made = json.loads(archive.read("made.json"))
        picture = np.asarray(Image.open(io.BytesIO(archive.read("picture.png"))).convert("RGB"))
        mask = np.asarray(Image.open(io.BytesIO(archive.read("mask.png"))))
    file = page.locator("#model-file").inner_text()
    segmenter = Segmenter.open(bundle_path, file=file, threads=1)
    assert np.array_equal(
        picture, TestPattern((320, 240), 10).picture(int(name.split("-")[-1][:-4]))
    )
    assert np.array_equal(mask, segmenter.segment(picture).labels)
    assert file in json.dumps(made)


def test_stop_keeps_the_picture_and_start_continues(page: Page) -> None:
    next_canvas(page)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_have_text("Stopped")
    expect(page.locator("#announcer")).to_have_text("Stopped.")
    expect(page.locator("#banner-title")).to_have_text("Stopped.")
    stopped = read_canvas(page)
    page.wait_for_timeout(500)
    assert read_canvas(page).sequence == stopped.sequence
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("#status")).to_have_text("Running")
    expect(page.locator("#banner")).to_be_hidden()
    assert read_canvas(page, after=stopped.sequence).sequence > stopped.sequence


def test_the_page_comes_back_by_itself_after_the_server(
    browser: Browser, bundle_path: Path
) -> None:
    pattern = "pattern:64x48@10"
    with ExitStack() as stack:
        with live_command(pattern, bundle_path, "--port", 0) as address:
            page = stack.enter_context(open_quiet_page(browser, address))
            for _ in range(6):
                last = next_canvas(page).sequence
        expect(page.locator("#status")).to_have_text("No connection")
        expect(page.locator("#banner")).to_contain_text(re.compile(r"Trying again in \d+ s"))
        expect(page.get_by_role("button", name="Try now")).to_be_visible()
        port = address.rstrip("/").rsplit(":", 1)[1]
        stack.enter_context(live_command(pattern, bundle_path, "--port", port))
        expect(page.locator("#status")).to_have_text("Running")
        expect(page.locator("#banner")).to_be_hidden()
        # The new server counts from one again.
        assert read_canvas(page).sequence < last or next_canvas(page).sequence > 0


COUNT = """() => {
    const real = window.fetch;
    window.going = 0;
    window.most = 0;
    window.fetch = async (path, options) => {
        const isFrame = path.startsWith("api/frame");
        window.going += isFrame;
        window.most = Math.max(window.most, window.going);
        try {
            return await real(path, options);
        } finally {
            window.going -= isFrame;
        }
    };
}"""

HIDE = """(hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_one_frame_is_asked_for_at_a_time(page: Page) -> None:
    next_canvas(page)
    page.evaluate(COUNT)
    for _ in range(5):
        next_canvas(page)
    assert page.evaluate("window.most") == 1


def test_a_hidden_page_asks_for_nothing_and_then_for_the_newest(page: Page) -> None:
    next_canvas(page)
    page.evaluate(HIDE, True)
    page.wait_for_timeout(500)  # a request may be on its way
    hidden_at = read_canvas(page).sequence
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2500)
    assert asked == []
    assert read_canvas(page).sequence == hidden_at
    page.evaluate(HIDE, False)
    # The pattern gave 25 frames in the meantime, fewer on a loaded machine.
    assert read_canvas(page, after=hidden_at).sequence > hidden_at + 2


TOKEN = "a-token-of-enough-letters"


def test_a_token_in_the_address_is_used_and_removed_from_it(
    browser: Browser, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNET_EDGE_TOKEN", TOKEN)
    with live_command("pattern:64x48@10", bundle_path, "--port", 0) as printed:
        assert printed.endswith(f"/#token={TOKEN}")
        with open_page(browser, printed) as page:
            next_canvas(page)
            assert page.url == printed.partition("#")[0]
            page.reload()  # the tab remembers it
            next_canvas(page)


def test_a_token_is_asked_for_until_it_is_right(
    browser: Browser, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNET_EDGE_TOKEN", TOKEN)
    with (
        live_command("pattern:64x48@10", bundle_path, "--port", 0) as printed,
        open_quiet_page(browser, printed.partition("#")[0]) as page,
    ):
        dialog = page.get_by_role("dialog", name="Token needed")
        expect(dialog).to_be_visible()
        expect(page.locator("#status")).to_have_text("Token needed")
        field = page.get_by_label("Token", exact=True)
        expect(field).to_be_focused()
        for _ in range(3):  # Chromium closes a dialog at the second one
            page.keyboard.press("Escape")
        expect(dialog).to_be_visible()
        expect(page.get_by_role("alert")).to_have_count(0)
        field.fill("a-wrong-token-of-enough-letters")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("The server did not accept this token.")
        expect(field).to_have_value("")
        field.fill(TOKEN)
        page.get_by_role("button", name="Connect").click()
        expect(dialog).to_be_hidden()
        next_canvas(page)


def test_a_recording_is_started_and_ended(
    browser: Browser, bundle_path: Path, tmp_path: Path
) -> None:
    pytest.importorskip("av", reason="no PyAV, which writes videos")
    options = ("--port", 0, "--record", tmp_path)
    with (
        live_command("pattern:64x48@10", bundle_path, *options) as address,
        open_page(browser, address) as page,
    ):
        next_canvas(page)
        page.get_by_role("button", name="Record", exact=True).click()
        expect(page.locator("#record")).to_have_text(re.compile(r"End recording 0:0[1-9]"))
        page.locator("#record").click()
        expect(page.locator("#record")).to_have_text("Record")
        expect(page.locator("#notice-text")).to_have_text(re.compile(r"Recorded 0:\d\d into "))
        name = page.locator("#notice-text").inner_text().rsplit(" ", 1)[1]
    (file,) = tmp_path.iterdir()
    assert file.name == Path(name).name
    import av

    with av.open(str(file)) as video:
        assert (video.streams.video[0].width, video.streams.video[0].height) == (64, 48)


class FullDisk:
    """A sink that cannot write its second frame."""

    def __init__(self, path: Path) -> None:
        self.frames = 0

    def write(self, result: SegmentedFrame) -> None:
        self.frames += 1
        if self.frames == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        pass


def test_a_recording_that_fails_says_why(
    browser: Browser, bundle_path: Path, tmp_path: Path
) -> None:
    with (
        live_server(bundle_path, recorder=Recorder(tmp_path, FullDisk)) as server,
        open_page(browser, f"{server.url}/") as page,
    ):
        next_canvas(page)
        page.get_by_role("button", name="Record", exact=True).click()
        expect(page.locator("#notice-text")).to_contain_text("The recording ended: ")
        expect(page.locator("#notice-text")).to_contain_text("No space left on device")
        expect(page.locator("#record")).to_have_text("Record")
        next_canvas(page)  # the camera goes on


class FullAtTheEnd(FullDisk):
    """A sink that cannot finish its file."""

    def write(self, result: SegmentedFrame) -> None:
        pass

    def close(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_recording_that_cannot_be_finished_is_not_told_as_recorded(
    browser: Browser, bundle_path: Path, tmp_path: Path
) -> None:
    with (
        live_server(bundle_path, recorder=Recorder(tmp_path, FullAtTheEnd)) as server,
        open_page(browser, f"{server.url}/") as page,
    ):
        next_canvas(page)
        page.get_by_role("button", name="Record", exact=True).click()
        expect(page.locator("#record")).to_have_text(re.compile("End recording"))
        page.locator("#record").click()
        expect(page.locator("#record")).to_have_text("Record")
        expect(page.locator("#notice-text")).to_contain_text("No space left on device")


def test_without_record_there_is_no_button_for_it(page: Page) -> None:
    next_canvas(page)
    expect(page.locator("#record")).to_be_hidden()


class FailingSource:
    """Gives a frame, then fails as a camera that is unplugged for good."""

    name = "a camera"
    is_live = True
    info = StreamInfo((64, 48))

    def frames(self) -> Iterator[Frame]:
        yield next(TestPattern((64, 48), 10).frames())
        raise StreamError("the camera gave no picture", fix="run: lsusb")


def test_a_source_that_fails_says_why(browser: Browser, bundle_path: Path) -> None:
    with (
        live_server(bundle_path, source=lambda *_: FailingSource()) as server,
        open_page(browser, f"{server.url}/") as page,
    ):
        expect(page.locator("#status")).to_have_text("Failed")
        expect(page.locator("#banner")).to_contain_text("the camera gave no picture")
        expect(page.locator("#announcer")).to_contain_text("the camera gave no picture")
        expect(page.get_by_role("button", name="Start", exact=True)).to_be_visible()


def test_what_only_some_machines_have_is_shown(page: Page, address: str) -> None:
    """Temperature, throttling and files that do not run: put into the real server's answer."""

    def answer(route: Route) -> None:
        state = route.fetch().json()
        state |= {"temperature": 81.25, "throttling": ["under-voltage", "frequency capped"]}
        state |= {"damaged": 3, "frames": 2_345_678, "dropped": 1_234_567}
        first, second = state["model"]["files"][:2]
        first |= {"runs": False}
        second |= {"kept_floor": False, "agreement": 0.98765}
        state["source"] |= {"status": "reconnecting", "message": "no frame for 5 s"}
        route.fulfill(json=state)

    page.route("**/api/state", answer)
    expect(page.locator("#temperature")).to_have_text("81.3 °C")
    expect(page.locator("#throttling")).to_have_text(
        "The board is throttled: under-voltage, frequency capped."
    )
    expect(page.locator("#damaged")).to_have_text("3 damaged frames were left out.")
    expect(page.locator("#dropped")).to_have_text("1.2M")
    expect(page.locator("#dropped-part")).to_have_text("34 %")
    expect(page.locator("#frames")).to_have_text("2,345,678")
    first, second = page.locator("#file option").all()[:2]
    expect(first).to_have_text(re.compile("^model-float32.tflite .* does not run here$"))
    expect(first).to_be_disabled()
    expect(second).to_have_text("model-float16.tflite · 98.765 % · below its floor")
    expect(second).to_be_enabled()
    expect(page.locator("#status")).to_have_text("Reconnecting")
    expect(page.locator("#banner")).to_contain_text("no frame for 5 s")
    page.unroute_all(behavior="wait")


def test_nothing_is_fetched_from_elsewhere(browser: Browser, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    next_canvas(page)
    context.close()
    assert len(asked) > 5
    assert {url for url in asked if not url.startswith((address, "blob:"))} == set()
