"""Reading tables from every kind of source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from twotower.config import parse_config
from twotower.data import ColumnType, TableConfig, read_table
from twotower.errors import ConfigError, TableReadError

pd = pytest.importorskip("pandas")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pl.DataFrame({"user": ["a"], "item": [1]}).write_parquet(tmp_path / "part-1.parquet")
    pl.DataFrame({"item": [2], "user": ["b"]}).write_parquet(tmp_path / "part-0.parquet")
    return tmp_path


def test_one_parquet_file(folder: Path) -> None:
    assert read_table(folder / "part-1.parquet").rows() == [("a", 1)]


def test_a_folder_is_read_in_the_order_of_names_and_columns_are_matched_by_name(folder: Path) -> None:
    (folder / "_SUCCESS").write_text("")
    frame = read_table(str(folder)).select("user", "item")
    assert frame.rows() == [("b", 2), ("a", 1)]


def test_a_glob_of_parquet_or_text(folder: Path) -> None:
    assert read_table(folder / "part-*.parquet").height == 2
    (folder / "x1.csv").write_text("u\n1\n")
    (folder / "x2.csv").write_text("u\nk\n")
    assert read_table(folder / "x?.csv")["u"].to_list() == ["1", "k"]  # one type over all files


def test_a_file_whose_name_looks_like_a_glob(tmp_path: Path) -> None:
    (tmp_path / "a[1].csv").write_text("u\n1\n")
    pl.DataFrame({"u": [7]}).write_parquet(tmp_path / "a[1].parquet")
    assert read_table(tmp_path / "a[1].csv")["u"].to_list() == [1]
    assert read_table(tmp_path / "a[1].parquet")["u"].to_list() == [7]


def test_polars_lazy_and_pandas_frames() -> None:
    frame = pl.DataFrame({"user": ["a", "b"], "n": [1, 2]})
    assert read_table(frame).equals(frame)
    assert read_table(frame.lazy()).equals(frame)
    assert read_table(pd.DataFrame({"user": ["a", "b"], "n": [1, 2]})).cast({"user": pl.String}).equals(frame)


def test_types_apply_to_frames_too() -> None:
    assert read_table(pl.DataFrame({"user": [1]}), types={"user": "string"}).schema == {"user": pl.String}
    assert read_table(pd.DataFrame({"user": [1.0, 2.0]}), types={"user": "integer"}).rows() == [(1,), (2,)]


def test_pandas_is_not_imported_unless_handed_in() -> None:
    program = "import sys, polars as pl; from twotower.data import read_table; read_table(pl.DataFrame({'a': [1]})); "
    done = subprocess.run([sys.executable, "-c", program + "sys.exit('pandas' in sys.modules)"], check=False, timeout=120)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("make", "pattern"),
    [
        (lambda path: path / "none.csv", "no such file or folder; check"),
        (lambda path: path / "no" / "none.csv", "there is no folder"),
        (lambda path: path, r"no Parquet files.*glob such as"),
        (lambda path: path / "*.csv", "no file matches the glob"),
    ],
)
def test_paths_that_lead_nowhere(tmp_path: Path, make: object, pattern: str) -> None:
    assert callable(make)
    with pytest.raises(TableReadError, match=pattern):
        read_table(make(tmp_path), noun="ratings")


def test_parquet_files_that_disagree_on_a_type(folder: Path) -> None:
    pl.DataFrame({"user": ["c"], "item": ["x"]}).write_parquet(folder / "part-2.parquet")
    with pytest.raises(
        TableReadError, match=r"'item' must have one type, but is Int64 in .*part-0.parquet and String in .*part-2"
    ):
        read_table(folder)


def test_parquet_files_that_disagree_on_columns(folder: Path) -> None:
    pl.DataFrame({"user": ["c"], "thing": [1]}).write_parquet(folder / "part-2.parquet")
    with pytest.raises(TableReadError, match=r"part-0.parquet and .*part-2.parquet must have the same columns.*: item, thing"):
        read_table(folder)


def test_damaged_parquet(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(TableReadError, match=r"x.parquet: can't be read as Parquet"):
        read_table(tmp_path / "x.parquet")


def test_no_rows(tmp_path: Path) -> None:
    with pytest.raises(TableReadError, match=r"ratings: 0 rows \(columns: u, i\)"):
        read_table(pl.DataFrame({"u": [], "i": []}), noun="ratings")
    (tmp_path / "x.csv").write_text("u,i\n")
    with pytest.raises(TableReadError, match=r"x.csv: 0 rows \(columns: u, i\)"):
        read_table(tmp_path / "x.csv")


def test_a_value_of_the_wrong_type_is_found_in_its_file(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("u,rating\na,1\nb,2\n")
    (tmp_path / "2.csv").write_text("u,rating\nc,3\nd,good\n")
    with pytest.raises(
        TableReadError, match=r"2.csv: column 'rating' is declared float, but data row 1 \(counted from 0\) holds 'good'"
    ):
        read_table(tmp_path / "*.csv", types={"rating": "float"})


def test_pandas_frames_that_are_no_tables() -> None:
    with pytest.raises(TableReadError, match="came twice: a"):
        read_table(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(TableReadError, match="can't be read as a table"):
        read_table(pd.DataFrame({"a": [1, "x", b"y"]}))


def test_a_lazy_frame_that_fails() -> None:
    with pytest.raises(TableReadError, match="can't be read as a table"):
        read_table(pl.LazyFrame({"a": [1]}).select("b"))


def test_other_sources_are_refused() -> None:
    with pytest.raises(TypeError, match=r"came builtins.dict"):
        read_table({"a": [1]})  # type: ignore[arg-type]


def test_columns_are_for_files_without_a_header_only() -> None:
    with pytest.raises(ValueError, match="without a header needs `columns`"):
        read_table("x.csv", header=False)
    with pytest.raises(ValueError, match="without a header only"):
        read_table("x.csv", columns=["a"])


def test_config_reads_relative_to_its_folder_with_every_argument(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("1|'a|b'\n2|c\n")
    config = TableConfig(path="x.txt", separator="|", header=False, columns=("n", "name"), types={"n": "string"}, quote="'")
    assert config.read(base_dir=tmp_path).to_dict(as_series=False) == {"n": ["1", "2"], "name": ["a|b", "c"]}
    assert TableConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(TableReadError, match=r"^ratings x\.csv: no such file"):
        TableConfig(path="x.csv").read(noun="ratings")


def test_config_refuses_what_cannot_be_read() -> None:
    with pytest.raises(ConfigError, match='columns must be given exactly when header is false or "skip"'):
        parse_config(TableConfig, {"path": "x", "header": False})
    with pytest.raises(ConfigError, match=r"types\.a"):
        parse_config(TableConfig, {"path": "x", "types": {"a": "int"}})


def test_a_header_that_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("A,B\n1,a\n")
    assert read_table(tmp_path / "x.csv", header="skip", columns=["n", "name"]).rows(named=True) == [{"n": 1, "name": "a"}]
    assert TableConfig(path="x.csv", header="skip", columns=("n", "name")).read(base_dir=tmp_path).columns == ["n", "name"]
    with pytest.raises(ConfigError, match="columns must be given exactly"):
        parse_config(TableConfig, {"path": "x", "header": "skip"})


@pytest.mark.parametrize("content", [",user,n\n0,a,1\n1,b,2\n", "user,n\n0,a,1\n1,b,2\n"])
def test_an_index_column_is_left_out(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.csv").write_text(content)
    assert read_table(tmp_path / "x.csv", index_column=True).to_dict(as_series=False) == {"user": ["a", "b"], "n": [1, 2]}
    assert TableConfig(path="x.csv", index_column=True).read(base_dir=tmp_path).width == 2
    config = TableConfig(path="y.csv", index_column=True, header=False, columns=("user", "n"))
    (tmp_path / "y.csv").write_text("7,a,1\n8,b\n")
    with pytest.raises(TableReadError, match=r"needs 3 fields like the first, but data row 1 \(counted from 0\) has 2"):
        config.read(base_dir=tmp_path)


def test_missing_values_are_filled_after_types(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("age,lang\n,en\n31,\n")
    read = TableConfig(path="x.csv", fill={"age": 30, "lang": "unknown"}).read_with_report(base_dir=tmp_path)
    assert read.frame.rows() == [(30, "en"), (31, "unknown")]
    assert read.report.filled == {"age": 1, "lang": 1}
    assert read_table(pl.DataFrame({"age": [None, 1]}), fill={"age": 2})["age"].to_list() == [2, 1]
    with pytest.raises(TableReadError, match=r"x.csv: column 'age' is Int64, and `fill` has 'old'"):
        read_table(tmp_path / "x.csv", fill={"age": "old"})


def test_fill_values_keep_the_type_in_which_they_are_written() -> None:
    config = parse_config(TableConfig, {"path": "x", "fill": {"a": 1, "b": 1.0, "c": "1", "d": True}})
    assert [type(value) for value in config.fill.values()] == [int, float, str, bool]


def test_floats_of_32_bits(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x\n0.1\n3\n")
    assert read_table(tmp_path / "x.csv", types={"x": "float32"}).schema == {"x": pl.Float32}
    assert read_table(pl.DataFrame({"x": [1]}), types={"x": "float32"}).schema == {"x": pl.Float32}


def test_bad_rows_are_an_error_or_are_skipped_with_an_account(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"u,n\na,1\nb\nc,x\n\xff,2\nd,3\n")
    types: dict[str, ColumnType] = {"n": "integer"}
    with pytest.raises(TableReadError, match=r"data row 1 \(counted from 0\) has 1"):
        read_table(tmp_path / "x.csv", types=types)
    assert read_table(tmp_path / "x.csv", types=types, on_bad_rows="skip").rows() == [("a", 1), ("d", 3)]
    found = TableConfig(path="x.csv", types=types, on_bad_rows="skip").read_with_report(base_dir=tmp_path)
    assert found.report.rows == 2
    assert [(bad.row, bad.reason) for bad in found.report.skipped.sample] == [
        (1, "wrong number of fields"),
        (2, "value of another type"),
        (3, "not UTF-8"),
    ]


def test_bad_values_of_a_data_frame_are_skipped_too() -> None:
    frame = pl.DataFrame({"n": ["1", "x"]})
    with pytest.raises(TableReadError, match=r"column 'n' is declared integer, but data row 1 \(counted from 0\) holds 'x'"):
        read_table(frame, types={"n": "integer"})
    assert read_table(frame, types={"n": "integer"}, on_bad_rows="skip")["n"].to_list() == [1]


def test_types_are_inferred_from_the_rows_that_remain(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("n,m\n1,1\nx,no number\n")
    frame = read_table(tmp_path / "x.csv", types={"n": "integer"}, on_bad_rows="skip")
    assert frame.schema == {"n": pl.Int64, "m": pl.Int64}


def test_a_folder_of_text(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("u\nk\n")
    (tmp_path / "a.csv").write_text("u\n1\n")
    assert read_table(tmp_path)["u"].to_list() == ["1", "k"]
