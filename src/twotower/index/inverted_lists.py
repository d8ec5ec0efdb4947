"""Lists of short codes, as FAISS keeps them: learned, written and read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from twotower.errors import CorruptBundleError
from twotower.index.faiss_library import faiss_library, faiss_threads

__all__ = ["build_lists", "lists_tensor", "read_lists"]

Array: TypeAlias = "np.ndarray[Any, Any]"

_BITS = 4
_POINTS_PER_CENTRE = 64


def build_lists(vectors_ND: Array, num_lists: int, entries_per_code: int, *, seed: int, num_threads: int) -> Any:
    """Learn centres and codes from the vectors, and put all of them in.

    Args:
        vectors_ND: float32, contiguous, about 1 long at most; D a multiple of ``entries_per_code``.
        num_lists: At most N.
        entries_per_code: Entries that share a code.
        seed: Of what is drawn.
        num_threads: At least 1.

    Returns:
        An ``IndexIVFPQFastScan`` of FAISS.

    Raises:
        MissingExtraError: If FAISS is not installed.
    """
    faiss = faiss_library()
    dim = vectors_ND.shape[1]
    centres = faiss.IndexFlatIP(dim)
    index = faiss.IndexIVFPQFastScan(centres, dim, num_lists, dim // entries_per_code, _BITS, faiss.METRIC_INNER_PRODUCT)
    for clustering in (index.cp, index.pq.cp):
        clustering.seed = seed
        clustering.min_points_per_centroid = 1  # fewer are told of on stderr
    index.cp.max_points_per_centroid = _POINTS_PER_CENTRE
    with faiss_threads(faiss, num_threads):
        index.train(vectors_ND)
        index.add(vectors_ND)
    # so that the centres live as long as the lists do
    centres.this.disown()
    index.own_fields = True
    return index


def lists_tensor(lists: Any) -> dict[str, Tensor]:
    """What a file keeps of them: uint8, see `read_lists`."""
    return {"lists": torch.from_numpy(faiss_library().serialize_index(lists))}


def read_lists(tensors: Mapping[str, Tensor], num_vectors: int, num_codes: int, entries_per_code: int) -> Any:
    """What `lists_tensor` gave, of so many vectors of so many codes of so many entries.

    Raises:
        CorruptBundleError: If it is missing, can't be read, or is of other vectors.
        MissingExtraError: If FAISS is not installed.
    """
    faiss = faiss_library()
    found = tensors.get("lists")
    if found is None or found.dtype != torch.uint8 or found.ndim != 1:
        came = "none" if found is None else f"{found.dtype} {list(found.shape)}"
        raise CorruptBundleError(f"lists of the index must be uint8 of one dimension (came: {came})")
    try:
        lists = faiss.deserialize_index(found.contiguous().numpy())
    except (RuntimeError, MemoryError) as fault:
        raise CorruptBundleError(f"lists of the index can't be read: {str(fault).splitlines()[0]}") from None
    wanted = (num_vectors, num_codes * entries_per_code, num_codes, _BITS, faiss.METRIC_INNER_PRODUCT)
    if not isinstance(lists, faiss.IndexIVFPQFastScan):
        raise CorruptBundleError(f"lists of the index must be an IndexIVFPQFastScan (came: {type(lists).__name__})")
    held = (lists.ntotal, lists.d, lists.pq.M, lists.pq.nbits, lists.metric_type)
    if held != wanted:
        raise CorruptBundleError(f"lists must hold (vectors, width, codes, bits, metric) {wanted} (came: {held})")
    sizes = [lists.invlists.list_size(number) for number in range(lists.nlist)]
    ids = [faiss.rev_swig_ptr(lists.invlists.get_ids(number), size) for number, size in enumerate(sizes) if size]
    if not np.array_equal(np.sort(np.concatenate(ids)), np.arange(num_vectors)):
        raise CorruptBundleError(f"lists of the index must hold each of {num_vectors:,} rows once")
    return lists
