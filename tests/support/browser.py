"""Headless Chromium, and what it measures on a page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright
from system_programs import require_program

# Relative luminance and contrast as WCAG 2.2 defines them. Grounds of the page are opaque.
CONTRASTS = """() => {
    const channel = (value) =>
        value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const parts = (color) => color.match(/[\\d.]+/g).map(Number);
    const luminance = ([red, green, blue]) =>
        0.2126 * channel(red / 255) + 0.7152 * channel(green / 255) + 0.0722 * channel(blue / 255);
    const contrast = (one, other) => {
        const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
        return (light + 0.05) / (dark + 0.05);
    };
    const ground = (element) => {
        for (let each = element; each; each = each.parentElement) {
            const color = parts(getComputedStyle(each).backgroundColor);
            if (color.length === 3 || color[3] === 1) return color;
            if (color[3] !== 0) throw new Error(`a ground that is not opaque: ${each.outerHTML}`);
        }
        throw new Error("no ground");
    };
    const texts = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        const text = walker.currentNode.textContent.trim();
        if (!text || !element.checkVisibility() || element.closest("noscript, option")) continue;
        const style = getComputedStyle(element);
        const color = element.closest("svg") ? style.fill : style.color;
        texts.push([text, contrast(parts(color), ground(element))]);
    }
    const edges = [];
    const controls = "button, select, input[type=password], .choice span";
    for (const element of document.querySelectorAll(controls)) {
        if (!element.checkVisibility()) continue;
        const around = ground(element.parentElement);
        const edge = parts(getComputedStyle(element).borderTopColor);
        if (edge[3] === 0) continue; // a button of text alone
        edges.push([element.textContent.trim(), contrast(edge, around)]);
    }
    return { texts, edges };
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Headless Chromium."""
    program = require_program("chromium", package="chromium")
    with sync_playwright() as playwright:
        # Tests may run as root, for whom Chromium has no sandbox.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
