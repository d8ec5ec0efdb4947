"""``twotower inspect``: tables of every kind, bundles and runs; and the recipes that it writes, trained as they stand."""

from __future__ import annotations

import gzip
import json
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from twotower.runs import load_tables, read_recipe

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def table() -> pl.DataFrame:
    return pl.DataFrame({"name": ["ann", None, "ann", "bob"], "age": [30, 41, 30, 8], "weight": [1.5, 2.0, 2.5, 3.0]})


def write(table: pl.DataFrame, folder: Path, name: str) -> Path:
    path = folder / name
    if name.endswith(".parquet"):
        table.write_parquet(path)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(table.write_csv().encode()))
    else:
        table.write_csv(path, separator="\t" if name.endswith(".tsv") else ",")
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "t.parquet"])
def test_tables(name: str, table: pl.DataFrame, call: Call, tmp_path: Path) -> None:
    path = write(table, tmp_path, name)
    status, out, err = call("inspect", path, "--json")
    assert (status, err, out.count("\n")) == (0, "", 1)
    found = json.loads(out)
    assert (found["path"], found["rows"]) == (str(path), 4)
    shown = [tuple(column.values())[:7] for column in found["columns"]]
    assert list(found["columns"][0]) == [
        *["name", "type", "missing_fraction", "distinct", "least", "greatest", "example", "suggested", "why"]
    ]
    assert shown == [
        ("name", "String", 0.25, 2, None, None, "ann"),
        ("age", "Int64", 0.0, 3, 8, 41, 30),
        ("weight", "Float64", 0.0, 4, 1.5, 3.0, 1.5),
    ]
    lines = call("inspect", path)[1].splitlines()
    assert lines[0] == f"{path}: 4 rows"
    assert lines[1].split() == ["column", "type", "missing", "distinct", "range", "example", "suggested", "why"]
    assert lines[2].split() == ["name", "String", "25.0%", "2", "ann", "user", "id", "a", "guess"]
    assert lines[3].split() == ["age", "Int64", "0.0%", "3", "8", "to", "41", "30", "item", "id", "a", "guess"]


def test_nested_dates_and_columns_of_nothing(call: Call, tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "genres": [["a", "b"], ["a"], ["a", "b"]],
            "at": [date(2020, 1, 2), date(2020, 1, 1), None],
            "pair": [{"x": 1}, {"x": 2}, {"x": 1}],
            "none": [None, None, None],
        }
    )
    status, out, _ = call("inspect", write(frame, tmp_path, "t.parquet"), "--json")
    assert status == 0
    columns = {column["name"]: column for column in json.loads(out)["columns"]}
    assert (columns["genres"]["distinct"], columns["genres"]["example"]) == (2, ["a", "b"])
    assert (columns["at"]["least"], columns["at"]["greatest"]) == ("2020-01-01", "2020-01-02")
    assert columns["pair"]["distinct"] == 2
    assert (columns["none"]["missing_fraction"], columns["none"]["example"]) == (1.0, None)
    assert call("inspect", tmp_path / "t.parquet")[0] == 0


def test_another_separator(table: pl.DataFrame, call: Call, tmp_path: Path) -> None:
    table.write_csv(tmp_path / "t.csv", separator=";")
    assert len(json.loads(call("inspect", tmp_path / "t.csv", "--json")[1])["columns"]) == 1
    assert len(json.loads(call("inspect", tmp_path / "t.csv", "--separator", ";", "--json")[1])["columns"]) == 3


