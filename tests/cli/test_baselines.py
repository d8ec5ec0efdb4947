"""``twotower baselines``: tables on stdout, JSON, and one clear error for bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from twotower.cli.baselines import _telling

Call = Callable[..., tuple[int, str, str]]
FAST = [
    "--set",
    "baselines.ials.iterations=[2]",
    "--set",
    "baselines.ials.factors=[2]",
    "--set",
    "baselines.ease.regularisation=[9.0]",
]


def test_a_table_of_all(call: Call, world: Path) -> None:
    pytest.importorskip("implicit")
    status, out, err = call("baselines", world / "recipe.toml", *FAST, "--segment", "age")
    assert (status, err) == (0, "")
    figures = json.loads(call("baselines", world / "recipe.toml", *FAST, "--segment", "age", "--json")[1])
    lines = out.splitlines()
    assert lines[0] == "small: 16 test rows of 10 users, each against all 8 items"
    fits = next(place for place, line in enumerate(lines) if line.split()[:1] == ["settings"])
    assert max(map(len, lines[:fits])) <= 80
    names = ["random", "popularity", "recent_popularity", "segment_popularity", "item_neighbours", "ease", "ials"]
    assert list(figures["baselines"]) == names
    for variant, title in (("seen_included", "seen items included"), ("seen_removed", "seen items removed")):
        start = lines.index(title)
        assert lines[start + 1].split() == ["recall@3", "ndcg@10", "95%", "of", "recall@3"]
        for place, name in enumerate(names):
            cells = lines[start + 2 + place].split()
            ends = figures["details"][name]["intervals"][variant]["recall@3"]
            assert cells[0] == name
            wanted = [figures["baselines"][name][variant][key] for key in ("recall@3", "ndcg@10")] + ends
            assert [float(cell) for cell in (*cells[1:4], cells[5])] == pytest.approx(wanted, abs=5e-5)
    assert "recall@3, histories and seen items frozen at the cut" in lines
    assert any(line.startswith("recall@3, per user (10 users") for line in lines)
    lists = next(line for line in lines[lines.index("the first 10, seen items removed, one list per user") :] if "ease" in line)
    assert float(lists.split()[1]) == pytest.approx(figures["lists"]["ease"]["coverage@10"], abs=5e-5)
    assert any("regularisation 9.0" in line for line in lines if line.startswith("ease"))
    assert lines[-1] == "chosen on 8 validation rows by the best recall@3 removed"


def test_rows_that_chose_are_counted(call: Call, world: Path) -> None:
    options = ("--only", "segment_popularity", "--segment", "age", "--set", "evaluation.max_validation_rows=5")
    status, out, err = call("baselines", world / "recipe.toml", *options)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "chosen on 5 validation rows by the best recall@3 removed"


def test_what_is_being_done_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    with _telling() as tell:
        tell("a column called [/b]")
    assert "a column called [/b]" in capsys.readouterr().err


def test_json_is_the_only_line(call: Call, world: Path) -> None:
    status, out, err = call("baselines", world / "recipe.toml", "--only", "popularity", "--only", "random", "--json")
    assert (status, err, out.count("\n")) == (0, "", 1)
    found = json.loads(out)
    assert set(found["baselines"]) == {"random", "popularity"}
    assert found["fits"]["popularity"]["settings"] == {}


def test_segments_by_option_and_without_intervals(call: Call, world: Path) -> None:
    options = ["--only", "segment_popularity", "--segment", "age,user", "--set", "evaluation.draws=0"]
    status, out, _ = call("baselines", world / "recipe.toml", *options)
    assert status == 0
    assert "segment age x user" in out
    assert "95%" not in out
    found = json.loads(call("baselines", world / "recipe.toml", *options, "--segment", "user", "--json")[1])
    assert found["fits"]["segment_popularity"]["settings"]["segment"] in ("age x user", "user")


def test_what_is_skipped_says_why(call: Call, world: Path) -> None:
    status, out, _ = call("baselines", world / "recipe.toml", *FAST)
    assert status == 0
    assert "segment_popularity was skipped: no column to tell segments by" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "easy"], "no baseline 'easy'; did you mean 'ease'?"),
        (
            ["--segment", "aeg"],
            "segment column 'aeg': no such column among the users or in the interactions; did you mean 'age'?",
        ),
        (
            ["--segment", "film"],
            "segment column 'film' is the item to be found, which is not known when items are to be recommended",
        ),
        (["--segment", ","], "--segment: name a column, or several with commas between them"),
        (
            ["--segment", "age", "--only", "ease"],
            "--segment changes segment_popularity, which is not among --only: add it, or leave --segment out",
        ),
        (["--set", "split.test=0"], "split.test gives no rows to judge the baselines on: give it some"),
    ],
)
def test_bad_input_is_one_line(call: Call, world: Path, options: list[str], said: str) -> None:
    assert call("baselines", world / "recipe.toml", *options) == (2, "", f"twotower: {said}\n")


def test_an_outcome_is_no_segment(call: Call, world: Path) -> None:
    options = ["--set", 'data.columns.positives="age >= 0"', "--set", "query.features.1.column=time", "--segment", "age"]
    status, out, err = call("baselines", world / "recipe.toml", *options, "--set", "query.features.1.name=clock")
    assert (status, out) == (2, "")
    assert err.startswith("twotower: segment column 'age' is an outcome of its own row (data.columns.positives)")
