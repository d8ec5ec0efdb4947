"""From a recipe to a plan: with its tables, without them, and with other sizes than theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower import runs
from twotower.errors import ConfigError
from twotower.planning import DEVICES, Plan, Table, Workload
from twotower.preprocessing import HistoryFeature, SequenceFeature
from twotower.runs import AskedSizes, Recipe, parse_recipe, plan_recipe
from twotower.runs.plan_columns import mean_history

CPU = DEVICES["cpu"]
NOTHING = AskedSizes(rows=1000, users=100, items=50, read=False)


def _recipe(path: Path | str | None, **changed: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "device": "cpu",
        "data": {
            **({} if path is None else {"interactions": {"path": str(path)}}),
            "columns": {"user": "user", "item": "film", "time": "time"},
        },
        "split": {"kind": "time", "test": 16, "validation": 8},
        "query": {
            "features": [
                {"kind": "id", "column": "user", "embedding": {"dim": 6}},
                {"kind": "number", "column": "age", "missing": "own"},
                {"kind": "history", "max_length": 3, "embedding": {"dim": 4, "table": "films"}},
            ]
        },
        "candidate": {"features": [{"kind": "id", "column": "film", "embedding": {"dim": 4, "table": "films"}}]},
        "model": {"layer_sizes": [5, 2]},
        "training": {"batch_size": 16, "epochs": 2},
        **changed,
    }


def _splittable() -> dict[str, Any]:
    """Tables of which several ranks may each have some rows."""
    values = _recipe(None, training={"batch_size": 16, "epochs": 2, "optimizer": {"kind": "rowwise_adagrad"}})
    values["query"]["features"][0]["embedding"]["dim"] = 8
    return values


def explain(recipe: Recipe) -> Any:
    """What a training says of itself, as plain values."""
    return runs.explain(recipe)


def plan_facts(plan: Plan) -> Any:
    return runs.plan_facts(plan)


def _plan(recipe: dict[str, Any], sizes: AskedSizes = NOTHING, **asked: Any) -> Plan:
    return plan_recipe(parse_recipe(recipe), CPU, **{"ranks": 1, "sizes": sizes, **asked})


def _workload(recipe: dict[str, Any], sizes: AskedSizes = NOTHING) -> Workload:
    return _plan(recipe, sizes).workload


def _table(workload: Workload, name: str) -> Table:
    return next(table for table in workload.tables if table.name == name)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 rows of ten users and eight films."""
    path = tmp_path_factory.mktemp("plan") / "log.parquet"
    rows = [(u, (3 * u + 5 * s) % 8) for s in range(8) for u in range(10)]
    pl.DataFrame(
        {
            "user": [f"u{u}" for u, _ in rows],
            "film": [f"film {f}" for _, f in rows],
            "time": [1_600_000_000 + 1000 * place for place in range(80)],
            "age": [20 + u for u, _ in rows],
        }
    ).write_parquet(path)
    return path


def test_what_a_recipe_declares_without_its_tables() -> None:
    workload = _workload(_recipe("nowhere.parquet"))
    users, films = _table(workload, "query/user"), _table(workload, "films")
    assert (users.rows, users.width, users.of) == (101, 6, "users")
    assert (films.rows, films.width, films.of) == (51, 4, "items")
    # a row of ten has 0 to 9 before it, and reads three: (0 + 1 + 2 + 7 x 3) / 10
    assert films.query_ids == pytest.approx(2.4)
    assert films.candidate_ids == 1
    assert (workload.query.input_width, workload.query.layer_sizes) == (6 + 2 + 4, (5, 2))
    assert (workload.candidate.input_width, workload.vector_width) == (4, 2)
    assert (workload.rows, workload.users, workload.items, workload.batch_size) == (1000, 100, 50, 16)
    assert "no table was read" in workload.notes[0]
    assert any("every user has as many rows" in note for note in workload.notes)


def test_the_tables_say_the_same_as_a_training(log: Path) -> None:
    recipe = parse_recipe(_recipe(log))
    plan = plan_recipe(recipe, CPU, ranks=1)
    said = explain(recipe)
    tables = {entry["name"]: entry for entry in said["tables"]}
    assert {t.name: (t.rows, t.width) for t in plan.workload.tables} == {n: (e["rows"], e["width"]) for n, e in tables.items()}
    assert {t.name: t.by_rows for t in plan.workload.tables} == {n: e["update"] == "rows" for n, e in tables.items()}
    assert (plan.workload.rows, plan.workload.users, plan.workload.items) == (
        said["rows"]["train"],
        said["users"],
        said["items"],
    )
    weights = sum(table.weight_bytes for table in plan.workload.tables)
    weights += 4 * (plan.workload.query.weights + plan.workload.candidate.weights)
    assert weights == said["bytes"]["parameters"]
    states = sum(table.state_bytes for table in plan.workload.tables)
    states += 4 * (plan.workload.query.weights + plan.workload.candidate.weights)
    assert states == said["bytes"]["optimizer_states"]
    assert plan.workload.notes == ("read: 56 train rows, 10 users, 8 items",)


