"""A folder that ``--run-dir`` names, held for writing by one process."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from twotower.errors import ConfigError

__all__ = ["LOCK", "folder_faults", "held_folder"]

LOCK = ".lock"
"""The file in the folder that the process holds."""


@contextmanager
def held_folder(path: Path, doing: str, refuse_foreign: Callable[[], None]) -> Iterator[None]:
    """Make a folder where there is none, and hold it; by the system, so that a killed process holds nothing.

    Args:
        path: The folder.
        doing: What whoever holds it does, for the message: ``training``, ``tuning``.
        refuse_foreign: Raises where the folder has other things in it; it is not held yet, and there is no lock in a new one.

    Raises:
        ConfigError: If it can't be made or written, or another process holds it.
    """
    with folder_faults(path):
        path.mkdir(parents=True, exist_ok=True)
        refuse_foreign()
        lock = (path / LOCK).open("w")
    with lock:
        try:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"--run-dir {path}: another process is {doing} into it; wait, or name another") from None
        yield


@contextmanager
def folder_faults(path: Path) -> Iterator[None]:
    """Turns what the system says of a folder that is none, or that can't be written, into one error.

    Raises:
        ConfigError: In place of these.
    """
    try:
        yield
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(f"--run-dir {path}: must be a folder, or a new name; a file is in the way") from None
    except PermissionError as error:
        raise ConfigError(f"--run-dir {path}: can't write {error.filename}; name a folder that you may write") from None
