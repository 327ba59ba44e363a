"""Real Chromium, driven by Playwright, and axe-core to look for what keeps people out."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright
from support.requirements_met import unavailable

WIDTHS = {"desk": 1280, "phone": 390}
HEIGHT = 844
# Roots may not use Chromium's sandbox; what the tests open is their own.
ARGUMENTS = ["--no-sandbox", "--disable-gpu"]
SERIOUS = ("serious", "critical")


def chromium() -> str:
    """Where Chromium is; UPKEEP_TEST_CHROMIUM names one."""
    named = os.environ.get("UPKEEP_TEST_CHROMIUM")
    found = named or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if found is None:
        unavailable("no Chromium here: apt-get install chromium, or set UPKEEP_TEST_CHROMIUM")
    return found


@contextmanager
def running_browser() -> Iterator[Browser]:
    """While the block runs, a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, width: int, **options: Any) -> Iterator[Page]:
    """A page of a fresh session, so many pixels wide; anything that the page complains of fails the test."""
    context = browser.new_context(viewport={"width": width, "height": HEIGHT}, **options)
    complaints: list[str] = []
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.on(
        "console",
        lambda printed: complaints.append(printed.text) if printed.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda one: complaints.append(one.url) if not _is_own(one.url) else None)
    try:
        yield page
    finally:
        context.close()
    assert complaints == []


def serious_faults(page: Page) -> list[str]:
    """What axe-core finds serious or worse, each with the element where it is."""
    found = Axe().run(page).response["violations"]
    return [
        f"{fault['id']}: {node['html'][:200]}"
        for fault in found
        if fault["impact"] in SERIOUS
        for node in fault["nodes"]
    ]


def overflow(page: Page) -> list[str]:
    """Elements that reach beyond the right edge of the window; empty: nobody has to scroll sideways."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll('body *')].filter(element => {
            const box = element.getBoundingClientRect();
            const hidden = getComputedStyle(element).clipPath !== 'none' || box.width === 0;
            const edge = document.documentElement.clientWidth + 1;
            return !hidden && !element.closest('pre, svg, .stack thead') && box.right > edge;
        }).map(element => element.outerHTML.slice(0, 120))"""
    )
    return found


def broken_words(page: Page) -> list[str]:
    """Words that stand on two lines; of texts from elsewhere those of at most 20 letters, as longer ones may have to."""
    found: list[str] = page.evaluate(
        """() => {
            const found = [];
            const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            while (walk.nextNode()) {
                const text = walk.currentNode;
                if (text.parentElement.closest('code, script, svg, .sr, thead, option, textarea')) continue;
                for (const match of text.data.matchAll(/[\\p{L}\\p{N}]+/gu)) {
                    if (match[0].length > 20 && text.parentElement.closest('.fact')) continue;
                    const range = document.createRange();
                    range.setStart(text, match.index);
                    range.setEnd(text, match.index + match[0].length);
                    const tops = new Set([...range.getClientRects()].map(box => Math.round(box.top)));
                    if (tops.size > 1) found.push(match[0]);
                }
            }
            return found;
        }"""
    )
    return found


def _is_own(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "data:", "about:", "blob:", "file:"))
