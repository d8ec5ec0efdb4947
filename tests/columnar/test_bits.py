"""Packed bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from twotower.columnar.bits import BitFile


@given(st.lists(st.lists(st.booleans(), max_size=20), max_size=8))
def test_they_are_as_arrow_reads_them(parts: list[list[bool]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "bits"
        bits = BitFile(path)
        for part in parts:
            bits.append(np.array(part, dtype=np.bool_))
        bits.close()
        bits.close()
        content = path.read_bytes()
    flat = [value for part in parts for value in part]
    assert len(content) == (len(flat) + 7) // 8
    array = pa.Array.from_buffers(pa.bool_(), len(flat), [None, pa.py_buffer(content)])
    assert array.to_pylist() == flat


def test_one_value_many_times(tmp_path: Path) -> None:
    bits = BitFile(tmp_path / "bits")
    bits.append(np.array([False, True]))
    bits.append_same(True, 3_000_000)
    bits.append_same(False, 0)
    bits.close()
    found = np.unpackbits(np.fromfile(tmp_path / "bits", np.uint8), bitorder="little")
    assert found[:3_000_002].tolist() == [0, *[1] * 3_000_001]
