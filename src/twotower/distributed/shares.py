"""Who has which part: a function of how many there are, so that no rank has to ask another."""

from __future__ import annotations

__all__ = ["share_of", "share_sizes"]


def share_of(total: int, rank: int, size: int) -> range:
    """The part of ``0, 1, ..., total - 1`` that a rank has: consecutive, no two parts differ in length by more than 1.

    Args:
        total: At least 0; where it is less than ``size`` the last ranks have nothing.
        rank: In ``[0, size)``.
        size: How many ranks there are.

    Raises:
        ValueError: If the rank is not among them, or the total below 0.

    Example:
        >>> [share_of(10, rank, 4) for rank in range(4)]
        [range(0, 3), range(3, 6), range(6, 8), range(8, 10)]
    """
    if total < 0 or not 0 <= rank < size:
        raise ValueError(f"a share is that of one of {size} ranks in at least 0 things; came rank {rank} and {total}")
    every, over = divmod(total, size)
    start = rank * every + min(rank, over)
    return range(start, start + every + (rank < over))


def share_sizes(total: int, size: int) -> list[int]:
    """How many each rank has; see `share_of`.

    Example:
        >>> share_sizes(10, 4)
        [3, 3, 2, 2]
    """
    return [len(share_of(total, rank, size)) for rank in range(size)]
