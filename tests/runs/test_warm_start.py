"""Whole runs that go on from another one: what they learn from, what they refuse, and what they end with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.runs.growing import log, opened, recipe, started

from twotower.bundle import open_bundle, read_tensors
from twotower.columnar import Converting
from twotower.errors import BundleError, CheckpointError, ConfigError, CorruptBundleError, DataError
from twotower.recommender import Recommender
from twotower.runs import RunFolder, explain, load_run, load_tables, parse_recipe, reevaluate, run
from twotower.runs.fit_model import OwnParts, untrained_model
from twotower.runs.phase import fit_phase
from twotower.runs.trained_parts import measured_parts, selected_parts
from twotower.runs.warm_run import WarmRun
from twotower.training import StepDone, TrainingEvent
from twotower.types import Ragged

STOP = {"epochs": 3, "batch_size": 64, "early_stopping": {"metric": "recall@5"}}


@pytest.fixture(scope="module")
def monday(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "monday"
    run(recipe(), folder, interactions=log(300))
    return folder


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in Recommender.load(folder).model.named_parameters()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_log_that_grew_is_learned_from_where_it_grew(monday: Path, tmp_path: Path) -> None:
    said: list[str] = []
    found = run(
        recipe(),
        tmp_path / "tuesday",
        interactions=log(400),
        from_run=monday,
        listener=lambda phase, event: said.append(event) if phase == "data" and isinstance(event, str) else None,
    ).summary
    # Monday learned from 260 rows and was judged on 40; Tuesday knows 360
    assert found["warm_start"]["rows"] == {"learned": 100, "new": 100, "replayed": 0, "known": 260}
    assert f"goes on from {monday}, which knows 260 of the 360 train rows; learns from 100 new ones" in said
    assert found["training"]["epochs"] == 2
    assert json.loads((tmp_path / "tuesday" / "result.json").read_text())["warm_start"] == found["warm_start"]
    # what a bundle holds is of all rows: users, items, histories
    full = run(recipe(), tmp_path / "full", interactions=log(400))
    warm, anew = Recommender.load(tmp_path / "tuesday"), Recommender.load(tmp_path / "full")
    assert warm.users.table.ids.to_list() == anew.users.table.ids.to_list()
    assert warm.catalogue.ids.to_list() == anew.catalogue.ids.to_list()
    assert torch.equal(warm.users.item_histories.item_rows, anew.users.item_histories.item_rows)
    assert found["baselines"] == full.summary["baselines"]
    assert "warm_start" not in full.summary
    assert "warm_start" not in anew.card
    lineage = warm.card["warm_start"]["lineage"]
    assert [(entry["run"], entry["trained_on"]) for entry in lineage] == [(str(monday), "train rows")]
    # and judged again it gives the same figures, without Monday
    again = reevaluate(tmp_path / "tuesday", interactions=log(400))
    assert again["metrics"] == found["metrics"]
    assert sorted(path.name for path in (tmp_path / "tuesday" / "warm_start").iterdir()) == ["rows.safetensors", "source.json"]
    # a third day goes back to both
    run(recipe(), tmp_path / "wednesday", interactions=log(500), from_run=tmp_path / "tuesday")
    lineage = Recommender.load(tmp_path / "wednesday").card["warm_start"]["lineage"]
    assert [entry["run"] for entry in lineage] == [str(monday), str(tmp_path / "tuesday")]
    assert lineage[1]["trained_on"] == f"train rows; went on from {monday}"


def test_batches_hold_the_new_rows_and_their_histories_hold_all(monday: Path) -> None:
    found = started(recipe(), monday)
    examples, phase = found.batches.examples, found.phase
    frame = log().sort("time")
    expected = frame[260:360]
    assert phase.tables.user_ids.ids.gather(examples.user_rows.numpy()).to_list() == expected["user"].to_list()
    assert phase.catalogue.ids.gather(examples.item_rows.numpy()).to_list() == expected["item"].to_list()
    everything = fit_phase(recipe(), phase.tables, phase.fit_rows)
    rows = torch.arange(100)
    new: Any = examples.queries(rows, training=True)
    all_rows: Any = everything.train.queries(rows + 260, training=True)
    of_rows, of_everything = (each.preprocessor.spec.history[0].lookup for each in (phase, everything))
    assert of_rows is not None
    assert of_everything is not None
    assert of_rows.ids.to_list() == of_everything.ids.to_list()
    for name in ("history", "sequence"):
        assert torch.equal(new[name].values, all_rows[name].values)
        assert torch.equal(new[name].offsets, all_rows[name].offsets)
    assert len(phase.histories().item_rows) == 360
    assert float(phase.item_counts.sum()) == 360


@pytest.mark.parametrize(
    ("warm_start", "learned", "replayed"),
    [({"rows": "all"}, 360, 260), ({"replay": 0.5}, 150, 50), ({"replay": 9.0}, 360, 260)],
)
def test_known_rows_may_be_learned_once_more(monday: Path, warm_start: dict[str, Any], learned: int, replayed: int) -> None:
    found = started(recipe(warm_start=warm_start), monday)
    assert found.started is not None
    assert found.started.learned.to_json() == {"learned": learned, "new": 100, "replayed": replayed, "known": 260}
    rows = found.started.learned.rows
    assert len(found.batches.examples) == learned == len(np.unique(rows))
    assert set(range(260, 360)) <= set(rows.tolist())
    if replayed == 50:
        other = recipe(warm_start=warm_start, seed=2)
        again = started(other, monday).started
        assert again is not None
        assert again.learned.rows.tolist() != rows.tolist()


def test_before_its_first_step_it_recommends_what_the_source_did(monday: Path) -> None:
    source = Recommender.load(monday)
    found = started(recipe(), monday)
    phase, old = found.phase, source.preprocessor
    model = found.model.eval()
    users = source.users.table.ids.to_list()
    frame = log(300).sort("time").head(260)
    context = frame.tail(40)
    people = pl.DataFrame({"user": context["user"]})
    histories = [frame.filter(pl.col("user") == user)["item"].to_list()[-5:] for user in context["user"]]

    def vectors(model: Any, preprocessor: Any) -> torch.Tensor:
        names = {f.config.name: f for f in preprocessor.spec.history}
        columns = {**preprocessor.encode_users(people), **preprocessor.encode_context(context)}
        for name, longest in (("history", 5), ("sequence", 4)):
            cut = [items[-longest:] for items in histories]
            rows = names[name].encode(pl.Series("item", [item for items in cut for item in items]))
            offsets = torch.tensor(np.concatenate([[0], np.cumsum([len(items) for items in cut])]))
            columns[name] = Ragged(rows, offsets)
        with torch.no_grad():
            found: torch.Tensor = model.encode_queries(columns)
        return found

    with torch.no_grad():
        items = model.encode_candidates(phase.preprocessor.encode_items(source.catalogue.frame))
        assert torch.equal(items, source.model.encode_candidates(old.encode_items(source.catalogue.frame)))
    assert torch.equal(vectors(model, phase.preprocessor), vectors(source.model.eval(), old))
    assert len(users) >= 20


def stop_at(phase: str, epoch: int, batch: int) -> Callable[[str, TrainingEvent | Converting | str], None]:
    def listen(now: str, event: TrainingEvent | Converting | str) -> None:
        if now == phase and isinstance(event, StepDone) and (event.epoch, event.batch) == (epoch, batch):
            raise KeyboardInterrupt

    return listen


@pytest.mark.parametrize("phase", ["select", "refit", "production"])
def test_it_goes_on_to_the_bit_when_the_source_is_gone(phase: str, tmp_path: Path) -> None:
    of = recipe(refit="all", split={"kind": "time", "test": 40, "validation": 30}, training={**STOP, "checkpoint_every_s": 0.0})
    run(of, tmp_path / "monday", interactions=log(300))
    whole = run(of, tmp_path / "whole", interactions=log(400), from_run=tmp_path / "monday").summary
    with pytest.raises(KeyboardInterrupt):
        run(of, tmp_path / "broken", interactions=log(400), from_run=tmp_path / "monday", listener=stop_at(phase, 0, 1))
    if phase == "refit":  # the same name, as long as it is there, or what is the same
        shutil.copytree(tmp_path / "monday", tmp_path / "copy")
        with pytest.raises(ConfigError, match=r"the run there began from .*monday, not from .*whole"):
            run(of, tmp_path / "broken", interactions=log(400), from_run=tmp_path / "whole", resume=True)
    shutil.rmtree(tmp_path / "monday")
    named = {"select": None, "refit": tmp_path / "copy", "production": tmp_path / "monday"}[phase]
    resumed = run(of, tmp_path / "broken", interactions=log(400), from_run=named, resume=True).summary
    for part in ("bundle", "measured"):
        assert same(weights_of(tmp_path / "whole" / part), weights_of(tmp_path / "broken" / part))
    for summary in (whole, resumed):
        for key in ("training", "selection"):
            summary[key].pop("seconds", None)
            summary[key].pop("rows_per_s", None)
    assert {**resumed["warm_start"]} == {**whole["warm_start"]}
    assert (resumed["metrics"], resumed["selection"]) == (whole["metrics"], whole["selection"])


def test_a_checkpoint_is_of_what_its_run_went_on_from(monday: Path, tmp_path: Path) -> None:
    run(recipe(seed=7), tmp_path / "other", interactions=log(300))
    of = recipe(training={"epochs": 2, "batch_size": 32, "early_stopping": False, "checkpoint_every_s": 0.0})
    place = RunFolder(tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        run(of, place.path, interactions=log(400), from_run=monday, listener=stop_at("select", 0, 2))
    assert (place.checkpoints("select") / "last.safetensors").is_file()
    shutil.rmtree(place.warm_start)
    opened(tmp_path / "other").keep(place)  # of the same rows and shapes
    with pytest.raises(CheckpointError):
        run(of, place.path, interactions=log(400), resume=True)


def test_a_run_that_began_anew_is_not_resumed_from_another(monday: Path, tmp_path: Path) -> None:
    of = recipe(training={**recipe().training.model_dump(mode="json"), "early_stopping": False, "checkpoint_every_s": 0.0})
    with pytest.raises(KeyboardInterrupt):
        run(of, tmp_path / "run", interactions=log(400), listener=stop_at("select", 0, 2))
    with pytest.raises(ConfigError, match=r"the run there began anew, not from"):
        run(of, tmp_path / "run", interactions=log(400), from_run=monday, resume=True)
    run(of, tmp_path / "run", interactions=log(400), from_run=monday, overwrite=True)
    assert (tmp_path / "run" / "warm_start").is_dir()
    # a run that has finished says what it went on from, too
    shutil.copytree(monday, tmp_path / "copy")
    for named in (None, monday, tmp_path / "copy"):
        assert run(of, tmp_path / "run", interactions=log(400), from_run=named, resume=True).summary["warm_start"]
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    with pytest.raises(ConfigError, match=r"the run there began from .*monday, not from .*other"):
        run(of, tmp_path / "run", interactions=log(400), from_run=tmp_path / "other", resume=True)
    run(of, tmp_path / "run", interactions=log(400), overwrite=True)
    with pytest.raises(ConfigError, match=r"the run there began anew, not from"):
        run(of, tmp_path / "run", interactions=log(400), from_run=monday, resume=True)
    assert not (tmp_path / "run" / "warm_start").exists()


def test_with_refit_all_each_model_goes_on_from_its_own(tmp_path: Path) -> None:
    of = recipe(refit="all", split={"kind": "time", "test": 40, "validation": 30}, training=STOP)
    run(of, tmp_path / "monday", interactions=log(300))
    found = run(of, tmp_path / "tuesday", interactions=log(400), from_run=tmp_path / "monday").summary
    # the measured model of Monday knows 260 rows, the shipped one 300; validation holds 330 to 360, test 360 to 400
    assert found["warm_start"]["rows"] == {"learned": 70, "new": 70, "replayed": 0, "known": 260}
    loaded = load_run(tmp_path / "tuesday", interactions=log(400))
    assert len(loaded.phase.train) == 100
    parts = selected_parts(loaded, OwnParts())
    assert len(parts.batches.examples) == 70  # type: ignore[union-attr]
    ages: list[Any] = [
        next(f for f in preprocessor.spec.context if f.kind == "number")
        for preprocessor in (
            opened(tmp_path / "monday").measured.recommender.preprocessor,
            parts.phase.preprocessor,  # type: ignore[union-attr]
            loaded.phase.preprocessor,
        )
    ]
    assert len({(age.mean, age.std) for age in ages}) == 1
    assert len(measured_parts(loaded, OwnParts()).batches.examples) == 100
    source = opened(tmp_path / "monday")
    tables = load_tables(of, interactions=log(400))
    warm = WarmRun(of, tables, source)
    assert warm.production.learned_rows(np.arange(400)).to_json()["known"] == 300
    assert warm.select.learned_rows(np.arange(400)).to_json()["known"] == 260
    assert set(source.folders) == {"measured", "shipped"}
    kept = read_tensors(tmp_path / "tuesday" / "warm_start" / "rows.safetensors")[0]
    assert {phase: rows.tolist() for phase, rows in kept.items()} == {
        phase: np.argsort(log(400)["time"].to_numpy())[first:end].tolist()
        for phase, (first, end) in {"select": (260, 330), "refit": (260, 360), "production": (300, 400)}.items()
    }
    card = open_bundle(tmp_path / "tuesday" / "bundle").card
    assert str(card["trained_on"]).endswith(f"; went on from {tmp_path / 'monday'}")


def test_what_is_learned_from_here_is_not_validated_or_tested_there(monday: Path, tmp_path: Path) -> None:
    # 310 rows, of which 30 + 40 are set aside: Monday has learned from 20 of the validation rows
    of = recipe(split={"kind": "time", "test": 40, "validation": 30}, training=STOP)
    with pytest.raises(ConfigError, match=r"it learned from 20 of the 30 validation rows of this run, so that"):
        run(of, tmp_path / "run", interactions=log(310), from_run=monday)
    assert not (tmp_path / "run" / "recipe.json").exists()
    more = recipe(split={"kind": "time", "test": 80, "validation": 10}, training=STOP)
    with pytest.raises(ConfigError, match=r"10 of the 10 validation rows and 30 of the 80 test rows.*split.validation, "):
        run(more, tmp_path / "run", interactions=log(310), from_run=monday)
    noted = recipe(split={"kind": "time", "test": 80, "validation": 0}, warm_start={"overlap": "note", "rows": "all"})
    found = run(noted, tmp_path / "noted", interactions=log(310), from_run=monday).summary
    note = f"leaking: the run that this one went on from ({monday}) learned from 30 of the 80 test rows"
    assert note in found["notes"]


def test_without_times_rows_are_counted(tmp_path: Path) -> None:
    values = recipe().model_dump(mode="json") | {"tune": {}}
    values["data"]["columns"] |= {"time": None, "order": "row"}
    of = parse_recipe(values)
    run(of, tmp_path / "monday", interactions=log(300))
    found = run(of, tmp_path / "tuesday", interactions=log(400), from_run=tmp_path / "monday").summary
    assert found["warm_start"]["rows"] == {"learned": 100, "new": 100, "replayed": 0, "known": 260}
    with pytest.raises(ConfigError, match="without times, rows are told apart by user, item and how often they occur"):
        run(of, tmp_path / "again", interactions=log(290), from_run=tmp_path / "monday")


def test_nothing_new_is_an_error(monday: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"learned from all 260 train rows of this run already; .*warm_start.rows=all"):
        run(recipe(), tmp_path / "run", interactions=log(300), from_run=monday)
    run(recipe(warm_start={"rows": "all"}), tmp_path / "run", interactions=log(300), from_run=monday)


def test_one_new_row_of_one_user_is_enough(monday: Path, tmp_path: Path) -> None:
    found = run(recipe(), tmp_path / "run", interactions=log(301), from_run=monday).summary
    assert found["warm_start"]["rows"]["learned"] == 1


def test_what_is_no_run_to_go_on_from(monday: Path, tmp_path: Path) -> None:
    frame = log(400)
    with pytest.raises(BundleError, match=r"^--from no bundle or run folder at .*nowhere"):
        run(recipe(), tmp_path / "run", interactions=frame, from_run=tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BundleError, match=r"^--from .*folder"):
        run(recipe(), tmp_path / "run", interactions=frame, from_run=tmp_path / "folder")
    shutil.copytree(monday, tmp_path / "damaged")
    weights = tmp_path / "damaged" / "bundle" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptBundleError, match=r"^--from .*weights"):
        run(recipe(), tmp_path / "run", interactions=frame, from_run=tmp_path / "damaged")
    shutil.copytree(monday, tmp_path / "torn")
    state = tmp_path / "torn" / "checkpoints" / "select" / "last.safetensors"
    state.write_bytes(state.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError, match=r"^--from .*last.safetensors.*without its checkpoints, go on from .*bundle"):
        run(recipe(), tmp_path / "run", interactions=frame, from_run=tmp_path / "torn")
    shutil.copytree(monday, tmp_path / "unfinished")
    shutil.rmtree(tmp_path / "unfinished" / "bundle")
    with pytest.raises(BundleError, match=r"^--from the run in .* has not finished"):
        run(recipe(), tmp_path / "run", interactions=frame, from_run=tmp_path / "unfinished")
    for name in ("", "bundle"):
        with pytest.raises(ConfigError, match="a run can't go on from itself"):
            run(recipe(), monday, interactions=frame, from_run=monday / name, overwrite=True)
    assert not (tmp_path / "run" / "recipe.json").exists()
    # and the folder is free for a run after all of that
    run(recipe(), tmp_path / "run", interactions=frame, from_run=monday)


def test_a_run_that_was_killed_before_its_recipe_was_written_is_begun_again(monday: Path, tmp_path: Path) -> None:
    place = RunFolder(tmp_path / "run")
    place.path.mkdir()
    opened(monday).keep(place)
    run(recipe(), place.path, interactions=log(400), resume=True)
    assert "warm_start" not in json.loads(place.result.read_text())
    assert not place.warm_start.exists()


def test_explaining_tells_what_is_carried(monday: Path, tmp_path: Path) -> None:
    facts: Any = explain(recipe(), interactions=log(400), from_run=monday)
    told = facts["warm_start"]
    assert told["rows"]["new"] == 100
    assert told["tables"]["item"]["new"] >= 1
    assert (told["from"], told["fresh"], told["optimizer"]["anew"], told["notes"]) == (str(monday), {}, [], [])
    assert "warm_start" not in explain(recipe(), interactions=log(400))


def test_before_learning_is_what_validation_says_of_the_carried_model(monday: Path, tmp_path: Path) -> None:
    of = recipe(split={"kind": "time", "test": 40, "validation": 30}, training=STOP)
    found = run(of, tmp_path / "run", interactions=log(400), from_run=monday).summary
    before = found["warm_start"]["before"]
    assert set(before) == set(found["selection"]["validation"]) - {"stars rmse"} | set(before)
    assert 0 < before["recall@5"] < 1
    assert before != found["selection"]["validation"]


def test_a_recipe_without_warm_start_reads_as_before() -> None:
    assert "warm_start" not in recipe().model_dump(mode="json")
    assert recipe(warm_start={"replay": 1.0}).model_dump(mode="json")["warm_start"]["replay"] == 1.0
    for wrong in ({"replay": -1}, {"rows": "old"}, {"new_ids": "zero"}, {"unknown": 1}):
        with pytest.raises(ConfigError, match="warm_start"):
            recipe(warm_start=wrong)
    tables = load_tables(recipe(), interactions=log())
    assert untrained_model(recipe(), tables, tables.split.train).started is None


def test_the_first_step_is_that_of_an_optimiser_that_goes_on(monday: Path, tmp_path: Path) -> None:
    one_step = {"epochs": 1, "batch_size": 512, "early_stopping": False}
    moved = {}
    for optimizer in ("carry", "fresh"):
        of = recipe(warm_start={"optimizer": optimizer}, training=one_step)
        run(of, tmp_path / optimizer, interactions=log(400), from_run=monday)
        start = {name: p.detach().clone() for name, p in started(of, monday).model.named_parameters()}
        end = weights_of(tmp_path / optimizer)
        moved[optimizer] = {name: float((end[name] - start[name]).abs().max()) for name in start}
    # Adagrad's sums have grown: the same gradient moves less
    assert moved["carry"]["query.layers.layers.0.weight"] < 0.9 * moved["fresh"]["query.layers.layers.0.weight"]
    assert any(value > 0 for value in moved["carry"].values())


def test_what_can_not_be_carried_yet_is_refused(monday: Path, tmp_path: Path) -> None:
    ids = {"kind": "id", "column": "user", "embedding": {"dim": 8}}
    sequence = {"kind": "sequence", "max_length": 4, "columns": ["rating"], "embedding": {"dim": 8, "encoder": {"kind": "gru"}}}
    item = {"features": [{"kind": "id", "column": "item", "embedding": {"dim": 8}}]}
    rated = recipe(query={"features": [ids, sequence]}, candidate=item, tasks=[])
    with pytest.raises(ConfigError, match=r"query.features.1.columns: .*not matched by value yet"):
        run(rated, tmp_path / "rated", interactions=log(400), from_run=monday)
    propagated = recipe(query={"features": [ids]}, candidate=item, model={"layer_sizes": [], "propagation": {}}, tasks=[])
    with pytest.raises(ConfigError, match=r"model.propagation: .*propagated once more"):
        run(propagated, tmp_path / "propagated", interactions=log(400), from_run=monday)
    assert not (tmp_path / "rated" / "bundle").exists()


def test_an_optimiser_of_tables_that_were_propagated_does_not_go_on(tmp_path: Path) -> None:
    def of(**model: Any) -> Any:
        user, item = ({"kind": "id", "column": column, "embedding": {"dim": 8}} for column in ("user", "item"))
        number = {"kind": "number", "column": "age"}
        return recipe(
            query={"features": [user, number]}, candidate={"features": [item]}, model={"layer_sizes": [8], **model}, tasks=[]
        )

    run(of(propagation={}), tmp_path / "propagated", interactions=log(300))
    found = started(of(), tmp_path / "propagated").started
    assert found is not None
    assert sorted(found.anew) == ["model.embeddings.table:candidate/item", "model.embeddings.table:query/user"]
    assert {table.name for table in found.carried.tables} == {"query/user", "candidate/item"}
    assert "model.query.layers.layers.0.weight" in found.states


@pytest.mark.parametrize(
    ("refit", "phases"), [("none", ("select", "select")), ("train", ("refit", "refit")), ("all", ("refit", "production"))]
)
def test_each_model_goes_on_with_what_its_own_training_ended_with(refit: str, phases: tuple[str, str], tmp_path: Path) -> None:
    # no later epoch can be better by 2, so that the first one is the best, and others follow it
    stopping = {"metric": "recall@5", "min_delta": 2.0}
    of = recipe(
        refit=refit,
        split={"kind": "time", "test": 40, "validation": 30},
        training={"epochs": 3, "batch_size": 64, "early_stopping": stopping},
    )
    place = RunFolder(tmp_path / "monday")
    run(of, place.path, interactions=log(300))
    source, name = opened(place.path), "temperature.log_excess"
    for model, phase in zip((source.measured, source.shipped), phases, strict=True):
        ends = {path.stem: read_tensors(path)[0] for path in place.checkpoints(phase).glob("*.safetensors")}
        kept = ends.get("best", ends["last"])
        assert torch.equal(model.loss[name], kept[f"loss:{name}"])
        if refit == "none":
            assert not torch.equal(model.loss[name], ends["last"][f"loss:{name}"])
        sums = model.states["model.query.layers.layers.0.weight"]["sum"]
        of_last = [value for key, value in ends["last"].items() if key.startswith("optimizer.") and key.endswith(".sum")]
        assert any(torch.equal(sums, value) for value in of_last)
