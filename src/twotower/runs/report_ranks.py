"""Figures of a report that follow from the ranks of the test rows: tables, curves, groups, comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from twotower.evaluation import JudgedRows
from twotower.metrics import bootstrap_interval, paired_difference
from twotower.reports import Comparison, Curve, Curves, Estimate, Group, Grouping, Ranker, Seen
from twotower.runs.report_items import ItemGroups

__all__ = ["DRAWS", "VARIANTS", "compared", "curves", "groupings", "rankers"]

DRAWS = 1000
"""Bootstrap draws over users."""

_LONGEST_CURVE = 1000
_SHORT_HISTORY, _LONG_HISTORY = 20, 100
VARIANTS: tuple[Seen, ...] = ("included", "removed")


def rankers(
    judged: JudgedRows, ks: Sequence[int], metric: str, *, seed: int, settings: Mapping[str, str]
) -> tuple[Ranker, ...]:
    """Every ranker's figures with their intervals.

    Args:
        judged: The ranks.
        ks: Cut-offs of recall.
        metric: The figure that decides, which may be none of these.
        seed: Of the bootstrap.
        settings: Of baselines, in words.
    """
    keys = list(dict.fromkeys([*(f"recall@{k}" for k in ks), "ndcg@10", "mrr", metric]))

    def figures(name: str, seen: Seen) -> dict[str, Estimate]:
        values_NM = np.stack([judged.values(name, key, removed=seen == "removed") for key in keys], axis=1)
        return dict(zip(keys, _estimates(values_NM, judged.user_rows, seed), strict=True))

    return tuple(
        Ranker(name=name, included=figures(name, "included"), removed=figures(name, "removed"), settings=settings.get(name, ""))
        for name in judged.rankers
    )


def curves(judged: JudgedRows, catalogue_size: int) -> Curves:
    """Recall at about 60 lengths of the list, evenly by their logarithm, up to the catalogue or 1,000."""
    longest = min(catalogue_size, _LONGEST_CURVE)
    ks = sorted({round(k) for k in np.geomspace(1, longest, 60)} | {k for k in (5, 10, 50, 100) if k <= longest})

    def curve(name: str, seen: Seen) -> tuple[float, ...]:
        return tuple(float(judged.values(name, f"recall@{k}", removed=seen == "removed").mean()) for k in ks)

    return Curves(
        ks=tuple(ks),
        rankers=tuple(
            Curve(name=name, included=curve(name, "included"), removed=curve(name, "removed")) for name in judged.rankers
        ),
    )


def compared(
    first: tuple[str, JudgedRows, str],
    second: tuple[str, JudgedRows, str],
    metric: str,
    seen: Seen,
    *,
    seed: int,
) -> Comparison:
    """Two rankers, paired over users.

    Args:
        first: What to call it, the ranks that it is in, and its name there.
        second: The other; of the same rows.
        metric: Key of the figure.
        seen: Its variant.
        seed: Of the bootstrap.
    """
    values = [judged.values(name, metric, removed=seen == "removed") for _, judged, name in (first, second)]
    users = first[1].user_rows
    found = paired_difference(values[0], values[1], users, seed=seed, draws=DRAWS)
    return Comparison(
        metric=metric,
        seen=seen,
        first=first[0],
        second=second[0],
        first_value=float(values[0].mean()),
        second_value=float(values[1].mean()),
        difference=Estimate(value=float(found.mean), low=float(found.low), high=float(found.high)),
        p_value=float(found.p_value),
        users=int(np.unique(users).size),
    )


def groupings(judged: JudgedRows, items: ItemGroups, metric: str, seen: Seen, *, seed: int) -> tuple[Grouping, ...]:
    """Test rows by the popularity of their item, by the history of their user, and by whether the user was trained on.

    A grouping of one group says nothing that the table does not, and is left out.
    """

    def group(name: str, mask: NDArray[np.bool_], size: int | None = None) -> Group | None:
        if not mask.any():
            return None
        values_NM = np.stack([judged.values(each, metric, removed=seen == "removed")[mask] for each in judged.rankers], axis=1)
        users = judged.user_rows[mask]
        return Group(
            name=name,
            rows=int(mask.sum()),
            users=int(np.unique(users).size),
            items=size,
            rankers=dict(zip(judged.rankers, _estimates(values_NM, users, seed), strict=True)),
        )

    in_catalogue = judged.item_rows >= 0
    number_of_item = np.where(in_catalogue, items.group_of[judged.item_rows], -1)
    lengths = judged.history_lengths
    found = (
        (
            "popularity",
            items.rule,
            [group(name, number_of_item == i, items.sizes[i]) for i, name in enumerate(items.names)]
            + [group("not in catalogue", ~in_catalogue)],
        ),
        (
            "history",
            f"History length: distinct items that the user had seen when the row was judged; none, short "
            f"(up to {_SHORT_HISTORY}), middle (up to {_LONG_HISTORY}), long (more).",
            [
                group("none", lengths == 0),
                group(f"1 to {_SHORT_HISTORY}", (lengths > 0) & (lengths <= _SHORT_HISTORY)),
                group(f"{_SHORT_HISTORY + 1} to {_LONG_HISTORY}", (lengths > _SHORT_HISTORY) & (lengths <= _LONG_HISTORY)),
                group(f"over {_LONG_HISTORY}", lengths > _LONG_HISTORY),
            ],
        ),
        (
            "warmth",
            "Warm rows are of users with train rows, cold rows of users without any.",
            [group("warm", judged.warm), group("cold", ~judged.warm)],
        ),
    )
    return tuple(
        Grouping(key=key, rule=rule, metric=metric, seen=seen, groups=tuple(g for g in groups if g is not None))
        for key, rule, groups in found
        if sum(g is not None for g in groups) > 1
    )


def _estimates(values_NM: NDArray[np.float64], users: NDArray[np.int64], seed: int) -> list[Estimate]:
    drawn = bootstrap_interval(values_NM, users, seed=seed, draws=DRAWS)
    return [
        Estimate(value=float(mean), low=float(low), high=float(high))
        for mean, low, high in zip(drawn.mean, drawn.low, drawn.high, strict=True)
    ]
