"""Bad input ends in one clear message and an exit status, and leaves nothing half-written; odd but sound input works."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from twotower.cli import main
from twotower.recommender import Recommender

RECIPE = """
name = "small"
seed = 1
device = "cpu"

[data.columns]
user = "user"
item = "item"
time = "time"

[data.interactions]
path = "interactions.csv"

[data.items]
path = "items.csv"

[[query.features]]
kind = "id"
column = "user"
embedding = { dim = 4 }

[[query.features]]
kind = "number"
column = "age"

[[candidate.features]]
kind = "id"
column = "item"
embedding = { dim = 4 }

[[candidate.features]]
kind = "number"
column = "price"

[split]
kind = "time"
test = 12
validation = 6

[model]
layer_sizes = [4]

[training]
epochs = 1
batch_size = 16

[evaluation]
ks = [1, 3]
draws = 0
per_user = false

[training.early_stopping]
metric = "recall@3"
"""

Edit = Callable[[Path], None]


def interactions() -> pl.DataFrame:
    users, items = (part.ravel() for part in np.meshgrid(np.arange(10), np.arange(6), indexing="ij"))
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "user": [f"u{u}" for u in users],
            "item": [f"i{i}" for i in items],
            "time": 1_600_000_000 + rng.permutation(60),
            "rating": 1 + (users + items) % 5,
            "age": 20 + users,
            "weight": np.ones(60),
        }
    )


def items() -> pl.DataFrame:
    return pl.DataFrame({"item": [f"i{i}" for i in range(6)], "price": [1.5 * i for i in range(6)]})


def write_world(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    interactions().write_csv(folder / "interactions.csv")
    items().write_csv(folder / "items.csv")
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


def rows(edit: Callable[[pl.DataFrame], pl.DataFrame], name: str = "interactions") -> Edit:
    """Edit a table."""

    def change(folder: Path) -> None:
        table = interactions() if name == "interactions" else items()
        edit(table).write_csv(folder / f"{name}.csv")

    return change


def put(column: str, values: Sequence[object], name: str = "interactions") -> Edit:
    """Replace the first values of a column by text as it stands in the file."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        texts = frame[column].cast(pl.String).to_list()
        return frame.with_columns(pl.Series(column, [None if v is None else str(v) for v in values] + texts[len(values) :]))

    return rows(change, name)


def recipe(old: str, new: str) -> Edit:
    """Replace a part of the recipe."""

    def change(folder: Path) -> None:
        text = (folder / "recipe.toml").read_text()
        assert text.count(old) == 1, f"{old!r} must be in the recipe once"
        (folder / "recipe.toml").write_text(text.replace(old, new))

    return change


