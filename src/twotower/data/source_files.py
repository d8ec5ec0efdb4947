"""The files behind a path, a folder, a glob or an object-store URL, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, cast

from twotower.errors import MissingExtraError, TableReadError

__all__ = ["SourceFile", "find_files", "is_url"]

_PARQUET = (".parquet", ".pq")
_TEXT = (".csv", ".tsv")
_GLOB = "*?["


@dataclass(frozen=True)
class SourceFile:
    """One file of a source, local or behind a URL.

    Attributes:
        name: What it is called in messages: its path or URL.
        kind: What its name says that it holds; whatever is not Parquet is delimited text.
        size: Bytes.
        stamp: Changes when the file is written again: the time in nanoseconds, or what the object store knows (an ETag).
        store: The fsspec file system; None for local files.
        path: Where `store` or the machine has it.
    """

    name: str
    kind: Literal["text", "parquet"]
    size: int
    stamp: str
    path: str
    store: Any = field(default=None, repr=False, compare=False)

    @property
    def suffixes(self) -> list[str]:
        """Endings of the name, lower case: ``[".tsv", ".gz"]``."""
        return [suffix.lower() for suffix in PurePosixPath(self.path).suffixes]

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The bytes of the file, from the first."""
        if self.store is None:
            with Path(self.path).open("rb") as local:
                yield local
        else:
            with self.store.open(self.path, "rb") as remote:
                yield cast("BinaryIO", remote)


def is_url(path: str | Path) -> bool:
    """Whether a path is a URL such as ``s3://bucket/log.csv``.

    Example:
        >>> is_url("s3://bucket/log.csv"), is_url("log.csv")
        (True, False)
    """
    return isinstance(path, str) and "://" in path


def find_files(source: str | Path, *, noun: str) -> list[SourceFile]:
    """List the files of a source.

    Args:
        source: A file; a folder of Parquet files, or else of ``.csv`` and ``.tsv`` files (``.gz`` too); a glob; or a URL of
            one of these, which fsspec opens. A file whose name looks like a glob is that file.
        noun: What the table is called in an error.

    Returns:
        At least one file, in the order of names.

    Raises:
        TableReadError: If there is none, the glob is not one, or the object store can't be asked.
        MissingExtraError: If the package for this kind of URL is not installed.
    """
    if is_url(source):
        return _remote_files(str(source), noun)
    path = Path(source)
    if path.is_file():
        found = [path]
    elif path.is_dir():
        found = [path / name for name in _of_one_kind([e.name for e in path.iterdir() if e.is_file()], str(path), noun)]
    elif any(sign in str(path) for sign in _GLOB):
        root = Path(path.anchor)
        try:
            found = sorted(entry for entry in root.glob(str(path.relative_to(path.anchor))) if entry.is_file())
        except ValueError:
            raise TableReadError(
                f"{noun} {path}: not a glob: '**' stands for folders, between slashes ({path.parent}/**/*.csv), "
                "and one '*' for any characters of a name"
            ) from None
        if not found:
            raise TableReadError(f"{noun} {path}: no file matches the glob; check the folder and the pattern")
    else:
        near = path.parent if path.parent.is_dir() else None
        hint = "" if near else f"; there is no folder {path.parent} either"
        raise TableReadError(f"{noun} {path}: no such file or folder{hint}; check the path")
    return [_local_file(entry, noun) for entry in found]


def _local_file(path: Path, noun: str) -> SourceFile:
    try:
        state = path.stat()
    except OSError as error:
        raise TableReadError(f"{noun} {path}: can't be read ({error.strerror or error})") from None
    return SourceFile(str(path), _kind(path.name), state.st_size, str(state.st_mtime_ns), str(path))


def _remote_files(url: str, noun: str) -> list[SourceFile]:
    try:
        import fsspec  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError(f"{noun} {url}: URLs are read through fsspec; pip install 'twotower[object-store]'") from None
    try:
        store, root = fsspec.core.url_to_fs(url)
        store.invalidate_cache()
        if any(sign in root for sign in _GLOB) and not store.isfile(root):
            paths = sorted(str(path) for path in store.glob(root) if store.isfile(path))
        elif store.isdir(root):
            listed = {PurePosixPath(str(path)).name: str(path) for path in store.ls(root, detail=False) if store.isfile(path)}
            paths = [listed[name] for name in _of_one_kind(list(listed), url, noun)]
        else:
            paths = [root] if store.exists(root) else []
        facts = [store.info(path) for path in paths]
    except ImportError as error:
        raise MissingExtraError(f"{noun} {url}: {error}; pip install 'twotower[object-store]'") from None
    except TableReadError:
        raise
    except Exception as error:  # every object store has errors of its own
        raise TableReadError(
            f"{noun} {url}: the store can't be asked ({type(error).__name__}: {error}); check the URL and your credentials"
        ) from None
    if not paths:
        raise TableReadError(f"{noun} {url}: no such object, and no folder or glob that holds one; check the URL")
    return [
        SourceFile(str(store.unstrip_protocol(path)), _kind(path), int(fact.get("size") or 0), _stamp(fact), path, store)
        for path, fact in zip(paths, facts, strict=True)
    ]


def _stamp(fact: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "updated", "created"):
        if fact.get(key):
            return f"{key}={fact[key]}"
    return ""


def _kind(name: str) -> Literal["text", "parquet"]:
    return "parquet" if name.lower().endswith(_PARQUET) else "text"


def _of_one_kind(names: list[str], folder: str, noun: str) -> list[str]:
    """The files of a folder that make one table: Parquet, or else text by its usual names."""
    parquet = sorted(name for name in names if name.lower().endswith(_PARQUET))
    text = sorted(name for name in names if name.lower().removesuffix(".gz").endswith(_TEXT))
    if parquet and text:
        raise TableReadError(
            f"{noun} {folder}: a folder is one table, but this one holds Parquet ({parquet[0]}) and text ({text[0]}); "
            f"name the files by a glob such as {folder}/*.parquet"
        )
    if not parquet and not text:
        raise TableReadError(
            f"{noun} {folder}: the folder holds no Parquet files (*.parquet) and no text (*.csv, *.tsv, with .gz too); "
            f"name a file, or a glob such as {folder}/**/*.parquet"
        )
    return parquet or text
