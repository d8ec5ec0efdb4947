"""A whole run by several ranks: the figures, files and answers of one process, whether tables are split or not."""

from __future__ import annotations

import json
import platform
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.distributed.in_ranks import in_ranks, preload

from twotower.columnar import PartDone, PartJob
from twotower.distributed import ALONE, Ranks
from twotower.errors import ConfigError, RankLostError
from twotower.models import TwoTower, build
from twotower.recommender import Recommender
from twotower.runs import Recipe, run
from twotower.spec import ModelSpec

preload("tests.distributed.with_torchrec")

USERS, ITEMS = 40, 24


def interactions() -> pl.DataFrame:
    draw = np.random.default_rng(0)
    users = draw.integers(USERS, size=1200)
    items = users % 3 * 8 + draw.integers(8, size=1200)
    return pl.DataFrame(
        {
            "user": [f"u{user}" for user in users],
            "item": [f"i{item}" for item in items],
            "when": np.arange(1200),
            "stars": [None if left else float(item % 5) for left, item in zip(draw.random(1200) < 0.1, items, strict=True)],
        },
        schema_overrides={"stars": pl.Float64},
    )


def recipe(sharding: str, **changes: Any) -> Recipe:
    embedding = {"dim": 8, "id_dropout": 0.0}
    values: dict[str, Any] = {
        "name": "ranks",
        "seed": 3,
        "refit": "all",
        "data": {"interactions": {"path": "none.csv"}, "columns": {"user": "user", "item": "item", "time": "when"}},
        "split": {"kind": "time", "test": 0.2, "validation": 0.2},
        "query": {
            "features": [
                {"kind": "id", "column": "user", "embedding": embedding},
                {"kind": "history", "embedding": {**embedding, "table": "item"}},
            ]
        },
        "candidate": {"features": [{"kind": "id", "column": "item", "embedding": {**embedding, "table": "item"}}]},
        "tasks": [{"name": "stars", "column": "stars", "kind": "regression"}],
        "training": {
            "epochs": 3,
            "batch_size": 64,
            "sharding": sharding,
            "checkpoint_every_s": 0,
            "optimizer": {"kind": "adamw", "learning_rate": 0.01, "epsilon": 0.01, "initial_accumulator": 0.1},
            "early_stopping": {"metric": "recall@5 per user"},
        },
        "evaluation": {"ks": [5], "draws": 50, "per_user": True},
        "baselines": {"train": ["popularity"]},
    }
    return Recipe.model_validate({**values, **changes})


def ran(ranks: Ranks, of: Recipe, folder: Path) -> dict[str, Any]:
    return dict(run(of, folder, interactions=interactions(), ranks=ranks).summary)


def figures(summary: Any) -> Any:
    """What does not say how long something took, or where."""
    if isinstance(summary, dict):
        left_out = ("run_dir", "hardware", "peak_memory_bytes")
        return {k: figures(v) for k, v in summary.items() if k not in left_out and "second" not in k and "rows_per" not in k}
    return [figures(each) for each in summary] if isinstance(summary, list) else summary


def flat(values: Any, name: str = "") -> dict[str, Any]:
    if isinstance(values, dict):
        return {key: value for inner, of in values.items() for key, value in flat(of, f"{name}.{inner}").items()}
    if isinstance(values, list):
        return {key: value for inner, of in enumerate(values) for key, value in flat(of, f"{name}.{inner}").items()}
    return {name: values}


@pytest.mark.parametrize(("sharding", "size"), [("row_wise", 2), ("row_wise", 4), ("local", 3)])
def test_a_run_by_ranks_is_the_run_of_one_process(sharding: str, size: int, tmp_path: Path) -> None:
    of = recipe(sharding)
    torch.set_num_threads(1)
    expected = ran(ALONE, of, tmp_path / "one")
    found = in_ranks(ran, size, of, tmp_path / "ranks", timeout_s=300)
    assert found[1:] == [{}] * (size - 1)
    its, ours = flat(figures(found[0])), flat(figures(expected))
    assert its.keys() == ours.keys()
    assert any("outcomes" in name for name in ours)
    for name, value in ours.items():
        if isinstance(value, float):
            assert its[name] == pytest.approx(value, rel=1e-3, abs=1e-3), name
        else:
            assert its[name] == value, name
    one, ranks = (Recommender.load(tmp_path / name) for name in ("one", "ranks"))
    assert torch.allclose(one.item_vectors_ND, ranks.item_vectors_ND, rtol=1e-3, atol=1e-4)
    people = [f"u{user}" for user in range(8)]
    mine, theirs = (each.recommend(people, k=3).frame["item"].to_list() for each in (one, ranks))
    assert sum(a == b for a, b in zip(mine, theirs, strict=True)) >= 22  # near ties aside
    for name, weights in one.model.state_dict().items():
        assert torch.allclose(weights, ranks.model.state_dict()[name], rtol=1e-3, atol=1e-4), name
    assert {path.name for path in (tmp_path / "one").iterdir()} == {path.name for path in (tmp_path / "ranks").iterdir()}
    records = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()] for name in ("one", "ranks")
    ]
    assert [record["loss"] for record in records[1]] == pytest.approx([record["loss"] for record in records[0]], rel=1e-4)


def test_a_finished_run_is_gone_on_from(tmp_path: Path) -> None:
    """What training over ranks leaves is what `from_run` reads."""
    of = recipe("local", refit="none")
    in_ranks(ran, 2, of, tmp_path / "ranks")
    checkpoints = tmp_path / "ranks" / "checkpoints" / "select"
    assert (checkpoints / "last.safetensors").is_file()
    assert not (checkpoints / "ranks").exists()
    more = interactions().with_columns(when=pl.col("when") + 1200)
    found = run(of, tmp_path / "next", interactions=pl.concat([interactions(), more]), from_run=tmp_path / "ranks")
    assert found.summary["warm_start"]


