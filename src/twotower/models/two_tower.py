"""The model: a query tower and a candidate tower whose dot product scores."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from twotower.models.heads import Head
from twotower.models.tower import Tower
from twotower.nn import EmbeddingCollection
from twotower.spec import ModelSpec
from twotower.types import Features, QueryFeatures

__all__ = ["TwoTower"]


class TwoTower(nn.Module):
    """Two towers; the score of a query and a candidate is the dot product of their vectors.

    Built by `twotower.models.build`, from a spec.

    Args:
        spec: What the model was built from.
        embeddings: The tables of both towers.
        query: The query tower.
        candidate: The candidate tower.
        heads: What is predicted of a pair beside its score; names are distinct.
    """

    def __init__(
        self,
        spec: ModelSpec,
        embeddings: EmbeddingCollection,
        query: Tower,
        candidate: Tower,
        heads: Iterable[Head] = (),
    ) -> None:
        super().__init__()
        self.spec = spec
        self.embeddings = embeddings
        self.query = query
        self.candidate = candidate
        # a name of its own in every module: "items" is one that torch forbids
        self.heads = nn.ModuleDict({f"head:{head.name}": head for head in heads})

    @property
    def head_names(self) -> list[str]:
        """The tasks that the model has a head for."""
        return [name.removeprefix("head:") for name in self.heads]

    def head(self, name: str) -> Head:
        """The head of a task.

        Raises:
            KeyError: If there is none of that name.
        """
        found = self.heads[f"head:{name}"]
        assert isinstance(found, Head)
        return found

    @property
    def embedding_dim(self) -> int:
        """D, the width of the vectors that are compared."""
        return self.spec.query.output_width

    def encode_queries(self, features: QueryFeatures) -> Tensor:
        """Query vectors, float32 ``[n, D]``."""
        vectors_BD: Tensor = self.query(features)
        return vectors_BD

    def encode_candidates(self, features: Features) -> Tensor:
        """Candidate vectors, float32 ``[n, D]``."""
        vectors_CD: Tensor = self.candidate(features)
        return vectors_CD

    def sparse_parameter_names(self) -> set[str]:
        """Names of the parameters whose gradients hold only the touched rows."""
        return {f"embeddings.{name}" for name in self.embeddings.sparse_parameter_names()}
