"""All checks of one run together: what was found, what was looked at, and what could not be looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from twotower.diagnosis.finding import Finding

__all__ = ["Diagnosis", "NotMade", "without_consequences"]

_CAUSES: Mapping[str, tuple[str, ...]] = {
    "collapsed_vectors": ("popularity_only",),
    "stuck_loss": ("collapsed_vectors", "temperature"),
    "idle_features": ("popularity_only", "collapsed_vectors", "stuck_loss", "overfitting"),
}
"""What a finding is a mere consequence of, the likeliest cause first: queries of which a model has learned nothing but
popularity are all alike; the loss does not fall where all vectors are alike, or the softmax can't tell scores apart; and what
a model has not learned, or has learned by heart, makes features look useless."""


@dataclass(frozen=True)
class NotMade:
    """Why a check could not be made, as a sentence without a full stop: what there would have to be, and is not."""

    reason: str


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a run.

    Attributes:
        findings: In the order of the checks; empty when nothing was found.
        made: Codes of the checks that were made.
        not_made: By code, why a check could not be made.
    """

    findings: tuple[Finding, ...]
    made: tuple[str, ...]
    not_made: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """For ``--json``: ``findings``, ``made`` and ``not_made``."""
        return {
            "findings": [finding.to_json() for finding in self.findings],
            "made": list(self.made),
            "not_made": dict(self.not_made),
        }


def without_consequences(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding per cause: one that another explains becomes a sentence among the evidence of that other.

    Example:
        >>> cause = Finding("collapsed_vectors", "fault", "All alike", ("cosine 1.00",), "", ())
        >>> effect = Finding("stuck_loss", "fault", "Nothing learned", ("loss 4.6",), "", ())
        >>> [(f.code, f.evidence) for f in without_consequences([cause, effect])]
        [('collapsed_vectors', ('cosine 1.00', 'in consequence, "Nothing learned": loss 4.6'))]
    """
    kept = {finding.code: finding for finding in findings}
    for code, causes in _CAUSES.items():
        cause = next((kept[name] for name in causes if name in kept), None)
        if code in kept and cause is not None:
            effect = kept.pop(code)
            sentence = f'in consequence, "{effect.title}": {effect.evidence[0]}'
            kept[cause.code] = replace(cause, evidence=(*cause.evidence, sentence))
    return tuple(kept.values())
