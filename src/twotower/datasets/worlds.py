"""Planted worlds: small tables whose answer is known, for tests that a model learns what there is to learn."""

from __future__ import annotations

import numpy as np
import polars as pl

__all__ = ["checkerboard", "tastes", "time_drift"]

_START_S = 1_600_000_000
_HOUR_S = 3_600


def checkerboard(*, num_users: int = 200, num_items: int = 100, held_out: int = 5, seed: int = 0) -> pl.DataFrame:
    """Even users like even items, odd users odd ones; every liked pair is observed once.

    For each user, ``held_out`` of the liked items are the test. All items are about equally popular, so popularity with seen
    items removed finds about ``held_out / (num_items / 2 + held_out)`` of them in its first ``held_out``; taste finds all.

    Args:
        num_users: At least 2; ids are 0 to ``num_users - 1``.
        num_items: At least 2; ids are 0 to ``num_items - 1``.
        held_out: Test items per user, fewer than the items that a user likes.
        seed: Of the held-out pairs and of the times.

    Returns:
        ``user_id`` Int64, ``item_id`` Int64, ``timestamp`` Int64 (distinct hours; the test comes after train), ``split``
        (``train`` or ``test``); in the order of users and items, which is not that of the times.

    Raises:
        ValueError: If there are fewer than 2 users or items, or ``held_out`` leaves a user without a train row.

    Example:
        >>> checkerboard(num_users=2, num_items=4, held_out=1)["item_id"].to_list()
        [0, 2, 1, 3]
    """
    if num_users < 2 or num_items < 2 or not 0 <= held_out < num_items // 2:
        raise ValueError(
            f"a checkerboard needs 2 users, 2 items and held_out in [0, {max(num_items // 2, 0)}); "
            f"came {num_users} users, {num_items} items, held_out={held_out}"
        )
    generator = np.random.default_rng(seed)
    users, items = np.nonzero((np.arange(num_users)[:, None] + np.arange(num_items)[None, :]) % 2 == 0)
    test = np.zeros(len(users), dtype=np.bool_)
    for user in range(num_users):
        test[generator.choice(np.flatnonzero(users == user), size=held_out, replace=False)] = True
    # a permutation of the train rows first and of the test rows after them: row by row, the hour in which it happened
    happened = np.concatenate([generator.permutation(np.flatnonzero(~test)), generator.permutation(np.flatnonzero(test))])
    hours = np.empty(len(users), dtype=np.int64)
    hours[happened] = np.arange(len(users))
    return pl.DataFrame(
        {
            "user_id": users.astype(np.int64),
            "item_id": items.astype(np.int64),
            "timestamp": _START_S + hours * _HOUR_S,
            "split": np.where(test, "test", "train"),
        }
    )


def time_drift(
    *,
    num_users: int = 100,
    num_items: int = 40,
    num_periods: int = 4,
    rows_per_user: int = 40,
    test_fraction: float = 0.2,
    period_s: int = 30 * 24 * _HOUR_S,
    seed: int = 0,
) -> pl.DataFrame:
    """Everybody likes the same items, but which ones changes with time.

    The items fall into ``num_periods`` groups of equal size (``item_id % num_periods``), and in period ``p`` only group ``p``
    is chosen from, uniformly. A model that knows the time of a test row finds its item among the first
    ``num_items / num_periods`` always; one that does not, once in ``num_periods`` times. Train and test rows are spread over
    all periods.

    Args:
        num_users: Ids are 0 to ``num_users - 1``.
        num_items: A multiple of ``num_periods``; ids are 0 to ``num_items - 1``.
        num_periods: At least 2.
        rows_per_user: Interactions of each user, at times uniform over all periods.
        test_fraction: Probability, in (0, 1), that a row is in the test.
        period_s: Length of a period.
        seed: Of everything.

    Returns:
        ``user_id`` Int64, ``item_id`` Int64, ``timestamp`` Int64, ``split`` (``train`` or ``test``), in the order of time.

    Raises:
        ValueError: If ``num_items`` is no multiple of ``num_periods``, there are fewer than 2 periods, or ``test_fraction`` is
            not in (0, 1).
    """
    if num_periods < 2 or num_items < num_periods or num_items % num_periods or not 0 < test_fraction < 1:
        raise ValueError(
            "a drift needs 2 periods, a multiple of num_periods as num_items, and test_fraction in (0, 1); "
            f"came num_periods={num_periods}, num_items={num_items}, test_fraction={test_fraction}"
        )
    generator = np.random.default_rng(seed)
    total = num_users * rows_per_user
    users = np.repeat(np.arange(num_users, dtype=np.int64), rows_per_user)
    seconds = generator.integers(0, num_periods * period_s, size=total)
    items = generator.integers(0, num_items // num_periods, size=total) * num_periods + seconds // period_s
    test = generator.random(total) < test_fraction
    order = np.argsort(seconds, kind="stable")
    return pl.DataFrame(
        {
            "user_id": users[order],
            "item_id": items[order],
            "timestamp": _START_S + seconds[order],
            "split": np.where(test, "test", "train")[order],
        }
    )


def tastes(*, num_users: int = 120, num_items: int = 60, rows_per_user: int = 12, seed: int = 0) -> dict[str, pl.DataFrame]:
    """An attribute of the user decides the taste, and most users have the one taste, so that popularity serves only them.

    Items ``0`` to ``num_items / 2 - 1`` are liked by users of group ``a`` (two thirds), the others by users of group ``b``. A
    recommender that reads the group serves a user that it has never seen; the items that are popular are those of group ``a``.

    Args:
        num_users: Ids are 0 to ``num_users - 1``; every third is of group ``b``.
        num_items: An even number; ids are 0 to ``num_items - 1``.
        rows_per_user: Distinct liked items of each user, at most ``num_items / 2``.
        seed: Of which ones.

    Returns:
        ``interactions`` (``user_id`` Int64, ``item_id`` Int64, ``timestamp`` Int64, distinct seconds) and ``users``
        (``user_id`` Int64, ``group`` String).

    Raises:
        ValueError: If ``num_items`` is odd, there are fewer than 3 users, or ``rows_per_user`` is out of its range.

    Example:
        >>> tastes(num_users=3, num_items=4, rows_per_user=2)["users"]["group"].to_list()
        ['a', 'a', 'b']
    """
    if num_items % 2 or num_users < 3 or not 1 <= rows_per_user <= num_items // 2:
        raise ValueError(
            "tastes need an even num_items, 3 users and rows_per_user in [1, num_items / 2]; "
            f"came num_items={num_items}, num_users={num_users}, rows_per_user={rows_per_user}"
        )
    generator = np.random.default_rng(seed)
    half = num_items // 2
    in_b = np.arange(num_users) % 3 == 2
    chosen = np.stack([generator.choice(half, size=rows_per_user, replace=False) for _ in range(num_users)])
    items = (chosen + half * in_b[:, None]).ravel()
    users = np.repeat(np.arange(num_users, dtype=np.int64), rows_per_user)
    order = generator.permutation(len(users))
    return {
        "interactions": pl.DataFrame(
            {
                "user_id": users[order],
                "item_id": items[order].astype(np.int64),
                "timestamp": _START_S + np.arange(len(users), dtype=np.int64),
            }
        ),
        "users": pl.DataFrame({"user_id": np.arange(num_users, dtype=np.int64), "group": np.where(in_b, "b", "a")}),
    }