HEADER = "user_id,movie_id,rating,timestamp,user_age\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """300 ratings by 12 users of 20 films."""
    rows = [
        f"{u},m{(3 * u + 7 * s) % 20},{1 + (u + s) % 5},{1_600_000_000 + 90 * (12 * s + u)},{20 + 3 * u}"
        for s in range(25)
        for u in range(12)
    ]
    path = tmp_path / "log.csv"
    path.write_text(HEADER + "\n".join(rows) + "\n")
    return path


def suggestions(answer: str) -> dict[str, str]:
    return {column["name"]: column["suggested"] for column in json.loads(answer)["columns"]}


def test_suggestions(log: Path, call: Call) -> None:
    assert suggestions(call("inspect", log, "--json")[1]) == {
        "user_id": "user id",
        "movie_id": "item id",
        "rating": "weight, positives or task",
        "timestamp": "time",
        "user_age": "query: buckets",
    }
    other = suggestions(call("inspect", log, "--user", "user_age", "--item", "user_id", "--time", "timestamp", "--json")[1])
    assert (other["user_age"], other["user_id"]) == ("user id", "item id")
    lines = call("inspect", log)[1].splitlines()
    assert lines[-2:] == ["", f"a first recipe: twotower inspect {log} --write-recipe recipe.toml"]
    assert lines[4].endswith("by its name: an outcome is never an input")


def test_a_table_that_is_no_log_is_shown_all_the_same(call: Call, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name,price\na,1.5\nb,2.5\n")
    status, out, _ = call("inspect", tmp_path / "t.csv")
    assert status == 0
    assert "not suggested: no column can be taken for the user" in out.splitlines()[-1]
    assert "say --user COLUMN and --item COLUMN" in out
    assert suggestions(call("inspect", tmp_path / "t.csv", "--json")[1]) == {"name": "category", "price": "number"}
    status, _, err = call("inspect", tmp_path / "t.csv", "--write-recipe", tmp_path / "r.toml")
    assert (status, (tmp_path / "r.toml").exists()) == (2, False)
    assert "no column can be taken for the user" in err


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (["--user", "user"], "--user user: there is no such column; did you mean 'user_id'?"),
        (["--item", "films"], "--item films: there is no such column; valid: movie_id, rating"),
        (["--time", "rating"], "--time rating: times must be Unix seconds; it holds 1 to 5"),
        (["--user", "movie_id", "--item", "movie_id"], "--user and --item must be two columns; both are 'movie_id'"),
    ],
)
def test_options_that_do_not_fit(log: Path, option: list[str], says: str, call: Call) -> None:
    status, out, err = call("inspect", log, *option)
    assert (status, out) == (2, "")
    assert says in err


def test_two_commands_from_a_file_to_a_model(log: Path, call: Call, tmp_path: Path) -> None:
    recipe = tmp_path / "recipes" / "first.toml"
    recipe.parent.mkdir()
    status, out, err = call("inspect", log, "--write-recipe", recipe)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == f"written: {recipe}; train it with: twotower train {recipe}"
    status, out, _ = call("train", recipe, "--run-dir", tmp_path / "run", "--set", "training.epochs=1", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["metrics"]
    status, out, _ = call("recommend", tmp_path / "run", "--query", "user_age=31", "-k", "3")
    assert status == 0
    assert out.startswith("for somebody never seen: user_age = 31\n")


def test_a_recipe_is_not_written_over(log: Path, call: Call, tmp_path: Path) -> None:
    recipe = tmp_path / "first.toml"
    recipe.write_text("mine")
    status, out, err = call("inspect", log, "--write-recipe", recipe)
    assert (status, out) == (2, "")
    assert err == f"twotower: {recipe} exists already; write over it with --force, or name another file\n"
    assert recipe.read_text() == "mine"
    assert call("inspect", log, "--write-recipe", recipe, "--force")[0] == 0
    assert tomllib.loads(recipe.read_text())["name"] == "log"
    assert json.loads(call("inspect", log, "--write-recipe", recipe, "--force", "--json")[1])["recipe"] == str(recipe)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.toml", "log.csv"]  # and no temporary one


def test_the_path_is_as_seen_from_the_recipe(log: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    assert call("inspect", "log.csv", "--write-recipe", "deep/r.toml")[0] == 0
    assert tomllib.loads((tmp_path / "deep" / "r.toml").read_text())["data"]["interactions"]["path"] == "../log.csv"
    assert Path(read_recipe("deep/r.toml").data.interactions.path).resolve() == log  # type: ignore[union-attr]
    assert call("inspect", "log.csv", "--write-recipe", "r.toml")[0] == 0
    assert tomllib.loads((tmp_path / "r.toml").read_text())["data"]["interactions"]["path"] == "log.csv"
    assert call("inspect", log, "--write-recipe", "deep/r.toml", "--force")[0] == 0
    assert tomllib.loads((tmp_path / "deep" / "r.toml").read_text())["data"]["interactions"]["path"] == str(log)


@pytest.mark.parametrize("kind", ["none", "named", "skipped", "index", "separator", "gzip", "parquet", "folder"])
def test_files_of_every_form_are_trained_as_they_are(kind: str, log: Path, call: Call, tmp_path: Path) -> None:
    text = log.read_text()
    names, path, options = "user_id,movie_id,rating,timestamp,user_age", tmp_path / "form.csv", []
    if kind in ("none", "named"):
        path.write_text(text.removeprefix(HEADER))
        options = ["--no-header", *(["--columns", names] if kind == "named" else [])]
    elif kind == "skipped":
        path.write_text(text.replace(HEADER, "a,b,c,d,e\n"))
        options = ["--columns", names]
    elif kind == "index":
        path.write_text("".join(f"{row - 1 if row else ''},{line}\n" for row, line in enumerate(text.splitlines())))
    elif kind == "separator":
        path.write_text(text.replace(",", ";"))
        options = ["--separator", ";"]
    elif kind == "gzip":
        path = tmp_path / "form.csv.gz"
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path = tmp_path / "form" if kind == "folder" else tmp_path
        path.mkdir(exist_ok=True)
        frame = pl.read_csv(log)
        for start in (0, 150) if kind == "folder" else (0,):
            frame[start : start + (150 if kind == "folder" else 300)].write_parquet(path / f"part-{start}.parquet")
        path = path if kind == "folder" else path / "part-0.parquet"
    given = ["--user", "column_1", "--item", "column_2", "--time", "column_4"] if kind == "none" else []
    recipe = tmp_path / "form.toml"
    answer = call("inspect", path, *options, *given, "--write-recipe", recipe, "--json")
    assert answer[0] == 0, answer[2]
    wanted = [f"column_{place}" for place in range(1, 6)] if kind == "none" else names.split(",")
    assert list(suggestions(answer[1])) == wanted
    tables = load_tables(read_recipe(recipe))
    assert len(tables.interactions) == 300
    assert tables.interactions.user_ids.to_list()[:3] == [0, 1, 2]
    assert tables.interactions.item_ids.to_list()[:3] == ["m0", "m3", "m6"]
    assert tables.interactions.schema.time == ("column_4" if kind == "none" else "timestamp")


def test_large_tables_are_converted_once_for_both_commands(
    log: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = suggestions(call("inspect", log, "--json")[1])
    monkeypatch.setenv("TWOTOWER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("twotower.runs.sources._CONVERTED_FROM", log.stat().st_size)
    status, out, err = call("inspect", log, "--write-recipe", tmp_path / "r.toml", "--json")
    assert (status, err) == (0, "")
    assert suggestions(out) == small
    assert [(c["missing_fraction"], c["distinct"], c["type"]) for c in json.loads(out)["columns"]] == [
        (0.0, 12, "Int64"),
        (0.0, 20, "String"),
        (0.0, 5, "Int64"),
        (0.0, 300, "Int64"),
        (0.0, 12, "Int64"),
    ]
    kept = sorted(entry.name for entry in (tmp_path / "cache" / "columnar").iterdir() if entry.is_dir())
    assert len(kept) == 1
    tables = load_tables(read_recipe(tmp_path / "r.toml", overrides=["data.cache=always"]), cache_dir=tmp_path / "cache")
    assert isinstance(tables.interactions.item_ids.dtype, pl.Enum)
    assert sorted(entry.name for entry in (tmp_path / "cache" / "columnar").iterdir() if entry.is_dir()) == kept
    monkeypatch.setattr("twotower.runs.sources._CONVERTED_FROM", log.stat().st_size + 1)
    assert call("inspect", log, "--write-recipe", tmp_path / "r.toml", "--force")[0] == 0
    assert tomllib.loads((tmp_path / "r.toml").read_text())["data"]["interactions"]["types"]["movie_id"] == "string"


@pytest.mark.parametrize("options", [[], ["--no-header"], ["--columns", "a,b"], ["--no-header", "--columns", "a,b"]])
def test_an_empty_file(options: list[str], call: Call, tmp_path: Path) -> None:
    (tmp_path / "e.csv").touch()
    status, out, err = call("inspect", tmp_path / "e.csv", *options)
    assert (status, out) == (1, "")
    assert "the file is empty" in err


def test_bad_rows(log: Path, call: Call, tmp_path: Path) -> None:
    log.write_text(log.read_text() + "1,2\n")
    status, _, err = call("inspect", log)
    assert status == 1
    assert "field" in err
    recipe = tmp_path / "r.toml"
    status, out, _ = call("inspect", log, "--on-bad-rows", "skip", "--write-recipe", recipe)
    assert status == 0
    assert "1 bad rows of the table skipped" in out
    assert tomllib.loads(recipe.read_text())["data"]["interactions"]["on_bad_rows"] == "skip"
    assert call("inspect", log, "--on-bad-rows", "forget")[0] == 2


def test_runs(call: Call, finished: Path, tmp_path: Path) -> None:
    status, out, _ = call("inspect", finished)
    assert status == 0
    assert out.startswith("small: 16 test rows")
    found = json.loads(call("inspect", finished, "--json")[1])
    assert found["finished"] is True
    assert found["metrics"] == json.loads((finished / "result.json").read_text())["metrics"]
    (tmp_path / "recipe.json").write_text("{}")
    assert json.loads(call("inspect", tmp_path, "--json")[1]) == {"run_dir": str(tmp_path), "finished": False}


def test_bundles(call: Call, finished: Path) -> None:
    bundle = finished / "bundle"
    found = json.loads(call("inspect", bundle, "--json")[1])
    assert found["parts"]["weights"]["size_bytes"] == (bundle / "weights.safetensors").stat().st_size
    status, out, _ = call("inspect", bundle)
    assert status == 0
    assert "every checksum holds" in out.splitlines()[0]
    assert "small: 16 test rows" in out
    assert "trained on: train rows" in out
    for part in found["parts"].values():
        assert part["file"] in out


@pytest.mark.parametrize("separator", ["", ";;"])
def test_a_separator_is_one_character(separator: str, tmp_path: Path, call: Call) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    status, out, err = call("inspect", str(tmp_path / "a.csv"), "--separator", separator)
    assert (status, out) == (2, "")
    assert err.startswith("twotower: separator: string should have at ")
