"""What a recipe says of the retrieval loss."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from twotower.config import Config

__all__ = ["LossConfig"]


class LossConfig(Config):
    """The retrieval loss.

    Attributes:
        kind: ``full``: softmax over the whole catalogue. ``in_batch``: over the batch's own items. ``auto``: full when the
            catalogue has no more items than the batch has rows, so that it costs no more; in-batch when an option asks for what
            only that has (``log_q``, ``extra_negatives``, ``mask_accidental_hits = false``).
        temperature: Divides the scores; with ``learn_temperature`` where learning starts.
        learn_temperature: Make it a parameter.
        log_q: Correct for how often an item is sampled as a negative (in-batch). ``corrected``: of the positive, which is certain
            and not drawn, nothing is corrected; of many draws that is nearer to the full softmax. None: with ``in_batch`` yes.
        mask_accidental_hits: The same item in another row does not compete (in-batch).
        mask_known_positives: None of the user's other train items competes.
        hard_negatives: Keep only so many negatives per query, those that score highest; None keeps all.
        extra_negatives: Uniform negatives added to every batch (in-batch).
        reduction: Mean over the weights, or the sum; of the losses of ``tasks`` too.
        precision: Of the products of vectors. ``bfloat16`` rounds them to 8 bits: large batches train faster on a processor
            that multiplies such numbers (AVX512-BF16, AMX), slower on any other. The softmax and all else stays float32.
        weight: Of this loss in the total, beside those of ``tasks``. 0: only they are learned, and what is recommended means
            nothing; early stopping must then watch one of their figures.
    """

    kind: Literal["auto", "in_batch", "full"] = "auto"
    temperature: float = Field(default=1.0, gt=0)
    learn_temperature: bool = False
    log_q: bool | Literal["corrected"] | None = None
    mask_accidental_hits: bool = True
    mask_known_positives: bool = False
    hard_negatives: int | None = Field(default=None, ge=1)
    extra_negatives: int = Field(default=0, ge=0)
    reduction: Literal["mean", "sum"] = "mean"
    precision: Literal["float32", "bfloat16"] = "float32"
    weight: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _full_samples_nothing(self) -> LossConfig:
        if self.kind == "full" and self.log_q:
            raise ValueError("log_q corrects for sampled negatives; the full softmax samples none: leave it out")
        if self.kind == "full" and self.extra_negatives:
            raise ValueError("extra_negatives have no meaning with the full softmax: every item competes already")
        if self.kind == "full" and not self.mask_accidental_hits:
            raise ValueError("mask_accidental_hits = false has no meaning with the full softmax: every item competes once")
        return self

    @model_validator(mode="after")
    def _a_certain_positive_is_no_draw(self) -> LossConfig:
        if self.log_q != "corrected":
            return self
        if not self.mask_accidental_hits:
            raise ValueError(
                "log_q = 'corrected' takes a query's own item out of what was drawn; mask_accidental_hits = false leaves it "
                "in: leave one of them out"
            )
        if self.hard_negatives is not None:
            raise ValueError(
                "log_q = 'corrected' estimates the full softmax from all that was drawn, which the hardest negatives are not: "
                "leave hard_negatives out, or set log_q = true"
            )
        return self
