"""A folder of parts that is written whole, and read only when it is whole.

    manifest.json        what the bundle is: format, parts with their sizes and SHA-256, card; written after the parts
    manifest.sha256      SHA-256 of manifest.json, in the form that ``sha256sum --check`` reads
    <part>.safetensors   named tensors
    <part>.parquet       a table
    <part>.json          anything else

Nothing in it can run when it is read. A file that the manifest does not list, a symbolic link, or a path that leaves the
folder is refused, so a bundle that opened is the bundle that was written. Every version of the format keeps the two manifest
files, and in the manifest ``format`` and ``format_version``.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import polars as pl
from torch import Tensor

from twotower import __version__
from twotower.bundle.atomic import atomic_folder, resolve_folder
from twotower.bundle.manifest import FORMAT, FORMAT_VERSION, Manifest, Part, PartKind, name_fault, part_file
from twotower.bundle.streamed_tensors import TensorStream
from twotower.bundle.strict_json import JSON, dump_json, parse_json
from twotower.bundle.tensors import parse_tensors, save_tensors
from twotower.config import parse_config
from twotower.errors import BundleError, ConfigError, CorruptBundleError, IncompatibleBundleError, nearest

__all__ = ["Bundle", "BundleWriter", "open_bundle", "write_bundle"]

_MANIFEST = "manifest.json"
_MANIFEST_SUM = "manifest.sha256"
_AGAIN = "write the bundle again or fetch it again"
_TRIES = 20
_BLOCK_BYTES = 1 << 20


class BundleWriter:
    """Adds parts to a bundle that is being written; got from :func:`write_bundle`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = True
        self._parts: dict[str, Part] = {}

    def tensors(self, name: str, tensors: Mapping[str, Tensor | TensorStream]) -> None:
        """Add named tensors.

        Raises:
            ValueError: If the name is not simple or already has a part, or a tensor is sparse.
            BundleError: If the file can't be written.
        """
        path = self._claim(name, "tensors")
        save_tensors(path, tensors)
        self._add(name, "tensors", path)

    def json(self, name: str, obj: JSON) -> None:
        """Add a JSON value.

        Raises:
            ValueError: If the name is not simple or already has a part.
            BundleError: If JSON can't hold the value (NaN, keys that are not text), or the file can't be written.
        """
        path = self._claim(name, "json")
        _write(path, dump_json(obj, source=f"part {name!r}").encode())
        self._add(name, "json", path)

    def frame(self, name: str, frame: pl.DataFrame) -> None:
        """Add a table.

        Raises:
            ValueError: If the name is not simple or already has a part.
            BundleError: If Parquet can't hold a column of the table, or the file can't be written.
        """
        path = self._claim(name, "frame")
        for column, dtype in frame.schema.items():
            if dtype == pl.Object:
                raise BundleError(f"part {name!r}: column {column!r} holds Python objects, which Parquet can't; cast it first")
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        _write(path, buffer.getvalue())
        self._add(name, "frame", path)

    def _claim(self, name: str, kind: PartKind) -> Path:
        if not self._open:
            raise ValueError(f"part {name!r} came after the bundle was closed; add parts inside the with block")
        fault = name_fault(name)
        if fault:
            raise ValueError(fault)
        if name in self._parts:
            raise ValueError(f"every part has a name of its own; {name!r} came twice")
        return self._folder / part_file(name, kind)

    def _add(self, name: str, kind: PartKind, path: Path) -> None:
        digest, size_bytes = _digest(path)
        self._parts[name] = Part(kind=kind, file=path.name, sha256=digest, size_bytes=size_bytes)

    def _close(self, card: Mapping[str, JSON], created_at: datetime) -> None:
        self._open = False
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "library_version": __version__,
            "created_at": created_at.astimezone(UTC).isoformat(timespec="seconds"),
            "parts": {name: part.model_dump() for name, part in self._parts.items()},
            "card": dict(card),
        }
        data = dump_json(cast(JSON, manifest), source=_MANIFEST).encode()
        _write(self._folder / _MANIFEST, data)
        _write(self._folder / _MANIFEST_SUM, _sum_line(data).encode())