def content(data: bytes, name: str = "interactions.csv") -> Edit:
    """Replace a file."""

    def change(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return change


def parquet(write: Edit, path: str) -> Edit:
    """Read the interactions from something else."""

    def change(folder: Path) -> None:
        write(folder)
        recipe('path = "interactions.csv"', f'path = "{path}"')(folder)

    return change


def truncated_gzip(folder: Path) -> None:
    packed = gzip.compress((folder / "interactions.csv").read_bytes())
    (folder / "interactions.csv").write_bytes(packed[: len(packed) // 2])


def mixed_folder(folder: Path) -> None:
    (folder / "parts").mkdir()
    interactions().write_parquet(folder / "parts" / "a.parquet")
    interactions().with_columns(pl.col("rating").cast(pl.String)).write_parquet(folder / "parts" / "b.parquet")


def only_user(user: str) -> Edit:
    return rows(lambda frame: frame.filter(pl.col("user") == user))


def only_item(item: str) -> Edit:
    def change(folder: Path) -> None:
        rows(lambda frame: frame.filter(pl.col("item") == item))(folder)
        rows(lambda frame: frame.filter(pl.col("item") == item), "items")(folder)
        recipe("test = 12\nvalidation = 6", "test = 2\nvalidation = 2")(folder)

    return change


def shared_table(user_dim: int, item_dim: int) -> Edit:
    def change(folder: Path) -> None:
        recipe('column = "user"\nembedding = { dim = 4 }', f'column = "user"\nembedding = {{ dim = {user_dim}, table = "t" }}')(
            folder
        )
        recipe('column = "item"\nembedding = { dim = 4 }', f'column = "item"\nembedding = {{ dim = {item_dim}, table = "t" }}')(
            folder
        )

    return change


def nothing(folder: Path) -> None:
    del folder


@dataclass(frozen=True)
class Case:
    """Bad input: what is wrong, what the message must say, and how the command ends."""

    name: str
    says: Sequence[str]
    status: int
    edit: Edit = nothing
    options: Sequence[str] = field(default_factory=tuple)


def weighted(*values: object) -> Edit:
    def change(folder: Path) -> None:
        put("weight", values)(folder)
        recipe('time = "time"', 'time = "time"\nweight = "weight"')(folder)

    return change


SET = "--set"
TRAINING = [
    # recipes: 2
    Case("misspelt key", ["training.epoch", "did you mean 'epochs'"], 2, options=[SET, "training.epoch=3"]),
    Case("unknown section", ["trainning", "did you mean 'training'"], 2, recipe("[training]", "[trainning]")),
    Case(
        "two faults at once",
        ["loss.temperature", "training.batch_size", "2 faults"],
        2,
        options=[SET, "loss.temperature=0", SET, "training.batch_size=0"],
    ),
    Case("negative epochs", ["training.epochs", "greater than or equal to 1", "-1"], 2, options=[SET, "training.epochs=-1"]),
    Case("epochs in words", ["training.epochs", "integer", "many"], 2, options=[SET, "training.epochs=many"]),
    Case("override without value", ["--set training.epochs", "section.key=value"], 2, options=[SET, "training.epochs"]),
    Case(
        "override of an entry that is not there",
        ["--set query.features.7", "0 to 1"],
        2,
        options=[SET, "query.features.7.column=x"],
    ),
    Case("override inside a value", ["--set seed.x=1", "seed is a value"], 2, options=[SET, "seed.x=1"]),
    Case("ks not ascending", ["evaluation.ks", "ascending"], 2, options=[SET, "evaluation.ks=[3, 1]"]),
    Case("k of 0 in ks", ["evaluation.ks", "at least 1"], 2, options=[SET, "evaluation.ks=[0, 3]"]),
    Case(
        "metric not among ks",
        ["early_stopping.metric", "recall@50", "recall@3"],
        2,
        options=[SET, "training.early_stopping.metric=recall@50"],
    ),
    Case(
        "unknown metric",
        ["early_stopping.metric", "accuracy", "ndcg@10"],
        2,
        options=[SET, "training.early_stopping.metric=accuracy"],
    ),
    Case(
        "log_q with full softmax",
        ["log_q", "full softmax", "leave it out"],
        2,
        options=[SET, "loss.kind=full", SET, "loss.log_q=true"],
    ),
    Case("towers of two widths", ["query gives 8", "candidate 4", "layer_sizes"], 2, options=[SET, "query.layer_sizes=[8]"]),
    Case("layer of no width", ["model.layer_sizes", "0"], 2, options=[SET, "model.layer_sizes=[0]"]),
    Case(
        "not TOML",
        ["recipe.toml", "not valid TOML", "line 2"],
        2,
        content(b"name = 'x'\nthis is not = = toml\n", "recipe.toml"),
    ),
    Case("recipe is binary", ["recipe.toml", "can't be read as a recipe"], 2, content(b"\xff\xfe\x00\x01", "recipe.toml")),
    Case("no recipe", ["no recipe at", "recipe.toml"], 2, lambda folder: (folder / "recipe.toml").unlink()),
    Case(
        "kind of feature",
        ["query.features.1", "numbr", "'number'"],
        2,
        recipe('kind = "number"\ncolumn = "age"', 'kind = "numbr"\ncolumn = "age"'),
    ),
    Case(
        "key of a feature", ["query.features.1.colum:", "did you mean 'column'"], 2, recipe('column = "age"', 'colum = "age"')
    ),
    Case(
        "positives malformed",
        ["data.columns.positives", "rating >= 4", "=> 4"],
        2,
        recipe('time = "time"', 'time = "time"\npositives = "rating => 4"'),
    ),
    Case(
        "feature column lacking", ["query feature 'agee'", "did you mean 'age'"], 2, recipe('column = "age"', 'column = "agee"')
    ),
    Case(
        "items lack the feature column",
        ["candidate feature 'price'", "no column 'price' among the items"],
        2,
        rows(lambda frame: frame.rename({"price": "cost"}), "items"),
    ),
    Case("shared table of two ids", ["'user'", "'item'", "table 't'", "different vocabularies"], 2, shared_table(4, 4)),
    Case("shared table of two widths", ["table 't'", "rows of 8", "of 4"], 2, shared_table(4, 8)),
    Case(
        "refit without validation",
        ["refit", "validation rows"],
        2,
        recipe("validation = 6", "validation = 0"),
        ["--refit", "train"],
    ),
    Case("word for refit", ["refit", "'none', 'train' or 'all'", "'some'"], 2, options=["--refit", "some"]),
    Case("word for device", ["device", "'cuda'", "'gpu'"], 2, options=["--device", "gpu"]),
    Case("time split without time", ["order", "time", "order = 'row'"], 2, recipe('time = "time"\n', "")),
    Case("no table at all", ["data", "interactions"], 2, recipe('[data.interactions]\npath = "interactions.csv"\n', "")),
    # tables: 1
    Case("missing file", ["nowhere.csv", "no such file"], 1, recipe("interactions.csv", "nowhere.csv")),
    Case(
        "missing column",
        ["no column 'time'", "declared as time", "did you mean 'times'"],
        1,
        rows(lambda frame: frame.rename({"time": "times"})),
    ),
    Case("empty file", ["interactions.csv", "empty"], 1, content(b"")),
    Case("header only", ["interactions.csv", "0 rows", "at least one row"], 1, content(b"user,item,time,age\n")),
    Case("text in a number column", ["'age'", "number", "String", "'old', in row 1"], 1, put("age", [20, "old"])),
    Case("NaN in a number column", ["'age'", "no number is 'NaN', in row 0"], 1, put("age", ["NaN"])),
    Case("null feature", ["'age'", "missing in 1 of 60 rows, first: 0", "declare missing"], 1, put("age", [None])),
    Case("null ids", ["'user'", "1 rows have none", "rows 0", "null_ids = 'drop'"], 1, put("user", [None])),
    Case("times as text", ["time column 'time'", "2020-01-01", "datetime"], 1, put("time", ["2020-01-01"])),
    Case("times in milliseconds", ["time column 'time'", "row 0", "milliseconds"], 1, put("time", [1_600_000_000_000])),
    Case("missing time", ["time column 'time'", "row 2"], 1, put("time", [1_600_000_000, 1_600_000_001, None])),
    Case("negative weight", ["weight column 'weight'", "row 1: -3", "at least 0"], 1, weighted(1, -3)),
    Case("all weights zero", ["weight column 'weight'", "above 0", "all 42"], 1, weighted(*[0] * 60)),
    Case(
        "wrong separator",
        ["no column 'user'", "user;item", "separator = ';'"],
        1,
        lambda folder: interactions().write_csv(folder / "interactions.csv", separator=";"),
    ),
    Case("ragged row", ["data row 1 (counted from 0)", "fields"], 1, content(b"user,item,time,age\nu1,i1,5,3\nu1,i2\n")),
    Case("binary garbage", ["interactions.csv"], 1, content(bytes(range(256)) * 20)),
    Case("truncated gzip", ["interactions.csv", "truncated gzip"], 1, truncated_gzip),
    Case("not Parquet", ["x.parquet", "Parquet"], 1, parquet(content(b"user,item\n1,2\n", "x.parquet"), "x.parquet")),
    Case("folder of two schemas", ["'rating'", "a.parquet", "b.parquet", "one type"], 1, parquet(mixed_folder, "parts")),
    Case(
        "folder without tables", ["parts", "no Parquet files"], 1, parquet(lambda folder: (folder / "parts").mkdir(), "parts")
    ),
    Case(
        "catalogue ids twice",
        ["'i0'", "differ in price", "duplicate"],
        1,
        rows(lambda frame: pl.concat([frame, frame.head(1).with_columns(pl.lit(9.0).alias("price"))]), "items"),
    ),
    Case(
        "ids of two types",
        ["item ids must have one type", "String", "Int64", "types"],
        1,
        rows(lambda frame: frame.with_columns(pl.col("item").str.strip_prefix("i")), "items"),
    ),
    Case(
        "catalogue of other items",
        ["at least one positive row", "not in the catalogue"],
        1,
        rows(lambda frame: frame.with_columns(pl.concat_str(pl.lit("x"), "item").alias("item")), "items"),
    ),
    Case(
        "no positive left",
        ["at least one positive row", "rating >= 40"],
        1,
        recipe('time = "time"', 'time = "time"\npositives = "rating >= 40"'),
    ),
    Case(
        "positives of a missing column",
        ["positives", "no column 'ratng'", "did you mean 'rating'"],
        1,
        recipe('time = "time"', 'time = "time"\npositives = "ratng >= 4"'),
    ),
    Case("nothing to train on", ["train and validation must not be empty", "60 test"], 1, recipe("test = 12", "test = 60")),
    Case("nothing to test on", ["test must not be empty", "0 test"], 1, recipe("test = 12", "test = 0.001")),
    Case(
        "label of a given split",
        ["'given'", "'rating'", "text"],
        1,
        recipe('kind = "time"\ntest = 12\nvalidation = 6', 'kind = "given"\ncolumn = "rating"'),
    ),
    Case(
        "one user",
        ["at least two users", "have 1"],
        1,
        lambda folder: (only_user("u1")(folder), recipe("test = 12\nvalidation = 6", "test = 2\nvalidation = 1")(folder), None)[
            -1
        ],
    ),
    Case("one item", ["two items", "catalogue 1"], 1, only_item("i1")),
]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


def message(error: str) -> str:
    """The one message on stderr; faults of a list are lines of it."""
    assert "Traceback" not in error
    first, *more = error.rstrip("\n").split("\n")
    assert all(line.startswith("  - ") for line in more), error
    assert first.startswith("twotower: ")
    return error


@pytest.mark.parametrize("case", TRAINING, ids=lambda case: case.name)
def test_training_on_bad_input_says_what_is_wrong(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_world(tmp_path / "world")
    case.edit(folder)
    run_dir = tmp_path / "run"
    status, out, error = run(capsys, "train", str(folder / "recipe.toml"), "--run-dir", str(run_dir), *case.options)
    said = message(error)
    assert [word for word in case.says if word not in said] == [], said
    assert (status, out) == (case.status, "")
    left = {entry.name for entry in run_dir.iterdir()} if run_dir.exists() else set()
    assert left <= {".lock"}


def trained(folder: Path, *options: str) -> Path:
    """A finished run of the small recipe."""
    world = write_world(folder / "world")
    with pytest.raises(SystemExit) as caught:
        main(["train", str(world / "recipe.toml"), "--run-dir", str(folder / "run"), *options])
    assert not caught.value.code
    return folder / "run"


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that only read."""
    return trained(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def own_run(shared_run: Path, tmp_path: Path) -> Path:
    """For tests that damage."""
    shutil.copytree(shared_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("edit", "options", "says"),
    [
        (nothing, [], ["a run is there already", "--resume", "--overwrite"]),
        (nothing, ["--resume", "--overwrite"], ["--resume", "--overwrite", "one of them"]),
        (nothing, ["--resume", "--set", "training.epochs=2"], ["another recipe", "training.epochs is 2, was 1"]),
        (put("time", ["soon"]), ["--overwrite"], ["time column 'time'"]),
        (nothing, ["--overwrite", "--set", "query.layer_sizes=[8]"], ["query gives 8"]),
    ],
)
def test_a_refused_run_leaves_the_old_one_whole(
    edit: Edit, options: list[str], says: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = trained(tmp_path)
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    edit(tmp_path / "world")
    capsys.readouterr()
    status, _, error = run(capsys, "train", str(tmp_path / "world" / "recipe.toml"), "--run-dir", str(run_dir), *options)
    assert status in (1, 2)
    assert [word for word in says if word not in message(error)] == []
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before
    assert len(Recommender.load(run_dir).recommend(["u1"], k=3).frame) == 3


def test_the_run_folder_must_be_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe_path = str(write_world(tmp_path / "world") / "recipe.toml")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    for place, says in (
        ("file", "a file is in the way"),
        ("file/below", "a file is in the way"),
        ("full", "holds other things"),
    ):
        status, _, error = run(capsys, "train", recipe_path, "--run-dir", str(tmp_path / place))
        assert status == 2
        assert says in message(error)
        assert str(tmp_path / place) in error
    assert [entry.name for entry in (tmp_path / "full").iterdir()] == ["letter.txt"]
    assert (tmp_path / "file").read_text() == "mine"


def test_an_unwritable_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe_path = str(write_world(tmp_path / "world") / "recipe.toml")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    try:
        (closed / "probe").touch()
    except PermissionError:
        status, _, error = run(capsys, "train", recipe_path, "--run-dir", str(closed / "run"))
        assert status == 2
        assert "can't be written" in message(error)
    else:
        pytest.skip("this user may write anywhere")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe_path = str(write_world(tmp_path / "world") / "recipe.toml")
    status, _, error = run(capsys, "train", recipe_path, "--run-dir", str(tmp_path / "run"), "--device", "cuda")
    assert status == 2
    assert "--device cuda" in message(error)
    assert "--device auto" in error


def test_infinity_in_a_number_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_world(tmp_path / "world")
    ages = [math.inf, *[30.0] * 59]
    interactions().with_columns(pl.Series("age", ages)).write_parquet(folder / "x.parquet")
    recipe("interactions.csv", "x.parquet")(folder)
    status, _, error = run(capsys, "train", str(folder / "recipe.toml"), "--run-dir", str(tmp_path / "run"))
    assert status == 1
    assert [word for word in ("'age'", "finite") if word not in message(error)] == [], error


@pytest.mark.parametrize(
    ("command", "arguments", "status", "says"),
    [
        ("recommend", ["--user", "u99"], 1, ["no user 'u99'", "among 10", "features or a history"]),
        ("recommend", [], 2, ["--user", "--query", "--history"]),
        ("recommend", ["--query", "agee=3"], 2, ["'agee'", "did you mean 'age'"]),
        ("recommend", ["--query", "age=old"], 2, ["'age'", "number", "'old'"]),
        ("recommend", ["--query", "age"], 2, ["--query age", "column=value"]),
        ("recommend", ["--query", "{age: 3}"], 2, ["--query", "JSON"]),
        ("recommend", ["--query", '{"age": "old"}'], 1, ["'age'", "Int64", "'old'"]),
        ("recommend", ["--query", '{"age": [1, 2]}'], 1, ["'age'", "Int64"]),
        ("recommend", ["--user", "u1", "--exclude", "i77"], 1, ["exclude", "'i77'", "among 6"]),
        ("recommend", ["--user", "u1", "--only", "i77"], 1, ["only", "'i77'"]),
        ("similar", ["--item", "i77"], 1, ["no item 'i77'", "among 6"]),
    ],
)
def test_requests_that_can_not_be_answered(
    shared_run: Path, command: str, arguments: list[str], status: int, says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    found, out, error = run(capsys, command, str(shared_run), *arguments)
    assert [word for word in says if word not in message(error)] == [], error
    assert (found, out) == (status, "")


def test_k_of_0_is_wrong_usage(shared_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    status, out, error = run(capsys, "recommend", str(shared_run), "--user", "u1", "-k", "0")
    assert (status, out) == (2, "")
    assert "'-k'" in error
    assert "greater than or equal to 1" in error or "x>=1" in error


def test_k_beyond_the_catalogue_gives_all(shared_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    status, out, _ = run(capsys, "recommend", str(shared_run), "--user", "u1", "-k", "1000", "--include-seen", "--json")
    assert status == 0
    assert sorted(item["item"] for item in json.loads(out)["items"]) == [f"i{i}" for i in range(6)]


def reseal(bundle: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Change a manifest, and its checksum with it, as another writer would have written it."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    data = json.dumps(manifest).encode()
    (bundle / "manifest.json").write_bytes(data)
    (bundle / "manifest.sha256").write_text(f"{hashlib.sha256(data).hexdigest()}  manifest.json\n")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda bundle: flip(bundle / "weights.safetensors"), ["weights.safetensors", "changed"]),
        (lambda bundle: (bundle / "users.parquet").write_bytes(b"PAR1"), ["users.parquet", "4"]),
        (lambda bundle: (bundle / "catalogue.parquet").unlink(), ["catalogue.parquet", "lacks"]),
        (lambda bundle: (bundle / "manifest.json").write_text("{"), ["manifest.json", "changed"]),
        (lambda bundle: reseal(bundle, lambda m: m.update(format_version=99)), ["version 99", "upgrade twotower"]),
        (lambda bundle: reseal(bundle, lambda m: m.update(format="other")), ["'other'", "not a bundle"]),
        (lambda bundle: (bundle / "extra.py").write_text("print()"), ["extra.py", "not one of the bundle's files"]),
    ],
    ids=["flipped bit", "truncated part", "missing part", "broken manifest", "newer format", "other format", "extra file"],
)
@pytest.mark.parametrize("command", ["recommend", "evaluate", "inspect"])
def test_damaged_bundles_are_not_used(
    own_run: Path, damage: Callable[[Path], object], says: list[str], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(own_run / "bundle")
    capsys.readouterr()
    place = own_run / "bundle" if command == "inspect" else own_run
    status, out, error = run(capsys, command, str(place), *(["--user", "u1"] if command == "recommend" else []))
    assert [word for word in says if word not in message(error)] == [], error
    assert (status, out) == (1, "")


@pytest.mark.parametrize("command", ["recommend", "evaluate"])
def test_what_is_not_a_bundle(tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_world(tmp_path / "world")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "recipe.json").write_text("{}")
    options = ["--user", "u1"] if command == "recommend" else []
    for place, says in (
        ("world", "not a bundle"),
        ("world/items.csv", "must be the folder"),
        ("gone", "no bundle or run"),
        ("begun", "has not finished"),
    ):
        status, out, error = run(capsys, command, str(tmp_path / place), *options)
        assert (status, out) == (1, "")
        assert says in message(error)


def test_tables_that_changed_since_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = trained(tmp_path)
    put("time", [1_700_000_000])(tmp_path / "world")
    capsys.readouterr()
    status, out, error = run(capsys, "evaluate", str(run_dir))
    assert (status, out) == (1, "")
    assert "tables are not those of the run" in message(error)


@pytest.mark.parametrize(
    ("edit", "options"),
    [
        (put("age", [30] * 60), []),
        (put("price", [2.0] * 6, "items"), []),
        (nothing, ["--resume"]),
        (nothing, ["--set", "evaluation.ks=[1, 1000]", "--set", "training.early_stopping=false"]),
        (nothing, ["--set", "training.batch_size=100000"]),
        (nothing, ["--set", "training.batch_size=1", "--set", "loss.kind=in_batch"]),
        (weighted(*[0] * 20), ["--set", "training.batch_size=1"]),
        (recipe("validation = 6", "validation = 0"), []),
        (rows(lambda frame: pl.concat([frame] * 2)), []),
        (put("user", ["new"] * 1), []),
        (rows(lambda frame: pl.concat([frame, frame]), "items"), []),
        (content("\ufeff".encode() + interactions().write_csv().encode()), []),
        (content(interactions().write_csv(line_terminator="\r\n").encode()), []),
        (content(gzip.compress(interactions().write_csv().encode())), []),
    ],
    ids=[
        "constant context",
        "constant item feature",
        "resume of nothing",
        "k beyond the catalogue",
        "batch beyond the table",
        "batches of one row",
        "some weights zero",
        "no validation",
        "repeated rows",
        "user of one row",
        "equal items twice",
        "byte order mark",
        "CRLF",
        "gzip by content",
    ],
)
def test_odd_but_sound_input_works(edit: Edit, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_world(tmp_path / "world")
    edit(folder)
    status, out, error = run(
        capsys, "train", str(folder / "recipe.toml"), "--run-dir", str(tmp_path / "run"), "--json", *options
    )
    assert (status, error) == (0, "")
    found = json.loads(out)["metrics"]["test"]["seen_included"]
    assert all(0 <= value <= 1 for value in found.values())
    assert all(math.isfinite(item) for item in Recommender.load(tmp_path / "run").recommend(["u1"]).frame["score"])


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (
            ["train", "{world}/recipe.toml", "--run-dir", "{world}/run", "--set", "split.test=60"],
            1,
            "train and validation must not be empty",
        ),
        (["inspect", "{world}/gone.csv"], 1, "no such file"),
    ],
)
def test_a_process_of_its_own_ends_the_same_way(arguments: list[str], status: int, says: str, tmp_path: Path) -> None:
    world = write_world(tmp_path / "world")
    command = [sys.executable, "-m", "twotower", *(part.format(world=world) for part in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
