"""A recipe as the plain values that it could be written with, and as TOML: the way back from `twotower.runs.read_recipe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from twotower.errors import ConfigError
from twotower.runs.feature_entry import FeatureEntry
from twotower.runs.read_recipe import parse_recipe
from twotower.runs.recipe import Recipe
from twotower.runs.toml_text import toml_key, toml_value

__all__ = ["recipe_toml", "recipe_values", "value_at"]


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """What a person would write to get this recipe: what was written, and what differs from the defaults.

    Without ``[tune]``, which is no part of a run.

    Raises:
        ConfigError: If the recipe was made in Python with something that can't be written, such as None where TOML has none.
    """
    values: dict[str, Any] = _written(recipe, recipe.model_dump(mode="json"))
    stopping = recipe.training.early_stopping
    if stopping is None:
        values.setdefault("training", {})["early_stopping"] = False
    elif stopping.patience is None:  # TOML has no None: as many as there are epochs never stop either
        values["training"]["early_stopping"]["patience"] = recipe.training.epochs
        recipe = _with_patience(recipe)
    if parse_recipe(values) != recipe.model_copy(update={"tune": {}}):
        raise ConfigError(f"the recipe {recipe.name!r} was made in Python and holds what TOML can't say")
    return values


def recipe_toml(recipe: Recipe, comments: Sequence[str] = ()) -> str:
    """The recipe as a TOML file, which reads as the same recipe.

    Args:
        recipe: As `recipe_values` takes it.
        comments: Lines at the top, without the number sign.
    """
    lines = [f"# {line}".rstrip() for line in comments]
    lines += _table(recipe_values(recipe), "")
    return "\n".join(lines) + "\n"


def value_at(recipe: Recipe, key: str) -> Any:
    """What a recipe has at a dotted key, as plain value, whether written or by default; None where there is none.

    Example:
        >>> recipe = parse_recipe({
        ...     "name": "a", "data": {"columns": {"user": "u", "item": "i", "time": "t"}},
        ...     "query": {"features": [{"kind": "id", "column": "u"}]},
        ...     "candidate": {"features": [{"kind": "id", "column": "i"}]}})
        >>> value_at(recipe, "query.features.0.embedding.dim"), value_at(recipe, "query.features.0.column")
        (32, 'u')
    """
    place: Any = recipe
    for part in key.split("."):
        if isinstance(place, FeatureEntry) and part != "embedding":
            place = place.feature
        if isinstance(place, BaseModel):
            place = getattr(place, part, None)
        elif isinstance(place, Mapping):
            place = place.get(part)
        elif isinstance(place, tuple) and part.isdigit() and int(part) < len(place):
            place = place[int(part)]
        else:
            return None
    return _plain(place)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value


def _with_patience(recipe: Recipe) -> Recipe:
    stopping = recipe.training.early_stopping
    assert stopping is not None
    stopping = stopping.model_copy(update={"patience": recipe.training.epochs})
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"early_stopping": stopping})})


def _written(value: Any, dumped: Any) -> Any:
    """The part of a dump that had to be written."""
    if isinstance(value, FeatureEntry):
        embedding = _written(value.embedding, dumped["embedding"])
        return {**_written(value.feature, dumped["feature"]), **({"embedding": embedding} if embedding else {})}
    if isinstance(value, BaseModel):
        found = {}
        fields = sorted(type(value).model_fields.items(), key=lambda entry: entry[0] != "kind")
        for name, field in fields:
            part = getattr(value, name)
            default = field.get_default(call_default_factory=True)
            said = name in value.model_fields_set or name == "kind" or part != default
            if said and name in dumped and not field.exclude and part is not None:
                found[name] = _written(part, dumped[name])
        return found
    if isinstance(value, tuple):
        return [_written(part, other) for part, other in zip(value, dumped, strict=True)]
    return dumped


def _table(values: Mapping[str, Any], path: str) -> list[str]:
    """Values first, then the tables below, as TOML wants them."""
    lines, below = [], []
    for name, value in values.items():
        key = f"{path}.{toml_key(name)}" if path else toml_key(name)
        if isinstance(value, Mapping) and value:
            inner = _table(value, key)
            plain = not all(isinstance(entry, Mapping) or _is_tables(entry) for entry in value.values())
            below += ["", *([f"[{key}]"] if plain else []), *inner] if inner else []
        elif _is_tables(value):
            for entry in value:
                below += ["", f"[[{key}]]", *(f"{toml_key(of)} = {toml_value(part)}" for of, part in entry.items())]
        else:
            lines.append(f"{toml_key(name)} = {toml_value(value)}")
    return [*lines, *below]


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, Mapping) for entry in value)
