"""What training asks of a retrieval loss, ours or anyone's."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from twotower.losses.cross_entropy import Reduction
from twotower.losses.masks import Mask

__all__ = ["RetrievalLoss"]


class RetrievalLoss(nn.Module):
    """A loss on query vectors, candidate vectors and the column of each query's positive.

    Abstract: `InBatchSoftmax`, `FullSoftmax`, `BilateralSoftmax` and `GBCE` are such; so is any module that sets these
    attributes and has this ``forward``.

    Attributes:
        needs_full_catalogue: Whether ``candidates_CD`` must be the whole catalogue, in its order; ``counts_C`` is None then.
        uses_log_q: Whether ``log_q_C`` must be given; it must be None otherwise.
        uniform_negatives: Whether only what was drawn uniformly competes: ``counts_C`` then says how often each candidate was,
            0 for what is only some query's positive. False unless a loss says so.
        needs_users: Whether ``users_B``, int64 of shape ``[B]``, must be given as well: whose row each is. False unless a loss
            says so. Where several processes share a batch, such a loss is given ``all_rows`` too, which gathers a tensor
            ``[B]`` from all of them, and returns its part of the batch's loss; of other losses it is found from outside.
        recordable: Whether on an accelerator the loss asks nothing of the device, and shapes follow from shapes alone, so that
            a step with it can be recorded once and replayed. Batches are of one size then: ``counts_C`` may be 0 for columns
            that hold no candidate, and are as if they were not there. False unless a loss says so.
        reduction: Whether the loss of a batch is a mean, a sum, or one value per row.
    """

    needs_full_catalogue: bool
    uses_log_q: bool
    uniform_negatives: bool = False
    needs_users: bool = False
    recordable: bool = False

    reduction: Reduction

    @abstractmethod
    def forward(
        self,
        queries_BD: Tensor,
        candidates_CD: Tensor,
        positives_B: Tensor,
        *,
        counts_C: Tensor | None = None,
        log_q_C: Tensor | None = None,
        masked: Mask | None = None,
        weights_B: Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch; arguments as in ``in_batch_softmax``."""
