"""The service's page as a browser shows it: on a desk, on a phone, in the dark, with the keyboard alone, when things fail."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.browser.chromium import launched, needs_a_browser
from tests.browser.contrast import poor_contrasts
from tests.serving.served import Served, served

from twotower.bundle import activate, publish
from twotower.recommender import bundle_folder
from twotower.runs import parse_recipe, run

TOKEN = "a-token-of-many-signs"
HOSTILE = "</title></svg><script>document.title = 'broken'</script><img src=x onerror=\"document.title='broken'\">&amp;<b>"
ARABIC = "\u0645\u0633\u0627\u0621 \u0627\u0644\u062e\u064a\u0631 (12)"
FIRST_USER = 9_007_199_254_740_993  # 2^53 + 1: the first integer that a float does not hold
KINDS = ("Quiet", "Loud", "Slow & sad")

pytestmark = needs_a_browser

RECIPE = {
    "name": "page",
    "device": "cpu",
    "data": {"columns": {"user": "user", "item": "item", "time": "time"}},
    "split": {"kind": "time", "test": 120, "validation": 40},
    "query": {
        "features": [
            {"kind": "history", "embedding": {"dim": 8}},
            {"kind": "number", "column": "viewer_age"},
            {"kind": "category", "column": "viewer_city", "embedding": {"dim": 4}},
        ]
    },
    "candidate": {
        "features": [
            {"kind": "id", "column": "item", "embedding": {"dim": 8}},
            {"kind": "category", "column": "kind", "embedding": {"dim": 4}},
        ]
    },
    "model": {"layer_sizes": [8]},
    "refit": "train",
    "training": {"epochs": 8, "batch_size": 32, "early_stopping": {"metric": "recall@10"}},
    "evaluation": {"ks": [1, 10], "draws": 20},
}


def title_of(item: int) -> str:
    if item % 5 == 0:
        return f"Item {item:02} {HOSTILE}"
    return f"{ARABIC} Item {item:02}" if item % 7 == 0 else f"Item {item:02}"


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder of two versions of a world in which users keep to one kind of items, and the versions' names, active first."""
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(3)
    rows = [(user, 3 * int(rng.integers(0, 12)) + user % 3) for _ in range(24) for user in range(40)]
    interactions = pl.DataFrame(
        {
            "user": [FIRST_USER + user for user, _ in rows],
            "item": [title_of(item) for _, item in rows],
            "time": [1_600_000_000 + 60 * place for place in range(len(rows))],
        }
    )
    items = pl.DataFrame(
        {
            "item": [title_of(item) for item in range(36)],
            "kind": [KINDS[item % 3] for item in range(36)],
            "release_year": [1980 + item for item in range(36)],
            "minutes": [60.5 + item for item in range(36)],
        }
    )
    users = pl.DataFrame(
        {
            "user": [FIRST_USER + user for user in range(40)],
            "viewer_age": [20.0 + user for user in range(40)],
            "viewer_city": [("Rome", "Oslo", "\u6771\u4eac")[user % 3] for user in range(40)],
        }
    )
    tables: Any = {"interactions": interactions, "items": items, "users": users}
    names = []
    for seed in (1, 2):
        made = run(parse_recipe({**RECIPE, "seed": seed}), folder / f"run-{seed}", **tables)
        names.append(publish(bundle_folder(made.folder), folder / "versions"))
    activate(folder / "versions", names[0])
    return folder / "versions", names


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def service(versions: tuple[Path, list[str]], token_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(versions[0], tmp_path_factory.mktemp("service"), "--token-file", str(token_file)) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as opened:
        yield opened


@pytest.fixture
def expect() -> Any:
    from playwright.sync_api import expect

    return expect


@pytest.fixture
def open_page(browser: Any, service: Served) -> Iterator[Callable[..., Any]]:
    """Pages at an address' hash; complaints and requests are in ``page.said`` and ``page.requested``."""
    contexts = []

    def make(hash_text: str = "", *, width: int = 1280, scheme: str = "light", port: int = service.port, **options: Any) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, has_touch=width < 500, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.said, page.requested = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda asked: page.requested.append(asked.url))
        page.on("dialog", lambda dialog: page.said.append(f"dialog {dialog.message}"))
        page.goto(f"http://127.0.0.1:{port}/{hash_text}")
        page.locator("#all, #gate, #start-problem").locator("visible=true").first.wait_for()
        return page

    yield make
    for context in contexts:
        context.close()


