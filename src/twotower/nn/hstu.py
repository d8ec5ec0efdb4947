"""HSTU: attention without a softmax, biased by time and by distance, and gated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twotower.nn.event_times import Clock
from twotower.nn.sequence_encoder import POSITION_SCALE, SequenceEncoder, glorot_linear
from twotower.nn.time_reading import AttentionBias, TimeGap, bias_of, read_by_blocks
from twotower.spec import HSTUEncoderSpec, RowsColumn

__all__ = ["HSTUEncoder"]


class HSTUEncoder(SequenceEncoder):
    """Hierarchical sequential transduction units (Zhai et al. 2024, equations 1 to 3).

    For each block, with ``x`` normalised to ``n``, and all of it causal:

    - ``U, V, Q, K = SiLU(W1 n)`` (1);
    - ``(A V)_i = 1/(i + 1) sum_{j <= i} SiLU(Q_i . K_j + rab_ij) V_j`` for each head (2);
    - ``x = x + W2 (norm(A V) * U)`` (3).

    ``rab_ij`` is a bias of the head by the distance ``i - j`` and by the bucket of the time between i and j,
    ``floor(log(max(1, |seconds|)) / 0.301)``; both start at 0. No softmax: how much there is of something is kept. The paper
    divides by the longest length that there may be; here it is by the places that are read, the start among them, which depends
    on neither padding nor on what comes later, and leaves short histories as large as long ones before the norm.

    The start, positions counted from it and a norm at the end are those of `TransformerEncoder`.

    Args:
        spec: Blocks, heads, dropout, and what is read of times.
        width: D.
        max_length: The most items of a sequence.
        generator: Source of the initial values.
        request_time: Whether a state knows when the next item is asked for.
        events: What is read of each event beside its item.
    """

    def __init__(
        self,
        spec: HSTUEncoderSpec,
        width: int,
        max_length: int,
        *,
        generator: torch.Generator,
        request_time: bool = False,
        events: Sequence[RowsColumn] = (),
    ) -> None:
        super().__init__(width, max_length, reads_times=spec.reads_times, request_time=request_time, events=events)
        self.positions = nn.Parameter(torch.empty(max_length + 1, width).normal_(0, POSITION_SCALE, generator=generator))
        self.start = nn.Parameter(torch.empty(width).normal_(0, POSITION_SCALE, generator=generator))
        self.dropout = nn.Dropout(spec.dropout)
        self.blocks = nn.ModuleList(_Unit(spec, width, max_length, generator) for _ in range(spec.blocks))
        self.norm = nn.LayerNorm(width)
        self.gap = TimeGap(spec.time_buckets, width) if spec.time_gap else None
        self.buckets = spec.time_buckets if spec.relative_time else None
        self.pairs_held = 2 * spec.heads

    def states(self, items_SLD: Tensor, clock: Clock | None = None) -> Tensor:
        """See `SequenceEncoder.states`."""
        return read_by_blocks(
            items_SLD,
            clock,
            start_D=self.start,
            positions_PD=self.positions,
            gap=self.gap,
            buckets=self.buckets,
            dropout=self.dropout,
            blocks=self.blocks,
            norm=self.norm,
        )


class _Unit(nn.Module):
    def __init__(self, spec: HSTUEncoderSpec, width: int, max_length: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = spec.heads
        self.read_norm, self.attended_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.read = glorot_linear(width, 4 * width, generator)
        self.output = glorot_linear(width, width, generator)
        self.dropout = nn.Dropout(spec.dropout)
        self.bias = bias_of(spec, max_length) or AttentionBias(None, None)

    def forward(self, hidden_SLD: Tensor, buckets_STT: Tensor | None = None) -> Tensor:
        read_SLF: Tensor = F.silu(self.read(self.read_norm(hidden_SLD)))
        gates_SLD, rest_SLF = torch.split(read_SLF, [hidden_SLD.shape[2], 3 * hidden_SLD.shape[2]], dim=2)
        # [S, L, 3 D] to three times [heads, S, L, D / heads]
        by_head = rest_SLF.view(*rest_SLF.shape[:2], 3, self.heads, -1).permute(2, 3, 0, 1, 4).contiguous()
        values, queries, keys = by_head.unbind(0)
        attended = self.bias(queries, keys, values, buckets_STT, softmax=False, scale=1.0).permute(1, 2, 0, 3).flatten(2)
        read_L1 = torch.arange(1, attended.shape[1] + 1, dtype=attended.dtype, device=attended.device).unsqueeze(1)
        added_SLD: Tensor = self.output(self.dropout(self.attended_norm(attended / read_L1) * gates_SLD))
        return hidden_SLD + added_SLD
