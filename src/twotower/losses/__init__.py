"""Losses. They see tensors: query vectors, candidate vectors, the column of each query's positive.

The order is fixed: scores, temperature, log-Q, masks, hard negatives, cross-entropy; one file each. `GBCE` is no softmax: every
item is judged for itself. Beside retrieval: the losses of outcomes that a head predicts, squared error and cross-entropy over
ordered levels.
"""

from twotower.losses.bilateral import BilateralSoftmax, bilateral_softmax
from twotower.losses.count_min_sketch import CountMinSketch
from twotower.losses.cross_entropy import Reduction, reduce_losses, softmax_cross_entropy
from twotower.losses.full import FullSoftmax, full_softmax
from twotower.losses.gbce import GBCE, gbce, gbce_beta
from twotower.losses.hard_negatives import HardNegatives, keep_hard_negatives
from twotower.losses.in_batch import InBatchSoftmax, in_batch_softmax
from twotower.losses.log_q import certain_positive_logits, log_q_from_counts, mixture_log_q
from twotower.losses.logits import Precision
from twotower.losses.masks import Mask
from twotower.losses.ordinal import cumulative_cross_entropy
from twotower.losses.outcome import OutcomeLoss
from twotower.losses.protocol import RetrievalLoss
from twotower.losses.squared_error import squared_error
from twotower.losses.streamed_log_q import StreamedLogQ
from twotower.losses.temperature import Temperature

__all__ = [
    "GBCE",
    "BilateralSoftmax",
    "CountMinSketch",
    "FullSoftmax",
    "HardNegatives",
    "InBatchSoftmax",
    "Mask",
    "OutcomeLoss",
    "Precision",
    "Reduction",
    "RetrievalLoss",
    "StreamedLogQ",
    "Temperature",
    "bilateral_softmax",
    "certain_positive_logits",
    "cumulative_cross_entropy",
    "full_softmax",
    "gbce",
    "gbce_beta",
    "in_batch_softmax",
    "keep_hard_negatives",
    "log_q_from_counts",
    "mixture_log_q",
    "reduce_losses",
    "softmax_cross_entropy",
    "squared_error",
]
