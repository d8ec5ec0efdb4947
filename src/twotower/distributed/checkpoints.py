"""Checkpoints of a training over ranks: whole or not there, written while training goes on, read by any number of ranks."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from torch import distributed as dist

from twotower.distributed.checkpoint_contents import Found, Loaded, Stored, names_as_stored, said_alike
from twotower.distributed.checkpoint_folder import (
    CheckpointFolder,
    Commit,
    check_file,
    read_commit,
    write_commit,
    write_text_file,
)
from twotower.distributed.ranks import ALONE, PATIENCE, Ranks, speaking
from twotower.distributed.tensor_file import DTYPES, FileSum
from twotower.distributed.together import say_faults, together, told_by_first, words_of
from twotower.distributed.training_state import Pieces, TrainingState, pieces_to_fill, pieces_to_write, values_text
from twotower.errors import CheckpointError

if TYPE_CHECKING:
    from twotower.distributed.dcp_storage import StoredTensors

__all__ = ["LAST", "Checkpoints"]

LAST = "last"
"""The name of the checkpoints of which several are kept."""

_TENSORS, _VALUES = "tensors.json", "values.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class Checkpoints:
    """The checkpoints of one training, in one folder that all ranks see; all ranks call every method, in the same order.

    A checkpoint is a folder that counts once its commit file is there, which is written last and has the size and the SHA-256
    of every other file. Whenever a process dies, those that were committed before can be loaded. Nothing in them is code.

    Writing goes on in a thread, over a process group of its own, so that training goes on too. One checkpoint is written at a
    time: a second `save` waits for the first. What went wrong while writing is raised by the next call, whichever that is, on
    all ranks.

    Args:
        folder: Holds a folder for every name. One training at a time.
        ranks: The ranks that train together: all processes of the default process group, or one alone.
        fingerprint: Identifies model, data and configuration; loading demands the same. None: what is there is read, whatever
            it is of, and nothing is saved.
        keep: How many of the checkpoints named `LAST` stay, at least 1; of every other name it is the newest one.
        asynchronous: Copy what is saved to the host's memory and write in a thread. Otherwise `save` returns when all is
            written, and copies nothing.

    Attributes:
        refused: What the last `load` passed over, one line for each: which checkpoint, why, and which one is used instead.

    Raises:
        ValueError: If ``keep`` is below 1.

    Example:
        >>> import tempfile, torch
        >>> weights = torch.arange(6.0).reshape(3, 2)
        >>> state = TrainingState(replicated={"weights": weights}, values={"epoch": 2})
        >>> with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder), fingerprint="a recipe") as checkpoints:
        ...     checkpoints.save(state, step=100)
        ...     _ = weights.zero_()
        ...     loaded = checkpoints.load(state)
        >>> loaded.step, loaded.values, weights.tolist()
        (100, {'epoch': 2}, [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    """

    def __init__(
        self, folder: Path, ranks: Ranks = ALONE, *, fingerprint: str | None, keep: int = 3, asynchronous: bool = True
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep is how many checkpoints stay, at least 1; came {keep}")
        self.folder = folder
        self.refused: list[str] = []
        self._fingerprint = fingerprint
        self._keep = keep
        self._asynchronous = asynchronous
        self._ranks = _own_group(ranks)
        self._writing: threading.Thread | None = None
        self._fault: str | None = None
        self._closed = False
        self._damaged: dict[str, set[int]] = {}

    def save(self, state: TrainingState, *, step: int, name: str = LAST, copied: bool = True) -> None:
        """Write a checkpoint of the state as it is now.

        Returns when the state is copied, and may be changed; see `wait`. Waits first for the one that is being written.

        Args:
            state: What this rank has. Every rank gives the same replicated tensors and values.
            step: Optimiser steps taken so far.
            name: `LAST`, or another for one that is kept apart, such as ``best``.
            copied: Otherwise it returns when all is written, and copies nothing: where nobody would go on meanwhile.

        Raises:
            CheckpointError: If the save before this one failed (nothing is written then; the next save starts anew), or this
                one did, where it is not asynchronous. Older checkpoints are what they were.
        """
        self._require_open(name)
        if self._fingerprint is None:
            raise ValueError("these checkpoints are only read: what is saved needs a fingerprint")
        self.wait()
        pieces: Pieces = {}
        asynchronous = self._asynchronous and copied
        fault = None
        text = alike = ""
        try:
            text, alike = values_text(state.values), said_alike(state)
            pieces = pieces_to_write(state, self._ranks, copied=asynchronous)
        except Exception as error:  # raised on all ranks: see _write
            fault = words_of(error)

        def write() -> None:
            try:
                self._write(pieces, fault, text, alike, step, name)
            except BaseException as error:  # kept for the next call
                self._fault = words_of(error)

        if self._asynchronous:
            self._writing = threading.Thread(target=write, name=f"checkpoint of step {step}")
            self._writing.start()
        else:
            write()
        if not asynchronous:
            self.wait()

    def wait(self) -> None:
        """Until what was saved is on the disk and committed.

        Raises:
            CheckpointError: If writing it failed.
        """
        if self._writing is not None:
            self._writing.join()
            self._writing = None
        fault, self._fault = self._fault, None
        if fault is not None:
            raise CheckpointError(fault)

    def load(
        self, state: TrainingState | Callable[[Mapping[str, Stored]], TrainingState], *, name: str = LAST, partial: bool = False
    ) -> Loaded | None:
        """Fill a state's tensors in place from the newest checkpoint that is whole.

        Sizes and checksums of all its files are looked at before anything is used, each file by one rank; all ranks take the
        same checkpoint. Of sharded tensors a rank reads what its shards need. See `refused` for what was passed over.

        Args:
            state: Tensors with the shapes and types that were saved, cut over these ranks in any way; or what makes it, of what
                the checkpoint holds by name.
            name: As it was saved.
            partial: Not all that was saved is asked for: for weights without the optimisers' states.

        Returns:
            What was loaded; None where nothing was ever committed.

        Raises:
            CheckpointError: If the newest one is of another fingerprint, or of a newer format, holds other tensors than are
                asked for, or there are some and none is whole. On all ranks, with one message.
        """
        self._require_open(name)
        self.wait()
        place = CheckpointFolder(self.folder / name)
        committed, unfinished = told_by_first(self._ranks, lambda: (place.committed(), place.unfinished()))
        reasons: dict[int, str] = {}
        for number in committed:
            found = self._whole(place.of(number))
            if not isinstance(found, str):
                newer = [each for each in unfinished if each > number]
                self._say_refused(place, reasons, newer, f"{place.of(number)} (step {found.commit.step}) is used instead")
                self._damaged[name] = set(reasons)
                self._fill(self._place_for(state, found), place.of(number), found, partial)
                return Loaded(place.of(number), found.commit.step, found.commit.ranks, found.values)
            reasons[number] = found
        self._say_refused(place, reasons, unfinished, "there is none before it")
        if committed:
            why = "; ".join(f"{place.of(number).name}: {reason}" for number, reason in reasons.items())
            raise CheckpointError(
                f"{place.path}: none of its checkpoints is whole ({why}); remove the folder, or train without --resume, "
                "to start over"
            )
        return None

    def _place_for(self, state: TrainingState | Callable[[Mapping[str, Stored]], TrainingState], found: Found) -> TrainingState:
        if isinstance(state, TrainingState):
            return state
        stored = {name: Stored(DTYPES[of["dtype"]], tuple(of["shape"])) for name, of in found.tensors.items()}
        make, made = state, list[TrainingState]()
        together(self._ranks, lambda: made.append(make(stored)))
        return made[0]

    def remove(self, name: str) -> None:
        """Remove the checkpoints of one name; where there are none, nothing is done.

        Raises:
            CheckpointError: If one can't be removed.
        """
        self._require_open(name)
        self.wait()
        told_by_first(self._ranks, CheckpointFolder(self.folder / name).remove_all)
        self._damaged.pop(name, None)

    def clear(self) -> None:
        """Remove all checkpoints, to start over.

        Raises:
            CheckpointError: If one can't be removed.
        """
        self._require_open(LAST)
        self.wait()

        def remove() -> None:
            for path in sorted(self.folder.iterdir()) if self.folder.is_dir() else []:
                CheckpointFolder(path).remove_all()

        told_by_first(self._ranks, remove)
        self._damaged.clear()

    def close(self) -> None:
        """Wait for what is being written, and give the process group back.

        Raises:
            CheckpointError: If writing failed.
        """
        try:
            self.wait()
        finally:
            if not self._closed and self._ranks.group is not None:
                dist.destroy_process_group(self._ranks.group)
            self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.close()
        except CheckpointError as fault:
            if error is None:
                raise
            error.add_note(f"and a checkpoint was not written: {fault}")

    def _require_open(self, name: str) -> None:
        if self._closed:
            raise ValueError("these checkpoints are closed: make new ones")
        if not _NAME.fullmatch(name):
            raise ValueError(f"a checkpoint's name is one of small letters, digits, - and _; came {name!r}")
        if self._ranks.size == 1:
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # DCP's, to one process on purpose

    def _write(self, pieces: Pieces, fault: str | None, values: str, alike: str, step: int, name: str) -> None:
        """On every rank, in the thread: what fails on one is raised on all."""
        ranks, place = self._ranks, CheckpointFolder(self.folder / name)
        number: int | None = None
        try:
            together(ranks, lambda: _raise(fault))
            number = told_by_first(ranks, place.begin)
            self._write_pieces(place.of(number), pieces, values, alike, step)
        except Exception as error:  # also that a rank is gone
            if ranks.first and number is not None:
                with contextlib.suppress(OSError):  # the next writer removes it
                    place.remove(number)
            raise CheckpointError(f"{place.path}: the checkpoint of step {step} was not written: {words_of(error)}") from None
        keep = self._keep if name == LAST else 1
        told_by_first(ranks, lambda: place.remove_old(keep, self._damaged.get(name, ())))

    def _write_pieces(self, folder: Path, pieces: Pieces, values: str, alike: str, step: int) -> None:
        from torch.distributed.checkpoint.state_dict_saver import save

        from twotower.distributed.dcp_storage import WritePieces, WritePlanner

        def commit(tensors: StoredTensors, sums: dict[str, FileSum]) -> None:
            sums[_TENSORS] = write_text_file(folder / _TENSORS, json.dumps(tensors))
            sums[_VALUES] = write_text_file(folder / _VALUES, values)
            write_commit(folder, Commit(step, self._fingerprint or "", self._ranks.size, sums))

        self._together_in_dcp(
            lambda: save(
                dict(pieces),
                storage_writer=WritePieces(folder, self._ranks.rank, commit),
                planner=WritePlanner(alike),
                process_group=self._ranks.group,
                no_dist=self._ranks.size == 1,
            )
        )

    def _whole(self, folder: Path) -> Found | str:
        """A checkpoint that was found whole, or what is wrong with it."""
        ranks = self._ranks
        found = told_by_first(ranks, lambda: self._opened(folder))
        if isinstance(found, str):
            return found
        names = sorted(set(found.commit.files) - {_TENSORS, _VALUES})

        def first_fault() -> str | None:
            faults = (check_file(folder / name, found.commit.files[name]) for name in names[ranks.rank :: ranks.size])
            return next((fault for fault in faults if fault), None)

        return next((fault for fault in together(ranks, first_fault) if fault), found)

    def _opened(self, folder: Path) -> Found | str:
        """The small files of a checkpoint."""
        commit = read_commit(folder)
        if isinstance(commit, str):
            return commit
        if self._fingerprint not in (None, commit.fingerprint):
            raise CheckpointError(
                f"{folder}: this checkpoint is of another recipe, data set or library version; "
                "train into a new run folder, or without --resume to start over"
            )
        for name in (_TENSORS, _VALUES):
            fault = check_file(folder / name, commit.files[name])
            if fault:
                return fault
        return Found(commit, json.loads((folder / _TENSORS).read_bytes()), json.loads((folder / _VALUES).read_bytes()))

    def _fill(self, state: TrainingState, folder: Path, found: Found, partial: bool) -> None:
        from torch.distributed.checkpoint.state_dict_loader import load

        from twotower.distributed.dcp_storage import FillPieces, ReadPieces

        wanted = pieces_to_fill(state)
        asked = together(self._ranks, lambda: names_as_stored(wanted, found.tensors, folder))
        left = sorted(set(found.tensors).difference(*asked))
        if left and not partial:
            raise CheckpointError(f"{folder}: it also holds {', '.join(left)}, for which no rank has a place")
        self._together_in_dcp(
            lambda: load(
                dict(wanted),
                storage_reader=ReadPieces(folder, found.tensors),
                planner=FillPieces(),
                process_group=self._ranks.group,
                no_dist=self._ranks.size == 1,
            )
        )

    def _together_in_dcp(self, work: Callable[[], object]) -> None:
        """DCP gathers the ranks' errors as `together` does, and raises one on all that is not an `Exception`."""
        from torch.distributed.checkpoint.api import CheckpointException

        try:
            with speaking(self._ranks, among_others=True):
                work()
        except CheckpointException as error:
            faults = {rank: words_of(each) for rank, (each, _) in error.failures.items()}
            raise CheckpointError(say_faults(faults, self._ranks.size)) from None

    def _say_refused(self, place: CheckpointFolder, reasons: Mapping[int, str], unfinished: list[int], instead: str) -> None:
        lines = {number: f"{place.of(number)} is refused: {reason}; {instead}" for number, reason in reasons.items()}
        for number in unfinished:
            lines[number] = f"{place.of(number)} was never finished (it has no commit file) and is passed over; {instead}"
        self.refused = [lines[number] for number in sorted(lines, reverse=True)]


def _own_group(ranks: Ranks) -> Ranks:
    """The same ranks with a group of their own, on the CPU: a thread's collectives may not meet those of the training.

    Not with ``use_local_synchronization``: a group's name is then made of its ranks, and the second one of that name, after the
    first was given back, waits for ever.
    """
    if ranks.size == 1:
        return Ranks()
    with speaking(ranks, among_others=True):
        own = dist.new_group(dist.get_process_group_ranks(ranks.group), timeout=PATIENCE, backend="gloo")
    return Ranks(ranks.rank, ranks.size, own)


def _raise(fault: str | None) -> None:
    if fault is not None:
        raise CheckpointError(fault)
