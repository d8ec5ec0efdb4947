"""The recommender: loaded from a bundle, asked with ids, answers with ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from twotower.bundle import JSON, open_bundle
from twotower.data import HistoryInput, IdTable
from twotower.errors import ConfigError, CorruptBundleError, DataError, UnknownIdError, nearest
from twotower.index import ExactIndex, SearchResult
from twotower.models import Head, ModelBuilder, TwoTower, build
from twotower.preprocessing import Preprocessor
from twotower.recommender.bundled import RecommenderParts, bundle_folder, read_parts, write_parts
from twotower.recommender.id_lookup import IdLookup, require_list
from twotower.recommender.predictions import Predictions
from twotower.recommender.recommendations import Recommendations
from twotower.recommender.requests import FeatureRows, RequestDefaults, join_rows, query_columns, request_frame
from twotower.recommender.stored_users import StoredUsers
from twotower.types import Id, Ragged

__all__ = ["Recommender", "load"]


class _Asked(NamedTuple):
    """Requests, encoded: users, vectors, stored and given histories, and what was assumed."""

    users: list[Id | None]
    queries_BD: Tensor
    stored: Ragged
    given: Ragged
    assumed: dict[str, object]


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
    ) -> None:
        self.model = model.eval()
        self.preprocessor = preprocessor
        self.catalogue = catalogue
        self.item_vectors_ND = item_vectors_ND
        self.users = users
        self.defaults = defaults
        self.card = card
        self.index = ExactIndex.build(item_vectors_ND)
        self.items = IdLookup(catalogue)
        spec = preprocessor.spec
        lookups = preprocessor.history_lookup(catalogue.ids)
        self._history_inputs = tuple(
            HistoryInput(f.config.name, lookups[f.config.name], f.config.max_length, f.config.mode, f.config.own_item)
            for f in spec.history
        )
        # What a missing value means is the feature's to say; only where it says that none may be missing, and for the time,
        # a default stands in. Filling others would give users another vector than they had in training.
        strict = {
            column
            for f in (*spec.user, *spec.context)
            if getattr(f.config, "missing", None) == "error"
            for column in f.config.source_columns
        }
        self._strict_columns = sorted(strict | {defaults.time_column} if defaults.time_column else strict)
        read = {f.config.source_columns for f in (*spec.user, *spec.context)}
        self._together = sorted(columns for columns in read if len(columns) > 1)

    @classmethod
    def load(cls, path: str | Path, *, builder: ModelBuilder = build) -> Recommender:
        """Load a bundle, or the bundle of a run folder.

        Args:
            path: Of either.
            builder: What built the model, where it was one of your own.

        Raises:
            BundleError: If it is not a bundle, is damaged (every part is verified against its checksum before it is used), was
                written in a newer format, was built by another builder, or its parts do not fit each other.
        """
        bundle = open_bundle(bundle_folder(path))
        try:
            return cls(*read_parts(bundle, builder=builder))
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
        histories: Sequence[Sequence[Id] | None] | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        exclude: Sequence[Id] = (),
        only: Sequence[Id] | None = None,
    ) -> Recommendations:
        """Recommend items; every request is one entry of ``users``, ``features`` and ``histories``, whichever are given.

        Args:
            users: Ids. A known user brings features and history; an unknown one, and None, needs features or a history.
            features: Columns of the query, by name, user's and context's (a time in Unix seconds, say); they win over what
                is stored. What is left out is assumed, and the answer says so.
            histories: Item ids, the most recent last, which the query is made from in place of the stored history; None:
                the stored one. Unknown items are passed over.
            k: Items per request; more than exist gives all that exist.
            exclude_seen: Leave out what the user is known to have met: the stored history, the history given here, and what
                the user did not like.
            exclude: Item ids left out for every request.
            only: Item ids to choose from; None for the whole catalogue.

        Raises:
            ConfigError: If k is below 1, nothing is asked for, or a feature is not one that the query reads.
            DataError: If lengths differ or a value has the wrong type.
            UnknownIdError: If a user is unknown and neither features nor a history are given, or an item of ``exclude`` or
                ``only`` is not in the catalogue.
        """
        _require_k(k)
        asked = self._ask(users, features, histories)
        found = self._search(asked, k, exclude_seen=exclude_seen, exclude=exclude, only=only)
        return Recommendations.from_search(found, self.catalogue, asked.assumed)

    def search(
        self,
        users: Sequence[Id | None] | None = None,
        *,
        features: FeatureRows | None = None,
        histories: Sequence[Sequence[Id] | None] | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        exclude: Sequence[Id] = (),
        only: Sequence[Id] | None = None,
    ) -> SearchResult:
        """As `recommend`, but rows of the catalogue and scores, for programs that ask a lot."""
        _require_k(k)
        asked = self._ask(users, features, histories)
        return self._search(asked, k, exclude_seen=exclude_seen, exclude=exclude, only=only)

    def _search(
        self, asked: _Asked, k: int, *, exclude_seen: bool, exclude: Sequence[Id], only: Sequence[Id] | None
    ) -> SearchResult:
        excluded = _every(self.items.require(exclude, "exclude"), len(asked.users))
        if exclude_seen:
            excluded = join_rows(excluded, asked.stored, asked.given, self.users.disliked_by(asked.users))
        return self.index.search(asked.queries_BD, k, excluded=excluded, allowed=self._allowed(only))

    def predict(
        self,
        users: Sequence[Id | None] | None,
        items: Sequence[Id],
        *,
        task: str | None = None,
        features: FeatureRows | None = None,
        histories: Sequence[Sequence[Id] | None] | None = None,
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
        asked = self._ask(users, features, histories)
        rows = self.items.require(items, "items")
        if len(rows) != len(asked.users):
            raise DataError(f"items must have one entry per request; came {len(rows)} items for {len(asked.users)} requests")
        with torch.inference_mode():
            values_B = head.predict(head(asked.queries_BD, self.item_vectors_ND[rows]))
        return Predictions.of(values_B.numpy(), rows.numpy(), self.catalogue, task=head.name, assumed=asked.assumed)

    def similar_items(self, items: Sequence[Id], *, k: int = 10, only: Sequence[Id] | None = None) -> Recommendations:
        """Items whose vectors point the same way: cosine similarity of the candidate tower's vectors.

        Args:
            items: Ids; each is left out of its own answer.
            k: Items per entry.
            only: Item ids to choose from; None for the whole catalogue.

        Raises:
            ConfigError: If k is below 1.
            UnknownIdError: If an item is not in the catalogue.
        """
        _require_k(k)
        rows = self.items.require(items, "items")
        own = Ragged(rows, torch.arange(len(rows) + 1))
        vectors_BD = F.normalize(self.item_vectors_ND[rows], dim=1)
        found = self._directions.search(vectors_BD, k, excluded=own, allowed=self._allowed(only))
        return Recommendations.from_search(found, self.catalogue, {})

    def encode_queries(
        self,
        users: Sequence[Id | None] | None = None,
        *,
        features: FeatureRows | None = None,
        histories: Sequence[Sequence[Id] | None] | None = None,
    ) -> Tensor:
        """The vectors that requests are searched with, float32 ``[B, D]``; arguments and errors as of `recommend`."""
        return self._ask(users, features, histories).queries_BD

    @property
    def stand_ins(self) -> dict[str, object]:
        """By column of the query, the value that is assumed where a request leaves it out; others stay missing."""
        return {name: self.defaults.values[name] for name in self._strict_columns if name in self.defaults.values}

    def history(self, user: Id) -> list[Id]:
        """The items of a known user, the most recent last; empty for an unknown one."""
        rows = self.users.histories([user]).values.numpy()
        return list(self.catalogue.ids[rows].to_list())

    @cached_property
    def _directions(self) -> ExactIndex:
        return ExactIndex.build(F.normalize(self.item_vectors_ND, dim=1))

    def _ask(
        self,
        users: Sequence[Id | None] | None,
        features: FeatureRows | None,
        histories: Sequence[Sequence[Id] | None] | None,
    ) -> _Asked:
        """Put requests together and encode them; arguments and errors as of `recommend`."""
        size = _num_requests(users, features, histories)
        asked: list[Id | None] = list(users) if users is not None else [None] * size
        past: list[Sequence[Id] | None] = list(histories) if histories is not None else [None] * size
        if features is None:
            self._require_known(asked, past)
        stored = self.users.histories(asked)
        given = self._history_rows(past)
        replaced = torch.tensor([entry is not None for entry in past], dtype=torch.bool)
        history = join_rows(stored.keep(~replaced.repeat_interleave(stored.lengths)), given)
        frame, assumed = request_frame(
            self.users.frame_of(asked),
            features,
            self.defaults,
            id_column=self.users.table.id_column,
            strict_columns=self._strict_columns,
            together=self._together,
        )
        columns = query_columns(self.preprocessor, frame, self._history_inputs, history)
        with torch.inference_mode():
            queries_BD = self.model.encode_queries(columns)
        return _Asked(asked, queries_BD.clone(), stored, given, assumed)

    def _head(self, task: str | None) -> Head:
        names = self.model.head_names
        if not names:
            raise ConfigError("this model predicts nothing beside its ranking; train one with [[tasks]] in the recipe")
        if task is None and len(names) > 1:
            raise ConfigError(f"task: name one of {', '.join(names)}; none was named")
        if task is not None and task not in names:
            raise ConfigError(f"task: no {task!r}{nearest(task, names)}")
        return self.model.head(names[0] if task is None else task)

    def _require_known(self, asked: Sequence[Id | None], past: Sequence[Sequence[Id] | None]) -> None:
        """Nothing would tell an unknown user without a history from any other."""
        for row, user, history in zip(self.users.rows(asked).tolist(), asked, past, strict=True):
            if row < 0 and history is None:
                described = self.users.lookup.describe_unknown(user) if user is not None else "a request came without a user"
                raise UnknownIdError(f"{described}; for a new user give features or a history")

    def _history_rows(self, histories: Sequence[Sequence[Id] | None]) -> Ragged:
        """Catalogue rows of histories as given, without the items that the catalogue lacks; None has none."""
        for history in histories:
            require_list(history, "a history")
        lengths = torch.tensor([0 if history is None else len(history) for history in histories], dtype=torch.int64)
        items = list(chain.from_iterable(history for history in histories if history is not None))
        kind = str if self.items.kind == "text" else (int, np.integer)
        wrong = next((item for item in items if not isinstance(item, kind)), None)
        if wrong is not None:
            raise DataError(f"a history must hold item ids, which are {self.items.kind}; came {wrong!r}")
        rows = self.items.rows(items)
        offsets = torch.zeros(len(histories) + 1, dtype=torch.int64)
        offsets[1:] = lengths.cumsum(0)
        return Ragged(rows, offsets).keep(rows >= 0)

    def _allowed(self, only: Sequence[Id] | None) -> Tensor | None:
        if only is None:
            return None
        allowed_N = torch.zeros(len(self.catalogue), dtype=torch.bool)
        allowed_N[self.items.require(only, "only")] = True
        return allowed_N


def _require_k(k: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ConfigError(f"k must be an integer of at least 1; came {k!r}")


def _num_requests(
    users: Sequence[Id | None] | None, features: FeatureRows | None, histories: Sequence[Sequence[Id] | None] | None
) -> int:
    for name, ids in (("users", users), ("histories", histories)):
        require_list(ids, name)
    given = {"users": users, "features": features, "histories": histories}
    lengths = {name: len(value) for name, value in given.items() if value is not None}
    if not lengths:
        raise ConfigError("give users, features or histories: nothing was asked for")
    if len(set(lengths.values())) > 1 and not isinstance(features, Mapping):
        came = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise DataError(f"users, features and histories must have one entry per request; came {came}")
    return next(iter(lengths.values()))


def _every(rows: Tensor, size: int) -> Ragged:
    """The same rows for every request."""
    return Ragged(rows.repeat(size), len(rows) * torch.arange(size + 1))


load = Recommender.load
