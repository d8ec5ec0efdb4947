"""Named tensors in one safetensors file that knows whether it is whole.

The file's metadata carries a SHA-256 over names, types, shapes and bytes, in the order of the names, and over the rest of the
metadata; reading checks it. The format: https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from twotower.bundle.atomic import atomic_file
from twotower.bundle.streamed_tensors import TensorStream, write_streamed
from twotower.errors import BundleError, CorruptBundleError

__all__ = ["parse_tensors", "read_tensors", "save_tensors", "write_tensors"]

_CHECKSUM = "twotower.sha256"
_RESERVED = "__metadata__"


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor | TensorStream],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write tensors to one file, whole or not at all.

    Args:
        path: The file; replaced when it exists.
        tensors: Dense tensors by name, of any shape (also empty, 0-d, non-contiguous, sharing memory, on any device). Some may
            be streams, which are read once, by their names; then the file is written in the memory of a block.
        metadata: Text by name, kept beside them.

    Raises:
        BundleError: If the file can't be written.
        ValueError: If a tensor is sparse, or a name is one that the format keeps for itself.
        TypeError: If a value is not a tensor, or a piece of metadata is not text.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_tensors(Path(folder) / "state.safetensors", {"step": torch.tensor(7)}, {"epoch": "2"})
        ...     read_tensors(Path(folder) / "state.safetensors")
        ({'step': tensor(7)}, {'epoch': '2'})
    """
    with atomic_file(path) as temporary:
        save_tensors(temporary, tensors, metadata, named=os.fspath(path))


def save_tensors(
    path: Path,
    tensors: Mapping[str, Tensor | TensorStream],
    metadata: Mapping[str, str] | None = None,
    *,
    named: str | None = None,
) -> None:
    """As :func:`write_tensors`, but straight to ``path``: for a file in a folder that is itself written whole or not at all.

    Args:
        path: The file.
        tensors: As :func:`write_tensors`.
        metadata: As :func:`write_tensors`.
        named: What to call the file in an error; its path by default.
    """
    kept = dict(metadata or {})
    for name, text in kept.items():
        if name == _CHECKSUM:
            raise ValueError(f"the metadata {_CHECKSUM!r} is kept for the checksum; choose another name")
        if not isinstance(text, str):
            raise TypeError(f"metadata is text; {name!r} is a {type(text).__name__}: write it as JSON text")
    streams = {name: tensor for name, tensor in tensors.items() if _is_stream(tensor)}
    dense = _own_memory({name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor) or name not in streams})
    try:
        if streams:
            write_streamed(path, {**dense, **streams}, kept, checksum=_CHECKSUM)
            return
        kept[_CHECKSUM] = _checksum(dense, kept)
        # not save_file: it puts a new file, private to this user and without our lock, in the place of the one that is there
        path.write_bytes(safetensors.torch.save(dense, metadata=kept))
    except (OSError, safetensors.SafetensorError) as error:
        raise BundleError(f"{named or path} can't be written: {error}; check the space on the disk") from error


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what :func:`write_tensors` wrote: the tensors, on the CPU, and the metadata; both in the order of their names.

    Raises:
        CorruptBundleError: If the file is truncated, changed, no safetensors file, or one without a checksum.
        BundleError: If there is no such file, or it can't be read.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BundleError(f"{os.fspath(path)} can't be read: {error.strerror or error}; check the path") from error
    return parse_tensors(data, source=os.fspath(path))


def parse_tensors(data: bytes, *, source: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata from the bytes of a file; as :func:`read_tensors`.

    Args:
        data: The bytes that :func:`write_tensors` wrote.
        source: The file that they came from, for errors.

    Raises:
        CorruptBundleError: As :func:`read_tensors`.
    """
    again = "write it again or fetch it again"
    try:
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise CorruptBundleError(f"{source} must be a whole safetensors file, and is not ({error}); {again}") from error
    header_size = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = json.loads(data[8 : 8 + header_size]).get(_RESERVED) or {}
    expected = metadata.pop(_CHECKSUM, None)
    if expected is None:
        raise CorruptBundleError(f"{source} must carry its checksum ({_CHECKSUM!r}), and does not: twotower did not write it")
    if _checksum(tensors, metadata) != expected:
        raise CorruptBundleError(f"{source} has changed since it was written: its checksum does not match; {again}")
    return {name: tensors[name] for name in sorted(tensors)}, dict(sorted(metadata.items()))


def _is_stream(tensor: Tensor | TensorStream) -> bool:
    return not isinstance(tensor, Tensor) and isinstance(tensor, TensorStream)


def _own_memory(tensors: Mapping[str, Tensor | TensorStream]) -> dict[str, Tensor]:
    """Contiguous tensors on the CPU of which no two share memory: what the format asks for."""
    dense: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"every value is a tensor; {name!r} is a {type(tensor).__name__}")
        if name == _RESERVED:
            raise ValueError(f"the name {_RESERVED!r} is kept by the safetensors format; choose another name")
        if tensor.layout != torch.strided:
            raise ValueError(f"tensors are dense; {name!r} is {tensor.layout}: call .to_dense() first")
        own = tensor.cpu().contiguous()
        if own.untyped_storage().data_ptr() in seen:
            own = own.clone()
        seen.add(own.untyped_storage().data_ptr())
        dense[name] = own
    return dense


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        if tensor.numel():  # one without a number may have a stride of 0, of which torch makes no bytes
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    digest.update(json.dumps(sorted(metadata.items())).encode())
    return digest.hexdigest()
