"""What a training over many ranks would take: memory, traffic, time; arithmetic alone, nothing is run or read."""

from twotower.planning.curves import Point, Scaling, scaling_curve
from twotower.planning.device import DEVICES, Device, device_named, read_device
from twotower.planning.links import Links
from twotower.planning.memory import Held, Memory, memory_of
from twotower.planning.plan import Plan, faults_of, fewest_ranks, make_plan, most_rows, require_fit, widest
from twotower.planning.sharding import MOST_LOCAL_BYTES, AskedSharding, checked_sharding, is_sharded, rows_held
from twotower.planning.simulation import Simulated, Varying, simulate
from twotower.planning.step import Collective, Step, Work, slowest_of, step_of
from twotower.planning.workload import Candidates, Encoder, Table, Tower, Workload, distinct

__all__ = [
    "DEVICES",
    "MOST_LOCAL_BYTES",
    "AskedSharding",
    "Candidates",
    "Collective",
    "Device",
    "Encoder",
    "Held",
    "Links",
    "Memory",
    "Plan",
    "Point",
    "Scaling",
    "Simulated",
    "Step",
    "Table",
    "Tower",
    "Varying",
    "Work",
    "Workload",
    "checked_sharding",
    "device_named",
    "distinct",
    "faults_of",
    "fewest_ranks",
    "is_sharded",
    "make_plan",
    "memory_of",
    "most_rows",
    "read_device",
    "require_fit",
    "rows_held",
    "scaling_curve",
    "simulate",
    "slowest_of",
    "step_of",
    "widest",
]
