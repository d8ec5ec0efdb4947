"""Requests of a wide log: places, parts of ids and clipped ages, of viewers that are known, new, or hardly described."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from twotower.config import parse_config
from twotower.errors import DataError
from twotower.recommender import Recommender
from twotower.runs.fit_model import FittedModel, build_model, fit_model
from twotower.runs.phase import fit_phase
from twotower.runs.recipe import Recipe
from twotower.runs.ship import recommender_of
from twotower.runs.tables import load_tables

OSLO, LIMA = (10.7, 59.9), (-77.0, -12.0)


def log(num_rows: int = 400) -> pl.DataFrame:
    """Each viewer is of one network, place, country and age, of which some are missing; OSLO and LIMA are the places."""
    rng = np.random.default_rng(5)
    viewer = rng.integers(0, 40, num_rows)
    known = viewer % 5 > 0
    place = np.where(known[:, None], np.where((viewer % 2 == 0)[:, None], OSLO, LIMA), np.nan)
    return pl.DataFrame(
        {
            "viewer": [f"{('meetme', 'pof')[v % 2]}:{v}" for v in viewer],
            "broadcaster": [f"skout:{b}" for b in rng.integers(0, 30, num_rows)],
            "lon": pl.Series(place[:, 0], dtype=pl.Float32, nan_to_null=True),
            "lat": pl.Series(place[:, 1], dtype=pl.Float32, nan_to_null=True),
            "country": [None if v % 7 == 0 else ("NO", "PE")[v % 2] for v in viewer],
            "age": [None if v % 3 == 0 else float(10 + 2 * v) for v in viewer],
            "lang": [("no", "es")[v % 2] for v in viewer],
        }
    )


@pytest.fixture(scope="module")
def fitted() -> FittedModel:
    embedding = {"dim": 6, "init_scale": 1.0}
    features: list[dict[str, Any]] = [
        {"kind": "id", "column": "viewer", "min_count": 8, "tail_buckets": 4, "embedding": embedding},
        {"kind": "category", "column": "viewer", "name": "network", "separator": ":", "part": 0, "missing": "own_row"},
        {"kind": "geo", "longitude": "lon", "latitude": "lat", "name": "place", "embedding": embedding},
        {"kind": "buckets", "column": "age", "clip": [18, 60], "num_edges": 4, "missing": "own_row", "embedding": embedding},
        {"kind": "number", "column": "age", "name": "years", "clip": [18, 60], "missing": {"fill": 30}},
        {"kind": "category", "column": "country", "missing": "own_row", "embedding": embedding},
        {"kind": "category", "column": "lang", "embedding": embedding},
    ]
    recipe = parse_config(
        Recipe,
        {
            "name": "wide",
            "device": "cpu",
            "data": {"columns": {"user": "viewer", "item": "broadcaster", "order": "row"}},
            "split": {"kind": "time", "test": 0.1, "validation": 0},
            "query": {"features": features},
            "candidate": {
                "features": [
                    {"kind": "id", "column": "broadcaster"},
                    {"kind": "category", "column": "broadcaster", "name": "number", "separator": ":", "part": 1},
                ]
            },
            "model": {"layer_sizes": [16, 8]},
            "training": {"epochs": 1, "batch_size": 64, "early_stopping": False},
        },
    )
    tables = load_tables(recipe, interactions=log())
    return fit_model(recipe, build_model(recipe, fit_phase(recipe, tables, tables.split.train)), device=torch.device("cpu"))


@pytest.fixture(scope="module")
def recommender(fitted: FittedModel) -> Recommender:
    return recommender_of(fitted, {})


def vector(recommender: Recommender, fitted: FittedModel, **values: object) -> torch.Tensor:
    """The query of a row of the log that says this and nothing else."""
    row = pl.DataFrame({name: [values.get(name)] for name in log().columns}, schema=log().schema)
    preprocessor = recommender.preprocessor
    columns = preprocessor.encode_users(row) | preprocessor.encode_context(row)
    with torch.inference_mode():
        return recommender.model.encode_queries(columns).clone()


def scores(recommender: Recommender, query_1D: torch.Tensor) -> list[float]:
    found, _ = torch.sort((query_1D @ recommender.item_vectors_ND.T)[0], descending=True)
    return [float(score) for score in found]


def answer(recommender: Recommender, features: dict[str, object], viewer: str | None = None) -> list[float]:
    found = recommender.recommend([viewer], features=[features], k=40, exclude_seen=False)
    return [float(score) for score in found.frame["score"].to_list()]


def test_a_geo_feature_has_a_table_for_each_grid(fitted: FittedModel) -> None:
    tables = {table.name: table.vocabulary_size for table in fitted.model.spec.tables}
    # unknown, Oslo, Lima, missing
    assert (tables["query/place_coarse"], tables["query/place_fine"]) == (4, 4)
    inputs = {entry.column: entry for entry in fitted.model.spec.query.inputs}
    assert (inputs["place"].width, inputs["place_coarse"].width, inputs["place_fine"].width) == (4, 6, 6)
    assert inputs["place"].table is None
    assert inputs["place_coarse"].id_dropout == inputs["place_fine"].id_dropout == 0.01


def test_a_new_viewer_is_what_is_said_of_it(recommender: Recommender, fitted: FittedModel) -> None:
    said: dict[str, object] = {"lon": OSLO[0], "lat": OSLO[1], "age": 33.0, "country": "NO", "lang": "no"}
    for viewer in ("meetme:9999", None):
        expected = scores(recommender, vector(recommender, fitted, viewer=viewer, **said))
        assert answer(recommender, said, viewer) == pytest.approx(expected, abs=1e-5)
    of_networks = [answer(recommender, said, viewer) for viewer in ("meetme:9999", "pof:9999", "9999", None)]
    assert of_networks[0] != of_networks[1] != of_networks[2]


@pytest.mark.parametrize("lacking", ["lon", "lat", "age", "country", "lang"])
def test_whatever_is_not_said_is_missing_or_has_a_default(recommender: Recommender, fitted: FittedModel, lacking: str) -> None:
    said: dict[str, object] = {"lon": OSLO[0], "lat": OSLO[1], "age": 33.0, "country": "NO", "lang": "no"}
    del said[lacking]
    meant = {**said, "lang": "no" if log().head(360)["lang"].mode()[0] == "no" else "es"} if lacking == "lang" else said
    expected = scores(recommender, vector(recommender, fitted, viewer="meetme:9999", **meant))
    assert answer(recommender, said, "meetme:9999") == pytest.approx(expected, abs=1e-5)
    assumed = recommender.recommend(["meetme:9999"], features=[said]).assumed
    assert set(assumed) == ({"lang"} if lacking == "lang" else set())


def test_half_a_place_is_none_and_is_not_joined_with_the_stored_half(recommender: Recommender, fitted: FittedModel) -> None:
    stored = recommender.users.table.frame.filter(pl.col("lon").is_not_null()).row(0, named=True)
    viewer = stored["viewer"]
    whole = answer(recommender, {}, viewer)
    assert whole == pytest.approx(scores(recommender, vector(recommender, fitted, **stored)), abs=1e-5)
    half = answer(recommender, {"lon": 5.0}, viewer)
    assert half == pytest.approx(
        scores(recommender, vector(recommender, fitted, **{**stored, "lon": None, "lat": None})), abs=1e-5
    )
    moved = answer(recommender, {"lon": LIMA[0], "lat": LIMA[1]}, viewer)
    place = {"lon": LIMA[0], "lat": LIMA[1]}
    assert moved == pytest.approx(scores(recommender, vector(recommender, fitted, **{**stored, **place})), abs=1e-5)
    assert answer(recommender, {"lon": None, "lat": None}, viewer) == whole


def test_ages_that_nobody_has_are_clipped(recommender: Recommender) -> None:
    assert answer(recommender, {"age": 5.0, "lang": "no"}) == answer(recommender, {"age": 18.0, "lang": "no"})
    assert answer(recommender, {"age": 500.0, "lang": "no"}) == answer(recommender, {"age": 60.0, "lang": "no"})
    assert answer(recommender, {"age": 18.0, "lang": "no"}) != answer(recommender, {"age": 60.0, "lang": "no"})


def test_a_place_that_does_not_exist_is_refused(recommender: Recommender) -> None:
    with pytest.raises(DataError, match="column 'lat' must hold degrees from -90 to 90; row 0 holds 123"):
        answer(recommender, {"lon": 5.0, "lat": 123.0})


def test_the_bundle_answers_alike(recommender: Recommender, tmp_path: Path) -> None:
    recommender.save(tmp_path / "bundle")
    read = Recommender.load(tmp_path / "bundle")
    assert read.preprocessor.spec == recommender.preprocessor.spec
    said: dict[str, object] = {"lon": OSLO[0], "lat": OSLO[1], "lang": "no"}
    for viewer in ("meetme:9999", "meetme:2", None):
        assert answer(read, said, viewer) == answer(recommender, said, viewer)
