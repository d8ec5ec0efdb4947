"""First recipes: what they hold, and that they train as they stand."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from twotower.data import TableConfig
from twotower.datasets.livestream import synthesize_livestream
from twotower.recommender import Recommender
from twotower.runs import Recipe, read_recipe, run
from twotower.runs.column_roles import roles_of
from twotower.runs.read_recipe import parse_recipe
from twotower.runs.suggest import suggest_recipe
from twotower.runs.table_facts import table_facts

SPEED = ["training.epochs=1", "evaluation.draws=0", "evaluation.per_user=false", "device=cpu"]


def suggested(frame: pl.DataFrame, *, declare_types: bool = True, table: dict[str, Any] | None = None, **named: str) -> str:
    facts = table_facts(frame)
    source = TableConfig(**{"path": "log.csv", **(table or {})})
    return suggest_recipe(facts, roles_of(facts, **named), source, declare_types=declare_types)


def parsed(text: str) -> Recipe:
    return parse_recipe(tomllib.loads(text))


def written(frame: pl.DataFrame, folder: Path, name: str = "log.csv") -> Path:
    """The recipe for a frame that was written to a file, as a person gets it."""
    frame.write_csv(folder / name)
    source = TableConfig(path=name)
    facts = table_facts(TableConfig(path=str(folder / name)).read())
    (folder / "first.toml").write_text(suggest_recipe(facts, roles_of(facts), source, declare_types=True))
    return folder / "first.toml"


def ratings(rows: int = 400) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    films = rng.integers(0, 30, size=rows)
    return pl.DataFrame(
        {
            "userId": rng.integers(1, 25, size=rows),
            "movieId": films,
            "rating": rng.integers(1, 11, size=rows) / 2,
            "timestamp": 1_600_000_000 + np.sort(rng.integers(0, 10**6, size=rows)),
            "title": [f"film {film}" for film in films],
            "genres": [("Drama", "Action|Drama", "War|Action", "War")[film % 4] for film in films],
        }
    )


def test_ratings_train(tmp_path: Path) -> None:
    recipe = read_recipe(written(ratings(), tmp_path), overrides=SPEED)
    columns = recipe.data.columns
    assert (columns.user, columns.item, columns.time, columns.weight, columns.positives) == (
        *("userId", "movieId", "timestamp"),
        *(None, None),
    )
    assert [entry.feature.kind for entry in recipe.candidate.features] == ["id", "category", "multi_category"]
    result = run(recipe, tmp_path / "run")
    assert result.summary["metrics"]
    assert len(Recommender.load(tmp_path / "run").recommend([1], k=3).frame) == 3


def test_random_columns_without_names_train(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frame = pl.DataFrame({"a": rng.integers(0, 9, size=60), "b": rng.integers(0, 6, size=60), "c": rng.normal(size=60)})
    recipe = read_recipe(written(frame, tmp_path), overrides=SPEED)
    assert (recipe.data.columns.user, recipe.data.columns.item, recipe.data.columns.order) == ("a", "b", "row")
    assert recipe.evaluation.ks == (1,)
    assert run(recipe, tmp_path / "run").summary["metrics"]
    text = (tmp_path / "first.toml").read_text()
    assert text.count("# NOT SURE: '") == 2
    assert "#   c: differs within users and within items" in text


def test_a_live_stream_log_trains_with_the_columns_of_both_sides(tmp_path: Path) -> None:
    synthesize_livestream(tmp_path / "live.csv", rows=2_500, seed=3)
    recipe = read_recipe(written(pl.read_csv(tmp_path / "live.csv", infer_schema_length=None), tmp_path), overrides=SPEED)
    read = {name for entry in recipe.query.features for name in getattr(entry.feature, "source_columns", ())}
    kinds = [entry.feature.kind for entry in recipe.query.features]
    assert {"viewer_age", "viewer_gender", "viewer_longitude", "viewer_latitude", "viewer_lang", "viewer_country"} <= read
    assert not {name for name in read if name.startswith("broadcaster")}
    assert [kind for kind in kinds if kind != "category"] == ["history", "buckets", "geo"]
    assert recipe.data.catalogue is not None
    assert set(recipe.data.catalogue.columns) == {
        f"broadcaster_{name}" for name in ("age", "gender", "longitude", "latitude", "lang", "country", "network")
    }
    assert not {"duration", "count"} & set(recipe.columns_read())
    result = run(recipe, tmp_path / "run")
    assert result.summary["metrics"]
    stranger = Recommender.load(tmp_path / "run").recommend(
        features=[{"viewer_country": "BR", "viewer_lang": "pt", "viewer_age": 23}], k=5
    )
    assert len(stranger.frame) == 5


def test_ids_with_parts_give_a_category_unless_a_column_says_the_same() -> None:
    rng = np.random.default_rng(2)
    networks = [("pof", "skout", "meetme")[user % 3] for user in rng.integers(0, 50, size=500)]
    users = [f"{network}:{number}" for network, number in zip(networks, rng.integers(0, 50, size=500), strict=True)]
    frame = pl.DataFrame({"viewer": users, "item": rng.integers(0, 20, size=500)})

    def read(frame: pl.DataFrame) -> list[tuple[str, int | None]]:
        features = [entry.feature for entry in parsed(suggested(frame)).query.features]
        return [(feature.column, feature.part) for feature in features if feature.kind == "category"]

    assert read(frame) == [("viewer", 0)]
    assert read(frame.with_columns(viewer_network=pl.Series(networks))) == [("viewer_network", None)]
    some = pl.Series([None, *networks[1:]])
    assert read(frame.with_columns(viewer_network=some)) == [("viewer", 0), ("viewer_network", None)]


def test_types_are_declared_or_told() -> None:
    frame = ratings().with_columns(pl.from_epoch("timestamp").dt.to_string("%Y-%m-%d %H:%M:%S").alias("timestamp"))
    declared = parsed(suggested(frame)).data.interactions
    assert declared is not None
    assert declared.types == {
        "userId": "integer",
        "movieId": "integer",
        "timestamp": "datetime",
        "title": "string",
        "genres": "string",
    }
    text = suggested(frame, declare_types=False)
    told = parsed(text).data.interactions
    assert told is not None
    assert told.types == {"timestamp": "datetime"}  # what reading alone would leave text
    assert '# userId = "integer"\n' in text
    gaps = ratings().with_columns(userId=pl.Series([None, *[1.0, 2.0] * 199, 3.0]))
    whole = parsed(suggested(gaps, declare_types=False))
    assert whole.data.interactions is not None
    assert whole.data.interactions.types == {"userId": "integer"}
    assert whole.data.columns.null_ids == "drop"


def test_how_the_table_is_read_is_kept() -> None:
    table = {"path": "logs/part 1.csv", "separator": ";", "header": False, "columns": ratings().columns, "index_column": True}
    recipe = parsed(suggested(ratings(), table=table))
    assert recipe.data.interactions is not None
    assert recipe.data.interactions.model_dump(exclude={"types"}) == TableConfig(**table).model_dump(exclude={"types"})
    assert recipe.name == "part-1"


@pytest.mark.parametrize("path", ["x.csv", "a/*.parquet", "s3://bucket/2024.log/*.csv", "über.csv", "***"])
def test_every_path_gives_a_name(path: str) -> None:
    assert parsed(suggested(ratings(), table={"path": path})).name


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ([0.5, 2.5, 5.0] * 100, ["# positives = \"x_score >= 4\""]),
        (list(range(300)), ['# weight = "x_score"', '# weight_transform = "log1p"', "# weight_base = 0.1"]),
        ([0, 1, 2, 19, 15, 3] * 50, ['# weight = "x_score"', "# weight_base = 0.1"]),
        ([-1, 0, 1] * 100, ["# positives = \"x_score > 0\""]),
        ([0, 1, 1] * 100, ["# positives = \"x_score >= 1\""]),
        (["it's", "view", "view"] * 100, ["# positives = \"x_score == 'it''s'\""]),
        (["buy", "view", "view"] * 100, ["# positives = \"x_score == 'buy'\""]),
        ([True, False, True] * 100, ["# positives = \"x_score == 1\""]),
    ],
)  # fmt: skip
def test_outcomes_are_never_inputs_and_how_to_use_them_is_told(values: list[Any], lines: list[str]) -> None:
    rng = np.random.default_rng(3)
    frame = pl.DataFrame({"user": rng.integers(0, 9, size=300), "item": rng.integers(0, 9, size=300), "x_score": values})
    text = suggested(frame)
    found = [line.split(" # ")[0] for line in text.splitlines() if line.startswith(("# positives", "# weight"))]
    assert found == lines
    assert "x_score" not in str(parsed(text).model_dump())
    used = text.replace("\n# positives", "\npositives").replace("\n# weight", "\nweight")
    columns = parsed(used).data.columns  # as a person would take the signs away
    assert (columns.positives or columns.weight) == lines[0].split('"')[1]


def test_gaps_of_outcomes() -> None:
    frame = ratings().with_columns(duration=pl.Series([None, *range(399)]))
    text = suggested(frame)
    assert "# fill = { duration = 0 }" in text
    assert "# fill" not in suggested(ratings())
    filled = parsed(text.replace("# fill", "fill")).data.interactions
    assert filled is not None
    assert filled.fill == {"duration": 0}


def test_sizes_follow_the_table() -> None:
    rng = np.random.default_rng(5)

    def of(rows: int, users: int, items: int) -> Recipe:
        frame = pl.DataFrame({"user": rng.integers(0, users, size=rows), "item": rng.integers(0, items, size=rows)})
        return parsed(suggested(frame))

    small, large = of(500, 40, 30), of(1_200_000, 900_000, 400_000)
    assert [entry.feature.kind for entry in small.query.features] == ["history", "id"]
    assert [entry.feature.kind for entry in large.query.features] == ["history"]  # few rows per user teach its row little
    assert (small.evaluation.ks, large.evaluation.ks) == ((1, 5), (1, 5, 10, 50, 100))
    assert (small.split.test, large.split.test) == (0.1, 100_000)  # type: ignore[union-attr]
    tables = [recipe.candidate.features[0].embedding.update for recipe in (small, large)]
    assert tables == ["auto", "rows"]
    assert small.training.batch_size < large.training.batch_size
    assert small.training.epochs > large.training.epochs
    for recipe in (small, large):
        item, history = recipe.candidate.features[0], recipe.query.features[0]
        assert item.embedding.table == history.embedding.table == "items"
        assert item.feature.min_count == history.feature.min_count  # type: ignore[union-attr]


def test_watching_again_is_a_signal_where_it_is_common() -> None:
    once = pl.DataFrame({"user": [f"u{row // 20}" for row in range(400)], "item": [row % 20 for row in range(400)]})
    again = pl.concat([once, once.head(50)])
    rules = [parsed(suggested(frame)).query.features[0].feature for frame in (once, again)]
    assert [getattr(feature, "own_item", "") for feature in rules] == ["exclude", "allow"]
