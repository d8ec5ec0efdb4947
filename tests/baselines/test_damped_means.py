from __future__ import annotations

import numpy as np
import pytest

from twotower.baselines import DampedMeans

USERS, ITEMS = 4, 5


def ratings() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    # the last user and the last item have no rows
    return rng.integers(1, 6, 30).astype(np.float64), rng.integers(0, USERS - 1, 30), rng.integers(0, ITEMS - 1, 30)


def slowly(user: int, item: int, damping: float) -> float:
    values, users, items = (part.tolist() for part in ratings())
    mean: float = sum(values) / len(values)

    def item_offset(wanted: int) -> float:
        rows = [v - mean for v, i in zip(values, items, strict=True) if i == wanted]
        return sum(rows) / (len(rows) + damping) if rows else 0.0

    rows = [v - mean - item_offset(i) for v, u, i in zip(values, users, items, strict=True) if u == user]
    user_offset = sum(rows) / (len(rows) + damping) if rows else 0.0
    return float(min(max(mean + item_offset(item) + user_offset, min(values)), max(values)))


@pytest.mark.parametrize("damping", [0.0, 5.0, 50.0])
def test_offsets_are_those_of_a_loop(damping: float) -> None:
    values, users, items = ratings()
    found = DampedMeans.fit(values, users, items, num_users=USERS, num_items=ITEMS, damping=damping)
    pairs = [(user, item) for user in range(USERS) for item in range(ITEMS)]
    predicted = found.predict(np.array([u for u, _ in pairs]), np.array([i for _, i in pairs]))
    assert predicted.tolist() == pytest.approx([slowly(user, item, damping) for user, item in pairs])
    assert predicted[-1] == pytest.approx(values.mean())


def test_predictions_stay_in_the_range_of_the_rows() -> None:
    values, users, items = ratings()
    found = DampedMeans.fit(values, users, items, num_users=USERS, num_items=ITEMS)
    assert (found.low, found.high) == (1.0, 5.0)
    for offset, expected in ((6.0, 5.0), (-6.0, 1.0)):
        far = DampedMeans(3.0, np.array([offset]), np.array([0.0]), found.low, found.high)
        assert far.predict(np.array([0]), np.array([0])).tolist() == [expected]


def test_nothing_to_fit_is_refused() -> None:
    empty = np.zeros(0, dtype=np.int64)
    with pytest.raises(ValueError, match="there must be rows"):
        DampedMeans.fit(np.zeros(0), empty, empty, num_users=1, num_items=1)
    values, users, items = ratings()
    with pytest.raises(ValueError, match="damping at least 0"):
        DampedMeans.fit(values, users, items, num_users=USERS, num_items=ITEMS, damping=-1.0)
