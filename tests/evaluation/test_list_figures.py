from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from twotower.evaluation import list_figures
from twotower.types import Ragged

ITEMS_QK = torch.tensor([[0, 1, 2], [1, 0, -1], [1, -1, -1]])
COUNTS_N = torch.tensor([3, 2, 0, 1])
HISTORIES = Ragged(torch.tensor([0, 3, 1]), torch.tensor([0, 2, 3, 3]))
"""The third user has none."""
VECTORS_ND = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [1.0, 1.0]])
CATEGORIES = Ragged(torch.tensor([0, 1, 0, 1, 1]), torch.tensor([0, 1, 2, 4, 5]))


def figures(**changed: Any) -> dict[str, float]:
    given: dict[str, Any] = {
        "ks": [1, 3],
        "catalogue_size": 4,
        "item_counts_N": COUNTS_N,
        "histories": HISTORIES,
        "vectors_ND": VECTORS_ND,
        "categories": CATEGORIES,
    }
    given |= changed
    return list_figures(given.pop("items_QK", ITEMS_QK), **given)


def test_every_figure_by_hand() -> None:
    bits = {item: -math.log2((count + 1) / 10) for item, count in enumerate([3, 2, 0, 1])}
    # at 1 the lists are 0, 1, 1; the histories 0 and 3, 1, none
    worst = math.log(100)
    expected = {
        "coverage@1": 2 / 4,
        "gini@1": (1 * 1 + 3 * 2) / (4 * 3),  # counts 0, 0, 1, 2
        "popularity_lift@1": ((3 + 2) / 2) / ((2 + 2) / 2),
        "novelty@1": (bits[0] + 2 * bits[1]) / 3,
        "calibration@1": (0.5 * math.log(0.5 / 0.995) + 0.5 * math.log(0.5 / 0.005) + 0) / 2,
        "coverage@3": 3 / 4,
        "gini@3": (-1 * 1 + 1 * 2 + 3 * 3) / (4 * 6),  # counts 0, 1, 2, 3
        "popularity_lift@3": ((5 / 3 + 5 / 2) / 2) / ((2 + 2) / 2),
        "novelty@3": ((bits[0] + bits[1] + bits[2]) / 3 + (bits[0] + bits[1]) / 2 + bits[1]) / 3,
        "diversity_vectors@3": ((1 + 1 + 0) / 3 + 1) / 2,
        "diversity_categories@3": ((1 + 0.5 + 0.5) / 3 + 1) / 2,
        "calibration@3": (0 + math.log(1 / (0.99 * 0.5 + 0.01))) / 2,
    }
    found = figures()
    assert found == pytest.approx(expected, rel=1e-9)
    assert all(type(value) is float for value in found.values())
    assert worst > found["calibration@1"] > found["calibration@3"]


def test_a_figure_is_of_the_first_k() -> None:
    assert figures(ks=[1]) == figures(items_QK=ITEMS_QK[:, :1], ks=[1])
    assert set(figures(ks=[2])) == {key.replace("@3", "@2") for key in figures() if key.endswith("@3")}


def test_what_is_not_given_is_left_out() -> None:
    bare = figures(vectors_ND=None, categories=None, ks=[3])
    assert list(bare) == ["coverage@3", "gini@3", "popularity_lift@3", "novelty@3"]
    assert "diversity_vectors@3" in figures(categories=None)
    assert "diversity_categories@3" in figures(vectors_ND=None)


def test_a_figure_without_a_value_is_left_out() -> None:
    nothing = Ragged(torch.empty(0, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
    assert not {"popularity_lift@3", "calibration@3"} & set(figures(histories=nothing))
    assert "popularity_lift@3" not in figures(item_counts_N=torch.tensor([0, 0, 5, 0]))
    assert figures(items_QK=torch.full((3, 3), -1), ks=[3]) == {"coverage@3": 0.0}


def test_ten_is_what_is_looked_at_unless_said() -> None:
    lists_QK = torch.arange(12).expand(3, -1)
    found = list_figures(lists_QK, catalogue_size=12, item_counts_N=torch.ones(12), histories=HISTORIES)
    assert (found["coverage@10"], len(found)) == (10 / 12, 4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ks": [0]}, r"ks must be in \[1, 3\].* came \[0\]"),
        ({"ks": [4]}, r"ks must be in \[1, 3\].* came \[4\]"),
        ({"ks": [2, 2]}, r"without repeats; came \[2, 2\]"),
        ({"catalogue_size": 5}, r"item_counts_N must have the shape \[5\]; came \[4\]"),
        ({"vectors_ND": VECTORS_ND[:3]}, r"vectors_ND must have 4 rows, one per item; came \[3, 2\]"),
        ({"categories": Ragged(torch.tensor([1]), torch.tensor([0, 1]))}, r"categories must have 4 rows, one per item; came 1"),
        ({"items_QK": ITEMS_QK + 2}, r"in \[0, 4\)"),
        ({"histories": Ragged(torch.tensor([1]), torch.tensor([0, 1]))}, r"came 1 for 3 lists"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figures(**changed)
