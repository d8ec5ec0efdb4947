"""The files of a source: folders, globs, URLs, and paths that lead nowhere."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from twotower.data.source_files import find_files, is_url
from twotower.errors import MissingExtraError, TableReadError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.csv", "a.csv.gz", "c.tsv", "README.md", "_SUCCESS"):
        (tmp_path / name).write_text("x\n")
    (tmp_path / "d.csv").mkdir()
    return tmp_path


def names(source: str | Path) -> list[str]:
    return [Path(file.name).name for file in find_files(source, noun="log")]


def test_a_file_of_any_name_is_that_file(folder: Path) -> None:
    (file,) = find_files(folder / "README.md", noun="log")
    assert (file.name, file.kind, file.size) == (str(folder / "README.md"), "text", 2)
    assert file.stamp == str((folder / "README.md").stat().st_mtime_ns)
    with file.open() as raw:
        assert raw.read() == b"x\n"


def test_a_folder_of_text_is_read_in_the_order_of_names(folder: Path) -> None:
    assert names(folder) == ["a.csv.gz", "b.csv", "c.tsv"]


def test_a_folder_of_parquet(tmp_path: Path) -> None:
    for name in ("2.parquet", "1.PQ", "_SUCCESS"):
        (tmp_path / name).write_text("x")
    assert names(tmp_path) == ["1.PQ", "2.parquet"]
    assert {file.kind for file in find_files(tmp_path, noun="log")} == {"parquet"}


def test_a_folder_of_both_is_no_table(folder: Path) -> None:
    (folder / "x.parquet").write_text("x")
    with pytest.raises(TableReadError, match=r"holds Parquet \(x.parquet\) and text \(a.csv.gz\)"):
        find_files(folder, noun="log")
    assert names(folder / "*.parquet") == ["x.parquet"]


def test_a_glob_takes_files_only(folder: Path) -> None:
    assert names(folder / "*.csv") == ["b.csv"]
    assert names(str(folder / "[ab].csv*")) == ["a.csv.gz", "b.csv"]


def test_suffixes_are_lower_case(tmp_path: Path) -> None:
    (tmp_path / "X.TSV.gz").write_text("x")
    assert find_files(tmp_path / "X.TSV.gz", noun="log")[0].suffixes == [".tsv", ".gz"]


@pytest.fixture
def store() -> Any:
    import fsspec  # type: ignore[import-untyped]

    store = fsspec.filesystem("memory")
    store.pipe("/bucket/day/2.parquet", b"22")
    store.pipe("/bucket/day/1.parquet", b"1")
    store.pipe("/bucket/one.csv", b"a\n1\n")
    return store


@pytest.mark.usefixtures("store")
def test_urls_of_objects_folders_and_globs() -> None:
    assert [file.name for file in find_files("memory://bucket/day", noun="log")] == [
        "memory:///bucket/day/1.parquet",
        "memory:///bucket/day/2.parquet",
    ]
    assert [file.size for file in find_files("memory://bucket/*/*.parquet", noun="log")] == [1, 2]
    (file,) = find_files("memory://bucket/one.csv", noun="log")
    assert (file.kind, file.size) == ("text", 4)
    assert file.stamp
    with file.open() as raw:
        assert raw.read() == b"a\n1\n"


@pytest.mark.usefixtures("store")
def test_urls_that_lead_nowhere() -> None:
    for url in ("memory://bucket/none.csv", "memory://bucket/*.tsv"):
        with pytest.raises(TableReadError, match=r"log memory://bucket/.*: no such object"):
            find_files(url, noun="log")
    with pytest.raises(TableReadError, match="the store can't be asked"):
        find_files("nosuch://bucket/x.csv", noun="log")


def test_what_a_url_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_fsspec(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "fsspec":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_fsspec)
    with pytest.raises(MissingExtraError, match=r"pip install 'twotower\[object-store\]'"):
        find_files("s3://bucket/x.csv", noun="log")


def test_a_path_is_no_url() -> None:
    assert is_url("s3://bucket/x.csv")
    assert not is_url("C:/x.csv")
    assert not is_url(Path("s3://bucket/x.csv"))


def test_a_glob_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(TableReadError, match=r"a\*\*\.csv: not a glob: '\*\*' stands for folders"):
        find_files(tmp_path / "a**.csv", noun="log")