@contextlib.contextmanager
def write_bundle(
    path: str | os.PathLike[str], *, card: Mapping[str, JSON] | None = None, created_at: datetime | None = None
) -> Iterator[BundleWriter]:
    """Write a bundle whole or not at all; one that is at ``path`` is replaced when the block ends without an error.

    Args:
        path: The bundle's folder.
        card: What to say about the contents, such as the recipe and the metrics. Read when the block ends, so that the block
            can still add to it.
        created_at: When the bundle was written; with a zone. Now by default.

    Raises:
        BundleError: If ``path`` is a file or a folder that is not a bundle, JSON can't hold the card, or the disk refuses.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with write_bundle(Path(folder) / "bundle", card={"recall@10": 0.1}) as writer:
        ...         writer.json("spec", {"embedding_dim": 32})
        ...     bundle = open_bundle(Path(folder) / "bundle")
        ...     bundle.json("spec"), bundle.card
        ({'embedding_dim': 32}, {'recall@10': 0.1})
    """
    target = Path(path)
    with _reading(target):
        foreign = target.is_dir() and any(target.iterdir()) and not (target / _MANIFEST).is_file()
    if foreign:
        raise BundleError(f"{target} is a folder with other files, and is left alone; write the bundle elsewhere or empty it")
    with atomic_folder(target) as temporary:
        writer = BundleWriter(temporary)
        yield writer
        writer._close(card or {}, created_at or datetime.now(UTC))


class Bundle:
    """A bundle that was checked; got from :func:`open_bundle`.

    Parts are read when they are asked for, and checked once more: what is parsed is what the manifest vouches for.

    Attributes:
        path: The folder.
        manifest: What it says about itself.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @property
    def card(self) -> dict[str, JSON]:
        """What the writer said about the contents."""
        return cast(dict[str, JSON], self.manifest.card)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parts, sorted."""
        return tuple(sorted(self.manifest.parts))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The named tensors of a part, on the CPU.

        Raises:
            BundleError: If there is no such part, or it is of another kind.
            CorruptBundleError: If it has changed since it was written.
        """
        return parse_tensors(self._bytes(name, "tensors"), source=self._source(name))[0]

    def json(self, name: str) -> JSON:
        """The JSON value of a part; raises as :meth:`tensors`."""
        return parse_json(self._bytes(name, "json"), source=self._source(name))

    def frame(self, name: str) -> pl.DataFrame:
        """The table of a part; raises as :meth:`tensors`."""
        data = self._bytes(name, "frame")
        try:
            return pl.read_parquet(io.BytesIO(data))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise CorruptBundleError(f"{self._source(name)} must be Parquet, and is not: {error}; {_AGAIN}") from error

    def _source(self, name: str) -> str:
        return str(self.path / self.manifest.parts[name].file)

    def _bytes(self, name: str, kind: PartKind) -> bytes:
        part = self.manifest.parts.get(name)
        if part is None:
            raise BundleError(f"{self.path} has no part {name!r}{nearest(name, self.names)}")
        if part.kind != kind:
            raise BundleError(f"part {name!r} of {self.path} is of kind {part.kind!r}, and was read as {kind!r}")
        path = self.path / part.file
        with _reading(path):
            data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != part.sha256:
            raise CorruptBundleError(f"{path} has changed since the bundle was opened; open it again")
        return data


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Open a bundle after checking all of it: format, version, every file's size and SHA-256, and that no file is unlisted.

    A bundle that another process replaces in the meantime is opened in its old or its new state.

    Raises:
        CorruptBundleError: If a file is missing, changed, unlisted, a link, or the manifest is not what was written.
        IncompatibleBundleError: If a newer library wrote it.
        BundleError: If there is no bundle at ``path``, or it can't be read.
    """
    for _ in range(_TRIES):
        folder = resolve_folder(path)
        before = _identity(folder)
        try:
            with _reading(folder):
                return _open(folder)
        except BundleError:
            if before == _identity(resolve_folder(path)):
                raise
    raise BundleError(f"{os.fspath(path)} was replaced {_TRIES} times while it was being opened; open it when it rests")


