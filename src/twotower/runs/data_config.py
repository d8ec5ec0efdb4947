"""The data section of a recipe: which tables, what their columns mean, and how much of them is used."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from twotower.config import Config
from twotower.data import Schema, TableConfig

__all__ = ["CatalogueConfig", "DataConfig", "SampleConfig"]

_Name: TypeAlias = Annotated[str, Field(min_length=1)]


class SampleConfig(Config):
    """Use some of the rows of the interactions, and leave the rest out of everything.

    Attributes:
        fraction: Of all rows, above 0 and at most 1; the nearest number of rows is drawn, without replacement. They keep their
            order.
        seed: Of ``numpy.random.default_rng(seed).choice(rows, size, replace=False)``.
    """

    fraction: float = Field(gt=0, le=1)
    seed: int = Field(default=42, ge=0)


class CatalogueConfig(Config):
    """A catalogue that is made from the interactions: one wide table has the items' columns in every row.

    Attributes:
        columns: Columns of the interactions that belong to the item; its features may read them. None of them may be an input
            of the query: they would tell which item is to be found.
        take: Where an item's rows differ: each column's ``latest`` value in the order of the rows, or the ``most_frequent``
            one (of equally frequent values, the latest). Missing values count only where an item has nothing else.
        items: ``train``: the items of the rows that are trained on. ``all``: every item of the interactions; one that no
            trained row has takes the values of its own first row, as they are known when it enters, and is found by its
            columns alone. It is judged as a cold item.
    """

    columns: tuple[_Name, ...] = ()
    take: Literal["latest", "most_frequent"] = "latest"
    items: Literal["train", "all"] = "train"

    @model_validator(mode="after")
    def _distinct_columns(self) -> CatalogueConfig:
        if len(set(self.columns)) < len(self.columns):
            twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
            raise ValueError(f"columns: every column once; came twice: {', '.join(twice)}")
        return self


class DataConfig(Config):
    """Where the rows come from, and what the columns mean.

    Attributes:
        dataset: A public data set that twotower fetches itself; instead of ``interactions``.
        interactions: The table of interactions; with neither, a data frame is passed in Python.
        items: The table of items, one row per item; without it, the catalogue is the items of the train rows.
        catalogue: Items with columns of the interactions, instead of a table of items.
        users: The table of users, one row per user.
        columns: Which columns are user, item and time, what is a positive, and the rules for repeats and nulls.
        duplicate_items: What to do when the items table has an id twice with different columns.
        duplicate_users: The same for the users table.
        fit_on: ``train``: vocabulary, buckets and moments come from train rows only. ``all``: from all rows, test rows
            included, which leaks; for reproducing figures of those who do so.
        sample: Use so many of the rows only.
        cache: Whether a table of interactions that is named by its path is converted once to columns on the disk, which are
            then mapped into memory: ``auto`` where its files have 32 MB or more, ``always`` or ``never``. Figures do not depend
            on it.
    """

    dataset: Literal["movielens-100k", "movielens-1m"] | None = None
    interactions: TableConfig | None = None
    items: TableConfig | None = None
    catalogue: CatalogueConfig | None = None
    users: TableConfig | None = None
    columns: Schema
    duplicate_items: Literal["error", "first", "last"] = "error"
    duplicate_users: Literal["error", "first", "last"] = "error"
    fit_on: Literal["train", "all"] = "train"
    sample: SampleConfig | None = None
    cache: Literal["auto", "always", "never"] = "auto"

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        if self.dataset is not None and self.interactions is not None:
            raise ValueError("give either dataset or interactions, not both")
        if self.dataset is not None and (self.items is not None or self.users is not None):
            raise ValueError(f"dataset {self.dataset!r} brings its own items and users")
        return self

    @model_validator(mode="after")
    def _one_catalogue(self) -> DataConfig:
        if self.catalogue is None:
            return self
        if self.dataset is not None or self.items is not None:
            other = "items" if self.dataset is None else f"the items of dataset {self.dataset!r}"
            raise ValueError(f"the catalogue comes from {other} or from the interactions (catalogue), not from both")
        columns = self.columns
        roles = {columns.user: "user", columns.item: "item", columns.time: "time", columns.weight: "weight"}
        wrong = [f"{name!r} is the {roles[name]}" for name in self.catalogue.columns if name in roles]
        if wrong:
            raise ValueError(f"catalogue.columns: columns of the items, of which the id is known already; {', '.join(wrong)}")
        return self
