"""What optimisers keep of each parameter, by the parameter's name: to be taken out of a checkpoint and put into others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

from twotower.bundle import read_tensors
from twotower.distributed import ShardedTables
from twotower.errors import CheckpointError
from twotower.losses import RetrievalLoss
from twotower.models import TwoTower
from twotower.optim import OptimizerConfig, build_optimizers

__all__ = ["States", "TrainedParameters", "put_states", "read_states"]

States = Mapping[str, Mapping[str, Tensor]]
"""By name of the parameter, and of the entry: ``sum``, ``accumulator``, ``exp_avg``, ``exp_avg_sq``, ``step``."""


class TrainedParameters:
    """The parameters of a model and its loss, and the optimisers that train them.

    Args:
        model: The model; on its device.
        loss: The loss; its temperature may be learned.
        config: Which optimisers.

    Attributes:
        modules: ``model`` and ``loss``.
        named: Every parameter with its name, ``model.`` or ``loss.`` in front.
        optimizers: In a fixed order.
        tables: Those that ranks share, which update themselves in the backward pass; None: there are none.
    """

    def __init__(self, model: TwoTower, loss: RetrievalLoss, config: OptimizerConfig) -> None:
        self.modules: dict[str, nn.Module] = {"model": model, "loss": loss}
        self.named: list[tuple[str, Parameter]] = [
            (f"{prefix}.{name}", parameter)
            for prefix, module in self.modules.items()
            for name, parameter in module.named_parameters()
        ]
        sparse = {f"model.{name}" for name in model.sparse_parameter_names()}
        distant = model.embeddings.distant
        self.tables: ShardedTables | None = distant if isinstance(distant, ShardedTables) else None
        nothing_here = self.tables is not None and not any(parameter.requires_grad for _, parameter in self.named)
        self.optimizers: list[Optimizer] = (
            [] if nothing_here else build_optimizers(self.named, config, sparse_parameter_names=sparse)
        )

    def table_names(self) -> dict[str, str]:
        """Tables that ranks share, by the names that their parameters have in a model of one process."""
        model = self.modules["model"]
        assert isinstance(model, TwoTower)
        return {f"embeddings.{name}": table for name, table in model.embeddings.distant_parameter_names().items()}

    def places(self) -> Iterator[tuple[str, Parameter, Optimizer, int]]:
        """Every parameter that is trained: name, parameter, its optimiser, and its number in that optimiser's state."""
        names = {id(parameter): name for name, parameter in self.named}
        for optimizer in self.optimizers:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            for number, parameter in enumerate(parameters):
                yield names[id(parameter)], parameter, optimizer, number


def read_states(path: Path, trained: TrainedParameters) -> dict[str, dict[str, Tensor]]:
    """The optimisers' states in a checkpoint, by names of parameters.

    Args:
        path: What `twotower.training.train` wrote.
        trained: The parameters as they were trained.

    Raises:
        BundleError: If the file is missing or damaged.
        CheckpointError: If it holds the states of other parameters or optimisers.
    """
    tensors = read_tensors(path)[0]
    found: dict[str, dict[str, Tensor]] = {}
    positions = {id(optimizer): position for position, optimizer in enumerate(trained.optimizers)}
    taken = 0
    for name, parameter, optimizer, number in trained.places():
        prefix = f"optimizer.{positions[id(optimizer)]}:{number}."
        entries = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        wrong = [key for key, value in entries.items() if value.dim() and value.shape[:1] != parameter.shape[:1]]
        if wrong:
            raise CheckpointError(f"{path}: {wrong[0]} of {name} is of another parameter")
        taken += len(entries)
        found[name] = entries
    if taken != sum(key.startswith("optimizer.") for key in tensors):
        raise CheckpointError(f"{path}: it holds states of other parameters than {', '.join(found)}")
    return {name: entries for name, entries in found.items() if entries}


def put_states(trained: TrainedParameters, states: States) -> None:
    """Let optimisers go on with states; parameters that have none there keep theirs.

    Args:
        trained: The parameters; their optimisers are changed.
        states: In the form that each parameter's optimiser has.
    """
    new: dict[int, tuple[Optimizer, dict[str, Any]]] = {}
    for name, _, optimizer, number in trained.places():
        if name in states:
            _, state = new.setdefault(id(optimizer), (optimizer, optimizer.state_dict()))
            state["state"][number] = dict(states[name])
    for optimizer, state in new.values():
        optimizer.load_state_dict(state)