def _open(folder: Path) -> Bundle:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise BundleError(f"{folder} must be the folder of a bundle, and {what}; check the path")
    if not (folder / _MANIFEST).is_file():
        raise BundleError(f"{folder} has no {_MANIFEST}, so it is not a bundle; check the path")
    data = (folder / _MANIFEST).read_bytes()
    manifest_sum = folder / _MANIFEST_SUM
    if not manifest_sum.is_file():
        raise CorruptBundleError(f"{manifest_sum} is missing: the bundle is not whole; {_AGAIN}")
    if manifest_sum.read_bytes() != _sum_line(data).encode():
        raise CorruptBundleError(
            f"{folder / _MANIFEST} has changed since it was written: {_MANIFEST_SUM} does not match; {_AGAIN}"
        )
    manifest = _parse_manifest(data, folder / _MANIFEST)
    _check_listing(folder, manifest)
    for part in manifest.parts.values():
        _check_part(folder / part.file, part)
    return Bundle(folder, manifest)


def _parse_manifest(data: bytes, path: Path) -> Manifest:
    values = parse_json(data, source=str(path))
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        came = values.get("format") if isinstance(values, dict) else type(values).__name__
        raise BundleError(f"{path} must say format {FORMAT!r} (came: {came!r}); this is not a bundle of twotower")
    version = values.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise IncompatibleBundleError(
            f"{path} is in version {version} of the format, written by twotower {values.get('library_version')}; "
            f"this is twotower {__version__}, which reads up to version {FORMAT_VERSION}: upgrade twotower"
        )
    try:
        return parse_config(Manifest, values, source=str(path))
    except ConfigError as error:
        raise CorruptBundleError(f"{error}; {_AGAIN}") from error


def _check_listing(folder: Path, manifest: Manifest) -> None:
    listed = {_MANIFEST, _MANIFEST_SUM} | {part.file for part in manifest.parts.values()}
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in entries:
        if entry.name not in listed:
            raise CorruptBundleError(f"{entry.path} is not one of the bundle's files; if you trust the rest, remove it")
        if not entry.is_file(follow_symlinks=False):
            raise CorruptBundleError(f"{entry.path} must be a plain file, not a link or a folder; {_AGAIN}")
    missing = sorted(listed - {entry.name for entry in entries})
    if missing:
        raise CorruptBundleError(f"{folder} lacks {', '.join(missing)}; {_AGAIN}")


def _check_part(path: Path, part: Part) -> None:
    digest, size_bytes = _digest(path)
    if size_bytes != part.size_bytes:
        raise CorruptBundleError(f"{path} must have {part.size_bytes:,} bytes, and has {size_bytes:,}; {_AGAIN}")
    if digest != part.sha256:
        raise CorruptBundleError(f"{path} has changed since it was written: its SHA-256 does not match; {_AGAIN}")


def _digest(path: Path) -> tuple[str, int]:
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size_bytes += len(block)
    return digest.hexdigest(), size_bytes


def _write(path: Path, data: bytes) -> None:
    """Straight to the file: the folder around it is flushed and gets its name as a whole."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise BundleError(f"{path} can't be written: {error.strerror}; check the space on the disk") from error


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BundleError(f"{error.filename or path} can't be read: {error.strerror}; check its permissions") from error


def _sum_line(data: bytes) -> str:
    return f"{hashlib.sha256(data).hexdigest()}  {_MANIFEST}\n"


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
