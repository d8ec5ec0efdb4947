"""Judging on a device of its own: the ranks, lists and predictions of the CPU, and a host that hardly waits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from emulated_device import DEVICE, Emulation, emulated
from torch import Tensor

from twotower.data import Examples, HistoryInput, build_histories
from twotower.distributed import ALONE
from twotower.evaluation import (
    Evaluation,
    ModelScorer,
    Scorer,
    ShardedScorer,
    device_counts,
    evaluate,
    evaluate_per_user,
    predict_outcomes,
    product_counter,
    top_items,
)
from twotower.evaluation.product_counter import ProductCounter
from twotower.models import TwoTower, build
from twotower.spec import InputSpec, ModelSpec, RegressionHeadSpec, TableSpec, TowerSpec

CPU = torch.device("cpu")
USERS, ITEMS, ROWS, DIM = 9, 700, 80, 6


def world(*, reads_items: bool = False, collapsed: bool = False) -> tuple[TwoTower, dict[str, Tensor], Examples]:
    """Items of a kind are twins; users had many of them before, and some rows have an item that is not there."""
    kinds = 1 if collapsed else ITEMS // 3
    tables = (
        TableSpec(name="user", vocabulary_size=USERS, embedding_dim=DIM, init_scale=1.0),
        TableSpec(name="kind", vocabulary_size=kinds, embedding_dim=DIM, init_scale=1.0),
    )
    read = (
        InputSpec(column="history", width=DIM, items="candidate", pooling="mean")
        if reads_items
        else InputSpec(column="history", width=DIM, table="kind", pooling="mean")
    )
    query = TowerSpec(inputs=(InputSpec(column="user", width=DIM, table="user"), read), layer_sizes=(19, DIM))
    candidate = TowerSpec(inputs=(InputSpec(column="kind", width=DIM, table="kind"),), layer_sizes=(19, DIM))
    heads = (RegressionHeadSpec(name="stars", mean=3.0, scale=1.0, low=-50, high=50),)
    model = build(ModelSpec(tables=tables, query=query, candidate=candidate, heads=heads), seed=3).eval()
    generator = np.random.default_rng(0)
    users, items = generator.integers(0, USERS, 400), generator.integers(0, ITEMS, 400)
    items[::17] = -1
    of_kind = torch.from_numpy(generator.integers(0, kinds, ITEMS))
    histories, before = build_histories(users, items, np.arange(400), num_users=USERS)
    examples = Examples(
        user_rows=torch.from_numpy(users[-ROWS:]),
        item_rows=torch.from_numpy(items[-ROWS:]),
        users={"user": torch.arange(USERS)},
        context={},
        histories=histories,
        before=before[-ROWS:],
        seen_before=True,
        history_inputs=(HistoryInput("history", None if reads_items else of_kind.int(), max_length=5),),
    )
    return model, {"kind": of_kind}, examples


def assert_same(found: Evaluation, expected: Evaluation) -> None:
    assert found.ranks is not None
    assert expected.ranks is not None
    for variant in ("seen_included", "seen_removed"):
        one, other = getattr(found.ranks, variant), getattr(expected.ranks, variant)
        assert one.above.tolist() == other.above.tolist()
        assert one.tied.tolist() == other.tied.tolist()
        assert getattr(found, variant).values == getattr(expected, variant).values
    assert max(expected.ranks.seen_included.tied) >= 2


def judged(scorer: Scorer, examples: Examples) -> tuple[Evaluation, Evaluation, list[list[int]]]:
    lists = top_items(scorer, torch.arange(ROWS), 20, seen=examples.seen, block_bytes=2**19)
    per_user = evaluate_per_user(scorer, examples, ks=[1, 10], draws=0)
    return evaluate(scorer, examples, ks=[1, 10], draws=0), per_user, lists.tolist()


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize(("reads_items", "collapsed"), [(False, False), (True, False), (False, True)])
def test_ranks_and_lists_are_those_of_the_cpu(
    reads_items: bool, collapsed: bool, sharded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_counts, "_SCORES_AT_ONCE", 2**14)
    monkeypatch.setattr(device_counts, "_GATHERED", 2**13)
    model, items, examples = world(reads_items=reads_items, collapsed=collapsed)
    expected = judged(ModelScorer(model, items, examples, device=CPU), examples)
    with emulated():
        model = model.to(DEVICE)
        there: Scorer = (
            ShardedScorer(model, items, examples, device=DEVICE, ranks=ALONE)
            if sharded
            else ModelScorer(model, items, examples, device=DEVICE)
        )
        found = judged(there, examples)
    for one, other in zip(found[:2], expected[:2], strict=True):
        assert_same(one, other)
    assert found[2] == expected[2]


def test_ranks_by_tiles_too() -> None:
    """Where float32 is not multiplied whole, all is summed in float64."""
    model, items, examples = world()
    expected = evaluate(ModelScorer(model, items, examples, device=CPU), examples, ks=[1], draws=0)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        with emulated():
            scorer = ModelScorer(model.to(DEVICE), items, examples, device=DEVICE)
            assert scorer.counter(torch.arange(3)) is None
            assert_same(evaluate(scorer, examples, ks=[1], draws=0), expected)
    finally:
        torch.set_float32_matmul_precision(before)


def test_predictions_are_those_of_the_cpu() -> None:
    model, items, examples = world()
    expected = predict_outcomes(model, items, examples, head="stars", device=CPU)
    with emulated():
        found = predict_outcomes(model.to(DEVICE), items, examples, head="stars", device=DEVICE)
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # towers round differently there
    assert 0 < np.isnan(found).sum() < ROWS


def vectors(kind: str, num: int, dim: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    free = torch.randn(num, dim, generator=generator)
    return {
        "free": free,
        "twins": free[torch.randint(0, 5, (num,), generator=generator)],
        "collapsed": free[:1].expand(num, -1).clone(),
        "near": free[:1] + 1e-7 * free,
        "tiny": free * 1e-21,
        "zero": torch.zeros(num, dim),
        "one long": torch.cat([free[:-1], 1e4 * free[-1:]]),
    }[kind]


@pytest.mark.parametrize("kind", ["free", "twins", "collapsed", "near", "tiny", "zero", "one long"])
@pytest.mark.parametrize("numbers", ["one each", "several"])
def test_counts_are_those_of_sums_in_float64(kind: str, numbers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_counts, "_SCORES_AT_ONCE", 2**14)
    monkeypatch.setattr(device_counts, "_POSITIVES_AT_ONCE", 30)
    monkeypatch.setattr(device_counts, "_GATHERED", 2**13)
    monkeypatch.setattr(product_counter, "_DEVICE_NUMBERS", 500)
    generator = torch.Generator().manual_seed(1)
    for dim in (1, 3, 64):
        queries_QD, items_ND = vectors("free", 40, dim, 1), vectors(kind, 1300, dim, 2)
        queries = torch.arange(40) if numbers == "one each" else torch.randint(0, 40, (90,), generator=generator)
        items, others = torch.randint(0, 1300, (2, len(queries)), generator=generator)
        exact_QN = (queries_QD.double() @ items_ND.double().T).float()
        longest = float(items_ND.double().norm(dim=1).max())
        with emulated():
            counter = ProductCounter(queries_QD.to(DEVICE), items_ND.to(DEVICE), longest)
            scores = counter.pairs(queries, items)
            above, tied = counter.count(queries, scores)
            over, even = counter.versus(queries, others, scores)
        assert above.tolist() == (exact_QN[queries] > scores.unsqueeze(1)).sum(dim=1).tolist()
        assert tied.tolist() == (exact_QN[queries] == scores.unsqueeze(1)).sum(dim=1).tolist()
        assert over.tolist() == (exact_QN[queries, others] > scores).tolist()
        assert even.tolist() == (exact_QN[queries, others] == scores).tolist()


def waits(emulation: Emulation, num_items: int, kind: str) -> int:
    queries_QD, items_ND = vectors("free", 50, 8, 1), vectors(kind, num_items, 8, 2)
    counter = ProductCounter(queries_QD.to(DEVICE), items_ND.to(DEVICE), float(items_ND.norm(dim=1).max()))
    queries = torch.arange(50)
    scores = counter.pairs(queries, queries)
    return emulation.waits_of(lambda: counter.count(queries, scores)).total()


@pytest.mark.parametrize("kind", ["free", "twins"])
def test_counting_waits_no_oftener_for_more_items(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # how many blocks have to be looked at again, and the counts
    monkeypatch.setattr(device_counts, "_SCORES_AT_ONCE", 2**14)
    with emulated() as emulation:
        assert waits(emulation, 300, kind) == waits(emulation, 9_000, kind) == 2