def _by_files(ranks: Ranks, folder: Path, name: str) -> tuple[Any, list[tuple[int, int]]]:
    """A run whose log is files that are converted; which files this rank converted."""
    converted: list[tuple[int, int]] = []
    work, node = PartJob.run, platform.node
    platform.node = lambda: f"machine {ranks.rank // 2}"  # two ranks on each

    def noted(self: PartJob, *args: Any, **kwargs: Any) -> PartDone:
        converted.append((self.first, self.first + len(self.files)))
        return work(self, *args, **kwargs)

    PartJob.run = noted  # type: ignore[method-assign]
    data = {
        "interactions": {"path": str(folder / "log")},
        "columns": {"user": "user", "item": "item", "time": "when"},
        "cache": "always",
    }
    of = recipe("local", data=data, refit="none", training={**recipe("local").training.model_dump(), "epochs": 1})
    summary = run(of, folder / name, cache_dir=folder / f"{name}-cache", ranks=ranks).summary
    PartJob.run, platform.node = work, node  # type: ignore[method-assign]
    return figures(summary), converted


def test_machines_convert_a_log_of_many_files_together(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    for number, part in enumerate(interactions().iter_slices(300)):
        part.write_csv(tmp_path / "log" / f"{number}.csv")
    torch.set_num_threads(1)
    expected, alone = _by_files(ALONE, tmp_path, "one")
    found = in_ranks(_by_files, 4, tmp_path, "four", timeout_s=300)
    assert alone == []
    assert [parts for _, parts in found] == [[(0, 2)], [], [(2, 4)], []]
    its, ours = flat(found[0][0]), flat(expected)
    assert its.keys() == ours.keys()
    for name, value in ours.items():
        assert its[name] == (pytest.approx(value, rel=1e-3, abs=1e-3) if isinstance(value, float) else value), name
    tables = [next((tmp_path / f"{name}-cache" / "columnar").glob("*/manifest.json")).parent for name in ("one", "four")]
    names = [{path.name for path in table.iterdir()} for table in tables]
    assert names[0] == names[1]
    for name in names[0] - {"manifest.json"}:
        assert (tables[0] / name).read_bytes() == (tables[1] / name).read_bytes()


def _bad_on_the_first(ranks: Ranks, folder: Path) -> None:
    """Only rank 0 speaks; the others are ended by whoever started them."""
    if ranks.first:
        _by_files(ranks, folder, "bad")
    with suppress(RankLostError):
        _by_files(ranks, folder, "bad")
    time.sleep(600)


def test_a_fault_in_another_ranks_files_is_told_by_the_first(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    for number, part in enumerate(interactions().iter_slices(400)):
        part.write_csv(tmp_path / "log" / f"{number}.csv")
    with (tmp_path / "log" / "2.csv").open("a") as file:
        file.write("one field\n")
    with pytest.raises(AssertionError, match=r"TableReadError: .*2\.csv: every row needs 4 fields .*data row 400 "):
        in_ranks(_bad_on_the_first, 3, tmp_path)
    assert not list((tmp_path / "bad-cache" / "columnar").glob("*/manifest.json"))


def _with_another(ranks: Ranks, what: str, folder: Path) -> str:
    frame, of = interactions(), recipe("local", refit="none")
    if ranks.rank == 1 and what == "tables":
        frame = frame.head(1199)  # a log that is written to meanwhile
    if ranks.rank == 1 and what == "recipe":
        of = recipe("local", refit="none", seed=4)
    with pytest.raises(ConfigError) as fault:
        run(of, folder, interactions=frame, ranks=ranks)
    return str(fault.value)


@pytest.mark.parametrize(("what", "said"), [("tables", "another table than"), ("recipe", "another recipe than")])
def test_ranks_that_do_not_have_the_same_do_not_train(what: str, said: str, tmp_path: Path) -> None:
    for found in in_ranks(_with_another, 2, what, tmp_path / "run"):
        assert f"rank 1 has {said} rank 0: all ranks need the same command" in found


def _started_again(ranks: Ranks, of: Recipe, folder: Path) -> dict[str, Any]:
    """All were started again; rank 0's agent alone has counted it, and only rank 0 is asked how to begin."""
    again = replace(ranks, restarts=1, agents=("this",)) if ranks.first else ranks
    return dict(run(of, folder, interactions=interactions(), overwrite=True, ranks=again).summary)


def _begun(ranks: Ranks, of: Recipe, folder: Path) -> dict[str, Any]:
    return ran(replace(ranks, agents=("this",)), of, folder)


def test_a_result_that_was_written_before_a_restart_stays(tmp_path: Path) -> None:
    of = recipe("local", refit="none", training={**recipe("local").training.model_dump(), "epochs": 1})
    first = in_ranks(_begun, 2, of, tmp_path / "run")[0]
    again = in_ranks(_started_again, 2, of, tmp_path / "run")
    assert json.dumps(again[0]) == json.dumps(first)
    assert again[1] == {}


def own(spec: ModelSpec, *, seed: int) -> TwoTower:
    return build(spec, seed=seed)


def _own(ranks: Ranks, of: Recipe, folder: Path) -> str:
    with pytest.raises(ConfigError) as fault:
        run(of, folder, interactions=interactions(), ranks=ranks, builder=own)
    return str(fault.value)


def test_a_builder_of_ones_own_can_not_have_its_tables_split(tmp_path: Path) -> None:
    for said in in_ranks(_own, 2, recipe("row_wise"), tmp_path / "run"):
        assert "makes its own tables; set training.sharding = 'local'" in said
