"""One Parquet file, read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from polars.exceptions import PolarsError

from twotower.data.source_files import SourceFile
from twotower.errors import TableReadError

__all__ = ["parquet_schema", "read_parquet_batches"]

_BATCH_ROWS = 1 << 17


def read_parquet_batches(file: SourceFile, *, noun: str) -> Iterator[tuple[pl.DataFrame, int]]:
    """Read a Parquet file; categories become text.

    Args:
        file: The file.
        noun: What the table is called in an error.

    Yields:
        Rows that follow one another (first of all none, with the columns), and about how many bytes of the file were read.

    Raises:
        TableReadError: If it is no Parquet file, or is damaged.
    """
    try:
        with file.open() as raw:
            table = pq.ParquetFile(raw)
            rows = max(table.metadata.num_rows, 1)
            yield _frame(table.schema_arrow.empty_table()), 0
            done = 0
            for batch in table.iter_batches(batch_size=_BATCH_ROWS, use_threads=True):
                done += batch.num_rows
                yield _frame(pa.Table.from_batches([batch])), file.size * done // rows
    except (pa.ArrowException, PolarsError, OSError) as error:
        raise _unreadable(file, noun, error) from None


def parquet_schema(file: SourceFile, *, noun: str) -> pl.Schema:
    """Names and types of a Parquet file's columns, from its last bytes.

    Raises:
        TableReadError: If it is no Parquet file.
    """
    try:
        with file.open() as raw:
            return _frame(pq.ParquetFile(raw).schema_arrow.empty_table()).schema
    except (pa.ArrowException, PolarsError, OSError) as error:
        raise _unreadable(file, noun, error) from None


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))


def _unreadable(file: SourceFile, noun: str, error: Exception) -> TableReadError:
    first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return TableReadError(f"{noun} {file.name}: can't be read as Parquet ({first_line}); write or fetch the file again")
