"""A safetensors file written block by block, in the memory of one block."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["TensorStream", "write_streamed"]

_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ALIGNMENT = 8


@runtime_checkable
class TensorStream(Protocol):
    """A tensor that is never there as a whole."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of all blocks."""
        ...

    def blocks(self) -> Iterator[Tensor]:
        """Its numbers in order, in blocks of any shape on the CPU; each is good until the next one is asked for."""
        ...


def write_streamed(
    path: Path, tensors: Mapping[str, Tensor | TensorStream], metadata: Mapping[str, str], *, checksum: str
) -> None:
    """Write what `safetensors.torch.save` writes, and the checksum of `write_tensors`, reading each tensor once, by its name.

    Args:
        path: The file.
        tensors: Contiguous on the CPU, or streams.
        metadata: Text by name.
        checksum: Under which name the checksum is kept.

    Raises:
        OSError: If the file can't be written.
        ValueError: If a stream gives other numbers than its shape and type say, or a type that the format does not have.
    """
    digest = hashlib.sha256()
    header, places = _header(tensors, {**metadata, checksum: digest.hexdigest()})
    with path.open("wb") as file:
        file.write(header)
        for name in sorted(tensors):
            tensor = tensors[name]
            start, end = places[name]
            digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
            file.seek(len(header) + start)
            for block in _blocks(name, tensor, end - start):
                digest.update(block)
                file.write(block)
        digest.update(json.dumps(sorted(metadata.items())).encode())
        file.seek(0)
        file.write(_header(tensors, {**metadata, checksum: digest.hexdigest()})[0])


def _blocks(name: str, tensor: Tensor | TensorStream, size: int) -> Iterator[memoryview]:
    """The bytes of a tensor; of as many as it has to have."""
    blocks: Iterable[Tensor] = [tensor] if isinstance(tensor, Tensor) else tensor.blocks()
    seen = 0
    for block in blocks:
        seen += block.numel() * block.itemsize
        if block.dtype is not tensor.dtype or seen > size:
            break
        if block.numel():
            yield block.contiguous().reshape(-1).view(torch.uint8).numpy().data
    else:
        if seen == size:
            return
    raise ValueError(f"tensor {name!r} must have {size} bytes of {tensor.dtype}; its blocks give others")


def _header(
    tensors: Mapping[str, Tensor | TensorStream], metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """The head of the file, and where each tensor is behind it."""
    described: dict[str, object] = {"__metadata__": dict(metadata)}
    places: dict[str, tuple[int, int]] = {}
    start = 0
    # the widest numbers first, so that each is aligned
    for name in sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name)):
        tensor = tensors[name]
        if tensor.dtype not in _TYPES:
            raise ValueError(f"tensor {name!r} is of {tensor.dtype}, which can't be written in blocks")
        end = start + torch.Size(tensor.shape).numel() * tensor.dtype.itemsize
        described[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        places[name], start = (start, end), end
    text = json.dumps(described, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text, places
