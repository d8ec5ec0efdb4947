"""What a check found: the measured evidence, why it matters, and what to change."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

__all__ = ["Finding", "Severity"]

Severity: TypeAlias = Literal["fault", "warning"]
"""A fault makes the figures or the model wrong; a warning says that something is wasted or at risk."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a run.

    Attributes:
        code: Stable name of the check, for programs: ``leakage``, say.
        severity: How bad it is.
        title: One line.
        evidence: Sentences with the figures that were measured, at least one.
        why: Why it matters.
        fix: What to change: sentences that name keys of the recipe and their values, the first one first.

    Example:
        >>> finding = Finding("leakage", "fault", "The test leaks", ("80% ...",), "Figures ...", ("split.kind",))
        >>> finding.to_json()["code"], finding.to_json()["fix"]
        ('leakage', ['split.kind'])
    """

    code: str
    severity: Severity
    title: str
    evidence: tuple[str, ...]
    why: str
    fix: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields by name; tuples are lists."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