def at_rest(page: Any) -> Any:
    """The page when its question is answered."""
    page.locator("#answers:not([aria-busy])").wait_for()
    return page


def titles(page: Any) -> list[str]:
    """Of the recommendations, in their order."""
    found: list[str] = at_rest(page).locator("#list > li > .what .title").all_inner_texts()
    return found


def liked(page: Any) -> list[str]:
    found: list[str] = page.locator("#history .title").all_inner_texts()
    return found


def scores(page: Any) -> list[float]:
    """Of the recommendations, as they are shown."""
    texts = at_rest(page).locator("#list > li > .measure .figure").all_inner_texts()
    return [float(text.split()[-1].replace("\u2212", "-")) for text in texts]


def user(number: int) -> str:
    return str(FIRST_USER + number)


def choose_user(page: Any, number: int) -> None:
    page.locator("#user").fill(user(number)[:-1])
    page.get_by_role("option", name=user(number), exact=True).click()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")])
def test_it_loads_in_peace_fits_and_can_be_read(open_page: Any, service: Served, width: int, scheme: str) -> None:
    page = open_page(f"#user={user(4)}&is:kind=Quiet&min:minutes=61", width=width, scheme=scheme)
    titles(page)
    page.locator("#filters-open").click()
    page.locator("#list .ask", has_text="Why").first.click()
    page.locator("#list .ask", has_text="Similar").nth(3).click()
    page.locator("#list .panel .figure").nth(6).wait_for()
    page.locator("#words").click()
    page.locator("#words-list [role=option]").first.wait_for()
    page.keyboard.press("ArrowDown")
    for mode in ("user", "features", "history"):
        assert poor_contrasts(page) == []
        sizes = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert sizes[0] <= sizes[1]
        page.locator(f"#modes [value={mode}]").check()
        at_rest(page)
    assert page.said == []
    assert all(url.startswith((f"http://127.0.0.1:{service.port}/", "data:")) for url in page.requested)
    assert f"http://127.0.0.1:{service.port}/v1/recommend" in page.requested


def test_a_user_is_found_chosen_and_answered(open_page: Any, expect: Any) -> None:
    page = open_page()
    newcomer = titles(page)
    assert len(newcomer) == 10
    assert "user=" not in page.url
    choose_user(page, 4)
    expect(page.locator("#whom")).to_have_text(f"For user {user(4)}")
    theirs = titles(page)
    assert theirs != newcomer
    assert f"user={user(4)}" in page.url
    assert page.title() == f"{user(4)} \u2013 twotower"
    known = liked(page)
    assert known
    assert not set(known) & set(theirs)
    expect(page.locator("#liked-count")).to_have_text(re.compile(r"^\d+ items$"))
    assert scores(page) == sorted(scores(page), reverse=True)
    widths = page.evaluate("[...document.querySelectorAll('#list > li > .measure .bar > span')].map(e => e.offsetWidth)")
    assert len(set(widths)) > 1
    details = page.locator("#list .details").first.inner_text()
    assert re.search(r"(Quiet|Loud|Slow & sad)\s· \d{4}\s· minutes \d+", details)
    expect(page.locator("#latency")).to_have_text(re.compile(r"^[\d.]+ ms$"))


def test_filters_and_what_was_seen(open_page: Any, expect: Any) -> None:
    page = open_page(f"#user={user(4)}")
    before = titles(page)
    known = liked(page)
    page.get_by_label("Include what they have seen").check()
    assert set(titles(page)) & set(known)
    expect(page.locator("#list .tag").first).to_have_text("liked")
    copy = open_page(page.url[page.url.index("#") :])
    assert titles(copy) == titles(page)
    page.get_by_label("Include what they have seen").uncheck()
    assert titles(page) == before
    page.locator("#filters-open").click()
    page.get_by_label("Loud").check()
    assert all(text.startswith("Loud") for text in at_rest(page).locator("#list > li > .what .details").all_inner_texts())
    page.get_by_label("Quiet").check()
    kinds = {text[:4] for text in at_rest(page).locator("#list > li > .what .details").all_inner_texts()}
    assert kinds == {"Loud", "Quie"}
    page.get_by_label("release year from").fill("2010")
    expect(page.locator("#wishes")).to_contain_text("release year ≥ 2010")
    years = [
        int(re.findall(r"\d{4}", text)[0]) for text in at_rest(page).locator("#list > li > .what .details").all_inner_texts()
    ]
    assert years
    assert min(years) >= 2010
    page.get_by_role("button", name="Without the filter kind Loud").click()
    assert all(text.startswith("Quiet") for text in at_rest(page).locator("#list > li > .what .details").all_inner_texts())
    page.get_by_label("release year to").fill("1900")
    expect(page.locator("#empty")).to_contain_text("No item fits these filters.")
    page.get_by_role("button", name="Clear the filters").click()
    assert titles(page) == before
    page.locator("#k").select_option("20")
    expect(page.locator("#list > li")).to_have_count(20)
    assert page.said == []


