"""The page of a benchmark in headless Chromium: alone, on a phone, by keyboard, in both colours."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CONTRASTS, chromium
from made_up_benchmarks import made_up
from playwright.sync_api import Browser, Page

from unet_edge.benchmarking.html_report import report_html
from unet_edge.benchmarking.mask_scores import MaskScores
from unet_edge.benchmarking.sustained import Sample, Sustained
from unet_edge.bundle.bundle import Bundle

pytestmark = pytest.mark.slow  # a browser


@pytest.fixture(scope="module")
def page_file(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything on it: variants, a front, a warning, minutes on end, pictures."""
    bundle = Bundle.open(bundle_path)
    pictures = {golden.picture: 0.99 for golden in bundle.golden}
    scores = MaskScores(0.99, 0.98, 0.97, (0.98, 0.96), pictures)
    rows = tuple(
        dataclasses.replace(
            row,
            variant="openvino, 2 threads" if row.format == "onnx" else "",
            cost=dataclasses.replace(row.cost, golden=scores, labels=scores),
        )
        for row in made_up(0).files
        if row.cost
    )
    samples = tuple(Sample(float(n), 20, 50.0, 1500.0, 50.0, ()) for n in range(1, 60))
    result = dataclasses.replace(
        made_up(0),
        files=rows,
        environment={"OPENBLAS_CORETYPE": "Prescott"},
        sustained=Sustained("model-int8.tflite", 1.0, samples),
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report_html(result, bundle, pictures=2))
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(params=[(1280, "light"), (1280, "dark"), (390, "light"), (320, "dark")], ids=str)
def page(request: pytest.FixtureRequest, browser: Browser, page_file: Path) -> Iterator[Page]:
    width, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True
    )
    opened = context.new_page()
    problems: list[str] = []
    opened.on("console", lambda message: problems.append(message.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("requestfailed", lambda request: problems.append(request.url[:100]))
    opened.goto(page_file.as_uri())
    yield opened
    context.close()
    assert problems == []


def test_everything_is_there_without_network(page: Page) -> None:
    headings = page.locator("h2").all_inner_texts()
    assert headings == [
        "Warnings",
        "Cost and agreement",
        "Time against agreement",
        "Where the time goes",
        "Sustained speed",
        "Class by class",
        "Conditions",
        "Masks of golden pictures, worst first",
    ]
    complete = "[...document.images].every((each) => each.complete && each.naturalWidth > 0)"
    assert page.evaluate(complete)
    assert page.locator("img").count() == 2 * (2 + 2 * 3)


def test_nothing_is_wider_than_the_screen(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_text_has_a_contrast_of_4_5(page: Page) -> None:
    texts = page.evaluate(CONTRASTS)["texts"]
    assert len(texts) > 100
    # WCAG 2.2, 1.4.3, level AA.
    assert [(text, ratio) for text, ratio in texts if ratio < 4.5] == []


def test_what_scrolls_can_be_reached_by_keyboard(page: Page) -> None:
    scrolls = """() => [...document.querySelectorAll("*")]
        .filter((each) => each.scrollWidth > each.clientWidth + 1
            && getComputedStyle(each).overflowX === "auto")
        .map((each) => [each.tabIndex, each.getAttribute("aria-label") ?? ""])"""
    boxes = page.evaluate(scrolls)
    assert all(index == 0 and label for index, label in boxes)
    if page.viewport_size and page.viewport_size["width"] < 500:
        assert len(boxes) >= 4
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the figures"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#cost"


def test_a_screen_reader_gets_names_and_headers(page: Page) -> None:
    bare = """() => [
        ...[...document.querySelectorAll("th")].filter((each) => !each.scope),
        ...[...document.querySelectorAll("table")].filter((each) => !each.caption),
        ...[...document.querySelectorAll("img")].filter((each) => !each.alt),
        ...[...document.querySelectorAll("svg")].filter((each) => !each.ariaLabel),
    ].map((each) => each.outerHTML.slice(0, 80))"""
    assert page.evaluate(bare) == []
    for name in ("Cost and agreement", "Conditions"):
        assert page.get_by_role("region", name=name, exact=True).count() == 1
