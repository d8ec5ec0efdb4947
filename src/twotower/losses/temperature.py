"""The temperature of the softmax: what scores are divided by."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["Temperature"]


class Temperature(nn.Module):
    """A temperature, fixed or learned; ``forward`` divides by it.

    Low temperatures sharpen the softmax and weigh hard negatives more. Towers that give vectors of length 1 need one well
    below 1, since their scores are in [-1, 1].

    A learned temperature is ``minimum + exp(log_excess)``: positive, above its minimum, and never stuck there, as
    a clipped one would be.

    Args:
        initial: The value, or the one that learning starts from; above ``minimum``.
        learned: Whether it is a parameter (``log_excess``, one number) or a buffer (``fixed``).
        minimum: At least 0. The learned value stays above it.

    Raises:
        ValueError: If ``initial`` is not a finite number above ``minimum``, or ``minimum`` is negative.

    Example:
        >>> import torch
        >>> Temperature(0.5)(torch.tensor([1.0, 3.0]))
        tensor([2., 6.])
        >>> [name for name, _ in Temperature(0.5, learned=True).named_parameters()]
        ['log_excess']
    """

    def __init__(self, initial: float, *, learned: bool = False, minimum: float = 0.0) -> None:
        super().__init__()
        if not 0 <= minimum < initial < math.inf:
            raise ValueError(
                f"a temperature must be finite and above its minimum, which is at least 0; came {initial}, {minimum}"
            )
        self.learned = learned
        self.minimum = minimum
        if learned:
            self.log_excess = nn.Parameter(torch.tensor(math.log(initial - minimum)))
        else:
            self.register_buffer("fixed", torch.tensor(float(initial)))

    def value(self) -> Tensor:
        """The temperature now: a scalar, differentiable if it is learned."""
        if self.learned:
            return self.log_excess.exp() + self.minimum
        return self.get_buffer("fixed")

    def forward(self, scores: Tensor) -> Tensor:
        """Divide by the temperature; any shape."""
        return scores / self.value()

    def extra_repr(self) -> str:
        return f"{self.value().item():.4g}, learned={self.learned}, minimum={self.minimum:g}"
