"""Values as TOML: for recipes that are written with their comments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

__all__ = ["toml_key", "toml_value"]


def toml_key(name: str) -> str:
    """A key, quoted where it has to be.

    Example:
        >>> toml_key("viewer_age"), toml_key("viewer age")
        ('viewer_age', '"viewer age"')
    """
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def toml_value(value: object) -> str:
    """A value on one line: text, numbers, booleans, lists, and mappings as inline tables.

    Example:
        >>> toml_value({"dim": 8, "pooling": "mean"}), toml_value([0.5, True])
        ('{ dim = 8, pooling = "mean" }', '[0.5, true]')
    """
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{toml_key(name)} = {toml_value(entry)}' for name, entry in value.items())} }}"
    if isinstance(value, Sequence):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
