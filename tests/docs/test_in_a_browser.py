"""The site opened from disk: no page asks for anything that is not in its folder, complains, or is wider than a phone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.browser.chromium import launched, needs_a_browser

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted(str(path.relative_to(ROOT / "docs").with_suffix(".html")) for path in (ROOT / "docs").rglob("*.md"))
MISSING = [name for name in ("material", "mkdocstrings_handlers") if find_spec(name) is None]

pytestmark = [
    *needs_a_browser,
    pytest.mark.skipif(bool(MISSING), reason=f"needs the extra docs: no {', '.join(MISSING)}"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=300, check=True)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as opened:
        yield opened


@pytest.fixture
def phone(browser: Any) -> Iterator[Any]:
    """A page of a phone's width that notes in ``complaints`` what goes wrong, and in ``asked`` what it asks for."""
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.complaints, page.asked = [], []
    page.on("console", lambda message: page.complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_nobody_and_fits_a_phone(name: str, site: Path, phone: Any) -> None:
    phone.goto((site / name).as_uri())
    phone.wait_for_timeout(200)
    assert [url for url in phone.asked if not url.startswith(site.as_uri())] == []
    assert phone.complaints == []
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_drawing_of_the_towers_is_as_wide_as_the_page_allows(site: Path, phone: Any) -> None:
    phone.goto((site / "concepts.html").as_uri())
    box = phone.locator(".drawing svg").first.bounding_box()
    assert 300 <= box["width"] <= 390
    assert box["height"] > 300


def test_the_search_finds_something_without_a_server(site: Path, phone: Any) -> None:
    phone.set_viewport_size({"width": 1280, "height": 900})
    phone.goto((site / "index.html").as_uri())
    phone.click(".md-search__input")
    phone.keyboard.type("temperature")
    phone.wait_for_selector(".md-search-result__item")
    assert "emperature" in phone.locator(".md-search-result__list").inner_text()
    assert phone.complaints == []
