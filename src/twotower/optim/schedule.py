"""The learning rate over the steps of a training: a pure function, so that resuming needs the step and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor
from torch.optim import Optimizer

from twotower.config import Config

__all__ = ["ScheduleConfig", "apply_learning_rate_factor", "learning_rate_factor"]


class ScheduleConfig(Config):
    """Warm-up, then decay.

    Attributes:
        warmup_steps: Steps in which the rate rises linearly to its full value, which the last of them has. 0: none.
        decay: After the warm-up: ``constant``, or ``linear`` or ``cosine`` down to ``final_fraction``.
        final_fraction: Of the full rate, in [0, 1], reached when all steps are done; ``constant`` has none.
    """

    warmup_steps: int = Field(default=0, ge=0)
    decay: Literal["constant", "linear", "cosine"] = "constant"
    final_fraction: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> ScheduleConfig:
        if self.decay == "constant" and self.final_fraction > 0:
            raise ValueError(f"final_fraction needs decay = 'linear' or 'cosine'; came {self.final_fraction} with 'constant'")
        return self


def learning_rate_factor(step: int, total_steps: int, config: ScheduleConfig) -> float:
    """What the learning rate is multiplied by at a step.

    Args:
        step: Steps done before this one: 0 for the first. From ``total_steps`` on, the factor stays where it ended.
        total_steps: Steps of the whole training. If the warm-up is as long or longer, there is nothing but warm-up.
        config: The shape. Cosine: Loshchilov and Hutter, "SGDR" (2017), equation 5, one cycle.

    Returns:
        In [0, 1].

    Raises:
        ValueError: If ``step`` is negative or ``total_steps`` is below 1.

    Example:
        >>> config = ScheduleConfig(warmup_steps=2, decay="linear")
        >>> [learning_rate_factor(step, 6, config) for step in range(7)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    if step < 0 or total_steps < 1:
        raise ValueError(f"step must be at least 0 and total_steps at least 1; came {step} and {total_steps}")
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.decay == "constant":
        return 1.0
    decay_steps = total_steps - config.warmup_steps
    progress = min(1.0, (step - config.warmup_steps) / decay_steps) if decay_steps > 0 else 1.0
    remaining = 1 - progress if config.decay == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return config.final_fraction + (1 - config.final_fraction) * remaining


def apply_learning_rate_factor(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Set the learning rate of every group to its ``initial_lr`` times the factor; see ``build_optimizers``.

    A rate that is a tensor stays one, and is filled: a graph that was captured reads it there.

    Raises:
        ValueError: If the factor is negative or not finite.
    """
    if not 0 <= factor < math.inf:
        raise ValueError(f"the factor must be finite and not negative; came {factor}")
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(group["initial_lr"] * factor)
            else:
                group["lr"] = group["initial_lr"] * factor
