"""Tables named by path: read at every start or converted once, with the same figures; samples; what became of rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from twotower.columnar import Converting
from twotower.errors import ConfigError, DataError
from twotower.recommender import Recommender
from twotower.runs import Recipe, load_tables, run

MakeRecipe = Callable[..., Recipe]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 rows of one wide table in the order in which they happened: missing values, items' columns that change, a bad row."""
    rng = np.random.default_rng(8)
    size = 600
    items = rng.integers(0, 30, size) + np.arange(size) // 100
    users = rng.integers(0, 40, size) + np.arange(size) // 60
    countries = ["BR", "PT", "US", ""]
    frame = pl.DataFrame(
        {
            "viewer": [f"net{u % 3}:{u}" for u in users],
            "caster": [f"net{i % 2}:{i}" for i in items],
            "viewer_age": [None if rng.random() < 0.2 else int(rng.integers(18, 80)) for _ in range(size)],
            "viewer_country": [countries[u % 4] or None for u in users],
            "lon": [None if u % 5 == 0 else round(float(u * 3.7 % 180), 3) for u in users],
            "lat": [None if u % 5 == 0 else round(float(u * 1.9 % 90), 3) for u in users],
            "caster_country": [None if rng.random() < 0.3 else countries[(i + (rng.random() < 0.1)) % 3] for i in items],
            "caster_age": [None if rng.random() < 0.3 else int(20 + i % 30) for i in items],
            "seconds": [None if rng.random() < 0.1 else round(float(rng.exponential(100)), 2) for _ in range(size)],
            "note": ["x"] * size,
        }
    )
    path = tmp_path_factory.mktemp("log") / "log.csv"
    frame.write_csv(path)
    path.write_text(path.read_text() + "net0:1,net0:2,too,few\n", encoding="utf-8")
    return path


@pytest.fixture
def wide(make_recipe: MakeRecipe, log: Path) -> MakeRecipe:
    """A recipe for the log, with sections overridden by keyword."""

    def make(**sections: Any) -> Recipe:
        data = {
            "interactions": {
                "path": str(log),
                "types": {"viewer_age": "float32", "seconds": "float32"},
                "fill": {"seconds": 0.0},
                "on_bad_rows": "skip",
            },
            "columns": {
                "user": "viewer",
                "item": "caster",
                "time": None,
                "order": "row",
                "weight": "seconds",
                "weight_base": 1.0,
            },
            "catalogue": {"columns": ["caster_country", "caster_age"], "items": "all"},
        }
        query = [
            {"kind": "id", "column": "viewer", "embedding": {"dim": 8, "id_dropout": 0.2}},
            {"kind": "category", "column": "viewer_country", "missing": "own_row", "embedding": {"dim": 4}},
            {"kind": "number", "column": "viewer_age", "missing": {"fill": 30}},
            {"kind": "geo", "longitude": "lon", "latitude": "lat", "name": "place", "embedding": {"dim": 4}},
            {"kind": "history", "embedding": {"dim": 8, "table": "items"}},
        ]
        candidate = [
            {"kind": "id", "column": "caster", "embedding": {"dim": 8, "table": "items"}},
            {"kind": "category", "column": "caster_country", "missing": "own_row", "embedding": {"dim": 4}},
            {"kind": "buckets", "column": "caster_age", "edges": [25, 35, 45], "missing": "own_row", "embedding": {"dim": 4}},
        ]
        return make_recipe(
            **{
                "data": {**data, **sections.pop("data", {})},
                "split": {"test": 60, "validation": 40},
                "query": {"features": query},
                "candidate": {"features": candidate},
                "model": {"layer_sizes": [8]},
                "training": {"epochs": 2, "batch_size": 64},
                "evaluation": {"draws": 20, "per_user": True},
                "baselines": {"train": ["popularity", "recent_popularity", "segment_popularity"]},
                **sections,
            }
        )

    return make


