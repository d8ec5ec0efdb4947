"""A softmax that is too flat or too sharp: the temperature."""

from __future__ import annotations

from dataclasses import dataclass

from twotower.diagnosis.finding import Finding

__all__ = ["SoftmaxScale", "check_temperature"]

_FACTOR = 4.0
"""How far off a temperature must be, as a factor. Dropout alone makes a sound model too flat by up to 2, training past the
best epoch too sharp by up to 2."""
_GAIN = 0.02
"""Least part of the loss that the better temperature takes off: else the curve is flat, and so is the finding."""
_SURE = 0.9
"""Mean of the largest probability from which a softmax counts as saturated: the gradient of nearly all rows is gone."""


@dataclass(frozen=True)
class SoftmaxScale:
    """The loss of a trained model at other temperatures, the vectors being as they are.

    Attributes:
        temperature: What scores are divided by.
        learned: Whether it was learned.
        normalised: Whether vectors have length 1, so that scores are in [-1, 1] and the temperature alone sets their scale.
        factors: Ascending factors of the temperature, 1 among them.
        train: Loss on train rows, per row, at each factor.
        held_out: The same on rows that the model was not trained on; None where there are none.
        confidence: Mean over train rows of the largest probability, in (0, 1].
        entropy: Mean over train rows of the softmax's entropy over its largest value, in [0, 1].
    """

    temperature: float
    learned: bool
    normalised: bool
    factors: tuple[float, ...]
    train: tuple[float, ...]
    held_out: tuple[float, ...] | None
    confidence: float
    entropy: float


def check_temperature(evidence: SoftmaxScale) -> Finding | None:
    """Find a temperature that is off by a factor of four and more.

    Too high: train rows and held-out rows alike would have a lower loss at a quarter of it. Too low: held-out rows would have a
    lower loss at four times the temperature, and so would train rows, or nearly every train row has all its probability on one
    candidate. A temperature of 1 and more under vectors of free length is never too low: then the length was learned, which is
    overfitting.
    """
    curves = [evidence.train] if evidence.held_out is None else [evidence.train, evidence.held_out]
    best = [_best(evidence.factors, curve) for curve in curves]
    shown = "; ".join(
        f"on {name} rows the loss is {curve[evidence.factors.index(1.0)]:.3f}, and at {evidence.temperature * factor:.3g} "
        f"it is {min(curve):.3f}"
        for name, curve, factor in zip(("train", "held-out"), curves, best, strict=False)
    )
    state = (
        f"the temperature is {evidence.temperature:.3g} ({'learned' if evidence.learned else 'fixed'}), the largest "
        "probability "
        f"is {evidence.confidence:.3f} on average, the entropy {evidence.entropy:.0%} of the largest possible"
    )
    if all(factor <= 1 / _FACTOR for factor in best) and all(_gain(evidence.factors, curve) >= _GAIN for curve in curves):
        wanted = evidence.temperature * best[-1]
        return Finding(
            code="temperature",
            severity="fault",
            title="The temperature is too high: the softmax is flat",
            evidence=(state, shown),
            why="A flat softmax treats all negatives alike: the gradient of the hard ones, which decide who is among the "
            "first, "
            "drowns in that of the easy ones.",
            fix=(
                f"loss.temperature = {wanted:.2g}, or loss.learn_temperature = true",
                *(("model.l2_normalise = false, so that the length of the vectors is learned",) if evidence.normalised else ()),
            ),
        )
    sharp = [factor >= _FACTOR and _gain(evidence.factors, curve) >= _GAIN for factor, curve in zip(best, curves, strict=True)]
    learned_by_heart = evidence.held_out is not None and sharp[-1] and evidence.confidence >= _SURE
    if (all(sharp) or learned_by_heart) and (evidence.temperature < 1 or evidence.normalised):
        return Finding(
            code="temperature",
            severity="fault",
            title="The temperature is too low: the softmax is saturated",
            evidence=(state, shown),
            why="Where one candidate has all the probability, the gradient is gone: train rows are learned by heart, and "
            "nothing "
            "is learned of the items around them.",
            fix=(f"loss.temperature = {evidence.temperature * best[-1]:.2g}, or loss.learn_temperature = true",),
        )
    return None


def _best(factors: tuple[float, ...], losses: tuple[float, ...]) -> float:
    return factors[losses.index(min(losses))]


def _gain(factors: tuple[float, ...], losses: tuple[float, ...]) -> float:
    now = losses[factors.index(1.0)]
    return (now - min(losses)) / now if now > 0 else 0.0
