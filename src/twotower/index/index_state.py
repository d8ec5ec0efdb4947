"""What an index is made of beside its vectors, so that it can be written and read as data."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from torch import Tensor

from twotower.errors import CorruptBundleError, IncompatibleBundleError

__all__ = ["IndexConfig", "IndexState", "begun_config", "checked_config"]

IndexConfig: TypeAlias = Mapping[str, "int | str"]
"""What an index was built with and searches with; JSON."""

_FORMAT = 1


class IndexState(NamedTuple):
    """The parts of an index, without its vectors; a checksum over them is the business of who writes them.

    Attributes:
        tensors: On the CPU.
        config: JSON.
    """

    tensors: dict[str, Tensor]
    config: dict[str, int | str]


def begun_config(kind: str, vectors_ND: Tensor) -> dict[str, int | str]:
    """The kind, the format and which vectors an index belongs to; float32, contiguous, on the CPU."""
    num_vectors, dim = vectors_ND.shape
    checksum = zlib.crc32(vectors_ND.numpy().data.cast("B")) if vectors_ND.numel() else 0
    return {"kind": kind, "format": _FORMAT, "num_vectors": num_vectors, "embedding_dim": dim, "vectors_crc32": checksum}


def checked_config(config: IndexConfig, kind: str, vectors_ND: Tensor, wanted: Mapping[str, int]) -> dict[str, int]:
    """The integers of a config that was read, if it is of this kind and of these vectors.

    Args:
        config: As it was read.
        kind: Of the index.
        vectors_ND: float32, contiguous, on the CPU.
        wanted: Names of further integers, and the least that each may be.

    Raises:
        IncompatibleBundleError: If it was written in a newer format.
        CorruptBundleError: If a value is missing or another.
    """
    found_format = config.get("format")
    if isinstance(found_format, int) and found_format > _FORMAT:
        raise IncompatibleBundleError(f"this library reads indexes of format {_FORMAT} (came: {found_format}): update twotower")
    for name, value in begun_config(kind, vectors_ND).items():
        if config.get(name) != value:
            raise CorruptBundleError(
                f"{name} of the index must be {value!r} (came: {config.get(name)!r}): "
                "it belongs to other vectors, or was damaged"
            )
    numbers = {}
    for name, least in wanted.items():
        number = config.get(name)
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise CorruptBundleError(f"{name} of the index must be an integer of at least {least} (came: {number!r})")
        numbers[name] = number
    return numbers
