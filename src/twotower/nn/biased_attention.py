"""Causal attention of a sequence to itself whose logits have a learned bias by time and by distance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from twotower.nn.event_times import parts

__all__ = ["biased_attention"]

_HIDDEN = -1e30


def biased_attention(
    queries_HSTE: Tensor,
    keys_HSTE: Tensor,
    values_HSTE: Tensor,
    *,
    times_BH: Tensor | None,
    buckets_STT: Tensor | None,
    distances_TH: Tensor | None,
    softmax: bool,
    scale: float,
) -> Tensor:
    """``f(scale Q K' + bias) V`` of each head and sequence, over each place and those before it.

    ``bias_ij = times[buckets_ij] + distances[i - j]``; f is the softmax over j (Vaswani et al. 2017; with the bias of Raffel
    et al. 2020) or ``SiLU``, number by number (Zhai et al. 2024, equation 2, there divided by a length).

    Args:
        queries_HSTE: ``[heads, S, T, D / heads]``.
        keys_HSTE: Likewise.
        values_HSTE: Likewise.
        times_BH: The bias of each bucket of time, ``[buckets + 1, heads]``; the last one is of pairs without a time.
            None: none.
        buckets_STT: As `pair_buckets` gives them.
        distances_TH: The bias of each distance, at least ``[T, heads]``; None: none.
        softmax: Whether f is the softmax.
        scale: What the products are multiplied by.

    Returns:
        ``[heads, S, T, D / heads]``. There is no second derivative.
    """
    found: Tensor = _BiasedAttention.apply(  # type: ignore[no-untyped-call]
        queries_HSTE, keys_HSTE, values_HSTE, times_BH, buckets_STT, distances_TH, softmax, scale
    )
    return found


class _BiasedAttention(torch.autograd.Function):
    """A few sequences at a time, so that what is computed on the way stays in the processor's cache."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        times_BH: Tensor | None,
        buckets_STT: Tensor | None,
        distances_TH: Tensor | None,
        softmax: bool,
        scale: float,
    ) -> Tensor:
        heads, num_sequences, places, _ = queries.shape
        hidden_TT = queries.new_full((places, places), _HIDDEN).triu_(1)
        scores = queries.new_empty(heads, num_sequences, places, places)
        output = torch.empty_like(queries)
        by_bucket = by_distance = None
        if times_BH is not None:  # the bias of places behind is what hides them
            by_bucket = torch.cat([times_BH, times_BH.new_full((1, heads), _HIDDEN)]).T.contiguous()
        if distances_TH is not None:
            by_distance = distances_TH.T.contiguous()[:, _distances(places, queries.device)]
        for part in parts(num_sequences, places):
            for head in range(heads):
                own = scores[head, part]
                if by_bucket is not None and buckets_STT is not None:
                    torch.index_select(by_bucket[head], 0, buckets_STT[part].flatten(), out=own.view(-1))
                else:
                    own.copy_(hidden_TT)
                if by_distance is not None:
                    own += by_distance[head]
                own.baddbmm_(queries[head, part], keys[head, part].mT, alpha=scale)
                if softmax:
                    torch.softmax(own, -1, out=own)
                torch.bmm(own if softmax else torch.nn.functional.silu(own), values[head, part], out=output[head, part])
        ctx.save_for_backward(queries, keys, values, buckets_STT, scores)
        ctx.softmax, ctx.scale = softmax, scale
        ctx.shapes = (None if times_BH is None else times_BH.shape, None if distances_TH is None else distances_TH.shape)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values, buckets_STT, scores = ctx.saved_tensors
        heads, num_sequences, places, _ = queries.shape
        gradient = gradient.contiguous()
        of_queries, of_keys, of_values = torch.empty_like(queries), torch.empty_like(keys), torch.empty_like(values)
        times_shape, distances_shape = ctx.shapes
        by_bucket = None if times_shape is None else queries.new_zeros(heads, times_shape[0] + 1)
        by_pair = None if distances_shape is None else queries.new_zeros(heads, places, places)
        for part in parts(num_sequences, places):
            for head in range(heads):
                own, of_output = scores[head, part], gradient[head, part]
                weights = own if ctx.softmax else torch.nn.functional.silu(own)
                torch.bmm(weights.mT, of_output, out=of_values[head, part])
                of_weights = torch.bmm(of_output, values[head, part].mT)
                if ctx.softmax:
                    of_scores = torch._softmax_backward_data(of_weights, own, -1, own.dtype)
                else:
                    of_scores = torch.ops.aten.silu_backward(of_weights, own)
                torch.bmm(of_scores, keys[head, part], out=of_queries[head, part])
                torch.bmm(of_scores.mT, queries[head, part], out=of_keys[head, part])
                if by_bucket is not None:
                    by_bucket[head].index_add_(0, buckets_STT[part].flatten(), of_scores.view(-1))
                if by_pair is not None:
                    by_pair[head] += of_scores.sum(0)
        of_times = None if by_bucket is None else by_bucket[:, :-1].T.contiguous()
        of_distances = None
        if by_pair is not None:
            summed = queries.new_zeros(heads, distances_shape[0])
            summed.index_add_(1, _distances(places, queries.device).flatten(), by_pair.flatten(1))
            of_distances = summed.T.contiguous()
        return (of_queries.mul_(ctx.scale), of_keys.mul_(ctx.scale), of_values, of_times, None, of_distances, None, None)


def _distances(places: int, device: torch.device) -> Tensor:
    """How far each place lies behind another, int64 ``[T, T]``; 0 for those in front."""
    order = torch.arange(places, device=device)
    return (order.unsqueeze(1) - order).clamp_(min=0)
