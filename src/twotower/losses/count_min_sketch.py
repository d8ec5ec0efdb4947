"""How often each of many ids was seen, in a fixed amount of memory: the count-min sketch.

Cormode and Muthukrishnan, "An improved data stream summary: the count-min sketch and its applications" (Journal of Algorithms
2005). Its conservative update: Estan and Varghese, "New directions in traffic measurement and accounting" (SIGCOMM 2002).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from twotower.losses.log_q import log_share

__all__ = ["CountMinSketch"]

_MOST_AT_ONCE = 2**29
_LONGEST_HALF_LIFE = 2**29
_LOW = np.uint64(0xFFFFFFFF)


class CountMinSketch(nn.Module):
    """Counts of any number of ids in ``depth`` rows of ``width`` counters, 4 bytes each.

    Every row has one counter for an id, chosen by a hash function of its own; other ids share it. The least of an id's counters
    is its estimate. It is never below the true count; and it is above it by more than ``e / width`` of all that was counted
    with a probability of at most ``exp(-depth)``, for each id (Cormode and Muthukrishnan, theorem 1). With ``conservative``, a
    counter only rises as far as the estimates of what is added ask for, which keeps the guarantee and makes the errors smaller;
    a plain sketch is the sum of the sketches of its parts instead.

    Ids are hashed by ``(a1 low + a2 high + b) mod 2^64``, of which the highest bits count; ``low`` and ``high`` are the halves
    of the id. Any two ids share a counter of a row with a probability of ``1 / width`` (Dietzfelbinger, "Universal hashing and
    k-wise independent random variables via integer arithmetic without primes", 1996), which is all that the guarantee needs.
    The numbers ``a`` and ``b`` follow from the seed alone: the same in every process and on every platform.

    The counters are the module's buffers, so that its ``state_dict`` is all of its state. It stays on the CPU.

    Args:
        width: Counters in a row, a power of 2, from 2 to 2^31.
        depth: Rows, from 1 to 16.
        seed: Of the hash functions, not negative.
        conservative: Whether counters rise no more than they have to.
        half_life: After so many rows, at most 2^29, all counts are halved, and rounded up: what was seen lately counts more.
            The estimate is then never below the count that is halved with it. 2^29: of 537 million rows, only so that
            counters of 4 bytes never overflow.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> import torch
        >>> sketch = CountMinSketch(width=64, depth=3)
        >>> sketch.add(torch.tensor([7, 7, 3]))
        >>> sketch.add(torch.tensor([3, 9]), counts=torch.tensor([1, 4]))
        >>> sketch.estimate(torch.tensor([7, 3, 9, 8])).tolist(), sketch.total, sketch.num_bytes
        ([2, 2, 4, 0], 8, 768)
        >>> sketch.log_q(torch.tensor([7, 9])).exp()
        tensor([0.2500, 0.5000])
    """

    counters: Tensor
    totals: Tensor

    def __init__(
        self,
        width: int = 2**16,
        depth: int = 4,
        *,
        seed: int = 0,
        conservative: bool = True,
        half_life: int = _LONGEST_HALF_LIFE,
    ) -> None:
        super().__init__()
        if not 2 <= width <= 2**31 or width & (width - 1):
            raise ValueError(f"width must be a power of 2, from 2 to 2^31; came {width}")
        if not 1 <= depth <= 16 or seed < 0:
            raise ValueError(f"depth must be from 1 to 16, and the seed not negative; came {depth} and {seed}")
        if not 1 <= half_life <= _LONGEST_HALF_LIFE:
            raise ValueError(f"half_life must be from 1 to 2^29 rows; came {half_life}")
        self.width, self.depth, self.conservative, self.half_life = width, depth, conservative, half_life
        drawn = np.random.SeedSequence(seed).generate_state(3 * depth, np.uint64).reshape(3, depth, 1)
        self._low, self._high, self._plus = drawn
        self._shift = np.uint64(64 - (width.bit_length() - 1))
        self._begins = np.arange(depth, dtype=np.int64)[:, None] * width
        self.register_buffer("counters", torch.zeros(depth, width, dtype=torch.int32))
        self.register_buffer("totals", torch.zeros(2, dtype=torch.int64))  # all that counts, and rows since it was halved

    @property
    def total(self) -> int:
        """All that was counted; halved with the counts."""
        return int(self.totals[0])

    @property
    def num_bytes(self) -> int:
        """Of the counters."""
        return self.counters.numel() * self.counters.element_size()

    def add(self, ids: Tensor, counts: Tensor | None = None) -> None:
        """Count ids.

        In which order ids come in one call changes nothing; what is added in several calls can come to other estimates than in
        one, where ids share counters and the update is conservative.

        Args:
            ids: int64, shape ``[n]``; any value, also repeated.
            counts: int64, at least 0, shape ``[n]``: how often each was seen. None: once each.

        Raises:
            ValueError: If shapes, types or values do not fit, or more than 2^29 come at once.
        """
        keys, times = _checked(ids, counts)
        distinct_U, place = np.unique(keys, return_inverse=True)
        times_U = np.zeros(len(distinct_U), dtype=np.int64)
        np.add.at(times_U, place, times)
        seen = times_U > 0
        distinct_U, times_U = distinct_U[seen], times_U[seen]
        number = int(times_U.sum())
        if number > _MOST_AT_ONCE:
            raise ValueError(f"at most 2^29 can be counted at once; came {number:,}")
        counters, places_RU = self.counters.numpy().reshape(-1), self._places(distinct_U)
        if self.conservative:
            # at least the true count in every counter of an id before and after, whoever shares it
            least_U = counters[places_RU].min(0) + times_U.astype(np.int32)
            np.maximum.at(counters, places_RU, np.broadcast_to(least_U, places_RU.shape))
        else:
            np.add.at(counters, places_RU, np.broadcast_to(times_U.astype(np.int32), places_RU.shape))
        self.totals += number
        if int(self.totals[1]) >= self.half_life:
            for part in (self.counters, self.totals[:1]):
                part += 1
                part >>= 1
            self.totals[1] = 0

    def estimate(self, ids: Tensor) -> Tensor:
        """How often each id was seen, or somewhat more: int64, shape ``[n]``.

        Args:
            ids: int64, shape ``[n]``.

        Raises:
            ValueError: If shape or type do not fit.
        """
        keys, _ = _checked(ids, None)
        found_RU = self.counters.numpy().reshape(-1)[self._places(keys)]
        return torch.from_numpy(found_RU.min(0).astype(np.int64))

    def log_q(self, ids: Tensor) -> Tensor:
        """Log of each id's share of all that was counted, as `log_q_from_counts` gives it; what was never seen counts as once.

        Args:
            ids: int64, shape ``[n]``.

        Returns:
            float32, shape ``[n]``, finite, at most 0.

        Raises:
            ValueError: If nothing was counted yet, or shape or type do not fit.
        """
        if self.total == 0:
            raise ValueError("nothing was counted yet: add the ids of a batch before asking for their probabilities")
        return log_share(self.estimate(ids).to(torch.float64), float(self.total)).to(torch.float32)

    def extra_repr(self) -> str:
        return f"width={self.width}, depth={self.depth}, conservative={self.conservative}, half_life={self.half_life}"

    def _places(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which counter every row has for each id, ``[depth, n]``."""
        bits = keys.view(np.uint64)
        mixed_RU = self._low * (bits & _LOW) + self._high * (bits >> np.uint64(32)) + self._plus
        return (mixed_RU >> self._shift).view(np.int64) + self._begins


def _checked(ids: Tensor, counts: Tensor | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    given = (ids,) if counts is None else (ids, counts)
    if ids.ndim != 1 or any(each.dtype != torch.int64 or each.shape != ids.shape or each.is_cuda for each in given):
        came = ", ".join(f"{each.dtype} of shape {list(each.shape)} on {each.device}" for each in given)
        raise ValueError(f"ids and counts must be int64, of one dimension, of one length and on the CPU; came {came}")
    times = np.ones(len(ids), dtype=np.int64) if counts is None else counts.numpy()
    if len(times) and int(times.min()) < 0:
        raise ValueError(f"counts must not be negative; came {int(times.min())}")
    return np.ascontiguousarray(ids.numpy()), times
