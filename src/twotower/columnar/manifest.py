"""What a converted table consists of: written last, so that a folder with a manifest is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from twotower.config import Config
from twotower.data.bad_rows import SkippedRows

__all__ = ["FORMAT_VERSION", "MANIFEST", "ColumnEntry", "Manifest", "find_damage", "read_manifest"]

FORMAT_VERSION = 1
MANIFEST = "manifest.json"


class ColumnEntry(Config):
    """One stored column.

    Attributes:
        name: Its name.
        kind: ``text``: codes and categories; ``number``: values, dates and times among them; ``boolean``: packed bits;
            ``null``: nothing at all; ``arrow``: everything else (lists, structs), as an Arrow file.
        dtype: Polars type of the values as they lie in the file, for instance ``Int64``; of codes for text.
        logical: Polars type that they stand for where it is another one: ``Date``, ``Time``, ``Datetime``, ``Duration``.
        unit: Of a logical type that has one.
        zone: Of a datetime that has one.
        stem: Start of the names of its files.
        nulls: Missing values that remain.
        categories: Distinct values of text.
        filled: Missing values that were replaced; None where no fill is declared.
        files: Size in bytes of every file.
    """

    name: str
    kind: Literal["text", "number", "boolean", "null", "arrow"]
    dtype: str = ""
    logical: str | None = None
    unit: Literal["ns", "us", "ms"] | None = None
    zone: str | None = None
    stem: str
    nulls: int = 0
    categories: int = 0
    filled: int | None = None
    files: dict[str, int] = Field(default_factory=dict)


class Manifest(Config):
    """What a folder holds.

    Attributes:
        format_version: Of this layout.
        key: The folder's name.
        source: Where the table came from: path, folder, glob or URL.
        rows: Rows of every column.
        all_columns: Columns of the source, in its order.
        columns: Those that are stored, in that order.
        skipped: Rows that were left out.
        source_bytes: Size of the source.
        written: Unix seconds.
        seconds: How long it took.
    """

    format_version: int
    key: str
    source: str
    rows: int
    all_columns: tuple[str, ...]
    columns: tuple[ColumnEntry, ...]
    skipped: SkippedRows
    source_bytes: int
    written: float
    seconds: float


def read_manifest(folder: Path) -> Manifest | str | None:
    """The manifest of a folder; what is wrong with it, in words; or None where there is no such folder."""
    try:
        content = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        return "its manifest is missing" if folder.is_dir() else None
    except OSError as error:
        return f"its manifest can't be read ({error.strerror or error})"
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError:
        return "its manifest is damaged"
    return manifest if manifest.format_version == FORMAT_VERSION else "its manifest is of another format"


def find_damage(folder: Path, manifest: Manifest) -> str | None:
    """Whether a file is missing or has another size than was written, in words; None where all is as it was."""
    for column in manifest.columns:
        for name, size in column.files.items():
            try:
                found = (folder / name).stat().st_size
            except OSError:
                return f"{name} of column {column.name!r} is missing"
            if found != size:
                return f"{name} of column {column.name!r} has {found:,} bytes in place of {size:,}"
    return None
