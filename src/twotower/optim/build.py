"""From a choice of optimiser and named parameters to the optimisers that train them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch.nn import Parameter
from torch.optim import Optimizer

from twotower.config import Config
from twotower.optim.dense_adagrad import Adagrad
from twotower.optim.exact_adagrad import ExactAdagrad
from twotower.optim.lazy_adam import LazyAdam
from twotower.optim.rowwise_adagrad import RowwiseAdagrad
from twotower.optim.uncompiled import uncompiled

__all__ = ["OptimizerConfig", "build_optimizers", "rowwise_adagrad_numbers"]


class OptimizerConfig(Config):
    """Which optimiser, and its numbers.

    Attributes:
        kind: ``adagrad``: every parameter; a sparse table gets exactly what it would from dense gradients.
            ``adamw``: dense parameters; sparse tables by ``sparse_kind``, since Adam's moments decay on every row at every
            step. ``rowwise_adagrad``: every parameter, with one accumulator per row.
        sparse_kind: What trains sparse tables beside AdamW: ``rowwise_adagrad`` (None), or ``lazy_adam``, whose moments move
            with the rows that have a gradient; it has AdamW's betas, and twice the table's memory for them.
        learning_rate: Of every parameter, but for sparse tables where ``sparse_learning_rate`` is given. None: what suits the
            kind, 0.1 for both Adagrads and 0.001 for AdamW.
        sparse_learning_rate: Of parameters with sparse gradients. None: ``learning_rate``, but for tables of row-wise Adagrad
            beside AdamW 0.1: AdamW wants about a hundredth of what Adagrad does.
        weight_decay: Of matrices (layers and dense tables). Never applied to biases, norms and scalars such as the
            temperature (fewer than two dimensions), nor to sparse tables, of which most rows have no gradient. AdamW's is
            decoupled, Adagrad's is added to the gradient; with row-wise Adagrad it must be 0.
        initial_accumulator: What the accumulators of Adagrad start from. None: 0.1 for both Adagrads (Keras' and TensorFlow's);
            1e-9 for tables of Adagrad beside AdamW. The gradient of a mean over thousands of rows is so small for any one id
            that 0.1 would swallow it for many epochs: such a table would hardly be trained.
        epsilon: Added to the root of the second moment. None: 1e-7 for both Adagrads (Keras'), 1e-8 for AdamW (torch's).
        betas: Decay of AdamW's first and second moment.
    """

    kind: Literal["adagrad", "adamw", "rowwise_adagrad"] = "adagrad"
    sparse_kind: Literal["rowwise_adagrad", "lazy_adam"] | None = None
    learning_rate: float | None = Field(default=None, gt=0)
    sparse_learning_rate: float | None = Field(default=None, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    initial_accumulator: float | None = Field(default=None, ge=0)
    epsilon: float | None = Field(default=None, gt=0)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> OptimizerConfig:
        if self.kind != "adamw" and self.betas != (0.9, 0.999):
            raise ValueError(f"betas are AdamW's; {self.kind} has none (came: {list(self.betas)})")
        if self.kind != "adamw" and self.sparse_kind is not None:
            raise ValueError(
                f"sparse_kind is for tables beside adamw; {self.kind} trains all of them (came: {self.sparse_kind})"
            )
        if self.sparse_kind == "lazy_adam" and self.initial_accumulator is not None:
            raise ValueError(f"initial_accumulator is Adagrad's; lazy_adam has none (came: {self.initial_accumulator})")
        if self.kind == "rowwise_adagrad" and self.weight_decay > 0:
            raise ValueError(f"weight_decay must be 0 with rowwise_adagrad, which has none; came {self.weight_decay}")
        return self


def build_optimizers(
    named_parameters: Iterable[tuple[str, Parameter]],
    config: OptimizerConfig,
    *,
    sparse_parameter_names: Collection[str] = frozenset(),
) -> list[Optimizer]:
    """Build the optimisers that together train every parameter once.

    Args:
        named_parameters: Names and parameters, for instance ``model.named_parameters()``. Those that do not require a
            gradient are left out; one that is shared under two names is trained once, and is sparse if either name is.
        config: The choice.
        sparse_parameter_names: Names whose gradients are sparse: embedding tables that are updated by touched rows.

    Returns:
        One or two optimisers, in a fixed order. Every group holds its ``initial_lr`` beside its ``lr``, from which
        ``apply_learning_rate_factor`` works.

    Raises:
        ValueError: If a sparse name is not among the parameters, or there is nothing to train.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Embedding(9, 4, sparse=True), torch.nn.Linear(4, 2))
        >>> config = OptimizerConfig(kind="adamw", learning_rate=0.001, sparse_learning_rate=0.1)
        >>> optimizers = build_optimizers(model.named_parameters(), config, sparse_parameter_names={"0.weight"})
        >>> [type(optimizer).__name__ for optimizer in optimizers]
        ['AdamW', 'RowwiseAdagrad']
    """
    parameters: dict[int, Parameter] = {}
    sparse: set[int] = set()
    names: set[str] = set()
    for name, parameter in named_parameters:
        names.add(name)
        if parameter.requires_grad:
            parameters[id(parameter)] = parameter
            if name in sparse_parameter_names:
                sparse.add(id(parameter))
    unknown = sorted(set(sparse_parameter_names) - names)
    if unknown:
        raise ValueError(f"sparse_parameter_names must be names of parameters; came {unknown}, not among {sorted(names)}")
    if not parameters:
        raise ValueError(f"at least one parameter must require a gradient; came {len(names)} parameters, none that does")

    matrices = [p for key, p in parameters.items() if key not in sparse and p.dim() >= 2]
    vectors = [p for key, p in parameters.items() if key not in sparse and p.dim() < 2]
    tables = [p for key, p in parameters.items() if key in sparse]
    rate, table_rate = _learning_rates(config)
    groups = _groups((matrices, rate, config.weight_decay), (vectors, rate, 0.0))
    table_groups = _groups((tables, table_rate, 0.0))
    if config.kind == "adamw":
        optimizers = [_adamw(groups, config)] if groups else []
        if not table_groups:
            return optimizers
        if config.sparse_kind == "lazy_adam":
            return [*optimizers, _lazy_adam(table_groups, config)]
        return [*optimizers, _table_adagrad(RowwiseAdagrad, table_groups, config)]
    if config.kind == "adagrad":
        optimizers = [_adagrad(groups, config)] if groups else []
        return optimizers + ([_table_adagrad(ExactAdagrad, table_groups, config)] if table_groups else [])
    return [_table_adagrad(RowwiseAdagrad, groups + table_groups, config)]


def rowwise_adagrad_numbers(config: OptimizerConfig) -> tuple[float, float, float]:
    """Learning rate, initial accumulator and epsilon of tables that row-wise Adagrad updates."""
    return _learning_rates(config)[1], _start(config), _adagrad_epsilon(config)


def _learning_rates(config: OptimizerConfig) -> tuple[float, float]:
    """Of parameters with dense gradients, and of those with sparse ones."""
    adagrad, adamw = 0.1, 0.001
    own = adamw if config.kind == "adamw" else adagrad
    rate = own if config.learning_rate is None else config.learning_rate
    if config.sparse_learning_rate is not None:
        return rate, config.sparse_learning_rate
    return rate, adagrad if config.kind == "adamw" and config.sparse_kind != "lazy_adam" else rate


def _groups(*parts: tuple[list[Parameter], float, float]) -> list[dict[str, Any]]:
    return [
        {"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        for parameters, rate, decay in parts
        if parameters
    ]


def _adamw(groups: list[dict[str, Any]], config: OptimizerConfig) -> Optimizer:
    fused = _fused(groups, "cpu", "cuda")
    return uncompiled(torch.optim.AdamW)(groups, betas=config.betas, eps=_adam_epsilon(config), fused=fused)


def _lazy_adam(groups: list[dict[str, Any]], config: OptimizerConfig) -> Optimizer:
    return uncompiled(LazyAdam)(_without_decay(groups), betas=config.betas, eps=_adam_epsilon(config))


def _adagrad(groups: list[dict[str, Any]], config: OptimizerConfig) -> Optimizer:
    return uncompiled(Adagrad)(
        groups, initial_accumulator_value=_start(config), eps=_adagrad_epsilon(config), fused=_fused(groups, "cpu")
    )


def _fused(groups: list[dict[str, Any]], *devices: str) -> bool | None:
    """Whether torch's update in one pass over each parameter is there, on which devices; None leaves the choice to torch."""
    parameters = [parameter for group in groups for parameter in group["params"]]
    return True if all(each.device.type in devices and each.is_floating_point() for each in parameters) else None


def _table_adagrad(
    optimizer_type: type[ExactAdagrad] | type[RowwiseAdagrad], groups: list[dict[str, Any]], config: OptimizerConfig
) -> Optimizer:
    return uncompiled(optimizer_type)(
        _without_decay(groups),
        lr=groups[0]["lr"],
        initial_accumulator_value=_start(config),
        eps=_adagrad_epsilon(config),
    )


def _without_decay(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in group.items() if key != "weight_decay"} for group in groups]


def _start(config: OptimizerConfig) -> float:
    if config.initial_accumulator is not None:
        return config.initial_accumulator
    return 1e-9 if config.kind == "adamw" else 0.1


def _adam_epsilon(config: OptimizerConfig) -> float:
    return 1e-8 if config.epsilon is None else config.epsilon


def _adagrad_epsilon(config: OptimizerConfig) -> float:
    return 1e-7 if config.epsilon is None else config.epsilon
