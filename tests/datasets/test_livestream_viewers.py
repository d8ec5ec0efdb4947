"""Who watches when."""

from __future__ import annotations

import numpy as np
import pytest

from twotower.datasets.livestream.hashes import Hashes
from twotower.datasets.livestream.shape import ViewerClass, WorldShape, shape_for
from twotower.datasets.livestream.viewers import Attributes, Viewers, combination_shares, scrambled, unscrambled

ROWS = 40_000
LIGHT = ViewerClass(row_share=0.25, mean_rows=2.0, window=0.1, personal=0.1, returning=0.2)
HEAVY = ViewerClass(row_share=0.75, mean_rows=30.0, window=0.5, personal=0.5, returning=0.4)


@pytest.fixture(scope="module")
def viewers() -> Viewers:
    return Viewers(WorldShape(ROWS, communities=4, places=8, classes=(LIGHT, HEAVY)), Hashes(1))


def test_classes_have_their_share_of_rows_and_rows_each(viewers: Viewers) -> None:
    watching = viewers.watching(np.arange(ROWS))
    group = viewers.group(watching)
    assert abs((group == 0).mean() - 0.25) < 0.02
    # of the viewers that came and went within the log
    for which, (mean, window) in enumerate(((2.0, 0.1), (30.0, 0.5))):
        here = ROWS * (0.25, 0.75)[which] * window / mean
        of_class = np.bincount(watching[group == which] - watching[group == which].min())
        inside = of_class[int(here) : -int(here)]
        assert abs(inside.mean() / mean - 1) < 0.1


def test_a_viewer_is_there_for_a_window(viewers: Viewers) -> None:
    watching = viewers.watching(np.arange(ROWS))
    group = viewers.group(watching)
    for which, window in enumerate((0.1, 0.5)):
        rows = np.flatnonzero(group == which)
        longest = 0
        for viewer in np.unique(watching[rows])[:300]:
            mine = rows[watching[rows] == viewer]
            longest = max(longest, int(mine[-1] - mine[0]))
        assert longest <= window * ROWS + 1
        assert longest > 0.6 * window * ROWS


def test_new_viewers_come_all_the_time(viewers: Viewers) -> None:
    watching = viewers.watching(np.arange(ROWS))
    cut = int(0.9 * ROWS)
    assert 0.05 < (~np.isin(watching[cut:], watching[:cut])).mean() < 0.5


def test_attributes_follow_their_shares(viewers: Viewers) -> None:
    people = viewers.attributes(np.arange(50_000))
    drawn = np.bincount(people.combination(), minlength=len(combination_shares())) / 50_000
    assert combination_shares().sum() == pytest.approx(1)
    assert np.abs(drawn - combination_shares()).max() < 0.004
    assert abs((people.gender == 1).mean() - 0.59) < 0.01  # male
    assert abs((people.network == 0).mean() - 0.30) < 0.01  # meetme


def test_combinations_differ_where_an_attribute_does() -> None:
    one = np.array([1, 2, 1, 1, 1])
    age = np.array([0, 0, 40, 0, 0])
    numbers = Attributes(one, np.array([0, 0, 0, 1, 0]), age, np.array([0, 0, 0, 0, 2])).combination()
    assert len(set(numbers.tolist())) == 5
    # ages of one band have the same tastes: 18 and 19
    same = Attributes(np.array([0, 0]), np.array([0, 0]), np.array([0, 1]), np.array([0, 0])).combination()
    assert same[0] == same[1]


def test_shown_numbers_come_back_and_do_not_tell_the_order() -> None:
    numbers = np.concatenate([np.arange(10_000), 2**31 - 1 - np.arange(10)])
    shown = scrambled(numbers)
    assert np.array_equal(unscrambled(shown), numbers)
    assert len(np.unique(shown)) == len(numbers)
    assert shown.min() >= 0
    assert shown.max() < 2**31
    assert abs(np.corrcoef(numbers[:10_000], shown[:10_000])[0, 1]) < 0.05


def test_worlds_grow_with_the_rows() -> None:
    small, large = shape_for(100_000), shape_for(10_000_000)
    assert small.communities < large.communities
    assert small.communities * small.places * 30 < large.communities * large.places
    assert shape_for(1).places >= 8
