"""Of a text file, only the wanted columns are read; what the others hold is not looked at."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.columnar import open_table
from twotower.data import TableConfig
from twotower.data.bad_rows import BadRows
from twotower.data.first_record import TextFormat
from twotower.data.source_files import find_files
from twotower.data.table_batches import read_batches
from twotower.errors import TableReadError

LOG = 'user,item,age,note\nu1,i1,31,"a, b"\nu2,i2,,x\nu1,i3,old,y\n'
TYPES = {"user": "string", "age": "integer"}


def config(path: Path, **chosen: object) -> TableConfig:
    return TableConfig.model_validate({"path": str(path), "types": TYPES, **chosen})


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


def test_only_wanted_columns_are_parsed(log: Path) -> None:
    batches = list(
        read_batches(
            find_files(log, noun="log"),
            TextFormat(None, True, None, '"', False),
            {},
            noun="log",
            bad_rows=BadRows("error"),
            wanted=("note", "user"),
        )
    )
    assert batches[0].frame.columns == ["user", "item", "age", "note"]
    assert [batch.frame.columns for batch in batches[1:]] == [["user", "note"]]
    assert batches[1].frame.rows() == [("u1", "a, b"), ("u2", "x"), ("u1", "y")]


def test_a_column_that_nobody_wants_may_hold_anything(log: Path, tmp_path: Path) -> None:
    with pytest.raises(TableReadError, match=r"'age' is declared integer, but data row 2"):
        config(log).read()
    found = config(log).read_with_report(wanted=("item", "user"))
    assert found.frame.rows() == [("u1", "i1"), ("u2", "i2"), ("u1", "i3")]
    assert found.report.ignored == ("age", "note")
    table = open_table(config(log), noun="log", base_dir=None, cache_dir=tmp_path / "cache", columns=("item", "user"))
    assert table.frame.cast(pl.String).equals(found.frame)
    with pytest.raises(TableReadError, match=r"'age' is declared integer, but data row 2"):
        open_table(config(log), noun="log", base_dir=None, cache_dir=tmp_path / "cache", columns=("item", "age"))


def test_which_rows_are_skipped_does_not_depend_on_the_wanted_columns(log: Path, tmp_path: Path) -> None:
    skipping = config(log, on_bad_rows="skip")
    found = skipping.read_with_report(wanted=("item",))
    assert found.frame["item"].to_list() == ["i1", "i2"]
    assert found.report.skipped.counts == {"value of another type": 1}
    table = open_table(skipping, noun="log", base_dir=None, cache_dir=tmp_path / "cache", columns=("item",))
    assert table.frame["item"].cast(pl.String).to_list() == ["i1", "i2"]


def test_the_number_of_fields_is_counted_whatever_is_wanted(log: Path) -> None:
    log.write_text(LOG + "u9,i9\n")
    with pytest.raises(TableReadError, match=r"every row needs 4 fields like the first, but data row 3"):
        config(log, types={}).read_with_report(wanted=("user",))


def test_fills_and_types_of_columns_that_are_not_there_are_faults_all_the_same(log: Path) -> None:
    with pytest.raises(TableReadError, match=r"no column 'agee', which `fill` names"):
        config(log, types={}, fill={"agee": 3}).read_with_report(wanted=("user",))
    with pytest.raises(TableReadError, match=r"no column 'agee', which `types` declares"):
        config(log, types={"agee": "integer"}).read_with_report(wanted=("user",))
    found = config(log, types={}, fill={"age": "30", "user": "unknown"}).read_with_report(wanted=("user",))
    assert found.report.filled == {"user": 0}


def test_a_table_that_has_none_of_them_is_read_whole(log: Path) -> None:
    found = config(log, types={}).read_with_report(wanted=("viewer",))
    assert found.frame.shape == (3, 4)
    assert found.report.ignored == ()


FIELD = st.text(alphabet="ab1 ,\"\n'é", max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(FIELD, FIELD, FIELD), min_size=1, max_size=6),
    wanted=st.sets(st.sampled_from(["a", "b", "c"]), min_size=1),
    index=st.booleans(),
    zipped=st.booleans(),
)
def test_wanted_columns_are_those_of_the_whole_table(
    rows: list[tuple[str, str, str]], wanted: set[str], index: bool, zipped: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def quoted(fields: tuple[str, ...]) -> str:
        return ",".join('"' + field.replace('"', '""') + '"' for field in fields)

    lines = [quoted((*([""] if index else []), "a", "b", "c"))]
    lines += [quoted((*([str(row)] if index else []), *fields)) for row, fields in enumerate(rows)]
    path = tmp_path_factory.mktemp("wanted") / ("log.csv.gz" if zipped else "log.csv")
    content = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(content) if zipped else content)
    table = config(path, types=dict.fromkeys("abc", "string"), index_column=index)
    whole = table.read_with_report().frame
    assert table.read_with_report(wanted=wanted).frame.equals(whole.select(sorted(wanted)))
