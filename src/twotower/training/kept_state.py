"""What a training keeps of itself: where it stands, to go on from, and its best epoch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn
from torch.optim import Optimizer

from twotower.bundle import remove_leftovers
from twotower.distributed import Ranks
from twotower.errors import CheckpointError
from twotower.models import load_state, state_of
from twotower.training.checkpoint import Progress, load_checkpoint, save_checkpoint

__all__ = ["Checkpoints", "KeptState"]


@dataclass(frozen=True)
class Checkpoints:
    """Where checkpoints go.

    Attributes:
        folder: Holds ``last.safetensors`` and ``best.safetensors``.
        fingerprint: Identifies model, data and configuration; resuming demands the same.
        resume: Go on from ``last.safetensors`` when it is there; otherwise start over.
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


class KeptState:
    """Writes the state of a training, and puts it back; without checkpoints the best epoch is kept in memory.

    Args:
        modules: What is trained, by name; the same on all ranks.
        optimizers: In a fixed order.
        checkpoints: Where; None: nowhere.
        ranks: Rank 0 writes; all read.
    """

    def __init__(
        self, modules: Mapping[str, nn.Module], optimizers: Sequence[Optimizer], checkpoints: Checkpoints | None, ranks: Ranks
    ) -> None:
        self.modules = modules
        self.optimizers = optimizers
        self.checkpoints = checkpoints
        self.ranks = ranks
        self._best: dict[str, dict[str, Tensor]] | None = None
        self._saved_at = time.monotonic()

    def open(self) -> Progress:
        """Where training begins: what was kept is put back where it is to be resumed, and forgotten otherwise."""
        checkpoints = self.checkpoints
        if checkpoints is None:
            return Progress()
        if self.ranks.first:
            checkpoints.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(checkpoints.folder)
        if checkpoints.resume and self.ranks.tell(checkpoints.last.exists()):
            return load_checkpoint(checkpoints.last, self.modules, self.optimizers, fingerprint=checkpoints.fingerprint)
        if self.ranks.first:
            checkpoints.last.unlink(missing_ok=True)
            checkpoints.best.unlink(missing_ok=True)
        return Progress()

    def due(self, every_s: float) -> bool:
        """Whether the state was kept so many seconds ago, by this process's clock."""
        return self.checkpoints is not None and time.monotonic() - self._saved_at >= every_s

    def save(self, progress: Progress) -> None:
        """Keep everything that the next step depends on."""
        if self.checkpoints is None:
            return
        if self.ranks.first:
            fingerprint = self.checkpoints.fingerprint
            save_checkpoint(self.checkpoints.last, self.modules, self.optimizers, progress, fingerprint=fingerprint)
        self._saved_at = time.monotonic()

    def keep_best(self, progress: Progress) -> None:
        """Keep the weights as those of the best epoch."""
        if self.checkpoints is None:
            self._best = {
                name: {key: tensor.clone() for key, tensor in state_of(module).items()} for name, module in self.modules.items()
            }
        elif self.ranks.first:
            save_checkpoint(self.checkpoints.best, self.modules, [], progress, fingerprint=self.checkpoints.fingerprint)

    def restore_best(self, progress: Progress) -> int:
        """Put the weights of the best epoch back; which epoch the modules hold now.

        Raises:
            CheckpointError: If what is kept is damaged, or of another epoch.
        """
        if progress.best_epoch in (0, progress.epoch):
            return progress.epoch
        self.ranks.wait()  # until it is written
        if self.checkpoints is not None:
            best = self.checkpoints.best
            kept = load_checkpoint(best, self.modules, [], fingerprint=self.checkpoints.fingerprint)
            if kept.epoch != progress.best_epoch:
                raise CheckpointError(
                    f"{best}: holds epoch {kept.epoch}, the best was {progress.best_epoch}; train without --resume"
                )
        elif self._best is not None:
            for name, module in self.modules.items():
                load_state(module, self._best[name])
        return progress.best_epoch
