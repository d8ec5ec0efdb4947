"""Versions of a model in one folder, of which one is current: published whole, chosen in one step, taken back in one.

    current.json              which version is current, and which were before it
    versions/<name>/bundle/   a bundle
    versions/<name>/index/    an index over its item vectors, where there is one

A version is written before it is chosen, and never changed after. Who serves the folder reads ``current.json``, which is
replaced in one step, so it names a whole version at every moment.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from twotower.bundle.atomic import atomic_folder, remove_leftovers, write_json
from twotower.bundle.bundle import open_bundle
from twotower.bundle.strict_json import parse_json
from twotower.errors import BundleError, CorruptBundleError, nearest

__all__ = ["Current", "activate", "current_version", "is_published", "publish", "roll_back", "version_folder", "versions"]

_POINTER, _VERSIONS, _LOCK = "current.json", "versions", ".lock"
_KEPT = 100


class Current(NamedTuple):
    """Which version answers.

    Attributes:
        version: Its name.
        previous: Those that were current before it, the latest first; empty where there were none.
    """

    version: str
    previous: tuple[str, ...]


def is_published(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds published versions."""
    return (Path(folder) / _POINTER).is_file()


def publish(source: str | os.PathLike[str], folder: str | os.PathLike[str], *, index: Path | None = None) -> str:
    """Copy a bundle, and the index beside it, into a folder of versions; it is not current yet.

    The same bundle and index published again is the same version; one that was damaged since is put there anew.

    Args:
        source: A bundle.
        folder: Of versions; made if it is not there.
        index: The bundle of an index over its item vectors.

    Returns:
        The version's name: when the bundle was written, and the start of a checksum of all of it.

    Raises:
        BundleError: If the source or the index is not a bundle, or is damaged; if the folder holds something else, or can't be
            written.
    """
    bundle = open_bundle(source)
    parts = {"bundle": bundle.path} | ({} if index is None else {"index": open_bundle(index).path})
    digests = {part: _digest(path) for part, path in parts.items()}
    digest = hashlib.sha256("".join(digests.values()).encode()).hexdigest()
    written = "".join(sign for sign in bundle.manifest.created_at.split("+")[0] if sign.isalnum())
    name = f"{written}Z-{digest[:8]}"
    target = Path(folder)
    with _locked(target):
        place = target / _VERSIONS / name
        if not _is_whole(place, digests):
            with atomic_folder(place) as temporary:
                for part, path in parts.items():
                    _copy(path, temporary / part)
                if not _is_whole(temporary, digests):
                    raise BundleError(f"{source} changed while it was copied to {target}; publish it when it rests")
    return name


def activate(folder: str | os.PathLike[str], version: str) -> Current:
    """Make a version the current one.

    Raises:
        BundleError: If there is no such version, or the folder can't be written.
    """
    target = Path(folder)
    version_folder(target, version)
    with _locked(target):
        version_folder(target, version)
        try:
            before = current_version(target) if is_published(target) else None
        except CorruptBundleError:  # which this mends
            before = None
        if before is not None and before.version == version:
            return before
        return _point(target, version, () if before is None else (before.version, *before.previous))


def roll_back(folder: str | os.PathLike[str]) -> Current:
    """Make the version current again that was so before this one.

    Raises:
        BundleError: If there was none, or the folder can't be written.
    """
    target = Path(folder)
    current_version(target)
    with _locked(target):
        before = current_version(target)
        if not before.previous:
            raise BundleError(f"{target}: no version was current before {before.version}; publish another one")
        version_folder(target, before.previous[0])
        return _point(target, before.previous[0], before.previous[1:])


def current_version(folder: str | os.PathLike[str]) -> Current:
    """Which version is current.

    Raises:
        BundleError: If nothing was published there.
        CorruptBundleError: If the pointer is damaged.
    """
    path = Path(folder) / _POINTER
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{path} can't be read: {error.strerror}; publish a run first: twotower publish RUN --to {folder}"
        ) from error
    values = parse_json(text, source=str(path))
    if (
        not isinstance(values, dict)
        or set(values) != {"version", "previous"}
        or not isinstance(values["version"], str)
        or not isinstance(values["previous"], list)
        or not all(isinstance(name, str) for name in values["previous"])
    ):
        raise CorruptBundleError(f"{path} must say version and previous; it is damaged: activate a version anew")
    return Current(values["version"], tuple(str(name) for name in values["previous"]))


def versions(folder: str | os.PathLike[str]) -> list[str]:
    """Names of all versions, the oldest first."""
    place = Path(folder) / _VERSIONS
    if not place.is_dir():
        return []
    return sorted(entry.name for entry in place.iterdir() if not entry.name.startswith(".") and entry.is_dir())


def version_folder(folder: str | os.PathLike[str], version: str) -> Path:
    """Where a version is.

    Raises:
        BundleError: If there is none of this name.
    """
    names = versions(folder)
    if version not in names:  # a name is looked up, never joined to a path as it came
        raise BundleError(f"{Path(folder)}: no version {version!r}{nearest(version, names)}")
    return Path(folder) / _VERSIONS / version


def _point(target: Path, version: str, previous: tuple[str, ...]) -> Current:
    current = Current(version, previous[:_KEPT])
    write_json(target / _POINTER, {"version": current.version, "previous": list(current.previous)})
    return current


def _is_whole(place: Path, digests: Mapping[str, str]) -> bool:
    """Whether a version is there, as it was written, and is that of these manifests."""
    try:
        return all(_digest(open_bundle(place / part).path) == digest for part, digest in digests.items())
    except BundleError:
        return False


def _digest(bundle: Path) -> str:
    return hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copytree(source, target)
    except (OSError, shutil.Error) as error:
        raise BundleError(f"{source} can't be copied to {target}: {error}; check the space on the disk") from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = [entry.name for entry in folder.iterdir() if entry.name not in (_POINTER, _VERSIONS, _LOCK)]
        foreign = [name for name in foreign if not name.startswith((".", "live."))]
        if foreign and not (folder / _VERSIONS).is_dir():
            raise BundleError(f"{folder} is a folder with other files ({foreign[0]}), and is left alone; publish elsewhere")
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise BundleError(f"{folder} can't be written: {error.strerror}; check its permissions") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        remove_leftovers(folder / _VERSIONS)
        yield
    finally:
        os.close(descriptor)
