"""Reading tables: text, Parquet, folders and globs of them, and data frames, by one function with declared types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import polars as pl
from polars.exceptions import PolarsError
from pydantic import Field, model_validator

from twotower.config import Config
from twotower.data.column_types import ColumnType, declare_types, infer_types
from twotower.data.text_file import read_text_file
from twotower.errors import TableReadError

__all__ = ["TableConfig", "TableSource", "read_table"]


class PandasFrame(Protocol):
    """A pandas data frame, told by its shape so that pandas is not needed to say so."""

    columns: Any
    index: Any

    def itertuples(self) -> Any: ...


TableSource: TypeAlias = str | Path | pl.DataFrame | pl.LazyFrame | PandasFrame
"""A path (file, folder of Parquet, glob) or a data frame."""

_PARQUET = (".parquet", ".pq")


def read_table(
    source: TableSource,
    *,
    noun: str = "table",
    separator: str | None = None,
    header: bool = True,
    columns: Sequence[str] | None = None,
    types: Mapping[str, ColumnType] | None = None,
    quote: str | None = '"',
) -> pl.DataFrame:
    """Read a table and give its columns their types.

    Columns of text files that are not declared become integers or floats only where no digit is lost by it
    (``007`` stays text); a column of dates has to be declared. Several files are read in the order of their names, as one.

    Args:
        source: Path of a CSV or TSV file (``.gz`` too), of a Parquet file, of a folder that holds Parquet files, or a glob of
            either; or a polars or pandas data frame (a pandas index is left out).
        noun: What the table is called in an error, for instance ``"items"``.
        separator: Of text files. None: a tab where the name ends in ``.tsv``, else a comma.
        header: Whether the first row of a text file names the columns.
        columns: Names of the columns of text files without a header; needed there, refused elsewhere.
        types: Declared types by column: ``string integer float datetime boolean``. Applied to every kind of source.
        quote: Quote character of text files; None: quotes are text like any other.

    Returns:
        At least one row, in the order of the source.

    Raises:
        TableReadError: If the source is missing, damaged, empty or ragged, or holds what was not declared. Row numbers in
            messages count data rows from 0.
        TypeError: If the source is neither a path nor a data frame.

    Example:
        >>> read_table(pl.DataFrame({"user": [1, 2]}), types={"user": "string"})["user"].to_list()
        ['1', '2']
    """
    if header == (columns is not None):
        rule = "a table without a header needs `columns`" if not header else "`columns` is for tables without a header only"
        raise ValueError(f"{rule}; came header={header}, columns={columns}")
    declared = types or {}
    if isinstance(source, str | Path):
        parts = []
        for path in _files(Path(source), noun):
            if path.suffix.lower() in _PARQUET:
                parts.append((path, _read_parquet(path, noun)))
            else:
                text = read_text_file(path, noun=noun, separator=separator, header=header, columns=columns, quote=quote)
                parts.append((path, text))
        frame = _stacked(parts, noun)
        frame = infer_types(frame, declared=declared) if any(p.suffix.lower() not in _PARQUET for p, _ in parts) else frame
    else:
        parts = []
        frame = _from_frame(source, noun)
    name = f"{noun} {source}" if parts else noun
    if frame.is_empty():
        raise TableReadError(f"{name}: 0 rows (columns: {', '.join(frame.columns) or 'none'}); a table needs at least one row")
    return declare_types(frame, declared, noun=name, locate=lambda row: _location(row, parts))


class TableConfig(Config):
    """Where a table lies and how it is read: the arguments of `read_table`, in a form that goes into a recipe.

    Attributes:
        path: File, folder of Parquet files, or glob; relative to ``base_dir`` when it is read.
        separator: Of text files; None: a tab for ``.tsv``, else a comma.
        header: Whether the first row of a text file names the columns.
        columns: Names of the columns of text files without a header.
        types: Declared types by column.
        quote: Quote character of text files; None: quotes are text.
    """

    path: str = Field(min_length=1)
    separator: str | None = Field(default=None, min_length=1, max_length=1)
    header: bool = True
    columns: tuple[str, ...] | None = None
    types: dict[str, ColumnType] = Field(default_factory=dict)
    quote: str | None = Field(default='"', min_length=1, max_length=1)

    @model_validator(mode="after")
    def _columns_and_header(self) -> TableConfig:
        if self.header == (self.columns is not None):
            raise ValueError("columns must be given exactly when header is false")
        return self

    def read(self, *, noun: str = "table", base_dir: Path | None = None) -> pl.DataFrame:
        """Read the table; see `read_table` for what it raises.

        Args:
            noun: What the table is called in an error.
            base_dir: Folder that a relative ``path`` starts from; None: the working directory.
        """
        return read_table(
            (base_dir or Path()) / self.path,
            noun=noun,
            separator=self.separator,
            header=self.header,
            columns=self.columns,
            types=self.types,
            quote=self.quote,
        )


def _files(path: Path, noun: str) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(entry for entry in path.iterdir() if entry.is_file() and entry.suffix.lower() in _PARQUET)
        if not files:
            raise TableReadError(
                f"{noun} {path}: the folder holds no Parquet files (*.parquet); name a file, "
                f"or a glob such as {path}/**/*.parquet"
            )
        return files
    if any(sign in str(path) for sign in "*?["):
        root = Path(path.anchor)
        files = sorted(entry for entry in root.glob(str(path.relative_to(path.anchor))) if entry.is_file())
        if not files:
            raise TableReadError(f"{noun} {path}: no file matches the glob; check the folder and the pattern")
        return files
    near = path.parent if path.parent.is_dir() else None
    hint = "" if near else f"; there is no folder {path.parent} either"
    raise TableReadError(f"{noun} {path}: no such file or folder{hint}; check the path")


def _read_parquet(path: Path, noun: str) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, glob=False, hive_partitioning=False)
    except (PolarsError, OSError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TableReadError(f"{noun} {path}: can't be read as Parquet ({first_line}); write or fetch the file again") from None


def _stacked(parts: Sequence[tuple[Path, pl.DataFrame]], noun: str) -> pl.DataFrame:
    first_path, first = parts[0]
    for path, frame in parts[1:]:
        if set(frame.columns) != set(first.columns):
            odd = sorted(set(frame.columns) ^ set(first.columns))
            raise TableReadError(f"{noun}: {first_path} and {path} must have the same columns; only one has: {', '.join(odd)}")
        for name, dtype in first.schema.items():
            if frame.schema[name] != dtype:
                raise TableReadError(
                    f"{noun}: column {name!r} must have one type, but is {dtype} in {first_path} and {frame.schema[name]} "
                    f"in {path}; write the files with one schema"
                )
    return pl.concat([frame.select(first.columns) for _, frame in parts]) if len(parts) > 1 else first


def _from_frame(source: Any, noun: str) -> pl.DataFrame:
    if isinstance(source, pl.DataFrame):
        return source
    try:
        if isinstance(source, pl.LazyFrame):
            return source.collect()
        if type(source).__module__.partition(".")[0] == "pandas" and type(source).__name__ == "DataFrame":
            if not source.columns.is_unique:
                twice = sorted({str(name) for name in source.columns[source.columns.duplicated()]})
                raise TableReadError(f"{noun}: every column needs its own name; came twice: {', '.join(twice)}")
            return pl.from_pandas(source)
    except (PolarsError, ValueError, TypeError) as error:  # pyarrow's own errors are ValueError and TypeError
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TableReadError(
            f"{noun}: the data frame can't be read as a table ({first_line}); give each column one type"
        ) from None
    raise TypeError(
        f"a table is a path or a polars or pandas DataFrame; came {type(source).__module__}.{type(source).__name__}"
    )


def _location(row: int, parts: Sequence[tuple[Path, pl.DataFrame]]) -> str:
    for path, frame in parts:
        if row < frame.height:
            return f"row {row} of {path}"
        row -= frame.height
    return f"row {row}"
