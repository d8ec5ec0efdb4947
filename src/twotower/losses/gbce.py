"""Generalised binary cross-entropy: every item for itself, as likely as the share of negatives that is drawn allows.

Petrov and Macdonald, "gSASRec: reducing overconfidence in sequential recommendation trained with negative sampling" (RecSys
2023, arXiv 2308.07192).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from twotower.losses.cross_entropy import Reduction, reduce_losses
from twotower.losses.logits import Precision, check_loss_inputs, scaled_scores, scaled_vectors
from twotower.losses.masks import Mask, mask_pairs_
from twotower.losses.protocol import RetrievalLoss
from twotower.losses.temperature import Temperature

__all__ = ["GBCE", "gbce", "gbce_beta"]


def gbce_beta(sampling_rate: float, calibration: float) -> float:
    """The power of the positive's probability: ``beta = alpha (t (1 - 1 / alpha) + 1 / alpha)``.

    Few negatives make the model believe too much in every item: its probability is that of the item under the negatives
    drawn. With ``beta = alpha`` (``t = 1``) it is the probability under all of them; with ``beta = 1`` (``t = 0``) the loss is
    binary cross-entropy. The paper's choice is ``t`` between .75 and 1.

    Args:
        sampling_rate: ``alpha``, above 0, at most 1: how often a query meets each item that is not its own.
        calibration: ``t``, in [0, 1].

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> gbce_beta(0.25, 0.0), gbce_beta(0.25, 1.0), gbce_beta(1.0, 0.5)
        (1.0, 0.25, 1.0)
    """
    if not 0 < sampling_rate <= 1 or not 0 <= calibration <= 1:
        raise ValueError(f"sampling_rate must be in (0, 1] and calibration in [0, 1]; came {sampling_rate} and {calibration}")
    return sampling_rate * calibration + 1 - calibration


def gbce(
    queries_BD: Tensor,
    candidates_CD: Tensor,
    positives_B: Tensor,
    *,
    beta: float,
    counts_C: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    masked: Mask | None = None,
    weights_B: Tensor | None = None,
    reduction: Reduction = "mean",
    precision: Precision = "float32",
) -> Tensor:
    """``loss_i = -1 / (m_i + 1) (beta log sigmoid(s_ip) + sum_{c != p} n_c log(1 - sigmoid(s_ic)))``.

    ``m_i`` is the number of negatives, ``sum n_c`` over what competes with the positive. All queries of a batch share the
    negatives that were drawn for it, of which a query's own item is left out. In memory, and kept for the way back, are two
    matrices of queries by distinct negatives.

    Args:
        queries_BD: Float, shape ``[B, D]``.
        candidates_CD: Float, shape ``[C, D]``: every candidate once.
        positives_B: int64, shape ``[B]``: column of each query's positive.
        beta: From ``gbce_beta``.
        counts_C: Whole numbers, at least 0, shape ``[C]``: how often each candidate was drawn as a negative; 0 for what is
            only somebody's positive. None: once each, as with the whole catalogue.
        temperature: Above 0; divides the scores. A scalar tensor may be learned.
        masked: Pairs that must not compete; see ``Mask``.
        weights_B: Weight of each query, not negative, shape ``[B]``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``; see ``reduce_losses``.
        precision: Of the scores of negatives; see ``Precision``.

    Returns:
        Scalar, or ``[B]`` for ``"none"``; float32 at least, also under autocast.

    Raises:
        ValueError: If shapes or values do not fit, or there is nothing to average.

    Example:
        >>> import torch
        >>> gbce(torch.zeros(1, 2), torch.ones(3, 2), torch.tensor([0]), beta=1.0)  # three coins
        tensor(0.6931)
    """
    check_loss_inputs(queries_BD, candidates_CD, positives_B, temperature, weights_B=weights_B)
    if counts_C is not None and (
        counts_C.shape != candidates_CD.shape[:1] or (counts_C.device.type == "cpu" and bool((counts_C < 0).any()))
    ):
        raise ValueError(f"counts_C must be at least 0, one for each of {len(candidates_CD)} candidates; came {counts_C}")
    with torch.autocast(device_type=queries_BD.device.type, enabled=False):
        scaled_BD, wide_CD = scaled_vectors(queries_BD, candidates_CD, temperature)
        own_B = (scaled_BD * wide_CD.index_select(0, positives_B)).sum(1)
        if counts_C is None:
            counts_K = scaled_BD.new_ones(len(wide_CD))
            logits_BK = scaled_scores(scaled_BD, wide_CD, 1.0, precision=precision)
            _leave_all_out_(logits_BK, positives_B, masked)
        else:
            drawn_K = (counts_C > 0).nonzero().flatten()
            counts_K = counts_C[drawn_K].to(scaled_BD.dtype)
            logits_BK = scaled_scores(scaled_BD, wide_CD.index_select(0, drawn_K), 1.0, precision=precision)
            place_C = positives_B.new_full((len(wide_CD),), -1)
            place_C[drawn_K] = torch.arange(len(drawn_K), device=drawn_K.device)
            _leave_drawn_out_(logits_BK, positives_B, masked, drawn_K, place_C)
        number_B = (logits_BK.detach() != -torch.inf).to(counts_K.dtype) @ counts_K
        negatives_B = -F.logsigmoid(-logits_BK) @ counts_K
        losses_B = (negatives_B - beta * F.logsigmoid(own_B)) / (number_B + 1)
        return reduce_losses(losses_B, weights_B, reduction)


@torch.no_grad()
def _leave_all_out_(logits_BC: Tensor, positives_B: Tensor, masked: Mask | None) -> None:
    """What does not compete, where every candidate has its column: sigmoid(-inf) is exactly 0, and so is its gradient."""
    if masked is not None:
        mask_pairs_(logits_BC, masked, positives_B)
    logits_BC.scatter_(1, positives_B[:, None], -torch.inf)


@torch.no_grad()
def _leave_drawn_out_(logits_BK: Tensor, positives_B: Tensor, masked: Mask | None, drawn_K: Tensor, place_C: Tensor) -> None:
    """The same, where only those drawn have one: ``drawn_K`` says whose, ``place_C`` which, or -1."""
    _leave_out_(logits_BK, torch.arange(len(positives_B), device=positives_B.device), place_C[positives_B])
    if isinstance(masked, Tensor):
        logits_BK.masked_fill_(masked[:, drawn_K], -torch.inf)
    elif masked is not None:
        _leave_out_(logits_BK, masked[0], place_C[masked[1]])


def _leave_out_(logits_BK: Tensor, rows: Tensor, columns: Tensor) -> None:
    """Of these pairs those whose column is not -1 do not compete."""
    there = columns >= 0
    logits_BK[rows[there], columns[there]] = -torch.inf


class GBCE(RetrievalLoss):
    """``gbce`` with its choices made.

    Args:
        temperature: A number (fixed), or a ``Temperature``, whose parameter must then be trained with the model's.
        calibration: ``t`` of ``gbce_beta``.
        sampling_rate: ``alpha`` of ``gbce_beta``: with ``k`` uniform draws from ``N`` items, own items left out, ``k / N``. 1:
            the whole catalogue competes, and ``calibration`` changes nothing.
        reduction: See ``gbce``.
        precision: See ``gbce``.

    Attributes:
        needs_full_catalogue: Whether the sampling rate is 1.
        uniform_negatives: Whether it is below 1: ``counts_C`` then says how often each candidate was drawn uniformly.
        uses_log_q: False.
        recordable: Whether the whole catalogue competes: of drawn negatives the device has to be asked how many there are.
        beta: See ``gbce_beta``.

    Raises:
        ValueError: If a number is out of its range.
    """

    def __init__(
        self,
        temperature: float | Temperature = 1.0,
        *,
        calibration: float = 0.75,
        sampling_rate: float = 1.0,
        reduction: Reduction = "mean",
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        self.beta = gbce_beta(sampling_rate, calibration)
        self.needs_full_catalogue = sampling_rate == 1
        self.uniform_negatives = not self.needs_full_catalogue
        self.uses_log_q = False
        self.recordable = self.needs_full_catalogue
        self.temperature = temperature if isinstance(temperature, Temperature) else Temperature(temperature)
        self.reduction: Reduction = reduction
        self.precision: Precision = precision

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
        """The loss of a batch; see ``gbce``.

        Raises:
            ValueError: Also if ``log_q_C`` is given, or ``counts_C`` with the whole catalogue.
        """
        if log_q_C is not None or (self.needs_full_catalogue and counts_C is not None):
            raise ValueError("gBCE draws uniformly: it must not be given log_q_C, nor counts_C with the whole catalogue")
        return gbce(
            queries_BD,
            candidates_CD,
            positives_B,
            beta=self.beta,
            counts_C=counts_C,
            temperature=self.temperature.value(),
            masked=masked,
            weights_B=weights_B,
            reduction=self.reduction,
            precision=self.precision,
        )
