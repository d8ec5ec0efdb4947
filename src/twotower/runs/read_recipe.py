"""Recipes from TOML files, with single keys overridden."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twotower.config import parse_config
from twotower.errors import ConfigError
from twotower.runs.recipe import Recipe
from twotower.runs.tune_config import flat_tune

__all__ = ["parse_recipe", "put_key", "read_recipe"]


def read_recipe(path: str | Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: A TOML file. Paths of tables in it are relative to its folder; the recipe holds absolute ones, so that the run
            can be judged again from anywhere.
        overrides: ``section.key=value`` each; the value is TOML (``[64, 32]``, ``0.1``, ``true``), or else a plain string. An
            entry of a list is named by its number (``query.features.0.embedding.dim=8``); a path is relative to the
            working directory.

    Raises:
        ConfigError: If the file can't be read, is not TOML, or has faults; all faults at once.
    """
    file = Path(path)
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no recipe at {file}; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} can't be read as a recipe: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}", source=str(file)) from None
    _anchor_paths(values, file.parent)
    faults: list[str] = []
    for override in overrides:
        try:
            _override(values, override)
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)
    _anchor_paths(values, Path())
    return parse_recipe(values, source=str(file))


def parse_recipe(values: dict[str, Any], *, source: str | None = None) -> Recipe:
    """Check plain values as a recipe.

    Raises:
        ConfigError: With every fault, each with its key and the nearest valid name.
    """
    if "tune" in values:
        try:
            values = {**values, "tune": flat_tune(values["tune"])}
        except ConfigError as error:
            raise ConfigError(error.faults, source=source) from None
    return parse_config(Recipe, values, source=source)


def _override(values: dict[str, Any], text: str) -> None:
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: write section.key=value, for instance training.epochs=10")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw.strip()
    put_key(values, key.strip(), value, said=f"--set {text}")


def put_key(values: dict[str, Any], key: str, value: Any, *, said: str) -> None:
    """Put a value into plain values of a recipe, in place.

    Args:
        values: Changed where the key says; sections that are not there yet are made.
        key: Dotted; an entry of a list is named by its number.
        value: Plain.
        said: What asked for it, for the message.

    Raises:
        ConfigError: If the key leads through a value that is no section, or to an entry that a list does not have.
    """
    *sections, last = key.split(".")
    place: Any = values
    for position, section in enumerate(sections):
        place = place[_position(place, section, said)] if isinstance(place, list) else place.setdefault(section, {})
        if not isinstance(place, dict | list):
            raise ConfigError(f"{said}: {'.'.join(sections[: position + 1])} is a value, not a section")
    if isinstance(place, list):
        place[_position(place, last, said)] = value
    else:
        place[last] = value


def _position(entries: list[Any], section: str, said: str) -> int:
    if not section.isdigit() or int(section) >= len(entries):
        raise ConfigError(f"{said}: {section!r} must be the number of an entry, 0 to {len(entries) - 1}")
    return int(section)


def _anchor_paths(values: dict[str, Any], folder: Path) -> None:
    data = values.get("data")
    if not isinstance(data, dict):
        return
    for name in ("interactions", "items", "users"):
        table = data.get(name)
        if isinstance(table, dict) and isinstance(table.get("path"), str):
            table["path"] = str((folder / table["path"]).absolute())
