"""What a collective costs: a latency for each message on its way, and the bytes through the narrowest place.

The formulas are the ring's and the tree's for reductions, the ring's for gathering, and messages to everybody for all-to-all;
Thakur, Rabenseifner, Gropp: Optimization of Collective Communication Operations in MPICH, 2005.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from twotower.planning.device import Device

__all__ = ["Links"]


@dataclass(frozen=True)
class Links:
    """What connects some ranks.

    Attributes:
        device: Says how many ranks share a node, and how quick links and network are.
        ranks: How many there are; a node is filled before the next one.
    """

    device: Device
    ranks: int

    @property
    def near(self) -> int:
        """Ranks on one node."""
        return min(self.ranks, self.device.ranks_per_node)

    @property
    def nodes(self) -> int:
        """Nodes."""
        return -(-self.ranks // self.device.ranks_per_node)

    @property
    def through_bytes_per_s(self) -> float:
        """What a ring or a tree through all ranks carries: that of a link, or of all ports of a node where that is less."""
        link = self.device.link_bytes_per_s
        narrowest = link if self.nodes == 1 else min(link, self.near * self.device.network_bytes_per_s)
        return narrowest * self.device.wire_share

    @property
    def around_s(self) -> float:
        """The latencies of a way through all ranks."""
        crossings = self.nodes - 1
        near = self.ranks - 1 - crossings
        return near * self.device.link_latency_s + crossings * self.device.network_latency_s

    @property
    def up_s(self) -> float:
        """The latencies from a leaf of a tree to its root."""
        levels = math.ceil(math.log2(self.near)) * self.device.link_latency_s
        return levels + math.ceil(math.log2(self.nodes)) * self.device.network_latency_s

    def all_reduce_s(self, num_bytes: float) -> float:
        """Sum a tensor of so many bytes over all ranks, to all: by a ring or by a tree, whichever is quicker."""
        if self.ranks == 1:
            return 0.0
        wire = 2 * num_bytes / self.through_bytes_per_s
        return min(2 * self.around_s + wire * (self.ranks - 1) / self.ranks, 2 * self.up_s + wire)

    def all_gather_s(self, num_bytes: float) -> float:
        """Bring parts of so many bytes together, all of them counted, to all."""
        return self.around_s + num_bytes * (self.ranks - 1) / self.ranks / self.through_bytes_per_s

    def all_to_all_s(self, num_bytes: float) -> float:
        """Every rank sends so many bytes, the same share to each rank, itself among them; links and network work at once."""
        far, share = self.ranks - self.near, self.device.wire_share
        near_s = num_bytes * (self.near - 1) / self.ranks / (self.device.link_bytes_per_s * share)
        far_s = num_bytes * far / self.ranks / (self.device.network_bytes_per_s * share)
        latencies = (self.near - 1) * self.device.link_latency_s + far * self.device.network_latency_s
        return max(near_s, far_s) + latencies / self.device.messages_at_once