@pytest.mark.parametrize(("kind", "per_number", "per_row"), [("adagrad", 1, 0), ("adamw", 2, 0), ("rowwise_adagrad", 0, 1)])
@pytest.mark.parametrize("update", ["dense", "rows"])
def test_states_of_optimisers(kind: str, per_number: int, per_row: int, update: str, log: Path) -> None:
    recipe = _recipe(log, training={"batch_size": 16, "optimizer": {"kind": kind}})
    recipe["query"]["features"][0]["embedding"]["update"] = update
    workload = _workload(recipe, AskedSizes())
    said = explain(parse_recipe(recipe))
    states = sum(table.state_bytes for table in workload.tables)
    dense = workload.query.weights + workload.candidate.weights
    if kind != "rowwise_adagrad":
        assert states + 4 * dense * workload.state_per_dense == said["bytes"]["optimizer_states"]
    users = _table(workload, "query/user")
    expected = (per_number, per_row) if update == "dense" else {"adagrad": (1, 0)}.get(kind, (0, 1))
    assert (users.state_per_number, users.state_per_row) == expected


def test_sizes_that_are_asked_for_grow_what_was_read(log: Path) -> None:
    read = _workload(_recipe(log), AskedSizes())
    grown = _workload(_recipe(log), AskedSizes(rows=560_000, users=100_000, items=800))
    assert (grown.rows, grown.users, grown.items) == (560_000, 100_000, 800)
    assert _table(grown, "query/user").rows == 1 + 10_000 * (_table(read, "query/user").rows - 1)
    assert _table(grown, "films").rows == 1 + 100 * (_table(read, "films").rows - 1)
    # as many rows a user as before: histories are as long
    assert _table(grown, "films").query_ids == pytest.approx(_table(read, "films").query_ids)
    more = _workload(_recipe(log), AskedSizes(rows=560_000, users=10))
    assert _table(more, "films").query_ids > _table(read, "films").query_ids
    assert _table(more, "films").query_ids <= 3
    assert any("grow in proportion" in note for note in grown.notes)


def test_lengths_that_are_given_hold(log: Path) -> None:
    for sizes in (AskedSizes(lengths={"history": 1.5}), AskedSizes(1000, 100, 50, {"history": 1.5}, read=False)):
        assert _table(_workload(_recipe(log), sizes), "films").query_ids == 1.5


@pytest.mark.parametrize(("mode", "most"), [("before", None), ("before", 4), ("others", None), ("others", 4), ("before", 40)])
def test_mean_histories_are_those_of_counting(mode: str, most: int | None) -> None:
    each = 13
    counted = [min(most or 99, place if mode == "before" else each - 1) for place in range(each)]
    feature = HistoryFeature(mode=mode, max_length=most)
    assert mean_history(each * 7, 7, feature) == pytest.approx(sum(counted) / each)
    if mode == "before" and most is not None:
        assert mean_history(each * 7, 7, SequenceFeature(max_length=most)) == pytest.approx(sum(counted) / each)


def test_every_kind_of_feature_has_columns() -> None:
    features = [
        {"kind": "id", "column": "device", "hash_buckets": 99},
        {"kind": "id", "column": "city"},
        {"kind": "category", "column": "country", "missing": "own_row"},
        {"kind": "text", "column": "words", "max_vocabulary": 500, "max_tokens": 4},
        {"kind": "multi_category", "column": "tags"},
        {"kind": "buckets", "column": "age", "num_edges": 9, "spacing": "linear"},
        {"kind": "number", "column": "height"},
        {"kind": "timestamp", "column": "time", "num_edges": 24, "standardise": True, "hour_of_day": True, "day_of_week": True},
        {"kind": "vector", "column": "picture"},
        {"kind": "geo", "name": "place", "longitude": "x", "latitude": "y"},
    ]
    recipe = _recipe(None, query={"features": features}, data={"columns": {"user": "user", "item": "film", "time": "time"}})
    sizes = AskedSizes(
        10_000, 100, 50, vocabularies={"city": 300, "country": 200, "picture": 7}, lengths={"tags": 2}, read=False
    )
    workload = _workload(recipe, sizes)
    rows = {table.name: (table.rows, table.query_ids) for table in workload.tables}
    assert rows["query/device"] == (100, 1)
    assert rows["query/city"] == (301, 1)
    assert rows["query/country"] == (202, 1)
    assert rows["query/words"] == (501, 4)
    assert rows["query/tags"] == (1001, 2)
    assert rows["query/age"] == (10, 1)
    assert rows["query/time.bucket"] == (25, 1)
    assert rows["query/place_coarse"][1] == 1
    assert workload.query.input_width == 32 * len([name for name in rows if name.startswith("query/")]) + 1 + 5 + 7 + 4
    said = "\n".join(workload.notes)
    assert "words: 4 words a row (assumed" in said
    assert "tags: 1,000 values (assumed; --vocabulary tags=N)" in said
    assert "city" not in said


