"""The live page on a phone, by keyboard, for screen readers, in light and dark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from browser import CONTRASTS
from live_page import PATIENCE, next_canvas, open_page, read_canvas
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.slow  # a server, and a browser

expect.set_options(timeout=PATIENCE)

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1360, "height": 900}

# Everything on the page that may be hidden or folded.
UNFOLD = """() => {
    for (const each of document.querySelectorAll("details")) each.open = true;
    for (const each of document.querySelectorAll("[hidden]"))
        each.removeAttribute("hidden");
    for (const id of ["banner-title", "banner-text", "notice-text", "token-error", "damaged",
                      "throttling", "shown-rate", "file-progress"])
        document.getElementById(id).textContent = "Some words that somebody must be able to read.";
}"""


@pytest.fixture(params=["light", "dark"])
def colored_page(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Page]:
    with open_page(browser, address, color_scheme=request.param, viewport=DESKTOP) as page:
        next_canvas(page)
        yield page


@pytest.mark.parametrize(
    "status", ["running", "connecting", "reconnecting", "stopped", "ended", "failed", "down"]
)
def test_text_has_a_contrast_of_4_5_and_controls_of_3(colored_page: Page, status: str) -> None:
    page = colored_page
    page.evaluate(UNFOLD)
    page.evaluate("document.getElementById('token-dialog').show()")
    page.evaluate("document.getElementById('notice').dataset.kind = 'error'")
    page.evaluate("status => document.getElementById('status').dataset.status = status", status)
    # No frame may set the status again in between: both calls run in the page at once.
    found: dict[str, Any] = page.evaluate(CONTRASTS)
    assert len(found["texts"]) > 60
    # WCAG 2.2, 1.4.3 and 1.4.11, level AA.
    assert [(text, ratio) for text, ratio in found["texts"] if ratio < 4.5] == []
    assert len(found["edges"]) > 8
    assert [(text, ratio) for text, ratio in found["edges"] if ratio < 3] == []


def test_light_and_dark_differ(browser: Browser, address: str) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        with open_page(browser, address, color_scheme=scheme) as page:
            grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    light, dark = (sum(map(int, re.findall(r"\d+", ground))) for ground in grounds)
    assert light > 600
    assert dark < 100


@pytest.mark.parametrize("width", [320, 390, 768, 899, 1360])
def test_nothing_is_wider_than_the_screen(browser: Browser, address: str, width: int) -> None:
    with open_page(browser, address, viewport={"width": width, "height": 844}) as page:
        next_canvas(page)
        page.evaluate(UNFOLD)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


# A label is a target together with its control.
TARGETS = """() => [...document.querySelectorAll("button, select, summary, input")]
    .filter((each) => each.checkVisibility())
    .map((each) => {
        const target = ["checkbox", "radio"].includes(each.type) ? each.closest("label") : each;
        const { width, height } = target.getBoundingClientRect();
        return [each.id || each.value || each.textContent, width, height];
    })"""


def test_targets_are_at_least_44_px_for_a_finger(browser: Browser, address: str) -> None:
    with open_page(browser, address, viewport=PHONE, has_touch=True) as page:
        next_canvas(page)
        page.evaluate(UNFOLD)
        page.evaluate("document.getElementById('token-dialog').show()")
        targets = page.evaluate(TARGETS)
    assert len(targets) >= 15
    assert [target for target in targets if min(target[1:]) < 44] == []


def test_the_picture_is_on_the_first_screen_of_a_phone(browser: Browser, address: str) -> None:
    with open_page(browser, address, viewport=PHONE) as page:
        next_canvas(page)
        for name in ("Stop", "Snapshot"):
            box = page.get_by_role("button", name=name).bounding_box()
            assert box["y"] + box["height"] < PHONE["height"]
        picture = page.locator("canvas").bounding_box()
    assert picture["width"] > 360
    assert picture["width"] / picture["height"] == pytest.approx(320 / 240, rel=0.01)


FOCUSED = """() => {
    const each = document.activeElement;
    if (each === document.body) return null;
    // The focus of a radio button is drawn around its words.
    const seen = each.type === "radio" ? each.nextElementSibling : each;
    const { outlineStyle, outlineWidth } = getComputedStyle(seen);
    return [each.labels?.[0]?.textContent ?? each.textContent, outlineStyle, outlineWidth];
}"""


def test_every_control_is_reached_by_tab_with_a_visible_focus(page: Page) -> None:
    next_canvas(page)
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None:
            break
        reached.append(focused[0])
        assert focused[1] != "none", focused
        assert float(focused[2][:-2]) >= 2, focused
    names = [re.sub(r"\s+|[\d.]+ %", " ", name).strip() for name in reached]
    assert names == [
        "Skip to the controls", "Stop", "Snapshot", "Both", "Fill", "Opacity",
        "The same as a table", "cell", "membrane", "File", "Keyboard",
    ]  # fmt: skip
    page.get_by_text("Keyboard", exact=True).click()
    page.keyboard.press("Tab")
    expect(page.get_by_role("checkbox", name="Use these keys")).to_be_focused()


def test_the_page_works_by_keyboard_alone(page: Page) -> None:
    next_canvas(page)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # skip to the controls
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Stop")).to_be_focused()
    page.keyboard.press("Space")
    expect(page.locator("#status")).to_have_text("Stopped")
    expect(page.locator("#run")).to_be_focused()  # it is now "Start"
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Running")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Mask only")).to_be_checked()


def test_keys_do_what_the_page_says(page: Page) -> None:
    next_canvas(page)
    page.keyboard.press("o")
    expect(page.get_by_role("radio", name="Outlines")).to_be_checked()
    page.keyboard.press("v")
    expect(page.get_by_role("radio", name="Mask only")).to_be_checked()
    page.keyboard.press("v")
    page.keyboard.press("v")
    expect(page.get_by_role("radio", name="Both")).to_be_checked()
    page.keyboard.press("1")
    expect(page.get_by_role("checkbox", name="cell")).to_be_checked()
    page.keyboard.press("o")
    page.keyboard.press("+")
    expect(page.locator("#opacity-value")).to_have_text("60 %")
    page.keyboard.press("-")
    page.keyboard.press("-")
    expect(page.locator("#opacity-value")).to_have_text("40 %")
    page.keyboard.press("Space")
    expect(page.locator("#status")).to_have_text("Stopped")
    page.keyboard.press("Space")
    expect(page.locator("#status")).to_have_text("Running")
    listed = page.locator(".keys kbd").all_text_contents()
    assert listed == ["Space", "s", "r", "o", "v", "1", "9", "+", "-"]


def test_keys_can_be_switched_off_for_good(page: Page) -> None:
    # WCAG 2.2, 2.1.4: people who speak to their computer press letters by mistake.
    next_canvas(page)
    page.get_by_text("Keyboard", exact=True).click()
    page.get_by_role("checkbox", name="Use these keys").uncheck()
    page.reload()
    next_canvas(page)
    page.keyboard.press("o")
    page.wait_for_timeout(300)
    expect(page.get_by_role("radio", name="Fill")).to_be_checked()


def test_the_browser_remembers_how_masks_are_drawn(page: Page) -> None:
    next_canvas(page)
    page.get_by_role("radio", name="Outlines").check()
    page.get_by_role("slider", name="Opacity").fill("85")
    page.reload()
    next_canvas(page)
    expect(page.get_by_role("radio", name="Outlines")).to_be_checked()
    expect(page.locator("#opacity-value")).to_have_text("85 %")


def test_a_screen_reader_finds_landmarks_and_names(page: Page) -> None:
    next_canvas(page)
    expect(page.locator("canvas")).to_have_attribute("aria-label", re.compile("membrane"))
    expect(page.locator("#plot")).to_have_attribute("aria-label", re.compile("membrane"))
    tree = page.locator("body").aria_snapshot()
    for line in (
        "- banner:",
        '- heading "unet-edge live" [level=1]',
        "- main:",
        '- region "Picture":',
        'img "Camera picture with masks: cell',
        '- group "Controls":',
        '- button "Stop"',
        '- button "Snapshot"',
        '- group "Show":',
        '- radio "Both" [checked]',
        '- group "Draw masks as":',
        '- slider "Opacity"',
        '- region "Classes":',
        '- checkbox "membrane" [checked]',
        '- region "Speed":',
        '- table "Time of each stage":',
        '- region "Share of the picture, last minute":',
        'img "Share of the picture over the last minute: membrane',
        '- region "Model":',
        '- combobox "File":',
        '- region "Source and device":',
    ):
        assert line in tree
    assert page.evaluate("document.documentElement.lang") == "en"


def test_only_changes_of_the_status_are_announced(page: Page) -> None:
    next_canvas(page)
    expect(page.locator("#announcer")).to_have_text("Running.")
    live = page.locator("[aria-live], [role=status], [role=alert], [role=log], output")
    # The value of the slider belongs to what the user just moved.
    assert [each.get_attribute("id") for each in live.all()] == [
        "announcer", "opacity-value", "token-error",
    ]  # fmt: skip
    page.evaluate(
        """() => {
            window.changes = 0;
            new MutationObserver(() => window.changes++).observe(
                document.getElementById("announcer"),
                { childList: true, characterData: true, subtree: true });
        }"""
    )
    for _ in range(10):
        next_canvas(page)
    page.wait_for_timeout(1500)  # figures are shown again in this time
    assert page.evaluate("window.changes") == 0


def test_nothing_moves_for_those_who_ask_for_less_motion(browser: Browser, address: str) -> None:
    name = """() => {
        document.getElementById("status").dataset.status = "connecting";
        return getComputedStyle(document.querySelector("#status i")).animationName;
    }"""
    with open_page(browser, address) as page:
        read_canvas(page)
        assert page.evaluate(name) == "blink"
    with open_page(browser, address, reduced_motion="reduce") as page:
        read_canvas(page)
        assert page.evaluate(name) == "none"
