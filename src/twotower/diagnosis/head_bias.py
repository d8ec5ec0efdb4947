"""Popular items that are missing from the lists, because in-batch negatives were not corrected for how often they are drawn."""

from __future__ import annotations

from dataclasses import dataclass

from twotower.diagnosis.finding import Finding

__all__ = ["HeadShares", "check_head"]

_HALF = 0.5
"""Share of the head among what is recommended, over its share among what is consumed, below which it is missing. A model may
well recommend less of the head than is consumed; sound ones on MovieLens-100K recommend almost twice as much."""


@dataclass(frozen=True)
class HeadShares:
    """The head, the items that hold the first third of the train rows, in lists and in what was chosen.

    Attributes:
        in_batch: Whether the negatives are the batch's own items.
        corrected: Whether logits are corrected for how often an item is drawn (log-Q).
        head_items: How many items the head has.
        recommended: Share of the head among the first ten items of the judged rows' lists.
        consumed: Share of the head among the judged rows' own items.
        cutoff: The k of the recalls.
        model: Recall of the judged rows whose item is in the head.
        popularity: The same of popularity.
    """

    in_batch: bool
    corrected: bool
    head_items: int
    recommended: float
    consumed: float
    cutoff: int
    model: float
    popularity: float


def check_head(evidence: HeadShares) -> Finding | None:
    """Find an uncorrected in-batch softmax that has unlearned the popular items."""
    missing = evidence.recommended < _HALF * evidence.consumed and evidence.model < evidence.popularity
    if not evidence.in_batch or evidence.corrected or not missing:
        return None
    return Finding(
        code="head_bias",
        severity="fault",
        title="Popular items are missing from the lists: in-batch negatives without the log-Q correction",
        evidence=(
            f"the head ({evidence.head_items:,} items with the first third of the train rows) is {evidence.consumed:.0%} of "
            "what is "
            f"chosen, and {evidence.recommended:.1%} of the first ten that are recommended",
            f"recall@{evidence.cutoff} of rows whose item is in the head is {evidence.model:.3f}; popularity reaches "
            f"{evidence.popularity:.3f}",
        ),
        why="In a batch a popular item is a negative as often as it is popular, so that the loss takes the logarithm of its "
        "popularity off its score (Yi et al., RecSys 2019): the model learns what is special about a user, and forgets what is "
        "likely.",
        fix=("loss.log_q = true", "loss.kind = 'full', where the catalogue is small enough: nothing is sampled then"),
    )
