"""Encoders that read when events were, against loops in float64: values, gradients, and what a state must not know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from twotower.nn import SequenceEncoder, build_encoder
from twotower.nn import event_times as times_module
from twotower.nn import sequence_encoder as module
from twotower.spec import (
    AttentionEncoderSpec,
    EncoderSpec,
    GRUEncoderSpec,
    HSTUEncoderSpec,
    RowsColumn,
    TransformerEncoderSpec,
)
from twotower.types import Events, Prefixes, Ragged

WIDTH, LONGEST = 4, 9
SPECS: list[TransformerEncoderSpec | HSTUEncoderSpec] = [
    HSTUEncoderSpec(dropout=0.0),
    HSTUEncoderSpec(blocks=3, heads=1, dropout=0.0, time_gap=True, relative_position=False, time_buckets=20),
    HSTUEncoderSpec(heads=4, dropout=0.0, relative_time=False, relative_position=False),
    TransformerEncoderSpec(dropout=0.0, relative_time=True),
    TransformerEncoderSpec(blocks=1, heads=4, dropout=0.0, relative_position=True),
    TransformerEncoderSpec(blocks=1, dropout=0.0, relative_time=True, relative_position=True, time_gap=True, time_buckets=10),
    TransformerEncoderSpec(dropout=0.0, time_gap=True, gates=True),
]
CASES = [(spec, requested) for spec in SPECS for requested in ((False, True) if spec.reads_times else (False,))]
RATING = RowsColumn(name="rating", vocabulary_size=5)
PLACE = RowsColumn(name="place", vocabulary_size=3)


def drawn(shape: Sequence[int], seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(spec: EncoderSpec, requested: bool = False, events: Sequence[RowsColumn] = ()) -> Any:
    """With weights that can be told apart, biases and tables too, which start at 0."""
    generator = torch.Generator().manual_seed(3)
    encoder = build_encoder(spec, WIDTH, LONGEST, generator=generator, request_time=requested, events=events).double()
    with torch.no_grad():
        for at, parameter in enumerate(encoder.parameters()):
            parameter.add_(0.3 * drawn(parameter.shape, 10 + at))
    return encoder


def shared(*, ratings: bool = False) -> tuple[Tensor, Events]:
    """Two sequences of 9 and 5 events with their beginnings, in no order, and one without; seconds to decades apart."""
    sequences = Ragged(torch.arange(14), torch.tensor([0, 9, 14, 14]))
    of = torch.tensor([0] * 10 + [1] * 6 + [2])
    lengths = torch.cat([torch.arange(10), torch.arange(6), torch.zeros(1, dtype=torch.int64)])
    order = torch.randperm(17, generator=torch.Generator().manual_seed(6))
    first = torch.tensor([0, 0, 1, 7, 60, 90, 4_000, 90_000, 90_001]) + 1_700_000_000
    times = torch.cat([first, torch.tensor([5, 6, 1_000, 10**6, 2 * 10**9])])
    asked = torch.tensor([1_700_090_005, 2 * 10**9 + 50, 77])
    columns = {"rating": torch.arange(14) % 5, "place": torch.arange(14) % 3} if ratings else {}
    return drawn((14, WIDTH), 5), Events(Prefixes(sequences, of[order], lengths[order]), times, asked, columns)


def bucket(seconds: float, count: int) -> int:
    return min(count - 1, math.floor(math.log(max(1.0, abs(seconds))) / 0.301))


def norm(x: Tensor, layer: Any) -> Tensor:
    centred = x - x.mean()
    found: Tensor = centred / (centred.square().mean() + layer.eps).sqrt() * layer.weight + layer.bias
    return found


def slow(encoder: Any, spec: Any, items: Tensor, times: list[int], asked: int, requested: bool) -> Tensor:
    """The last state of one sequence, number by number."""
    size = len(items)
    count = spec.time_buckets

    def known(i: int) -> int:
        return (times[i] if i < size else asked) if requested else times[i - 1]

    xs = []
    for i in range(size + 1):
        x = (encoder.start if i == 0 else items[i - 1] * math.sqrt(WIDTH)) + encoder.positions[i]
        if spec.time_gap:
            since = count
            if requested and i > 0:
                since = bucket(known(i) - times[i - 1], count)
            elif not requested and i > 1:
                since = bucket(times[i - 1] - times[i - 2], count)
            x = x + encoder.gap.table[since]
        xs.append(x)

    def bias(block: Any, i: int, j: int, head: int) -> Tensor:
        found = torch.zeros((), dtype=torch.float64)
        if spec.relative_time:
            between = count if i == 0 or j == 0 else bucket(known(i) - times[j - 1], count)
            found = found + block.bias.times[between, head]
        if spec.relative_position:
            found = found + block.bias.distances[i - j, head]
        return found

    step = unit if spec.kind == "hstu" else transformed
    for block in encoder.blocks:
        xs = [step(block, xs, i, bias) for i in range(size + 1)]
    return norm(xs[-1], encoder.norm)


def unit(block: Any, xs: list[Tensor], i: int, bias: Any) -> Tensor:
    reads = [block.read.weight @ norm(x, block.read_norm) + block.read.bias for x in xs]
    u, v, q, k = zip(*((read * torch.sigmoid(read)).split(WIDTH) for read in reads), strict=True)
    heads, each = [], WIDTH // block.heads
    for head in range(block.heads):
        of = slice(head * each, (head + 1) * each)
        total = torch.zeros(each, dtype=torch.float64)
        for j in range(i + 1):
            score = (q[i][of] * k[j][of]).sum() + bias(block, i, j, head)
            total = total + score * torch.sigmoid(score) * v[j][of]
        heads.append(total / (i + 1))
    gated = norm(torch.cat(heads), block.attended_norm) * u[i]
    found: Tensor = xs[i] + block.output.weight @ gated + block.output.bias
    return found


def transformed(block: Any, xs: list[Tensor], i: int, bias: Any) -> Tensor:
    normal = [norm(x, block.attention_norm) for x in xs]
    q, k, v = zip(*((block.read.weight @ x + block.read.bias).split(WIDTH) for x in normal), strict=True)
    heads, each = [], WIDTH // block.heads
    for head in range(block.heads):
        of = slice(head * each, (head + 1) * each)
        weights = [((q[i][of] * k[j][of]).sum() / math.sqrt(each) + bias(block, i, j, head)).exp() for j in range(i + 1)]
        heads.append(torch.stack([weight * v[j][of] for j, weight in enumerate(weights)]).sum(0) / torch.stack(weights).sum())
    gates: list[Any] = [1.0, 1.0]
    if block.gates:
        gates[0] = torch.sigmoid(block.gates[0].weight @ normal[i] + block.gates[0].bias)
    middle = xs[i] + (block.attended.weight @ torch.cat(heads) + block.attended.bias) * gates[0]
    read = norm(middle, block.hidden_norm)
    if block.gates:
        gates[1] = torch.sigmoid(block.gates[1].weight @ read + block.gates[1].bias)
    hidden = block.hidden.weight @ read + block.hidden.bias
    hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
    found: Tensor = middle + (block.output.weight @ hidden + block.output.bias) * gates[1]
    return found


def all_slow(encoder: Any, spec: Any, vectors_VD: Tensor, column: Events, requested: bool) -> Tensor:
    assert isinstance(column.items, Prefixes)
    assert column.times is not None
    assert column.asked is not None
    offsets, found = column.items.sequences.offsets.tolist(), []
    for of, length in zip(column.items.sequence_of.tolist(), column.items.lengths.tolist(), strict=True):
        start, end = offsets[of], offsets[of + 1]
        times = column.times[start : start + length].tolist()
        asked = int(column.times[start + length]) if start + length < end else int(column.asked[of])
        found.append(slow(encoder, spec, vectors_VD[start : start + length], times, asked, requested))
    return torch.stack(found)


@pytest.mark.parametrize(("spec", "requested"), CASES, ids=repr)
def test_values_and_gradients_of_every_beginning_are_those_of_loops(
    spec: TransformerEncoderSpec | HSTUEncoderSpec, requested: bool
) -> None:
    encoder, (vectors_VD, column) = made(spec, requested), shared()
    weights_B = drawn((17, 1), 7)
    given_VD = vectors_VD.clone().requires_grad_()
    found_BD = encoder(given_VD, column)
    (found_BD * weights_B).sin().sum().backward()
    gradients = {name: parameter.grad for name, parameter in encoder.named_parameters()}
    encoder.zero_grad(set_to_none=True)

    own_VD = vectors_VD.clone().requires_grad_()
    expected_BD = all_slow(encoder, spec, own_VD, column, requested)
    (expected_BD * weights_B).sin().sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found_BD, expected_BD, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(given_VD.grad, own_VD.grad, rtol=1e-9, atol=1e-12)
    for name, parameter in encoder.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-9, atol=1e-12, msg=f"gradient of {name}")


@pytest.mark.parametrize(("spec", "requested"), CASES, ids=repr)
def test_alone_together_in_parts_and_as_prefixes_it_is_the_same(
    spec: EncoderSpec, requested: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, (vectors_VD, column) = made(spec, requested), shared()
    expected_BD = encoder(vectors_VD, column).detach()
    for at_once, pairs in ((1, 1), (900, 250), (2**25, 2**17)):
        monkeypatch.setattr(module, "_NUMBERS_AT_ONCE", at_once)
        monkeypatch.setattr(times_module, "_PAIRS_AT_ONCE", pairs)
        ragged = column.ragged()
        assert isinstance(ragged.items, Ragged)
        for context in (torch.enable_grad(), torch.inference_mode()):
            with context:
                found_BD = encoder(vectors_VD, column)
                torch.testing.assert_close(found_BD, expected_BD, rtol=1e-10, atol=1e-12)
                each_BD = encoder(vectors_VD[ragged.items.values], ragged)
                torch.testing.assert_close(each_BD, expected_BD, rtol=1e-10, atol=1e-12)
    for row in range(17):  # without others, and so without padding
        alone = column.take(torch.tensor([row]))
        assert isinstance(alone.items, Ragged)
        found_1D = encoder(vectors_VD[alone.items.values], alone)
        torch.testing.assert_close(found_1D[0], expected_BD[row], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("spec", "requested"), CASES, ids=repr)
def test_later_events_and_their_times_change_nothing(spec: EncoderSpec, requested: bool) -> None:
    encoder, (vectors_VD, column) = made(spec, requested, [RATING]), shared(ratings=True)
    assert isinstance(column.items, Prefixes)
    assert column.times is not None
    assert column.asked is not None
    before_BD = encoder(vectors_VD, column)
    own = (column.items.sequence_of == 0).nonzero().flatten()
    by_length = own[column.items.lengths[own].argsort()]

    def changed(times: Tensor, ratings: Tensor, asked: Tensor, vectors: Tensor) -> list[int]:
        after_BD = encoder(vectors, column._replace(times=times, columns={"rating": ratings}, asked=asked))
        other = torch.ones(17, dtype=torch.bool)
        other[own] = False
        torch.testing.assert_close(after_BD[other], before_BD[other], rtol=1e-12, atol=1e-14)
        same = torch.isclose(after_BD, before_BD, rtol=1e-12, atol=1e-14).all(1)
        return [length for length, row in enumerate(by_length.tolist()) if not same[row]]

    times, asked, ratings, vectors = column.times, column.asked, column.columns["rating"], vectors_VD
    later = vectors.clone()
    later[6, 0] += 1  # the seventh event is known from state 7 on
    assert changed(times, ratings, asked, later) == [7, 8, 9]
    rated = ratings.clone()
    rated[6] = (rated[6] + 1) % 5
    assert changed(times, rated, asked, vectors) == [7, 8, 9]
    moved = times.clone()
    moved[2] += 4  # between its neighbours; as the time of a request it is known one state earlier
    reads = getattr(spec, "reads_times", False)
    found = changed(moved, ratings, asked, vectors)
    assert found == ([] if not reads else list(range(2 if requested else 3, 10)))
    assert changed(times, ratings, asked + torch.tensor([9, 0, 0]), vectors) == ([9] if requested else [])


@pytest.mark.parametrize(("spec", "requested"), CASES, ids=repr)
def test_only_differences_of_times_count(spec: EncoderSpec, requested: bool) -> None:
    encoder, (vectors_VD, column) = made(spec, requested), shared()
    assert column.times is not None
    assert column.asked is not None
    expected_BD = encoder(vectors_VD, column)
    for shift in (-1_000_000_000, 86_400 * 365):
        moved = column._replace(times=column.times + shift, asked=column.asked + shift)
        assert torch.equal(encoder(vectors_VD, moved), expected_BD)
    floats = column._replace(times=column.times.double(), asked=column.asked.double())
    assert torch.equal(encoder(vectors_VD, floats), expected_BD)


@pytest.mark.parametrize("spec", [*SPECS, GRUEncoderSpec(dropout=0.0), AttentionEncoderSpec()], ids=repr)
def test_columns_of_events_are_added_to_their_items(spec: EncoderSpec) -> None:
    encoder, (vectors_VD, column) = made(spec, events=[RATING, PLACE]), shared(ratings=True)
    rating_RD, place_RD = encoder.events.tables
    added_VD = rating_RD[column.columns["rating"]] + place_RD[column.columns["place"]]
    plain = build_encoder(spec, WIDTH, LONGEST, generator=torch.Generator().manual_seed(3)).double()
    plain.load_state_dict({name: value for name, value in encoder.state_dict().items() if not name.startswith("events.")})
    torch.testing.assert_close(encoder(vectors_VD, column), plain(vectors_VD + added_VD, column))
    encoder(vectors_VD, column).sum().backward()
    assert bool((rating_RD.grad != 0).any())
    assert bool((place_RD.grad != 0).any())
    with torch.inference_mode():
        torch.testing.assert_close(encoder(vectors_VD, column), plain(vectors_VD + added_VD, column))


def test_what_is_missing_is_refused() -> None:
    vectors_VD, column = shared()
    timed, asked = made(TransformerEncoderSpec(relative_time=True)), made(HSTUEncoderSpec(), True)
    for given in (column.items, column._replace(times=None)):
        with pytest.raises(ValueError, match="reads when events were: give times"):
            timed(vectors_VD, given)
    with pytest.raises(ValueError, match="reads when the next item is asked for: give asked"):
        asked(vectors_VD, column._replace(asked=None))
    with pytest.raises(ValueError, match="columns of events that did not come: 'rating'"):
        made(GRUEncoderSpec(), events=[RATING])(vectors_VD, column)
    for spec in (GRUEncoderSpec(), AttentionEncoderSpec(), TransformerEncoderSpec()):
        with pytest.raises(ValueError, match="does not read times"):
            made(spec, True)


def test_nothing_to_read() -> None:
    empty = Ragged(torch.empty(0, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    for spec, requested in CASES:
        encoder = made(spec, requested)
        column = Events(empty, torch.empty(0, dtype=torch.int64), torch.tensor([5, 10**9]))
        for context in (torch.enable_grad(), torch.inference_mode()):
            with context:
                found_BD = encoder(torch.empty(0, WIDTH, dtype=torch.float64), column)
                assert torch.equal(found_BD[0], found_BD[1])  # of the first request nothing is known, its time included


def test_a_bias_and_a_gap_start_as_if_they_were_not_there() -> None:
    vectors_VD, column = shared()
    plain = build_encoder(TransformerEncoderSpec(dropout=0.0), WIDTH, LONGEST, generator=torch.Generator().manual_seed(3))
    spec = TransformerEncoderSpec(dropout=0.0, relative_time=True, relative_position=True, time_gap=True)
    timed = build_encoder(spec, WIDTH, LONGEST, generator=torch.Generator().manual_seed(3), request_time=True, events=[])
    torch.testing.assert_close(timed.double()(vectors_VD, column), plain.double()(vectors_VD, column))


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_dropout_is_for_training(spec: EncoderSpec) -> None:
    encoder, (vectors_VD, column) = made(spec.model_copy(update={"dropout": 0.5})), shared()
    encoder.eval()
    assert torch.equal(encoder(vectors_VD, column), encoder(vectors_VD, column))
    encoder.train()
    assert not torch.equal(encoder(vectors_VD, column), encoder(vectors_VD, column))


@pytest.mark.parametrize(
    ("spec", "in_a_block"),
    [(HSTUEncoderSpec(dropout=0.5), 1), (TransformerEncoderSpec(dropout=0.5, relative_time=True), 2)],
    ids=repr,
)
def test_dropout_is_on_what_is_read_and_on_what_each_block_adds(spec: EncoderSpec, in_a_block: int) -> None:
    encoder, (vectors_VD, column) = made(spec), shared()
    encoder.train()
    places = [encoder.dropout, *(block.dropout for block in encoder.blocks)]
    for only in places:
        for place in places:
            place.p = 0.5 if place is only else 0.0
        calls: list[Tensor] = []
        handle = only.register_forward_hook(lambda _, given, made, calls=calls: calls.append(made != given[0]))
        assert not torch.equal(encoder(vectors_VD, column), encoder(vectors_VD, column))
        handle.remove()
        assert len(calls) == 2 * (1 if only is encoder.dropout else in_a_block)
        assert all(bool(dropped.any()) for dropped in calls)


def test_as_many_sequences_are_read_at_once_as_there_is_room_for_their_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    four = Ragged(torch.zeros(36, dtype=torch.int64), torch.arange(5) * 9)
    column = Events(four, torch.arange(36), torch.full((4,), 100))
    # ten places a sequence: each of 12 copies of its width, and of two numbers a head for each place
    room = 10 * (12 * WIDTH + 2 * 4 * 10)
    plain, timed = TransformerEncoderSpec(heads=4), TransformerEncoderSpec(heads=4, relative_time=True)
    for spec, at_once, expected in (
        (HSTUEncoderSpec(heads=4), 2 * room, [2, 2]),
        (timed, 2 * room, [2, 2]),
        (timed, 2 * room - 1, [1, 1, 1, 1]),
        (plain, 2 * room, [4]),
    ):
        monkeypatch.setattr(module, "_NUMBERS_AT_ONCE", at_once)
        encoder = made(spec).eval()
        read: list[int] = []
        states = encoder.states
        encoder.states = lambda items, clock=None, states=states, read=read: read.append(len(items)) or states(items, clock)
        with torch.inference_mode():
            encoder(drawn((36, WIDTH), 5), column)
        assert read == expected


SHAPES: list[tuple[EncoderSpec, dict[str, tuple[int, ...]]]] = [
    (
        TransformerEncoderSpec(
            blocks=3, heads=4, hidden=5, gates=True, relative_time=True, relative_position=True, time_buckets=7
        ),
        {
            "positions": (10, 4),
            "start": (4,),
            "norm.weight": (4,),
            "norm.bias": (4,),
            **{
                f"blocks.{at}.{name}": shape
                for at in range(3)
                for name, shape in {
                    "attention_norm.weight": (4,),
                    "attention_norm.bias": (4,),
                    "hidden_norm.weight": (4,),
                    "hidden_norm.bias": (4,),
                    "read.weight": (12, 4),
                    "read.bias": (12,),
                    "attended.weight": (4, 4),
                    "attended.bias": (4,),
                    "hidden.weight": (20, 4),
                    "hidden.bias": (20,),
                    "output.weight": (4, 20),
                    "output.bias": (4,),
                    "gates.0.weight": (4, 4),
                    "gates.0.bias": (4,),
                    "gates.1.weight": (4, 4),
                    "gates.1.bias": (4,),
                    "bias.times": (8, 4),
                    "bias.distances": (10, 4),
                }.items()
            },
        },
    ),
    (
        HSTUEncoderSpec(blocks=3, heads=4, time_gap=True, time_buckets=9),
        {
            "positions": (10, 4),
            "start": (4,),
            "norm.weight": (4,),
            "norm.bias": (4,),
            "gap.table": (10, 4),
            **{
                f"blocks.{at}.{name}": shape
                for at in range(3)
                for name, shape in {
                    "read_norm.weight": (4,),
                    "read_norm.bias": (4,),
                    "attended_norm.weight": (4,),
                    "attended_norm.bias": (4,),
                    "read.weight": (16, 4),
                    "read.bias": (16,),
                    "output.weight": (4, 4),
                    "output.bias": (4,),
                    "bias.times": (10, 4),
                    "bias.distances": (10, 4),
                }.items()
            },
        },
    ),
    (
        GRUEncoderSpec(layers=3),
        {
            "start": (3, 4),
            **{
                f"units.{kind}_{of}_l{at}": (12, 4)[: 2 - (kind == "bias")]
                for kind in ("weight", "bias")
                for of in ("ih", "hh")
                for at in range(3)
            },
        },
    ),
    (
        AttentionEncoderSpec(hidden=7),
        {"hidden.weight": (7, 4), "hidden.bias": (7,), "score.weight": (1, 7), "score.bias": (1,), "start": (4,)},
    ),
]


@pytest.mark.parametrize(("spec", "shapes"), SHAPES, ids=repr)
def test_parameters_are_those_that_the_spec_asks_for(spec: EncoderSpec, shapes: dict[str, tuple[int, ...]]) -> None:
    encoder: SequenceEncoder = build_encoder(spec, WIDTH, LONGEST, generator=torch.Generator().manual_seed(3))
    assert {name: tuple(parameter.shape) for name, parameter in encoder.named_parameters()} == shapes
    heads = {block.heads for block in getattr(encoder, "blocks", [])}
    assert heads == ({spec.heads} if isinstance(spec, TransformerEncoderSpec | HSTUEncoderSpec) else set())


@pytest.mark.parametrize(
    "spec",
    [
        TransformerEncoderSpec(blocks=3, dropout=0.0),
        HSTUEncoderSpec(blocks=3, dropout=0.0),
        GRUEncoderSpec(layers=3, dropout=0.0),
    ],
    ids=repr,
)
def test_every_layer_is_read(spec: EncoderSpec) -> None:
    encoder, (vectors_VD, column) = made(spec), shared()
    encoder(vectors_VD, column).sin().sum().backward()
    assert all(bool((parameter.grad != 0).any()) for _, parameter in encoder.named_parameters())


def test_buckets_are_those_of_the_logarithm() -> None:
    whole = [
        *range(5_000),
        *(int(math.exp(0.301 * k)) + d for k in range(1, 90) for d in (-2, -1, 0, 1, 2)),
        10**9,
        2**31,
        2**52,
    ]
    for count in (2, 10, 64, 128):
        found = times_module.time_buckets(torch.tensor(whole), count)
        assert found.tolist() == [bucket(seconds, count) for seconds in whole]
        assert torch.equal(times_module.time_buckets(-torch.tensor(whole).double(), count), found)
    parts = [0.25, 0.999, 1.35, 1.352, 10.5, 86_399.999]
    assert times_module.time_buckets(torch.tensor(parts, dtype=torch.float64), 64).tolist() == [
        bucket(each, 64) for each in parts
    ]


def test_no_bound_of_a_bucket_is_so_near_to_that_of_a_cell_that_rounding_could_miss_it() -> None:
    bounds = times_module.time_bounds(256)
    cells = (torch.arange(255 << 4, dtype=torch.int32) << 19).view(torch.float32).double()
    nearest = torch.minimum(
        *(abs(cells[(torch.searchsorted(cells, bounds) + d).clamp(max=len(cells) - 1)] / bounds - 1) for d in (-1, 0))
    )
    assert float(nearest.min()) > 1e-6  # float32 rounds by 6e-8


def test_times_that_no_float32_has_room_for_are_in_the_last_bucket() -> None:
    far = torch.tensor([3e38, 3.5e38, 1e300, -1e300, math.inf], dtype=torch.float64)
    for count in (2, 64, 256):
        assert times_module.time_buckets(far, count).tolist() == [count - 1] * 5
    times = torch.tensor([[0.0, -1e308, 1e308]], dtype=torch.float64)
    clock = times_module.Clock(times, times, False)
    assert times_module.pair_buckets(clock, 64)[0, 2].tolist() == [64, 63, 0]
