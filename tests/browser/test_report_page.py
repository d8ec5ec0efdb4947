"""The report as a browser shows it: on a desk, on a phone, in the dark, from a file and without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.browser.chromium import launched, needs_a_browser
from tests.browser.contrast import poor_contrasts

from twotower.runs import parse_recipe, report_runs, run

HOSTILE = "</title></svg><script>document.title = 'broken'</script>&\"'<b>"

pytestmark = needs_a_browser

RECIPE = {
    "name": "seen-in-a-browser",
    "device": "cpu",
    "data": {"columns": {"user": "user", "item": "item", "time": "time"}},
    "split": {"kind": "time", "test": 120, "validation": 40},
    "query": {"features": [{"kind": "history", "embedding": {"dim": 8}}, {"kind": "number", "column": "age"}]},
    "candidate": {
        "features": [
            {"kind": "id", "column": "item", "embedding": {"dim": 8}},
            {"kind": "category", "column": "kind", "embedding": {"dim": 2}},
        ]
    },
    "model": {"layer_sizes": [8]},
    "refit": "train",
    "training": {"epochs": 6, "batch_size": 32, "early_stopping": {"metric": "recall@10"}},
    "evaluation": {"ks": [1, 5, 10], "draws": 50},
    "baselines": {"ials": {"factors": [4], "alpha": [1.0], "regularisation": [1.0], "iterations": [3]}},
}


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two runs of a world with titles that try to break the page."""
    folder = tmp_path_factory.mktemp("browser")
    rows = [(u, (5 * u + 3 * s + s * s) % 30) for s in range(30) for u in range(40)]
    items = [f"item {i} {HOSTILE}" if i % 3 == 0 else f"item {i}" for i in range(30)]
    interactions = pl.DataFrame(
        {
            "user": [f"u{u}" for u, _ in rows],
            "item": [items[i] for _, i in rows],
            "time": [1_600_000_000 + 60 * place for place in range(len(rows))],
        }
    )
    catalogue = pl.DataFrame({"item": items, "kind": [f"kind {i % 4}" for i in range(30)]})
    users = pl.DataFrame({"user": [f"u{u}" for u in range(40)], "age": [20.0 + u for u in range(40)]})
    tables = {"interactions": interactions, "items": catalogue, "users": users}
    recipes = [parse_recipe({**RECIPE, "seed": seed}) for seed in (1, 2)]
    runs = [run(recipe, folder / f"run-{recipe.seed}", **tables).folder for recipe in recipes]  # type: ignore[arg-type]
    found = report_runs(
        runs, folder / "report", interactions=interactions, items=catalogue, users_table=users, labels=["one <b>", "two"]
    )
    return found.page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as opened:
        yield opened


@pytest.fixture(params=[(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")], ids=lambda p: f"{p[0]}-{p[1]}")
def opened(request: pytest.FixtureRequest, browser: Any, page_path: Path) -> Iterator[Any]:
    """The page in a window of some width and scheme; complaints and requests are in ``page.said``."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, has_touch=width == 390)
    page = context.new_page()
    page.said = []
    page.requested = []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda asked: page.requested.append(asked.url))
    page.goto(page_path.as_uri())
    yield page
    context.close()


def test_the_page_loads_in_peace(opened: Any, page_path: Path) -> None:
    assert opened.said == []
    assert opened.requested == [page_path.as_uri()]
    assert opened.title() == "Report of one <b> and 1 more"


def test_nothing_sticks_out_or_lies_over_another(opened: Any) -> None:
    for details in (False, True):
        opened.evaluate("open => document.querySelectorAll('details').forEach(each => { each.open = open; })", details)
        widths = opened.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert widths[0] <= widths[1]
        overlaps = opened.evaluate(
            """() => {
                const found = [];
                for (const kind of ['.card', '.tile', '.user', '.finding', 'section']) {
                    const boxes = [...document.querySelectorAll(kind)].map((each) => each.getBoundingClientRect());
                    boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b, j) => {
                        const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                        const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                        if (across > 1 && down > 1) found.push([kind, i, i + 1 + j]);
                    }));
                }
                return found;
            }"""
        )
        assert overlaps == []


def test_every_part_shows_something(opened: Any) -> None:
    sizes = opened.evaluate(
        "[...document.querySelectorAll('svg.chart')].map(e => e.getBoundingClientRect()).map(b => [b.width, b.height])"
    )
    assert len(sizes) >= 12
    assert all(width > 250 and height > 150 for width, height in sizes)
    parts = opened.evaluate(
        """[...document.querySelectorAll('section')].map(e => [e.id, e.getBoundingClientRect().height,
            e.querySelectorAll('.card, table, .user, .finding, p:not(.lead)').length])"""
    )
    expected = {"verdict", "findings", "rankers", "training", "recall", "groups", "popularity", "vectors", "map", "users"}
    assert {part for part, _, _ in parts} >= {*expected, "recipe", "facts"}
    assert all(height > 60 and content > 0 for _, height, content in parts)


def test_text_can_be_read(opened: Any) -> None:
    opened.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert poor_contrasts(opened) == []


def test_labels_of_charts_stay_inside_and_apart(opened: Any) -> None:
    faults = opened.evaluate(
        """() => {
            const found = [];
            for (const svg of document.querySelectorAll('svg.chart')) {
                const frame = svg.getBoundingClientRect();
                const boxes = [...svg.querySelectorAll('text')].map((e) => [e.textContent, e.getBoundingClientRect()]);
                boxes.forEach(([text, a], i) => {
                    if (a.left < frame.left - 1 || a.right > frame.right + 1 || a.top < frame.top - 1 ||
                        a.bottom > frame.bottom + 1) found.push(['outside', text]);
                    boxes.slice(i + 1).forEach(([other, b]) => {
                        const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                        const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                        // boxes of text have room above and below the letters
                        if (across > 1.5 && down > 3) found.push(['overlap', text, other]);
                    });
                });
            }
            return found;
        }"""
    )
    assert faults == []


def test_a_point_tells_its_title(opened: Any) -> None:
    place = opened.evaluate(
        """() => {
            const point = document.querySelector('.points svg.chart use[aria-label]');
            point.closest('svg').scrollIntoView({ block: 'center' });
            const box = point.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }"""
    )
    opened.wait_for_timeout(100)
    assert opened.locator("#tip").is_hidden()
    if opened.viewport_size["width"] == 390:
        opened.touchscreen.tap(*place)
    else:
        opened.mouse.move(*place)
    opened.wait_for_timeout(100)
    assert opened.locator("#tip").is_visible()
    assert "train rows" in opened.locator("#tip").inner_text()
