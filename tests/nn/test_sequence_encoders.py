"""Encoders against slow ones in float64: values, gradients, and that a beginning of a sequence knows nothing of its end."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from twotower.nn import AttentionEncoder, GRUEncoder, SequenceEncoder, TransformerEncoder, build_encoder
from twotower.nn import sequence_encoder as module
from twotower.spec import AttentionEncoderSpec, EncoderSpec, GRUEncoderSpec, TransformerEncoderSpec
from twotower.types import Prefixes, Ragged

SPECS: list[EncoderSpec] = [
    TransformerEncoderSpec(dropout=0.0),
    TransformerEncoderSpec(blocks=1, heads=1, hidden=1, dropout=0.0, gates=True),
    GRUEncoderSpec(dropout=0.0),
    GRUEncoderSpec(layers=2, dropout=0.0),
    AttentionEncoderSpec(),
    AttentionEncoderSpec(hidden=3),
]
WIDTH, LONGEST = 4, 9


def made(spec: EncoderSpec) -> SequenceEncoder:
    encoder = build_encoder(spec, WIDTH, LONGEST, generator=torch.Generator().manual_seed(3)).double()
    with torch.no_grad():  # starts and positions that can be told apart
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64))
    return encoder


def shared() -> tuple[Tensor, Prefixes]:
    """Two sequences of 9 and 5 items with their beginnings, in no order, and one without items."""
    vectors_VD = torch.randn(14, WIDTH, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    sequences = Ragged(torch.arange(14), torch.tensor([0, 9, 14, 14]))
    of = torch.tensor([0] * 10 + [1] * 6 + [2])
    lengths = torch.cat([torch.arange(10), torch.arange(6), torch.zeros(1, dtype=torch.int64)])
    order = torch.randperm(17, generator=torch.Generator().manual_seed(6))
    return vectors_VD, Prefixes(sequences, of[order], lengths[order])


def transformer(encoder: TransformerEncoder, items_LD: Tensor) -> Tensor:
    """The last state of one sequence, with softmax and norms written out."""

    def norm(x: Tensor, layer: torch.nn.LayerNorm) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        return centred / (centred.square().mean(1, keepdim=True) + layer.eps).sqrt() * layer.weight + layer.bias

    x = torch.cat([encoder.start[None], items_LD * math.sqrt(WIDTH)]) + encoder.positions[: len(items_LD) + 1]
    block: Any
    for block in encoder.blocks:
        normal = norm(x, block.attention_norm)
        read = normal @ block.read.weight.T + block.read.bias
        heads = []
        size = WIDTH // block.heads
        for head in range(block.heads):
            q, k, v = (read[:, part * WIDTH + head * size : part * WIDTH + (head + 1) * size] for part in range(3))
            scores = q @ k.T / math.sqrt(size)
            rows = []
            for place in range(len(x)):
                weights = scores[place, : place + 1].exp()
                rows.append(weights / weights.sum() @ v[: place + 1])
            heads.append(torch.stack(rows))
        added = torch.cat(heads, 1) @ block.attended.weight.T + block.attended.bias
        if block.gates:
            added = added * torch.sigmoid(normal @ block.gates[0].weight.T + block.gates[0].bias)
        x = x + added
        normal = norm(x, block.hidden_norm)
        hidden = normal @ block.hidden.weight.T + block.hidden.bias
        hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
        added = hidden @ block.output.weight.T + block.output.bias
        if block.gates:
            added = added * torch.sigmoid(normal @ block.gates[1].weight.T + block.gates[1].bias)
        x = x + added
    return norm(x, encoder.norm)[-1]


def gru(encoder: GRUEncoder, items_LD: Tensor) -> Tensor:
    states: list[Any] = list(encoder.start)
    for item_D in items_LD:
        given = item_D * math.sqrt(WIDTH)
        for layer in range(encoder.layers):
            weight = {
                name: getattr(encoder.units, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            }
            of_input = (weight["weight_ih"] @ given + weight["bias_ih"]).chunk(3)
            of_state = (weight["weight_hh"] @ states[layer] + weight["bias_hh"]).chunk(3)
            reset, update = ((a + b).sigmoid() for a, b in zip(of_input[:2], of_state[:2], strict=True))
            new = torch.tanh(of_input[2] + reset * of_state[2])
            states[layer] = given = (1 - update) * new + update * states[layer]
    found: Tensor = states[-1]
    return found


def attention(encoder: AttentionEncoder, items_LD: Tensor) -> Tensor:
    read = [encoder.start, *items_LD]
    weights = []
    for item_D in read:
        hidden = torch.tanh(encoder.hidden.weight @ (item_D * math.sqrt(WIDTH)) + encoder.hidden.bias)
        score = encoder.score.weight[0] @ hidden + encoder.score.bias[0]
        weights.append((8 * torch.tanh(score / 8)).exp())
    total = sum(weights[1:], weights[0])
    return torch.stack([weight * item_D for weight, item_D in zip(weights, read, strict=True)]).sum(0) / total


def slow(encoder: SequenceEncoder) -> Callable[[Tensor], Tensor]:
    if isinstance(encoder, TransformerEncoder):
        return lambda items_LD: transformer(encoder, items_LD)
    if isinstance(encoder, GRUEncoder):
        return lambda items_LD: gru(encoder, items_LD)
    assert isinstance(encoder, AttentionEncoder)
    return lambda items_LD: attention(encoder, items_LD)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_values_and_gradients_of_every_beginning_are_those_of_a_slow_encoder(spec: EncoderSpec) -> None:
    encoder, (vectors_VD, column) = made(spec), shared()
    weights_B = torch.randn(column.num_rows, 1, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    given_VD = vectors_VD.clone().requires_grad_()
    found_BD = encoder(given_VD, column)
    (found_BD * weights_B).sin().sum().backward()
    gradients = {name: parameter.grad for name, parameter in encoder.named_parameters()}
    encoder.zero_grad(set_to_none=True)

    own_VD = vectors_VD.clone().requires_grad_()
    starts = column.sequences.offsets[column.sequence_of].tolist()
    rows = [own_VD[start : start + length] for start, length in zip(starts, column.lengths.tolist(), strict=True)]
    expected_BD = torch.stack([slow(encoder)(row) for row in rows])
    (expected_BD * weights_B).sin().sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found_BD, expected_BD, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(given_VD.grad, own_VD.grad, rtol=1e-9, atol=1e-12)
    for name, parameter in encoder.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-9, atol=1e-12, msg=f"gradient of {name}")


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_what_comes_later_changes_nothing(spec: EncoderSpec) -> None:
    encoder, (vectors_VD, column) = made(spec), shared()
    before_BD = encoder(vectors_VD, column)
    vectors_VD[6:9] = 100 * torch.randn(3, WIDTH, dtype=torch.float64)
    after_BD = encoder(vectors_VD, column)
    early = (column.sequence_of != 0) | (column.lengths <= 6)
    torch.testing.assert_close(after_BD[early], before_BD[early], rtol=1e-12, atol=0)
    assert not torch.isclose(after_BD[~early], before_BD[~early]).all(dim=1).any()


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_without_gradients_parts_give_the_same(spec: EncoderSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, (vectors_VD, column) = made(spec), shared()
    expected_BD = encoder(vectors_VD, column).detach()
    for numbers in (1, 700, 2**25):
        monkeypatch.setattr(module, "_NUMBERS_AT_ONCE", numbers)
        with torch.inference_mode():
            torch.testing.assert_close(encoder(vectors_VD, column), expected_BD, rtol=1e-10, atol=1e-12)
            ragged = column.ragged()
            torch.testing.assert_close(encoder(vectors_VD[ragged.values], ragged), expected_BD, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_nothing_to_read(spec: EncoderSpec) -> None:
    encoder = made(spec)
    empty = Ragged(torch.empty(0, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    none = Ragged(torch.empty(0, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    for context in (torch.enable_grad(), torch.inference_mode()):
        with context:
            states_BD = encoder(torch.empty(0, WIDTH, dtype=torch.float64), empty)
            assert torch.equal(states_BD[0], states_BD[1])
            assert bool((states_BD != 0).any())
            assert encoder(torch.empty(0, WIDTH, dtype=torch.float64), none).shape == (0, WIDTH)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_more_than_it_was_made_for_is_refused(spec: EncoderSpec) -> None:
    column = Ragged(torch.arange(10), torch.tensor([0, 10]))
    with pytest.raises(ValueError, match=r"a sequence may have 9 items \(came: 10\); give its latest ones"):
        made(spec)(torch.zeros(10, WIDTH, dtype=torch.float64), column)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_initial_weights_are_the_generators_alone(spec: EncoderSpec) -> None:
    torch.manual_seed(1)
    one = build_encoder(spec, WIDTH, LONGEST, generator=torch.Generator().manual_seed(3))
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    other = build_encoder(spec, WIDTH, LONGEST, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), state)
    for first, second in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("spec", [TransformerEncoderSpec(dropout=0.5), GRUEncoderSpec(dropout=0.5)], ids=repr)
def test_dropout_is_for_training(spec: EncoderSpec) -> None:
    encoder, (vectors_VD, column) = made(spec), shared()
    encoder.eval()
    assert torch.equal(encoder(vectors_VD, column), encoder(vectors_VD, column))
    encoder.train()
    assert not torch.equal(encoder(vectors_VD, column), encoder(vectors_VD, column))


def test_attention_weighs_no_item_away() -> None:
    encoder = made(AttentionEncoderSpec()).float()
    states_SLD = encoder.states(1e6 * torch.randn(2, 9, WIDTH))
    assert bool(states_SLD.isfinite().all())


def test_what_a_block_adds_is_dropped_in_both_halves() -> None:
    encoder: Any = made(TransformerEncoderSpec(blocks=1, dropout=0.5))
    block, items_SLD = encoder.blocks[0], torch.randn(2, 4, WIDTH, dtype=encoder.start.dtype)
    encoder.train()
    with torch.no_grad():
        for half, other in ((block.attended, block.output), (block.output, block.attended)):
            weight, bias = other.weight.clone(), other.bias.clone()
            other.weight.zero_(), other.bias.zero_()  # what is left to be dropped is of one half
            assert float(half.weight.abs().sum()) > 0
            assert not torch.equal(block(items_SLD), block(items_SLD))
            other.weight.copy_(weight), other.bias.copy_(bias)
