"""What a training that is over has left of itself, whoever wrote it: one process or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from twotower.bundle import read_tensors
from twotower.distributed import LAST, read_checkpoint
from twotower.errors import CheckpointError
from twotower.training.checkpoint import Progress
from twotower.training.kept_state import Checkpoints
from twotower.training.optimizer_states import States, TrainedParameters, read_states
from twotower.training.shared_state import best_name, is_of_optimizer, states_by_parameter

__all__ = ["KeptEnd"]


@dataclass(frozen=True)
class KeptEnd:
    """The last state of a training, and the weights of its best epoch.

    Attributes:
        folder: Of its checkpoints: files of one process, or a folder of several; see `twotower.training.Checkpoints`.
    """

    folder: Path

    @staticmethod
    def of(folder: Path) -> KeptEnd | None:
        """What lies in a folder; None: nothing."""
        places = Checkpoints(folder, "")
        there = places.ranks.is_dir() or places.last.is_file() or places.best.is_file()
        return KeptEnd(folder) if there else None

    @property
    def path(self) -> Path:
        """Where the weights are, to be named."""
        return self._ranks if self._by_ranks else self._best_file

    def weights(self, module: str) -> dict[str, Tensor]:
        """Weights of the best epoch, or of the last one where none was kept apart.

        Args:
            module: ``model`` or ``loss``.

        Returns:
            By name of the parameter or buffer; tables whole.

        Raises:
            BundleError: If a file is damaged.
            CheckpointError: If a checkpoint of ranks is, or is not of the end.
        """
        prefix = f"{module}:"
        if self._by_ranks:
            values, tensors = self._read(LAST, lambda _: False)
            best = Progress(**values).best_epoch
            name = LAST if best in (0, values["epoch"]) else best_name(best)
            tensors = self._read(name, lambda key: key.startswith(prefix))[1]
        else:
            tensors = read_tensors(self._best_file)[0]
        return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

    def states(self, trained: TrainedParameters) -> States:
        """The optimisers' states, by names of parameters.

        Args:
            trained: The parameters as they were trained, in one process.

        Raises:
            BundleError: If a file is missing or damaged.
            CheckpointError: If a checkpoint of ranks is; or states are of other parameters or optimisers.
        """
        if not self._by_ranks:
            return read_states(Checkpoints(self.folder, "").last, trained)
        found = states_by_parameter(self._read(LAST, is_of_optimizer)[1])
        parameters = {name: parameter for name, parameter, _, _ in trained.places()}
        for name, entries in found.items():
            shape = parameters[name].shape if name in parameters else None
            wrong = [key for key, value in entries.items() if shape is None or (value.dim() and value.shape[:1] != shape[:1])]
            if wrong:
                raise CheckpointError(f"{self._ranks}: {wrong[0]} of {name} is of another parameter")
        return found

    @property
    def _ranks(self) -> Path:
        return Checkpoints(self.folder, "").ranks

    @property
    def _by_ranks(self) -> bool:
        return self._ranks.is_dir()

    @property
    def _best_file(self) -> Path:
        places = Checkpoints(self.folder, "")
        return places.best if places.best.is_file() else places.last

    def _read(self, name: str, wanted: Callable[[str], bool]) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
        loaded, tensors = read_checkpoint(self._ranks, wanted, name=name)
        if name == LAST and not loaded.values["stopped"]:
            raise CheckpointError(f"{loaded.path}: the training was not over when this was written")
        return loaded.values, tensors
