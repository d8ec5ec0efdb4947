"""Files of tensors: what the format's own library reads, written and read in blocks."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tests.distributed.checkpoint_state import bits, full

from twotower.distributed import tensor_file
from twotower.distributed.tensor_file import DTYPES, FileSum, dtype_name, read_region, sum_of_file, write_tensor_file
from twotower.errors import CheckpointError


@pytest.mark.parametrize("block_bytes", [1, 64, 1 << 24])
def test_the_library_of_the_format_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    monkeypatch.setattr(tensor_file, "_BLOCK_BYTES", block_bytes)
    tensors = full(3) | {name: torch.arange(5).to(dtype) for name, dtype in DTYPES.items()}
    tensors["large"] = tensors["large"][:50]
    tensors["turned"] = torch.arange(12.0).reshape(3, 4).T
    written = write_tensor_file(tmp_path / "file", tensors)
    found = safetensors.torch.load_file(tmp_path / "file")
    assert sorted(found) == sorted(tensors)
    for name, tensor in tensors.items():
        assert (found[name].dtype, found[name].shape, bits(found[name])) == (tensor.dtype, tensor.shape, bits(tensor)), name
    data = (tmp_path / "file").read_bytes()
    assert written == FileSum(len(data), hashlib.sha256(data).hexdigest()) == sum_of_file(tmp_path / "file")


@pytest.mark.parametrize("block_bytes", [1, 40, 1 << 24])
def test_regions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    monkeypatch.setattr(tensor_file, "_BLOCK_BYTES", block_bytes)
    table, line, one = torch.randn(9, 5), torch.arange(7), torch.tensor(2.5)
    write_tensor_file(tmp_path / "file", {"table": table, "line": line, "one": one})
    part = torch.zeros(4, 2)
    read_region(tmp_path / "file", "table", (3, 2), part)
    assert torch.equal(part, table[3:7, 2:4])
    wide = torch.zeros(5, 9).T  # not contiguous
    read_region(tmp_path / "file", "table", (0, 0), wide)
    assert torch.equal(wide, table)
    some = torch.zeros(3, dtype=torch.int64)
    read_region(tmp_path / "file", "line", (4,), some)
    assert some.tolist() == [4, 5, 6]
    found = torch.tensor(0.0)
    read_region(tmp_path / "file", "one", (), found)
    assert found == 2.5
    read_region(tmp_path / "file", "table", (9, 0), torch.zeros(0, 5))
    cut = tmp_path / "cut"
    cut.write_bytes((tmp_path / "file").read_bytes()[:-4])  # of the table: its numbers are the narrowest, its name the last
    with pytest.raises(CheckpointError, match="cut ends within 'table'"):
        read_region(cut, "table", (0, 0), wide)


def test_a_disk_that_takes_a_part_at_a_time(tmp_path: Path) -> None:
    """What a write of the system leaves is written after it."""

    class Slow:
        def __init__(self) -> None:
            self.taken = b""

        def write(self, block: memoryview) -> int:
            self.taken += bytes(block[:3])
            return len(block[:3])

    slow = Slow()
    tensor_file._write(slow, b"0123456789")  # type: ignore[arg-type]
    assert slow.taken == b"0123456789"


def test_types_that_have_no_name() -> None:
    with pytest.raises(CheckpointError, match=r"came one of torch\.complex64"):
        dtype_name(torch.complex64)
