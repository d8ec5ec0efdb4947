"""A device of round numbers, and a small workload, whose figures can be computed by hand."""

from __future__ import annotations

from typing import Any

from twotower.planning import Device, Table, Tower, Workload

__all__ = ["device", "workload"]


def device(**changed: Any) -> Device:
    """4 ranks a node; a link carries 10 bytes a second with a latency of 1 s, the network 2 bytes with 3 s."""
    values: dict[str, Any] = {
        "name": "toy",
        "memory_bytes": 1e9,
        "host_memory_bytes": 1e9,
        "is_host": True,
        "memory_bytes_per_s": 100.0,
        "random_access": 0.5,
        "float32_per_s": 1000.0,
        "bfloat16_per_s": 4000.0,
        "product_share": 0.5,
        "ranks_per_node": 4,
        "link_bytes_per_s": 10.0,
        "link_latency_s": 1.0,
        "network_bytes_per_s": 2.0,
        "network_latency_s": 3.0,
        "wire_share": 1.0,
        "messages_at_once": 1,
        "feed_bytes_per_s": 100.0,
        "feed_rows_per_s": 10.0,
        "step_s": 0.25,
        "process_bytes": 1000.0,
        "group_bytes": 50.0,
        "sharding_bytes": 8.0,
    }
    return Device(**{**values, **changed})


def workload(**changed: Any) -> Workload:
    """8 rows a batch, all 4 items compete; one table of 10 rows of 3, one of 4 rows of 2; vectors of 2."""
    values: dict[str, Any] = {
        "name": "toy",
        "rows": 100,
        "users": 10,
        "items": 4,
        "batch_size": 8,
        "vector_width": 2,
        "tables": (Table("users", 10, 3, query_ids=1, of="users"), Table("items", 4, 2, candidate_ids=1, of="items")),
        "query": Tower(3, (2,)),
        "candidate": Tower(2, (2,)),
        "candidates": "catalogue",
        "tile_rows": 4,
        "row_bytes": 5.0,
        "memory_row_bytes": 3.0,
        "history_bytes": 2.0,
        "user_bytes": 7.0,
        "item_bytes": 11.0,
        "batch_row_bytes": 6.0,
        "evaluated_at_once": 2,
        "tile_items": 3,
    }
    return Workload(**{**values, **changed})
