"""Heads: what a model predicts of a query and a candidate beside their score, from the vectors of both."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from twotower.nn import MLP
from twotower.spec import HeadInput, HeadSpec, OrdinalHeadSpec, RegressionHeadSpec

__all__ = ["Head", "OrdinalHead", "RegressionHead", "build_head"]


_LEAST_GAP = 1e-4
"""Between the first thresholds of a level that hardly ever occurs; they lie within 40 of 0, where float32 tells 4e-6 apart."""


class Head(nn.Module):
    """Dense layers on the two vectors of a pair; abstract: `RegressionHead` and `OrdinalHead` are such.

    The vectors are those whose dot product scores: a head reads them and changes nothing about the score.

    Attributes:
        name: Of its task.
    """

    name: str

    @abstractmethod
    def forward(self, queries_BD: Tensor, candidates_BD: Tensor) -> Tensor:
        """What the head's loss is taken of, float ``[B, O]``; row ``i`` is of query ``i`` and candidate ``i``."""

    @abstractmethod
    def predict(self, outputs_BO: Tensor) -> Tensor:
        """Outcomes in the units of the table, float64 ``[B]``, from what ``forward`` gave."""

    @abstractmethod
    def targets(self, values_B: Tensor) -> Tensor:
        """What the head's loss compares ``forward`` with, ``[B]``, from outcomes in the units of the table."""


class RegressionHead(Head):
    """Predicts a number: a linear unit on top, trained on the standardised outcome.

    Predictions are put back into the units of the table and clipped to the range of the fit rows.

    Args:
        spec: Layers, moments and range.
        embedding_dim: D, the width of both vectors.
        generator: Source of the initial weights.
    """

    def __init__(self, spec: RegressionHeadSpec, embedding_dim: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.spec = spec
        self.name = spec.name
        self.layers = _layers(spec, embedding_dim, generator)

    def forward(self, queries_BD: Tensor, candidates_BD: Tensor) -> Tensor:
        """Standardised predictions, float ``[B, 1]``."""
        outputs_B1: Tensor = self.layers(_joined(self.spec.inputs, queries_BD, candidates_BD))
        return outputs_B1

    def predict(self, outputs_BO: Tensor) -> Tensor:
        """See `Head`: ``mean + scale * output``, clipped to ``[low, high]``."""
        spec = self.spec
        return (outputs_BO.squeeze(1).to("cpu", torch.float64) * spec.scale + spec.mean).clamp(spec.low, spec.high)

    def targets(self, values_B: Tensor) -> Tensor:
        """See `Head`: ``(value - mean) / scale``, float32."""
        return ((values_B.double() - self.spec.mean) / self.spec.scale).float()


class OrdinalHead(Head):
    """Predicts one of a few ordered levels: one score per pair against thresholds that ascend (McCullagh 1980).

    ``P(level > k) = sigmoid(score - threshold_k)``; only the score depends on the pair. Thresholds are the first one and the
    logarithms of the gaps, so that they ascend whatever training does; they start where a score of 0 gives the shares of the
    fit rows. The prediction is the expected level, which lies between the lowest and the highest.

    Args:
        spec: Layers and levels.
        embedding_dim: D, the width of both vectors.
        generator: Source of the initial weights.
    """

    def __init__(self, spec: OrdinalHeadSpec, embedding_dim: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.spec = spec
        self.name = spec.name
        self.layers = _layers(spec, embedding_dim, generator)
        at_most = torch.tensor(spec.shares, dtype=torch.float64).cumsum(0)[:-1]
        thresholds = torch.logit(at_most / (at_most[-1] + spec.shares[-1]))
        self.first = nn.Parameter(thresholds[:1].float())
        # two thresholds that float32 can't tell apart would make the loss of the level between them infinite
        self.log_gaps = nn.Parameter(thresholds.diff().clamp(min=_LEAST_GAP).log().float())

    def thresholds(self) -> Tensor:
        """Ascending, float ``[O]``: one fewer than there are levels."""
        return torch.cat([self.first, self.first + self.log_gaps.exp().cumsum(0)])

    def forward(self, queries_BD: Tensor, candidates_BD: Tensor) -> Tensor:
        """Cumulative logits ``score - threshold_k``, float ``[B, O]``, falling within a row."""
        scores_B1: Tensor = self.layers(_joined(self.spec.inputs, queries_BD, candidates_BD))
        return scores_B1 - self.thresholds()

    def predict(self, outputs_BO: Tensor) -> Tensor:
        """See `Head`: the lowest level, and each step between two levels times the probability of being above it."""
        levels = torch.tensor(self.spec.levels, dtype=torch.float64)
        return levels[0] + outputs_BO.to("cpu", torch.float64).sigmoid() @ levels.diff()

    def targets(self, values_B: Tensor) -> Tensor:
        """See `Head`: the number of each level, int64.

        Raises:
            ValueError: If a value is none of the levels.
        """
        levels = torch.tensor(self.spec.levels, dtype=torch.float64)
        values_B = values_B.double()
        found_B = torch.searchsorted(levels, values_B).clamp(max=len(levels) - 1)
        unknown = levels[found_B] != values_B
        if bool(unknown.any()):
            raise ValueError(f"head {self.name!r} has no level {float(values_B[unknown][0]):g}; it has {self.spec.levels}")
        return found_B


def build_head(spec: HeadSpec, embedding_dim: int, *, generator: torch.Generator) -> Head:
    """Build a head with fresh weights.

    Example:
        >>> spec = RegressionHeadSpec(name="rating", mean=3.5, scale=1.1, low=1, high=5)
        >>> head = build_head(spec, 4, generator=torch.Generator().manual_seed(0))
        >>> head.predict(torch.tensor([[0.0], [9.0]])).tolist()
        [3.5, 5.0]
    """
    if isinstance(spec, RegressionHeadSpec):
        return RegressionHead(spec, embedding_dim, generator=generator)
    return OrdinalHead(spec, embedding_dim, generator=generator)


def _layers(spec: RegressionHeadSpec | OrdinalHeadSpec, embedding_dim: int, generator: torch.Generator) -> MLP:
    return MLP(embedding_dim * len(spec.inputs), (*spec.layer_sizes, 1), activation=spec.activation, generator=generator)


def _joined(inputs: tuple[HeadInput, ...], queries_BD: Tensor, candidates_BD: Tensor) -> Tensor:
    parts = {"query": queries_BD, "candidate": candidates_BD}
    return torch.cat([queries_BD * candidates_BD if name == "product" else parts[name] for name in inputs], dim=1)