def test_a_history_is_built_and_the_list_follows(open_page: Any, expect: Any) -> None:
    page = open_page()
    page.get_by_label("A history").check()
    first = titles(page)
    page.locator("#words").fill("item 02")
    page.locator("#words-list [role=option]").first.click()
    expect(page.locator("#history .title")).to_have_text([title_of(2)])
    second = titles(page)
    assert second != first
    assert title_of(2) not in second
    clicked = second[3]
    page.locator("#list .add").nth(3).click()
    expect(page.locator("#history .title")).to_have_text([clicked, title_of(2)])
    third = titles(page)
    assert clicked not in third
    assert page.locator("#list .moved").count() > 0
    page.get_by_role("button", name=f"Remove {clicked} from the history").click()
    expect(page.locator("#history .title")).to_have_text([title_of(2)])
    assert titles(page) == second
    page.go_back()
    expect(page.locator("#history .title")).to_have_text([clicked, title_of(2)])
    assert titles(page) == third
    copy = open_page(page.url[page.url.index("#") :])
    assert titles(copy) == third
    expect(copy.locator("#history .details").first).to_contain_text("minutes")


def test_on_top_of_a_users_history(open_page: Any, expect: Any) -> None:
    page = open_page(f"#user={user(4)}")
    before, known = titles(page), liked(page)
    page.locator("#list .add").nth(2).click()
    expect(page.locator("#edited")).to_contain_text("1 added")
    assert liked(page)[0] == before[2]
    assert liked(page)[1:3] == known[:2]
    assert before[2] not in titles(page)
    page.locator("#history .icon").nth(1).click()
    expect(page.locator("#edited")).to_contain_text("1 added, 1 removed")
    assert known[0] not in liked(page)
    changed = titles(page), scores(page)
    copy = open_page(page.url[page.url.index("#") :])
    assert (titles(copy), scores(copy)) == changed
    assert liked(copy) == liked(page)
    page.get_by_role("button", name="As stored").click()
    assert titles(page) == before
    assert liked(page) == known


def test_somebody_is_described(open_page: Any, expect: Any) -> None:
    page = open_page("#mode=features")
    before = titles(page)
    page.get_by_label("city").select_option("\u6771\u4eac")
    expect(page.locator("#whom")).to_have_text("For somebody described: city \u6771\u4eac")
    page.get_by_label("age").fill("57.5")
    expect(page.locator("#whom")).to_contain_text("age 57.5")
    after = titles(page)
    assert after != before
    copy = open_page(page.url[page.url.index("#") :])
    assert titles(copy) == after
    expect(copy.get_by_label("age")).to_have_value("57.5")
    page.get_by_role("button", name="Empty all fields").click()
    assert titles(page) == before
    expect(page.get_by_label("age")).to_have_value("")


def test_similar_and_why_in_place(open_page: Any, expect: Any, service: Served) -> None:
    page = open_page(f"#user={user(4)}&seen=1&k=50")
    theirs = titles(page)
    page.get_by_role("button", name=f"Similar to {theirs[0]}").click()
    panel = page.locator("#list > li").first.locator(".panel")
    expect(panel.locator(".title")).to_have_count(5)
    near = service.ask("POST", "/v1/similar", {"items": [theirs[0]], "k": 5})[2]["results"][0]["items"]
    assert panel.locator(".title").all_inner_texts() == [item["id"] for item in near]
    page.get_by_role("button", name=f"Why {theirs[0]}").click()
    expect(panel).to_contain_text("without any history it would be")
    why = service.ask("POST", "/v1/explain", {"query": {"user": FIRST_USER + 4}, "item": theirs[0]})[2]
    assert panel.locator(".title").first.inner_text() == why["history"][0]["id"]
    assert float(panel.locator(".figure").first.inner_text()) == pytest.approx(why["history"][0]["pull"], abs=0.006)
    assert why["history"][0]["id"] in liked(page)
    expect(page.get_by_role("button", name=f"Similar to {theirs[0]}")).to_have_attribute("aria-expanded", "false")
    # what is open follows the history
    before = panel.inner_text()
    page.get_by_role("button", name=f"Remove {why['history'][0]['id']} from the history").click()
    panel = page.locator("#list > li", has=page.get_by_role("button", name=f"Why {theirs[0]}")).locator(".panel")
    expect(panel).to_contain_text("without any history it would be")
    expect(panel).not_to_have_text(before)
    # an item that is added from below a recommendation is liked there too, and the focus stays by
    page.get_by_role("button", name=f"Similar to {theirs[-1]}").click()
    panel = page.locator("#list > li", has=page.get_by_role("button", name=f"Similar to {theirs[-1]}")).locator(".panel")
    expect(panel.locator(".title")).to_have_count(5)
    tags = panel.locator(".tag").count()
    panel.locator(".icon").first.focus()
    page.keyboard.press("Enter")
    expect(panel.locator(".tag")).to_have_count(tags + 1)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == f"Similar to {theirs[-1]}"