@pytest.mark.parametrize("items", ["train", "all"])
def test_a_converted_table_gives_the_same_figures_to_the_bit(wide: MakeRecipe, items: str, log: Path, tmp_path: Path) -> None:
    found = {}
    for cache in ("always", "never"):
        data = {"cache": cache, "catalogue": {"columns": ["caster_country", "caster_age"], "items": items}}
        result = run(wide(data=data), tmp_path / cache, cache_dir=tmp_path / "cache")
        assert (tmp_path / "cache").exists()
        summary = {k: v for k, v in result.summary.items() if k not in ("run_dir", "training", "peak_memory_bytes")}
        summary["selection"] = {key: value for key, value in summary["selection"].items() if key != "seconds"}
        summary["evaluation"] = {key: value for key, value in summary["evaluation"].items() if key != "seconds"}
        found[cache] = (summary, json.loads((tmp_path / cache / "data.json").read_text()))
    assert found["always"] == found["never"]
    answers = []
    for cache in found:
        recommender = Recommender.load(tmp_path / cache)
        known = recommender.users.table.frame
        answers.append((known, recommender.recommend(known["viewer"].to_list(), k=5).frame))
    assert answers[0][0].equals(answers[1][0])
    assert answers[0][1].equals(answers[1][1])
    # a known viewer asks as in its latest train row
    rows = pl.read_csv(log, ignore_errors=True, truncate_ragged_lines=True).head(500)
    latest = {row["viewer"]: (row["viewer_country"], row["lon"]) for row in rows.to_dicts()}
    assert {row["viewer"]: (row["viewer_country"], row["lon"]) for row in answers[0][0].to_dicts()} == latest
    report = found["always"][1]
    assert report["ignored_columns"] == ["note"]
    assert report["filled"]["seconds"] > 0
    assert report["skipped"][0]["rows"] == 1
    assert report["skipped"][0]["examples"][0].endswith("net0:1,net0:2,too,few")
    assert report["conflicts"]["caster_country"] > 0 == report["conflicts"]["caster_age"]


@pytest.mark.parametrize(("cache", "converted"), [("always", True), ("never", False), ("auto", False)])
def test_which_tables_are_converted(
    wide: MakeRecipe, cache: str, converted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Converting] = []
    load_tables(wide(data={"cache": cache}), cache_dir=tmp_path, listener=told.append)
    assert bool(told) is converted
    if cache == "auto":
        monkeypatch.setattr("twotower.runs.sources._CONVERTED_FROM", 1000)
        load_tables(wide(), cache_dir=tmp_path, listener=told.append)
        assert told


@pytest.mark.parametrize("cache", ["always", "never"])
def test_users_of_text_are_told_by_rows_and_not_by_a_column(wide: MakeRecipe, log: Path, cache: str, tmp_path: Path) -> None:
    tables = load_tables(wide(data={"cache": cache}), cache_dir=tmp_path)
    assert "viewer" not in tables.interactions.frame.columns
    rows = np.array([5, 0, 599])
    viewers = pl.read_csv(log, columns=["viewer"], truncate_ragged_lines=True)["viewer"]
    assert tables.users_of(rows).to_list() == viewers.gather(rows).to_list()


