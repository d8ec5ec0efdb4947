"""Tensors in one safetensors file that is written and read in blocks, so that no tensor is ever held twice.

The format (https://huggingface.co/docs/safetensors): eight bytes with the header's length, the header as JSON, the bytes of the
tensors one after the other. The library writes it from a copy of everything; here the blocks go to the disk as they come, and
their SHA-256 is taken on the way.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import torch
from torch import Tensor

from twotower.errors import CheckpointError

__all__ = ["DTYPES", "FileSum", "dtype_name", "read_region", "sum_of_file", "write_tensor_file"]

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""What can be stored, by the format's names."""

_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class FileSum:
    """By what a file is known to be whole.

    Attributes:
        size_bytes: Its length.
        sha256: Of its bytes, in lower-case hexadecimal.
    """

    size_bytes: int
    sha256: str


def dtype_name(dtype: torch.dtype) -> str:
    """The format's name of a type.

    Raises:
        CheckpointError: If it has none.

    Example:
        >>> dtype_name(torch.float32)
        'F32'
    """
    for name, known in DTYPES.items():
        if known == dtype:
            return name
    raise CheckpointError(f"a checkpoint holds tensors of {', '.join(map(str, DTYPES.values()))}; came one of {dtype}")


def write_tensor_file(path: Path, tensors: Mapping[str, Tensor]) -> FileSum:
    """Write tensors to a new file and flush it to the disk, in blocks.

    Args:
        path: The file; what was there is overwritten. It is not written atomically: the caller says when it counts.
        tensors: Dense, by name, of any shape, on any device.

    Returns:
        Size and checksum of what was written.

    Raises:
        OSError: If it can't be written.
        CheckpointError: If a tensor is of a type that the format does not have.
    """
    # the widest types first, so that every tensor begins at a multiple of its numbers' size
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, object] = {}
    end = 0
    for name in names:
        start, end = end, end + tensors[name].numel() * tensors[name].element_size()
        entry = {"dtype": dtype_name(tensors[name].dtype), "shape": list(tensors[name].shape), "data_offsets": [start, end]}
        header[name] = entry
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb", buffering=0) as file:
        for block in _all_blocks(text, [tensors[name] for name in names]):
            digest.update(block)
            _write(file, block)
        os.fsync(file.fileno())
    return FileSum(8 + len(text) + end, digest.hexdigest())


def sum_of_file(path: Path) -> FileSum:
    """Size and checksum of a file as it is now, read in blocks.

    Raises:
        OSError: If it can't be read.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return FileSum(file.tell(), digest.hexdigest())


def read_region(path: Path, name: str, starts: Sequence[int], into: Tensor) -> None:
    """Read a part of a tensor into another one, in blocks of rows; other rows are not read.

    Args:
        path: What `write_tensor_file` wrote.
        name: Of the tensor.
        starts: Where the part begins, for every dimension.
        into: Is filled; its shape is that of the part, its type the tensor's. On any device, contiguous or not.

    Raises:
        OSError: If the file can't be read.
        CheckpointError: If it ends before the part does.
    """
    if not into.numel():
        return
    if not into.dim():
        into, starts = into.reshape(1), [0]
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(header_bytes))[name]
        row_shape = entry["shape"][1:]
        row_bytes = math.prod(row_shape) * into.element_size()
        others = [slice(start, start + length) for start, length in zip(starts[1:], into.shape[1:], strict=True)]
        file.seek(8 + header_bytes + entry["data_offsets"][0] + starts[0] * row_bytes)
        every = min(len(into), max(1, _BLOCK_BYTES // row_bytes))
        space = torch.empty(every, *row_shape, dtype=into.dtype)
        for rows in torch.split(into, every):
            block = space[: len(rows)]
            if file.readinto(block.reshape(-1).view(torch.uint8).numpy().data) != block.nbytes:
                raise CheckpointError(f"{path} ends within {name!r}")
            rows.copy_(block[(slice(None), *others)])


def _all_blocks(header: bytes, tensors: Sequence[Tensor]) -> Iterator[bytes | memoryview]:
    yield len(header).to_bytes(8, "little") + header
    for tensor in tensors:
        yield from _blocks(tensor)


def _write(file: FileIO, block: bytes | memoryview) -> None:
    """All of it: the system may take less at a time, as a disk does that is nearly full."""
    rest = memoryview(block)
    while rest:
        rest = rest[file.write(rest) :]


def _blocks(tensor: Tensor) -> Iterator[memoryview]:
    """The bytes of a tensor, some rows at a time."""
    if not tensor.numel():
        return
    table = tensor.detach().reshape(1) if not tensor.dim() else tensor.detach()
    for rows in torch.split(table, max(1, _BLOCK_BYTES // (table[0].numel() * table.element_size()))):
        yield rows.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
