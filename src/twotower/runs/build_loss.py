"""The retrieval loss that a recipe asks for."""

from __future__ import annotations

from twotower.errors import ConfigError
from twotower.losses import GBCE, BilateralSoftmax, FullSoftmax, InBatchSoftmax, RetrievalLoss, Temperature
from twotower.runs.loss_config import DEFAULT_CALIBRATION, LossConfig

__all__ = ["build_loss", "loss_kind"]


def loss_kind(config: LossConfig, *, catalogue_size: int, batch_size: int) -> str:
    """What the recipe says; ``auto`` is full when the catalogue has no more items than the batch has rows, and no option asks
    for what only the in-batch softmax has, else ``in_batch``.
    """
    if config.kind != "auto":
        return config.kind
    sampled = (
        config.log_q not in (None, False)
        or config.extra_negatives > 0
        or config.sketch is not None
        or config.queue_batches > 0
        or not config.mask_accidental_hits
    )
    return "full" if catalogue_size <= batch_size and not sampled else "in_batch"


def build_loss(config: LossConfig, *, catalogue_size: int, batch_size: int) -> RetrievalLoss:
    """The loss that a recipe asks for; logits are corrected for sampling unless the recipe says no.

    Raises:
        ConfigError: If more negatives are to be drawn than there are items, where all might compete.
    """
    temperature = Temperature(config.temperature, learned=config.learn_temperature)
    if config.kind == "gbce":
        if config.extra_negatives >= catalogue_size:
            raise ConfigError(
                f"loss.extra_negatives: the catalogue has {catalogue_size:,} items; to draw {config.extra_negatives:,} of them "
                "costs no less than all: set fewer, or 0 for all",
                source="recipe",
            )
        return GBCE(
            temperature,
            calibration=DEFAULT_CALIBRATION if config.calibration is None else config.calibration,
            sampling_rate=config.extra_negatives / catalogue_size if config.extra_negatives else 1.0,
            reduction=config.reduction,
            precision=config.precision,
        )
    if config.kind == "bsl":
        return BilateralSoftmax(
            config.temperature,
            positive_temperature=config.positive_temperature,
            negative_weight=1.0 if config.negative_weight is None else config.negative_weight,
            log_q=config.log_q is not False,
            reduction=config.reduction,
            precision=config.precision,
        )
    if loss_kind(config, catalogue_size=catalogue_size, batch_size=batch_size) == "full":
        return FullSoftmax(
            temperature, hard_negatives=config.hard_negatives, reduction=config.reduction, precision=config.precision
        )
    return InBatchSoftmax(
        temperature,
        log_q=True if config.log_q is None else config.log_q,
        mask_accidental_hits=config.mask_accidental_hits,
        hard_negatives=config.hard_negatives,
        reduction=config.reduction,
        precision=config.precision,
    )
