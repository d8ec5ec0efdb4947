"""Vectors for other stores."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from tests.export.conftest import ITEMS, USERS, Plant

from twotower.errors import BundleError, ConfigError
from twotower.export import VectorsDone, export_vectors, vectors
from twotower.recommender import Recommender

FEATURES: list[dict[str, Any]] = [
    {"kind": "id", "column": "user"},
    {"kind": "timestamp", "column": "at", "standardise": True},
    {"kind": "history"},
]


def test_items_in_a_file(plant: Plant, tmp_path: Path) -> None:
    run, out = plant(FEATURES), tmp_path / "items.parquet"
    done = export_vectors(run, out)
    assert (done.items, done.users, done.width, done.size_bytes) == (ITEMS, None, 6, out.stat().st_size)
    schema = pq.read_schema(out)
    assert str(schema.field("vector").type) == "fixed_size_list<element: float>[6]"
    manifest = hashlib.sha256((run / "manifest.json").read_bytes()).hexdigest()
    assert schema.metadata[b"twotower.manifest_sha256"] == manifest.encode()
    frame, recommender = pl.read_parquet(out), Recommender.load(run)
    assert frame["item"].to_list() == recommender.catalogue.ids.to_list()
    assert np.array_equal(np.array(frame["vector"].to_list(), dtype=np.float32), recommender.item_vectors_ND.numpy())


@pytest.mark.parametrize("at_once", [4, 1000])
def test_users_are_as_they_would_be_answered(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(vectors, "_USERS_AT_ONCE", at_once)
    run, out, told = plant(FEATURES), tmp_path / "out", list[VectorsDone]()
    done = export_vectors(run, out, users=True, listener=told.append)
    assert sorted(path.name for path in out.iterdir()) == ["items.parquet", "users.parquet", "vectors.json"]
    assert (told[0], told[-1]) == (VectorsDone("items", ITEMS, ITEMS), VectorsDone("users", USERS, USERS))
    assert len(told) == 1 + -(-USERS // at_once)
    users, items = pl.read_parquet(out / "users.parquet"), pl.read_parquet(out / "items.parquet")
    assert users.columns == ["user", "vector"]
    answer = Recommender.load(run).recommend(["u05"], k=3, exclude_seen=False).frame
    asked = np.array(users.filter(pl.col("user") == "u05")["vector"][0].to_list())
    scores = np.array(items["vector"].to_list()) @ asked
    best = np.argsort(-scores)[:3]
    assert items["item"].gather(best).to_list() == answer["item"].to_list()
    np.testing.assert_allclose(scores[best], answer["score"].to_numpy(), rtol=1e-4)
    said = json.loads((out / "vectors.json").read_text())
    assert {
        "format": "twotower-vectors",
        "width": 6,
        "items": ITEMS,
        "users": USERS,
        "score": "dot product",
    }.items() <= said.items()
    assert done.size_bytes == sum(path.stat().st_size for path in out.iterdir())


def test_matrices(plant: Plant, tmp_path: Path) -> None:
    run, out = plant(FEATURES), tmp_path / "out"
    export_vectors(run, out, users=True, layout="npy")
    recommender = Recommender.load(run)
    ids = [json.loads(line) for line in (out / "users.ids.jsonl").read_text().splitlines()]
    assert ids == recommender.users.table.ids.to_list()
    assert np.array_equal(np.load(out / "users.npy"), recommender.encode_queries(ids).numpy())
    assert np.array_equal(np.load(out / "items.npy"), recommender.item_vectors_ND.numpy())
    assert len((out / "items.ids.jsonl").read_text().splitlines()) == ITEMS
    export_vectors(run, out)  # an earlier export may be replaced by one of another layout
    assert sorted(path.name for path in out.iterdir()) == ["items.parquet", "vectors.json"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("items.npy", {}, "name a folder, and say npy"),
        ("items.csv", {}, r"ends in \.parquet, or a folder"),
        ("items.parquet", {"layout": "npy"}, "npy was asked for"),
        ("items.parquet", {"users": True}, "two tables"),
        ("out", {"layout": "faiss"}, "came 'faiss'"),
    ],
)
def test_names_that_can_not_be(tmp_path: Path, name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        export_vectors(tmp_path / "run", tmp_path / name, **options)  # type: ignore[arg-type]


def test_nothing_else_is_replaced(plant: Plant, tmp_path: Path) -> None:
    run = plant()
    with pytest.raises(ConfigError, match="holds something else"):
        export_vectors(run, run)
    with pytest.raises(BundleError, match="no bundle"):
        export_vectors(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_that_fails_leaves_nothing(plant: Plant, tmp_path: Path) -> None:
    run, out = plant(FEATURES), tmp_path / "there" / "out"

    def stop(done: VectorsDone) -> None:
        if done.noun == "users":
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        export_vectors(run, out, users=True, listener=stop)
    assert list(out.parent.iterdir()) == []
    with pytest.raises(OSError, match="full"):
        export_vectors(run, out.with_suffix(".parquet"), listener=lambda _: stop(VectorsDone("users", 1, 1)))
    assert list(out.parent.iterdir()) == []
