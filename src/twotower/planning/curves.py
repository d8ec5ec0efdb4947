"""A plan for 1, 2, 4 ... ranks: how rows a second grow, and what is the narrowest place where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from twotower.planning.device import Device
from twotower.planning.plan import Plan, faults_of, make_plan
from twotower.planning.sharding import AskedSharding
from twotower.planning.workload import Workload

__all__ = ["Point", "Scaling", "scaling_curve"]

Scaling: TypeAlias = Literal["strong", "weak"]
"""The global batch stays as it is, or grows with the ranks."""


@dataclass(frozen=True)
class Point:
    """A number of ranks.

    Attributes:
        plan: What it comes to.
        fits: Whether a rank has room for it.
        efficiency: Rows a second and rank, as a share of those of the fewest ranks on the curve.
    """

    plan: Plan
    fits: bool
    efficiency: float


def scaling_curve(
    workload: Workload, device: Device, ranks: Sequence[int], *, scaling: Scaling, sharding: AskedSharding = "auto"
) -> list[Point]:
    """Plans for several numbers of ranks.

    Args:
        workload: Its batch is that of one rank with ``weak``, of all with ``strong``.
        device: A rank's part of a machine.
        ranks: Ascending.
        scaling: What stays.
        sharding: How tables are split.
    """
    plans = [
        make_plan(
            replace(workload, batch_size=workload.batch_size * each) if scaling == "weak" else workload, device, each, sharding
        )
        for each in ranks
    ]
    first = plans[0].step.rows_per_s / plans[0].ranks
    return [Point(plan, not faults_of(plan), plan.step.rows_per_s / plan.ranks / first) for plan in plans]
