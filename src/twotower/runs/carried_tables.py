"""Embedding tables of a model that goes on from another one: which row is whose, and where new rows start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from twotower.errors import ConfigError, DataError
from twotower.models import TwoTower
from twotower.preprocessing import FittedFeature, FittedHistory, Preprocessor, matched_rows
from twotower.spec import ModelSpec

__all__ = ["CarriedTable", "NewIds", "carry_table", "match_tables"]

NewIds: TypeAlias = Literal["fresh", "unknown", "mean"]
"""Where rows of what the other run did not know start."""

_WITHOUT_UNKNOWN = frozenset({"buckets", "timestamp"})
"""Kinds of features whose row 0 is a value like the others."""


@dataclass(frozen=True, eq=False)
class CarriedTable:
    """The rows of a table beside those of the model that it goes on from.

    Attributes:
        name: Of the table, in both models.
        rows_V: int64 ``[vocabulary_size]``: the other model's row for each row; -1 for a new one.
        old_size: Rows of the other model's table.
        has_unknown: Whether row 0 stands for unknown values, in both.
    """

    name: str
    rows_V: Tensor
    old_size: int
    has_unknown: bool

    @property
    def known(self) -> int:
        """Rows that are carried, without that of unknown values."""
        return int((self.rows_V >= 0).sum()) - self.has_unknown

    @property
    def new(self) -> int:
        """Rows of what the other run did not know."""
        return int((self.rows_V < 0).sum())

    @property
    def dropped(self) -> int:
        """Rows of the other model that stand for nothing any more."""
        return self.old_size - int(torch.unique(self.rows_V[self.rows_V >= 0]).numel())


def match_tables(
    model: TwoTower, preprocessor: Preprocessor, old: TwoTower, old_preprocessor: Preprocessor
) -> tuple[dict[str, CarriedTable], dict[str, str]]:
    """Match the rows of all tables by the values that they stand for.

    Args:
        model: The new model.
        preprocessor: Its own.
        old: The model that it goes on from.
        old_preprocessor: That one's.

    Returns:
        By name: the tables that can be carried; and for the others, why not.
    """
    carried: dict[str, CarriedTable] = {}
    faults: dict[str, str] = {}
    here, there = _features(preprocessor), _features(old_preprocessor)
    old_tables = {table.name: table for table in old.spec.tables}
    for table in model.spec.tables:
        before = old_tables.get(table.name)
        if before is None:
            faults[table.name] = f"there was none of this name; there were {', '.join(sorted(old_tables)) or 'no tables'}"
            continue
        if before.embedding_dim != table.embedding_dim:
            faults[table.name] = f"it is {table.embedding_dim} wide, and was {before.embedding_dim}"
            continue
        was_read_by = set(_readers(old.spec, table.name))
        readers = [reader for reader in _readers(model.spec, table.name) if reader in was_read_by and reader in here]
        if not readers or readers[0] not in there:
            faults[table.name] = "other features read it"
            continue
        try:
            rows = matched_rows(here[readers[0]], there[readers[0]])[readers[0][1]]
        except (ConfigError, DataError) as error:
            faults[table.name] = str(error)
            continue
        carried[table.name] = CarriedTable(
            table.name, torch.from_numpy(rows), before.vocabulary_size, here[readers[0]].kind not in _WITHOUT_UNKNOWN
        )
    return carried, faults


def carry_table(table: CarriedTable, weight_VD: Tensor, old_VD: Tensor, new_ids: NewIds) -> None:
    """Copy the rows that are known, and move new ones to where they start; their fresh values are what tells them apart.

    Args:
        table: Which rows are whose.
        weight_VD: With fresh values; changed in place.
        old_VD: The other model's rows.
        new_ids: ``unknown`` is the mean where no row stands for unknown values.

    Example:
        >>> table = CarriedTable("user", torch.tensor([0, -1, 1]), 2, True)
        >>> weight_VD = torch.zeros(3, 2)
        >>> carry_table(table, weight_VD, torch.tensor([[1.0, 1.0], [5.0, 7.0]]), "unknown")
        >>> weight_VD.tolist()
        [[1.0, 1.0], [1.0, 1.0], [5.0, 7.0]]
    """
    known = table.rows_V >= 0
    rows = table.rows_V[known]
    weight_VD[known] = old_VD[rows].to(weight_VD)
    if bool(known.all()) or new_ids == "fresh":
        return
    if new_ids == "unknown" and table.has_unknown:
        start_D = old_VD[0]
    else:
        kept = rows[rows > 0] if table.has_unknown else rows
        start_D = old_VD[kept].mean(dim=0) if len(kept) else torch.zeros_like(old_VD[0])
    weight_VD[~known] += start_D.to(weight_VD)


def _features(preprocessor: Preprocessor) -> Mapping[tuple[str, str], FittedFeature | FittedHistory]:
    """By tower and column: what it was fitted as."""
    spec = preprocessor.spec
    groups = (("query", (*spec.user, *spec.context, *spec.history)), ("candidate", spec.candidate))
    return {(tower, column.name): feature for tower, features in groups for feature in features for column in feature.columns}


def _readers(spec: ModelSpec, table: str) -> Iterator[tuple[str, str]]:
    """Tower and column of every input that looks a table up."""
    for tower, inputs in (("query", spec.query.inputs), ("candidate", spec.candidate.inputs)):
        for entry in inputs:
            if entry.table == table:
                yield tower, entry.column
