"""The suite finds an index that breaks a promise: each promise is broken once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from twotower.errors import DataError
from twotower.index import ExactIndex, SearchResult, VectorIndex, VectorIndexContract
from twotower.types import Ragged

Change = Callable[[SearchResult], SearchResult]


class Broken:
    """An exact index with something done to what is asked, or to what is answered."""

    def __init__(self, vectors_ND: Tensor, broken: str) -> None:
        self.exact, self.broken, self.asked = ExactIndex.build(vectors_ND), broken, 0

    @property
    def num_vectors(self) -> int:
        return self.exact.num_vectors + (self.broken == "counts wrongly")

    @property
    def embedding_dim(self) -> int:
        return self.exact.embedding_dim

    def search(
        self, queries_BD: Tensor, k: int, *, excluded: Ragged | None = None, allowed: Tensor | None = None
    ) -> SearchResult:
        self.asked += 1
        match self.broken:
            case "returns what is excluded":
                excluded = None
            case "returns what is not allowed":
                allowed = None
            case "takes any k":
                k = max(1, int(k))
            case "takes NaN":
                queries_BD = queries_BD.nan_to_num()
            case "raises another error":
                try:
                    return self.exact.search(queries_BD, k, excluded=excluded, allowed=allowed)
                except (ValueError, DataError) as fault:
                    raise RuntimeError(str(fault)) from None
        rows_BK, scores_BK = self.exact.search(queries_BD, k, excluded=excluded, allowed=allowed)
        match self.broken:
            case "returns a row twice":
                rows_BK = torch.cat([rows_BK[:, :1], rows_BK[:, :-1]], dim=1)
            case "returns too few":
                rows_BK, scores_BK = rows_BK.clone(), scores_BK.clone()
                rows_BK[:, -1:], scores_BK[:, -1:] = -1, -torch.inf
            case "returns the best last":
                rows_BK, scores_BK = rows_BK.flip(1), scores_BK.flip(1)
            case "rounds scores":
                scores_BK = scores_BK + 0.25
            case "forgets minus infinity":
                scores_BK = scores_BK.clamp(min=-1e30)
            case "returns other types":
                rows_BK = rows_BK.int()
            case "answers otherwise the next time":
                rows_BK = rows_BK.roll(self.asked, 1)
            case "breaks ties by chance":
                found = self.exact.search(queries_BD, self.exact.num_vectors or 1, excluded=excluded, allowed=allowed)
                order_BK = (found.scores_BK.double() + 1e-9 * found.rows_BK).sort(dim=1, descending=True).indices[:, :k]
                rows_BK[:, : order_BK.shape[1]] = found.rows_BK.gather(1, order_BK)
            case "changes what it is given":
                queries_BD.mul_(2)
        return SearchResult(rows_BK, scores_BK)


BROKEN = [
    "counts wrongly",
    "returns what is excluded",
    "returns what is not allowed",
    "takes any k",
    "takes NaN",
    "raises another error",
    "returns a row twice",
    "returns too few",
    "returns the best last",
    "rounds scores",
    "forgets minus infinity",
    "returns other types",
    "answers otherwise the next time",
    "breaks ties by chance",
    "changes what it is given",
]


def faults(contract: VectorIndexContract) -> list[str]:
    """The tests that fail."""
    found = []
    for name in sorted(each for each in dir(contract) if each.startswith("test_")):
        try:
            getattr(contract, name)()
        except Exception:
            found.append(name)
    return found


def contract_of(build: Callable[[Tensor], VectorIndex], **attributes: Any) -> VectorIndexContract:
    kind = type("Contract", (VectorIndexContract,), {"build": lambda _, vectors_ND: build(vectors_ND), **attributes})
    made = kind()
    assert isinstance(made, VectorIndexContract)
    return made


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_promise_is_found(broken: str) -> None:
    assert faults(contract_of(lambda vectors_ND: Broken(vectors_ND, broken)))


def test_a_whole_index_passes() -> None:
    assert faults(contract_of(lambda vectors_ND: Broken(vectors_ND, "nothing"), exact=True)) == []


class SecondBest:
    """Never finds the very best."""

    def __init__(self, vectors_ND: Tensor) -> None:
        self.exact = ExactIndex.build(vectors_ND)
        self.num_vectors, self.embedding_dim = self.exact.num_vectors, self.exact.embedding_dim

    def search(
        self, queries_BD: Tensor, k: int, *, excluded: Ragged | None = None, allowed: Tensor | None = None
    ) -> SearchResult:
        found = self.exact.search(queries_BD, k, excluded=excluded, allowed=allowed)
        if k * 16 > self.num_vectors or bool((found.rows_BK < 0).any()) or excluded is not None or allowed is not None:
            return found
        return SearchResult(*(part[:, 1:].contiguous() for part in self.exact.search(queries_BD, k + 1)))


def test_what_an_approximate_index_misses_counts_only_where_it_is_said() -> None:
    assert "test_a_larger_world" in faults(contract_of(SecondBest, exact=True))
    assert faults(contract_of(SecondBest, least_recall=0.85)) == []
    assert faults(contract_of(SecondBest, least_recall=0.95)) == ["test_most_of_the_best_are_found"]
