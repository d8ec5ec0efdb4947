"""What a training keeps of itself: where it stands, to go on from, and its best epoch."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from twotower.bundle import remove_leftovers
from twotower.distributed import Ranks
from twotower.errors import CheckpointError
from twotower.models import state_of
from twotower.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from twotower.training.optimizer_states import TrainedParameters
from twotower.training.shared_state import SharedState

__all__ = ["Checkpoints", "KeptState"]


@dataclass(frozen=True)
class Checkpoints:
    """Where checkpoints go.

    Attributes:
        folder: Holds ``last.safetensors`` and ``best.safetensors``; of several ranks a folder ``ranks``, see
            `twotower.distributed.Checkpoints`.
        fingerprint: Identifies model, data and configuration; resuming demands the same.
        resume: Go on from the last state when it is there; otherwise start over.
    """

    folder: Path
    fingerprint: str
    resume: bool = False

    @property
    def last(self) -> Path:
        return self.folder / "last.safetensors"

    @property
    def best(self) -> Path:
        return self.folder / "best.safetensors"

    @property
    def ranks(self) -> Path:
        return self.folder / "ranks"

    def remove_ranks(self) -> None:
        """Remove ``ranks``: from the first moment on there is none, for an older state in a half of it would count."""
        if self.ranks.exists():
            self.ranks.rename(self.folder / f".ranks.{uuid.uuid4().hex}.removed")
        for removed in self.folder.glob(".ranks.*.removed"):
            shutil.rmtree(removed, ignore_errors=True)


class KeptState:
    """Writes the state of a training, and puts it back; without checkpoints the best epoch is kept in memory.

    One process writes files. Several write a folder together, each what it has, and any number of them, or one, goes on from
    it; once the folder is there, it is what counts. Where tables are never split, a training that is over leaves files, whoever
    trained: what goes on from a run reads these.

    Args:
        trained: Model, loss and optimisers.
        modules: Those of ``trained``, and whatever else steps change; the same on all ranks.
        checkpoints: Where; None: nowhere.
        ranks: All of them call every method.
        splits: Whether the recipe lets tables be split: one process then writes as several do.

    Attributes:
        refused: Checkpoints that were passed over for the one that training goes on from, one line each.
    """

    def __init__(
        self,
        trained: TrainedParameters,
        modules: Mapping[str, nn.Module],
        checkpoints: Checkpoints | None,
        ranks: Ranks,
        *,
        splits: bool,
    ) -> None:
        self.trained = trained
        self.modules = modules
        self.checkpoints = checkpoints
        self.ranks = ranks
        self.splits = splits
        self.refused: tuple[str, ...] = ()
        self._shared: SharedState | None = None
        self._best: dict[str, Tensor] | None = None
        self._saved_at = time.monotonic()

    def open(self) -> Progress:
        """Where training begins: what was kept is put back where it is to be resumed, and forgotten otherwise."""
        checkpoints, ranks = self.checkpoints, self.ranks
        if checkpoints is None:
            return Progress()
        if ranks.first:
            checkpoints.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(checkpoints.folder)
        by_file, by_ranks = ranks.tell((checkpoints.last.exists(), checkpoints.ranks.exists()))
        if ranks.size > 1 or self.splits or (by_ranks and checkpoints.resume):
            self._shared = SharedState(self.trained, self.modules, checkpoints.ranks, checkpoints.fingerprint, ranks)
        if checkpoints.resume:
            found = None
            if self._shared is not None:
                found = self._shared.load()
                self.refused = self._shared.refused
            if found is None and by_file:
                fingerprint = checkpoints.fingerprint
                found = load_checkpoint(checkpoints.last, self.modules, self.trained.optimizers, fingerprint=fingerprint)
            return Progress() if found is None else found
        ranks.wait()  # until everybody has seen what is there
        if ranks.first:
            checkpoints.remove_ranks()
            checkpoints.last.unlink(missing_ok=True)
            checkpoints.best.unlink(missing_ok=True)
        ranks.wait()
        return Progress()

    def due(self, every_s: float) -> bool:
        """Whether the state was kept so many seconds ago, by this process's clock."""
        return self.checkpoints is not None and time.monotonic() - self._saved_at >= every_s

    def save(self, progress: Progress, *, goes_on: bool = True) -> None:
        """Keep everything that the next step depends on; training may go on while it is written."""
        if self.checkpoints is None:
            return
        if self._shared is not None:
            self._shared.save(progress, goes_on=goes_on)
        else:
            fingerprint = self.checkpoints.fingerprint
            save_checkpoint(self.checkpoints.last, self.modules, self.trained.optimizers, progress, fingerprint=fingerprint)
        self._saved_at = time.monotonic()

    def keep_best(self, progress: Progress, before: int) -> None:
        """Keep the weights as those of the best epoch.

        Args:
            progress: Of the epoch that has just been judged.
            before: The best epoch until then; 0 where there was none.
        """
        if self.checkpoints is None:
            self._best = {name: tensor.clone() for name, tensor in self._weights().items()}
        elif self._shared is not None:
            self._shared.save_best(progress, before)
        else:
            save_checkpoint(self.checkpoints.best, self.modules, [], progress, fingerprint=self.checkpoints.fingerprint)

    def finish(self, progress: Progress) -> int:
        """Keep the end of training, and put the weights of the best epoch back; which epoch the modules hold now.

        Raises:
            CheckpointError: If what is kept is damaged, or of another epoch.
        """
        self.save(progress, goes_on=False)
        checkpoints, ends_in_files = self.checkpoints, self._shared is not None and not self.splits
        if checkpoints is not None and self._shared is not None:
            self._shared.wait()
            if ends_in_files and self.ranks.first:
                fingerprint = checkpoints.fingerprint
                save_checkpoint(checkpoints.last, self.modules, self.trained.optimizers, progress, fingerprint=fingerprint)
        epoch = self._restore_best(progress)
        if checkpoints is not None and ends_in_files:
            if progress.best_epoch and self.ranks.first:  # also the last one: what one process began may have left an older one
                of_best = replace(progress, epoch=epoch)
                save_checkpoint(checkpoints.best, self.modules, [], of_best, fingerprint=checkpoints.fingerprint)
            self.ranks.wait()  # until both are written, and all have read
            self.close()
            if self.ranks.first:
                checkpoints.remove_ranks()
        return epoch

    def close(self) -> None:
        """Wait for what is being written."""
        shared, self._shared = self._shared, None
        if shared is not None:
            shared.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.close()
        except CheckpointError as fault:
            if error is None:
                raise
            error.add_note(f"and a checkpoint was not written: {fault}")

    def _restore_best(self, progress: Progress) -> int:
        if progress.best_epoch in (0, progress.epoch):
            return progress.epoch
        kept = None
        if self._shared is not None and self._shared.load_best(progress.best_epoch):
            kept = progress.best_epoch
        if kept is None and self.checkpoints is not None:
            best = self.checkpoints.best
            kept = load_checkpoint(best, self.modules, [], fingerprint=self.checkpoints.fingerprint).epoch
        if self.checkpoints is not None and kept != progress.best_epoch:
            raise CheckpointError(
                f"{self.checkpoints.best}: holds epoch {kept}, the best was {progress.best_epoch}; train without --resume"
            )
        if self._best is not None:
            with torch.no_grad():
                for name, tensor in self._weights().items():
                    tensor.copy_(self._best[name])
        return progress.best_epoch

    def _weights(self) -> dict[str, Tensor]:
        """All weights that this process has, by name; the tensors are the modules' and tables' own."""
        found = {f"{name}:{key}": value for name, module in self.modules.items() for key, value in state_of(module).items()}
        tables = self.trained.tables
        shards = [] if tables is None else list(tables.shards())
        return found | {f"tables:{shard.table}": shard.weights for shard in shards}