def test_a_file_and_a_frame_of_the_same_text_have_one_fingerprint(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": list("abcab") * 8, "item": list("xyzzyxyx") * 5, "at": range(40)})
    frame.write_csv(tmp_path / "log.csv")
    data = {"interactions": {"path": str(tmp_path / "log.csv")}, "cache": "never"}
    columns = {"user": "user", "item": "item", "time": "at"}
    recipe = make_recipe(data={**data, "columns": columns}, split={"test": 4, "validation": 4})
    of_file, of_frame = load_tables(recipe), load_tables(recipe, interactions=frame)
    assert of_file.fingerprint == of_frame.fingerprint
    with pytest.raises(LookupError, match="users_of"):
        _ = of_file.interactions.user_ids
    with pytest.raises(LookupError, match="users_of"):
        _ = of_file.interactions.user_keys
    assert list(of_file.interactions.coded) == ["item"]


def test_only_the_columns_that_are_read_are_kept(wide: MakeRecipe, tmp_path: Path) -> None:
    for cache in ("always", "never"):
        tables = load_tables(wide(data={"cache": cache}), cache_dir=tmp_path)
        assert "note" not in tables.interactions.frame.columns
        assert "columns that nothing reads: note" in tables.report_lines()


def test_a_column_that_is_nowhere_is_told_with_the_nearest(wide: MakeRecipe, tmp_path: Path) -> None:
    query = {"features": [{"kind": "category", "column": "viewer_contry"}]}
    for cache in ("always", "never"):
        with pytest.raises(Exception, match=r"'viewer_contry'.*did you mean 'viewer_country'"):
            run(wide(data={"cache": cache}, query=query), tmp_path / cache, cache_dir=tmp_path / "cache")


def test_a_sample_is_some_rows_in_their_order(wide: MakeRecipe, tmp_path: Path) -> None:
    whole = load_tables(wide(), cache_dir=tmp_path).users_of(np.arange(600))
    rows = np.sort(np.random.default_rng(5).choice(600, 150, replace=False))
    for cache in ("always", "never"):
        recipe = wide(data={"cache": cache, "sample": {"fraction": 0.25, "seed": 5}})
        tables = load_tables(recipe, cache_dir=tmp_path)
        assert tables.users_of(np.arange(150)).to_list() == whole.gather(rows).to_list()
        assert tables.interactions.report.sampled_from == 600
        assert tables.report_lines()[0].startswith("a sample of 600 rows: 150 rows read")
        assert tables.user_ids.ids.to_list() == sorted(set(whole.gather(rows)))
    with pytest.raises(DataError, match=r"0\.0001 of 600 rows is none"):
        load_tables(wide(data={"sample": {"fraction": 0.0001}}), cache_dir=tmp_path)


def test_rows_that_no_part_has_are_told(wide: MakeRecipe, tmp_path: Path) -> None:
    tables = load_tables(wide(split={"kind": "random", "train": 100, "validation": 10, "test": 10}), cache_dir=tmp_path)
    assert tables.report_lines()[-1] == "100 rows train, 10 validate, 10 test; 480 rows are used for nothing"


def test_a_fingerprint_is_of_what_was_read(wide: MakeRecipe, log: Path, tmp_path: Path) -> None:
    def found(path: Path, **sections: Any) -> str:
        data = {"cache": "always", "interactions": {"path": str(path), "on_bad_rows": "skip", "fill": {"seconds": 0.0}}}
        return load_tables(wide(data=data, **sections), cache_dir=tmp_path / "cache").fingerprint

    copy, other = tmp_path / "copy.csv", tmp_path / "other.csv"
    copy.write_bytes(log.read_bytes())
    other.write_text(log.read_text().replace("BR", "ZZ"))
    assert found(copy) == found(log)
    assert found(other) != found(log)
    split = {"kind": "random", "test": 60, "validation": 40}
    assert found(log, split={**split, "seed": 1}) != found(log, split={**split, "seed": 2})


@pytest.mark.parametrize("cache", ["always", "never"])
def test_columns_that_the_users_have_too(cache: str, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    rows = {"user": ["a", "b"] * 10, "item": ["x", "y"] * 10, "time": range(20), "town": ["n"] * 20, "age": [3] * 20}
    pl.DataFrame(rows).write_csv(tmp_path / "log.csv")
    pl.DataFrame({"user": ["a", "b"], "time": [1, 2], "town": ["s", "t"]}).write_csv(tmp_path / "users.csv")
    tables = {"interactions": {"path": str(tmp_path / "log.csv")}, "users": {"path": str(tmp_path / "users.csv")}}
    data = {"columns": {"user": "user", "item": "item", "time": "time"}, "cache": cache, **tables}
    both: list[dict[str, Any]] = [{"kind": "category", "column": "town"}]
    recipe = make_recipe(data=data, split={"test": 4, "validation": 4})
    # the time of the rows is the rows' own, whatever the users' is
    assert load_tables(recipe, cache_dir=tmp_path).interactions.times.tolist() == list(range(20))  # type: ignore[union-attr]
    recipe = make_recipe(data=data, split={"test": 4, "validation": 4}, query={"features": both})
    with pytest.raises(ConfigError, match="'town' is ambiguous: it is among the users and in the interactions"):
        run(recipe, tmp_path / "run", cache_dir=tmp_path)
