"""IVF-PQ: approximate search in some of many lists of short codes, with exact scores of a shortlist."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from twotower.index.arguments import require_whole
from twotower.index.centring import Centring, centring_tensors, read_centring
from twotower.index.contract import SearchResult
from twotower.index.exact import ExactIndex, exact_on_cpu
from twotower.index.faiss_library import faiss_library, faiss_threads
from twotower.index.index_state import IndexConfig, IndexState, begun_config, checked_config
from twotower.index.inverted_lists import build_lists, lists_tensor, read_lists
from twotower.index.shortlisted import enough_of, fraction_of, search_shortlists
from twotower.types import Ragged

__all__ = ["IVFPQIndex"]

_KIND = "ivf_pq"
_LEAST_FRACTION = 0.3
_FEWEST_VECTORS = 1024
_PROBES = (8, 16, 32, 64, 128, 256, 512, 1024)
_SHORTLISTS = (4, 10)


class IVFPQIndex:
    """Most of the k best by dot product, found in lists of codes; built by :meth:`build`.

    A ``VectorIndex``: vectors lie in ``num_lists`` lists, each beside its nearest of as many centres, as codes of 4 bits for
    every ``entries_per_code`` entries (Jegou et al. 2011, "Product quantization for nearest neighbor search"; scanned as by
    Andre et al. 2015, "Cache locality is not enough"). A search reads the ``num_probes`` lists whose centres have the largest
    dot product with the query, keeps the ``shortlist`` best by their codes, scores these as `ExactIndex` scores and returns the
    k best. Scores are exact, ties go to the lowest row, and the same question has the same answer; what may be missing is a row
    in another list, or one whose code says too little.

    It is built in a fraction of the time of `twotower.index.HNSWIndex`, and its state is smaller, about 24 bytes a vector of 64
    entries; for the same recall a search takes longer. As there, dot products are taken as they are, after the mean of all
    vectors was taken off each, which leaves the order of scores and lets codes say what distinguishes vectors.

    ``excluded`` rows of a query lengthen its shortlist by as many. ``allowed`` lengthens it, and the number of lists, by the
    inverse of the fraction that is allowed; in a batch below three in ten, for a few queries below six in a hundred, all that
    is allowed is searched exactly. So it is where the shortlist holds fewer than k that may be returned, where k is more than a
    sixteenth of what may be, and where there are fewer than 1,024 vectors, too few to learn codes from.

    It lives on the CPU.

    Example:
        >>> import torch
        >>> vectors_ND = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
        >>> index = IVFPQIndex.build(vectors_ND, num_lists=20)
        >>> index.search(vectors_ND[:1], k=2).rows_BK.shape, index.with_search(num_probes=4, shortlist=50).num_probes
        (torch.Size([1, 2]), 4)
    """

    def __init__(
        self, exact: ExactIndex, lists: Any, centring: Centring, *, entries_per_code: int, num_probes: int, shortlist: int
    ) -> None:
        self._exact = exact
        self._lists = lists
        self._centring = centring
        self._entries_per_code = entries_per_code
        self._num_probes = num_probes
        self._shortlist = shortlist

    @classmethod
    def build(
        cls,
        vectors_ND: Tensor | ExactIndex,
        *,
        num_lists: int | None = None,
        entries_per_code: int = 2,
        num_probes: int = 64,
        shortlist: int = 1000,
        seed: int = 0,
        num_threads: int = 1,
    ) -> Self:
        """Learn lists and codes from the vectors, and keep a copy of them.

        Args:
            vectors_ND: Floats of any width (kept as float32), shape ``[N, D]``; N may be 0. Or an exact index on the CPU, which
                is then shared.
            num_lists: None for four times the square root of N.
            entries_per_code: How many entries of a vector share a code of 4 bits; more make a smaller index that misses more.
            num_probes: Lists that a search reads, see :meth:`with_search`.
            shortlist: Rows that a search scores exactly, as well.
            seed: Of what is drawn when lists and codes are learned.
            num_threads: Of building; the result is the same.

        Raises:
            ValueError: If the shape or the dtype is another, a number is not positive, there are more lists than a 39th of the
                vectors (where there are 1,024), or the exact index is not on the CPU.
            DataError: If a vector holds NaN or an infinity; names the rows.
            MissingExtraError: If FAISS is not installed.
        """
        numbers = {"entries_per_code": entries_per_code, "num_probes": num_probes, "shortlist": shortlist}
        require_whole(1, **numbers, num_threads=num_threads)
        require_whole(0, seed=seed)
        faiss_library()
        exact = exact_on_cpu(vectors_ND)
        centring = Centring.of(exact.vectors)
        lists = None
        if exact.num_vectors >= _FEWEST_VECTORS:
            most = exact.num_vectors // 39
            wanted = min(most, round(4 * math.sqrt(exact.num_vectors))) if num_lists is None else num_lists
            require_whole(1, num_lists=wanted)
            if wanted > most:
                raise ValueError(f"num_lists must be at most {most}, a 39th of {exact.num_vectors} vectors (came: {wanted})")
            own_ND = _padded(torch.from_numpy(centring.apply(exact.vectors)), entries_per_code)
            lists = build_lists(own_ND, wanted, entries_per_code, seed=seed, num_threads=num_threads)
        elif num_lists is not None:
            require_whole(1, num_lists=num_lists)
        return cls(exact, lists, centring, **numbers)

    @classmethod
    def from_state(cls, vectors_ND: Tensor | ExactIndex, tensors: Mapping[str, Tensor], config: IndexConfig) -> Self:
        """Put together again what :meth:`state` gave.

        Args:
            vectors_ND: The vectors that it was built from, or an exact index of them on the CPU.
            tensors: As they were. They hold an index in the form of FAISS, whose reader finds most damage but is not made for
                files of strangers: read what you have checked.
            config: As it was.

        Raises:
            CorruptBundleError: If something is missing, damaged, or of other vectors.
            IncompatibleBundleError: If it was written in a newer format.
            ValueError: As of :meth:`build`, and so are DataError and MissingExtraError.
        """
        exact = exact_on_cpu(vectors_ND)
        names = ("entries_per_code", "num_probes", "shortlist")
        numbers = checked_config(config, _KIND, exact.vectors, dict.fromkeys(names, 1))
        centring = read_centring(tensors, exact.embedding_dim)
        lists = None
        if exact.num_vectors >= _FEWEST_VECTORS:
            per_code = numbers["entries_per_code"]
            lists = read_lists(tensors, exact.num_vectors, -(-exact.embedding_dim // per_code), per_code)
        return cls(exact, lists, centring, **numbers)

    def state(self) -> IndexState:
        """What the index is made of beside its vectors."""
        tensors = centring_tensors(self._centring) | ({} if self._lists is None else lists_tensor(self._lists))
        return IndexState(tensors, {**begun_config(_KIND, self._exact.vectors), **self._numbers()})

    def with_search(self, *, num_probes: int, shortlist: int) -> Self:
        """The same lists, searched with more or less effort.

        Args:
            num_probes: Lists to read; more than there are reads all.
            shortlist: Rows to score exactly; where k is more, k.

        Raises:
            ValueError: If one is not positive.
        """
        require_whole(1, num_probes=num_probes, shortlist=shortlist)
        numbers = {**self._numbers(), "num_probes": num_probes, "shortlist": shortlist}
        return type(self)(self._exact, self._lists, self._centring, **numbers)

    def search_settings(self, k: int) -> Sequence[Mapping[str, int]]:
        """What `tune` tries for :meth:`with_search`: from the quickest to the one that misses least."""
        probes = sorted({min(each, self.num_lists) for each in _PROBES})
        return [{"num_probes": each, "shortlist": times * k} for each in probes for times in _SHORTLISTS]

    def _numbers(self) -> dict[str, int]:
        return {
            "entries_per_code": self._entries_per_code,
            "num_probes": self._num_probes,
            "shortlist": self._shortlist,
        }

    @property
    def num_vectors(self) -> int:
        """How many vectors the index holds (N)."""
        return self._exact.num_vectors

    @property
    def embedding_dim(self) -> int:
        """The width of a vector (D)."""
        return self._exact.embedding_dim

    @property
    def num_lists(self) -> int:
        """How many lists the vectors lie in; one where there are too few vectors to learn any."""
        return 1 if self._lists is None else int(self._lists.nlist)

    @property
    def num_probes(self) -> int:
        """How many lists a search reads."""
        return self._num_probes

    @property
    def shortlist(self) -> int:
        """How many rows a search scores exactly."""
        return self._shortlist

    @property
    def exact(self) -> ExactIndex:
        """The exact index of the same vectors, which scores the shortlist."""
        return self._exact

    def search(
        self, queries_BD: Tensor, k: int, *, excluded: Ragged | None = None, allowed: Tensor | None = None
    ) -> SearchResult:
        """Find most of the k rows with the highest dot product; see `twotower.index.VectorIndex.search`, and errors there.

        Returns:
            B rows of k results, on the CPU: always k where k may be returned.
        """
        own_BD = self._exact.checked(queries_BD, k, excluded, allowed).cpu()
        if self._lists is None:
            return self._exact.search(own_BD, k, excluded=excluded, allowed=allowed)
        fraction = fraction_of(allowed)

        def shortlist(queries_BD: Tensor, extra: int) -> Tensor:
            wanted = enough_of(max(self._shortlist, k) + extra, fraction)
            return self._codes_shortlist(queries_BD, math.ceil(self._num_probes / fraction), wanted)

        return search_shortlists(self._exact, shortlist, own_BD, k, excluded, allowed, least_fraction=_LEAST_FRACTION)

    def _codes_shortlist(self, queries_BD: Tensor, num_probes: int, wanted: int) -> Tensor:
        faiss = faiss_library()
        # FAISS sums in float32: neither vectors nor queries are long
        own_BD = _padded(F.normalize(queries_BD.double(), dim=1).float(), self._entries_per_code)
        parameters = faiss.SearchParametersIVF(nprobe=min(num_probes, self.num_lists))
        with faiss_threads(faiss, 1):
            return torch.from_numpy(self._lists.search(own_BD, min(wanted, self.num_vectors), params=parameters)[1])


def _padded(vectors_ND: Tensor, multiple: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Zeros behind each vector, so that its length is a multiple."""
    return F.pad(vectors_ND, (0, -vectors_ND.shape[1] % multiple)).contiguous().numpy()
