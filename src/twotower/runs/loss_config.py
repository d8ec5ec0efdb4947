"""What a recipe says of the retrieval loss."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from twotower.config import Config

__all__ = ["DEFAULT_CALIBRATION", "LossConfig", "SketchConfig"]

_CAME_LATER = ("sketch", "negative_weight")

DEFAULT_CALIBRATION = 0.75
"""``loss.calibration`` where a recipe says nothing of it."""


class SketchConfig(Config):
    """Counts for log-Q from a count-min sketch, fed with the batches as they come, in place of a count for each item.

    Before an epoch is over, an item has been seen as often as it came in the batches so far. What shares all of its counters
    with more frequent items is taken for as frequent.

    Attributes:
        width: Counters in a row, a power of 2. About as many as there are items give nearly their counts.
        depth: Rows, of 4 bytes a counter.
    """

    width: int = Field(default=65536, ge=2, le=2**28)
    depth: int = Field(default=4, ge=1, le=16)

    @field_validator("width")
    @classmethod
    def _power_of_two(cls, width: int) -> int:
        if width & (width - 1):
            near = 1 << (width.bit_length() - 1)
            raise ValueError(f"must be a power of 2, such as {near} or {2 * near}; came {width}")
        return width


class LossConfig(Config):
    """The retrieval loss.

    Attributes:
        kind: ``full``: softmax over the whole catalogue. ``in_batch``: over the batch's own items. ``gbce``: generalised binary
            cross-entropy against ``extra_negatives`` uniform items, or all items where that is 0. ``bsl``: bilateral softmax
            over the batch's own items; meant for vectors of length 1 (``model.l2_normalise``). ``auto``: full when
            the catalogue has no more items than the batch has rows, so that it costs no more; in-batch when an option asks for
            what only that has (``log_q``, ``sketch``, ``extra_negatives``, ``queue_batches``,
            ``mask_accidental_hits = false``).
        temperature: Divides the scores; with ``learn_temperature`` where learning starts.
        positive_temperature: Of ``bsl``, of the positives, ``temperature`` being that of the negatives; it weighs the positives
            of a user that are in one batch against each other. None: the same.
        negative_weight: Of ``bsl``, of the sum over the negatives beside the positive: above 1 they push more than it pulls,
            and cosines spread out. None: 1.
        learn_temperature: Make it a parameter.
        log_q: Correct for how often an item is sampled as a negative (in-batch). ``corrected``: of the positive, certain and
            not drawn, nothing is corrected, which of many draws is nearer to the full softmax. None: with ``in_batch`` yes.
        sketch: Where log-Q has its counts from. None: every item of the catalogue has one, of the train rows.
        mask_accidental_hits: The same item in another row does not compete (in-batch).
        mask_known_positives: None of the user's other train items competes.
        hard_negatives: Keep only so many negatives per query, those that score highest; None keeps all.
        extra_negatives: Uniform negatives added to every batch (in-batch); with ``gbce`` the only ones.
        queue_batches: The items of so many batches before compete as well (in-batch, bsl), encoded anew with the towers as they
            are: more negatives for the encoding of these items alone, where a larger batch needs more queries too.
        calibration: Of ``gbce`` with uniform negatives, ``t`` of its paper: 0 is binary cross-entropy, with 1 scores are as
            confident as if all items had competed. None: .75.
        reduction: Mean over the weights, or the sum; of the losses of ``tasks`` too.
        precision: Of the products of vectors. ``bfloat16`` rounds them to 8 bits: large batches train faster on a processor
            that multiplies such numbers (AVX512-BF16, AMX), slower on any other. The softmax and all else stays float32.
        weight: Of this loss in the total, beside those of ``tasks``. 0: only they are learned, and what is recommended means
            nothing; early stopping must then watch one of their figures.
    """

    kind: Literal["auto", "in_batch", "full", "gbce", "bsl"] = "auto"
    temperature: float = Field(default=1.0, gt=0)
    positive_temperature: float | None = Field(default=None, gt=0)
    negative_weight: float | None = Field(default=None, gt=0)
    learn_temperature: bool = False
    log_q: bool | Literal["corrected"] | None = None
    sketch: SketchConfig | None = None
    mask_accidental_hits: bool = True
    mask_known_positives: bool = False
    hard_negatives: int | None = Field(default=None, ge=1)
    extra_negatives: int = Field(default=0, ge=0)
    queue_batches: int = Field(default=0, ge=0)
    calibration: float | None = Field(default=None, ge=0, le=1)
    reduction: Literal["mean", "sum"] = "mean"
    precision: Literal["float32", "bfloat16"] = "float32"
    weight: float = Field(default=1.0, ge=0)

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A recipe that does not use what came later is written, and known again by checkpoints, as it was before."""
        written: dict[str, Any] = handler(self)
        return {name: value for name, value in written.items() if name not in _CAME_LATER or value is not None}

    @model_validator(mode="after")
    def _every_option_does_something(self) -> LossConfig:
        faults = {"full": self._of_full, "gbce": self._of_gbce, "bsl": self._of_bsl}.get(self.kind, self._of_in_batch)()
        if self.kind in ("full", "gbce") and self.queue_batches:
            faults.append(
                f"queue_batches have no meaning with kind = '{self.kind}', where no batch's own items compete: leave it out"
            )
        if self.sketch is not None and (self.kind in ("full", "gbce") or self.log_q is False):
            faults.append("sketch counts for log-Q, which corrects nothing here: leave it out")
        if self.kind != "gbce" and self.calibration is not None:
            faults.append("calibration is of kind = 'gbce' alone: leave it out")
        if self.kind != "bsl" and self.negative_weight is not None:
            faults.append("negative_weight is of kind = 'bsl' alone: leave it out")
        if self.kind != "bsl" and self.positive_temperature is not None:
            faults.append("positive_temperature is of kind = 'bsl' alone: leave it out")
        if faults:
            raise ValueError(faults[0])
        return self

    def _of_full(self) -> list[str]:
        faults = []
        if self.log_q:
            faults.append("log_q corrects for sampled negatives; the full softmax samples none: leave it out")
        if self.extra_negatives:
            faults.append("extra_negatives have no meaning with the full softmax: every item competes already")
        if not self.mask_accidental_hits:
            faults.append("mask_accidental_hits = false has no meaning with the full softmax: every item competes once")
        return faults

    def _of_in_batch(self) -> list[str]:
        """Also of ``auto``, which is in-batch where an option asks for it."""
        faults = []
        if self.log_q == "corrected" and not self.mask_accidental_hits:
            faults.append(
                "log_q = 'corrected' takes a query's own item out of what was drawn; mask_accidental_hits = false leaves it "
                "in: leave one of them out"
            )
        if self.log_q == "corrected" and self.hard_negatives is not None:
            faults.append(
                "log_q = 'corrected' estimates the full softmax from all that was drawn, which the hardest negatives are not: "
                "leave hard_negatives out, or set log_q = true"
            )
        return faults

    def _of_gbce(self) -> list[str]:
        faults = []
        if self.log_q:
            faults.append("log_q corrects a softmax over what was drawn unevenly; gbce draws uniformly: leave it out")
        if self.hard_negatives is not None:
            faults.append("hard_negatives would undo the calibration of gbce, which is of uniform draws: leave it out")
        if not self.mask_accidental_hits:
            faults.append("mask_accidental_hits = false has no meaning with gbce: an item is no negative of its own query")
        if self.calibration is not None and not self.extra_negatives:
            faults.append(
                "calibration does nothing where every item competes (gbce without extra_negatives): leave it out, or say how "
                "many extra_negatives are drawn"
            )
        return faults

    def _of_bsl(self) -> list[str]:
        faults = []
        if self.log_q == "corrected":
            faults.append(
                "log_q = 'corrected' is about the positive in the sum, where bsl has none: set log_q = true, or leave it out"
            )
        if self.learn_temperature:
            faults.append("learn_temperature: bsl is no likelihood, and has no best temperature to learn: leave it out")
        if self.hard_negatives is not None:
            faults.append("hard_negatives: bsl weighs negatives by how hard they are, by its temperature: leave it out")
        if not self.mask_accidental_hits:
            faults.append("mask_accidental_hits = false has no meaning with bsl: an item is no negative of its own query")
        return faults
