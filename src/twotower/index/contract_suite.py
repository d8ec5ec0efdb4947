"""What every index promises, as tests: for ours, and for one of your own."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor

from twotower.errors import DataError
from twotower.index.contract import SearchResult, VectorIndex
from twotower.types import Ragged

__all__ = ["VectorIndexContract"]

Array: TypeAlias = "np.ndarray[Any, Any]"


class VectorIndexContract(abc.ABC):
    """The promises of `twotower.index.VectorIndex`, one test each; subclass it in a file that pytest collects.

    An index that passes can take the place of another: always k rows where k may be returned, none twice, none that is excluded
    or not allowed, best first, the true score of every row, ties by lowest row, the same answer to the same question; sizes
    from none to more than there are; errors instead of nonsense. Of an exact index the rows are compared with those of sorting
    everything.

    Attributes:
        exact: Whether the index finds all of the k best. If not, which rows it returns is not looked at but for `least_recall`.
        least_recall: Of an approximate index, which part of the 10 best of 3,000 normal vectors of 8 entries it finds at
            least, with its settings as they are built.

    Example:
        >>> from twotower.index import ExactIndex
        >>> class TestExactIndex(VectorIndexContract):
        ...     exact = True
        ...     def build(self, vectors_ND):
        ...         return ExactIndex.build(vectors_ND)
        >>> TestExactIndex().test_ties_go_to_the_lowest_row()
    """

    exact: ClassVar[bool] = False
    least_recall: ClassVar[float] = 0.5

    @abc.abstractmethod
    def build(self, vectors_ND: Tensor) -> VectorIndex:
        """The index that is tested, over these vectors."""

    def test_sizes(self) -> None:
        """It tells how many vectors it holds, and how wide they are."""
        index = self.build(torch.zeros(7, 3))
        assert (index.num_vectors, index.embedding_dim) == (7, 3)

    def test_small_worlds_with_ties_exclusions_and_filters(self) -> None:
        """Whole numbers, whose scores are exact and often tied."""
        for seed in range(8):
            generator = np.random.default_rng(seed)
            num_vectors, num_queries, dim = (int(value) for value in generator.integers((1, 1, 1), (60, 9, 6)))
            vectors_ND = _whole_numbers(generator, (num_vectors, dim), 1 + seed % 3)
            queries_BD = _whole_numbers(generator, (num_queries, dim), 2)
            lists = [generator.integers(0, num_vectors, int(generator.integers(0, 9))).tolist() for _ in queries_BD]
            allowed = torch.from_numpy(generator.random(num_vectors) < 0.7)
            index = self.build(vectors_ND)
            for k in (1, 4, num_vectors, num_vectors + 5):
                self._check(index, vectors_ND, queries_BD, k)
                self._check(index, vectors_ND, queries_BD, k, excluded=lists)
                self._check(index, vectors_ND, queries_BD, k, excluded=lists, allowed=allowed)

    def test_a_larger_world(self) -> None:
        """Thousands of vectors, none, few, half or nearly all of them allowed, and some queries that exclude hundreds."""
        generator = np.random.default_rng(0)
        vectors_ND, queries_BD = _whole_numbers(generator, (3000, 8), 20), _whole_numbers(generator, (40, 8), 20)
        index = self.build(vectors_ND)
        best_BK = torch.topk(queries_BD @ vectors_ND.T, 300).indices
        lists = [best_BK[number, : 10 * number % 300].tolist() for number in range(len(queries_BD))]
        for fraction in (0.0, 0.002, 0.05, 0.5, 0.95, 1.0):
            allowed = torch.from_numpy(generator.random(len(vectors_ND)) < fraction)
            for queries in (queries_BD, queries_BD[:1]):
                self._check(index, vectors_ND, queries, 10, allowed=allowed)
                self._check(index, vectors_ND, queries, 10, excluded=lists[: len(queries)], allowed=allowed)
        for k in (1, 10, 400, 2990, 3001):
            self._check(index, vectors_ND, queries_BD, k)
            self._check(index, vectors_ND, queries_BD, k, excluded=lists)

    def test_most_of_the_best_are_found(self) -> None:
        """All by an exact index; `least_recall` of them otherwise."""
        generator = torch.Generator().manual_seed(0)
        vectors_ND, queries_BD = torch.randn(3000, 8, generator=generator), torch.randn(50, 8, generator=generator)
        rows_BK = self.build(vectors_ND).search(queries_BD, 10).rows_BK
        best_BK = torch.topk(queries_BD.double() @ vectors_ND.double().T, 10).indices
        found = float(
            torch.stack([torch.isin(best, rows) for best, rows in zip(best_BK, rows_BK, strict=True)]).double().mean()
        )
        wanted = 1.0 if self.exact else self.least_recall
        assert found >= wanted, f"recall@10 is {found:.3f}, below {wanted}"

    def test_vectors_of_very_different_norms(self) -> None:
        """From a millionth to a million, and zero."""
        generator = np.random.default_rng(0)
        powers = torch.from_numpy(2.0 ** generator.integers(-20, 21, (2000, 1)))
        vectors_ND = (_whole_numbers(generator, (2000, 6), 3).double() * powers).float()
        vectors_ND[::10] = 0.0
        queries_BD = _whole_numbers(generator, (9, 6), 2)
        queries_BD[4] = 0.0
        self._check(self.build(vectors_ND), vectors_ND, queries_BD, 20)

    def test_vectors_with_much_in_common(self) -> None:
        """A mean a thousand times longer than what is left without it, as trained towers have it."""
        generator = np.random.default_rng(0)
        vectors_ND = _whole_numbers(generator, (2000, 6), 2) + torch.tensor([4000.0, -3000.0, 0.0, 5.0, 0.0, 2000.0])
        self._check(self.build(vectors_ND), vectors_ND, _whole_numbers(generator, (9, 6), 2), 20)

    def test_ties_go_to_the_lowest_row(self) -> None:
        """Among the rows that are returned; of an exact index, among all."""
        vectors_ND = torch.tensor([[1.0, 1.0]]).repeat(40, 1)
        queries_BD = torch.tensor([[1.0, 2.0], [0.0, 0.0], [-1.0, 0.0]])
        self._check(self.build(vectors_ND), vectors_ND, queries_BD, 7)
        vectors_ND = torch.tensor([[0.0, 1.0], [5.0, 3.0], [5.0, 2.0], [5.0, 9.0], [7.0, 4.0]])
        self._check(self.build(vectors_ND), vectors_ND, torch.eye(2), 3)

    def test_many_copies_of_few_vectors(self) -> None:
        """2,000 rows of which most are the same: no row twice, and none missing."""
        generator = np.random.default_rng(0)
        vectors_ND = torch.tensor([[1.0, 0.0, 2.0, 1.0], [0.0, 1.0, 1.0, 2.0], [2.0, 1.0, 0.0, 0.0]])
        vectors_ND = vectors_ND[torch.from_numpy(generator.integers(0, 3, 2000))]
        self._check(self.build(vectors_ND), vectors_ND, _whole_numbers(generator, (9, 4), 2), 50)

    def test_zero_vectors_and_queries(self) -> None:
        """All scores are zero, never minus zero."""
        vectors_ND = torch.zeros(1500, 3)
        self._check(self.build(vectors_ND), vectors_ND, torch.tensor([[1.0, 0.0, -1.0], [0.0, 0.0, 0.0]]), 5)
        vectors_ND = torch.tensor([[-0.0], [0.0], [-0.0], [0.0]])
        index = self.build(vectors_ND)
        self._check(index, vectors_ND, torch.tensor([[1.0], [-1.0]]), 3)
        assert not index.search(torch.tensor([[1.0], [-1.0]]), 2).scores_BK.signbit().any()

    def test_a_single_vector(self) -> None:
        """Is found, and nothing else is."""
        vectors_ND = torch.tensor([[3.0, -1.0]])
        index = self.build(vectors_ND)
        self._check(index, vectors_ND, torch.tensor([[1.0, 1.0], [0.0, 2.0]]), 1)
        self._check(index, vectors_ND, torch.tensor([[1.0, 1.0], [0.0, 2.0]]), 3, excluded=[[0, 0], []])

    def test_everything_left_out(self) -> None:
        """Is all padding."""
        vectors_ND = torch.tensor([[1.0], [2.0]])
        index = self.build(vectors_ND)
        self._check(index, vectors_ND, torch.ones(2, 1), 2, excluded=[[0, 1, 1], [1]])
        self._check(index, vectors_ND, torch.ones(1, 1), 2, allowed=torch.tensor([False, False]))

    def test_no_queries(self) -> None:
        """No rows of k results."""
        vectors_ND = torch.tensor([[1.0], [2.0]])
        self._check(self.build(vectors_ND), vectors_ND, torch.empty(0, 1), 3, excluded=[], allowed=torch.tensor([True, False]))

    def test_no_vectors(self) -> None:
        """Nothing is found."""
        vectors_ND = torch.empty(0, 4)
        index = self.build(vectors_ND)
        assert (index.num_vectors, index.embedding_dim) == (0, 4)
        none = torch.empty(0, dtype=torch.bool)
        self._check(index, vectors_ND, torch.ones(2, 4), 3, excluded=[[], []], allowed=none)

    def test_the_same_question_has_the_same_answer(self) -> None:
        """Again, alone and in a batch."""
        generator = torch.Generator().manual_seed(0)
        vectors_ND, queries_BD = torch.randn(2500, 12, generator=generator), torch.randn(33, 12, generator=generator)
        index = self.build(vectors_ND)
        together, again = index.search(queries_BD, 20), index.search(queries_BD, 20)
        assert torch.equal(together.rows_BK, again.rows_BK)
        assert torch.equal(together.scores_BK, again.scores_BK)
        for number in range(len(queries_BD)):
            alone = index.search(queries_BD[number : number + 1], 20)
            assert torch.equal(alone.rows_BK[0], together.rows_BK[number])
            assert torch.equal(alone.scores_BK[0], together.scores_BK[number])

    def test_it_keeps_what_it_was_built_from(self) -> None:
        """Vectors that are changed afterwards change nothing."""
        vectors_ND = torch.tensor([[1.0], [2.0]])
        index = self.build(vectors_ND)
        vectors_ND.mul_(-1)
        assert index.search(torch.tensor([[1.0]]), 1).rows_BK.tolist() == [[1]]

    def test_a_search_changes_nothing(self) -> None:
        """Neither what it is given, nor the next search."""
        index = self.build(torch.tensor([[1.0], [2.0], [3.0]]))
        queries_BD, allowed = torch.tensor([[1.0]]), torch.tensor([True, True, False])
        excluded = Ragged(torch.tensor([1, 0]), torch.tensor([0, 2]))
        first = index.search(queries_BD, 3, excluded=excluded, allowed=allowed)
        assert queries_BD.tolist() == [[1.0]]
        assert allowed.tolist() == [True, True, False]
        assert (excluded.values.tolist(), excluded.offsets.tolist()) == ([1, 0], [0, 2])
        assert first.rows_BK.tolist() == [[-1, -1, -1]]
        assert index.search(queries_BD, 3).rows_BK.tolist() == [[2, 1, 0]]

    def test_gradients_are_left_behind(self) -> None:
        """Vectors and queries may have one; results don't."""
        index = self.build(torch.tensor([[1.0], [2.0]], requires_grad=True))
        result = index.search(torch.tensor([[1.0]], requires_grad=True), 2)
        assert not result.scores_BK.requires_grad
        assert result.scores_BK.tolist() == [[2.0, 1.0]]

    def test_other_floats_and_integers_are_taken(self) -> None:
        """Vectors and queries of any float, excluded rows of any integer; results are float32 and int64."""
        for dtype in (torch.float16, torch.bfloat16, torch.float64):
            index = self.build(torch.tensor([[1.0], [2.0]], dtype=dtype))
            result = index.search(torch.tensor([[1.5]], dtype=dtype), 2)
            assert (result.scores_BK.dtype, result.scores_BK.tolist()) == (torch.float32, [[3.0, 1.5]])
        index = self.build(torch.tensor([[1.0], [2.0], [3.0]]))
        for dtype in (torch.uint8, torch.int16, torch.int32):
            excluded = Ragged(torch.tensor([2, 0], dtype=dtype), torch.tensor([0, 1, 2]))
            assert index.search(torch.ones(2, 1), 1, excluded=excluded).rows_BK.tolist() == [[1], [2]]

    def test_queries_that_are_views(self) -> None:
        """Not contiguous, or every other row."""
        generator = torch.Generator().manual_seed(0)
        vectors_ND, queries_DB = torch.randn(4, 2000, generator=generator).T, torch.randn(4, 12, generator=generator)
        index = self.build(vectors_ND)
        for view_BD in (queries_DB.T, queries_DB.T[::2]):
            found, expected = index.search(view_BD, 5), index.search(view_BD.contiguous(), 5)
            assert torch.equal(found.rows_BK, expected.rows_BK)

    def test_what_is_not_finite_is_refused(self) -> None:
        """With a `DataError`, when it is built or asked."""
        for bad in (float("nan"), float("inf"), float("-inf")):
            _raises(DataError, partial(self.build, torch.tensor([[1.0, 2.0], [1.0, bad]])))
            index = self.build(torch.ones(3, 2))
            _raises(DataError, partial(index.search, torch.tensor([[1.0, bad]]), 1))

    def test_other_shapes_and_types_are_refused(self) -> None:
        """With a `ValueError`: vectors, queries, k."""
        for vectors in (torch.zeros(3), torch.zeros(3, 0), torch.zeros(3, 2, 2), torch.zeros(3, 2, dtype=torch.int64)):
            _raises(ValueError, partial(self.build, vectors))
        index = self.build(torch.zeros(5, 2))
        bad = [torch.zeros(shape) for shape in ((2,), (1, 3), (1, 1), (1, 2, 2))] + [torch.zeros(1, 2, dtype=torch.int64)]
        for queries in bad:
            _raises(ValueError, partial(index.search, queries, 1))
        wrong: list[Any] = [0, -1, True, 2.0]
        for k in wrong:
            _raises(ValueError, partial(index.search, torch.zeros(1, 2), k))

    def test_what_is_left_out_must_be_rows(self) -> None:
        """A `ValueError` otherwise: rows outside, offsets that fall, masks of another shape."""
        index = self.build(torch.zeros(5, 2))
        for values, offsets in (
            ([0.0], [0, 1]),
            ([0], [0, 1, 1]),
            ([0, 1], [0, 1]),
            ([0, 1], [1, 2]),
            ([5], [0, 1]),
            ([-1], [0, 1]),
        ):
            excluded = Ragged(torch.tensor(values), torch.tensor(offsets))
            _raises(ValueError, partial(index.search, torch.zeros(1, 2), 1, excluded=excluded))
        falling = Ragged(torch.tensor([0, 1]), torch.tensor([0, 2, 1, 2]))
        _raises(ValueError, partial(index.search, torch.zeros(3, 2), 1, excluded=falling))
        for mask in (torch.ones(4, dtype=torch.bool), torch.ones(5), torch.ones(1, 5, dtype=torch.bool)):
            _raises(ValueError, partial(index.search, torch.zeros(1, 2), 1, allowed=mask))

    def _check(
        self,
        index: VectorIndex,
        vectors_ND: Tensor,
        queries_BD: Tensor,
        k: int,
        *,
        excluded: Sequence[Sequence[int]] | None = None,
        allowed: Tensor | None = None,
    ) -> None:
        """Every promise, for vectors and queries whose scores float64 holds without rounding."""
        ragged = None if excluded is None else _ragged(excluded)
        result = index.search(queries_BD, k, excluded=ragged, allowed=allowed)
        assert isinstance(result, SearchResult)
        rows_BK, scores_BK = result.rows_BK.numpy(), result.scores_BK.numpy()
        assert (result.rows_BK.dtype, result.scores_BK.dtype) == (torch.int64, torch.float32)
        assert rows_BK.shape == scores_BK.shape == (len(queries_BD), k)
        exact_BN = (queries_BD.double().numpy() @ vectors_ND.double().numpy().T).astype(np.float32)
        for number in range(len(queries_BD)):
            may = np.ones(len(vectors_ND), dtype=np.bool_) if allowed is None else allowed.numpy().copy()
            may[list(excluded[number]) if excluded is not None else []] = False
            _check_query(rows_BK[number], scores_BK[number], exact_BN[number], may)
            if self.exact:
                rows = np.flatnonzero(may)
                best = rows[np.argsort(-exact_BN[number][rows], kind="stable")][:k]
                assert rows_BK[number][: len(best)].tolist() == best.tolist(), "not the k best"


