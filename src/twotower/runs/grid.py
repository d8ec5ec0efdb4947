"""A grid of settings: which keys of a recipe vary, and over which values."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from twotower.errors import ConfigError

__all__ = ["Axis", "Setting", "parse_axis", "settings_of"]

_OPENING, _CLOSING = "[{", "]}"


@dataclass(frozen=True)
class Axis:
    """One key and its values.

    Attributes:
        key: Dotted, as for ``--set``.
        values: TOML each, or plain strings; at least one, no two alike.
    """

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """One cell of the grid.

    Attributes:
        label: What tables and pictures call it.
        overrides: ``key=value`` each, for `twotower.runs.read_recipe`.
    """

    label: str
    overrides: tuple[str, ...]

    @property
    def folder(self) -> str:
        """A name for its folder: the label without what file systems dislike."""
        return re.sub(r"[^A-Za-z0-9._=+-]+", "-", self.label).strip("-.")


def parse_axis(text: str) -> Axis:
    """Read ``key=value;value;...``; a semicolon within brackets or quotes does not separate.

    Raises:
        ConfigError: If it reads otherwise, or a value comes twice.

    Example:
        >>> parse_axis("model.layer_sizes=[32];[64,32]").values
        ('[32]', '[64,32]')
    """
    key, equals, rest = text.partition("=")
    values = tuple(value.strip() for value in _split(rest))
    if not equals or not key.strip() or not all(values):
        raise ConfigError(f"--over {text}: write key=value;value;..., for instance 'model.layer_sizes=[32];[64,32]'")
    spelt = [value if set(value) & set("\"'") else re.sub(r"\s+", "", value) for value in values]
    twice = sorted({value for value in spelt if spelt.count(value) > 1})
    if twice:
        raise ConfigError(f"--over {text}: each value once; {', '.join(twice)} comes twice")
    return Axis(key.strip(), values)


def settings_of(axes: Sequence[Axis]) -> list[Setting]:
    """Every combination of the axes' values, the last axis varying fastest.

    A label names each key by its last part, or by as many of its parts as it takes to tell the keys apart.

    Raises:
        ConfigError: If a key comes twice.

    Example:
        >>> [setting.label for setting in settings_of([Axis("model.layer_sizes", ("[32]", "[64, 32]"))])]
        ['layer_sizes=[32]', 'layer_sizes=[64, 32]']
    """
    keys = [axis.key for axis in axes]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ConfigError(f"--over {', '.join(twice)}: give each key once, with all of its values")
    names = _short(keys)
    return [
        Setting(
            label=", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True)),
            overrides=tuple(f"{key}={value}" for key, value in zip(keys, values, strict=True)),
        )
        for values in itertools.product(*(axis.values for axis in axes))
    ]


def _split(text: str) -> list[str]:
    parts, depth, quote, start = [], 0, "", 0
    for position, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in _OPENING:
            depth += 1
        elif letter in _CLOSING:
            depth -= 1
        elif letter == ";" and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [*parts, text[start:]]


def _short(keys: Sequence[str]) -> list[str]:
    split = [key.split(".") for key in keys]
    for length in range(1, max((len(parts) for parts in split), default=0) + 1):
        names = [".".join(parts[-length:]) for parts in split]
        if len(set(names)) == len(names):
            return names
    return list(keys)