def test_hostile_titles_are_text(open_page: Any) -> None:
    page = open_page("#mode=history&k=50")
    hostile = [text for text in titles(page) if "<script>" in text]
    assert hostile
    assert set(hostile) <= {title_of(item) for item in range(36)}
    assert page.locator("#all script, #all img, #all b").count() == 0
    page.get_by_role("button", name=f"Add {hostile[0]} to the history").click()
    assert liked(at_rest(page)) == [hostile[0]]
    page.locator("#words").fill("<img src=x")
    page.locator("#words-list [role=option]").first.wait_for()
    page.locator("#list .ask", has_text="Similar").first.click()
    page.locator("#list .panel .title").first.wait_for()
    assert page.locator("#all script, #all img, #all b").count() == 0
    assert page.title() == "twotower"
    assert page.said == []


def test_another_version_is_chosen(open_page: Any, expect: Any, versions: tuple[Path, list[str]], service: Served) -> None:
    active = service.ask("GET", "/v1/model")[2]["version"]
    other = next(name for name in versions[1] if name != active)
    page = open_page(f"#user={user(4)}")
    before = titles(page)
    watching = open_page(f"#user={user(4)}")
    expect(page.locator("#version")).to_have_text(active)
    page.locator("#choice").select_option(other)
    page.locator("#token").fill("a wrong token")
    page.get_by_role("button", name="Activate").click()
    expect(page.locator("#version-problem")).to_contain_text("not the token")
    expect(page.locator("#version")).to_have_text(active)
    page.locator("#token").fill(TOKEN)
    page.get_by_role("button", name="Activate").click()
    expect(page.locator("#version")).to_have_text(other)
    assert titles(page) != before
    assert liked(page)
    assert TOKEN not in page.content()
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    # who has the page open sees it with the next answer
    watching.get_by_label("Include what they have seen").check()
    expect(watching.locator("#version")).to_have_text(other)
    assert liked(at_rest(watching))


def test_the_keyboard_alone(open_page: Any, expect: Any) -> None:
    page = open_page()
    at_rest(page)
    press = page.keyboard.press

    def focused(script: str) -> Any:
        return page.evaluate(f"(() => {{ const e = document.activeElement; return {script}; }})()")

    press("Tab")
    assert focused("e.textContent") == "Skip to the recommendations"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    press("Enter")
    assert focused("e.id") == "answers-title"
    assert page.url.endswith("/")
    page.locator("body").press("Tab")
    for _ in range(60):
        if focused("e.id") == "user":
            break
        press("Shift+Tab")
    assert focused("e.id") == "user"
    page.keyboard.type(user(4)[:-1])
    page.locator("#user-list [role=option]").first.wait_for()
    assert focused("e.getAttribute('aria-expanded')") == "true"
    press("ArrowDown")
    press("ArrowDown")
    chosen = page.evaluate("document.getElementById(document.activeElement.getAttribute('aria-activedescendant')).textContent")
    press("ArrowUp")
    press("ArrowDown")
    press("Escape")
    assert focused("e.getAttribute('aria-expanded')") == "false"
    assert "user=" not in page.url
    press("ArrowDown")
    page.locator("#user-list [role=option]").first.wait_for()
    press("ArrowDown")
    press("ArrowDown")
    press("Enter")
    expect(page.locator("#whom")).to_have_text(f"For user {chosen}")
    assert focused("e.id") == "user"
    titles(page)
    # through everything, once, with a focus that is seen, and out at the end
    seen, stops = set(), []
    page.evaluate("document.activeElement.blur()")
    for _ in range(300):
        press("Tab")
        stop = focused("[e.tagName, e.id, e.getAttribute('aria-label') || e.textContent, e.matches(':focus-visible')]")
        if stop[0] == "BODY":
            break
        assert stop[3]
        stops.append(stop[2])
        seen.add(stop[1])
        if stop[2] == "Health":
            break
    assert stops[-1] == "Health"
    assert {"words", "filters-open", "k", "seen"} <= seen
    # an item is added: the focus stays on the list
    page.locator("#list .add").nth(1).focus()
    added = focused("e.querySelector('.title').textContent")
    press("Enter")
    expect(page.locator("#history .title").first).to_have_text(added)
    at_rest(page)
    assert focused("e.closest('#list') !== null")
    # removed: on the history
    page.locator("#history .icon").first.focus()
    press("Space")
    expect(page.locator("#history .title").first).not_to_have_text(added)
    assert focused("e.closest('#liked') !== null")
    assert page.said == []


