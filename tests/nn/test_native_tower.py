"""A tower by the kernel against the same operations of torch in float64."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from twotower.native import native_status
from twotower.nn import Lookup, run_native_tower
from twotower.nn.pooling import look_up_rows, pool_rows
from twotower.types import Ragged

pytestmark = pytest.mark.skipif(not native_status("tower").available, reason="there is no C compiler")

ROWS = 20


class Made:
    """Inputs of every kind, and layers, with random numbers."""

    def __init__(self, n: int, dims: Sequence[int], widths: Sequence[int]) -> None:
        self.generator = torch.Generator().manual_seed(n + sum(dims) + sum(widths))
        one, pooled, given = dims
        lengths = self.integers(0, 5, n)
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        self.lookups = [Lookup(self.numbers(ROWS, one), self.integers(0, ROWS, n).int())]
        for pooling in ("mean", "sum", "sqrt_n"):
            values = self.integers(0, ROWS, int(offsets[-1]))
            self.lookups.append(Lookup(self.numbers(ROWS, pooled), values, offsets, pooling, 1.5 if pooling == "sum" else 1.0))
        self.given = self.numbers(n, given)
        sizes = [one + 3 * pooled + given, *widths]
        self.weights = [self.numbers(to, start) / start**0.5 for start, to in itertools.pairwise(sizes)]
        self.biases = [self.numbers(to) for to in sizes[1:]]
        self.towards = self.numbers(n, sizes[-1])

    def numbers(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def integers(self, low: int, high: int, count: int) -> Tensor:
        return torch.randint(low, high, (count,), generator=self.generator)

    def leaves(self, dtype: torch.dtype) -> list[Tensor]:
        made = [*(lookup.table for lookup in self.lookups), self.given, *self.weights, *self.biases]
        return [each.to(dtype).clone().requires_grad_() for each in made]

    def split(self, leaves: list[Tensor]) -> tuple[list[Lookup | Tensor], list[Tensor], list[Tensor]]:
        tables, (given, *layers) = leaves[: len(self.lookups)], leaves[len(self.lookups) :]
        lookups = [
            Lookup(table, lookup.values, lookup.offsets, lookup.pooling, lookup.scale)
            for table, lookup in zip(tables, self.lookups, strict=True)
        ]
        return [*lookups, given], layers[: len(self.weights)], layers[len(self.weights) :]

    def by_torch(self, leaves: list[Tensor]) -> Tensor:
        inputs, weights, biases = self.split(leaves)
        parts = []
        for each in inputs:
            if isinstance(each, Tensor):
                parts.append(each)
            elif each.offsets is None:
                parts.append(look_up_rows(each.table, each.values))
            else:
                parts.append(pool_rows(each.table, Ragged(each.values, each.offsets), each.pooling or "mean") * each.scale)
        hidden = torch.cat(parts, 1)
        for at, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            hidden = hidden @ weight.T + bias
            hidden = hidden.relu() if at < len(weights) - 1 else hidden
        return hidden

    def by_kernel(self, leaves: list[Tensor]) -> Tensor:
        found = run_native_tower(*self.split(leaves))
        assert found is not None
        return found


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("widths", [[1], [16], [7, 64], [65, 33, 32], [80, 5, 3, 12]])
@pytest.mark.parametrize("dims", [(1, 1, 1), (32, 16, 1), (15, 17, 5), (64, 33, 16)])
@pytest.mark.parametrize("n", [0, 1, 5, 6, 97, 230])
def test_value_and_gradients_are_those_of_torch(
    n: int, dims: Sequence[int], widths: list[int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twotower.nn.native_tower._LEAST_PRODUCTS", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    made = Made(n, dims, widths)
    ours, exact = made.leaves(torch.float32), made.leaves(torch.float64)
    found, expected = made.by_kernel(ours), made.by_torch(exact)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    found.backward(made.towards)  # type: ignore[no-untyped-call]
    expected.backward(made.towards.double())  # type: ignore[no-untyped-call]
    for one, other in zip(ours, exact, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=2e-4, atol=2e-4)


def test_the_same_bits_however_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twotower.nn.native_tower._LEAST_PRODUCTS", 0)
    made, found = Made(400, (32, 48, 3), [70, 40, 20]), []
    for threads in (1, 2, 5, 64):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        leaves = made.leaves(torch.float32)
        output = made.by_kernel(leaves)
        output.backward(made.towards)  # type: ignore[no-untyped-call]
        found.append([output.detach(), *(leaf.grad for leaf in leaves)])
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))  # type: ignore[arg-type]


def test_only_gradients_that_are_wanted() -> None:
    made = Made(30, (8, 4, 2), [6, 5])
    for wanted in ({0}, {4}, {5, 6}, set(range(len(made.leaves(torch.float32))))):
        ours, exact = made.leaves(torch.float32), made.leaves(torch.float64)
        for leaves in (ours, exact):
            for at, leaf in enumerate(leaves):
                leaf.requires_grad_(at in wanted)
        made.by_kernel(ours).backward(made.towards)  # type: ignore[no-untyped-call]
        made.by_torch(exact).backward(made.towards.double())  # type: ignore[no-untyped-call]
        for one, other in zip(ours, exact, strict=True):
            assert (one.grad is None) == (other.grad is None)
            if one.grad is not None and other.grad is not None:
                torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-4, atol=1e-4)


def test_a_table_that_is_there_twice_gets_both_gradients() -> None:
    table, weight, bias = torch.randn(5, 4).requires_grad_(), torch.randn(3, 8), torch.zeros(3)
    rows, others = torch.tensor([0, 1, 1]), torch.tensor([1, 2, 0])
    found = run_native_tower([Lookup(table, rows), Lookup(table, others)], [weight], [bias])
    assert found is not None
    (ours,) = torch.autograd.grad(found.sum(), table)
    (exact,) = torch.autograd.grad((torch.cat([table[rows], table[others]], 1) @ weight.T).sum(), table)
    torch.testing.assert_close(ours, exact)


def test_bags_that_are_all_empty() -> None:
    table = torch.ones(ROWS, 4).requires_grad_()
    lookup = Lookup(table, torch.empty(0, dtype=torch.int64), torch.zeros(4, dtype=torch.int64), "mean")
    found = run_native_tower([lookup], [torch.ones(2, 4)], [torch.ones(2)])
    assert found is not None
    assert torch.equal(found, torch.ones(3, 2))
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.equal(table.grad, torch.zeros(ROWS, 4))  # type: ignore[arg-type]


def test_what_is_no_number_stays_so() -> None:
    weights, biases = [torch.ones(4, 2), torch.ones(3, 4)], [torch.zeros(4), torch.zeros(3)]
    inputs = torch.tensor([[torch.nan, 1.0], [1.0, torch.inf], [1.0, 1.0]])
    found = run_native_tower([inputs], weights, biases)
    assert found is not None
    assert torch.equal(found.isfinite().all(1), torch.tensor([False, False, True]))


def test_gradients_twice_from_one_graph() -> None:
    made = Made(10, (3, 2, 1), [4, 2])
    leaves = made.leaves(torch.float32)
    output = made.by_kernel(leaves)
    first = torch.autograd.grad(output, leaves, made.towards, retain_graph=True)
    again = torch.autograd.grad(output, leaves, made.towards)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_a_weight_that_was_changed_before_the_gradient_is_an_error() -> None:
    made = Made(10, (3, 2, 1), [4, 2])
    leaves = made.leaves(torch.float32)
    output = made.by_kernel(leaves)
    with torch.no_grad():
        leaves[5].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("kept", ["made again", "elsewhere"])
def test_gradients_of_what_torch_does_not_keep_where_it_was(kept: str) -> None:
    made = Made(200, (16, 8, 4), [32, 16, 8])
    leaves = made.leaves(torch.float32)
    expected = torch.autograd.grad(made.by_kernel(leaves), leaves, made.towards)
    if kept == "made again":
        output = checkpoint(lambda: made.by_kernel(leaves), use_reentrant=False)
    else:
        with saved_tensors_hooks(lambda each: each.clone(), lambda each: each):
            output = made.by_kernel(leaves)
    rubbish = [torch.full((200, width), torch.nan) for width in (8, 16, 32, 44) for _ in range(20)]  # where it was
    found = torch.autograd.grad(output, leaves, made.towards)
    assert rubbish
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_what_does_not_come_back_as_it_was() -> None:
    made = Made(10, (3, 2, 1), [4, 2])
    leaves = made.leaves(torch.float32)
    with saved_tensors_hooks(lambda each: each.double(), lambda each: each):
        output = made.by_kernel(leaves)
    with pytest.raises(
        RuntimeError, match=rf"contiguous torch\.float32 \[{ROWS}, 3\] on the CPU; came torch\.float64 \[{ROWS}, 3\]"
    ):
        output.sum().backward()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("of", ["values", "offsets"])
def test_an_index_that_was_changed_before_the_gradient_is_an_error(of: str) -> None:
    table, values, offsets = torch.zeros(ROWS, 2).requires_grad_(), torch.tensor([1, 2]), torch.tensor([0, 1, 2])
    output = run_native_tower([Lookup(table, values, offsets, "sum")], [torch.ones(3, 2)], [torch.ones(3)])
    assert output is not None
    {"values": values, "offsets": offsets}[of].fill_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()  # type: ignore[no-untyped-call]


def test_an_index_that_was_changed_where_torch_does_not_see_it() -> None:
    table, values = torch.zeros(ROWS, 2).requires_grad_(), torch.tensor([1, 2])
    output = run_native_tower([Lookup(table, values)], [torch.ones(3, 2)], [torch.ones(3)])
    assert output is not None
    values.numpy()[:] = ROWS
    with pytest.raises(IndexError, match=rf"must be in \[0, {ROWS}\).*came {ROWS} to {ROWS}"):
        output.sum().backward()  # type: ignore[no-untyped-call]


def test_another_default_device() -> None:
    table, values, weight, bias = torch.ones(ROWS, 2).requires_grad_(), torch.tensor([1, 2]), torch.ones(3, 2), torch.ones(3)
    with torch.device("meta"):
        output = run_native_tower([Lookup(table, values)], [weight], [bias])
        assert output is not None
        (found,) = torch.autograd.grad(output, table, output.detach())
    assert output.tolist() == [[3.0] * 3] * 2
    assert found.sum() == 2 * 9 * 2


@pytest.mark.parametrize(("values", "offsets"), [([0, ROWS], None), ([-1, 0], None), ([0, 1], [0, 2, 1]), ([0, 1], [0, 1, 3])])
def test_values_and_bags_that_are_wrong(values: list[int], offsets: list[int] | None) -> None:
    bags = None if offsets is None else torch.tensor(offsets)
    lookup = Lookup(torch.zeros(ROWS, 4), torch.tensor(values), bags)
    fine = Lookup(torch.zeros(ROWS, 4), torch.tensor([0, 1]))
    with pytest.raises(IndexError, match=rf"rows of a table of {ROWS} must be in \[0, {ROWS}\)"):
        run_native_tower([fine, lookup], [torch.zeros(2, 8)], [torch.zeros(2)])


def test_what_the_kernel_does_not_take() -> None:
    table, rows, weight, bias = torch.zeros(3, 2), torch.tensor([0]), torch.zeros(4, 2), torch.zeros(4)
    assert run_native_tower([Lookup(table, rows)], [weight], [bias]) is not None
    assert run_native_tower([Lookup(table, rows)], [], []) is None
    assert run_native_tower([Lookup(table.double(), rows)], [weight], [bias]) is None
    assert run_native_tower([Lookup(table, rows)], [weight.double()], [bias.double()]) is None
    assert run_native_tower([Lookup(table, rows)], [torch.zeros(4, 3)], [bias]) is None, "wrong width: torch says so"
    assert run_native_tower([Lookup(table, rows)], [torch.zeros(600, 2)], [torch.zeros(600)]) is None, "too wide"
    assert run_native_tower([Lookup(table, rows), torch.zeros(2, 1)], [torch.zeros(4, 3)], [bias]) is None, "rows differ"
    assert run_native_tower([Lookup(table, rows)], [weight], [torch.zeros(3)]) is None, "a bias of another width"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert run_native_tower([Lookup(table, rows)], [weight], [bias]) is None


def test_indices_that_the_kernel_does_not_take() -> None:
    table, weight, bias = torch.zeros(3, 2), torch.zeros(4, 2), torch.zeros(4)
    rows, bags = torch.tensor([0, 1]), torch.tensor([0, 1, 2])

    def takes(values: Tensor, offsets: Tensor | None = None) -> bool:
        return run_native_tower([Lookup(table, values, offsets, "sum")], [weight], [bias]) is not None

    assert takes(rows)
    assert takes(rows.to(torch.uint8), bags.int())
    for wrong in (rows + 0.7, rows.bool(), rows.reshape(1, 2), rows.to("meta")):
        assert not takes(wrong)
        assert not takes(wrong, bags)
    for wrong in (bags.double(), bags.reshape(3, 1), bags.to("meta")):
        assert not takes(rows, wrong)


@pytest.mark.parametrize("mode", [FlopCounterMode(display=False), FakeTensorMode(allow_non_fake_inputs=True)])
def test_nothing_is_done_behind_what_looks_at_operations(mode: FlopCounterMode | FakeTensorMode) -> None:
    lookup, weight, bias = Lookup(torch.zeros(3, 2), torch.tensor([0])), torch.zeros(4, 2), torch.zeros(4)
    with mode:
        assert run_native_tower([lookup], [weight], [bias]) is None
