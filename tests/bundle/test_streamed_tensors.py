"""Files written block by block: the same bytes as at once, and none where a stream fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from twotower.bundle import read_tensors, write_bundle, write_tensors
from twotower.bundle.bundle import open_bundle
from twotower.errors import BundleError


class Stream:
    """A tensor in blocks."""

    def __init__(self, tensor: Tensor, rows: int = 2, *, shape: tuple[int, ...] | None = None) -> None:
        self.tensor, self.rows, self.times = tensor, rows, 0
        self.shape = tuple(tensor.shape) if shape is None else shape
        self.dtype = tensor.dtype

    def blocks(self) -> Iterator[Tensor]:
        self.times += 1
        block = torch.empty_like(self.tensor[: self.rows])
        for part in torch.split(self.tensor, self.rows):
            block[: len(part)] = part  # one memory for all blocks
            yield block[: len(part)]
            block.fill_(7)


def test_the_same_bytes_as_at_once(tmp_path: Path) -> None:
    tensors = {name: torch.rand(count, 3, generator=torch.Generator().manual_seed(count)) for count, name in enumerate("cabé")}
    write_tensors(tmp_path / "whole", tensors)
    streams = {name: Stream(tensor) for name, tensor in tensors.items() if name in "aé"}
    write_tensors(tmp_path / "parts", {**tensors, **streams})
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()
    assert [stream.times for stream in streams.values()] == [1, 1]


def test_numbers_of_all_widths_come_back(tmp_path: Path) -> None:
    types = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]
    tensors = {str(dtype): torch.arange(5).to(dtype) for dtype in [*types, torch.bool, torch.float32]}
    mixed = {name: Stream(tensor) if at % 2 else tensor for at, (name, tensor) in enumerate(tensors.items())}
    write_tensors(tmp_path / "file", mixed, {"epoch": "3", "note": 'a "b"'})
    found, metadata = read_tensors(tmp_path / "file")
    assert metadata == {"epoch": "3", "note": 'a "b"'}
    assert sorted(found) == sorted(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype is tensor.dtype
        assert torch.equal(found[name], tensor)


def test_a_part_of_a_bundle(tmp_path: Path) -> None:
    with write_bundle(tmp_path / "bundle") as writer:
        writer.tensors("weights", {"table": Stream(torch.arange(9.0).reshape(3, 3))})
    assert torch.equal(open_bundle(tmp_path / "bundle").tensors("weights")["table"], torch.arange(9.0).reshape(3, 3))


@pytest.mark.parametrize("shape", [(4, 2), (6, 2), (5, 3)])
def test_blocks_that_are_not_the_tensor(tmp_path: Path, shape: tuple[int, ...]) -> None:
    write_tensors(tmp_path / "file", {"x": torch.ones(1)})
    before = (tmp_path / "file").read_bytes()
    with pytest.raises(ValueError, match=r"tensor 'x' must have \d+ bytes of torch.float32; its blocks give others"):
        write_tensors(tmp_path / "file", {"x": Stream(torch.ones(5, 2), shape=shape)})
    other = Stream(torch.ones(2, dtype=torch.float64), shape=(4,))
    other.dtype = torch.float32
    with pytest.raises(ValueError, match="its blocks give others"):
        write_tensors(tmp_path / "file", {"x": other})
    assert (tmp_path / "file").read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_stream_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    class Failing(Stream):
        def blocks(self) -> Iterator[Tensor]:
            yield self.tensor[:1]
            raise OSError("the disk is full")

    write_tensors(tmp_path / "file", {"x": torch.ones(1)})
    before = (tmp_path / "file").read_bytes()
    with pytest.raises(BundleError, match="the disk is full"):
        write_tensors(tmp_path / "file", {"x": Failing(torch.ones(5))})
    assert (tmp_path / "file").read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_type_that_the_format_lacks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"torch.complex128, which can't be written in blocks"):
        write_tensors(tmp_path / "file", {"x": Stream(torch.ones(2, dtype=torch.complex128))})
    with pytest.raises(TypeError, match="every value is a tensor; 'y' is a list"):
        write_tensors(tmp_path / "file", {"x": Stream(torch.ones(2)), "y": [1]})  # type: ignore[dict-item]
