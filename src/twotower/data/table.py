"""Reading tables: text, Parquet, folders and globs of them, and data frames, by one function with declared types."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import polars as pl
from polars.exceptions import PolarsError
from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from twotower.config import Config
from twotower.data.bad_rows import BadRows, BadRowsPolicy, SkippedRows
from twotower.data.column_types import ColumnType, infer_types
from twotower.data.fill import FillValue, fill_missing, require_filled_columns
from twotower.data.first_record import HeaderRule, TextFormat
from twotower.data.sampled_lines import Sample, sampled_lines
from twotower.data.source_files import SourceFile, find_files, is_url
from twotower.data.table_batches import declare_batch, read_batches
from twotower.data.table_report import TableReport
from twotower.errors import TableReadError

__all__ = ["ReadTable", "TableConfig", "TableSource", "no_rows", "read_table", "read_table_with_report"]


class PandasFrame(Protocol):
    """A pandas data frame, told by its shape so that pandas is not needed to say so."""

    columns: Any
    index: Any

    def itertuples(self) -> Any: ...


TableSource: TypeAlias = str | Path | pl.DataFrame | pl.LazyFrame | PandasFrame
"""A path or URL (file, folder, glob) or a data frame."""


def read_table(
    source: TableSource,
    *,
    noun: str = "table",
    separator: str | None = None,
    header: HeaderRule = True,
    columns: Sequence[str] | None = None,
    types: Mapping[str, ColumnType] | None = None,
    quote: str | None = '"',
    index_column: bool = False,
    fill: Mapping[str, FillValue] | None = None,
    on_bad_rows: BadRowsPolicy = "error",
) -> pl.DataFrame:
    """Read a table and give its columns their types.

    Columns of text files that are not declared become integers or floats only where no digit is lost by it
    (``007`` stays text); a column of dates has to be declared. Several files are read in the order of their names, as one.

    Args:
        source: Path of a CSV or TSV file (``.gz`` too), of a Parquet file, of a folder that holds files of one of these kinds,
            a glob, or an object-store URL of any of them (``s3://...``, through fsspec); or a polars or pandas data frame (a
            pandas index is left out).
        noun: What the table is called in an error, for instance ``"items"``.
        separator: Of text files. None: a tab where the name ends in ``.tsv``, else a comma.
        header: Whether the first row of a text file names the columns; ``"skip"``: it is there, and not read.
        columns: Names of the columns of text files whose header does not name them; needed there, refused elsewhere.
        types: Declared types by column: ``string integer float float32 datetime boolean``. Applied to every kind of source.
        quote: Quote character of text files; None: quotes are text like any other.
        index_column: Whether the first column of text files is a row number, mostly without a name, which is left out.
        fill: By column, what a missing value becomes; see `fill_missing`.
        on_bad_rows: What to do with a row that has too few or too many fields, bytes that are not UTF-8, or a value that is not
            of its declared type: ``error``, or ``skip`` (`read_table_with_report` says how many, and shows a few).

    Returns:
        At least one row, in the order of the source.

    Raises:
        TableReadError: If the source is missing, damaged, empty or ragged, or holds what was not declared. Row numbers in
            messages count data rows of the file from 0.
        MissingExtraError: If the package for a URL is not installed.
        TypeError: If the source is neither a path nor a data frame.

    Example:
        >>> read_table(pl.DataFrame({"user": [1, 2]}), types={"user": "string"})["user"].to_list()
        ['1', '2']
    """
    return read_table_with_report(
        source,
        noun=noun,
        separator=separator,
        header=header,
        columns=columns,
        types=types,
        quote=quote,
        index_column=index_column,
        fill=fill,
        on_bad_rows=on_bad_rows,
    ).frame


@dataclass(frozen=True, eq=False)
class ReadTable:
    """A table, and the account of reading it.

    Attributes:
        frame: At least one row.
        report: What was left out and what was filled in.
        sampled_from: Data rows of the source, where only a sample of them was read; else None.
    """

    frame: pl.DataFrame
    report: TableReport
    sampled_from: int | None = None


def read_table_with_report(
    source: TableSource,
    *,
    noun: str = "table",
    separator: str | None = None,
    header: HeaderRule = True,
    columns: Sequence[str] | None = None,
    types: Mapping[str, ColumnType] | None = None,
    quote: str | None = '"',
    index_column: bool = False,
    fill: Mapping[str, FillValue] | None = None,
    on_bad_rows: BadRowsPolicy = "error",
    wanted: Collection[str] | None = None,
    sample: Sample | None = None,
) -> ReadTable:
    """Read a table as `read_table` does, and say what was left out and filled in.

    Of files, only the ``wanted`` columns are returned (None: all) and the report names the others; see `read_batches`. Of a
    ``sample``, only the chosen rows are read where `sampled_lines` can take them; elsewhere the whole table is returned.
    """
    if (header is True) == (columns is not None):
        rule = "`columns` is for tables without a header only" if header is True else "a table without a header needs `columns`"
        raise ValueError(f"{rule}; came header={header!r}, columns={columns}")
    declared = types or {}
    bad_rows = BadRows(on_bad_rows)
    name = noun
    ignored: tuple[str, ...] = ()
    sampled_from: int | None = None
    if isinstance(source, str | Path):
        name = f"{noun} {source}"
        files = find_files(source, noun=noun)
        form = TextFormat(separator, header, None if columns is None else tuple(columns), quote, index_column)
        of_sample = None if sample is None or on_bad_rows != "error" else _sampled(files, form, declared, noun, wanted, sample)
        if of_sample is None:
            frame, ignored = _read_files(files, form, declared, noun, bad_rows, wanted)
        else:
            frame, ignored, sampled_from = of_sample
    else:
        raw = _from_frame(source, noun)
        frame = declare_batch(raw, declared, None, 0, np.arange(raw.height), noun=noun, bad_rows=bad_rows)
    skipped = bad_rows.skipped()
    if frame.is_empty():
        raise TableReadError(no_rows(name, [*frame.columns, *ignored], skipped))
    require_filled_columns(fill or {}, [*frame.columns, *ignored], noun=name)
    fills = {column: value for column, value in (fill or {}).items() if column not in ignored}
    frame, filled = fill_missing(frame, fills, noun=name)
    report = TableReport(rows=frame.height, skipped=skipped, ignored=ignored, filled=filled)
    return ReadTable(frame, report, sampled_from)


def _read_files(
    files: list[SourceFile],
    form: TextFormat,
    declared: Mapping[str, ColumnType],
    noun: str,
    bad_rows: BadRows,
    wanted: Collection[str] | None,
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The wanted columns, and the names of the others."""
    batches = read_batches(files, form, declared, noun=noun, bad_rows=bad_rows, wanted=wanted)
    head = next(batches).frame
    names = [column for column in head.columns if wanted is None or column in wanted] or head.columns
    ignored = tuple(column for column in head.columns if column not in names)
    frame = _joined([head.select(names), *(batch.frame.select(names) for batch in batches)])
    return infer_types(frame, declared=declared) if any(file.kind == "text" for file in files) else frame, ignored


