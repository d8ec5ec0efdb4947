"""From a recipe's data section to checked tables and the split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data import IdTable, Interactions, Split, read_table, split
from twotower.datasets import movielens
from twotower.errors import ConfigError
from twotower.runs.recipe import DataConfig, Recipe

__all__ = ["Tables", "load_tables"]


@dataclass(frozen=True)
class Tables:
    """Checked tables, and which rows train, validate and test.

    Attributes:
        interactions: Positives, in the order of the file.
        items: The catalogue; None when it is the items of the train rows.
        users: The users table; None when there is none.
        split: Row numbers of ``interactions``.
        user_ids: Every user of the interactions, once.
        user_rows: int64 ``[n]``, row in ``user_ids`` of every interaction.
        fingerprint: Hash of all that was read.
    """

    interactions: Interactions
    items: IdTable | None
    users: IdTable | None
    split: Split
    user_ids: IdTable
    user_rows: NDArray[np.int64]
    fingerprint: str

    def report_lines(self) -> list[str]:
        """What was read, dropped and why, and how it was split, in sentences."""
        lines = self.interactions.report.lines()
        for table in (self.items, self.users):
            if table is not None:
                dropped = [f"{count:,} {reason}" for reason, count in table.dropped.items() if count]
                lines.append(
                    f"{len(table):,} {table.noun}s in the {table.noun}s table" + (f" ({', '.join(dropped)})" if dropped else "")
                )
        counts = (len(self.split.train), len(self.split.validation), len(self.split.test))
        lines.append("{:,} rows train, {:,} validate, {:,} test".format(*counts))
        return lines


def load_tables(
    recipe: Recipe,
    *,
    interactions: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
    users: pl.DataFrame | None = None,
    cache_dir: Path | None = None,
) -> Tables:
    """Read, check and split the tables of a recipe.

    Args:
        recipe: Says where they are and what their columns mean.
        interactions: Used in place of the recipe's table.
        items: Used in place of the recipe's table.
        users: Used in place of the recipe's table.
        cache_dir: Where public data sets are kept; None for the default.

    Raises:
        ConfigError: If neither the recipe nor the call says where the interactions are.
        DataError: If a table does not hold what the recipe says.
    """
    data = recipe.data
    found = _sources(data, cache_dir)
    frames = {
        "interactions": found["interactions"] if interactions is None else read_table(interactions, noun="interactions"),
        "items": found["items"] if items is None else read_table(items, noun="items"),
        "users": found["users"] if users is None else read_table(users, noun="users"),
    }
    table = frames["interactions"]
    if table is None:
        raise ConfigError(
            "data: where are the interactions? Name a file ([data.interactions] with path) or a dataset in the recipe, "
            "or pass a data frame in Python"
        )
    columns = data.columns
    catalogue, people = frames["items"], frames["users"]
    item_table = (
        None if catalogue is None else IdTable.from_table(catalogue, columns.item, noun="item", duplicates=data.duplicate_items)
    )
    user_table = (
        None if people is None else IdTable.from_table(people, columns.user, noun="user", duplicates=data.duplicate_users)
    )
    checked = Interactions.from_table(table, columns, catalogue=item_table, users=user_table)
    if item_table is not None and columns.min_item_count > 1:
        remaining = item_table.rows(checked.item_ids.unique())
        item_table = item_table.keep(np.sort(remaining))
    parts = split(checked, recipe.split)
    user_ids = IdTable.from_ids(checked.user_ids, checked.schema.user, noun="user")
    return Tables(
        interactions=checked,
        items=item_table,
        users=user_table,
        split=parts,
        user_ids=user_ids,
        user_rows=user_ids.rows(checked.user_ids),
        fingerprint=_fingerprint(checked.frame, item_table, user_table, parts),
    )


def _sources(data: DataConfig, cache_dir: Path | None) -> dict[str, pl.DataFrame | None]:
    if data.dataset is not None:
        frames = movielens("100k" if data.dataset == "movielens-100k" else "1m", cache_dir=cache_dir)
        return {"interactions": frames.interactions, "items": frames.items, "users": frames.users}
    return {
        name: None if table is None else table.read(noun=name)
        for name, table in (("interactions", data.interactions), ("items", data.items), ("users", data.users))
    }


def _fingerprint(frame: pl.DataFrame, items: IdTable | None, users: IdTable | None, parts: Split) -> str:
    digest = hashlib.sha256()
    for table in (frame, None if items is None else items.frame, None if users is None else users.frame):
        if table is not None:
            digest.update(str(table.schema).encode())
            digest.update(table.hash_rows(seed=0).to_numpy().tobytes())
    for rows in (parts.train, parts.validation, parts.test):
        digest.update(rows.tobytes())
    return digest.hexdigest()
