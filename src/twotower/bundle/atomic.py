"""Files and folders that are there whole, in the old state or in the new one, whenever the power goes.

Everything is written beside its destination under a hidden temporary name, flushed to the disk, and then renamed. A temporary
is locked by its writer (``flock``) for as long as it is being written, so that one left by a process that died can be told from
one in use, whatever became of its process number; :func:`remove_leftovers` deletes the former.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from twotower.bundle.strict_json import JSON, dump_json
from twotower.errors import BundleError

__all__ = ["atomic_file", "atomic_folder", "remove_leftovers", "resolve_folder", "write_bytes", "write_json", "write_text"]

_TEMPORARY = re.compile(r"\.(.+)\.\d+-[0-9a-f]{8}\.tmp")
_PREVIOUS = ".previous"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file whole or not at all.

    Yields the path of an empty temporary file in the same folder (parents are created). When the block ends, the temporary is
    flushed to the disk and takes the place of ``path`` in one step. When the block raises, the temporary is removed and
    ``path`` stays what it was. A ``path`` that is a symbolic link is followed: the file that it points to is replaced.

    Raises:
        BundleError: If the file can't be written; it says where and why.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_file(Path(folder) / "figures.csv") as temporary:
        ...         _ = temporary.write_text("recall@10")
        ...     sorted(entry.name for entry in Path(folder).iterdir())
        ['figures.csv']
    """
    target = Path(os.path.realpath(path))
    with _naming(target):
        if target.is_dir():
            raise BundleError(f"{target} is a folder, and a file was to be written there; choose another name")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary, lock = _claim(target, _create_file)
    try:
        yield temporary
        with _naming(target):
            _sync(temporary)
            os.replace(temporary, target)  # noqa: PTH105 - the name that a simulated crash takes the place of
            _sync(target.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(lock)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write bytes through :func:`atomic_file`."""
    with atomic_file(path) as temporary, _naming(Path(path)):
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text as UTF-8, newlines as they are, through :func:`atomic_file`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], obj: JSON) -> None:
    """Write JSON through :func:`atomic_file`; what it refuses, :func:`~twotower.bundle.strict_json.dump_json` says."""
    write_text(path, dump_json(obj, source=os.fspath(path)))


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a folder whole or not at all; an existing one is replaced.

    Yields an empty temporary folder beside ``path`` (parents are created). When the block ends, every file and folder in it is
    flushed to the disk, and the folder becomes ``path``. When the block raises, the temporary is removed and ``path`` stays.
    A ``path`` that is a symbolic link is followed.

    An existing folder and the new one change places in one step where the system can do that (Linux, ``RENAME_EXCHANGE``), and
    the old one is then deleted. Elsewhere the old one is first renamed to ``.<name>.previous``, then the new one to ``<name>``:
    a process that dies between the two leaves no ``path``, but a whole previous folder, which :func:`resolve_folder` finds for
    a reader and which the next writer puts back before it starts. Without the exchange, one writer per path at a time.

    Raises:
        BundleError: If ``path`` is a file, or the folder can't be written; it says where and why.
    """
    target = Path(os.path.realpath(path))
    with _naming(target):
        if target.exists() and not target.is_dir():
            raise BundleError(f"{target} is a file, and a folder was to be written there; choose another name or remove it")
        target.parent.mkdir(parents=True, exist_ok=True)
        _restore_previous(target)
        temporary, lock = _claim(target, os.mkdir)
    try:
        yield temporary
        with _naming(target):
            _sync_tree(temporary)
            _put_in_place(temporary, target)
    finally:
        # after an exchange, the temporary name holds the old folder: deleted as well
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)


def resolve_folder(path: str | os.PathLike[str]) -> Path:
    """Where the contents of ``path`` are: ``path`` itself, or what a process that died while replacing it left whole.

    Reads only, so that it does not get into the way of a writer. A path that does not exist at all is returned as it came.
    """
    target = Path(os.path.realpath(path))
    previous = _previous(target)
    return previous if not target.exists() and previous.is_dir() else target


