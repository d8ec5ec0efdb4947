"""Bad logs, from the command's edge: the message names file, row and column, or the rows are skipped and counted."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from twotower.cli import main

RECIPE = """
name = "small"
device = "cpu"
[data]
cache = "CACHE"
[data.interactions]
path = "log.csv"
types = { user = "string", item = "string", age = "float32" }
[data.columns]
user = "user"
item = "item"
order = "row"
[split]
kind = "time"
test = 12
validation = 6
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
[model]
layer_sizes = [4]
[training]
epochs = 1
batch_size = 16
[training.early_stopping]
metric = "recall@3"
[evaluation]
ks = [1, 3]
draws = 20
"""

GOOD = [f"u{n % 10},i{n * 7 % 6},{20 + n % 10}\n".encode() for n in range(60)]
HEAD = b"user,item,age\n"


def log(rows: list[bytes]) -> bytes:
    return HEAD + b"".join(rows)


def with_row(row: bytes) -> bytes:
    return log([*GOOD[:40], row, *GOOD[40:]])


FAULTS: dict[str, tuple[bytes, list[str], bool]] = {
    "too few fields": (with_row(b"u1,i2\n"), ["log.csv", "data row 40 (counted from 0)", "3 fields", "has 2", "u1,i2"], True),
    "too many fields": (with_row(b"u1,i2,3,4\n"), ["log.csv", "data row 40 (counted from 0)", "has 4"], True),
    "text for a number": (
        with_row(b"u1,i2,old\n"),
        ["log.csv", "'age'", "float32", "data row 40 (counted from 0)", "'old'"],
        True,
    ),
    "mixed encodings": (with_row(b"u\xe9,i2,3\n"), ["log.csv", "not UTF-8", "'user'", "data row 40 (counted from 0)"], True),
    "duplicate headers": (b"user,item,user\n" + b"".join(GOOD), ["log.csv", "own name", "'user'"], False),
    "truncated gzip": (gzip.compress(log(GOOD))[:-30], ["log.csv", "truncated gzip"], False),
    "an id that is all null": (log([row[row.index(b",") :] for row in GOOD]), ["'user'", "60 rows have none"], False),
    "an unclosed quote": (with_row(b'"u1,i2,3\n'), ["log.csv", "data row 40 (counted from 0)", "quote"], False),
}

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(params=["never", "always"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe that reads its table directly, or through the cache."""
    monkeypatch.setenv("TWOTOWER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "recipe.toml").write_text(RECIPE.replace("CACHE", request.param))
    return tmp_path


@pytest.fixture
def train(world: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(content: bytes, *options: str) -> tuple[int, str, str]:
        (world / "log.csv").write_bytes(content)
        with pytest.raises(SystemExit) as caught:
            main(["train", str(world / "recipe.toml"), "--run-dir", str(world / "run"), *options])
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return run


@pytest.mark.parametrize("name", FAULTS)
def test_the_message_names_what_is_wrong_and_where(name: str, train: Run, world: Path) -> None:
    content, says, can_be_skipped = FAULTS[name]
    status, out, err = train(content)
    assert (status, out) == (1, "")
    assert [words for words in says if words not in err] == [], err
    assert "Traceback" not in err
    assert ("on_bad_rows" in err) == can_be_skipped
    assert not (world / "run" / "bundle").exists()


@pytest.mark.parametrize("name", [name for name, (_, _, can_be_skipped) in FAULTS.items() if can_be_skipped])
def test_bad_rows_are_skipped_when_that_is_asked_for(name: str, train: Run, world: Path) -> None:
    status, _, err = train(FAULTS[name][0], "--on-bad-rows", "skip", "--json")
    assert (status, err) == (0, "")
    report = json.loads((world / "run" / "data.json").read_text())
    assert [(part["rows"], len(part["examples"])) for part in report["skipped"]] == [(1, 1)]
    assert "row 40 of" in report["skipped"][0]["examples"][0]
    assert report["rows_kept"] == 60


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + log(GOOD),
        log(GOOD).replace(b"\n", b"\r\n"),
        log(GOOD).replace(b"u1,", b'"u,\n""1""",'),
        gzip.compress(log(GOOD)),
    ],
    ids=["byte-order mark", "CRLF", "separators and breaks inside quotes", "gzip"],
)
def test_odd_but_sound_logs_are_read(content: bytes, train: Run, world: Path) -> None:
    assert train(content, "--json")[0] == 0
    report = json.loads((world / "run" / "data.json").read_text())
    assert (report["rows_kept"], report["users"], report["items"]) == (60, 10, 6)


def test_parquet_files_that_disagree_on_a_type(train: Run, world: Path) -> None:
    (world / "parts").mkdir()
    for part, age in (("a", 1.0), ("b", "one")):
        pl.DataFrame({"user": ["u"], "item": ["i"], "age": [age]}).write_parquet(world / "parts" / f"{part}.parquet")
    status, _, err = train(log(GOOD), "--set", f"data.interactions.path={json.dumps(str(world / 'parts'))}")
    assert status == 1
    assert all(words in err for words in ("'age'", "Float64", "a.parquet", "String", "b.parquet", "one type")), err
