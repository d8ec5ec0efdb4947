"""Recipes: every fault at once, overrides of any key, and paths that hold from anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from twotower.errors import ConfigError
from twotower.runs import Recipe, parse_recipe, read_recipe

RECIPE = """
name = "small"
[data.interactions]
path = "tables/interactions.csv"
[data.columns]
user = "user"
item = "item"
time = "time"
[[query.features]]
kind = "id"
column = "user"
[[candidate.features]]
kind = "id"
column = "item"
embedding = { dim = 4 }
[model]
layer_sizes = [8, 4]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path / "recipe.toml"


def faults_of(path: Path, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read_recipe(path, overrides=overrides)
    return caught.value.faults


def table_path(recipe: Recipe) -> str:
    assert recipe.data.interactions is not None
    return recipe.data.interactions.path


def test_what_the_file_says_and_what_it_leaves_out(path: Path) -> None:
    recipe = read_recipe(path)
    assert (recipe.name, recipe.model.layer_sizes, recipe.refit) == ("small", (8, 4), "none")
    assert recipe.query.features[0].feature.output_name == "user"
    assert (recipe.query.features[0].embedding.dim, recipe.candidate.features[0].embedding.dim) == (32, 4)
    assert (recipe.split.kind, recipe.data.fit_on, recipe.loss.kind) == ("time", "train", "auto")


def test_overrides_reach_every_place(path: Path) -> None:
    recipe = read_recipe(
        path,
        overrides=[
            "training.epochs=3",
            "model.layer_sizes=[16]",
            "query.features.0.embedding.dim=8",
            "candidate.features.0.embedding.dim = 5",
            "candidate.features.0.min_count=2",
            "training.early_stopping=false",
            "data.columns.positives=rating >= 4",
            'name="other"',
            "split.kind=random",
            "loss.temperature=0.5",
        ],
    )
    assert (recipe.training.epochs, recipe.model.layer_sizes, recipe.name) == (3, (16,), "other")
    assert (recipe.query.features[0].embedding.dim, recipe.candidate.features[0].embedding.dim) == (8, 5)
    assert recipe.candidate.features[0].feature.model_dump()["min_count"] == 2
    assert recipe.training.early_stopping is None
    assert recipe.data.columns.positives == "rating >= 4"
    assert (recipe.split.kind, recipe.loss.temperature) == ("random", 0.5)


def test_one_number_of_a_list_and_the_last_of_two_overrides(path: Path) -> None:
    recipe = read_recipe(path, overrides=["model.layer_sizes.0=32", "seed=2", "seed=3"])
    assert (recipe.model.layer_sizes, recipe.seed) == ((32, 4), 3)


def test_paths_are_of_the_recipe_s_folder_and_overridden_ones_of_the_working_directory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert table_path(read_recipe("../recipe.toml")).endswith("elsewhere/../tables/interactions.csv")
    assert Path(table_path(read_recipe("../recipe.toml"))).is_absolute()
    assert table_path(read_recipe(path, overrides=["data.interactions.path=x.csv"])) == str(elsewhere / "x.csv")
    absolute = "data.interactions.path=/data/x.csv"
    assert table_path(read_recipe(path, overrides=[absolute])) == "/data/x.csv"


def test_every_fault_at_once_with_key_and_nearest_name(path: Path) -> None:
    found = faults_of(
        path,
        "trainning.epochs=3",
        "loss.tempreture=1",
        "query.features.0.embeding.dim=3",
        "model.activation=rellu",
        "training.batch_size=big",
        "evaluation.draws=-1",
    )
    by_key = dict(fault.split(": ", 1) for fault in found)
    assert set(by_key) == {
        "trainning",
        "loss.tempreture",
        "query.features.0.embeding",
        "model.activation",
        "training.batch_size",
        "evaluation.draws",
    }
    assert "'training'" in by_key["trainning"]
    assert "'temperature'" in by_key["loss.tempreture"]
    assert "'rellu'" in by_key["model.activation"]
    assert "integer" in by_key["training.batch_size"]
    assert "-1" in by_key["evaluation.draws"]


def test_every_faulty_override_at_once(path: Path) -> None:
    first, second, third = faults_of(path, "epochs", "name.x=1", "query.features.first.column=x")
    assert "section.key=value" in first
    assert "name is a value" in second
    assert "0 to 0" in third


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.early_stopping.metric=recall@7", "recall@7"),
        ("training.early_stopping.metric=recall@10 remove", "' removed'"),
        ("training.early_stopping.metric=recall@10 removed per user", "per user, and each with ' removed'"),
        ("evaluation.validate_on=test", "early_stopping"),
        ("data.dataset=movielens-100k", "not both"),
        ("loss={kind = 'full', extra_negatives = 3}", "every item competes"),
        ("name='a b'", "name"),
        ("evaluation.ks=[]", "evaluation.ks"),
        ("query.layer_sizes=[-1]", "query.layer_sizes.0"),
    ],
)
def test_choices_that_contradict_each_other(path: Path, override: str, says: str) -> None:
    assert says in " ".join(faults_of(path, override))


@pytest.mark.parametrize("metric", ["recall@100", "recall@10 removed", "ndcg@10", "mrr removed", "ndcg@100 per user removed"])
def test_metrics_to_stop_on(path: Path, metric: str) -> None:
    stopping = read_recipe(path, overrides=[f"training.early_stopping.metric={metric}"]).training.early_stopping
    assert stopping is not None
    assert stopping.metric == metric


def test_a_recipe_survives_json(path: Path) -> None:
    recipe = read_recipe(path)
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe


def test_faults_name_the_file(path: Path) -> None:
    path.write_text("name = ")
    with pytest.raises(ConfigError, match=r"recipe\.toml: not valid TOML"):
        read_recipe(path)
    with pytest.raises(ConfigError, match=r"no recipe at .*gone\.toml"):
        read_recipe(path.parent / "gone.toml")
    with pytest.raises(ConfigError, match="can't be read as a recipe"):
        read_recipe(path.parent)
