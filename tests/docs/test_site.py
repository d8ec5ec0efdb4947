"""The site as a whole: every page can be reached, every room has one; slowly, that it builds and asks nobody for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
SETTINGS = (ROOT / "mkdocs.yml").read_text()
# what a browser fetches by itself: a link that is only followed is none of these
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|object|input)\b[^>]*?\b(?:src|srcset|data)=["']?(https?:)?//"""
    r"""|<link\b(?![^>]*rel=["']?canonical)[^>]*?href=["']?(https?:)?//"""
    r"""|@import\s+(?:url\()?["']?(https?:)?//|url\(["']?(https?:)?//""",
    re.IGNORECASE,
)


def test_every_page_is_in_the_navigation_and_nothing_else_is() -> None:
    named = re.findall(r"[\w/-]+\.md", SETTINGS.split("\nnav:\n")[1])
    assert sorted(named) == PAGES


def test_every_room_has_a_page_of_its_names() -> None:
    """All but the terminal edge, which the reference of the command is about."""
    source = ROOT / "src" / "twotower"
    rooms = {path.stem for path in source.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    rooms -= {"__init__", "__main__", "cli"}
    pages = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    shown = set(re.findall(r"^::: twotower\.(\w+)$", pages, re.MULTILINE))
    assert shown == rooms
    listed = (DOCS / "api" / "index.md").read_text()
    assert sorted(room for room in rooms if f"[{room}](" not in listed) == []


def test_nothing_comes_from_elsewhere_by_the_settings() -> None:
    assert re.search(r"^  font: false\b", SETTINGS, re.MULTILINE)
    assert "strict: true" in SETTINGS
    assert not re.search(r"https?://", SETTINGS)


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://unpkg.com/x"></script>',
        "<link rel=stylesheet href='//fonts.example/css'>",
        '<img alt="a" src=http://x/y.png>',
        "@import url(https://x/y.css)",
        "body { background: url('https://x/y.png') }",
    ],
)
def test_the_search_for_what_is_fetched_finds_it(text: str) -> None:
    assert FETCHED.search(text)


@pytest.mark.parametrize(
    "text", ['<a href="https://example.org">', '<img src="a.png">', '<link rel="icon" href="assets/x.svg">', "url(a.png)"]
)
def test_the_search_for_what_is_fetched_lets_the_rest_be(text: str) -> None:
    assert not FETCHED.search(text)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("material") is None or find_spec("mkdocstrings_handlers") is None:
        pytest.skip("needs the extra: pip install 'twotower[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site_builds_strictly_and_has_every_page(site: Path) -> None:
    for page in PAGES:
        assert (site / page).with_suffix(".html").exists()
    assert "early_stopping" in (site / "recipe.html").read_text()
    assert "in_batch_softmax" in (site / "api" / "losses.html").read_text()
    assert "<svg" in (site / "concepts.html").read_text()


@pytest.mark.slow
def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        found = FETCHED.search(path.read_text())
        assert found is None, f"{path.relative_to(site)}: {found.group() if found else ''}"
