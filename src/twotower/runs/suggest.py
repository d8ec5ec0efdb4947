"""A first recipe for a table that nobody has described yet, with the reasons beside it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from twotower.data import TableConfig
from twotower.runs.column_features import SuggestedFeature, part_of, side_features
from twotower.runs.column_roles import Roles
from twotower.runs.table_facts import ColumnFacts, TableFacts
from twotower.runs.toml_text import toml_key, toml_value

__all__ = ["suggest_recipe"]

_LARGE = 1_000_000
_MANY_IDS = 50_000
_REWATCHED = 0.05
_KS = (1, 5, 10, 50, 100)
_TYPES = {"text": "string", "integer": "integer", "float": "float", "boolean": "boolean", "time": "datetime"}
_WIDEST_COMMENT = 120


@dataclass(frozen=True)
class _Size:
    """What the sizes of a table ask for."""

    ids_dim: int
    layer_sizes: tuple[int, ...]
    input_dropout: float
    batch_size: int
    epochs: int
    patience: int
    learning_rate: float


def suggest_recipe(facts: TableFacts, roles: Roles, table: TableConfig, *, declare_types: bool) -> str:
    """Write a recipe that trains, for a person to look over: every guess says why.

    Args:
        facts: Of the table.
        roles: What its columns are taken for.
        table: Where it lies and how it is read, without ``types``.
        declare_types: Whether every column's type is declared. Otherwise only those that reading the table would not find out
            by itself, and the others are comments: the table is then read as it was for ``facts``, and what was converted once
            is not converted again.

    Returns:
        TOML with comments.
    """
    query = [facts.column(name) for name in roles.columns("query")]
    candidate = [facts.column(name) for name in roles.columns("candidate")]
    size = _size(facts.rows)
    queries = [*_parts(facts, roles.user, query), *side_features(query, facts.rows)]
    candidates = [*_parts(facts, roles.item, candidate), *side_features(candidate, facts.rows)]
    attributes = [name for entry in candidates for name in entry.columns if name != roles.item]
    blocks = [
        _head(facts, roles, table),
        _table(facts, roles, table, {name for entry in queries for name in entry.columns} | set(attributes), declare_types),
        _columns(facts, roles),
        _catalogue(attributes),
        _split(facts, roles),
        *_towers(facts, roles, size, queries, candidates),
        _learning(facts, roles, size),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _parts(facts: TableFacts, name: str, side: Sequence[ColumnFacts]) -> list[SuggestedFeature]:
    """The first part of the ids, unless another column says the same in every row."""
    found, sign = part_of(facts.column(name)), facts.column(name).parts
    if found is None or sign is None:
        return []
    first = facts.sample[name].cast(pl.String).str.split_exact(sign, 0).struct.field("field_0")
    same = [column for column in side if column.kind == "text" and not column.missing]
    return [] if any((facts.sample[column.name].cast(pl.String) == first).all() for column in same) else [found]


def _head(facts: TableFacts, roles: Roles, table: TableConfig) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "-", re.split(r"[/\\]", table.path)[-1].split(".")[0]).strip("-") or "first"
    lines = _comment(
        f"A first recipe for {table.path}, made by `twotower inspect` from its {facts.rows:,} rows. It trains as it stands; "
        "look at what is taken for what."
    )
    for sentence in roles.unsure:
        lines += _comment(f"NOT SURE: {sentence}.")
    return "\n".join([*lines, f"name = {toml_value(name)}", "seed = 1"])


def _table(facts: TableFacts, roles: Roles, table: TableConfig, read: Collection[str], declare_types: bool) -> str:
    lines = ["[data.interactions]", f"path = {toml_value(table.path)}"]
    given = table.model_dump(mode="json", exclude_defaults=True, exclude={"path", "types", "fill"})
    lines += [f"{toml_key(name)} = {toml_value(value)}" for name, value in given.items()]
    outcomes = [facts.column(name) for name in roles.columns("outcome")]
    gaps = {column.name: 0 for column in outcomes if column.missing and column.kind in ("integer", "float")}
    if gaps:
        lines += _comment("a missing value of an outcome can be given a meaning:")
        lines += [f"# fill = {toml_value(gaps)}"]
    types, needed = _types(facts, roles, {roles.user, roles.item, roles.time, *read})
    if declare_types:
        needed = tuple(types)
    told = [f"# {toml_key(name)} = {toml_value(kind)}" for name, kind in types.items() if name not in needed]
    if told:
        lines += [
            "",
            *_comment("Types as the rows tell them; one that is declared is an error in every row that does not fit:"),
        ]
    lines += ["", "[data.interactions.types]"] if needed or told else []
    lines += [f"{toml_key(name)} = {toml_value(types[name])}" for name in needed] + told
    return "\n".join(lines)


def _types(facts: TableFacts, roles: Roles, read: Collection[str | None]) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Of every column that the recipe reads, in the order of the table, and which of them reading would not find out."""
    types, needed = {}, []
    for column in facts.columns:
        if column.name not in read or column.kind not in _TYPES:
            continue  # lists have none to declare
        types[column.name] = _TYPES[column.kind]
        if column.name in (roles.user, roles.item) and column.kind == "float":
            types[column.name] = "integer"  # integers with gaps, as pandas writes them
            needed.append(column.name)
        elif column.name == roles.time and column.iso_times:
            types[column.name] = "datetime"
            needed.append(column.name)
    return types, tuple(needed)


