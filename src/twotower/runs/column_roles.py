"""A guess at what the columns of an unknown table are: whose attribute, which outcome, and why it is thought so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import polars as pl

from twotower.errors import ConfigError, nearest
from twotower.runs.column_names import (
    ID_WORDS,
    ITEM_WORDS,
    MOMENT_WORDS,
    OUTCOME_WORDS,
    TIME_WORDS,
    USER_WORDS,
    id_stem,
    is_id_of,
    name_words,
)
from twotower.runs.table_facts import ColumnFacts, TableFacts

__all__ = ["Role", "RoleName", "Roles", "roles_of"]

RoleName: TypeAlias = Literal["user", "item", "time", "outcome", "query", "candidate", "unclear", "useless"]
"""``query``: known of the user or the moment; ``candidate``: an attribute of the item; ``unclear``: it differs from row to row
and may be known only afterwards; ``useless``: nothing can be learned from it."""

_UNIX_SECONDS = (3e8, 5e9)
_NEARLY_CONSTANT = 0.1
_FAR_FROM_CONSTANT = 0.8
_FEWEST_PAIRED_ROWS = 20
_EVERY_ROW = 0.95


@dataclass(frozen=True)
class Role:
    """What a column is taken for.

    Attributes:
        name: The role.
        why: In a few words.
    """

    name: RoleName
    why: str


@dataclass(frozen=True)
class Roles:
    """The columns' roles.

    Attributes:
        user: Column of user ids.
        item: Column of item ids.
        time: Column of times that can be used as they are; None: none was found.
        by_column: Role of every column.
        unsure: Guesses that a person should look at, in sentences.
    """

    user: str
    item: str
    time: str | None
    by_column: Mapping[str, Role]
    unsure: tuple[str, ...]

    def columns(self, name: RoleName) -> list[str]:
        """Columns of one role, in the order of the table."""
        return [column for column, role in self.by_column.items() if role.name == name]


def roles_of(facts: TableFacts, *, user: str | None = None, item: str | None = None, time: str | None = None) -> Roles:
    """Guess what each column is.

    A column is the item's if it is nearly constant among the rows of an item, and the user's if it is among those of a user:
    the share of pairs of rows of one item that differ in it is set against that of any two rows, on the sample. A name that
    begins as the item's or the user's does (``viewer_age``) says so too. Names of outcomes (``duration``, ``rating``) are
    believed before all that.

    Args:
        facts: Of the table.
        user: Column of user ids; None: guess.
        item: Column of item ids; None: guess.
        time: Column of times; None: guess.

    Raises:
        ConfigError: If a named column is not there or can't be what it is said to be, or no guess can be made; the message
            says which option to give.
    """
    _require_columns(facts, {"--user": user, "--item": item, "--time": time})
    unsure: list[str] = []
    moment = _time(facts, time, {user, item}, unsure)
    taken = {name for name in (user, item, moment) if name is not None}
    found_user, found_item = user, item
    if found_user is None:
        found_user = _by_name(facts, USER_WORDS, taken)
        taken |= {found_user} if found_user else set()
    if found_item is None:
        found_item = _by_name(facts, ITEM_WORDS, taken)
        taken |= {found_item} if found_item else set()
    found_user, found_item = _by_place(facts, found_user, found_item, taken, unsure)
    if found_user == found_item:
        raise ConfigError(f"--user and --item must be two columns; both are {found_user!r}")
    own = {
        found_user: Role("user", "named so" if user else _why(found_user, unsure)),
        found_item: Role("item", "named so" if item else _why(found_item, unsure)),
    }
    if moment is not None:
        own[moment] = Role("time", "named so" if time else "times, by name and values")
    stems = (id_stem(found_user) | {"user"}, id_stem(found_item) | {"item"})
    by_column = {
        column.name: own.get(column.name) or _role(facts, column, found_user, found_item, stems) for column in facts.columns
    }
    return Roles(found_user, found_item, moment, by_column, tuple(unsure))


def _require_columns(facts: TableFacts, named: Mapping[str, str | None]) -> None:
    names = [column.name for column in facts.columns]
    faults = [
        f"{option} {name}: there is no such column{nearest(name, names)}"
        for option, name in named.items()
        if name is not None and name not in names
    ]
    if faults:
        raise ConfigError(faults)


def _time(facts: TableFacts, time: str | None, taken: set[str | None], unsure: list[str]) -> str | None:
    if time is not None:
        fault = _time_fault(facts, facts.column(time))
        if fault:
            raise ConfigError(f"--time {time}: {fault}")
        return time
    for column in facts.columns:
        named = bool(TIME_WORDS & set(name_words(column.name)))
        timely = column.kind == "time" or column.iso_times or (named and column.kind in ("integer", "float"))
        if column.name in taken or not timely or (not named and OUTCOME_WORDS & set(name_words(column.name))):
            continue
        fault = _time_fault(facts, column)
        if fault is None:
            return column.name
        unsure.append(f"{column.name!r} looks like the time of a row, but {fault}; the order of the rows is taken instead")
    return None


def _time_fault(facts: TableFacts, column: ColumnFacts) -> str | None:
    if column.missing:
        return f"{column.missing:,} of {facts.rows:,} rows have none: give them one, or drop them"
    if column.kind == "time" or column.iso_times:
        return None
    if column.kind not in ("integer", "float"):
        return f"it holds neither numbers nor ISO 8601 text, but for instance {column.example!r}"
    low, high = _UNIX_SECONDS
    if column.greatest > 100 * high:
        return f"times must be Unix seconds, and {column.greatest} looks like milliseconds or finer: divide it"
    return (
        None
        if low <= column.least and column.greatest <= high
        else f"times must be Unix seconds; it holds {column.least} to {column.greatest}"
    )


def _can_be_id(column: ColumnFacts) -> bool:
    whole = column.kind == "float" and column.missing > 0 and _is_whole(column.example)  # integers that pandas made floats of
    return column.distinct > 1 and (column.kind in ("text", "integer") or whole)


def _is_whole(value: object) -> bool:
    return isinstance(value, float) and value.is_integer()


def _by_name(facts: TableFacts, hints: frozenset[str], taken: set[str]) -> str | None:
    """The id before the title."""
    free = [column.name for column in facts.columns if column.name not in taken and _can_be_id(column)]
    ids = [name for name in free if is_id_of(name, hints)]
    titles = [name for name in free if is_id_of(name, hints, by_title=True)] if hints is ITEM_WORDS else []
    return next(iter(ids + titles), None)


def _by_place(facts: TableFacts, user: str | None, item: str | None, taken: set[str], unsure: list[str]) -> tuple[str, str]:
    """Ids that no name gives away: the columns of the most different values, the user before the item."""
    if user is not None and item is not None:
        return user, item

    def likelihood(column: ColumnFacts) -> tuple[bool, bool, bool, int]:
        words = set(name_words(column.name))
        in_every_row = column.distinct > _EVERY_ROW * facts.rows > _FEWEST_PAIRED_ROWS
        return not words & OUTCOME_WORDS, not in_every_row, bool(words & ID_WORDS), column.distinct

    free = [column for column in facts.columns if column.name not in taken and _can_be_id(column)]
    wanted = (user is None) + (item is None)
    if len(free) < wanted:
        missing = " and ".join([*(["--user COLUMN"] if user is None else []), *(["--item COLUMN"] if item is None else [])])
        raise ConfigError(
            f"no column can be taken for {'the user' if user is None else 'the item'}: of text or integers with several values "
            f"there is {', '.join(repr(column.name) for column in free) or 'none'} left; say {missing}"
        )
    best = sorted(free, key=likelihood, reverse=True)[:wanted]
    chosen = iter(column.name for column in facts.columns if column in best)
    found = []
    for role, given in (("user", user), ("item", item)):
        if given is None:
            given = next(chosen)
            unsure.append(
                f"{given!r} is taken for the {role}: no name says so, it is among the columns with the most different values"
                f"{' (the user first)' if wanted == 2 else ''}; if it is another, say --{role} COLUMN"
            )
        found.append(given)
    return found[0], found[1]


def _why(name: str, unsure: list[str]) -> str:
    return "a guess" if any(sentence.startswith(f"{name!r} is taken for") for sentence in unsure) else "by its name"


def _role(facts: TableFacts, column: ColumnFacts, user: str, item: str, stems: tuple[frozenset[str], frozenset[str]]) -> Role:
    words = name_words(column.name)
    if column.distinct < 2:
        return Role("useless", "one value only" if column.distinct else "empty")
    if column.kind == "other":
        return Role("useless", f"no feature reads {column.dtype}")
    if column.kind == "float" and not (math.isfinite(column.least) and math.isfinite(column.greatest)):
        return Role("unclear", "holds an infinity, which no feature reads: correct it")
    within_user, within_item = (_differing(facts.sample, column.name, key) for key in (user, item))
    of_item, of_user = (bool(words) and words[0] in stem for stem in reversed(stems))
    if OUTCOME_WORDS & set(words) and not (of_item and within_item is not None and within_item <= _NEARLY_CONSTANT):
        return Role("outcome", "by its name")
    if column.kind == "time" or column.iso_times:
        return Role("unclear", "a time that is not that of the row")
    if of_item:
        if within_item is not None and within_item > _FAR_FROM_CONSTANT:
            return Role("unclear", "called as the item's, but differs from row to row")
        return Role("candidate", "called as the item's")
    if of_user:
        return Role("query", "called as the user's")
    if MOMENT_WORDS & set(words):
        return Role("query", "of the moment, by its name")
    user_share, item_share = (1.0 if share is None else share for share in (within_user, within_item))
    if min(user_share, item_share) <= _NEARLY_CONSTANT and user_share != item_share:
        if item_share < user_share:
            return Role("candidate", "constant within an item")
        return Role("query", "constant within a user")
    if within_user is None or within_item is None:
        return Role("unclear", "too few repeats to tell whose it is")
    return Role("unclear", "differs within users and within items")


def _differing(sample: pl.DataFrame, column: str, key: str) -> float | None:
    """How often two rows of one ``key`` differ in a column, as a share of how often any two rows do; None: too few repeats.

    Every key counts by its rows, so that a few heavy ones do not speak for all.
    """
    frame = sample.select(pl.col(key).alias("key"), pl.col(column).alias("value")).drop_nulls()
    counts = frame.group_by("key", "value").agg(pl.len().cast(pl.Float64).alias("n"))
    differ = 1 - (pl.col("n") * (pl.col("n") - 1)).sum() / (pl.col("n").sum() * (pl.col("n").sum() - 1))
    within = counts.group_by("key").agg(differ.alias("differ"), pl.col("n").sum().alias("rows")).filter(pl.col("rows") > 1)
    overall = counts.group_by("value").agg(pl.col("n").sum()).select(differ).item()
    if not overall or float(within["rows"].sum()) < _FEWEST_PAIRED_ROWS:
        return None
    weighted = within.select((pl.col("differ") * pl.col("rows")).sum() / pl.col("rows").sum()).item()
    return float(weighted) / float(overall)
