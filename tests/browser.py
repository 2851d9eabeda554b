"""Headless Chromium for tests of pages; they are skipped where it or Playwright is missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser with a profile of its own, which is gone afterwards."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs the Python package playwright"
    )
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("needs the program chromium")
    with playwright.sync_playwright() as run:
        browser = run.chromium.launch(executable_path=program, args=_OPTIONS)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, url: str, **options: Any) -> Iterator[Any]:
    """A page in a context of its own; its scripts must neither fail nor break its policy.

    options: of the context. A status that says no, such as 401, is no mistake of the page.
    """
    context = browser.new_context(**options)
    context.set_default_timeout(15_000)
    page, problems = context.new_page(), list[str]()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: _note(said, problems))
    page.goto(url)
    try:
        yield page
        assert problems == []
    finally:
        context.close()


def _note(said: Any, problems: list[str]) -> None:
    if said.type in ("error", "warning") and "responded with a status of" not in said.text:
        problems.append(said.text)
