"""A folder of numbered checkpoints, of which those count that have a commit file.

    last/00000007/rank-00000.safetensors     pieces of tensors, one file per rank that has any
    last/00000007/tensors.json               which tensors there are, and which piece lies where
    last/00000007/values.json                counters and records
    last/00000007/commit                     written last: sizes and checksums of the files above, and its own

Numbers only grow. What is being removed has a name that begins with a dot, so that a process that dies while removing leaves
nothing that looks like a checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from twotower.distributed.tensor_file import FileSum, sum_of_file
from twotower.errors import CheckpointError

__all__ = ["COMMIT", "CheckpointFolder", "Commit", "check_file", "read_commit", "write_commit", "write_text_file"]

COMMIT = "commit"
_FORMAT = 1
_NUMBERED = re.compile(r"\d{8,}")
_REMOVED = re.compile(r"\.\d{8,}\.removed")


@dataclass(frozen=True)
class Commit:
    """What a commit file says.

    Attributes:
        step: Optimiser steps taken when the state was saved.
        fingerprint: Of model, data and configuration.
        ranks: How many wrote it.
        files: Every other file's size and checksum, by name.
    """

    step: int
    fingerprint: str
    ranks: int
    files: Mapping[str, FileSum]


def write_commit(folder: Path, commit: Commit) -> None:
    """Make a checkpoint count: the commit file comes into place in one step, after all that it names is on the disk.

    Raises:
        OSError: If it can't be written.
    """
    files = {name: {"bytes": each.size_bytes, "sha256": each.sha256} for name, each in sorted(commit.files.items())}
    said = {"format": _FORMAT, "step": commit.step, "fingerprint": commit.fingerprint, "ranks": commit.ranks, "files": files}
    body = json.dumps(said, indent=1) + "\n"
    _sync(folder)
    temporary = folder / f".{COMMIT}"
    write_text_file(temporary, f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}")
    os.replace(temporary, folder / COMMIT)  # noqa: PTH105 - named as the step that makes it count
    _sync(folder)


def read_commit(folder: Path) -> Commit | str:
    """What a checkpoint's commit file says; or what is wrong with the file, as text.

    Raises:
        CheckpointError: If it is of a newer format.
    """
    try:
        checksum, _, body = (folder / COMMIT).read_bytes().partition(b"\n")
    except OSError as error:
        return f"its file {COMMIT} can't be read: {error.strerror or error}"
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        return f"its file {COMMIT} has changed since it was written: the checksum does not match"
    said = json.loads(body)
    if said["format"] > _FORMAT:
        raise CheckpointError(
            f"{folder}: this checkpoint is of format {said['format']}; this library reads up to {_FORMAT}: use a newer one"
        )
    files = {name: FileSum(entry["bytes"], entry["sha256"]) for name, entry in said["files"].items()}
    return Commit(said["step"], said["fingerprint"], said["ranks"], files)


def check_file(path: Path, expected: FileSum) -> str | None:
    """What is wrong with a file, as text: missing, of another size, changed; None: nothing."""
    try:
        size = path.stat().st_size
        if size != expected.size_bytes:
            return f"its file {path.name} must have {expected.size_bytes:,} bytes, and has {size:,}"
        if sum_of_file(path) != expected:
            return f"its file {path.name} has changed since it was written: the checksum does not match"
    except FileNotFoundError:
        return f"its file {path.name} is missing"
    except OSError as error:
        return f"its file {path.name} can't be read: {error.strerror or error}"
    return None


def write_text_file(path: Path, text: str) -> FileSum:
    """Write text as UTF-8 and flush it to the disk.

    Raises:
        OSError: If it can't be written.
    """
    data = text.encode()
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return FileSum(len(data), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of one kind; used by rank 0.

    Attributes:
        path: Holds them; made when the first is written.
    """

    path: Path

    def of(self, number: int) -> Path:
        """The folder of one."""
        return self.path / f"{number:08d}"

    def committed(self) -> list[int]:
        """Numbers of those that have a commit file, the newest first."""
        return [number for number in self._numbers() if (self.of(number) / COMMIT).exists()]

    def unfinished(self) -> list[int]:
        """Numbers of those without, the newest first."""
        return [number for number in self._numbers() if not (self.of(number) / COMMIT).exists()]

    def begin(self) -> int:
        """Remove what earlier writers left unfinished, and make the folder of a new one.

        Returns:
            Its number, greater than all others.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        _sync(self.path.parent)
        number = max(self._numbers(), default=0) + 1
        for entry in sorted(self.path.iterdir()):
            if _REMOVED.fullmatch(entry.name):
                shutil.rmtree(entry)
        for each in self.unfinished():
            self.remove(each)
        self.of(number).mkdir()
        _sync(self.path)
        return number

    def remove_old(self, keep: int, refused: Collection[int]) -> None:
        """Keep the newest that are whole; the others go, the damaged ones with them.

        Args:
            keep: How many stay, at least 1.
            refused: Numbers of damaged ones, which do not count.
        """
        stay = [number for number in self.committed() if number not in refused][:keep]
        for number in self.committed():
            if number not in stay:
                self.remove(number)

    def remove(self, number: int) -> None:
        """Remove one; from the first moment on it is none."""
        doomed = self.path / f".{self.of(number).name}.removed"
        self.of(number).rename(doomed)
        _sync(self.path)
        shutil.rmtree(doomed)

    def remove_all(self) -> None:
        """Remove every one."""
        for number in self._numbers():
            self.remove(number)

    def _numbers(self) -> list[int]:
        names = [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []
        return sorted((int(name) for name in names if _NUMBERED.fullmatch(name)), reverse=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
