"""What a finished run has left is read alike, whether one process wrote it or several, and whether tables were split."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tests.distributed.in_ranks import in_ranks, preload
from tests.runs import test_run_over_ranks as runs
from tests.runs.growing import opened
from torch import Tensor

from twotower.diagnosis import NotMade
from twotower.distributed import ALONE
from twotower.errors import CheckpointError
from twotower.recommender import Recommender
from twotower.runs import Recipe, load_run, run
from twotower.runs.fit_model import OwnParts
from twotower.runs.trained_parts import learned_temperature, measured_parts, selected_parts
from twotower.training import KeptEnd, TrainedParameters

preload("tests.distributed.with_torchrec")

TEMPERATURE = "temperature.log_excess"


def recipe(sharding: str) -> Recipe:
    """Its first epoch is the best one, for no later one can be better by 2, and others follow it."""
    embedding = {"dim": 8, "id_dropout": 0.0, "update": "rows"}
    of_item = {**embedding, "table": "item"}
    return runs.recipe(
        sharding,
        query={
            "features": [
                {"kind": "id", "column": "user", "embedding": embedding},
                {"kind": "history", "embedding": of_item},
            ]
        },
        candidate={"features": [{"kind": "id", "column": "item", "embedding": of_item}]},
        loss={"kind": "in_batch", "temperature": 0.3, "learn_temperature": True},
        training={
            "epochs": 3,
            "batch_size": 64,
            "sharding": sharding,
            "optimizer": {"kind": "adamw", "learning_rate": 0.01, "epsilon": 0.01, "initial_accumulator": 0.1},
            "early_stopping": {"metric": "recall@5 per user", "min_delta": 2.0},
        },
    )


def ended(folder: Path, phase: str) -> dict[str, Tensor]:
    """Weights, and the optimisers' states, all by one name each."""
    end = KeptEnd.of(folder / "checkpoints" / phase)
    assert end is not None
    of = load_run(folder, interactions=runs.interactions())
    loss = OwnParts().make_loss(of.recipe, len(of.recommender.catalogue))
    trained = TrainedParameters(of.recommender.model, loss, of.recipe.training.optimizer)
    states = {f"{name}.{entry}": value for name, of in end.states(trained).items() for entry, value in of.items()}
    assert any(name.endswith("accumulator") for name in states)
    assert any(name.endswith("exp_avg") for name in states)
    weights = {f"{module}.{name}": value for module in ("model", "loss") for name, value in end.weights(module).items()}
    assert f"loss.{TEMPERATURE}" in weights
    assert not weights.keys() & states.keys()
    return weights | states


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process leaves of tables that are never split."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("files") / "run"
    runs.ran(ALONE, recipe("local"), folder)
    assert (folder / "checkpoints" / "select" / "best.safetensors").is_file()
    return folder


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("split") / "run"
    in_ranks(runs.ran, 2, recipe("row_wise"), folder, timeout_s=300)
    assert not list((folder / "checkpoints").rglob("best.safetensors"))
    return folder


def test_of_tables_that_may_be_split_one_process_leaves_what_it_leaves_of_others(files: Path, tmp_path: Path) -> None:
    runs.ran(ALONE, recipe("row_wise"), tmp_path / "run")
    for phase in ("select", "refit", "production"):
        found, expected = ended(tmp_path / "run", phase), ended(files, phase)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("phase", ["select", "refit", "production"])
def test_two_ranks_leave_what_one_process_does(phase: str, files: Path, split: Path) -> None:
    found, expected = ended(split, phase), ended(files, phase)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-3, atol=1e-4), name


def test_a_run_goes_on_from_split_tables_with_their_optimisers(files: Path, split: Path, tmp_path: Path) -> None:
    sources = {name: opened(folder) for name, folder in (("files", files), ("split", split))}
    for model in ("measured", "shipped"):
        one, two = (getattr(source, model) for source in sources.values())
        assert two.states.keys() == one.states.keys()
        assert torch.allclose(two.loss[TEMPERATURE], one.loss[TEMPERATURE], rtol=1e-4)
    more = runs.interactions().with_columns(when=pl.col("when") + 1200)
    grown = pl.concat([runs.interactions(), more])
    found = run(recipe("row_wise"), tmp_path / "next", interactions=grown, from_run=split).summary
    assert found["warm_start"]["rows"]["new"] > 0


@cache
def _parts(folder: Path) -> tuple[Any, ...]:
    loaded = load_run(folder, interactions=runs.interactions())
    measured, selected = measured_parts(loaded, OwnParts()), selected_parts(loaded, OwnParts())
    assert not isinstance(selected, NotMade)
    states = [selected.model.state_dict(), measured.loss.state_dict(), selected.loss.state_dict()]
    return learned_temperature(loaded), states


def test_a_diagnosis_and_a_report_read_what_split_tables_left(files: Path, split: Path) -> None:
    (temperature, states), (expected, theirs) = _parts(split), _parts(files)
    assert expected != 0.3
    assert temperature == pytest.approx(expected, rel=1e-4)
    for found, wanted in zip(states, theirs, strict=True):
        assert found.keys() == wanted.keys()
        assert all(torch.allclose(found[name], value, rtol=1e-3, atol=1e-4) for name, value in wanted.items())
    assert Recommender.load(split).model.state_dict().keys() == states[0].keys()


def test_what_is_not_the_end_is_not_taken_for_it(split: Path, tmp_path: Path) -> None:
    assert KeptEnd.of(tmp_path) is None
    folder = tmp_path / "checkpoints"
    shutil.copytree(split / "checkpoints" / "select", folder)
    last = sorted((folder / "ranks" / "last").iterdir())
    end = KeptEnd.of(folder)
    assert end is not None
    data = next(last[-1].glob("*.safetensors"))
    whole = data.read_bytes()
    data.write_bytes(whole[:-1])
    with pytest.raises(
        CheckpointError, match=r"00000002 is refused: its file .*, and what is before it is not what is asked for"
    ):
        end.weights("loss")
    shutil.rmtree(last[-1])
    with pytest.raises(CheckpointError, match="the training was not over when this was written"):
        end.weights("loss")
    shutil.rmtree(folder / "ranks" / "last")
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        end.weights("loss")
