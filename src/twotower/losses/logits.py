"""From vectors to logits: scores, temperature, log-Q; and the checks of what a loss is given."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

__all__ = ["Precision", "check_loss_inputs", "scaled_scores", "scaled_vectors"]

Precision: TypeAlias = Literal["float32", "bfloat16"]
"""Of the products of vectors in a loss. ``"bfloat16"`` takes them of numbers of 8 bits, added up in float32: on a processor
that multiplies such numbers (AVX512-BF16, AMX) the loss takes about two thirds of the time, on any other more. Temperature,
corrections, masks, softmax and the sum over queries stay float32, and so does what comes out of a product where the kernel in C
takes it, or CUDA for a tile; out of torch's others it comes rounded."""


def scaled_scores(
    queries_BD: Tensor,
    candidates_CD: Tensor,
    temperature: float | Tensor,
    bias_C: Tensor | None = None,
    *,
    precision: Precision = "float32",
) -> Tensor:
    """Dot products of queries and candidates, divided by the temperature, plus a bias for each candidate.

    One matrix is written: the temperature is applied to the queries, and the bias (``-log_q``, ``log_counts``) enters with
    the product. Half precision is raised to float32 first, since exponentials of logits of 8 bits are useless.

    Args:
        queries_BD: Float, shape ``[B, D]``.
        candidates_CD: Float, shape ``[C, D]``.
        temperature: Above 0; a number or a scalar tensor.
        bias_C: Shape ``[C]``, or None.
        precision: See ``Precision``.

    Returns:
        Shape ``[B, C]``, float32 or float64; a new tensor that may be written to.

    Example:
        >>> import torch
        >>> scaled_scores(torch.eye(2), torch.tensor([[1.0, 2.0]]), 0.5, torch.tensor([10.0]))
        tensor([[12.],
                [14.]])
    """
    scaled_BD, wide_CD = scaled_vectors(queries_BD, candidates_CD, temperature)
    if precision == "bfloat16":
        products_BC = (scaled_BD.to(torch.bfloat16) @ wide_CD.T.to(torch.bfloat16)).to(scaled_BD.dtype)
        return products_BC if bias_C is None else products_BC + bias_C.to(scaled_BD.dtype)
    if bias_C is None:
        return scaled_BD @ wide_CD.T
    return torch.addmm(bias_C.to(scaled_BD.dtype), scaled_BD, wide_CD.T)


def scaled_vectors(queries_BD: Tensor, candidates_CD: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    """Queries divided by the temperature, and candidates, both float32 or float64; see `scaled_scores`."""
    dtype = torch.promote_types(torch.promote_types(queries_BD.dtype, candidates_CD.dtype), torch.float32)
    scaled_BD = queries_BD.to(dtype)
    if not _is_one(temperature):
        scaled_BD = scaled_BD / temperature
    return scaled_BD, candidates_CD.to(dtype)


def _is_one(temperature: float | Tensor) -> bool:
    """Whether it is fixed, and 1: a usual case that needs no pass over the queries and none over their gradient."""
    if isinstance(temperature, Tensor):
        return not temperature.requires_grad and temperature.device.type == "cpu" and float(temperature) == 1
    return temperature == 1


def check_loss_inputs(
    queries_BD: Tensor,
    candidates_CD: Tensor,
    positives_B: Tensor,
    temperature: float | Tensor,
    *,
    weights_B: Tensor | None = None,
    counts_C: Tensor | None = None,
    log_q_C: Tensor | None = None,
    padded: bool = False,
) -> None:
    """Check shapes, and on the CPU values too: on an accelerator looking at values would stall the queue.

    With ``padded`` a count may be 0.

    Raises:
        ValueError: If shapes do not fit, a positive is not a column, a count is below 1 or the temperature is not above 0.
    """
    if queries_BD.dim() != 2 or candidates_CD.dim() != 2 or queries_BD.shape[1] != candidates_CD.shape[1]:
        raise ValueError(
            f"queries [B, D] and candidates [C, D] must have the same D; came {tuple(queries_BD.shape)} and "
            f"{tuple(candidates_CD.shape)}"
        )
    num_queries, num_candidates = queries_BD.shape[0], candidates_CD.shape[0]
    for name, vector, size in (
        ("positives_B", positives_B, num_queries),
        ("weights_B", weights_B, num_queries),
        ("counts_C", counts_C, num_candidates),
        ("log_q_C", log_q_C, num_candidates),
    ):
        if vector is not None and vector.shape != (size,):
            raise ValueError(f"{name} must have shape ({size},); came {tuple(vector.shape)}")
    if positives_B.device.type == "cpu" and num_queries:
        low, high = (int(bound) for bound in positives_B.aminmax())
        if low < 0 or high >= num_candidates:
            raise ValueError(f"positives must be columns in [0, {num_candidates}); came {low} to {high}")
    least = 0 if padded else 1
    if counts_C is not None and counts_C.device.type == "cpu" and num_candidates and not float(counts_C.min()) >= least:
        column = int(counts_C.argmin())
        raise ValueError(
            f"counts must be at least {least}; came {counts_C[column].item()} for candidate {column}: leave it out"
        )
    if isinstance(temperature, Tensor):
        if temperature.dim() != 0:
            raise ValueError(f"the temperature must be a scalar; came shape {tuple(temperature.shape)}")
    elif not temperature > 0:
        raise ValueError(f"the temperature must be above 0; came {temperature}")
