"""Sampling probabilities from the batches that were seen so far, where counts of all items can't be held."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from twotower.losses.count_min_sketch import CountMinSketch
from twotower.losses.log_q import mixture_log_q

__all__ = ["StreamedLogQ"]


class StreamedLogQ(nn.Module):
    """Log-Q of a batch's candidates: each one's share of all positives so far, this batch's among them, by a sketch.

    A batch is counted before it is asked for. So an item that was never met before has been seen as often as it is in this
    batch, and no probability is 0. That is also what biases least: an item that is drawn with probability ``p``, and was drawn
    ``X`` times among ``n`` before, now has a share of ``(X + 1) / (n + 1)``; and the mean of one over that is
    ``(1 - (1 - p)^(n + 1)) / p``. What the loss divides by its probability stands, on average, for the items that have been met
    by now, each with its right weight: of what is rarer than once in all that was seen, too little. An item's log Q is too
    high while it is new, by ``log(1 / (n p))`` at its first occurrence; after an epoch over a fixed table, counts are those of
    the table, and where no ids share all their counters the loss is that of held counts to the bit.

    Ids that share counters are taken for more frequent than they are, rare ones most. Measured by
    ``benchmarks/streamed_log_q.py`` on a million ids by Zipf's law, 2,000 batches of 2,048 rows, four rows of counters: log Q
    of what is drawn is too high by .14 on average with held counts (4 MB), by 1.0 for the rarest tenth of draws. A sketch with
    the conservative update comes to .19 and 1.4 with 4 MiB, .44 and 2.8 with 1 MiB, .90 and 4.4 with 256 KiB; with the plain
    update to .22, .59 and 1.17 on average. The moving average of the steps between two occurrences (Yi et al., RecSys 2019,
    algorithm 2) comes in the same memory to .36 to .39, .81 to .84 and 1.48: it keeps two numbers where a count is one. So the
    sketch with the conservative update is what is used here; a batch takes it .3 ms. Counts that can be held are better still:
    a sketch is for ids that nobody has numbered, or for more of them than there is room for.

    Args:
        sketch: Counts the positives; its state is this module's state.
        rows_drawn: ``B`` of `mixture_log_q`: rows of a batch, and of those in a queue.
        num_uniform: Of the negatives of a batch, those drawn uniformly.
        catalogue_size: From how many; any number where none are drawn.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> import torch
        >>> log_q = StreamedLogQ(CountMinSketch(width=1024))
        >>> items = torch.tensor([5, 8, 9])  # a batch's distinct candidates; 9 is nobody's positive
        >>> log_q(items, torch.tensor([0, 1, 0, 0])).exp()
        tensor([0.7500, 0.2500, 0.2500])
        >>> log_q(torch.tensor([8]), torch.tensor([0, 0, 0, 0])).exp()
        tensor([0.6250])
    """

    def __init__(self, sketch: CountMinSketch, *, rows_drawn: int = 1, num_uniform: int = 0, catalogue_size: int = 1) -> None:
        super().__init__()
        mixture_log_q(torch.zeros(0), rows_drawn, num_uniform, catalogue_size)  # numbers out of range are refused here
        self.sketch = sketch
        self.rows_drawn, self.num_uniform, self.catalogue_size = rows_drawn, num_uniform, catalogue_size

    def forward(self, candidates_C: Tensor, positives_B: Tensor) -> Tensor:
        """Count a batch, and return ``log Q`` of its candidates.

        Args:
            candidates_C: int64, shape ``[C]``, on the CPU: the ids of the candidates, each once.
            positives_B: int64, shape ``[B]``, on the CPU: the column of each query's positive.

        Returns:
            float32, shape ``[C]``, finite.
        """
        self.sketch.add(candidates_C, torch.bincount(positives_B, minlength=len(candidates_C)))
        return mixture_log_q(self.sketch.log_q(candidates_C), self.rows_drawn, self.num_uniform, self.catalogue_size)