def remove_leftovers(folder: str | os.PathLike[str], *, of: str | None = None) -> list[str]:
    """Delete, directly in ``folder``, the temporaries of processes that died; those being written are left alone.

    Also deletes a previous folder that was replaced but not yet deleted, and puts one back whose replacement never came: where
    the system has no exchange (see :func:`atomic_folder`), call this when nobody writes.

    Args:
        folder: Where to look.
        of: Name of the file or folder that was being written; None: any.

    Returns:
        The names that were deleted, sorted. None when ``folder`` does not exist.

    Raises:
        BundleError: If one can't be deleted.
    """
    root = Path(folder)
    removed: list[str] = []
    with _naming(root):
        for entry in sorted(root.iterdir()) if root.is_dir() else []:
            temporary = _TEMPORARY.fullmatch(entry.name)
            if of is not None and entry.name != _previous(root / of).name and not (temporary and temporary[1] == of):
                continue
            if temporary and not entry.is_symlink():
                try:
                    lock = os.open(entry, os.O_RDONLY)
                except FileNotFoundError:
                    continue  # its writer has just finished
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove(entry)
                    removed.append(entry.name)
                except BlockingIOError:
                    continue
                finally:
                    os.close(lock)
            elif entry.name.startswith(".") and entry.name.endswith(_PREVIOUS) and entry.is_dir():
                target = root / entry.name[1 : -len(_PREVIOUS)]
                removed += [entry.name] if target.exists() else []
                _restore_previous(target)
    return removed


def _put_in_place(temporary: Path, target: Path) -> None:
    if not target.exists():
        try:
            os.rename(temporary, target)  # noqa: PTH104
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            _put_in_place(temporary, target)  # another writer was there first
    elif not _exchange(temporary, target):
        previous = _previous(target)
        os.rename(target, previous)  # noqa: PTH104
        try:
            os.rename(temporary, target)  # noqa: PTH104
        except OSError:
            os.rename(previous, target)  # noqa: PTH104
            raise
        _sync(target.parent)
        shutil.rmtree(previous, ignore_errors=True)  # the new one is in place; the next writer deletes what is left
    _sync(target.parent)


def _restore_previous(target: Path) -> None:
    """Finish what a process that died between two renames began: back to the previous folder, or on without it."""
    previous = _previous(target)
    if previous.is_dir():
        if target.exists():
            _remove(previous)
        else:
            os.rename(previous, target)  # noqa: PTH104


def _previous(target: Path) -> Path:
    return target.parent / f".{target.name}{_PREVIOUS}"


def _exchange(first: Path, second: Path) -> bool:
    """Let two paths change places in one step; False where the system or the file system has no such step."""
    if not sys.platform.startswith("linux"):
        return False
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    arguments = (ctypes.c_int(_AT_FDCWD), os.fsencode(first), ctypes.c_int(_AT_FDCWD), os.fsencode(second))
    if function(*arguments, ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return True
    fault = ctypes.get_errno()
    if fault in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(fault, os.strerror(fault), os.fspath(second))


def _claim(target: Path, create: Callable[[Path], None]) -> tuple[Path, int]:
    """A new temporary beside the target, and the open descriptor that holds its lock."""
    while True:
        temporary = target.parent / f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
        create(temporary)
        try:
            lock = os.open(temporary, os.O_RDONLY)
        except FileNotFoundError:
            continue  # taken for a leftover in the instant before it was locked
        fcntl.flock(lock, fcntl.LOCK_EX)
        if temporary.exists():
            return temporary, lock
        os.close(lock)


def _create_file(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))


def _remove(path: Path) -> None:
    while os.path.lexists(path):
        with contextlib.suppress(FileNotFoundError):  # its writer deletes it too
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            _sync(Path(root) / name)
        _sync(Path(root))


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise BundleError(f"{path} can't be written: {why}; check the permissions and the space on the disk") from error
