"""Whole exports of planted bundles: every kind of feature, every option of a tower, and exports that fail."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.export.conftest import Plant, planted

from twotower.errors import BundleError, ConfigError, ExportError, MissingExtraError
from twotower.export import export_onnx, layers
from twotower.export.graph import Graph
from twotower.models import TwoTower, build
from twotower.spec import ModelSpec

QUERY: dict[str, dict[str, Any]] = {
    "id": {"kind": "id", "column": "user"},
    "id of few": {"kind": "id", "column": "city", "min_count": 4},
    "id of integers": {"kind": "id", "column": "level"},
    "id with a tail": {"kind": "id", "column": "city", "min_count": 5, "tail_buckets": 3},
    "id by hash": {"kind": "id", "column": "user", "hash_buckets": 7, "name": "hashed"},
    "integers by hash": {"kind": "id", "column": "level", "hash_buckets": 7},
    "category": {"kind": "category", "column": "town"},
    "category, own row": {"kind": "category", "column": "city", "missing": "own_row"},
    "category, filled": {"kind": "category", "column": "city", "missing": {"fill": "Rome"}},
    "category, filled with what is unknown": {"kind": "category", "column": "city", "missing": {"fill": "Nowhere"}},
    "category of integers": {"kind": "category", "column": "level", "missing": "own_row", "name": "how far"},
    "category of booleans": {"kind": "category", "column": "premium", "missing": "own_row"},
    "part": {"kind": "category", "column": "place", "separator": ":", "part": 1, "missing": "own_row"},
    "part, never missing": {"kind": "category", "column": "code", "separator": ":", "part": 0, "name": "country"},
    "number": {"kind": "number", "column": "height"},
    "number that may be missing": {"kind": "number", "column": "age", "missing": "own", "clip": [18, 80]},
    "number, filled": {"kind": "number", "column": "age", "missing": {"fill": 30}},
    "number as it is": {"kind": "number", "column": "height", "standardise": False},
    "number of a long tail": {"kind": "number", "column": "income", "transform": "log1p", "missing": "own"},
    "boolean as a number": {"kind": "number", "column": "premium", "missing": "own"},
    "buckets": {"kind": "buckets", "column": "height", "edges": [150, 160, 170.5, 190]},
    "buckets, own row": {"kind": "buckets", "column": "age", "num_edges": 5, "missing": "own_row", "clip": [18, 80]},
    "buckets, filled": {"kind": "buckets", "column": "income", "num_edges": 6, "spacing": "quantile", "missing": {"fill": 9}},
    "timestamp": {
        "kind": "timestamp",
        "column": "at",
        "num_edges": 7,
        "standardise": True,
        "hour_of_day": True,
        "day_of_week": True,
    },
    "geo": {"kind": "geo", "longitude": "lon", "latitude": "lat", "name": "where"},
    "geo of small cells": {
        "kind": "geo",
        "longitude": "lon",
        "latitude": "lat",
        "name": "where",
        "cells": [7, 0.05],
        "out_of_range": "missing",
    },
    "text": {"kind": "text", "column": "bio"},
    "text as written": {"kind": "text", "column": "bio", "lowercase": False, "strip_punctuation": False, "max_tokens": 2},
    "text with a separator": {"kind": "text", "column": "bio", "separator": "|"},
    "text that is only cut": {
        "kind": "text",
        "column": "bio",
        "separator": "|",
        "lowercase": False,
        "strip_punctuation": False,
        "max_tokens": 2,
    },
    "lists": {"kind": "multi_category", "column": "tags"},
    "few of a list": {"kind": "multi_category", "column": "tags", "max_values": 2, "min_count": 3},
    "vector": {"kind": "vector", "column": "face", "missing": "zeros"},
    "vector of length 1": {"kind": "vector", "column": "face", "missing": "zeros", "normalise": True},
    "history": {"kind": "history"},
    "recent history": {"kind": "history", "name": "recent", "max_length": 3, "min_count": 2},
    "context": {"kind": "category", "column": "device", "missing": "own_row"},
}

CANDIDATE: dict[str, dict[str, Any]] = {
    "id": {"kind": "id", "column": "item"},
    "price": {"kind": "number", "column": "price", "transform": "log1p", "missing": "own"},
    "kinds": {"kind": "multi_category", "column": "kinds", "separator": "|"},
    "title": {"kind": "text", "column": "title", "max_vocabulary": 5},
    "out": {"kind": "timestamp", "column": "out", "standardise": True, "num_edges": 4, "day_of_week": True},
}

TOWERS: dict[str, dict[str, Any]] = {
    "no layers": {"layer_sizes": ()},
    "one layer": {"layer_sizes": (6,)},
    **{
        f"{name}, {norm}": {"activation": name, "layer_norm": norm}
        for name in ("relu", "gelu", "silu", "tanh")
        for norm in (0, 1)
    },
    "length 1": {"l2_normalise": True},
}

EXACT = 5e-6
"""Far below what a user may accept: only the order of sums differs. The numbers of vectors here are below 30."""


def error_of(run: Path, **options: Any) -> float:
    done = export_onnx(run, run.parent / "out", **options)
    assert done.signature.query.checked_rows > 100
    return max(done.signature.query.largest_error, done.signature.candidate.largest_error)


@pytest.mark.parametrize("name", QUERY)
def test_every_kind_of_feature_of_a_query(plant: Plant, name: str) -> None:
    features = [QUERY[name]] if name == "id" else [QUERY["id"], QUERY[name]]
    tall = name == "number as it is"  # about 170, and so is what follows from it
    assert error_of(plant(features)) < (50 * EXACT if tall else EXACT)


@pytest.mark.parametrize("name", CANDIDATE)
def test_every_kind_of_feature_of_a_candidate(plant: Plant, name: str) -> None:
    assert error_of(plant(candidate=[CANDIDATE[name]])) < EXACT


@pytest.mark.parametrize("pooling", ["mean", "sum", "sqrt_n"])
@pytest.mark.parametrize("update", ["dense", "rows"])
def test_every_pooling(plant: Plant, pooling: str, update: str) -> None:
    run = plant([QUERY["history"], QUERY["lists"]], [CANDIDATE["kinds"]], pooling=pooling, update=update)
    assert error_of(run) < EXACT


@pytest.mark.parametrize("name", TOWERS)
def test_every_option_of_a_tower(plant: Plant, name: str) -> None:
    assert error_of(plant(tower=TOWERS[name])) < EXACT


def test_what_is_added_after_the_layers(plant: Plant) -> None:
    run = plant([QUERY["history"]], [{"kind": "text", "column": "title", "name": "history"}], tower={"skip": ("history",)})
    assert error_of(run) < EXACT


@pytest.mark.parametrize("opset", [17, 18, 21, 23])
def test_opsets(plant: Plant, opset: int) -> None:
    run = plant([QUERY[name] for name in ("id", "timestamp", "geo", "recent history")], tower={"layer_norm": True})
    assert error_of(run, opset=opset) < EXACT


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.lists(st.sampled_from(sorted(QUERY)), min_size=1, max_size=8, unique=True),
    candidate=st.lists(st.sampled_from(sorted(CANDIDATE)), min_size=1, max_size=4, unique=True),
    pooling=st.sampled_from(["mean", "sum", "sqrt_n"]),
    activation=st.sampled_from(["relu", "gelu", "silu", "tanh"]),
    flags=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 99),
)
def test_any_features_together(
    tmp_path_factory: pytest.TempPathFactory,
    query: list[str],
    candidate: list[str],
    pooling: str,
    activation: str,
    flags: tuple[bool, bool],
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("any") / "bundle"
    # features of one column need names of their own
    features = [{**QUERY[name], "name": f"f{at}"} for at, name in enumerate(query)]
    tower = {"activation": activation, "layer_norm": flags[0], "l2_normalise": flags[1]}
    planted(folder, features, [CANDIDATE[name] for name in candidate], pooling=pooling, tower=tower, seed=seed)
    assert error_of(folder) < (50 * EXACT if "number as it is" in query else 4 * EXACT)


def test_what_the_signature_says_of_the_whole(plant: Plant, tmp_path: Path) -> None:
    run = plant([QUERY["id"], QUERY["number"]])
    done = export_onnx(run, tmp_path / "out", check_rows=5)
    said = json.loads((tmp_path / "out" / "signature.json").read_text())
    assert said == done.signature.model_dump(mode="json")
    assert said["manifest_sha256"] == hashlib.sha256((run / "manifest.json").read_bytes()).hexdigest()
    assert {"opset": 17}.items() <= said["versions"].items()
    assert said["query"]["id_column"] == "user"
    assert [entry["name"] for entry in said["query"]["inputs"]] == ["user.row", "height"]
    assert said["query"]["output"] == {"name": "vector", "dtype": "float32", "shape": ["batch", 6]}
    written = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert done.size_bytes == written


def test_large_tables_lie_beside_the_graphs(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = plant([QUERY["id"], QUERY["geo of small cells"]])
    monkeypatch.setattr(Graph, "write", partialmethod(Graph.write, in_the_file=20_000))
    done = export_onnx(run, tmp_path / "out")
    assert done.signature.query.files == ("query_tower.onnx", "query_tower.onnx.data")
    assert done.signature.candidate.files == ("candidate_tower.onnx",)
    assert (tmp_path / "out" / "query_tower.onnx.data").stat().st_size > 20_000
    assert done.signature.query.largest_error < EXACT


def test_an_earlier_export_is_replaced_and_nothing_else_is(plant: Plant, tmp_path: Path) -> None:
    run, out = plant(), tmp_path / "out"
    export_onnx(run, out)
    (out / "old").write_text("from the last one")
    export_onnx(run, out)
    assert not (out / "old").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match="holds something else"):
        export_onnx(run, mine)
    with pytest.raises(ConfigError, match="holds something else"):
        export_onnx(run, run)  # a bundle is something else too
    with pytest.raises(ConfigError, match="is a file"):
        export_onnx(run, mine / "thesis.txt")
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]


def test_an_export_that_differs_leaves_nothing(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, out = plant(tower={"l2_normalise": True}), tmp_path / "out"
    export_onnx(run, out)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(layers, "_LEAST_LENGTH", 1e3)  # vectors are made shorter than they should be
    for place in (out, tmp_path / "new"):
        with pytest.raises(ExportError, match=r"query tower .* differs .* nothing was written"):
            export_onnx(run, place)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_weight_that_is_not_the_bundles_is_found(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = plant()
    real = layers._array
    monkeypatch.setattr(layers, "_array", lambda tensor: real(tensor) + np.float32(1e-3))
    with pytest.raises(ExportError, match=r"may by 0\.0001"):
        export_onnx(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


class OwnTower(torch.nn.Module):
    """Something that an ONNX export can't know."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, features: Any) -> torch.Tensor:
        vectors: torch.Tensor = self.inner(features)
        return vectors * 2


