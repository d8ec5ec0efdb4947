"""What is kept of a trial of a tuning: plain values, as ``trials.json`` has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["TrialEnd", "TrialRecord", "TrialState"]

TrialState: TypeAlias = Literal["done", "pruned", "failed", "interrupted", "running", "waiting"]
"""``pruned``: ended early, as it fell behind the others. ``failed``: by itself, say with a loss that is no number.
``interrupted``: its process was ended from outside; it is tried again under another number."""


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended.

    Attributes:
        state: ``done``, ``pruned`` or ``failed``.
        value: The validation figure of the epoch that would be kept; of a pruned trial the best until then; None if it failed.
        epoch: The epoch of that figure; 0 if it failed.
        epochs_run: Epochs that were trained.
        seconds: From the first step of preparing to the end, validation included.
        reason: Why it failed; empty if it did not.
        peak_memory_bytes: The largest resident set of the process that it ran in, so far.
    """

    state: Literal["done", "pruned", "failed"]
    value: float | None = None
    epoch: int = 0
    epochs_run: int = 0
    seconds: float = 0.0
    reason: str = ""
    peak_memory_bytes: int = 0


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes:
        number: Counted from 0, in the order in which trials were begun or queued.
        state: Where it is.
        settings: Its values, by the keys of the space; empty as long as it waits for them.
        curve: The validation figure by epoch.
        end: How it ended; None if it has not, or was interrupted.
        again: The number of the interrupted trial that it tries again; None for a trial of its own.
        own: Whether its values are those of the recipe as it is.
    """

    number: int
    state: TrialState
    settings: Mapping[str, Any]
    curve: Mapping[int, float] = field(default_factory=dict)
    end: TrialEnd | None = None
    again: int | None = None
    own: bool = False

    @property
    def value(self) -> float | None:
        """The figure that it is compared by; None where it has none."""
        return None if self.end is None else self.end.value

    @property
    def counts(self) -> bool:
        """Whether it is one of the trials that were asked for and have ended."""
        return self.state in ("done", "pruned", "failed")

    def to_json(self) -> dict[str, Any]:
        """For ``trials.json``."""
        end = {} if self.end is None else {name: value for name, value in asdict(self.end).items() if name != "state"}
        return {
            "number": self.number,
            "state": self.state,
            "own": self.own,
            "again": self.again,
            "settings": dict(self.settings),
            **end,
            "curve": [{"epoch": epoch, "value": value} for epoch, value in sorted(self.curve.items())],
        }
