"""Files that several processes convert together give the files, to the byte, that one process writes."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.columnar.test_same_as_read_table import NUMBERS, VALUES

from twotower.columnar import Converting, PartDone, PartJob, open_table
from twotower.columnar.manifest import MANIFEST, read_manifest
from twotower.columnar.parts import divide_files
from twotower.data import TableConfig
from twotower.errors import TableReadError


class Others:
    """So many processes, one after the other in this one; jobs are sent to them."""

    def __init__(self, size: int, *, seen: bool = True) -> None:
        self.size, self.seen = size, seen
        self.ran: list[list[PartJob | None]] = []

    def ready(self, folder: Path) -> int:
        assert folder.is_dir()
        return self.size if self.seen else 1

    def run(self, jobs: Sequence[PartJob | None], why: str) -> list[PartDone | None]:
        assert why
        self.ran.append(list(jobs))
        sent: list[PartJob | None] = pickle.loads(pickle.dumps(list(jobs)))  # noqa: S301
        return [None if job is None else pickle.loads(pickle.dumps(job.run())) for job in sent]  # noqa: S301


def as_text(frame: pl.DataFrame) -> dict[str, str]:
    """Columns as text: a NaN is what it is."""
    return {name: str(column.to_list()) for name, column in frame.to_dict().items()}


def content(folder: Path, *, others: Others | None, columns: list[str] | None = None, **spec: Any) -> Any:
    """All files of the converted table and what its manifest says, or the error; the frame."""
    cache = folder / ("one" if others is None else "several")
    config = TableConfig(path=spec.pop("path", "log"), **spec)
    try:
        table = open_table(config, noun="log", base_dir=folder, cache_dir=cache, columns=columns, divide=others)
    except TableReadError as error:
        return str(error).replace(str(cache), "cache")
    manifest = read_manifest(table.folder)
    assert not isinstance(manifest, str)
    assert manifest is not None
    files = {path.name: path.read_bytes() for path in sorted(table.folder.rglob("*")) if path.name != MANIFEST}
    said = manifest.model_copy(update={"written": 0.0, "seconds": 0.0})
    assert not any(path.is_dir() for path in table.folder.iterdir())
    return said, files, table.report, as_text(table.frame)


@st.composite
def sources(draw: st.DrawFn) -> tuple[list[list[list[str]]], dict[str, Any], int]:
    """Rows of each file, how they are read, and by how many processes."""
    kinds = [draw(st.sampled_from(["text", "number", "mostly numbers"])) for _ in range(draw(st.integers(1, 3)))]
    files = []
    for _ in range(draw(st.integers(2, 5))):
        texts = draw(st.booleans())
        of = [NUMBERS if kind == "number" or (kind == "mostly numbers" and not texts) else VALUES for kind in kinds]
        files.append([[draw(each).replace("\n", " ") for each in of] for _ in range(draw(st.integers(0, 4)))])
    spec: dict[str, Any] = {}
    if draw(st.booleans()):
        spec["fill"] = {"c0": draw(st.sampled_from([0, "none"]))}
    if draw(st.booleans()):
        spec["on_bad_rows"] = "skip"
        spec["types"] = {"c0": draw(st.sampled_from(["string", "float", "integer"]))}
    return files, spec, draw(st.integers(2, 4))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(source=sources())
def test_any_files_in_any_number_of_parts(source: tuple[list[list[list[str]]], dict[str, Any], int]) -> None:
    files, spec, size = source
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "log").mkdir()
        width = max((len(row) for rows in files for row in rows), default=1)
        for number, rows in enumerate(files):
            frame = pl.DataFrame(
                {f"c{place}": [row[place] for row in rows] for place in range(width)},
                schema=dict.fromkeys((f"c{place}" for place in range(width)), pl.String),
            )
            frame.write_csv(folder / "log" / f"{number}.csv", quote_style="necessary")
        expected = content(folder, others=None, **spec)
        assert content(folder, others=Others(size), **spec) == expected


def write(folder: Path, *texts: str) -> Path:
    (folder / "log").mkdir()
    for number, text in enumerate(texts):
        (folder / "log" / f"{number}.csv").write_text(text)
    return folder


def test_a_column_that_turns_out_to_be_text_is_read_again_where_it_was_numbers(tmp_path: Path) -> None:
    write(tmp_path, "a,b\n1,1\n007,2\n", "a,b\n2,3\n", "a,b\n,4.5\n", "a,b\n1.50,x\n")
    others = Others(4)
    found = content(tmp_path, others=others)
    assert found == content(tmp_path, others=None)
    assert found[3] == {"a": "['1', '007', '2', None, '1.50']", "b": "['1', '2', '3', '4.5', 'x']"}
    first, again = others.ran
    assert [job is not None and job.text for job in again] == [("b",), ("a", "b"), ("b",), ("a",)]
    assert [(job.first, len(job.files)) for job in first if job] == [(0, 1), (1, 1), (2, 1), (3, 1)]


def test_parquet_of_all_kinds_of_columns(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    for number in range(3):
        pl.DataFrame(
            {
                "user": [f"u{number}", None, "u0"],
                "day": [date(2026, 1, 1 + number)] * 3,
                "ok": [True, None, number == 1],
                "tags": [["a"], [], None],
                "few": pl.Series([1, 2, None], dtype=pl.UInt8),
                "nothing": pl.Series([None] * 3, dtype=pl.Null),
            }
        ).write_parquet(tmp_path / "log" / f"{number}.parquet")
    assert content(tmp_path, others=Others(2)) == content(tmp_path, others=None)
    wanted = content(tmp_path, others=Others(3), columns=["few", "user"])
    assert list(wanted[3]) == ["user", "few"]


@pytest.mark.parametrize(
    ("texts", "spec"),
    [
        (("a,b\n1,2\n", "a,b\n3,4\n5\n"), {}),  # a row that is too short, in the second part
        (("a,b\n1,2\n", "a,c\n3,4\n"), {}),  # other columns
        (("a,b\n1,2\n", "b,a\n3,4\n", "a,b\n5,6\n"), {}),  # another order, which is none
        (("a,b\n1,2\n", "a,b\nx,4\n"), {"types": {"a": "integer"}}),
        (("a,b\n1,2\n", "a,b\nx,4\n3\n1,2,3\n"), {"types": {"a": "integer"}, "on_bad_rows": "skip"}),
        (("a,b\n", "a,b\n"), {}),  # no rows
        (("a,b\n", "b,a\n1,x\n"), {}),  # the order is that of the first file, though it has no rows
        (("a,b\n1,\n", "a,b\n"), {}),  # one part without
        (("a,b\n1,\n", "a,b\n,\n"), {"fill": {"b": 7}}),
        (("a,b\n1,\n", "a,b\n,\n"), {"fill": {"c": 7}}),
        (("a,b\n1,\n", "a,b\n,x\n"), {"fill": {"a": "?"}}),
        (("a,b\n1,2\n", ""), {}),  # an empty file
        (("a,b\n1,2\n", "a,b\n3,4\n"), {"columns": ["a", "d"]}),
        (("a,b\n1,2\n", "a,b\n3,4\n"), {"columns": ["b"]}),
    ],
)
def test_what_is_wrong_is_said_as_one_process_does(texts: tuple[str, ...], spec: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path, *texts)
    expected = content(tmp_path, others=None, **spec)
    for size in (2, 3):
        assert content(tmp_path, others=Others(size), **spec) == expected
        for path in (tmp_path / "several").rglob("*"):
            assert "part" not in path.name


class Elsewhere(Others):
    """The last process sees another folder: files that are not there yet, or are longer."""

    def __init__(self, size: int, write: Callable[[], None]) -> None:
        super().__init__(size)
        self.write = write

    def run(self, jobs: Sequence[PartJob | None], why: str) -> list[PartDone | None]:
        self.write()
        return super().run(jobs, why)


@pytest.mark.parametrize("other", ["longer", "fewer", "none"])
def test_a_machine_that_sees_other_files_is_told_of(other: str, tmp_path: Path) -> None:
    write(tmp_path, "a\n1\n", "a\n2\n", "a\n3\n", "a\n4\n")

    def change() -> None:
        if other == "longer":
            (tmp_path / "log" / "2.csv").write_text("a\n30\n")
        for name in {"longer": [], "fewer": ["3"], "none": ["2", "3"]}[other]:
            (tmp_path / "log" / f"{name}.csv").unlink()

    said = content(tmp_path, others=Elsewhere(2, change))
    assert "sees other files there than the machine of rank 0: all have to see the same" in said
    assert not list((tmp_path / "several").rglob(MANIFEST))


def test_a_fill_of_no_column_is_told_before_anything_is_converted(tmp_path: Path) -> None:
    write(tmp_path, "a\n1\n", "a\n2\n")
    others = Others(2)
    assert "'b'" in content(tmp_path, others=others, fill={"b": 1})
    assert others.ran == []


def test_lists_are_cut_as_one_process_cuts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twotower.columnar.parts._CHUNK", 1000)
    (tmp_path / "log").mkdir()
    for number in range(4):
        rows = 3000 + 700 * number
        frame = pl.DataFrame({"tags": [["a"] * (row % 3) for row in range(rows)], "n": range(rows)})
        frame.write_parquet(tmp_path / "log" / f"{number}.parquet", row_group_size=1700)
    assert content(tmp_path, others=Others(2)) == content(tmp_path, others=None)


def test_where_not_all_see_the_folder_one_process_converts(tmp_path: Path) -> None:
    write(tmp_path, "a\n1\n", "a\n2\n")
    others = Others(2, seen=False)
    assert content(tmp_path, others=others) == content(tmp_path, others=None)
    assert others.ran == []


def test_one_file_is_not_divided_and_a_second_time_nothing_is(tmp_path: Path) -> None:
    write(tmp_path, "a\n1\n")
    others = Others(2)
    content(tmp_path, others=others)
    assert others.ran == []
    (tmp_path / "log" / "1.csv").write_text("a\n2\n")
    content(tmp_path, others=others)
    content(tmp_path, others=others)
    assert len(others.ran) == 1


def test_progress_ends_at_all_bytes(tmp_path: Path) -> None:
    write(tmp_path, "a\n1\n", "a\n2\n")
    told: list[Converting] = []
    config = TableConfig(path="log")
    open_table(config, noun="log", base_dir=tmp_path, cache_dir=tmp_path / "cache", listener=told.append, divide=Others(2))
    assert (told[-1].rows, told[-1].bytes_read) == (2, 8)


@given(
    sizes=st.lists(st.integers(0, 100), min_size=1, max_size=12),
    parts=st.integers(1, 14),
)
def test_parts_are_all_files_in_order_and_about_as_large(sizes: list[int], parts: int) -> None:
    found = divide_files(sizes, parts)
    assert [place for part in found for place in part] == list(range(len(sizes)))
    assert len(found) == min(parts, len(sizes))
    assert all(len(part) for part in found)
    if len(found) < len(sizes) / 2 and min(sizes) > 0:
        assert max(sum(sizes[place] for place in part) for part in found) <= sum(sizes) / len(found) + 2 * max(sizes)
