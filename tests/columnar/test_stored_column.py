"""Files that do not hold what their entry says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from twotower.columnar.manifest import ColumnEntry
from twotower.columnar.stored_column import map_column, release_pages


@pytest.fixture
def entry(tmp_path: Path) -> ColumnEntry:
    (tmp_path / "0.values").write_bytes(bytes([0, 1, 1]))
    pl.DataFrame({"categories": ["a", "b"]}).write_ipc(tmp_path / "0.categories", compression="uncompressed")
    return ColumnEntry(name="x", kind="text", dtype="UInt8", stem="0", categories=2)


def test_text_is_mapped(tmp_path: Path, entry: ColumnEntry) -> None:
    column = map_column(tmp_path, entry, 3)
    assert (column.name, column.dtype) == ("x", pl.Enum(["a", "b"]))
    assert column.to_list() == ["a", "b", "b"]


def test_what_does_not_fit_is_a_value_error(tmp_path: Path, entry: ColumnEntry) -> None:
    with pytest.raises(ValueError, match="2 categories in place of 3"):
        map_column(tmp_path, entry.model_copy(update={"categories": 3}), 3)
    (tmp_path / "0.values").write_bytes(bytes([0, 1, 7]))
    with pytest.raises(ValueError, match="column 'x'"):
        map_column(tmp_path, entry, 3)
    (tmp_path / "0.categories").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="column 'x'"):
        map_column(tmp_path, entry, 3)


def test_values_are_read_again_after_their_pages_were_given_back(tmp_path: Path) -> None:
    values = np.arange(3_000_000, dtype=np.uint32) % 1000
    (tmp_path / "0.values").write_bytes(values.tobytes())
    column = map_column(tmp_path, ColumnEntry(name="x", kind="number", dtype="UInt32", stem="0"), len(values))
    total = int(values.sum())
    assert column.sum() == total
    resident = mapped_bytes(tmp_path / "0.values")
    release_pages()
    assert column.sum() == total
    if resident is not None:
        release_pages()
        assert resident >= len(values) * 4
        assert mapped_bytes(tmp_path / "0.values") == 0


def mapped_bytes(path: Path) -> int | None:
    """Bytes of a file that are in this process's memory; None where the system doesn't say."""
    maps = Path("/proc/self/smaps")
    if not maps.exists():
        return None
    after = maps.read_text().split(str(path))[1:]
    return sum(int(each.split("Rss:")[1].split()[0]) * 1024 for each in after)
