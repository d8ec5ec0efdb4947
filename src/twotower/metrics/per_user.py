"""Metrics of each user over all of his or her relevant items: the exact expectation over random tie-breaking.

Relevant items of a user that have the same score form a *group*: ``m`` relevant among ``t`` tied, with ``a`` above. A draw
is a uniform permutation of the ``t``; groups are independent of each other.

The same for all of them: values are float64 ``[u]`` in [0, 1], in the order of ``UserRanks.users``; a user with no relevant
item has no value. A catalogue of fewer than ``k`` items makes lists of that length; no denominator changes. A relevant item
that is not in the catalogue is ranked behind it, so it is never found up to the catalogue's size, and counts in every
denominator that counts relevant items. A user with more than ``k`` relevant items can reach 1 in all of them but recall,
which is at most ``k / relevant``; one with fewer can reach 1 in all of them but precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twotower.metrics.gains import check_k, discount_sums, harmonic_sums, mean_gain
from twotower.metrics.ranks import FloatArray, IntArray, Ranks

__all__ = [
    "UserRanks",
    "group_by_user",
    "user_average_precision",
    "user_hit_rate",
    "user_ndcg",
    "user_precision",
    "user_recall",
    "user_reciprocal_rank",
]


@dataclass(frozen=True, eq=False)
class UserRanks:
    """Ranks of each user's relevant items, gathered by user and by tie; made by ``group_by_user``.

    Attributes:
        users: int64 ``[u]``, ascending: users that have relevant items.
        relevant: int64 ``[u]``: how many each has, at least 1.
        starts: int64 ``[u]``: first group of each user; a user's groups follow one another, best first.
        above: int64 ``[g]``: items above each group.
        tied: int64 ``[g]``: items tied in it, relevant or not.
        members: int64 ``[g]``: relevant items in it.
        earlier: int64 ``[g]``: relevant items of the user in better groups.
    """

    users: IntArray
    relevant: IntArray
    starts: IntArray
    above: IntArray
    tied: IntArray
    members: IntArray
    earlier: IntArray

    def __len__(self) -> int:
        return int(self.users.shape[0])


def group_by_user(ranks: Ranks, users: IntArray) -> UserRanks:
    """Gather ranks by user.

    Args:
        ranks: ``n`` positives, each (user, item) once; a user's other relevant items count in ``above`` and ``tied``.
        users: int64 ``[n]``: the user of each.

    Returns:
        The groups. Where the ranks of a user can't all hold in one list (several positives outside the catalogue share
        ``Ranks.unranked``; a train item may compete in its own row only), the later ones are moved down until they can.

    Raises:
        ValueError: If the lengths differ.

    Example:
        >>> grouped = group_by_user(Ranks(np.array([4, 0, 4]), np.array([3, 1, 3])), np.array([7, 7, 7]))
        >>> grouped.above.tolist(), grouped.tied.tolist(), grouped.members.tolist()
        ([0, 4], [1, 3], [1, 2])
    """
    users = np.asarray(users)
    if users.shape != ranks.above.shape:
        raise ValueError(f"users must have the length of ranks, {ranks.above.shape}; came {users.shape}")
    order = np.lexsort((ranks.above, users))
    above, tied, owner = ranks.above[order], ranks.tied[order], users[order].astype(np.int64, copy=False)
    new_user = np.ones(owner.shape[0], dtype=bool)
    new_user[1:] = owner[1:] != owner[:-1]
    new_group = new_user.copy()
    new_group[1:] |= above[1:] != above[:-1]
    group_starts, user_starts = np.flatnonzero(new_group), np.flatnonzero(new_user)
    members = np.diff(group_starts, append=owner.shape[0])
    relevant = np.diff(user_starts, append=owner.shape[0])
    first_row_of_user = np.repeat(user_starts, relevant)[group_starts]
    earlier = group_starts - first_row_of_user
    widest = np.maximum.reduceat(tied, group_starts) if group_starts.size else tied
    return UserRanks(
        users=owner[user_starts],
        relevant=relevant,
        starts=np.searchsorted(group_starts, user_starts),
        above=np.maximum(above[group_starts], earlier),
        tied=np.maximum(widest, members),
        members=members,
        earlier=earlier,
    )


def user_recall(ranks: UserRanks, k: int) -> FloatArray:
    """Relevant items among the first ``k``, by relevant items: ``hits / relevant``, whether there are more than ``k`` or not.

    Some divide by ``min(k, relevant)`` instead; trec_eval's ``recall`` is ours.

    Example:
        >>> user_recall(group_by_user(Ranks(np.array([0, 1, 9]), np.ones(3, dtype=np.int64)), np.zeros(3)), 2).round(4).tolist()
        [0.6667]
    """
    return _expected_hits(ranks, k) / ranks.relevant


def user_precision(ranks: UserRanks, k: int) -> FloatArray:
    """Relevant items among the first ``k``, by ``k``, also where fewer than ``k`` items or relevant items exist."""
    return _expected_hits(ranks, k) / k


def user_hit_rate(ranks: UserRanks, k: int) -> FloatArray:
    """1 where at least one relevant item is among the first ``k``, else 0; expected: the probability. Also called success@k.

    Of ``m`` relevant among ``t`` tied, none is in the ``s`` places that are left with probability
    ``C(t - m, s) / C(t, s) = prod_j (t - s - j) / (t - j)``, ``j`` below ``m``.
    """
    check_k(k)
    places = np.clip(k - ranks.above, 0, ranks.tied)
    miss = np.ones(ranks.above.shape[0], dtype=np.float64)
    # the groups with most members first, so that step j works on a prefix of them
    order = np.argsort(-ranks.members, kind="stable")
    order = order[places[order] > 0]
    descending = -ranks.members[order]
    for j in range(int(-descending[0]) if order.size else 0):
        active = order[: np.searchsorted(descending, -j, side="left")]
        tied = ranks.tied[active]
        # with more relevant items than places elsewhere one factor is 0, and so is the product
        miss[active] *= (tied - places[active] - j) / (tied - j)
    return 1.0 - _by_user(np.multiply, miss, ranks)


def user_ndcg(ranks: UserRanks, k: int) -> FloatArray:
    """Discounted gain of the first ``k`` by that of the ideal list, which has ``min(k, relevant)`` relevant items in front.

    ``sum of 1 / log2(position + 1) over the hits``, by the same sum over positions 1 to ``min(k, relevant)``. Järvelin and
    Kekäläinen (2002), binary relevance.
    """
    check_k(k)
    sums = discount_sums(k)
    gain = ranks.members * mean_gain(ranks.above, ranks.tied, sums)
    return _by_user(np.add, gain, ranks) / sums[np.minimum(k, ranks.relevant)]


def user_average_precision(ranks: UserRanks, k: int) -> FloatArray:
    """Precision at each relevant item of the first ``k``, added up, by ``min(k, relevant)``; its mean is MAP@k.

    Some divide by all relevant items instead (trec_eval's ``map_cut``), so that a user with more than ``k`` of them can't
    reach 1: theirs is ours times ``min(k, relevant) / relevant``.

    At position ``a + j`` of a group stands a relevant item with probability ``m / t``; above it there are then the
    ``earlier`` ones and, expected, ``(j - 1)(m - 1) / (t - 1)`` of its own group.
    """
    check_k(k)
    sums = harmonic_sums(k)
    above, tied, members = ranks.above, ranks.tied, ranks.members
    places = np.clip(k - above, 0, tied)
    harmonic = sums[np.minimum(above + places, k)] - sums[np.minimum(above, k)]
    # sum over j of (j - 1) / (a + j), where (j - 1) / (a + j) = 1 - (a + 1) / (a + j)
    within = places - (above + 1) * harmonic
    gain = members / tied * ((ranks.earlier + 1) * harmonic + (members - 1) / np.maximum(tied - 1, 1) * within)
    return _by_user(np.add, gain, ranks) / np.minimum(k, ranks.relevant)


def user_reciprocal_rank(ranks: UserRanks, k: int | None = None) -> FloatArray:
    """``1 / rank`` of the user's first relevant item, and 0 past position ``k`` where one is given; its mean is the MRR.

    Without ``k``, a user of whose items the catalogue of ``N`` has none gets ``1 / (N + 1)``.

    The first of ``m`` relevant among ``t`` tied is the ``j``-th with probability ``C(t - j, m - 1) / C(t, m)``. Groups
    that are alike are computed once.
    """
    if k is not None:
        check_k(k)
    first = np.stack([ranks.above[ranks.starts], ranks.tied[ranks.starts], ranks.members[ranks.starts]], axis=1)
    last = int((first[:, 0] + first[:, 1]).max(initial=0)) if k is None else k
    values = mean_gain(first[:, 0], first[:, 1], harmonic_sums(last))
    several = np.flatnonzero(first[:, 2] > 1)
    alike, member_of = np.unique(first[several], axis=0, return_inverse=True)
    expected = np.array([_expected_first(int(a), int(t), int(m), last) for a, t, m in alike], dtype=np.float64)
    values[several] = expected[member_of.reshape(-1)]
    return values


def _expected_first(above: int, tied: int, members: int, last: int) -> float:
    """Expectation of 1 / position of the first of ``members`` among ``tied``, positions past ``last`` counting 0."""
    j = np.arange(1, min(tied - members + 1, max(last - above, 0)) + 1, dtype=np.float64)
    if not j.size:
        return 0.0
    # P(1) = m / t and P(j + 1) = P(j) (t - j - m + 1) / (t - j)
    ratios = np.concatenate([[members / tied], (tied - j[:-1] - members + 1) / (tied - j[:-1])])
    return float((np.cumprod(ratios) / (above + j)).sum())


def _expected_hits(ranks: UserRanks, k: int) -> FloatArray:
    check_k(k)
    return _by_user(np.add, np.clip((k - ranks.above) / ranks.tied, 0.0, 1.0) * ranks.members, ranks)


def _by_user(operation: np.ufunc, values: FloatArray, ranks: UserRanks) -> FloatArray:
    # reduceat refuses an empty array
    reduced = operation.reduceat(values, ranks.starts) if values.size else values
    return np.asarray(reduced, dtype=np.float64)
