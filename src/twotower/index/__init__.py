"""Search among vectors by dot product: float vectors and integer rows, never a model or an id."""

from twotower.index.contract import NO_ROW, SearchResult, VectorIndex
from twotower.index.exact import ExactIndex
from twotower.index.layered import LayeredIndex

__all__ = ["NO_ROW", "ExactIndex", "LayeredIndex", "SearchResult", "VectorIndex"]
