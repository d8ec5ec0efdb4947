"""What a model takes over from a trained one: to the bit, by what rows stand for; and what can't be taken over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tests.runs.growing import log, opened, recipe, started
from torch import Tensor

from twotower.errors import ConfigError, DataError
from twotower.losses import RetrievalLoss
from twotower.models import TwoTower
from twotower.preprocessing import Preprocessor
from twotower.runs import Recipe, load_tables, parse_recipe, run
from twotower.runs.fit_model import UntrainedModel, untrained_model
from twotower.runs.recipe import Recipe as RecipeType
from twotower.runs.warm_run import WarmRun
from twotower.training import TrainedParameters, put_states


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "monday"
    run(recipe(), folder, interactions=log(300))
    return folder


def fresh(recipe: RecipeType) -> UntrainedModel:
    tables = load_tables(recipe, interactions=log())
    return untrained_model(recipe, tables, tables.split.train)


def ids_of(preprocessor: Preprocessor) -> dict[str, list[Any]]:
    """By table: what its rows stand for, written out once more."""
    spec = preprocessor.spec
    found: dict[str, list[Any]] = {"query/years": []}
    for feature in (*spec.user, *spec.context, *spec.candidate):
        if feature.kind == "id":
            assert feature.lookup is not None
            table = {"user": "query/user", "item": "item"}[feature.config.column]
            found[table] = ["unknown", *feature.lookup.ids.to_list()]
        elif feature.kind == "text":
            found["candidate/title"] = ["unknown", *feature.tokens]
        elif feature.kind == "buckets":
            found["query/years"] = [("bucket", row) for row in range(len(feature.edges) + 1)]
    return found


def tables_of(model: TwoTower) -> dict[str, Tensor]:
    return {table.name: model.embeddings.table(table.name).detach() for table in model.spec.tables}


def others_of(*modules: TwoTower | RetrievalLoss) -> dict[str, Tensor]:
    return {n: p.detach() for module in modules for n, p in module.named_parameters() if ".table:" not in n}


def test_every_known_id_has_its_row_and_everything_else_is_copied(source: Path) -> None:
    from_monday = opened(source).measured
    found = started(recipe(), source)
    old, new = ids_of(from_monday.recommender.preprocessor), ids_of(found.phase.preprocessor)
    before, after = tables_of(from_monday.recommender.model), tables_of(found.model)
    begun, alike = tables_of(fresh(recipe()).model), 0
    assert set(old) == set(new) == set(before) == set(after) == {"query/user", "item", "candidate/title", "query/years"}
    assert found.started is not None
    counts: Any = found.started.to_json()["tables"]
    for table, names in new.items():
        places = {name: row for row, name in enumerate(old[table])}
        known = [name for name in names if name in places]
        for row, name in enumerate(names):
            if name in places:
                assert torch.equal(after[table][row], before[table][places[name]])
                alike += row == places[name]
            else:  # new ids start at the row of unknown ones, each with its own fresh values
                torch.testing.assert_close(after[table][row], before[table][0] + begun[table][row], rtol=0, atol=1e-7)
        unknown = table != "query/years"
        assert counts[table] == {
            "known": len(known) - unknown,
            "new": len(names) - len(known),
            "dropped": len(set(old[table]) - set(names)),
        }
    assert counts["query/user"]["new"] >= 3
    assert counts["item"]["new"] >= 1
    assert alike < sum(map(len, new.values())) / 2  # rows have moved
    copied, kept = others_of(found.model), others_of(from_monday.recommender.model)
    assert set(copied) == set(kept)
    assert all(torch.equal(copied[name], kept[name]) for name in kept)
    temperature = others_of(found.loss)["temperature.log_excess"]
    assert torch.equal(temperature, from_monday.loss["temperature.log_excess"])
    assert not torch.equal(temperature, others_of(fresh(recipe()).loss)["temperature.log_excess"])
    parts = ["query tower", "encoder of 'sequence'", "candidate tower", "head 'stars'", "head 'level'", "loss"]
    assert found.started.carried.parts == tuple(parts)
    assert dict(found.started.carried.fresh) == {}


@pytest.mark.parametrize("start", ["fresh", "mean"])
def test_where_new_ids_start(source: Path, start: str) -> None:
    found = started(recipe(warm_start={"new_ids": start}), source)
    before = tables_of(opened(source).measured.recommender.model)["query/user"]
    assert found.started is not None
    table = next(table for table in found.started.carried.tables if table.name == "query/user")
    new = table.rows_V < 0
    rows = table.rows_V[~new]
    base = torch.zeros(8) if start == "fresh" else before[rows[rows > 0]].mean(dim=0)
    begun = tables_of(fresh(recipe()).model)["query/user"]
    torch.testing.assert_close(tables_of(found.model)["query/user"][new], base + begun[new], rtol=0, atol=1e-6)
    assert len(rows) < len(before) or table.dropped == 0


OPTIMIZERS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "adagrad": ({"kind": "adagrad"}, {}),
    "adagrad by rows": ({"kind": "adagrad"}, {"update": "rows"}),
    "rowwise": ({"kind": "rowwise_adagrad"}, {"update": "rows"}),
    "adamw": ({"kind": "adamw"}, {}),
    "lazy": ({"kind": "adamw", "sparse_kind": "lazy_adam"}, {"update": "rows"}),
}


def with_optimizer(name: str, **changes: Any) -> Recipe:
    kind, update = OPTIMIZERS[name]
    values = recipe().model_dump(mode="json")
    for tower in ("query", "candidate"):
        for feature in values[tower]["features"]:
            feature["embedding"] |= update
    values["training"]["optimizer"] = kind
    return parse_recipe({**values, "tune": {}, **changes})


def states_of(found: UntrainedModel, of: Recipe) -> dict[str, dict[str, Tensor]]:
    """What the optimisers hold when training begins."""
    trained = TrainedParameters(found.model, found.loss, of.training.optimizer)
    put_states(trained, {} if found.started is None else found.started.states)
    return {name: dict(optimizer.state.get(p, {})) for name, p, optimizer, _ in trained.places()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimisers_go_on_row_by_row(name: str, tmp_path: Path) -> None:
    of = with_optimizer(name)
    run(of, tmp_path / "monday", interactions=log(300))
    from_monday = opened(tmp_path / "monday").measured
    found = started(of, tmp_path / "monday")
    states, begun = states_of(found, of), states_of(fresh(of), of)
    assert found.started is not None
    assert found.started.anew == ()
    rows = {f"model.embeddings.table:{table.name}": table.rows_V for table in found.started.carried.tables}
    compared = 0
    for parameter, entries in states.items():
        for key, value in entries.items():
            if key == "step" and "sum" in entries:
                continue
            old = from_monday.states[parameter][key]
            where = next((rows_V for table, rows_V in rows.items() if table == parameter.replace("%2F", "/")), None)
            if where is None or value.dim() == 0:
                assert torch.equal(value, old), (parameter, key)
                continue
            for row, before in enumerate(where.tolist()):
                start = begun[parameter][key][row] if key in begun[parameter] else torch.zeros_like(value[row])
                assert torch.equal(value[row], old[before] if before >= 0 else start), (parameter, key, row)
            compared += 1
    assert compared >= 4
    fresh_states = started(with_optimizer(name, warm_start={"optimizer": "fresh"}), tmp_path / "monday").started
    assert fresh_states is not None
    assert fresh_states.states == {}


def test_adagrad_goes_on_where_updates_became_those_of_rows(tmp_path: Path) -> None:
    run(with_optimizer("adagrad"), tmp_path / "monday", interactions=log(300))
    found = started(with_optimizer("adagrad by rows"), tmp_path / "monday")
    assert found.started is not None
    assert found.started.anew == ()
    assert {"accumulator"} == set(found.started.states["model.embeddings.table:item"])
    other = started(with_optimizer("adamw"), tmp_path / "monday").started
    assert other is not None
    assert other.states == {}
    assert len(other.anew) == len(other.carried.rows)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"layer_sizes": [16, 4]}}, ["query tower can't be carried: layer_sizes is [16, 4], and was [16, 8]"]),
        ({"model": {"layer_sizes": [16, 8], "activation": "gelu"}}, ["candidate tower .*activation is 'gelu', and was 'relu'"]),
        ({"model": {"layer_sizes": [16, 8], "l2_normalise": True}}, ["query tower .*l2_normalise is True, and was False"]),
        ({"tasks": []}, []),
        (
            {"tasks": [{"name": "stars", "column": "rating", "kind": "regression", "layer_sizes": [4]}]},
            ["head 'stars' .*layer_sizes is [4], and was [32]"],
        ),
        ({"tasks": [{"name": "new", "column": "rating", "kind": "regression"}]}, ["head 'new' .*there was no heads"]),
    ],
)
def test_what_cannot_be_carried_is_named(source: Path, changes: dict[str, Any], said: list[str]) -> None:
    if not said:
        found = started(recipe(**changes), source).started
        assert found is not None
        assert found.carried.parts == ("query tower", "encoder of 'sequence'", "candidate tower", "loss")
        return
    with pytest.raises(ConfigError) as caught:
        started(recipe(**changes), source)
    text = str(caught.value)
    assert text.startswith(f"--from {source}: ")
    for sentence in said:
        assert all(part in text for part in sentence.split(".*")), text
    assert "warm_start.partial=true" in text
    found = started(recipe(**changes, warm_start={"partial": True}), source).started
    assert found is not None
    assert [part for part in found.carried.fresh if said[0].startswith(part)]
    assert len(found.carried.tables) == 4


def changed(key: str, value: Any) -> Recipe:
    """The recipe with a key of a feature changed: ``query.0.embedding.dim``."""
    values = recipe().model_dump(mode="json")
    tower, number, *rest = key.split(".")
    place = values[tower]["features"][int(number)]["embedding" if rest[0] == "embedding" else "feature"]
    place[rest[-1]] = value
    return parse_recipe({**values, "tune": {}})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("query.0.embedding.dim", 4, "table 'query/user' can't be carried: it is 4 wide, and was 8"),
        ("query.0.embedding.table", "people", "table 'people' can't be carried: there was none of this name"),
        ("query.0.hash_buckets", 50, "table 'query/user' can't be carried: hash_buckets is 50, and was None"),
        (
            "query.1.embedding.pooling",
            "mean",
            "query tower can't be carried: input 'history' is 8 wide (mean)",
        ),
        ("query.2.max_length", 6, "encoder of 'sequence' can't be carried: max_length is 6, and was 4"),
        ("query.3.transform", "log1p", "query feature 'age': transform is 'log1p', and was 'none'"),
    ],
)
def test_a_feature_that_is_another_one_is_named(source: Path, key: str, value: Any, said: str) -> None:
    other = changed(key, value)
    with pytest.raises(ConfigError) as caught:
        started(other, source)
    assert said in str(caught.value)
    partial = other.model_copy(update={"warm_start": other.warm_start.model_copy(update={"partial": True})})
    found = started(partial, source).started
    assert found is not None
    assert found.carried.fresh


def test_refitted_numbers_are_no_fault_unless_they_are_declared_otherwise(source: Path) -> None:
    refit = {"numbers": "refit"}
    kept, own = started(recipe(), source), started(recipe(warm_start=refit), source)
    assert kept.phase.preprocessor.spec != own.phase.preprocessor.spec
    assert own.phase.preprocessor.spec == fresh(recipe()).phase.preprocessor.spec
    other = changed("query.3.transform", "log1p")
    with pytest.raises(ConfigError, match="query tower can't be carried: feature 'age': transform is 'log1p'"):
        started(other.model_copy(update={"warm_start": recipe(warm_start=refit).warm_start}), source)


def test_heads_keep_their_units_and_their_range_grows(source: Path) -> None:
    wilder = log().with_columns(rating=pl.when(pl.int_range(pl.len()) == 350).then(9).otherwise(pl.col("rating")))
    only = recipe(tasks=[{"name": "stars", "column": "rating", "kind": "regression"}])
    old = next(head for head in opened(source).measured.recommender.model.spec.heads if head.name == "stars")
    new = started(only, source, wilder).model.spec.heads[0]
    assert old.kind == new.kind == "regression"
    assert (new.mean, new.scale, new.low, old.high, new.high) == (old.mean, old.scale, old.low, 5, 9)
    with pytest.raises(ConfigError, match=r"head 'level' can't be carried: levels is .*9.0.*, and was"):
        started(recipe(), source, wilder)


def test_ids_of_another_type_and_other_id_columns(source: Path) -> None:
    frame = log().with_columns(pl.col("user").str.slice(1).cast(pl.Int64))
    with pytest.raises(DataError, match=r"^--from .*user"):
        started(recipe(), source, frame)
    values = recipe().model_dump(mode="json")
    values["data"]["columns"]["user"] = "viewer"
    values["query"]["features"][0]["feature"]["column"] = "viewer"
    other = parse_recipe({**values, "tune": {}})
    with pytest.raises(ConfigError, match=r"data\.columns\.user is 'viewer', and was 'user'"):
        started(other, source, log().rename({"user": "viewer"}))


def test_a_bundle_alone_has_no_states_and_no_temperature(source: Path) -> None:
    found = started(recipe(), source / "bundle").started
    assert found is not None
    assert (found.states, list(found.carried.fresh)) == ({}, ["loss"])
    assert len(found.carried.tables) == 4


def test_nothing_is_copied_where_something_does_not_fit(source: Path) -> None:
    of = recipe(model={"layer_sizes": [16, 4]})
    tables = load_tables(of, interactions=log())
    warm = WarmRun(of, tables, opened(source)).select
    plain = untrained_model(of, tables, tables.split.train)
    before = {name: p.detach().clone() for name, p in plain.model.named_parameters()}
    with pytest.raises(ConfigError):
        warm.start(plain.model, plain.phase.preprocessor, plain.loss, warm.learned_rows(tables.split.train))
    assert all(torch.equal(before[name], p) for name, p in plain.model.named_parameters())
    assert replace(warm, model=warm.model).of(warm.model).model is warm.model


def with_times(**changes: Any) -> Recipe:
    """The recipe with a sequence that reads times; changes are of its feature, and of its encoder."""
    values = recipe().model_dump(mode="json")
    entry = values["query"]["features"][2]
    entry["embedding"]["encoder"] |= {"relative_time": True, "blocks": 1, **changes.pop("encoder", {})}
    entry["feature"] |= changes
    return parse_recipe({**values, "tune": {}})


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("timed") / "monday"
    run(with_times(), folder, interactions=log(300))
    return folder


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"request_time": True}, "request_time is True, and was False"),
        ({"encoder": {"heads": 4}}, "heads is 4, and was 2"),
        ({"encoder": {"time_buckets": 8}}, "time_buckets is 8, and was None"),
        ({"encoder": {"time_gap": True}}, "time_gap is True, and was None"),
        ({"encoder": {"relative_time": False}}, "relative_time is None, and was True"),
    ],
)
def test_an_encoder_that_reads_times_otherwise_is_another_one(timed: Path, changes: dict[str, Any], said: str) -> None:
    same = started(with_times(), timed).started
    assert same is not None
    assert "encoder of 'sequence'" in same.carried.parts
    with pytest.raises(ConfigError) as caught:
        started(with_times(**changes), timed)
    assert "encoder of 'sequence' can't be carried" in str(caught.value)
    assert said in str(caught.value)


def test_a_history_that_reads_other_vectors_is_another_one(source: Path) -> None:
    for place, part in ((1, "query tower"), (2, "encoder of 'sequence'")):
        values = recipe().model_dump(mode="json")
        entry = values["query"]["features"][place]
        entry["feature"]["items"] = "candidate"
        for key in ("dim", "table", "id_dropout", "init_scale", "update"):
            del entry["embedding"][key]
        with pytest.raises(ConfigError) as caught:
            started(parse_recipe({**values, "tune": {}}), source)
        assert f"{part} can't be carried: " in str(caught.value)
        assert "candidate" in str(caught.value)


def test_a_temperature_that_is_learned_no_more_is_what_the_recipe_says(source: Path) -> None:
    fixed = recipe(loss={"kind": "in_batch", "temperature": 0.5})
    found: Any = started(fixed, source)
    assert found.started is not None
    assert "loss" not in [*found.started.carried.parts, *found.started.carried.fresh]
    assert not any(name.startswith("loss.") for name in [*found.started.states, *found.started.anew])
    assert found.loss.temperature.value() == 0.5


def test_a_loss_of_other_parameters_is_named(source: Path) -> None:
    of, wide = recipe(), recipe(warm_start={"partial": True})
    tables = load_tables(of, interactions=log())
    for asked in (of, wide):
        plain: Any = untrained_model(asked, tables, tables.split.train)
        plain.loss.temperature.log_excess = torch.nn.Parameter(torch.zeros(3))
        warm = WarmRun(asked, tables, opened(source)).select
        learned = warm.learned_rows(tables.split.train)
        if asked is of:
            with pytest.raises(
                ConfigError, match=r"loss can't be carried: temperature.log_excess has shape \[3\], and had \[\]"
            ):
                warm.start(plain.model, plain.phase.preprocessor, plain.loss, learned)
        else:
            fresh_parts = warm.start(plain.model, plain.phase.preprocessor, plain.loss, learned).carried.fresh
            assert list(fresh_parts) == ["loss"]
            assert plain.loss.temperature.log_excess.tolist() == [0, 0, 0]
