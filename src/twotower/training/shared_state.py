"""What a training over ranks keeps of itself: every rank writes what it has, and any number of ranks go on from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from twotower.distributed import Checkpoints as RankCheckpoints
from twotower.distributed import Ranks, Shard, Stored, TrainingState
from twotower.errors import CheckpointError
from twotower.models import state_of
from twotower.training.checkpoint import Progress
from twotower.training.optimizer_states import TrainedParameters, put_states

__all__ = ["SharedState", "best_name", "is_of_optimizer", "states_by_parameter"]

_OPTIMIZER = "optimizer:"


class SharedState:
    """The checkpoints of a training over ranks; all ranks call every method, in the same order.

    A table has the same names whether ranks share it or each has all of it, and so has what its optimiser keeps of it: what two
    ranks wrote of shared tables, one process reads as its own.

    Args:
        trained: Model, loss and optimisers.
        modules: Those of ``trained``, and whatever else steps change.
        folder: Where; all ranks see it.
        fingerprint: Of model, data and configuration.
        ranks: Who trains.

    Attributes:
        refused: Checkpoints that were passed over when training was gone on with, one line each.
    """

    def __init__(
        self, trained: TrainedParameters, modules: Mapping[str, nn.Module], folder: Path, fingerprint: str, ranks: Ranks
    ) -> None:
        self._trained, self._modules, self._ranks = trained, modules, ranks
        self._checkpoints = RankCheckpoints(folder, ranks, fingerprint=fingerprint)
        self.refused: tuple[str, ...] = ()

    def load(self) -> Progress | None:
        """Put everything back as the newest whole checkpoint has it; None where there is none.

        Raises:
            CheckpointError: If there are some, and none is whole; or the newest is of another recipe or data set.
        """
        states: dict[str, dict[str, Tensor]] = {}
        found = self._checkpoints.load(lambda stored: self._place(stored, states))
        self.refused = tuple(self._checkpoints.refused)
        if found is None:
            return None
        put_states(self._trained, states)
        return Progress(**found.values)

    def save(self, progress: Progress, *, goes_on: bool = True) -> None:
        """Keep everything that the next step depends on.

        Args:
            progress: Where training stands.
            goes_on: Training goes on while it is written, for which it is copied.
        """
        state = self._state(vars(progress), with_optimizers=True)
        self._speaking(lambda: self._checkpoints.save(state, step=progress.step, copied=goes_on))

    def save_best(self, progress: Progress, before: int) -> None:
        """Keep the weights as those of the best epoch.

        They are kept beside those of the best epoch before: who goes on from the last state, which is written after this, may
        find that another epoch is the best.

        Args:
            progress: Of the epoch that has just been judged.
            before: The best epoch until then; 0 where there was none.
        """
        state = self._state({"epoch": progress.epoch}, with_optimizers=False)
        self._speaking(lambda: self._checkpoints.save(state, step=progress.step, name=best_name(progress.epoch)))
        for epoch in self._ranks.tell(self._bests()):
            if epoch not in (progress.epoch, before):
                self._speaking(lambda epoch=epoch: self._checkpoints.remove(best_name(epoch)))  # type: ignore[misc]

    def load_best(self, epoch: int) -> bool:
        """Put the weights of the best epoch back, if they are here.

        Args:
            epoch: Which epoch that is.

        Raises:
            CheckpointError: If what is kept is damaged, or of another recipe or data set.
        """
        state = self._state({}, with_optimizers=False)
        return self._checkpoints.load(state, name=best_name(epoch)) is not None

    def _bests(self) -> list[int]:
        """Epochs whose weights are kept."""
        folder = self._checkpoints.folder
        return sorted(int(path.name.removeprefix(best_name(""))) for path in folder.glob(best_name("*")))

    def wait(self) -> None:
        """Until what is kept is on the disk."""
        self._speaking(self._checkpoints.wait)

    def close(self) -> None:
        """Wait for what is being written, and give its process group back."""
        self._checkpoints.close()

    def _speaking(self, work: Callable[[], None]) -> None:
        """That a rank is gone is said as such, and not as what could not be written for it."""
        try:
            work()
        except CheckpointError:
            self._ranks.wait()  # raises `RankLostError` if one is
            raise

    def _state(self, values: Mapping[str, Any], *, with_optimizers: bool) -> TrainingState:
        found = {f"{name}:{key}": tensor for name, module in self._modules.items() for key, tensor in state_of(module).items()}
        if with_optimizers:
            for optimizer in self._trained.optimizers:
                kept = optimizer.state_dict()["state"]
                for name, _, own, number in self._trained.places():
                    if own is optimizer:
                        found |= {
                            f"{_OPTIMIZER}{name}.{key}": torch.as_tensor(value) for key, value in kept.get(number, {}).items()
                        }
        return TrainingState(replicated=found, sharded=self._shards(with_optimizers), values=values)

    def _shards(self, with_optimizers: bool) -> dict[str, list[Shard]]:
        tables = self._trained.tables
        if tables is None:
            return {}
        found: dict[str, list[Shard]] = {}
        for parameter, table in self._trained.table_names().items():
            shape = (tables.specs[table].vocabulary_size, tables.specs[table].embedding_dim)
            own = [shard for shard in tables.shards() if shard.table == table]
            found[f"model:{parameter}"] = [Shard(shape, (each.rows.start, 0), each.weights) for each in own]
            if with_optimizers:
                name = f"{_OPTIMIZER}model.{parameter}.accumulator"
                found[name] = [Shard(shape[:1], (each.rows.start,), each.accumulators) for each in own]
        return found

    def _place(self, stored: Mapping[str, Stored], states: dict[str, dict[str, Tensor]]) -> TrainingState:
        """What is filled when training goes on: optimisers' states are new tensors, for at first they have none."""
        own = self._state({}, with_optimizers=False)
        shards = {name: of for name, of in self._shards(with_optimizers=True).items() if name in stored or name in own.sharded}
        replicated = dict(own.replicated)
        fresh = {
            name: torch.empty(each.shape, dtype=each.dtype)
            for name, each in stored.items()
            if name.startswith(_OPTIMIZER) and name not in shards
        }
        states.update(states_by_parameter(fresh))
        return TrainingState(replicated={**replicated, **fresh}, sharded=shards)


def best_name(epoch: int | str) -> str:
    """What the checkpoint of a best epoch is called."""
    return f"best-{epoch}"


def is_of_optimizer(name: str) -> bool:
    """Whether a tensor of a checkpoint is an optimiser's state."""
    return name.startswith(_OPTIMIZER)


def states_by_parameter(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The optimisers' states among the tensors of a checkpoint, by name of the parameter and of the entry."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, values in tensors.items():
        if is_of_optimizer(name):
            parameter, entry = name.removeprefix(_OPTIMIZER).rsplit(".", 1)
            found.setdefault(parameter, {})[entry] = values
    return found