@pytest.mark.parametrize("encoder", [{"kind": "transformer"}, {"kind": "hstu"}, {"kind": "gru"}, {"kind": "attention"}])
def test_encoders_have_about_the_weights_of_the_model(encoder: dict[str, Any], log: Path) -> None:
    feature = {"kind": "sequence", "max_length": 3, "embedding": {"dim": 32, "encoder": encoder}}
    recipe = _recipe(log, query={"features": [feature]})
    workload = _workload(recipe, AskedSizes())
    parameters = explain(parse_recipe(recipe))["bytes"]["parameters"]
    planned = sum(table.weight_bytes for table in workload.tables) + 4 * (workload.query.weights + workload.candidate.weights)
    assert planned == pytest.approx(parameters, rel=0.1)
    assert workload.query.products > 0
    assert workload.query.kept > 2 * (32 + 7)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        (AskedSizes(rows=0, users=1, items=1, read=False), "--rows 0: must be from 1 to 1e15"),
        (AskedSizes(rows=10, users=-4, items=1, read=False), "--users -4"),
        (AskedSizes(read=False), "say how large the data is with --rows, --users, --items"),
        (AskedSizes(rows=10, items=1, read=False), "say how large the data is with --users"),
        (AskedSizes(10, 10, 10, lengths={"histories": 3}, read=False), "--mean-length histories: .*did you mean 'history'"),
        (AskedSizes(10, 10, 10, lengths={"history": float("nan")}, read=False), "--mean-length history=nan"),
        (AskedSizes(10, 10, 10, vocabularies={"age": 3}, read=False), "--vocabulary age: no feature has a vocabulary"),
        (AskedSizes(10, 10, 10, vocabularies={"age": 0}, read=False), "--vocabulary age=0: must be at least 1"),
    ],
)
def test_sizes_that_are_none(sizes: AskedSizes, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        _plan(_recipe("nowhere.parquet"), sizes)


def test_a_table_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"there is no table at nowhere\.parquet: say how large the data is with --users"):
        _plan(_recipe("nowhere.parquet"), AskedSizes(rows=5, items=4))


def test_vocabularies_of_tables_that_are_there(log: Path) -> None:
    with pytest.raises(ConfigError, match="--vocabulary: the tables are there"):
        _plan(_recipe(log), AskedSizes(vocabularies={"user": 3}))


def test_losses_say_what_competes() -> None:
    assert _workload(_recipe(None, loss={"kind": "full"})).competing == 50
    in_batch = _workload(_recipe(None, loss={"kind": "in_batch", "extra_negatives": 4, "queue_batches": 1}))
    assert in_batch.competing == pytest.approx(50 * (1 - (49 / 50) ** 36))
    assert _workload(_recipe(None, loss={"kind": "gbce", "extra_negatives": 7})).candidates == "uniform"


def test_facts_are_plain_numbers_that_add_up() -> None:
    plan = _plan(_splittable(), ranks=2, sharding="row_wise")
    facts = json.loads(json.dumps(plan_facts(plan)))
    assert (facts["ranks"], facts["nodes"], facts["sharding"]) == (2, 1, "row_wise")
    assert facts["split_tables"] == ["query/user", "films"]
    host = facts["memory"]["host"]
    always = sum(part["bytes"] for part in facts["memory"]["parts"] if not part["moment"])
    assert host["always_bytes"] == pytest.approx(always)
    assert host["room_bytes"] == CPU.host_memory_bytes
    assert "device" not in facts["memory"]
    step = facts["step"]
    seconds = sum(part["seconds"] for part in (*step["work"], *step["collectives"])) + step["feed_s"] + step["fixed_s"]
    assert step["seconds"] == pytest.approx(seconds)
    assert facts["rows_per_s"] == pytest.approx(16 / seconds)
    assert facts["epoch_s"] == pytest.approx(63 * seconds)
    on_gpu = plan_facts(plan_recipe(parse_recipe(_recipe(None)), DEVICES["h200"], ranks=2, sizes=NOTHING))
    assert {"device", "host"} <= on_gpu["memory"].keys()


def test_tables_that_a_training_would_not_split_are_not_planned_so() -> None:
    with pytest.raises(ConfigError, match=r"'query/user' is 6 wide.*multiple of 4 wide; .*came adagrad"):
        _plan(_recipe(None), ranks=2, sharding="row_wise")
    values = _splittable()
    values["training"]["clip_norm"] = 1.0
    with pytest.raises(ConfigError, match="clip_norm needs all gradients"):
        _plan(values, ranks=2, sharding="row_wise")
    dense = _splittable()
    dense["query"]["features"][0]["embedding"]["update"] = "dense"
    plan = _plan(dense, ranks=2, sharding="row_wise")
    assert plan.split_tables == ("films",)


def test_tables_that_are_propagated_are_whole_on_every_rank() -> None:
    values = _splittable()
    values["query"]["features"] = [values["query"]["features"][0]]
    values["candidate"]["features"][0]["embedding"]["dim"] = 8
    values["model"] = {"layer_sizes": [], "propagation": {}}
    assert _plan(values, ranks=2, sharding="auto").split_tables == ()
    assert _plan(values, ranks=2, sharding="row_wise").split_tables == ()
