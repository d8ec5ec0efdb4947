"""From a recipe's data section to checked tables and the split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.columnar import Converting, Divide, release_pages
from twotower.data import IdTable, Interactions, Split, read_table, split
from twotower.data.coded_texts import code_texts
from twotower.data.consecutive import taken_frame
from twotower.data.sampled_lines import Sample
from twotower.errors import ConfigError, DataError
from twotower.runs.catalogue import catalogue_from_rows, count_conflicts
from twotower.runs.data_config import CatalogueConfig, SampleConfig
from twotower.runs.fingerprint import fingerprint
from twotower.runs.recipe import Recipe
from twotower.runs.sources import read_sources

__all__ = ["Tables", "load_tables"]


@dataclass(frozen=True)
class Tables:
    """Checked tables, and which rows train, validate and test.

    Attributes:
        interactions: Positives, in the order of the file. Where its users were coded they are not here: `user_rows` and
            `user_ids` say who they are, without a hash table of all their names.
        items: The catalogue; None when it is made from the interactions, see `catalogue`.
        users: The users table; None when there is none.
        split: Row numbers of ``interactions``.
        user_ids: Every user of the interactions, once.
        user_rows: int32 ``[n]``, row in ``user_ids`` of every interaction.
        fingerprint: Hash of all that was read.
        catalogue_config: How the catalogue is made from the interactions, where it is.
    """

    interactions: Interactions
    items: IdTable | None
    users: IdTable | None
    split: Split
    user_ids: IdTable
    user_rows: NDArray[np.int32]
    fingerprint: str
    catalogue_config: CatalogueConfig = field(default_factory=CatalogueConfig)

    def catalogue(self, fit_rows: NDArray[np.int64]) -> IdTable:
        """What can be recommended by a ranker that is fitted on some rows."""
        if self.items is not None:
            return self.items
        return catalogue_from_rows(self.interactions, self.catalogue_config, fit_rows)

    def users_of(self, rows: NDArray[np.int64]) -> pl.Series:
        """The users of some interactions, String or Int64 ``[m]``."""
        return self.user_ids.ids.gather(self.user_rows[rows])

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
        unused = len(self.interactions) - sum(counts)
        if unused:
            lines[-1] += f"; {unused:,} rows are used for nothing"
        return lines


def load_tables(
    recipe: Recipe,
    *,
    interactions: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
    users: pl.DataFrame | None = None,
    cache_dir: Path | None = None,
    listener: Callable[[Converting], None] | None = None,
    divide: Divide | None = None,
) -> Tables:
    """Read, check and split the tables of a recipe.

    Args:
        recipe: Says where they are and what their columns mean.
        interactions: Used in place of the recipe's table.
        items: Used in place of the recipe's table.
        users: Used in place of the recipe's table.
        cache_dir: Where public data sets and converted tables are kept; None for the default.
        listener: Is told how far the conversion of a table is.
        divide: Processes that convert a log of many files together; None: this one does.

    Raises:
        ConfigError: If neither the recipe nor the call says where the interactions are.
        DataError: If a table does not hold what the recipe says.
    """
    data = recipe.data
    given = {"interactions": interactions, "items": items, "users": users}
    wanted = [name for name, frame in given.items() if frame is None]
    config = data.sample
    sample = None if config is None else Sample(config.fraction, lambda rows: _sampled(rows, config))
    found = read_sources(recipe, wanted, cache_dir=cache_dir, listener=listener, sample=sample, divide=divide)
    frame = found.interactions if interactions is None else read_table(interactions, noun="interactions")
    catalogue = found.items if items is None else read_table(items, noun="items")
    people = found.users if users is None else read_table(users, noun="users")
    if frame is None:
        raise ConfigError(
            "data: where are the interactions? Name a file ([data.interactions] with path) or a dataset in the recipe, "
            "or pass a data frame in Python"
        )
    if catalogue is not None and data.catalogue is not None:
        raise ConfigError("data.catalogue makes the items from the interactions, but a table of items came too; leave one out")
    columns = data.columns
    item_table = (
        None if catalogue is None else IdTable.from_table(catalogue, columns.item, noun="item", duplicates=data.duplicate_items)
    )
    user_table = (
        None if people is None else IdTable.from_table(people, columns.user, noun="user", duplicates=data.duplicate_users)
    )
    account = dict(found.account) if interactions is None else {}
    if sample is not None:
        is_taken = interactions is None and found.sampled_from is not None
        account["sampled_from"] = found.sampled_from if is_taken else frame.height
        frame = frame if is_taken else taken_frame(frame, sample.choose(frame.height))
    coded = code_texts(frame, (columns.user, columns.item)) if found.is_text and interactions is None else {}
    checked = Interactions.from_table(frame, columns, catalogue=item_table, users=user_table, coded=coded)
    if data.catalogue is not None:
        account["conflicts"] = count_conflicts(checked, data.catalogue)
        release_pages()
    checked = replace(checked, report=checked.report.model_copy(update=account))
    if item_table is not None and columns.min_item_count > 1:
        remaining = item_table.rows(checked.item_ids.unique())
        item_table = item_table.keep(np.sort(remaining))
    parts = split(checked, recipe.split)
    user_ids = IdTable.from_ids(checked.user_keys, checked.schema.user, noun="user")
    stored = found.categories.get(checked.schema.user)
    if stored is not None and stored.equals(user_ids.ids):  # the same names, but in the cache's file and not in memory
        user_ids = IdTable(stored.alias(checked.schema.user).to_frame(), checked.schema.user, "user")
    tables = Tables(
        interactions=checked,
        items=item_table,
        users=user_table,
        split=parts,
        user_ids=user_ids,
        user_rows=user_ids.rows32(checked.user_keys),
        fingerprint=fingerprint(checked.frame, item_table, user_table, parts),
        catalogue_config=data.catalogue or CatalogueConfig(),
    )
    release_pages()
    return replace(tables, interactions=_without_coded_users(checked))


def _without_coded_users(interactions: Interactions) -> Interactions:
    user = interactions.schema.user
    if user not in interactions.coded and interactions.frame[user].dtype != pl.Enum:
        return interactions
    negatives = interactions.negatives
    if negatives.is_empty():  # whose type alone would keep the names
        negatives = negatives.with_columns(pl.lit(None, dtype=pl.String).alias(user))
    coded = {name: found for name, found in interactions.coded.items() if name != user}
    return replace(interactions, frame=interactions.frame.drop(user), negatives=negatives, coded=coded)


def _sampled(rows: int, config: SampleConfig) -> NDArray[np.int64]:
    size = round(config.fraction * rows)
    if size < 1:
        raise DataError(f"data.sample: {config.fraction:g} of {rows:,} rows is none; give it a greater fraction")
    drawn = np.zeros(rows, dtype=np.bool_)
    drawn[np.random.default_rng(config.seed).choice(rows, size, replace=False)] = True
    return np.flatnonzero(drawn)
