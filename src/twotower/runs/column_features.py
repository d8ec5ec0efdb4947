"""Which feature suits a column: by what it holds, how many values it has, and what its name says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twotower.runs.column_names import name_words
from twotower.runs.table_facts import ColumnFacts

__all__ = ["SuggestedFeature", "feature_of", "part_of", "side_features"]

_FEW_VALUES = 1_000
_FEW_NUMBERS = 12
_MANY_ROWS = 100_000
_OLDEST = 120
_AGE_EDGES = [18, 21, 25, 30, 35, 40, 45, 50, 60]
_WORDS_OF_A_TEXT = 1.5


@dataclass(frozen=True)
class SuggestedFeature:
    """One entry of ``[[query.features]]`` or ``[[candidate.features]]``.

    Attributes:
        kind: As recipes have it.
        columns: What it reads.
        why: In a few words.
        keys: Of the entry, besides ``kind``.
        embedding: Keys of its embedding; empty for numbers.
    """

    kind: str
    columns: tuple[str, ...]
    why: str
    keys: Mapping[str, object]
    embedding: Mapping[str, object] = field(default_factory=dict)


def feature_of(column: ColumnFacts, rows: int) -> SuggestedFeature | None:
    """The feature for one column that is neither an id of the table nor an outcome; None: none reads it.

    Args:
        column: What is known of it.
        rows: Of the table.

    Example:
        >>> age = ColumnFacts("viewer_age", "integer", "Int64", missing=3, distinct=60, least=13, greatest=99)
        >>> feature_of(age, rows=1000).kind, feature_of(age, rows=1000).keys["missing"]
        ('buckets', 'own_row')
    """
    missing = bool(column.missing)
    own_row: dict[str, object] = {"missing": "own_row"} if missing else {}
    rare: dict[str, object] = {"min_count": 5} if rows >= _MANY_ROWS else {}
    if column.kind in ("integer", "float"):
        if "age" in name_words(column.name):
            return _age(column, own_row)
        if column.kind == "integer" and column.distinct <= _FEW_NUMBERS:
            return _named(column, "category", "few different numbers", own_row | rare, {"dim": 4})
        tail = {"transform": "log1p"} if column.long_tail else {}
        why = "numbers of a long tail" if column.long_tail else "numbers"
        return _named(column, "number", why, {**tail, **({"missing": "own"} if missing else {})})
    if column.kind == "boolean":
        return _named(column, "category", "true or false", own_row, {"dim": 4})
    if column.kind == "list":
        return _named(column, "multi_category", "lists", rare, {"dim": 16, "pooling": "mean"})
    if column.kind != "text":
        return None
    if column.joint is not None:
        keys = {"separator": column.joint} | rare
        return _named(
            column, "multi_category", f"several values, joined by {column.joint!r}", keys, {"dim": 16, "pooling": "mean"}
        )
    if column.words >= _WORDS_OF_A_TEXT and column.distinct > _FEW_VALUES // 5:
        return _named(column, "text", "words", {"min_count": 2}, {"dim": 32, "pooling": "mean"})
    if column.distinct <= _FEW_VALUES:
        dim = 4 if column.distinct <= 10 else 8 if column.distinct <= 100 else 16
        return _named(column, "category", "few different values", own_row | rare, {"dim": dim})
    return _named(column, "id", "many different values", {"min_count": 5 if rows >= _MANY_ROWS else 2}, {"dim": 16})


def part_of(column: ColumnFacts) -> SuggestedFeature | None:
    """The first part of ids such as ``network:number``, as a category; None: the ids have no parts."""
    if column.parts is None:
        return None
    keys = {"column": column.name, "name": f"{column.name}_part", "separator": column.parts, "part": 0, "missing": "own_row"}
    why = f"what stands before {column.parts!r} in the id"
    return SuggestedFeature("category", (column.name,), why, keys, {"dim": 4})


def side_features(columns: Sequence[ColumnFacts], rows: int) -> list[SuggestedFeature]:
    """The features for all attributes of one side, in the order of the table; longitude and latitude become one."""
    pairs = _places(columns)
    found = []
    for column in columns:
        if column.name in pairs.values():
            continue  # said at its longitude
        if column.name in pairs:
            longitude, latitude = column, next(other for other in columns if other.name == pairs[column.name])
            found.append(_geo(longitude, latitude))
        elif (feature := feature_of(column, rows)) is not None:
            found.append(feature)
    return found


def _named(
    column: ColumnFacts, kind: str, why: str, keys: Mapping[str, object], embedding: Mapping[str, object] | None = None
) -> SuggestedFeature:
    return SuggestedFeature(kind, (column.name,), why, {"column": column.name, **keys}, embedding or {})


def _age(column: ColumnFacts, own_row: Mapping[str, object]) -> SuggestedFeature:
    """Buckets of given edges: what is no age (0, 999) falls into the first or the last and moves none of the others."""
    if isinstance(column.greatest, int | float) and isinstance(column.least, int | float) and column.least <= _OLDEST:
        edges = [edge for edge in _AGE_EDGES if column.least < edge <= column.greatest]
        if edges:
            return _named(column, "buckets", "an age, whose effect is no line", {"edges": edges, **own_row}, {"dim": 8})
    keys = {"num_edges": 10, "spacing": "quantile", **own_row}
    return _named(column, "buckets", "an age, in units of its own", keys, {"dim": 8})


def _places(columns: Sequence[ColumnFacts]) -> dict[str, str]:
    """By column of longitudes, the column of latitudes that is called the same otherwise."""
    words = {"longitude": {"longitude", "lon", "lng", "long"}, "latitude": {"latitude", "lat"}}
    numbers = [column.name for column in columns if column.kind in ("integer", "float")]
    kinds = {kind: {} for kind in words}  # type: dict[str, dict[tuple[str, ...], str]]
    for name in numbers:
        for kind, of_kind in words.items():
            if len(set(name_words(name)) & of_kind) == 1:
                rest = tuple(word for word in name_words(name) if word not in of_kind)
                kinds[kind].setdefault(rest, name)
    return {name: kinds["latitude"][rest] for rest, name in kinds["longitude"].items() if rest in kinds["latitude"]}


def _geo(longitude: ColumnFacts, latitude: ColumnFacts) -> SuggestedFeature:
    rest = [word for word in name_words(longitude.name) if word not in ("longitude", "lon", "lng", "long")]
    ends = [
        value for column, most in ((longitude, 180), (latitude, 90)) for value in (-column.least - most, column.greatest - most)
    ]
    keys = {"name": "_".join([*rest, "place"]), "longitude": longitude.name, "latitude": latitude.name}
    outside = {"out_of_range": "missing"} if max(ends) > 0 else {}
    return SuggestedFeature("geo", (longitude.name, latitude.name), "a place on the globe", keys | outside, {"dim": 8})
