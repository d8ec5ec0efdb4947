"""What a machine can do: memory, products, bytes a second, and what collectives cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from twotower.config import Config, parse_config
from twotower.errors import ConfigError, nearest

__all__ = ["DEVICES", "Device", "device_named", "read_device"]

_Positive = Annotated[float, Field(gt=0)]
_Share = Annotated[float, Field(gt=0, le=1)]


class Device(Config):
    """One rank's part of a machine, and what connects it with the others; beside each peak, what of it is reached.

    Attributes:
        name: Of the device.
        source: Where the numbers are from, in words.
        memory_bytes: Of the device, for one rank.
        is_host: Whether that is the memory in which the process lives (a CPU); otherwise ``host_memory_bytes`` is beside it.
        host_memory_bytes: Of the machine, for one rank: its memory divided by its ranks.
        memory_bytes_per_s: Reading and writing in order.
        random_access: The share of it that rows of a table reach, looked up here and there.
        float32_per_s: Multiplications and additions a second, peak, of products in float32.
        bfloat16_per_s: The same in bfloat16.
        product_share: The share of these peaks that the products of towers and losses reach.
        ranks_per_node: Ranks that ``link_bytes_per_s`` connects; the network is between such nodes.
        link_bytes_per_s: Within a node, of one rank, in one direction.
        link_latency_s: Of one message there.
        network_bytes_per_s: Between nodes, of one rank, in one direction: the node's network divided by its ranks.
        network_latency_s: Of one message there.
        wire_share: The share of both bandwidths that collectives reach.
        messages_at_once: Of the messages of an all-to-all, how many wait for an answer at a time.
        feed_bytes_per_s: At which a rank reads rows here and there from mapped columns that are in the page cache.
        feed_rows_per_s: Rows of the global batch a second of which a rank finds out which items they have, each once.
        step_s: What a step costs beside all that: Python, and starting operations.
        process_bytes: Of a process with everything imported, before it holds anything, in the host's memory.
        context_bytes: What its runtime keeps on the device; 0 on a CPU.
        group_bytes: What a process group adds to a process.
        sharding_bytes: What the library of split tables adds to a process, in the host's memory.
    """

    name: str = Field(min_length=1)
    source: str = ""
    memory_bytes: _Positive
    is_host: bool = False
    host_memory_bytes: _Positive
    memory_bytes_per_s: _Positive
    random_access: _Share
    float32_per_s: _Positive
    bfloat16_per_s: _Positive
    product_share: _Share
    ranks_per_node: int = Field(ge=1)
    link_bytes_per_s: _Positive
    link_latency_s: _Positive
    network_bytes_per_s: _Positive
    network_latency_s: _Positive
    wire_share: _Share
    messages_at_once: int = Field(ge=1)
    feed_bytes_per_s: _Positive
    feed_rows_per_s: _Positive
    step_s: _Positive
    process_bytes: _Positive
    context_bytes: float = Field(default=0, ge=0)
    group_bytes: float = Field(default=0, ge=0)
    sharding_bytes: float = Field(default=0, ge=0)


_GB, _T = 1e9, 1e12
_OF_ACCELERATORS = {
    "random_access": 0.4,
    "product_share": 0.35,
    "wire_share": 0.7,
    "messages_at_once": 8,
    "feed_bytes_per_s": 1 * _GB,
    "feed_rows_per_s": 50e6,
    "step_s": 2e-3,
    "process_bytes": 1.5 * _GB,
    "context_bytes": 0.6 * _GB,
    "group_bytes": 1.0 * _GB,
    "sharding_bytes": 0.3 * _GB,
    "network_latency_s": 5e-6,
}
_SHEET = (
    "memory, bandwidths and peaks: the maker's public data sheet; network and machine: {machine}; shares of the peaks, "
    "latencies, feed and what a step costs: assumed, never measured here"
)

DEVICES: Mapping[str, Device] = {
    "h200": Device(
        name="h200",
        source=_SHEET.format(machine="8 a machine with 2 TB, one 400 Gb/s port each"),
        memory_bytes=141 * _GB,
        host_memory_bytes=256 * _GB,
        memory_bytes_per_s=4.8 * _T,
        float32_per_s=67 * _T,
        bfloat16_per_s=989 * _T,
        ranks_per_node=8,
        link_bytes_per_s=450 * _GB,
        link_latency_s=2e-6,
        network_bytes_per_s=50 * _GB,
        **_OF_ACCELERATORS,
    ),
    "h100": Device(
        name="h100",
        source=_SHEET.format(machine="8 (SXM) a machine with 2 TB, one 400 Gb/s port each"),
        memory_bytes=80 * _GB,
        host_memory_bytes=256 * _GB,
        memory_bytes_per_s=3.35 * _T,
        float32_per_s=67 * _T,
        bfloat16_per_s=989 * _T,
        ranks_per_node=8,
        link_bytes_per_s=450 * _GB,
        link_latency_s=2e-6,
        network_bytes_per_s=50 * _GB,
        **_OF_ACCELERATORS,
    ),
    "a100": Device(
        name="a100",
        source=_SHEET.format(machine="8 (80 GB, SXM) a machine with 1 TB, one 200 Gb/s port each"),
        memory_bytes=80 * _GB,
        host_memory_bytes=128 * _GB,
        memory_bytes_per_s=2.039 * _T,
        float32_per_s=19.5 * _T,
        bfloat16_per_s=312 * _T,
        ranks_per_node=8,
        link_bytes_per_s=300 * _GB,
        link_latency_s=2e-6,
        network_bytes_per_s=25 * _GB,
        **_OF_ACCELERATORS,
    ),
    "l4": Device(
        name="l4",
        source=_SHEET.format(machine="8 a machine with 384 GB, PCIe 4 between them and one 100 Gb/s port for all"),
        memory_bytes=24 * _GB,
        host_memory_bytes=48 * _GB,
        memory_bytes_per_s=0.3 * _T,
        float32_per_s=30.3 * _T,
        bfloat16_per_s=121 * _T,
        ranks_per_node=8,
        link_bytes_per_s=32 * _GB,
        link_latency_s=1e-5,
        network_bytes_per_s=100 / 8 / 8 * _GB,
        **_OF_ACCELERATORS,
    ),
    "cpu": Device(
        name="cpu",
        source="one core of a quiet two-core x86-64 machine (AVX-512) with 24 GB, gloo over its loopback, measured by "
        "`twotower plan --measure`; its network is assumed",
        memory_bytes=12 * _GB,
        is_host=True,
        host_memory_bytes=12 * _GB,
        memory_bytes_per_s=13.4 * _GB,
        random_access=0.83,
        float32_per_s=188 * _GB,
        bfloat16_per_s=188 * _GB,
        product_share=0.97,
        ranks_per_node=2,
        link_bytes_per_s=1.4 * _GB,
        link_latency_s=5e-5,
        network_bytes_per_s=0.625 * _GB,
        network_latency_s=1e-4,
        wire_share=1.0,
        messages_at_once=1,
        feed_bytes_per_s=0.65 * _GB,
        feed_rows_per_s=36e6,
        step_s=5.5e-4,
        process_bytes=0.44 * _GB,
        group_bytes=0.02 * _GB,
        sharding_bytes=0.12 * _GB,
    ),
}
"""Of whole machines as they are sold, by name."""


def device_named(name: str) -> Device:
    """A device of the table.

    Raises:
        ConfigError: If there is none of that name.

    Example:
        >>> device_named("h200").memory_bytes
        141000000000.0
    """
    if name not in DEVICES:
        raise ConfigError(f"--device {name}: no such device{nearest(name, DEVICES)}; or give its numbers with --constants FILE")
    return DEVICES[name]


def read_device(path: Path) -> Device:
    """A device from a JSON file, as ``twotower plan --measure`` writes it.

    Raises:
        ConfigError: If there is no such file, or it is no device: every wrong key with what came.
    """
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"--constants {path}: can't be read ({error.strerror}); write one with --measure") from None
    except ValueError as error:
        raise ConfigError(f"--constants {path}: must be JSON ({error}); write one with --measure") from None
    return parse_config(Device, values, source=f"--constants {path}")
