"""A folder of tables that is complete or absent: written atomically, checked against its hashes whenever it is read."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import polars as pl

__all__ = ["load_tables", "store_tables"]

_HASHES = "hashes.json"


def store_tables(folder: Path, tables: Mapping[str, pl.DataFrame]) -> None:
    """Write every table as ``<name>.parquet``, and their hashes last, so that a folder with hashes is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    hashes = {name: _write(folder / f"{name}.parquet", frame) for name, frame in tables.items()}
    content = json.dumps({"sha256": hashes}, indent=1).encode()
    _write_bytes(folder / _HASHES, content)


def load_tables(folder: Path, names: tuple[str, ...]) -> dict[str, pl.DataFrame] | None:
    """The tables, or None where one is missing or is not what was written: then they are to be fetched again."""
    try:
        hashes = json.loads((folder / _HASHES).read_bytes())["sha256"]
        contents = {name: (folder / f"{name}.parquet").read_bytes() for name in names}
        if any(hashlib.sha256(content).hexdigest() != hashes[name] for name, content in contents.items()):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return {name: pl.read_parquet(content) for name, content in contents.items()}


def _write(path: Path, frame: pl.DataFrame) -> str:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    content = buffer.getvalue()
    _write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def _write_bytes(path: Path, content: bytes) -> None:
    # a name of its own: two processes that fetch at once each rename a whole file
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
