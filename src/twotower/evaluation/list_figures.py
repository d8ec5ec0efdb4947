"""What lists of recommendations look like, beside how often they are right: one flat table of figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from twotower.metrics import (
    ListValues,
    RaggedArray,
    calibration_divergence,
    catalogue_coverage,
    gini,
    intra_list_diversity_by_categories,
    intra_list_diversity_by_vectors,
    novelty,
    popularity_lift,
    recommended_counts,
)
from twotower.types import Ragged

__all__ = ["list_figures"]


def list_figures(
    items_QK: Tensor,
    *,
    ks: Sequence[int] = (10,),
    catalogue_size: int,
    item_counts_N: Tensor,
    histories: Ragged,
    vectors_ND: Tensor | None = None,
    categories: Ragged | None = None,
) -> dict[str, float]:
    """Collect the figures of lists: coverage, Gini, popularity lift, novelty, diversity and calibration.

    The keys, for each ``k`` of ``ks`` in turn, and the functions of `twotower.metrics` that have formula and edge cases:

    - ``coverage@k``: `catalogue_coverage`;
    - ``gini@k``: `gini` of how many lists each item is in;
    - ``popularity_lift@k``: `popularity_lift`;
    - ``novelty@k``: `novelty`, in bits;
    - ``diversity_vectors@k``: `intra_list_diversity_by_vectors`;
    - ``diversity_categories@k``: `intra_list_diversity_by_categories`;
    - ``calibration@k``: `calibration_divergence`, in nats, 0 best.

    A figure that has no value is left out: those of vectors or categories where none are given, diversity where no list has
    two items, lift and calibration where no user consumed anything, everything but coverage where no list has an item.

    Coverage and Gini depend on how many lists there are: compare rankers on the same queries.

    Args:
        items_QK: int64 ``[Q, K]``: catalogue rows, best first, -1 for no item, as `top_items` gives them.
        ks: Lengths of the lists that are looked at, each in [1, K], no repeats.
        catalogue_size: N.
        item_counts_N: Numbers ``[N]``: train interactions of each item.
        histories: ``Q`` rows of catalogue rows: what each query's user had consumed.
        vectors_ND: Floats ``[N, D]``, of the catalogue.
        categories: ``N`` rows: the categories of each item, none for one without; an encoded row that stands for unknown values
            is a category like any other. A single column ``c_N`` is ``Ragged(c_N, torch.arange(N + 1))``.

    Raises:
        ValueError: If shapes or values do not fit.

    Example:
        >>> import torch
        >>> histories = Ragged(torch.tensor([0, 0]), torch.tensor([0, 1, 2]))
        >>> counts_N = torch.tensor([2, 1, 1, 0])
        >>> list_figures(torch.tensor([[1], [2]]), ks=[1], catalogue_size=4, item_counts_N=counts_N, histories=histories)
        {'coverage@1': 0.5, 'gini@1': 0.5, 'popularity_lift@1': 0.5, 'novelty@1': 2.0}
    """
    longest = items_QK.shape[1]
    if len(set(ks)) != len(ks) or not all(1 <= k <= longest for k in ks):
        raise ValueError(f"ks must be in [1, {longest}], the length of the lists, without repeats; came {list(ks)}")
    if item_counts_N.shape != (catalogue_size,):
        raise ValueError(f"item_counts_N must have the shape [{catalogue_size}]; came {list(item_counts_N.shape)}")
    if vectors_ND is not None and len(vectors_ND) != catalogue_size:
        raise ValueError(f"vectors_ND must have {catalogue_size} rows, one per item; came {list(vectors_ND.shape)}")
    if categories is not None and categories.num_rows != catalogue_size:
        raise ValueError(f"categories must have {catalogue_size} rows, one per item; came {categories.num_rows}")
    lists_QK = items_QK.cpu().numpy()
    counts_N = item_counts_N.cpu().numpy()
    consumed = _to_numpy(histories)
    vectors = None if vectors_ND is None else vectors_ND.detach().cpu().float().numpy()
    sets = None if categories is None else _to_numpy(categories)
    figures: dict[str, float] = {}
    for k in ks:
        chosen_QK = np.ascontiguousarray(lists_QK[:, :k])
        figures[f"coverage@{k}"] = catalogue_coverage(chosen_QK, catalogue_size)
        times_N = recommended_counts(chosen_QK, catalogue_size)
        if times_N.any():
            figures[f"gini@{k}"] = gini(times_N)
        lift = popularity_lift(chosen_QK, consumed, counts_N)
        if lift.consumed.any():
            figures[f"popularity_lift@{k}"] = lift.lift
        _add(figures, f"novelty@{k}", novelty(chosen_QK, counts_N))
        if vectors is not None:
            _add(figures, f"diversity_vectors@{k}", intra_list_diversity_by_vectors(chosen_QK, vectors))
        if sets is not None:
            _add(figures, f"diversity_categories@{k}", intra_list_diversity_by_categories(chosen_QK, sets))
            _add(figures, f"calibration@{k}", calibration_divergence(chosen_QK, consumed, sets))
    return figures


def _to_numpy(rows: Ragged) -> RaggedArray:
    return RaggedArray(rows.values.cpu().numpy(), rows.offsets.cpu().numpy())


def _add(figures: dict[str, float], key: str, found: ListValues) -> None:
    if found.values.size:
        figures[key] = found.mean