def _check_query(rows_K: Array, scores_K: Array, exact_N: Array, may_N: Array) -> None:
    count = min(len(rows_K), int(may_N.sum()))
    found = rows_K[:count]
    assert (found >= 0).all(), f"{(found < 0).sum()} rows are missing of {count} that may be returned"
    assert (rows_K[count:] == -1).all(), "rows are -1 where no more exist"
    assert (scores_K[count:] == -np.inf).all(), "scores are minus infinity where no more exist"
    assert (found < len(may_N)).all(), "rows are below N"
    assert len(np.unique(found)) == count, "no row comes twice"
    assert may_N[found].all(), "no row that is excluded or not allowed"
    assert (scores_K[:count] == exact_N[found]).all(), "scores are the dot products"
    order = np.lexsort((found, -scores_K[:count]))
    assert (order == np.arange(count)).all(), "best first, ties by lowest row"


def _ragged(lists: Sequence[Sequence[int]]) -> Ragged:
    offsets = np.cumsum([0] + [len(each) for each in lists])
    return Ragged(torch.tensor([row for each in lists for row in each], dtype=torch.int64), torch.tensor(offsets))


def _whole_numbers(generator: np.random.Generator, shape: tuple[int, int], most: int) -> Tensor:
    """Whole numbers have exact dot products, and few of them have many ties."""
    return torch.from_numpy(generator.integers(-most, most + 1, shape).astype(np.float32))


def _raises(kind: type[Exception], work: Callable[[], object]) -> None:
    try:
        work()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was to be raised")
