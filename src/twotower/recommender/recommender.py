"""The recommender: loaded from a bundle, asked with ids, answers with ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional as F

from twotower.data import HistoryInput, IdTable
from twotower.errors import ConfigError, DataError, UnknownIdError, nearest
from twotower.index import ExactIndex
from twotower.models import TwoTower
from twotower.preprocessing import Preprocessor
from twotower.recommender.recommendations import Recommendations
from twotower.recommender.requests import FeatureRows, RequestDefaults, as_history, query_columns, request_frame
from twotower.recommender.stored_users import StoredUsers
from twotower.types import Id, Ragged

__all__ = ["Recommender"]


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
        self._similarity = ExactIndex.build(F.normalize(item_vectors_ND, dim=1))
        spec = preprocessor.spec
        lookups = preprocessor.history_lookup(catalogue.ids)
        self._history_inputs = tuple(
            HistoryInput(f.config.name, lookups[f.config.name], f.config.max_length, f.config.mode, f.config.own_item)
            for f in spec.history
        )
        # a column whose feature declares what a missing value means is left missing; the others are filled from `defaults`
        self._strict_columns = [
            f.config.column for f in (*spec.user, *spec.context) if getattr(f.config, "missing", "error") == "error"
        ]

    @classmethod
    def load(cls, path: str | Path) -> Recommender:
        """Load a bundle, or the bundle of a run folder.

        Raises:
            BundleError: If it is not a bundle, is damaged, or was written in a newer format.
        """
        from twotower.recommender.bundled import load_recommender

        return load_recommender(path)

    def recommend(
        self,
        users: Sequence[Id | None] | None = None,
        *,
        features: FeatureRows | None = None,
        histories: Sequence[Sequence[Id]] | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        exclude: Sequence[Id] = (),
        only: Sequence[Id] | None = None,
    ) -> Recommendations:
        """Recommend items; every request is one entry of ``users``, ``features`` and ``histories``, whichever are given.

        Args:
            users: Ids. A known user brings features and history; an unknown one needs features or a history.
            features: Columns of the query, by name, user's and context's (a time in Unix seconds, say); they win over what
                is stored. What is left out is assumed, and the answer says so.
            histories: Item ids, the most recent last, in place of the stored history. Unknown items are passed over.
            k: Items per request; more than exist gives all that exist.
            exclude_seen: Leave out what is in the user's history.
            exclude: Item ids left out for every request.
            only: Item ids to choose from; None for the whole catalogue.

        Raises:
            ConfigError: If k is below 1, nothing is asked for, or a feature is not one that the query reads.
            DataError: If lengths differ or a value has the wrong type.
            UnknownIdError: If a user is unknown and neither features nor a history are given, or an item of ``exclude`` or
                ``only`` is not in the catalogue.
        """
        if isinstance(users, str | int):
            raise DataError(f"users must be a list of ids; came the single value {users!r}: write [{users!r}]")
        if k < 1:
            raise ConfigError(f"k must be at least 1; came {k}")
        size = self._num_requests(users, features, histories)
        asked: list[Id | None] = list(users) if users is not None else [None] * size
        known_rows = self.users.rows(asked)
        if features is None and histories is None and bool((known_rows < 0).any()):
            self._raise_unknown(asked, known_rows)
        seen = self.users.histories(asked) if histories is None else self._history_rows(histories)
        frame, assumed = request_frame(self.users.frame_of(asked), features, self.defaults, self._strict_columns)
        columns = query_columns(self.preprocessor, frame, self._history_inputs, seen)
        with torch.inference_mode():
            queries_BD = self.model.encode_queries(columns)
        excluded = self._excluded(seen if exclude_seen else None, exclude, size)
        found = self.index.search(queries_BD.clone(), k, excluded=excluded, allowed=self._allowed(only))
        return Recommendations.from_search(found, self.catalogue, assumed)

    def similar_items(self, items: Sequence[Id], *, k: int = 10, only: Sequence[Id] | None = None) -> Recommendations:
        """Items whose vectors point the same way: cosine similarity of the candidate tower's vectors.

        Args:
            items: Ids; each is left out of its own answer.
            k: Items per entry.
            only: Item ids to choose from; None for the whole catalogue.

        Raises:
            UnknownIdError: If an item is not in the catalogue.
        """
        if isinstance(items, str | int):
            raise DataError(f"items must be a list of ids; came the single value {items!r}: write [{items!r}]")
        if k < 1:
            raise ConfigError(f"k must be at least 1; came {k}")
        rows = self._item_rows(items, "items")
        own = Ragged(rows, torch.arange(len(rows) + 1))
        vectors_BD = F.normalize(self.item_vectors_ND[rows], dim=1)
        found = self._similarity.search(vectors_BD, k, excluded=own, allowed=self._allowed(only))
        return Recommendations.from_search(found, self.catalogue, {})

    def history(self, user: Id) -> list[Id]:
        """The items of a known user, the most recent last; empty for an unknown one."""
        rows = self.users.histories([user]).values.numpy()
        return list(self.catalogue.ids[rows].to_list())

    def _num_requests(
        self, users: Sequence[Id | None] | None, features: FeatureRows | None, histories: Sequence[Sequence[Id]] | None
    ) -> int:
        given = {"users": users, "features": features, "histories": histories}
        lengths = {name: len(value) for name, value in given.items() if value is not None}
        if not lengths:
            raise ConfigError("give users, features or histories: nothing was asked for")
        if len(set(lengths.values())) > 1:
            came = ", ".join(f"{length} {name}" for name, length in lengths.items())
            raise DataError(f"users, features and histories must have one entry per request; came {came}")
        return next(iter(lengths.values()))

    def _raise_unknown(self, asked: Sequence[Id | None], rows: Tensor) -> None:
        user = asked[int((rows < 0).nonzero()[0])]
        kind = "text" if str(self.users.table.ids.dtype) == "String" else "integers"
        hint = nearest(str(user), map(str, self.users.table.ids.head(10_000).to_list()))
        raise UnknownIdError(
            f"no user {user!r} among the {len(self.users.table):,} known ones, whose ids are {kind}"
            f"{hint if 'did you mean' in hint else ''}; for a new user give features or a history"
        )

    def _history_rows(self, histories: Sequence[Sequence[Id]]) -> Ragged:
        rows = [self._known_rows(as_history(items)) for items in histories]
        offsets = torch.zeros(len(rows) + 1, dtype=torch.int64)
        offsets[1:] = torch.tensor([len(part) for part in rows]).cumsum(0)
        return Ragged(torch.cat(rows) if rows else torch.zeros(0, dtype=torch.int64), offsets)

    def _known_rows(self, items: Sequence[Id]) -> Tensor:
        vocabulary_type = str if str(self.catalogue.ids.dtype) == "String" else int
        rows = [self._row_of.get(item, -1) for item in items if isinstance(item, vocabulary_type)]
        return torch.tensor([row for row in rows if row >= 0], dtype=torch.int64)

    @cached_property
    def _row_of(self) -> dict[Id, int]:
        return {item: row for row, item in enumerate(self.catalogue.ids.to_list())}

    def _item_rows(self, items: Sequence[Id], name: str) -> Tensor:
        unknown = [item for item in items if item not in self._row_of]
        if unknown:
            hint = nearest(str(unknown[0]), [str(item) for item in self._row_of])
            raise UnknownIdError(
                f"{name}: no item {unknown[0]!r} in the catalogue of {len(self.catalogue):,}"
                f"{hint if 'did you mean' in hint else ''}"
            )
        return torch.tensor([self._row_of[item] for item in items], dtype=torch.int64)

    def _excluded(self, seen: Ragged | None, exclude: Sequence[Id], size: int) -> Ragged | None:
        if not exclude:
            return seen
        rows = self._item_rows(exclude, "exclude")
        if seen is None:
            seen = Ragged(rows[:0], torch.zeros(size + 1, dtype=torch.int64))
        every = torch.arange(size)
        queries = torch.cat([every.repeat_interleave(seen.lengths), every.repeat_interleave(len(rows))])
        items = torch.cat([seen.values.long(), rows.repeat(size)])
        return Ragged(items[torch.argsort(queries, stable=True)], seen.offsets + len(rows) * torch.arange(size + 1))

    def _allowed(self, only: Sequence[Id] | None) -> Tensor | None:
        if only is None:
            return None
        allowed = torch.zeros(len(self.catalogue), dtype=torch.bool)
        allowed[self._item_rows(only, "only")] = True
        return allowed
