"""Every error that twotower raises on purpose, as one tree.

A message says what must hold, what came (names, shapes, values, row numbers) and what to do.

    TwotowerError
    ├── ConfigError            a recipe or an argument is wrong: nothing was run (exit 2)
    ├── DataError              a table does not hold what was declared
    │   ├── TableReadError     a file that can't be read as the table it should be
    │   └── UnknownIdError     an id that is not in the catalogue or among the users
    ├── DatasetError           a public data set can't be fetched or does not match its hash
    ├── BundleError            a folder that is not a bundle, or not one that is safe to load
    │   ├── CorruptBundleError     a part is missing, truncated or changed
    │   └── IncompatibleBundleError  written by a newer format than this library reads
    ├── StoreError             a live store that can't be opened, read or written
    │   ├── CorruptStoreError      a record or the file around it has changed since it was written
    │   ├── IncompatibleStoreError  another program's file, a newer format, or ids of another kind
    │   └── StoreBusyError         somebody else was writing for too long: nothing was written, try again
    ├── IndexServerError       a search server can't be reached, or its collection is not the one that was built
    ├── CheckpointError        a training state that does not belong to this run, or is damaged
    ├── TrainingError          training stopped because its figures are not numbers
    ├── NotMetError            the ranks of a training could not find each other
    ├── RankLostError          another process of a training has died, or can't be reached
    ├── ExportError            a model written for another runtime that does not give what the bundle gives
    └── MissingExtraError      an optional dependency that is not installed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

__all__ = [
    "BundleError",
    "CheckpointError",
    "ConfigError",
    "CorruptBundleError",
    "CorruptStoreError",
    "DataError",
    "DatasetError",
    "ExportError",
    "IncompatibleBundleError",
    "IncompatibleStoreError",
    "IndexServerError",
    "MissingExtraError",
    "RankLostError",
    "StoreBusyError",
    "StoreError",
    "TableReadError",
    "TrainingError",
    "TwotowerError",
    "UnknownIdError",
    "nearest",
    "type_name",
]


class TwotowerError(Exception):
    """Root of the tree: catch this one to catch all of ours."""


class ConfigError(TwotowerError):
    """A recipe or an argument is wrong; carries every fault that was found, not just the first.

    Args:
        faults: One sentence per fault, each naming its key.
        source: Where they were found, for instance the recipe's path.
    """

    def __init__(self, faults: str | Sequence[str], *, source: str | None = None) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        self.source = source
        where = f"{source}: " if source else ""
        if len(self.faults) == 1:
            text = f"{where}{self.faults[0]}"
        else:
            lines = "".join(f"\n  - {fault}" for fault in self.faults)
            text = f"{where}{len(self.faults)} faults{lines}"
        super().__init__(text)


class DataError(TwotowerError):
    """A table does not hold what was declared of it."""


class TableReadError(DataError):
    """A file can't be read as the table it should be."""


class UnknownIdError(DataError):
    """An id that is not in the catalogue, or not among the users."""


class DatasetError(TwotowerError):
    """A public data set can't be fetched, or does not match its hash."""


class BundleError(TwotowerError):
    """A folder that is not a bundle, or not one that is safe to load."""


class CorruptBundleError(BundleError):
    """A part of the bundle is missing, truncated or changed since it was written."""


class IncompatibleBundleError(BundleError):
    """The bundle was written in a newer format than this library reads."""


class StoreError(TwotowerError):
    """A live store can't be opened, read or written."""


class CorruptStoreError(StoreError):
    """A record of a live store, or the file around it, has changed since it was written."""


class IncompatibleStoreError(StoreError):
    """The file is another program's, of a newer format than this library reads, or holds ids of another kind."""


class StoreBusyError(StoreError):
    """Somebody else was writing for longer than was to be waited; nothing was written, and trying again is safe."""


class IndexServerError(TwotowerError):
    """A search server can't be reached or refuses, or its collection is not the one that was built."""


class CheckpointError(TwotowerError):
    """A training state that is damaged or belongs to another run."""


class TrainingError(TwotowerError):
    """Training stopped because a figure was not a finite number."""


class NotMetError(TwotowerError):
    """The ranks of a training could not find each other."""


class RankLostError(TwotowerError):
    """Another process of a training has died, or can't be reached: what is trained together can't go on."""


class ExportError(TwotowerError):
    """A model written for another runtime does not give there what the bundle gives; nothing was left behind."""


class MissingExtraError(TwotowerError):
    """An optional dependency is not installed; the message names the extra."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Phrase the closest valid name, for the end of an error message.

    Example:
        >>> nearest("tempreture", ["temperature", "log_q"])
        "; did you mean 'temperature'?"
        >>> nearest("zzz", ["temperature", "log_q"])
        '; valid: log_q, temperature'
    """
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; valid: {', '.join(names)}" if names else ""


def type_name(dtype: object) -> str:
    """A polars type as a message shows it: an Enum, in which converted tables keep text, would list all of its categories.

    Example:
        >>> import polars as pl
        >>> type_name(pl.Enum(["a", "b"])), type_name(pl.Int64())
        ('String', 'Int64')
    """
    return "String" if type(dtype).__name__ in ("Enum", "Categorical") else str(dtype)
