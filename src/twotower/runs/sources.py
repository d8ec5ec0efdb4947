"""Where a recipe's tables come from: a public data set, files that are read, or files that are converted once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from twotower.cache_root import cache_root
from twotower.columnar import Converting, Divide, open_table
from twotower.data import DroppedRows, TableConfig
from twotower.data.sampled_lines import Sample
from twotower.data.source_files import find_files
from twotower.data.table import ReadTable
from twotower.data.table_report import TableReport
from twotower.datasets import movielens
from twotower.runs.recipe import Recipe

__all__ = ["Sources", "is_converted", "read_sources"]

_CONVERTED_FROM = 32 * 2**20
"""Bytes from which ``cache = "auto"`` converts: a smaller table is read in less time than its conversion takes."""


@dataclass(frozen=True)
class Sources:
    """Tables as they were read; None where there is none.

    Attributes:
        interactions: Where a file is named, the columns that the recipe reads.
        items: All columns.
        users: All columns.
        account: What became of rows and columns of the interactions before anything else, by field of
            `twotower.data.DataReport`.
        categories: Of converted interactions, the distinct values of their columns of text, sorted, as they lie in the cache.
        sampled_from: Rows of the interactions' source, where only the sample of them was read; else None.
        is_text: Whether the interactions were read from files just now, so that their text is text and not coded.
    """

    interactions: pl.DataFrame | None = None
    items: pl.DataFrame | None = None
    users: pl.DataFrame | None = None
    account: Mapping[str, Any] = field(default_factory=dict)
    categories: Mapping[str, pl.Series] = field(default_factory=dict)
    is_text: bool = False
    sampled_from: int | None = None


def read_sources(
    recipe: Recipe,
    wanted: Collection[str],
    *,
    cache_dir: Path | None,
    listener: Callable[[Converting], None] | None,
    sample: Sample | None = None,
    divide: Divide | None = None,
) -> Sources:
    """Read the tables that a recipe names.

    Args:
        recipe: Its section ``data``, and which columns are read.
        wanted: Those of ``interactions``, ``items`` and ``users`` that are needed; others are not read.
        cache_dir: Where public data sets and converted tables are kept; None for the default.
        listener: Is told how far a conversion is.
        sample: The rows of the interactions that are needed; where they can't be taken alone, all are read.
        divide: Processes that convert interactions of many files together; None: this one does.

    Raises:
        DataError: If a table can't be read.
    """
    data = recipe.data
    if data.dataset is not None:
        frames = movielens("100k" if data.dataset == "movielens-100k" else "1m", cache_dir=cache_dir)
        return Sources(frames.interactions, frames.items, frames.users)
    items, users = (
        table.read(noun=name) if table is not None and name in wanted else None
        for name, table in (("items", data.items), ("users", data.users))
    )
    if data.interactions is None or "interactions" not in wanted:
        return Sources(None, items, users)
    if _converts(recipe):
        open_columns = partial(
            open_table,
            data.interactions,
            noun="interactions",
            base_dir=None,
            cache_dir=cache_root(cache_dir),
            listener=listener,
            divide=divide,
        )
        # a feature of the query may be read from the users: what they have need not be here as well
        elsewhere = set() if users is None else set(users.columns) - {data.columns.user}
        needed = [name for name in recipe.columns_read() if name not in elsewhere]
        table = open_columns(columns=needed)
        both = [name for name in recipe.columns_read() if name in elsewhere and name in table.report.ignored]
        if both:
            table = open_columns(columns=[*needed, *both])
        return Sources(table.frame, items, users, _account(table.report, table.report.ignored), table.categories)
    read, account = _read(data.interactions, recipe.columns_read(), users=users, sample=sample)
    return Sources(read.frame, items, users, account, is_text=True, sampled_from=read.sampled_from)


def _converts(recipe: Recipe) -> bool:
    table = recipe.data.interactions
    if table is None or recipe.data.cache != "auto":
        return recipe.data.cache == "always"
    return is_converted(table, noun="interactions")


def is_converted(table: TableConfig, *, noun: str) -> bool:
    """Whether a table is so large that it is converted to columns where nothing else is said (32 MB and more).

    Args:
        table: Where it lies.
        noun: What it is called in an error.

    Raises:
        TableReadError: If the source is missing.
    """
    return sum(file.size for file in find_files(table.source(), noun=noun)) >= _CONVERTED_FROM


def _read(
    table: TableConfig, wanted: tuple[str, ...], *, users: pl.DataFrame | None, sample: Sample | None
) -> tuple[ReadTable, dict[str, Any]]:
    found = table.read_with_report(noun="interactions", wanted=wanted, sample=sample)
    absent = set(wanted) - set(found.frame.columns) - set([] if users is None else users.columns)
    if absent:  # a column that is nowhere is told later, with the nearest of all the names that there are
        found = table.read_with_report(noun="interactions")
    return found, _account(found.report, found.report.ignored)


def _account(report: TableReport, ignored: tuple[str, ...]) -> dict[str, Any]:
    skipped = []
    for reason, rows in report.skipped.counts.items():
        sample = [bad for bad in report.skipped.sample if bad.reason == reason]
        examples = tuple(f"row {bad.row} of {bad.file}: {bad.text}" for bad in sample)
        skipped.append(DroppedRows(reason=reason, rows=rows, examples=examples))
    filled = {name: count for name, count in report.filled.items() if count and name not in ignored}
    return {"skipped": tuple(skipped), "filled": filled, "ignored_columns": ignored}
