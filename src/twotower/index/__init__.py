"""Search among vectors by dot product: float vectors and integer rows, never a model or an id."""

from twotower.index.contract import NO_ROW, SearchResult, VectorIndex
from twotower.index.contract_suite import VectorIndexContract
from twotower.index.exact import ExactIndex
from twotower.index.hnsw import HNSWIndex
from twotower.index.index_state import IndexState
from twotower.index.ivf_pq import IVFPQIndex
from twotower.index.layered import LayeredIndex
from twotower.index.qdrant_index import QdrantIndex
from twotower.index.tuning import Recall, TuningCurve, TuningPoint, measure_recall, tune

__all__ = [
    "NO_ROW",
    "ExactIndex",
    "HNSWIndex",
    "IVFPQIndex",
    "IndexState",
    "LayeredIndex",
    "QdrantIndex",
    "Recall",
    "SearchResult",
    "TuningCurve",
    "TuningPoint",
    "VectorIndex",
    "VectorIndexContract",
    "measure_recall",
    "tune",
]
