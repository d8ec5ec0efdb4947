"""What all vectors have in common is taken off before neighbours are looked for or few bits are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from twotower.errors import CorruptBundleError

__all__ = ["Centring", "centring_tensors", "read_centring"]

Array: TypeAlias = "np.ndarray[Any, Any]"

_ROWS_AT_ONCE = 2**14


class Centring(NamedTuple):
    """A point that is taken off every vector, and a length that the rest is divided by.

    The order of a query's scores stays: ``q.(x - c) / u`` is ``q.x`` less a number that is the same for all x, divided by
    another. What distinguishes the vectors becomes all there is of them, which matters wherever they are compared with each
    other, or rounded: by towers with biases, vectors of norm 13 may be within 1.5 of their mean.

    Attributes:
        centre_D: float64.
        unit: Positive: the longest vector is about 1 long after it.
    """

    centre_D: Tensor
    unit: float

    @classmethod
    def of(cls, vectors_ND: Tensor) -> Centring:
        """The mean of the vectors (float32, N may be 0), and the longest distance from it."""
        if len(vectors_ND) == 0:
            return cls(torch.zeros(vectors_ND.shape[1], dtype=torch.float64), 1.0)
        parts = torch.split(vectors_ND, _ROWS_AT_ONCE)
        centre_D = torch.stack([part.double().sum(dim=0) for part in parts]).sum(dim=0) / len(vectors_ND)
        longest = max(float((part.double() - centre_D).norm(dim=1).max()) for part in parts)
        return cls(centre_D, longest or 1.0)

    def apply(self, vectors_ND: Tensor) -> Array:
        """float32, ``[N, D]``, contiguous."""
        own_ND = np.empty(tuple(vectors_ND.shape), dtype=np.float32)
        for start in range(0, len(vectors_ND), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            own_ND[part] = ((vectors_ND[part].double() - self.centre_D) / self.unit).numpy()
        return own_ND


def centring_tensors(centring: Centring) -> dict[str, Tensor]:
    """What a file keeps of it, see `read_centring`."""
    return {"centre": centring.centre_D, "unit": torch.tensor([centring.unit], dtype=torch.float64)}


def read_centring(tensors: Mapping[str, Tensor], dim: int) -> Centring:
    """What `centring_tensors` gave, for vectors of so many entries.

    Raises:
        CorruptBundleError: If a tensor is missing, or not as it can have been.
    """
    for name, width in (("centre", dim), ("unit", 1)):
        found = tensors.get(name)
        if found is None or found.dtype != torch.float64 or found.shape != (width,) or not bool(found.isfinite().all()):
            came = "none" if found is None else f"{found.dtype} {list(found.shape)}"
            raise CorruptBundleError(f"{name} of the index must be finite float64 of shape [{width}] (came: {came})")
    if float(tensors["unit"]) <= 0:
        raise CorruptBundleError(f"unit of the index must be positive (came: {float(tensors['unit'])})")
    return Centring(tensors["centre"].contiguous(), float(tensors["unit"]))
