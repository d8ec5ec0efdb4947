"""The parts of a large answer that are done: kept beside its file until all are there, so that a call can go on."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from twotower.bundle import atomic_file, remove_leftovers, write_json
from twotower.errors import BundleError

__all__ = ["Parts", "open_parts"]


@contextlib.contextmanager
def open_parts(output: Path, fingerprint: str) -> Iterator[Parts]:
    """The parts of an output, for one caller at a time: its folder is locked until the block ends, or the process.

    What a process that died while it put an output together left beside it is deleted.

    Args:
        output: The file that they become.
        fingerprint: Of what they depend on; parts that were made with another one are deleted.

    Raises:
        BundleError: If another caller has them, or the folder can't be written.
    """
    folder = output.with_name(f".{output.name}.parts")
    lock = _claim(folder, output)
    try:
        target = output.resolve()
        remove_leftovers(target.parent, of=target.name)
        yield Parts(folder, fingerprint)
    finally:
        with contextlib.suppress(OSError):  # there are parts in it
            folder.rmdir()
        os.close(lock)


class Parts:
    """The parts of an output; `open_parts` makes it.

    Args:
        folder: Where they are.
        fingerprint: As of `open_parts`.

    Attributes:
        requests: How many requests they answer.
        skipped: How many of these have no answer.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder, self._fingerprint = folder, fingerprint
        self._sizes = self._known()
        if not self._sizes:
            self._clear()
        self.requests = sum(requests for requests, _ in self._sizes)
        self.skipped = sum(skipped for _, skipped in self._sizes)

    def add(self, frame: pl.DataFrame, *, requests: int, skipped: int) -> None:
        """Keep one more.

        Args:
            frame: The part.
            requests: How many requests it answers.
            skipped: How many of these have no answer.
        """
        with atomic_file(self._path(len(self._sizes))) as temporary:
            frame.write_parquet(temporary)
        self._sizes.append((requests, skipped))
        write_json(self._manifest, {"fingerprint": self._fingerprint, "parts": [list(size) for size in self._sizes]})

    def join(self, output: Path) -> int:
        """Write all parts as one file; they are gone then. Returns its rows."""
        paths = [self._path(number) for number in range(len(self._sizes))]
        with atomic_file(output) as temporary:
            if output.suffix == ".csv":
                with temporary.open("wb") as file:
                    for number, path in enumerate(paths):
                        pl.read_parquet(path).write_csv(file, include_header=number == 0)
                rows = sum(int(pq.read_metadata(path).num_rows) for path in paths)
            else:
                schema, rows = pq.read_schema(paths[0]), 0
                with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
                    for path in paths:
                        table = pq.read_table(path).cast(schema)
                        writer.write_table(table)
                        rows += int(table.num_rows)
        self._clear()
        return rows

    @property
    def _manifest(self) -> Path:
        return self._folder / "parts.json"

    def _path(self, number: int) -> Path:
        return self._folder / f"part-{number:06}.parquet"

    def _known(self) -> list[tuple[int, int]]:
        """Requests of each part, and those of them without an answer, up to the first part that is not there."""
        try:
            known = json.loads(self._manifest.read_text(encoding="utf-8"))
            if known["fingerprint"] != self._fingerprint:
                return []
            sizes = [(int(requests), int(skipped)) for requests, skipped in known["parts"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []  # none, or not one of ours: all is made anew
        there = [self._path(number).is_file() for number in range(len(sizes))]
        return sizes[: (*there, False).index(False)]

    def _clear(self) -> None:
        """Delete all, the account of them first: parts that it does not know are none."""
        self._manifest.unlink(missing_ok=True)
        for entry in self._folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _claim(folder: Path, output: Path) -> int:
    """The open descriptor that holds the folder's lock."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # it was there, and its owner has just finished
        except OSError as error:
            raise BundleError(
                f"{output} can't be written: {folder}: {error.strerror or error}; choose another place"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), folder.stat()):
                return lock
        except FileNotFoundError:
            pass  # deleted since it was opened
        except BlockingIOError:
            os.close(lock)
            raise BundleError(
                f"{output} is being written by another process; wait until it is done, or choose another name"
            ) from None
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