def test_problems_stand_where_they_belong(open_page: Any, expect: Any) -> None:
    page = open_page("#user=123")
    expect(page.locator("#user-problem")).to_contain_text("no user 123")
    assert page.locator("#list > li").count() == 0
    page.locator("#user").fill("nobody")
    page.keyboard.press("Enter")
    expect(page.locator("#user-problem")).to_contain_text("integers")
    choose_user(page, 4)
    expect(page.locator("#user-problem")).to_be_hidden()
    page = open_page("#is:nosuch=1")
    expect(page.locator("#filters-problem")).to_contain_text("no column 'nosuch'")
    page.get_by_role("button", name="Without the filter nosuch 1").click()
    expect(page.locator("#filters-problem")).to_be_hidden()
    assert len(titles(page)) == 10
    page = open_page("#mode=features&f:viewer_age=old")
    expect(page.locator("#features-problem")).to_contain_text("viewer_age")
    assert not [said for said in page.said if "dialog" in said]


def test_the_service_goes_away_and_comes_back(
    open_page: Any, expect: Any, versions: tuple[Path, list[str]], tmp_path: Path
) -> None:
    with served(versions[0], tmp_path) as running:
        page = open_page(f"#user={user(4)}", port=running.port)
        before = titles(page)
        running.kill()
        page.get_by_label("Include what they have seen").check()
        expect(page.locator("#answers-problem")).to_contain_text("does not answer")
        assert page.locator("#list > li").count() == 0
    with served(versions[0], tmp_path, port=running.port):
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("#answers-problem")).to_be_hidden()
        page.get_by_label("Include what they have seen").uncheck()
        assert titles(page) == before
        assert page.locator("#choice").count() == 0  # nobody may write to a service without a token


def test_an_older_answer_never_takes_the_place_of_a_newer_one(open_page: Any, expect: Any) -> None:
    page = open_page(f"#user={user(5)}")
    newer = titles(page)
    page = open_page()
    held: list[Any] = []

    def hold(route: Any) -> None:
        if user(4) in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/v1/recommend", hold)
    choose_user(page, 4)
    expect(page.locator("#whom")).to_have_text(f"For user {user(4)}")
    choose_user(page, 5)
    expect(page.locator("#whom")).to_have_text(f"For user {user(5)}")
    assert titles(page) == newer
    assert held
    for route in held:
        route.fulfill(json={"version": "old", "results": [{"items": [], "assumed": {}}]})
    page.wait_for_timeout(200)
    assert titles(page) == newer


def test_a_private_service_asks_for_its_token(
    open_page: Any, expect: Any, versions: tuple[Path, list[str]], token_file: Path, tmp_path: Path
) -> None:
    with served(versions[0], tmp_path, "--token-file", str(token_file), "--private") as running:
        page = open_page(f"#user={user(4)}", port=running.port)
        page.get_by_label("Token").fill("a wrong token")
        page.keyboard.press("Enter")
        expect(page.locator("#gate-problem")).to_contain_text("not the token")
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        assert len(titles(page)) == 10
        assert liked(page)


def test_motion_is_left_out_where_it_is_not_wanted(open_page: Any) -> None:
    for wanted, expected in (("no-preference", True), ("reduce", False)):
        page = open_page("#mode=history", reduced_motion=wanted)
        page.evaluate("Element.prototype.animate = function () { window.moved = true; return new Animation(); }; null")
        titles(page)
        page.locator("#list .add").nth(5).click()
        titles(page)
        assert page.evaluate("window.moved === true") is expected
