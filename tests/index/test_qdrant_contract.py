"""The shipped contract suite, over the index in Qdrant; its client answers itself, without a server."""

from __future__ import annotations

import pytest
from torch import Tensor

from twotower.index import QdrantIndex, VectorIndex, VectorIndexContract

qdrant = pytest.importorskip("qdrant_client", reason="qdrant-client is not installed: pip install 'twotower[qdrant]'")


class TestQdrantIndex(VectorIndexContract):
    least_recall = 1.0  # without a server, it has no graph

    def build(self, vectors_ND: Tensor) -> VectorIndex:
        return QdrantIndex.build(vectors_ND, qdrant.QdrantClient(":memory:"), "items", batch=700)
