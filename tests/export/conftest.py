"""Planted bundles: any features, any layers, weights drawn and not trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
import pytest
import torch
from pydantic import TypeAdapter

from twotower.data import Histories, IdTable
from twotower.models import build
from twotower.preprocessing import FeatureConfig, Preprocessor
from twotower.recommender import Recommender, RequestDefaults, StoredUsers
from twotower.spec import InputSpec, ModelSpec, RowsColumn, TableSpec, TowerSpec

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

USERS, ITEMS, WIDTH = 23, 31, 6


def some(rng: np.random.Generator, values: Sequence[Any], share: float = 0.2) -> list[Any]:
    """The values, some of them missing."""
    return [None if rng.random() < share else value for value in values]


def people() -> pl.DataFrame:
    """A row per user: a column of every type, many with missing values."""
    rng = np.random.default_rng(5)
    rows = range(USERS)
    return pl.DataFrame(
        {
            "user": [f"u{row:02}" for row in rows],
            "age": pl.Series(some(rng, rng.integers(12, 90, USERS).tolist()), dtype=pl.Int16),
            "height": rng.normal(170, 12, USERS),
            "income": pl.Series(some(rng, rng.lognormal(9, 2, USERS).tolist()), dtype=pl.Float64),
            "city": pl.Series(some(rng, [("Oslo", "Rome", "Łódź", "")[row % 4] for row in rows]), dtype=pl.String),
            "town": [("Oslo", "Rome", "Łódź", "")[row % 4] for row in rows],
            "code": [("no:rome", "it:", "it:oslo")[row % 3] for row in rows],
            "level": pl.Series(some(rng, [row % 5 for row in rows]), dtype=pl.Int64),
            "premium": pl.Series(some(rng, [row % 2 == 0 for row in rows]), dtype=pl.Boolean),
            "place": pl.Series(some(rng, ["no:rome", "it:", "lone", "it:oslo:x"] * 6)[:USERS], dtype=pl.String),
            "lon": pl.Series(some(rng, rng.uniform(-180, 180, USERS).tolist()), dtype=pl.Float64),
            "lat": pl.Series(some(rng, rng.uniform(-90, 90, USERS).tolist()), dtype=pl.Float64),
            "bio": pl.Series(some(rng, ["Cats, dogs & Sci-Fi", "  ", "ΣΑΣ dogs!", "tea|Cats | |dogs"] * 6)[:USERS]),
            "tags": pl.Series(some(rng, [["a", "b", "c", "a"], [], ["b", None], ["d"]] * 6)[:USERS]),
            "face": pl.Series(some(rng, rng.normal(size=(USERS, 4)).tolist()), dtype=pl.List(pl.Float64)),
        }
    )


def things() -> pl.DataFrame:
    """A row per item."""
    rng = np.random.default_rng(6)
    rows = range(ITEMS)
    return pl.DataFrame(
        {
            "item": [f"i{row:02}" for row in rows],
            "price": pl.Series(some(rng, rng.lognormal(2, 1, ITEMS).tolist()), dtype=pl.Float64),
            "kinds": [("Drama|Comedy", "Drama", "", "War | Drama")[row % 4] for row in rows],
            "title": [f"The {('Red', 'Blue', 'Old')[row % 3]} Door {row % 4}" for row in rows],
            "out": pl.Series(rng.integers(1_500_000_000, 1_600_000_000, ITEMS) * 1_000_000).cast(pl.Datetime("us")),
        }
    )


def contexts() -> pl.DataFrame:
    """What users were last seen in: a row each."""
    rng = np.random.default_rng(7)
    return pl.DataFrame(
        {
            "at": rng.integers(1_600_000_000, 1_600_900_000, USERS),
            "device": pl.Series(some(rng, ["phone", "desk", "tv"] * 8)[:USERS], dtype=pl.String),
        }
    )


class Plant(Protocol):
    """Writes a bundle."""

    def __call__(
        self,
        query: Sequence[Mapping[str, Any]] = ...,
        candidate: Sequence[Mapping[str, Any]] = ...,
        *,
        pooling: str = ...,
        tower: Mapping[str, Any] = ...,
        update: str = ...,
        seed: int = ...,
    ) -> Path: ...


def planted(
    folder: Path,
    query: Sequence[Mapping[str, Any]] = ({"kind": "id", "column": "user"},),
    candidate: Sequence[Mapping[str, Any]] = ({"kind": "id", "column": "item"},),
    *,
    pooling: str = "mean",
    tower: Mapping[str, Any] | None = None,
    update: str = "dense",
    seed: int = 0,
) -> Path:
    """A bundle with the given features; both towers have the given layers."""
    adapter: TypeAdapter[Any] = TypeAdapter(FeatureConfig)
    users, items, context = people(), things(), contexts()
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 9, USERS)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    interactions = users.hstack(context)
    preprocessor = Preprocessor.fit(
        [adapter.validate_python(dict(feature)) for feature in query],
        [adapter.validate_python(dict(feature)) for feature in candidate],
        users=users,
        context=context.with_columns(users["user"]),
        items=items,
        user_column="user",
        item_column="item",
        item_counts=rng.integers(0, 3, ITEMS),
    )
    tables: list[TableSpec] = []

    def inputs(side: str, columns: Sequence[Any]) -> tuple[InputSpec, ...]:
        found = []
        for column in columns:
            if isinstance(column, RowsColumn):
                name = f"{side}/{column.name}"
                tables.append(TableSpec(name=name, vocabulary_size=column.vocabulary_size, embedding_dim=WIDTH, update=update))
                how = pooling if column.ragged else None
                found.append(InputSpec(column=column.name, width=WIDTH, table=name, pooling=how))
            else:
                found.append(InputSpec(column=column.name, width=column.width))
        return tuple(found)

    layers = {"layer_sizes": (8, WIDTH), "input_dropout": 0.3, "hidden_dropout": 0.2, **(tower or {})}
    spec = ModelSpec(
        query=TowerSpec(inputs=inputs("query", preprocessor.query_columns), **layers),
        candidate=TowerSpec(inputs=inputs("candidate", preprocessor.candidate_columns), **layers),
        tables=tuple(tables),
    )
    model = build(spec, seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # biases and norms too, which are born as zeros and ones
        for parameter in model.parameters():
            parameter.uniform_(-1, 1, generator=generator)
        vectors_ND = model.encode_candidates(preprocessor.encode_items(items)).clone()
    spec_ = preprocessor.spec
    read = dict.fromkeys(c for f in (*spec_.user, *spec_.context) for c in f.config.source_columns)
    stored = interactions.select("user", *(name for name in read if name != "user"))
    names = [name for name in stored.columns if name != "user"]
    recommender = Recommender(
        model,
        preprocessor,
        IdTable.from_table(items, "item"),
        vectors_ND,
        StoredUsers(
            IdTable.from_table(stored, "user", noun="user"),
            Histories(
                torch.from_numpy(offsets),
                torch.from_numpy(rng.integers(0, ITEMS, offsets[-1]).astype(np.int32)),
                torch.ones(int(offsets[-1]), dtype=torch.bool),
            ),
        ),
        RequestDefaults.from_train(stored, names, time_column="at"),
        {},
    )
    recommender.save(folder)
    return folder


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """Write a bundle and return its folder."""
    return lambda *args, **kwargs: planted(tmp_path / "bundle", *args, **kwargs)
