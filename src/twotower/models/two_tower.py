"""The model: a query tower and a candidate tower whose dot product scores."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

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

    @property
    def item_columns(self) -> tuple[str, ...]:
        """Columns of the query that hold catalogue rows, each of which is read as the candidate's vector; mostly none."""
        return tuple(entry.column for entry in self.spec.query.inputs if entry.items is not None)

    def fetched(self, queries: QueryFeatures, candidates: Features) -> AbstractContextManager[None]:
        """A block in which both towers encode: what they look up of tables that are elsewhere comes at once when it begins.

        Training puts each step into one, see `EmbeddingCollection.fetched`; a model that has all its tables does nothing here.

        Args:
            queries: Features of the queries that are encoded within the block.
            candidates: Those of the candidates.
        """
        return self.embeddings.fetched((queries, self.spec.query.inputs), (candidates, self.spec.candidate.inputs))

    def encode_queries(self, features: QueryFeatures) -> Tensor:
        """Query vectors, float32 ``[n, D]``.

        Raises:
            ValueError: If the query reads items; see `encode_queries_with_items`.
        """
        vectors_BD: Tensor = self.query(features)
        return vectors_BD

    def encode_queries_with_items(self, features: QueryFeatures, items_ND: Tensor) -> Tensor:
        """Query vectors as `encode_queries` gives them, of queries that may read items as the candidate tower gives them.

        Args:
            features: Every input's column.
            items_ND: What `encode_candidates` gives of the items whose rows `item_columns` hold, float32 ``[N, D]``; not looked
                at where there are no such columns.

        Raises:
            TypeError: If there are, and a class of one's own has another `encode_queries` and not another one of these.
        """
        if not self.item_columns:
            return self.encode_queries(features)
        own = type(self)
        if own.encode_queries is not TwoTower.encode_queries and (
            own.encode_queries_with_items is TwoTower.encode_queries_with_items
        ):
            raise TypeError(
                f"{own.__name__} has an encode_queries of its own, and its queries read items: it needs a method "
                "encode_queries_with_items of its own too"
            )
        vectors_BD: Tensor = self.query(features, items_ND)
        return vectors_BD

    def encode_candidates(self, features: Features) -> Tensor:
        """Candidate vectors, float32 ``[n, D]``."""
        vectors_CD: Tensor = self.candidate(features)
        return vectors_CD

    def sparse_parameter_names(self) -> set[str]:
        """Names of the parameters whose gradients hold only the touched rows."""
        return {f"embeddings.{name}" for name in self.embeddings.sparse_parameter_names()}
