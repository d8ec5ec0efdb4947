"""What a search and a build are given, checked in one way for every index."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.errors import DataError
from twotower.types import Ragged

__all__ = ["check_search", "checked_vectors", "finite_float32", "require_whole"]


def checked_vectors(vectors_ND: Tensor) -> Tensor:
    """Vectors that an index can be built from, as float32.

    Args:
        vectors_ND: Floats of any width, shape ``[N, D]``.

    Returns:
        float32; the same tensor where it is already.

    Raises:
        ValueError: If they are no floats, or D is 0.
        DataError: If one holds NaN or an infinity; names the rows.
    """
    if vectors_ND.ndim != 2 or vectors_ND.shape[1] == 0:
        raise ValueError(f"vectors must have the shape [N, D] with D >= 1 (came: {list(vectors_ND.shape)})")
    return finite_float32(vectors_ND, "vectors")


def check_search(
    queries_BD: Tensor,
    k: int,
    excluded: Ragged | None,
    allowed: Tensor | None,
    *,
    num_vectors: int,
    embedding_dim: int,
    finite: bool = True,
) -> Tensor:
    """What `twotower.index.VectorIndex.search` takes.

    Args:
        queries_BD: As there, and so are the next three.
        k: How many to return.
        excluded: Rows of each query.
        allowed: A mask over the vectors.
        num_vectors: N.
        embedding_dim: D.
        finite: Whether to look for what is not finite, too.

    Returns:
        The queries as float32.

    Raises:
        ValueError: If a shape, a dtype, k or an excluded row is not as it must be.
        DataError: If a query holds NaN or an infinity.
    """
    if queries_BD.ndim != 2 or queries_BD.shape[1] != embedding_dim:
        raise ValueError(f"queries must have the shape [B, {embedding_dim}] (came: {list(queries_BD.shape)})")
    own_BD = finite_float32(queries_BD, "queries") if finite else _float32(queries_BD, "queries")
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"k must be an integer of at least 1 (came: {k!r})")
    if excluded is not None:
        _check_excluded(excluded, len(own_BD), num_vectors)
    if allowed is not None and (allowed.dtype != torch.bool or allowed.shape != (num_vectors,)):
        came = f"{allowed.dtype} {list(allowed.shape)}"
        raise ValueError(f"allowed must be bool of shape [{num_vectors}], one per vector (came: {came})")
    return own_BD


def finite_float32(vectors: Tensor, what: str) -> Tensor:
    """As float32 without a gradient; named ``what`` in errors, which are those of `checked_vectors`."""
    own = _float32(vectors, what)
    if not bool(own.isfinite().all()):
        bad = (~own.isfinite()).any(dim=1).nonzero()[:, 0]
        first = ", ".join(str(row) for row in bad[:5].tolist())
        raise DataError(f"{what} must be finite float32; {len(bad):,} of {len(own):,} are not, the first at row {first}")
    return own


def _float32(vectors: Tensor, what: str) -> Tensor:
    if not vectors.is_floating_point():
        raise ValueError(f"{what} must be floats (came: {vectors.dtype})")
    return vectors.detach().to(torch.float32)


def require_whole(least: int, **numbers: int) -> None:
    """Make sure that numbers, given by name, are integers and not below the least one.

    Raises:
        ValueError: If one isn't; names it.
    """
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise ValueError(f"{name} must be an integer of at least {least} (came: {number!r})")


def _check_excluded(excluded: Ragged, num_queries: int, num_vectors: int) -> None:
    values, offsets = excluded
    if values.is_floating_point() or values.dtype == torch.bool:
        raise ValueError(f"excluded rows must be integers (came: {values.dtype})")
    if excluded.num_rows != num_queries:
        raise ValueError(f"excluded must have one row per query: {num_queries} (came: {excluded.num_rows})")
    if int(offsets[0]) != 0 or int(offsets[-1]) != len(values) or bool((excluded.lengths < 0).any()):
        raise ValueError(f"the offsets of excluded must rise from 0 to {len(values)} (came: {offsets[0]} to {offsets[-1]})")
    outside = values[(values < 0) | (values >= num_vectors)]
    if len(outside):
        raise ValueError(f"excluded rows must be in [0, {num_vectors}) (came: {outside[:5].tolist()})")
