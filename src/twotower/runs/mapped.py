"""Which tensors lie in files that are mapped, and which in memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

__all__ = ["stored_bytes"]

_MAPS = Path("/proc/self/maps")


def stored_bytes(tensors: Iterable[Tensor]) -> tuple[int, int]:
    """Bytes of tensors that lie in memory, and of those that lie in mapped files, of which the system keeps what it likes.

    Tensors that share their numbers count once. Where the system does not tell what is mapped (it is Linux that does), all
    counts as memory.

    Args:
        tensors: On the CPU.
    """
    ranges = _file_ranges()
    starts = [start for start, _ in ranges]
    sizes: dict[int, int] = {}
    for tensor in tensors:
        if tensor.numel():
            sizes[tensor.data_ptr()] = max(sizes.get(tensor.data_ptr(), 0), tensor.numel() * tensor.element_size())
    mapped = 0
    for address, size in sizes.items():
        place = bisect_right(starts, address) - 1
        mapped += size if place >= 0 and address < ranges[place][1] else 0
    return sum(sizes.values()) - mapped, mapped


def _file_ranges() -> list[tuple[int, int]]:
    """Addresses of this process behind which there are files, ascending."""
    try:
        lines = _MAPS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        # address, permissions, offset, device, inode, path; what is nobody's file has inode 0
        parts = line.split(maxsplit=5)
        if parts[4] != "0":
            start, _, end = parts[0].partition("-")
            found.append((int(start, 16), int(end, 16)))
    return found
