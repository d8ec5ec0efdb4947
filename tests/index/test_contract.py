"""The shipped contract suite, over every index of ours."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.index import ExactIndex, HNSWIndex, IVFPQIndex, LayeredIndex, VectorIndex, VectorIndexContract


class TestExactIndex(VectorIndexContract):
    exact = True

    def build(self, vectors_ND: Tensor) -> VectorIndex:
        return ExactIndex.build(vectors_ND)


class TestExactIndexWithTilesOfOneVector(VectorIndexContract):
    exact = True

    def build(self, vectors_ND: Tensor) -> VectorIndex:
        return ExactIndex.build(vectors_ND, tile_bytes=1)


class TestExactIndexWithTilesOfAFew(VectorIndexContract):
    exact = True

    def build(self, vectors_ND: Tensor) -> VectorIndex:
        return ExactIndex.build(vectors_ND, tile_bytes=600)


class TestHNSWIndex(VectorIndexContract):
    least_recall = 0.95

    def build(self, vectors_ND: Tensor) -> VectorIndex:
        return HNSWIndex.build(vectors_ND, neighbours=8, ef_construction=30, ef_search=40)


class TestIVFPQIndex(VectorIndexContract):
    least_recall = 0.8

    def build(self, vectors_ND: Tensor) -> VectorIndex:
        return IVFPQIndex.build(vectors_ND, num_probes=30, shortlist=60)


def layered(base: VectorIndex, vectors_ND: Tensor) -> VectorIndex:
    """Some rows replaced by what they should be, the last ones new; nothing removed."""
    count = len(vectors_ND)
    rows = torch.tensor(sorted({*range(0, base.num_vectors, 3), *range(base.num_vectors, count)}), dtype=torch.int64)
    return LayeredIndex(base, rows, vectors_ND[rows])


def without_a_third(vectors_ND: Tensor) -> Tensor:
    """What a base holds: the last tenth not yet there, and of the others every third another vector."""
    base_ND = vectors_ND[: len(vectors_ND) - len(vectors_ND) // 10].detach().clone()
    base_ND[::3] = base_ND[::3].flip(0)
    return base_ND


class TestLayeredOverExactIndex(VectorIndexContract):
    exact = True

    def build(self, vectors_ND: Tensor) -> VectorIndex:
        if vectors_ND.ndim != 2:
            return ExactIndex.build(vectors_ND)
        return layered(ExactIndex.build(without_a_third(vectors_ND)), vectors_ND)


class TestLayeredOverHNSWIndex(VectorIndexContract):
    least_recall = 0.95

    def build(self, vectors_ND: Tensor) -> VectorIndex:
        if vectors_ND.ndim != 2:
            return ExactIndex.build(vectors_ND)
        return layered(HNSWIndex.build(without_a_third(vectors_ND), neighbours=8, ef_search=40), vectors_ND)


class TestLayeredOverIVFPQIndex(VectorIndexContract):
    least_recall = 0.8

    def build(self, vectors_ND: Tensor) -> VectorIndex:
        if vectors_ND.ndim != 2:
            return ExactIndex.build(vectors_ND)
        return layered(IVFPQIndex.build(without_a_third(vectors_ND), num_probes=30, shortlist=60), vectors_ND)
