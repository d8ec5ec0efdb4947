"""Small worlds for baselines, as rows and as the dense matrix that slow oracles read."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.baselines import FitRows
from twotower.data import Examples, build_histories
from twotower.types import Ragged


class World(NamedTuple):
    """Rows with repeats, and the binary user-item matrix of the same."""

    rows: FitRows
    matrix_UN: NDArray[np.float64]


MakeWorld = Callable[..., World]
Scorer = Callable[[Ragged], Tensor]


@pytest.fixture(scope="session")
def make_world() -> MakeWorld:
    """A random world; some items are had by nobody, and the last user has nothing."""

    def make(seed: int, *, num_users: int = 30, num_items: int = 12, count: int = 150) -> World:
        rng = np.random.default_rng(seed)
        users = rng.integers(0, num_users - 1, count)
        items = np.minimum(rng.geometric(0.25, count) - 1, num_items - 2)
        matrix_UN = np.zeros((num_users, num_items))
        matrix_UN[users, items] = 1
        rows = FitRows(torch.from_numpy(users), torch.from_numpy(items), num_users=num_users, num_items=num_items)
        return World(rows, matrix_UN)

    return make


@pytest.fixture(scope="session")
def seen_of() -> Callable[[list[list[int]]], Ragged]:
    """Histories written as lists."""

    def ragged(histories: list[list[int]]) -> Ragged:
        offsets = np.cumsum([0, *map(len, histories)])
        return Ragged(torch.tensor([i for h in histories for i in h], dtype=torch.int32), torch.from_numpy(offsets))

    return ragged


@pytest.fixture(scope="session")
def growing() -> Callable[..., Examples]:
    """Examples of every row, in the order of time; histories grow to each row, or hold all that the user did."""

    def make(users: list[int], items: list[int], *, seen_before: bool) -> Examples:
        user_rows, item_rows = np.array(users, dtype=np.int64), np.array(items, dtype=np.int64)
        histories, before = build_histories(user_rows, item_rows, np.arange(len(users)), num_users=int(user_rows.max()) + 1)
        return Examples(
            user_rows=torch.from_numpy(user_rows),
            item_rows=torch.from_numpy(item_rows),
            users={},
            context={},
            histories=histories,
            before=before,
            seen_before=seen_before,
        )

    return make
