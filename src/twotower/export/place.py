"""Where an export may be written: a new place, or one that holds an earlier export."""

from __future__ import annotations

from pathlib import Path

from twotower.bundle import parse_json
from twotower.errors import ConfigError, TwotowerError

__all__ = ["require_free"]


def require_free(target: Path, signature: str, format_: str) -> None:
    """Refuse to replace what is not an earlier export.

    Args:
        target: A folder, or a file that ends in a suffix.
        signature: The file by which a folder is known.
        format_: What it says under ``format``.

    Raises:
        ConfigError: If there is a file in the place of a folder, a folder in the place of a file, or a folder that holds
            something else.
    """
    if not target.exists():
        return
    if target.is_dir() and target.suffix == ".parquet":
        raise ConfigError(f"{target} is a folder, and a file was to be written there; name another")
    if target.is_dir():
        if any(target.iterdir()) and not _says(target / signature, format_):
            raise ConfigError(f"{target} holds something else than such an export, and is left alone; name another folder")
    elif target.suffix != ".parquet":
        raise ConfigError(f"{target} is a file, and a folder was to be written there; name another")


def _says(path: Path, format_: str) -> bool:
    try:
        value = parse_json(path.read_bytes(), source=path.name)
    except (OSError, TwotowerError):
        return False
    return isinstance(value, dict) and value.get("format") == format_
