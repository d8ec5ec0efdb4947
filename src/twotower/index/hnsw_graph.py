"""A hierarchical graph of neighbours, as plain tensors: built by FAISS, checked when it is read back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from twotower.errors import CorruptBundleError
from twotower.index.faiss_library import faiss_library, faiss_threads

__all__ = ["Graph", "build_graph", "faiss_graph", "read_graph"]

Array: TypeAlias = "np.ndarray[Any, Any]"


class Graph(NamedTuple):
    """Every row has neighbours; few rows have more on the levels above, on which a search comes near its query in few steps.

    Attributes:
        links_NL: int32, ``[N, 2 M]``: neighbours, -1 after the last.
        levels_N: uint8, ``[N]``: on how many levels a row is, at least 1.
        upper_links_UM: int32, ``[U, M]``: neighbours on the levels above the first, for each row ``levels - 1`` in turn.
        entry: The row at which a search begins; none is on more levels.
    """

    links_NL: Tensor
    levels_N: Tensor
    upper_links_UM: Tensor
    entry: int

    @property
    def num_rows(self) -> int:
        return int(self.links_NL.shape[0])

    @property
    def neighbours(self) -> int:
        """M: half of what a row has on the first level."""
        return int(self.links_NL.shape[1]) // 2

    @property
    def upper_from(self) -> Tensor:
        """int64, ``[N]``: where the upper links of each row begin."""
        above = self.levels_N.to(torch.int64) - 1
        return above.cumsum(0) - above

    def by_popularity(self) -> Tensor:
        """int64, ``[N]``: all rows, those that most others are linked to first: searches come by these again and again."""
        linked = self.links_NL[self.links_NL >= 0]
        return torch.bincount(linked, minlength=self.num_rows).argsort(descending=True, stable=True)

    def renumbered(self, order_N: Tensor) -> Graph:
        """The same graph in which row n is what was row ``order_N[n]``."""
        numbers = np.empty(self.num_rows + 1, dtype=np.int32)
        numbers[order_N.numpy()] = np.arange(self.num_rows, dtype=np.int32)
        numbers[-1] = -1  # what -1 leads to
        above_N = self.levels_N[order_N].to(torch.int64) - 1
        starts_U = torch.repeat_interleave(self.upper_from[order_N] - above_N.cumsum(0) + above_N, above_N)
        links, upper = self.links_NL.numpy(), self.upper_links_UM.numpy()[(starts_U + torch.arange(len(starts_U))).numpy()]
        return Graph(
            torch.from_numpy(numbers[links[order_N.numpy()]]),
            self.levels_N[order_N],
            torch.from_numpy(numbers[upper]),
            int(numbers[self.entry]),
        )

    def tensors(self) -> dict[str, Tensor]:
        """What a file keeps of it, see `read_graph`."""
        entry = torch.tensor([self.entry])
        return {"links": self.links_NL, "levels": self.levels_N, "upper_links": self.upper_links_UM, "entry": entry}


def build_graph(vectors_ND: Array, *, neighbours: int, ef_construction: int, seed: int, num_threads: int) -> Graph:
    """Link every vector to some that have a large dot product with it.

    Args:
        vectors_ND: float32, contiguous, N at least 1.
        neighbours: M.
        ef_construction: How many rows are kept in mind while neighbours are looked for.
        seed: Of the rows' levels.
        num_threads: With one, the same vectors give the same graph; with more, which rows are linked depends on who came first.

    Raises:
        MissingExtraError: If FAISS is not installed.
    """
    faiss = faiss_library()
    index = faiss.IndexHNSWFlat(vectors_ND.shape[1], neighbours, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = ef_construction
    index.hnsw.rng = faiss.RandomGenerator(seed)
    with faiss_threads(faiss, num_threads):
        index.add(vectors_ND)
    levels = faiss.vector_to_array(index.hnsw.levels)
    links = faiss.vector_to_array(index.hnsw.neighbors)
    starts = faiss.vector_to_array(index.hnsw.offsets).astype(np.int64)[:-1]
    is_first = np.zeros(len(links), dtype=np.bool_)
    first = np.empty((len(levels), 2 * neighbours), dtype=np.int32)
    for place in range(2 * neighbours):
        first[:, place] = links[starts + place]
        is_first[starts + place] = True
    upper = links[~is_first].reshape(-1, neighbours)
    tensors = (torch.from_numpy(first), torch.from_numpy(levels.astype(np.uint8)), torch.from_numpy(upper))
    return Graph(*tensors, int(index.hnsw.entry_point))


def faiss_graph(graph: Graph, vectors_ND: Array) -> Any:
    """The same graph as an index of FAISS, over vectors in 8 bits: what searches where there is no C compiler.

    Raises:
        MissingExtraError: If FAISS is not installed.
    """
    faiss = faiss_library()
    num_rows, dim = vectors_ND.shape
    kind = faiss.ScalarQuantizer.QT_8bit
    index = faiss.IndexHNSWSQ(dim, kind, graph.neighbours, faiss.METRIC_INNER_PRODUCT)
    with faiss_threads(faiss, 1):
        index.train(vectors_ND)
        index.storage.add(vectors_ND)
    index.ntotal = num_rows
    levels, width = graph.levels_N.numpy().astype(np.int64), 2 * graph.neighbours
    offsets = np.concatenate([[0], np.cumsum(width + (levels - 1) * graph.neighbours)])
    links = np.empty(offsets[-1], dtype=np.int32)
    is_first = np.zeros(len(links), dtype=np.bool_)
    for place in range(width):
        links[offsets[:-1] + place] = graph.links_NL[:, place].numpy()
        is_first[offsets[:-1] + place] = True
    links[~is_first] = graph.upper_links_UM.numpy().ravel()
    hnsw = index.hnsw
    faiss.copy_array_to_vector(levels.astype(np.int32), hnsw.levels)
    faiss.copy_array_to_vector(links, hnsw.neighbors)
    faiss.copy_array_to_vector(offsets.astype(np.uint64), hnsw.offsets)
    hnsw.entry_point, hnsw.max_level = graph.entry, int(levels.max()) - 1
    return index


def read_graph(tensors: Mapping[str, Tensor], *, num_rows: int, neighbours: int) -> Graph:
    """Put a graph together again and make sure that no link leads outside, or to a level on which a row is not.

    Args:
        tensors: Of `Graph.tensors`.
        num_rows: N.
        neighbours: M.

    Raises:
        CorruptBundleError: If a tensor is missing, of another shape or dtype, or leads outside.
    """
    above = int(tensors["levels"].to(torch.int64).sum()) - num_rows if "levels" in tensors else 0
    wanted = {
        "links": (torch.int32, (num_rows, 2 * neighbours)),
        "levels": (torch.uint8, (num_rows,)),
        "upper_links": (torch.int32, (above, neighbours)),
        "entry": (torch.int64, (1,)),
    }
    for name, (dtype, shape) in wanted.items():
        if name not in tensors:
            raise CorruptBundleError(f"a graph must have the tensor {name!r} (came: {', '.join(sorted(tensors)) or 'none'})")
        found = tensors[name]
        if found.dtype != dtype or found.shape != shape:
            came = f"{found.dtype} {list(found.shape)}"
            raise CorruptBundleError(f"{name} of a graph must be {dtype} of shape {list(shape)} (came: {came})")
    links_NL, levels_N, upper_links_UM = (tensors[name].contiguous() for name in ("links", "levels", "upper_links"))
    graph = Graph(links_NL, levels_N, upper_links_UM, int(tensors["entry"]))
    fault = _fault(graph)
    if fault:
        raise CorruptBundleError(f"a graph of {num_rows:,} rows {fault}: it was damaged, or belongs to other vectors")
    return graph


def _fault(graph: Graph) -> str:
    levels_N = graph.levels_N.to(torch.int64)
    if not 0 <= graph.entry < graph.num_rows:
        return f"begins at row {graph.entry}"
    if int(levels_N.min()) < 1 or int(levels_N[graph.entry]) != int(levels_N.max()):
        return "has a row on no level, or begins below its highest one"
    for links in (graph.links_NL, graph.upper_links_UM):
        if links.numel() and not -1 <= int(links.min()) <= int(links.max()) < graph.num_rows:
            return f"links rows {int(links.min())} to {int(links.max())}"
    # the level of each line of upper links: 2 for the first of a row
    rows_U = torch.repeat_interleave(torch.arange(graph.num_rows), levels_N - 1)
    level_U = torch.arange(len(rows_U)) - graph.upper_from[rows_U] + 2
    linked_UM = graph.upper_links_UM.to(torch.int64)
    if bool(((levels_N[linked_UM.clamp(min=0)] < level_U.unsqueeze(1)) & (linked_UM >= 0)).any()):
        return "links a row on a level that the row is not on"
    return ""
