"""What a converted table is known by: where it came from, what was there, and how it was to be read."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from twotower.columnar.manifest import FORMAT_VERSION
from twotower.data.source_files import SourceFile
from twotower.data.table import TableConfig
from twotower.errors import TableReadError

__all__ = ["cache_folder", "source_key"]

_EDGE_BYTES = 1 << 20


def source_key(files: list[SourceFile], config: TableConfig, *, noun: str) -> str:
    """Hash of the cache's format, of how the table is read, and of every file: path, size, time, first and last megabyte.

    A file that is written again gets another key, even where size and time are what they were, unless only its middle changed.

    Args:
        files: The files of the source.
        config: How they are read; its ``path`` is not part of the key, the files' own paths are.
        noun: What the table is called in an error.

    Returns:
        32 hexadecimal digits.

    Raises:
        TableReadError: If a file can't be read.
    """
    spec = config.model_dump(mode="json", exclude={"path"})
    digest = hashlib.sha256(json.dumps({"format": FORMAT_VERSION, "spec": spec}, sort_keys=True).encode())
    for file in files:
        path = file.name if file.store is not None else os.path.realpath(file.path)
        digest.update(json.dumps([path, file.size, file.stamp]).encode())
        try:
            _update_with_edges(digest, file)
        except OSError as error:
            raise TableReadError(f"{noun} {file.name}: can't be read ({error.strerror or error})") from None
    return digest.hexdigest()[:32]


def _update_with_edges(digest: hashlib._Hash, file: SourceFile) -> None:
    with file.open() as raw:
        digest.update(raw.read(_EDGE_BYTES))
        if file.size > _EDGE_BYTES:
            raw.seek(max(file.size - _EDGE_BYTES, _EDGE_BYTES))
            digest.update(raw.read(_EDGE_BYTES))


def cache_folder(cache_dir: Path, key: str) -> Path:
    """Where a table of this key is kept.

    Args:
        cache_dir: The folder of all that is cached.
        key: As `source_key` makes it.
    """
    return cache_dir / "columnar" / key