def _sampled(
    files: list[SourceFile],
    form: TextFormat,
    declared: Mapping[str, ColumnType],
    noun: str,
    wanted: Collection[str] | None,
    sample: Sample,
) -> tuple[pl.DataFrame, tuple[str, ...], int] | None:
    """A sample's rows, the columns that are not wanted, and the rows of the file; None where all of it has to be read."""
    taken = sampled_lines(files, form, sample, wanted)
    if taken is None or not declared.keys() <= set(taken.names):  # the whole file says it
        return None
    types = {name: kind for name, kind in declared.items() if name in taken.frame.columns}
    if types.keys() < set(taken.frame.columns):  # a type that is not declared is that of all values
        return None
    rows = np.arange(taken.frame.height)
    try:
        frame = declare_batch(taken.frame, types, files[0], 0, rows, noun=noun, bad_rows=BadRows("error"))
    except TableReadError:  # the whole file says it better: there the rows have their numbers
        return None
    return frame, tuple(name for name in taken.names if name not in frame.columns), taken.rows


def _joined(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """One frame below the other, in one chunk; column by column, so that no more than one of them is there twice."""
    parts = [{column.name: column for column in frame.iter_columns()} for frame in frames]
    names = frames[0].columns
    frames.clear()
    return pl.DataFrame([pl.concat([part.pop(name) for part in parts], rechunk=True) for name in names])


def no_rows(name: str, columns: Sequence[str], skipped: SkippedRows) -> str:
    """The sentence about a table that holds nothing.

    Args:
        name: What it is called.
        columns: Its columns.
        skipped: What was left out of it.
    """
    left_out = f", {skipped.rows:,} were bad and skipped" if skipped.rows else ""
    return f"{name}: 0 rows{left_out} (columns: {', '.join(columns) or 'none'}); a table needs at least one row"


class TableConfig(Config):
    """Where a table lies and how it is read: the arguments of `read_table`, in a form that goes into a recipe.

    Attributes:
        path: File, folder of Parquet files or of text, glob, or object-store URL of one of these (``s3://bucket/log/*.parquet``);
            relative to ``base_dir`` when it is read.
        separator: Of text files; None: a tab for ``.tsv``, else a comma.
        header: Whether the first row of a text file names the columns; ``"skip"``: there is such a row, which is not read, and
            `columns` names the columns.
        columns: Names of the columns of text files whose header does not name them, without the index column.
        types: Declared types by column: ``string integer float float32 datetime boolean``.
        quote: Quote character of text files; None: quotes are text.
        index_column: Whether the first column of text files is a row number, mostly without a name, which is left out.
        fill: By column, what a missing value becomes: of the column's type, as in ``{ age = 30, country = "unknown" }``.
        on_bad_rows: What to do with a row that has too few or too many fields, bytes that are not UTF-8, or a value that is not
            of its declared type: ``error``, or ``skip`` (it is left out, counted by reason, and a few are shown).
    """

    path: str = Field(min_length=1)
    separator: str | None = Field(default=None, min_length=1, max_length=1)
    header: bool | Literal["skip"] = True
    columns: tuple[str, ...] | None = None
    types: dict[str, ColumnType] = Field(default_factory=dict)
    quote: str | None = Field(default='"', min_length=1, max_length=1)
    index_column: bool = False
    fill: dict[str, StrictBool | StrictInt | StrictFloat | StrictStr] = Field(default_factory=dict)
    on_bad_rows: BadRowsPolicy = "error"

    @model_validator(mode="after")
    def _columns_and_header(self) -> TableConfig:
        if (self.header is True) == (self.columns is not None):
            raise ValueError('columns must be given exactly when header is false or "skip"')
        return self

    @property
    def text_format(self) -> TextFormat:
        """How its text files are written."""
        return TextFormat(self.separator, self.header, self.columns, self.quote, self.index_column)

    def source(self, base_dir: Path | None = None) -> str | Path:
        """The path from a folder, or the URL."""
        return self.path if is_url(self.path) else (base_dir or Path()) / self.path

    def read(self, *, noun: str = "table", base_dir: Path | None = None) -> pl.DataFrame:
        """Read the table; see `read_table` for what it raises.

        Args:
            noun: What the table is called in an error.
            base_dir: Folder that a relative ``path`` starts from; None: the working directory.
        """
        return self.read_with_report(noun=noun, base_dir=base_dir).frame

    def read_with_report(
        self,
        *,
        noun: str = "table",
        base_dir: Path | None = None,
        wanted: Collection[str] | None = None,
        sample: Sample | None = None,
    ) -> ReadTable:
        """Read the table, and say what was left out and filled in.

        Args:
            noun: What the table is called in an error.
            base_dir: Folder that a relative ``path`` starts from; None: the working directory.
            wanted: Columns that are needed; one that is not there is no error. None, or where none of them is there: all.
            sample: Read these rows only, where that can be done: what is returned says whether it was.
        """
        return read_table_with_report(
            self.source(base_dir),
            noun=noun,
            separator=self.separator,
            header=self.header,
            columns=self.columns,
            types=self.types,
            quote=self.quote,
            index_column=self.index_column,
            fill=self.fill,
            on_bad_rows=self.on_bad_rows,
            wanted=wanted,
            sample=sample,
        )


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
