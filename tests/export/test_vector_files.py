"""Files of vectors, block by block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from twotower.export.vector_files import write_matrix, write_table

BLOCKS = [
    (pl.Series(["a", 'b"\n']), np.array([[1, 2], [3, 4]], dtype=np.float32)),
    (pl.Series(["ö"]), np.array([[5, 6], [7, 8]], dtype=np.float32)[:1]),
]
VECTORS = [[1, 2], [3, 4], [5, 6]]


def test_a_table(tmp_path: Path) -> None:
    told: list[int] = []
    path = tmp_path / "v.parquet"
    write_table(path, BLOCKS, id_column="item", width=2, facts={"score": "dot"}, listener=told.append)
    frame = pl.read_parquet(path)
    assert frame["item"].to_list() == ["a", 'b"\n', "ö"]
    assert frame["vector"].to_list() == VECTORS
    assert frame.schema["vector"] == pl.Array(pl.Float32, 2)
    assert told == [2, 3]
    assert pq.ParquetFile(path).num_row_groups == 2
    assert pq.read_schema(path).metadata[b"twotower.score"] == b"dot"


def test_ids_in_a_column_named_vector(tmp_path: Path) -> None:
    write_table(tmp_path / "v.parquet", BLOCKS, id_column="vector", width=2, facts={}, listener=lambda _: None)
    assert pl.read_parquet(tmp_path / "v.parquet").columns == ["vector_id", "vector"]


def test_a_matrix(tmp_path: Path) -> None:
    told: list[int] = []
    write_matrix(tmp_path / "v.npy", tmp_path / "v.ids.jsonl", BLOCKS, rows=3, width=2, listener=told.append)
    found = np.load(tmp_path / "v.npy")
    assert (found.tolist(), found.dtype) == (VECTORS, np.float32)
    assert (tmp_path / "v.ids.jsonl").read_text(encoding="utf-8") == '"a"\n"b\\"\\n"\n"ö"\n'
    assert told == [2, 3]


def test_integers_as_ids(tmp_path: Path) -> None:
    blocks = [(pl.Series([7, 2**60]), np.zeros((2, 1), dtype=np.float32))]
    write_matrix(tmp_path / "v.npy", tmp_path / "v.ids.jsonl", blocks, rows=2, width=1, listener=lambda _: None)
    assert (tmp_path / "v.ids.jsonl").read_text() == f"7\n{2**60}\n"