def own_build(spec: ModelSpec, *, seed: int) -> TwoTower:
    model = build(spec, seed=seed)
    model.query = OwnTower(model.query)  # type: ignore[assignment]
    return model


def test_a_model_of_ones_own_is_refused_by_name(plant: Plant, tmp_path: Path) -> None:
    from twotower.recommender import Recommender

    run = plant()
    recommender = Recommender.load(run)
    recommender.model.query = OwnTower(recommender.model.query)  # type: ignore[assignment]
    recommender.save(run, builder=own_build)
    with pytest.raises(
        ConfigError, match=r"built by tests\.export\.test_onnx_folder\.own_build|own_build, a builder of your own"
    ):
        export_onnx(run, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"the query tower is a .*OwnTower, which an ONNX export does not know"):
        export_onnx(run, tmp_path / "out", builder=own_build)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"opset": 16}, "opset: must be from 17 to"), ({"opset": 999}, "came 999"), ({"check_rows": 0}, "check_rows: must be at")],
)
def test_what_is_asked_wrongly(plant: Plant, tmp_path: Path, options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        export_onnx(plant(), tmp_path / "out", **options)  # type: ignore[arg-type]


def test_without_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle or run folder"):
        export_onnx(tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_without_the_extra(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    run = plant()
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'twotower\[onnx\]'"):
        export_onnx(run, tmp_path / "out")


KILLED = """
import sys, time
from twotower.export import export_onnx, onnx_folder
def slow(*args, **kwargs):
    print("now", flush=True)
    time.sleep(60)
onnx_folder.check_candidates = slow
export_onnx(sys.argv[1], sys.argv[2])
"""


def test_an_export_that_is_killed_leaves_nothing_half_written(plant: Plant, tmp_path: Path) -> None:
    run, out = plant(), tmp_path / "there" / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(run), str(out)], stdout=subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"now\n"
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    process.stdout.close()
    assert not out.exists()
    (left,) = out.parent.iterdir()
    assert left.name.startswith(".out.")
    export_onnx(run, out)  # and the next one cleans up
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_wrong_place_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    started = time.monotonic()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        export_onnx(tmp_path / "nowhere", tmp_path / "file")
    assert time.monotonic() - started < 5


def test_dates_of_items_are_seconds(plant: Plant, tmp_path: Path) -> None:
    done = export_onnx(plant(candidate=[CANDIDATE["out"]]), tmp_path / "out")
    (entry,) = done.signature.candidate.inputs
    assert (entry.kind, entry.name) == ("number", "out")
    assert done.signature.candidate.largest_error < EXACT
    assert pl.read_parquet(tmp_path / "bundle" / "catalogue.parquet")["out"].dtype == pl.Datetime("us")
