"""How much better than popularity a model is, which decides whether odd vectors are a fault or only odd."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Lift"]


@dataclass(frozen=True)
class Lift:
    """A model beside popularity on the same judged rows.

    Attributes:
        metric: ``recall@100``, say.
        model: The model's figure.
        popularity: That of popularity.
        low: Low end of the paired 95% interval of the difference over users.
        high: Its high end.
    """

    metric: str
    model: float
    popularity: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the model is better beyond what the judged rows leave open."""
        return self.low > 0

    def sentence(self) -> str:
        """The figures, in a sentence."""
        return (
            f"{self.metric} is {self.model:.4f}, that of popularity {self.popularity:.4f} "
            f"(difference {self.low:+.4f} to {self.high:+.4f} over users)"
        )
