"""What is said of a difference, and what is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from twotower.reports import Comparison, Estimate, Report, RunContent, verdict_sentences
from twotower.reports.markup import Html
from twotower.reports.panels.verdict import comparison_sentence, verdict_panel


def comparison(value: float, low: float | None, high: float | None) -> Comparison:
    return Comparison(
        metric="recall@10",
        seen="removed",
        first="the model",
        second="item_neighbours",
        first_value=0.5 + value,
        second_value=0.5,
        difference=Estimate(value=value, low=low, high=high),
        p_value=0.01,
        users=9,
    )


@pytest.mark.parametrize(
    ("value", "low", "high", "said"),
    [
        (0.02, 0.01, 0.03, "the model is better than item neighbours by .0200: .5200 against .5000"),
        (-0.02, -0.03, -0.01, "the model is worse than item neighbours by .0200: .4800 against .5000"),
        (0.02, -0.01, 0.05, "the model and item neighbours: no difference that this test set can show."),
        (0.02, 0.0, 0.05, "no difference that this test set can show"),
        (0.02, None, None, "nothing is said of the difference"),
    ],
)
def test_better_only_where_the_interval_leaves_out_0(value: float, low: float | None, high: float | None, said: str) -> None:
    sentence = comparison_sentence(comparison(value, low, high))
    assert said in sentence
    assert "recall@10, seen items removed" in sentence
    if low is not None and "difference that" in sentence:
        assert f"95% interval {'-.0100' if low < 0 else '0'} to +.0500, paired over 9 users" in sentence


def test_every_run_has_its_say(two_runs: Report) -> None:
    said = verdict_sentences(two_runs)
    assert said[0].startswith("first: 20 test rows of 7 users, each ranked against all 50 items")
    assert "2 of them ask for an item that the catalogue lacks" in said[0]
    assert said[1].startswith("The model is better than EASE by .0500")
    assert any(s.startswith("second and first: no difference that this test set can show") for s in said)
    assert "third is not compared with first: the test rows are not the same." in said
    assert [s for s in said if s.startswith("Within ")] == [
        s for s in said if s.startswith("Within third: the model is better")
    ]
    assert any(s.startswith("Within third") for s in said)


def test_runs_stand_side_by_side(two_runs: Report, report: Report) -> None:
    table = verdict_panel(two_runs).blocks[-1]
    assert isinstance(table, Html)
    assert "+.0100 (-.0200 to +.0400), none can be shown" in table.text
    assert "+.0500 (+.0200 to +.0800)<" in table.text
    assert "third is not paired with first" in table.text
    assert "<table" not in "".join(block.text for block in verdict_panel(report).blocks if isinstance(block, Html))


def test_of_many_runs_the_table_alone_tells(two_runs: Report, make_run: Callable[..., RunContent]) -> None:
    many = two_runs.model_copy(update={"runs": (*two_runs.runs, make_run(label="fourth"))})
    said = verdict_panel(many).blocks[-2]
    assert isinstance(said, Html)
    assert "second and first" not in said.text
    assert any("second and first" in sentence for sentence in verdict_sentences(many))


def test_chance_is_no_baseline(make_run: Callable[..., RunContent]) -> None:
    run = make_run(against_baseline=(), not_in_catalogue=0)
    said = verdict_sentences(Report(title="T", draws=10, runs=(run,)))
    assert said[-1] == "There is no baseline but chance to compare with."
    assert "lacks" not in said[0]


def test_leaks_come_first(report: Report) -> None:
    panel = verdict_panel(report)
    first = panel.blocks[0]
    assert 'class="warnings"' in first.text  # type: ignore[union-attr]
    assert "something knows the test rows" in first.text  # type: ignore[union-attr]


def test_two_trainings_are_not_two_recipes(two_runs: Report, report: Report, make_run: Callable[..., RunContent]) -> None:
    said = "draw users, not trainings"
    assert said in verdict_sentences(two_runs)[-1]
    assert not any(said in sentence for sentence in verdict_sentences(report))
    apart = two_runs.model_copy(update={"runs": (two_runs.runs[0], two_runs.runs[2])})
    assert not any(said in sentence for sentence in verdict_sentences(apart))
    many = two_runs.model_copy(update={"runs": (*two_runs.runs, make_run(label="fourth"))})
    for shown in (two_runs, many):
        page = "".join(block.text for block in verdict_panel(shown).blocks if isinstance(block, Html))
        assert page.count(said) == 1


def test_baselines_that_were_tuned_for_one_ranking_are_not_said_to_be_at_their_best_in_the_other(
    make_run: Callable[..., RunContent],
) -> None:
    both = tuple(comparison(0.1, 0.05, 0.15).model_copy(update={"seen": seen}) for seen in ("included", "removed"))
    tuned = "need not be at their best"
    said = verdict_sentences(Report(title="t", draws=10, runs=(make_run(against_baseline=both),)))
    assert sum(tuned in sentence for sentence in said) == 1
    one = make_run(against_baseline=tuple(each for each in both if each.seen == make_run().seen))
    assert not any(tuned in sentence for sentence in verdict_sentences(Report(title="t", draws=10, runs=(one,))))
