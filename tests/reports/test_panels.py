"""What each part of the page is made of; how it looks is for the tests of the page."""

from __future__ import annotations

from collections.abc import Callable

from twotower.reports import Epoch, Report, RunContent
from twotower.reports.chart import DotChart, LineChart, PointsChart
from twotower.reports.markup import Html
from twotower.reports.panel import Aside, Panel
from twotower.reports.panels import (
    facts_panel,
    findings_panel,
    groups_panel,
    map_panel,
    outcomes_panel,
    popularity_panel,
    ranking_panel,
    recall_panel,
    recipe_panel,
    training_panel,
    users_panel,
    vectors_panel,
)

MakeRun = Callable[..., RunContent]


def lines_of(panel: Panel | None) -> list[LineChart]:
    assert panel is not None
    return [block for block in panel.blocks if isinstance(block, LineChart)]


def text_of(panel: Panel | None) -> str:
    assert panel is not None
    markup = [block.markup if isinstance(block, Aside) else block for block in panel.blocks]
    return " ".join(panel.lead) + "".join(block.text for block in markup if isinstance(block, Html))


def test_training_is_drawn_by_epoch_and_by_seconds(report: Report) -> None:
    panel = training_panel(report)
    charts = {chart.key: chart for chart in lines_of(panel)}
    assert list(charts) == ["loss-by-epoch", "loss-by-seconds", "validation-by-epoch", "validation-by-seconds"]
    assert [line.x for line in charts["loss-by-seconds"].lines] == [(1.5, 3.0), (1.6,)]
    assert charts["loss-by-epoch"].lines[0].y == (4.0, 3.0)
    assert charts["validation-by-epoch"].lines[0].y == (0.2, 0.3)
    assert "validation rows" in charts["validation-by-epoch"].y_label
    assert panel is not None
    assert "Epoch 2 of 2 was kept" in panel.lead[0]
    assert "trained anew" in panel.lead[0]


def test_a_curve_of_test_rows_is_called_one(make_run: MakeRun) -> None:
    training = make_run().training
    told = Report(title="T", draws=1, runs=(make_run(training=training.model_copy(update={"validated_on": "test"})),))
    panel = training_panel(told)
    chart = lines_of(panel)[2]
    assert chart.y_label == "recall@10 (test rows)"
    assert "Nothing may be chosen" in chart.caption
    assert "leaks" in text_of(panel)


def test_without_validation_there_is_no_curve_of_it(make_run: MakeRun) -> None:
    epochs = tuple(epoch.model_copy(update={"metrics": {}}) for epoch in make_run().training.epochs)
    training = make_run().training.model_copy(update={"epochs": epochs, "validated_on": None})
    panel = training_panel(Report(title="T", draws=1, runs=(make_run(training=training),)))
    assert [chart.key for chart in lines_of(panel)] == ["loss-by-epoch", "loss-by-seconds"]
    assert "there are no validation rows" in text_of(panel)


def test_several_runs_are_several_lines(two_runs: Report) -> None:
    charts = {chart.key: chart for chart in lines_of(training_panel(two_runs))}
    assert [line.name for line in charts["loss-by-epoch"].lines] == ["first", "second", "third"]
    recall = recall_panel(two_runs)
    assert [line.name for line in lines_of(recall)[0].lines] == [
        "first", "second", "third", "popularity (first)", "EASE (first)",
    ]  # fmt: skip
    assert "third was judged on other test rows than first" in text_of(recall)


def test_recall_of_both_variants_is_drawn(report: Report) -> None:
    included, removed = lines_of(recall_panel(report))
    assert [line.name for line in included.lines] == ["model", "popularity", "EASE"]
    assert included.lines[0].y == (0.3 / 3, 0.3, 1.0)
    assert removed.lines[0].y == (0.15, 0.4, 1.0)
    assert included.x_log


def test_rankers_stand_in_the_order_of_the_figure_that_decides(report: Report) -> None:
    text = text_of(ranking_panel(report))
    assert text.index(">model<") < text.index(">EASE<") < text.index(">popularity<")
    frozen = text[text.index("Histories frozen at the cut") :]
    assert frozen.index(">popularity<") < frozen.index(">model<")
    assert ".3000 (.2900 to .3100)" in text
    assert "EASE: regularisation 100" in text


def test_paired_runs_share_a_table(two_runs: Report) -> None:
    text = text_of(ranking_panel(two_runs))
    assert text.count("<table") == 6
    together = text[: text.index("Test rows of third")]
    assert together.count(">second<") == 3
    assert ">third<" not in together


def test_groups_are_told_with_counts(report: Report, two_runs: Report) -> None:
    panel = groups_panel(report)
    assert panel is not None
    (chart,) = (block for block in panel.blocks if isinstance(block, DotChart))
    assert chart.groups == ("head\n12 rows", "tail\n8 rows")
    assert [dots.name for dots in chart.series] == ["model", "popularity", "EASE"]
    assert chart.series[0].values == (0.3, 0.15)
    assert chart.series[0].lows == (0.3, None)
    assert panel.lead == ("Items are cut in thirds.",)
    several = groups_panel(two_runs)
    assert several is not None
    (chart,) = (block for block in several.blocks if isinstance(block, DotChart))
    assert [dots.name for dots in chart.series] == ["first", "second", "popularity", "EASE"]  # the third is not paired