def _columns(facts: TableFacts, roles: Roles) -> str:
    lines = ["[data.columns]"]
    for role, name in (("user", roles.user), ("item", roles.item)):
        lines.append(f"{role} = {toml_value(name)} # {_reason(facts.column(name), roles)}")
    if roles.time is not None:
        lines.append(f"time = {toml_value(roles.time)} # {_reason(facts.column(roles.time), roles)}")
    else:
        lines.append('order = "row" # there is no time: rows are taken to be in the order in which things happened')
    gaps = [name for name in (roles.user, roles.item) if facts.column(name).missing]
    if gaps:
        shares = ", ".join(f"{name}: {facts.column(name).missing:,} rows" for name in gaps)
        lines.append(f'null_ids = "drop" # some rows have no id ({shares})')
    for name in roles.columns("outcome"):
        lines += _outcome(facts.column(name))
    unclear = {name: roles.by_column[name].why for name in roles.columns("unclear")}
    if unclear:
        lines += _comment(
            "Left out, because they may not be known when items are to be recommended, or because it can't be told"
        )
        lines += _comment("whose they are (what is known beforehand may be a feature of the query):")
        lines += [f"#   {toml_key(name)}: {why}" for name, why in unclear.items()]
    useless = {name: roles.by_column[name].why for name in roles.columns("useless")}
    if useless:
        lines += _comment(f"Useless: {', '.join(f'{toml_key(name)} ({why})' for name, why in useless.items())}")
    return "\n".join(lines)


def _reason(column: ColumnFacts, roles: Roles) -> str:
    return f"{column.distinct:,} different; {roles.by_column[column.name].why}"


def _outcome(column: ColumnFacts) -> list[str]:
    """An outcome is no input; how it can be used all the same."""
    key = toml_value(column.name)
    lines = _comment(
        f"{toml_key(column.name)} is an outcome of the row: never an input, but it may say how much a row counts or what is a "
        "positive, or be a second task ([[tasks]]):"
    )
    name = column.name if re.fullmatch(r"[A-Za-z_]\w*", column.name) else f"`{column.name}`"
    few = column.distinct <= 12 and column.greatest is not None and column.greatest <= 10
    if column.kind not in ("integer", "float"):
        value = str(column.example).replace("'", "''")
        shown = "1" if column.kind == "boolean" else f"'{value}'"
        return [*lines, f"# positives = {toml_value(f'{name} == {shown}')}"]
    if (column.least is not None and column.least < 0) or few:
        least = 1 if few and column.least == 0 and column.greatest == 1 else _most_of(column) if column.least >= 0 else 0
        sign = ">" if column.least < 0 else ">="
        return [*lines, f"# positives = {toml_value(f'{name} {sign} {least}')}"]
    lines.append(f"# weight = {key}")
    if column.long_tail or (column.greatest is not None and column.greatest > 20):
        lines.append('# weight_transform = "log1p"')
    return [*lines, "# weight_base = 0.1 # so that a row of 0 still teaches something"]


def _most_of(column: ColumnFacts) -> int:
    most: float = round((column.least + 3 * column.greatest) / 4)
    return int(most)


def _catalogue(attributes: Sequence[str]) -> str:
    if not attributes:
        return ""
    return "\n".join(
        [
            *_comment("What describes an item stands in its rows: the catalogue is made of them."),
            "[data.catalogue]",
            f"columns = {toml_value(list(dict.fromkeys(attributes)))}",
            'take = "latest" # of several values of one item; or "most_frequent"',
        ]
    )


