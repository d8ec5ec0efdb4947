"""For every column of a table, in a few words: what it could be in a recipe, and why."""

from __future__ import annotations

from twotower.runs.column_features import SuggestedFeature, feature_of, part_of, side_features
from twotower.runs.column_roles import Role, Roles
from twotower.runs.table_facts import ColumnFacts, TableFacts

__all__ = ["column_suggestions"]


def column_suggestions(facts: TableFacts, roles: Roles | None) -> dict[str, tuple[str, str]]:
    """What is suggested for each column, and why; without roles only the kind of feature that suits it.

    Example:
        >>> import polars as pl
        >>> from twotower.runs.column_roles import roles_of
        >>> from twotower.runs.table_facts import table_facts
        >>> facts = table_facts(pl.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "user_age": [30, 40], "rating": [1, 5]}))
        >>> column_suggestions(facts, roles_of(facts))["user_age"]
        ('query: buckets', "called as the user's; an age, whose effect is no line")
    """
    if roles is None:
        features = {column.name: feature_of(column, facts.rows) for column in facts.columns}
        return {name: ("", "") if entry is None else (entry.kind, entry.why) for name, entry in features.items()}
    sides = {
        tower: side_features([facts.column(name) for name in roles.columns(tower)], facts.rows)
        for tower in ("query", "candidate")
    }
    return {column.name: _suggestion(column, roles.by_column[column.name], sides) for column in facts.columns}


def _suggestion(column: ColumnFacts, role: Role, sides: dict[str, list[SuggestedFeature]]) -> tuple[str, str]:
    if role.name in ("user", "item"):
        return f"{role.name} id", f"{role.why}; it has parts" if part_of(column) else role.why
    if role.name == "time":
        return "time", role.why
    if role.name == "outcome":
        return "weight, positives or task", f"{role.why}: an outcome is never an input"
    if role.name in ("unclear", "useless"):
        return "left out", role.why
    entry = next((entry for entry in sides[role.name] if column.name in entry.columns), None)
    return ("left out", "no feature reads it") if entry is None else (f"{role.name}: {entry.kind}", f"{role.why}; {entry.why}")
