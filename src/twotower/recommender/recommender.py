"""The recommender: loaded from a bundle, asked with ids, answers with ids."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from twotower.bundle import JSON, open_bundle
from twotower.data import IdTable
from twotower.errors import ConfigError, CorruptBundleError, DataError, nearest
from twotower.index import SearchResult, VectorIndex
from twotower.models import Head, ModelBuilder, TwoTower, build
from twotower.preprocessing import MultiCategoryFeature, Preprocessor
from twotower.recommender.bundled import RecommenderParts, bundle_folder, read_parts, write_parts
from twotower.recommender.events import Event
from twotower.recommender.filters import Where
from twotower.recommender.items import Items
from twotower.recommender.predictions import Predictions
from twotower.recommender.recommendations import Recommendations
from twotower.recommender.request_encoder import Asked, RequestEncoder
from twotower.recommender.requests import FeatureRows, RequestDefaults, join_rows
from twotower.recommender.stored_index import read_index
from twotower.recommender.stored_users import StoredUsers
from twotower.types import Id, Ragged

__all__ = ["Recommender", "load", "require_k"]


@final
class Recommender:
    """Recommends items of a catalogue to known users, to unknown users by features, and to anonymous ones by history.

    Load one with `load`; a run writes the bundle.

    Args:
        model: In evaluation mode.
        preprocessor: As fitted with the model.
        catalogue: What can be recommended.
        item_vectors_ND: The catalogue's vectors, float32 ``[N, D]``.
        users: Known users.
        defaults: For what a request leaves out.
        card: What the bundle says of itself: recipe, metrics, versions.
        index: Over ``item_vectors_ND``; None: an exact one.

    Attributes:
        items: What can be recommended now: the catalogue, and what `with_items` changed.
        requests: From who asks to vectors.
    """

    def __init__(
        self,
        model: TwoTower,
        preprocessor: Preprocessor,
        catalogue: IdTable,
        item_vectors_ND: Tensor,
        users: StoredUsers,
        defaults: RequestDefaults,
        card: Mapping[str, Any],
        *,
        index: VectorIndex | None = None,
    ) -> None:
        self.model = model.eval()
        self.preprocessor = preprocessor
        self.catalogue = catalogue
        self.item_vectors_ND = item_vectors_ND
        self.users = users
        self.defaults = defaults
        self.card = card
        self.items = Items(catalogue, item_vectors_ND, index=index, separators=_separators(preprocessor))
        self.requests = RequestEncoder(self.model, preprocessor, self.items, users, defaults)

    @property
    def index(self) -> VectorIndex:
        """Over the vectors of all items."""
        return self.items.index

    @classmethod
    def load(
        cls, path: str | Path, *, builder: ModelBuilder = build, index: Literal["beside", "exact"] = "beside"
    ) -> Recommender:
        """Load a bundle, or the bundle of a run folder, and the index beside it.

        Args:
            path: Of either.
            builder: What built the model, where it was one of your own.
            index: ``beside``: of a run folder that has an approximate one, that; ``exact``: exact in any case.

        Raises:
            BundleError: If it is not a bundle, is damaged (every part is verified against its checksum before it is used), was
                written in a newer format, was built by another builder, or its parts do not fit each other.
        """
        bundle = open_bundle(bundle_folder(path))
        beside = Path(path) / "index"
        try:
            parts = read_parts(bundle, builder=builder)
            if index == "beside" and bundle.path != Path(path).resolve() and beside.is_dir():
                return cls(*parts, index=read_index(beside, parts.item_vectors_ND))
            return cls(*parts)
        except (ConfigError, DataError) as error:
            raise CorruptBundleError(f"{path}: the parts do not fit each other: {error}") from error

    def save(self, path: str | Path, *, card: Mapping[str, JSON] | None = None, builder: ModelBuilder = build) -> None:
        """Write the recommender as a bundle, atomically: the folder is the old one, or the new one, whole.

        Args:
            path: Replaced when it is a bundle.
            card: What the bundle says of itself; None: this one's.
            builder: What built the model; the bundle remembers its name.
        """
        parts = RecommenderParts(
            self.model,
            self.preprocessor,
            self.catalogue,
            self.item_vectors_ND,
            self.users,
            self.defaults,
            self.card if card is None else card,
        )
        write_parts(Path(path), parts, builder=builder)

    def recommend(
        self,
        users: Sequence[Id | None] | None = None,
        *,
        features: FeatureRows | None = None,
        histories: Sequence[Sequence[Event] | None] | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        exclude: Sequence[Id] = (),
        only: Sequence[Id] | None = None,
        where: Where | None = None,
    ) -> Recommendations:
        """Recommend items; every request is one entry of ``users``, ``features`` and ``histories``, whichever are given.

        Args:
            users: Ids. A known user brings features and history; an unknown one, and None, needs features or a history.
            features: Columns of the query, by name, user's and context's (a time in Unix seconds, say); they win over what
                is stored. What is left out is assumed, and the answer says so.
            histories: Item ids, the most recent last, which the query is made from in place of the stored history; None:
                the stored one. Unknown items are passed over. Where the query reads more of events than their items, each may
                be a mapping: ``item``, ``time`` (Unix seconds, which a query that reads times must have) and the columns of
                the feature, of which a value that is left out is missing.
            k: Items per request; more than exist gives all that exist.
            exclude_seen: Leave out what the user is known to have met: the stored history, the history given here, and what
                the user did not like.
            exclude: Item ids left out for every request.
            only: Item ids to choose from; None for the whole catalogue.
            where: Conditions on columns of the catalogue, see `twotower.recommender.Where`.

        Raises:
            ConfigError: If k is below 1, nothing is asked for, a feature is not one that the query reads, or a condition of
                ``where`` is none.
            DataError: If lengths differ or a value has the wrong type.
            UnknownIdError: If a user is unknown and neither features nor a history are given, or an item of ``exclude`` or
                ``only`` is not in the catalogue.
        """
        require_k(k)
        asked = self.requests.encode(users, features, histories)
        most = min(k, len(self.items))
        found = self._search(asked, most, exclude_seen=exclude_seen, exclude=exclude, only=only, where=where)
        return Recommendations.from_search(found, self.items.frame, self.catalogue.id_column, self._assumed(asked))

    def search(
        self,
        users: Sequence[Id | None] | None = None,
        *,
        features: FeatureRows | None = None,
        histories: Sequence[Sequence[Event] | None] | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        exclude: Sequence[Id] = (),
        only: Sequence[Id] | None = None,
        where: Where | None = None,
    ) -> SearchResult:
        """As `recommend`, but rows of `items` and scores, for programs that ask a lot."""
        require_k(k)
        asked = self.requests.encode(users, features, histories)
        return self._search(asked, k, exclude_seen=exclude_seen, exclude=exclude, only=only, where=where)

    def _search(
        self,
        asked: Asked,
        k: int,
        *,
        exclude_seen: bool,
        exclude: Sequence[Id],
        only: Sequence[Id] | None,
        where: Where | None,
    ) -> SearchResult:
        rows = self.items.require(exclude, "exclude", removed=True)
        excluded = Ragged(rows.repeat(len(asked.users)), len(rows) * torch.arange(len(asked.users) + 1))
        if exclude_seen:
            excluded = join_rows(excluded, asked.seen)
        return self.index.search(asked.queries_BD, k, excluded=excluded, allowed=self.allowed(only, where))

    def predict(
        self,
        users: Sequence[Id | None] | None,
        items: Sequence[Id],
        *,
        task: str | None = None,
        features: FeatureRows | None = None,
        histories: Sequence[Sequence[Event] | None] | None = None,
    ) -> Predictions:
        """Predict the outcome of pairs (the rating that a user would give an item), where the model learned to.

        Args:
            users: One per pair; ``users``, ``features`` and ``histories`` are those of `recommend`.
            items: Item ids, one per pair.
            task: Name of the task; None where the model has one only.
            features: One row per pair.
            histories: One per pair.

        Raises:
            ConfigError: If the model has no such task, or several and none was named; or as `recommend`.
            DataError: If lengths differ or a value has the wrong type.
            UnknownIdError: If an item is not in the catalogue; or as `recommend`.
        """
        head = self._head(task)
        asked = self.requests.encode(users, features, histories)
        rows = self.items.require(items, "items")
        if len(rows) != len(asked.users):
            raise DataError(f"items must have one entry per request; came {len(rows)} items for {len(asked.users)} requests")
        with torch.inference_mode():
            values_B = head.predict(head(asked.queries_BD, self.items.vectors(rows)))
        return Predictions.of(
            values_B.numpy(),
            self.items.frame(rows.numpy())[self.catalogue.id_column],
            task=head.name,
            assumed=self._assumed(asked),
        )

    def similar_items(
        self, items: Sequence[Id], *, k: int = 10, only: Sequence[Id] | None = None, where: Where | None = None
    ) -> Recommendations:
        """Items whose vectors point the same way: cosine similarity of the candidate tower's vectors.

        Args:
            items: Ids; each is left out of its own answer.
            k: Items per entry.
            only: Item ids to choose from; None for the whole catalogue.
            where: As of `recommend`.

        Raises:
            ConfigError: If k is below 1, or a condition is none.
            UnknownIdError: If an item is not in the catalogue.
        """
        require_k(k)
        found = self.search_similar(items, k=min(k, len(self.items)), only=only, where=where)
        return Recommendations.from_search(found, self.items.frame, self.catalogue.id_column, {})

    def search_similar(
        self, items: Sequence[Id], *, k: int = 10, only: Sequence[Id] | None = None, where: Where | None = None
    ) -> SearchResult:
        """As `similar_items`, but rows of `items` and scores."""
        require_k(k)
        rows = self.items.require(items, "items")
        own = Ragged(rows, torch.arange(len(rows) + 1))
        vectors_BD = F.normalize(self.items.vectors(rows), dim=1)
        return self.items.directions.search(vectors_BD, k, excluded=own, allowed=self.allowed(only, where))

    def encode_queries(
        self,
        users: Sequence[Id | None] | None = None,
        *,
        features: FeatureRows | None = None,
        histories: Sequence[Sequence[Event] | None] | None = None,
    ) -> Tensor:
        """The vectors that requests are searched with, float32 ``[B, D]``; arguments and errors as of `recommend`."""
        return self.requests.encode(users, features, histories).queries_BD

    @property
    def stand_ins(self) -> dict[str, object]:
        """By column of the query, the value that is assumed where a request leaves it out; others stay missing."""
        return self.requests.stand_ins

    def history(self, user: Id) -> list[Id]:
        """The items of a known user, the most recent last; empty for an unknown one."""
        return self.items.ids(self.users.histories([user]).values.numpy().astype(np.int64))

    def events(self, user: Id) -> list[Event]:
        """What is stored of a known user as `recommend` takes histories: items, with their times where the query reads them.

        Raises:
            ConfigError: If the query reads columns of events, which are not stored as they were.
        """
        reader = self.requests.reader
        if reader.columns:
            raise ConfigError(
                f"the query reads {', '.join(map(repr, reader.columns))} of events, and what is stored of a known user does "
                "not tell the values: give the history"
            )
        items = self.history(user)
        if not reader.reads_times:
            return list(items)
        times = self.users.events_at(self.users.rows([user]), times=True, columns=()).times
        assert times is not None
        return [{"item": item, "time": time} for item, time in zip(items, times.tolist(), strict=True)]

    def with_items(self, put: Mapping[Id, Mapping[str, object]], removed: Collection[Id] = ()) -> Recommender:
        """This recommender after items were put and removed; it shares everything else, and itself it stays as it is.

        An item is encoded by the candidate tower from what is given of it; an id that the tower never had in training takes
        the row of the unknown. `save` writes the catalogue without such changes.

        Args:
            put: New items, or new columns of old ones: columns of the catalogue by id; what is left out is missing.
            removed: Ids that are not recommended any more; those that are not there are passed over.

        Raises:
            ConfigError: If the catalogue has no such column.
            DataError: If an id or a value is not of its column's type, or a column that may not be missing is, or the vector of
                an item is not finite.

        Example:
            >>> recommender = load("runs/movielens")  # doctest: +SKIP
            >>> larger = recommender.with_items({"A New Film (2026)": {"release_year": 2026}})  # doctest: +SKIP
        """
        changed = copy.copy(self)
        changed.items = self.items.changed(put, removed, self.encode_items)
        changed.requests = self.requests.with_items(changed.items)
        return changed

    def encode_items(self, frame: pl.DataFrame) -> Tensor:
        """Vectors of items, float32 ``[n, D]``, from columns of the catalogue.

        Raises:
            DataError: If a column that may not be missing is, or a vector is not finite.
        """
        columns = self.preprocessor.encode_items(frame)
        with torch.inference_mode():
            vectors_ND = self.model.encode_candidates(columns)
        if not bool(vectors_ND.isfinite().all()):
            row = int((~vectors_ND.isfinite().all(dim=1)).nonzero()[0])
            raise DataError(f"item {frame[self.catalogue.id_column][row]!r}: its vector is not finite; look at its values")
        return vectors_ND.clone()

    def allowed(self, only: Sequence[Id] | None, where: Where | None) -> Tensor | None:
        """Rows that a request may be answered with, bool ``[len(items)]``; None for all.

        Raises:
            ConfigError: If a condition is none.
            DataError: If a value is not of its column's type.
            UnknownIdError: If an item of ``only`` is not in the catalogue.
        """
        met_N = self.items.allowed(where or {})
        if only is None:
            return met_N
        allowed_N = torch.zeros(len(self.items), dtype=torch.bool)
        allowed_N[self.items.require(only, "only")] = True
        return allowed_N if met_N is None else allowed_N & met_N

    def _assumed(self, asked: Asked) -> dict[str, object]:
        return {name: self.defaults.values[name] for name, mask in asked.assumed.items() if bool(mask.any())}

    def _head(self, task: str | None) -> Head:
        names = self.model.head_names
        if not names:
            raise ConfigError("this model predicts nothing beside its ranking; train one with [[tasks]] in the recipe")
        if task is None and len(names) > 1:
            raise ConfigError(f"task: name one of {', '.join(names)}; none was named")
        if task is not None and task not in names:
            raise ConfigError(f"task: no {task!r}{nearest(task, names)}")
        return self.model.head(names[0] if task is None else task)


def require_k(k: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ConfigError(f"k must be an integer of at least 1; came {k!r}")


def _separators(preprocessor: Preprocessor) -> dict[str, str]:
    """What stands between the values of columns of text that hold several."""
    configs = [feature.config for feature in preprocessor.spec.candidate]
    return {c.column: c.separator for c in configs if isinstance(c, MultiCategoryFeature) and c.separator is not None}


load = Recommender.load