def test_popular_and_consumed_stand_side_by_side(report: Report) -> None:
    panel = popularity_panel(report)
    (chart,) = lines_of(panel)
    assert {line.name: line.y for line in chart.lines} == {
        "consumed (test rows)": (0.5, 0.4, 0.1),
        "model": (0.7, 0.3, 0.0),
        "EASE": (0.6, 0.4, 0.0),
    }
    assert chart.x_names == ("1", "2", "not in\ntrain")
    text = text_of(panel)
    assert "7 lists of 10, one per user (sampled from 9)" in text
    assert "coverage" in text
    assert "novelty" not in text  # no ranker has that figure


def test_distributions_are_steps(report: Report) -> None:
    panel = vectors_panel(report)
    scores, norms = lines_of(panel)
    assert (scores.shape, norms.shape) == ("steps", "steps")
    assert scores.lines[0].x == (0.0, 0.5, 1.0)
    assert "+.2500" in text_of(panel)
    assert "12.50" in text_of(panel)


def test_the_map_has_a_kind_per_group(report: Report) -> None:
    panel = map_panel(report)
    assert panel is not None
    popularity, category = (block for block in panel.blocks if isinstance(block, PointsChart))
    assert [kind.name for kind in popularity.kinds] == ["head", "tail", "not in train"]
    assert [kind.name for kind in category.kinds] == ["Drama", "other"]
    assert popularity.kinds[0].titles == ("plain · head · 9 train rows",)
    assert "3 of 50 items, drawn at random" in panel.lead[0]
    assert "75% of the variance" in panel.lead[0]
    assert "50% of variance" in popularity.x_label


def test_hits_are_marked(report: Report) -> None:
    text = text_of(users_panel(report))
    assert text.count("✓ </span>hit") == 2
    assert "✓ </span>miss" not in text
    assert "and 11 earlier" in text
    assert "and 2 more" in text


def test_later_is_said_only_where_the_split_is_in_time(make_run: MakeRun) -> None:
    def told(split: str) -> str:
        facts = make_run().facts.model_copy(update={"recipe": {"split.kind": f'"{split}"'}})
        return text_of(users_panel(Report(title="T", draws=1, runs=(make_run(facts=facts),))))

    for split in ("time", "leave_last_out"):
        assert "the user's later choices" in told(split)
        assert "liked before (12)" in told(split)
        assert "then chose (3)" in told(split)
    for split in ("random", "given"):
        assert "the user's test rows" in told(split)
        assert not any(word in told(split) for word in ("later", "before", "then chose"))


def test_of_an_error_less_is_better_and_a_loss_of_tasks_has_no_unit(make_run: MakeRun, report: Report) -> None:
    def charts(**changes: object) -> list[LineChart]:
        epochs = (Epoch(phase="select", epoch=1, seconds=1.0, loss=2.0, metrics={"rating rmse": 0.9, "recall@10": 0.1}),)
        training = make_run().training.model_copy(update={"epochs": epochs, **changes})
        return lines_of(training_panel(Report(title="T", draws=1, runs=(make_run(training=training),))))

    loss, _, errors, _ = charts(metric="rating rmse", smaller_is_better=True, tasks=("rating",))
    assert loss.y_label == "train loss (weighted sum of all tasks, per row)"
    assert "smaller is better: where it rises while the loss still falls" in errors.caption
    loss, _, recall, _ = charts()
    assert loss.y_label == "train loss (nats per row)"
    assert "smaller" not in recall.caption
    assert "where it falls while the loss still falls" in recall.caption


def test_findings_say_what_to_do(report: Report, make_run: MakeRun) -> None:
    text = text_of(findings_panel(report))
    assert "The test leaks" in text
    assert "<li>Split.</li>" in text
    assert "1 found in 2 checks." in text
    assert "overfitting: no validation rows" in text
    diagnosis = make_run().diagnosis
    assert diagnosis is not None
    sound = make_run(diagnosis=diagnosis.model_copy(update={"findings": (), "not_made": {}}))
    assert "nothing found in 2 checks." in text_of(findings_panel(Report(title="T", draws=1, runs=(sound,))))


def test_outcomes_are_told_with_their_baselines(report: Report) -> None:
    text = text_of(outcomes_panel(report))
    assert "rating, 18 rows" in text
    assert "<td>.9000</td>" in text


def test_recipes_are_told_apart(report: Report, two_runs: Report) -> None:
    assert "What differs" not in text_of(recipe_panel(report))
    text = text_of(recipe_panel(two_runs))
    differing = text[: text.index("<details>")]
    assert ">name<" in differing
    assert "training.epochs" not in differing
    assert "training.epochs" in text


def test_circumstances_are_told(report: Report) -> None:
    text = text_of(facts_panel(report))
    for said in ("100 rows read", "70, 10, 20", "1,024 MiB", "cpu", "Baseline ials: implicit is not installed"):
        assert said in text
