"""What ``twotower tune`` may vary: a range or a list of choices for a key of the recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic import model_validator

from twotower.config import Config
from twotower.errors import ConfigError

__all__ = ["TuneChoice", "TuneKeyConfig", "flat_tune"]

_Plain: TypeAlias = bool | int | float | str
TuneChoice: TypeAlias = _Plain | tuple[_Plain, ...] | dict[str, _Plain]
"""One of the choices: a value, a list or an inline table of values."""

_STEP_SLACK = 1e-9


class TuneKeyConfig(Config):
    """What ``twotower tune`` may try for one key of the recipe.

    In ``[tune]`` every key is a key of the recipe, dotted as for ``--set``, and has a table of these: ``low`` and ``high``, or
    ``choices``. ``train`` and the other commands take no notice of it. Without ``[tune]``, a space is made from the recipe.

    Attributes:
        low: The least value. Where both ends are integers, so is every value.
        high: The greatest value.
        step: Between two values; ``high`` must be ``low`` and a whole number of steps. None: any value of the range.
        log: Draw by the logarithm: as many tries between .001 and .01 as between .01 and .1.
        choices: The values, at least two, in place of a range.
        also: Other keys that take the same value in each trial, such as the width of a feature that shares a table.
    """

    low: int | float | None = None
    high: int | float | None = None
    step: int | float | None = None
    log: bool = False
    choices: tuple[TuneChoice, ...] | None = None
    also: tuple[str, ...] = ()

    @property
    def is_integer(self) -> bool:
        """Whether every value of the range is an integer."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Both ends of the range, or every choice."""
        return (self.low, self.high) if self.choices is None else self.choices

    def holds(self, value: object) -> bool:
        """Whether a trial may have this value."""
        if self.choices is not None:
            return any(type(value) is type(choice) and value == choice for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float) or self.low is None or self.high is None:
            return False
        if self.is_integer and not isinstance(value, int):
            return False
        return self.low <= value <= self.high and (self.step is None or _whole((value - self.low) / self.step))

    @model_validator(mode="after")
    def _one_way(self) -> TuneKeyConfig:
        if self.choices is not None:
            given = [name for name in ("low", "high", "step", "log") if getattr(self, name) not in (None, False)]
            if given:
                raise ValueError(f"give choices, or a range of low and high, not both; came choices and {', '.join(given)}")
            if len({repr(choice) for choice in self.choices}) < max(2, len(self.choices)):
                raise ValueError("choices must be at least two, each once")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        if not self.low < self.high:
            raise ValueError(f"low must be less than high; came {self.low} and {self.high}")
        if self.log and not self.low > 0:
            raise ValueError(f"log needs a low above 0; came {self.low}")
        if self.step is not None:
            self._require_step(self.low, self.high, self.step)
        return self

    def _require_step(self, low: float, high: float, step: float) -> None:
        if self.log:
            raise ValueError("log and step can't be had together: leave one of them out")
        if not step > 0:
            raise ValueError(f"step must be above 0; came {step}")
        if self.is_integer and not isinstance(step, int):
            raise ValueError(f"step must be an integer where low and high are; came {step}")
        if not _whole((high - low) / step):
            raise ValueError(f"high must be low and a whole number of steps; came {low}, {high} and step {step}")


def _whole(steps: float) -> bool:
    return abs(steps - round(steps)) < _STEP_SLACK * max(1.0, abs(steps))


def flat_tune(values: Any) -> Any:
    """The tables of ``[tune]`` by dotted key, whether the keys were written in quotes or as tables within tables.

    Raises:
        ConfigError: If a key is there both ways.

    Example:
        >>> flat_tune({"loss": {"temperature": {"low": 0.1, "high": 1.0}}, "training.batch_size": {"choices": [64, 128]}})
        {'loss.temperature': {'low': 0.1, 'high': 1.0}, 'training.batch_size': {'choices': [64, 128]}}
    """
    if not isinstance(values, Mapping):
        return values
    leaves = _leaves(values, "")
    found = dict(leaves)
    if len(found) < len(leaves):
        twice = sorted(key for key, count in Counter(key for key, _ in leaves).items() if count > 1)
        raise ConfigError(
            [f"tune: {key!r} comes twice, once in quotes and once as a table within tables: name it once" for key in twice]
        )
    return found


def _leaves(values: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value and not set(value) & set(TuneKeyConfig.model_fields):
            deeper = [isinstance(entry, Mapping) for entry in value.values()]
            if all(deeper):
                found += _leaves(value, f"{key}.")
                continue
        found.append((key, value))
    return found
