"""Vectors and their ids as files that are written some rows at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from numpy.typing import NDArray

__all__ = ["VectorBlock", "VectorLayout", "write_matrix", "write_table"]

VectorLayout: TypeAlias = Literal["parquet", "npy"]
"""``parquet``: ids and vectors in one table. ``npy``: a matrix, and its ids in a file beside it."""

VectorBlock: TypeAlias = tuple[pl.Series, NDArray[np.float32]]
"""Ids ``[B]`` and their vectors ``[B, D]``."""


def write_table(
    path: Path,
    blocks: Iterable[VectorBlock],
    *,
    id_column: str,
    width: int,
    facts: Mapping[str, str],
    listener: Callable[[int], None],
) -> None:
    """Write a Parquet file of the ids, under the name of their column, and ``vector``: lists of float32, all of one length.

    Args:
        path: The file.
        blocks: The rows, in order; each becomes a row group.
        id_column: Name of the ids' column; ``vector`` becomes ``vector_id``.
        width: D.
        facts: Kept in the metadata, each under its name after ``twotower.``.
        listener: Told after every block how many rows are written.
    """
    name = "vector_id" if id_column == "vector" else id_column
    metadata = {f"twotower.{key}": value for key, value in facts.items()}
    writer, rows = None, 0
    try:
        for ids, vectors_BD in blocks:
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(vectors_BD).ravel()), width)
            table = pa.table({name: ids.to_arrow(), "vector": vectors})
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema.with_metadata(metadata), compression="zstd")
            writer.write_table(table.replace_schema_metadata(metadata))
            rows += len(ids)
            listener(rows)
    finally:
        if writer is not None:
            writer.close()


def write_matrix(
    path: Path, ids_path: Path, blocks: Iterable[VectorBlock], *, rows: int, width: int, listener: Callable[[int], None]
) -> None:
    """Write a ``.npy`` file, float32 ``[rows, width]``, and a file of its ids: one JSON value a line, in the same order.

    Args:
        path: Of the matrix; it is mapped, so that no more than a block is in memory.
        ids_path: Of the ids.
        blocks: The rows, in order.
        rows: How many there are in all.
        width: D.
        listener: Told after every block how many rows are written.
    """
    matrix_ND = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype("<f4"), shape=(rows, width))
    start = 0
    with ids_path.open("w", encoding="utf-8") as file:
        for ids, vectors_BD in blocks:
            matrix_ND[start : start + len(ids)] = vectors_BD
            file.writelines(f"{json.dumps(each, ensure_ascii=False)}\n" for each in ids.to_list())
            start += len(ids)
            listener(start)
    matrix_ND.flush()