def _split(facts: TableFacts, roles: Roles) -> str:
    test, validation = (100_000, 20_000) if facts.rows > _LARGE else (0.1, 0.1)
    comment = "the last rows in time" if roles.time is not None else "the last rows"
    return "\n".join([f"[split] # {comment} are the test", 'kind = "time"', f"test = {test}", f"validation = {validation}"])


def _towers(
    facts: TableFacts, roles: Roles, size: _Size, queries: Sequence[SuggestedFeature], candidates: Sequence[SuggestedFeature]
) -> Iterator[str]:
    users, items = facts.column(roles.user), facts.column(roles.item)
    rare: dict[str, object] = {"min_count": 2} if items.distinct > _MANY_IDS else {}
    by_rows: dict[str, object] = {"update": "rows"} if items.distinct > _MANY_IDS else {}
    taken = {str(entry.keys.get("name", entry.columns[0])) for entry in queries}
    history = next(name for name in ("history", "past", "past_items") if name not in taken)
    again: dict[str, object] = {"own_item": "allow"} if _repeats(facts, roles) >= _REWATCHED else {}
    shared = {"dim": size.ids_dim, "table": "items", **by_rows}
    past = SuggestedFeature(
        "history",
        (),
        "what the user chose before" + (", the same item again included" if again else ""),
        {"name": history, "max_length": 50, **again, **rare},
        {**shared, "pooling": "mean"},
    )
    yield _feature("query", past)
    if facts.rows >= 10 * users.distinct:
        rows: dict[str, object] = {"update": "rows"} if users.distinct > _MANY_IDS else {}
        embedding = {"dim": size.ids_dim, "id_dropout": 0.1, **rows}
        why = "users have ten rows and more on average"
        yield _feature("query", SuggestedFeature("id", (users.name,), why, {"column": users.name, "min_count": 3}, embedding))
    for entry in queries:
        yield _feature("query", entry)
    dropout: dict[str, object] = {"id_dropout": 0.1} if candidates else {}
    own = SuggestedFeature("id", (items.name,), "the item itself", {"column": items.name, **rare}, {**shared, **dropout})
    yield _feature("candidate", own)
    for entry in candidates:
        yield _feature("candidate", entry)


def _feature(tower: str, entry: SuggestedFeature) -> str:
    lines = [f"[[{tower}.features]] # {entry.why}", f"kind = {toml_value(entry.kind)}"]
    lines += [f"{name} = {toml_value(value)}" for name, value in entry.keys.items()]
    return "\n".join([*lines, *([f"embedding = {toml_value(entry.embedding)}"] if entry.embedding else [])])


def _learning(facts: TableFacts, roles: Roles, size: _Size) -> str:
    items = facts.column(roles.item).distinct
    ks = [k for k in _KS if k <= max(1, items // 4)]
    watched = next(k for k in (100, 10, 5, 1) if k in ks)
    optimizer = {"kind": "adamw", "learning_rate": size.learning_rate}
    stopping = {"metric": f"recall@{watched}", "patience": size.patience}
    return "\n".join(
        [
            "[model]",
            f"layer_sizes = {toml_value(list(size.layer_sizes))}",
            f"input_dropout = {size.input_dropout}",
            "",
            "[training]",
            f"epochs = {size.epochs}",
            f"batch_size = {size.batch_size}",
            f"optimizer = {toml_value(optimizer)}",
            f"early_stopping = {toml_value(stopping)}",
            "",
            "[evaluation]",
            f"ks = {toml_value(ks)}",
        ]
    )


def _size(rows: int) -> _Size:
    if rows < 10_000:
        return _Size(32, (32,), 0.2, 256, 20, 4, 0.003)
    if rows < 200_000:
        return _Size(64, (64,), 0.3, 1024, 15, 3, 0.002)
    if rows < _LARGE:
        return _Size(64, (64,), 0.2, 2048, 6, 2, 0.001)
    return _Size(64, (128, 64), 0.1, 4096, 2, 1, 0.001)


def _repeats(facts: TableFacts, roles: Roles) -> float:
    """Share of the sample's rows whose pair of user and item came before."""
    pairs = facts.sample.select(roles.user, roles.item).drop_nulls()
    return 1 - pairs.n_unique() / pairs.height if pairs.height else 0.0


def _comment(sentence: str) -> list[str]:
    lines = [""]
    for word in sentence.split():
        if len(lines[-1]) + len(word) >= _WIDEST_COMMENT:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return [f"# {line}" for line in lines]
