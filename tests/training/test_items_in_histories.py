"""Histories whose items are what the candidate tower makes of them, against one that encodes item by item, in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from twotower.data import Batches, Examples, HistoryInput, build_histories
from twotower.losses import FullSoftmax, InBatchSoftmax
from twotower.models import TwoTower, build
from twotower.spec import (
    AttentionEncoderSpec,
    EncoderSpec,
    GRUEncoderSpec,
    InputSpec,
    ModelSpec,
    TableSpec,
    TowerSpec,
    TransformerEncoderSpec,
)
from twotower.training.step import batch_loss
from twotower.types import Column, Prefixes, Ragged

USERS, ITEMS, LONGEST, WIDTH = 6, 40, 4, 4
CPU = torch.device("cpu")
TEMPERATURE = 0.5  # which float32 holds
READERS: list[EncoderSpec | str] = [
    TransformerEncoderSpec(blocks=1, heads=2, hidden=2, dropout=0.0),
    GRUEncoderSpec(dropout=0.0),
    AttentionEncoderSpec(),
    "mean",
    "sum",
    "sqrt_n",
]


def examples(in_order: bool) -> Examples:
    """Few of the items are in any history or are anybody's positive, so that batches have distinct ones."""
    rng = np.random.default_rng(3)
    users = np.repeat(np.arange(USERS), 7)
    items = rng.integers(0, ITEMS, len(users))
    histories, before = build_histories(users, items, np.arange(len(users)), num_users=USERS)
    own: Literal["allow", "exclude"] = "allow" if in_order else "exclude"
    return Examples(
        user_rows=torch.from_numpy(users),
        item_rows=torch.from_numpy(items),
        users={"user": torch.arange(USERS)},
        context={},
        histories=histories,
        before=before,
        seen_before=True,
        history_inputs=(HistoryInput("read", None, LONGEST, "before", own, in_order),),
    )


def catalogue() -> dict[str, Column]:
    """Ids, words and numbers; of some items no word."""
    rng = np.random.default_rng(4)
    lengths = rng.integers(0, 4, ITEMS)
    return {
        "id": torch.arange(ITEMS),
        "words": Ragged(torch.from_numpy(rng.integers(0, 9, lengths.sum())), torch.from_numpy(np.r_[0, lengths.cumsum()])),
        "price": torch.from_numpy(rng.normal(size=(ITEMS, 2)).astype(np.float32)),
    }


def model_of(reader: EncoderSpec | str, *, normalise: bool = False, **candidate: Any) -> TwoTower:
    sizes = {"user": USERS, "id": ITEMS, "words": 9}
    tables = tuple(TableSpec(name=name, vocabulary_size=size, embedding_dim=3, init_scale=0.8) for name, size in sizes.items())
    how: dict[str, Any] = {"pooling": reader} if isinstance(reader, str) else {"encoder": reader, "max_length": LONGEST}
    read = InputSpec(column="read", width=WIDTH, items="candidate", **how)
    inputs = (
        InputSpec(column="id", width=3, table="id"),
        InputSpec(column="words", width=3, table="words", pooling="mean"),
        InputSpec(column="price", width=2),
    )
    spec = ModelSpec(
        tables=tables,
        query=TowerSpec(
            inputs=(InputSpec(column="user", width=3, table="user"), read), layer_sizes=(5, WIDTH), l2_normalise=normalise
        ),
        candidate=TowerSpec(inputs=inputs, **{"layer_sizes": (6, WIDTH), "l2_normalise": normalise, **candidate}),
    )
    model = build(spec, seed=2)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():  # biases too, which are born as zeros
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def one(columns: dict[str, Column], row: int) -> dict[str, Column]:
    """The features of one item."""
    words, price = columns["words"], columns["price"]
    assert isinstance(words, Ragged)
    assert isinstance(price, Tensor)
    own = words.values[words.offsets[row] : words.offsets[row + 1]]
    return {
        "id": torch.tensor([row]),
        "words": Ragged(own, torch.tensor([0, len(own)])),
        "price": price[row : row + 1],
    }


def slow_query(model: TwoTower, items: dict[str, Column], user: int, history: list[int]) -> Tensor:
    """One query, each item of its history encoded alone, ``[D]``."""
    entry = model.spec.query.inputs[1]
    vectors = [model.encode_candidates(one(items, item))[0] for item in history]
    if entry.encoder is not None:
        given_LD = torch.stack(vectors)[None] if vectors else torch.zeros(1, 0, WIDTH, dtype=torch.float64)
        read_D = model.query.encoder("read").states(given_LD)[0, -1]
    else:
        total_D = sum(vectors, torch.zeros(WIDTH, dtype=torch.float64))
        by = {"mean": max(len(vectors), 1), "sum": 1, "sqrt_n": max(len(vectors), 1) ** 0.5}
        read_D = total_D / by[entry.pooling or ""]
    joined_F = torch.cat([model.embeddings.table("user")[user], read_D])
    output_D: Tensor = model.query.layers(joined_F[None])[0]
    return output_D / output_D.norm() if model.spec.query.l2_normalise else output_D


def slow_loss(model: TwoTower, items: dict[str, Column], given: Examples, rows: list[int], *, full: bool) -> Tensor:
    """The mean loss, a row after the other: what came before it, each item and each candidate encoded alone."""
    own = [int(given.item_rows[row]) for row in rows]
    losses = []
    for row, positive in zip(rows, own, strict=True):
        user = int(given.user_rows[row])
        earlier = [int(given.item_rows[other]) for other in range(row) if int(given.user_rows[other]) == user]
        history = earlier[-LONGEST:]
        if given.history_inputs[0].own_item == "exclude":
            history = [item for item in history if item != positive]
        else:
            # sequences of training begin every half of the longest
            start = max(0, -(-(len(earlier) - LONGEST) // (LONGEST // 2))) * (LONGEST // 2)
            history = earlier[start:]
        query_D = slow_query(model, items, user, history)
        others = list(range(ITEMS)) if full else [positive, *(item for item in own if item != positive)]
        logits = torch.stack([query_D @ model.encode_candidates(one(items, item))[0] / TEMPERATURE for item in others])
        losses.append(logits.logsumexp(0) - logits[others.index(positive)])
    return torch.stack(losses).mean()


def doubled(columns: dict[str, Column]) -> dict[str, Column]:
    return {**columns, "price": columns["price"].double()}  # type: ignore[union-attr]


def gradients(model: TwoTower, value: Tensor) -> dict[str, Tensor]:
    names = [name for name, _ in model.named_parameters()]
    found = torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
    return {name: each for name, each in zip(names, found, strict=True) if each is not None}


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader if isinstance(reader, str) else reader.kind)
@pytest.mark.parametrize("full", [True, False], ids=["full", "in batch"])
@pytest.mark.parametrize("normalise", [True, False], ids=["cosine", "dot"])
def test_loss_and_gradient(reader: EncoderSpec | str, full: bool, normalise: bool) -> None:
    model, items = model_of(reader, normalise=normalise).double().train(), doubled(catalogue())
    given = examples(in_order=not isinstance(reader, str))
    batches = Batches(given, batch_size=10, catalogue_size=ITEMS, seed=1, candidates="catalogue" if full else "in_batch")
    batch = batches.batch(0, 1)
    assert isinstance(batch.queries["read"], Ragged if isinstance(reader, str) else Prefixes)
    loss = FullSoftmax(TEMPERATURE) if full else InBatchSoftmax(TEMPERATURE, log_q=False)
    value = batch_loss(model, loss, batch, items, log_q_N=None, device=CPU)
    expected = slow_loss(model, items, given, batch.rows.tolist(), full=full)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    found, wanted = gradients(model, value), gradients(model, expected)
    assert found.keys() == wanted.keys() >= {"embeddings.table:id", "embeddings.table:words"}
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader if isinstance(reader, str) else reader.kind)
@pytest.mark.parametrize("full", [True, False], ids=["full", "in batch"])
def test_what_computes_in_float32_does_the_same(reader: EncoderSpec | str, full: bool) -> None:
    """Kernels of float32 take vectors of items for a table; what is above is held to float64, and they to that."""
    given = examples(in_order=not isinstance(reader, str))
    batches = Batches(given, batch_size=10, catalogue_size=ITEMS, seed=1, candidates="catalogue" if full else "in_batch")
    batch = batches.batch(0, 1)
    found = []
    for dtype, items in ((torch.float32, catalogue()), (torch.float64, doubled(catalogue()))):
        model = model_of(reader).to(dtype).train()
        loss = FullSoftmax(TEMPERATURE) if full else InBatchSoftmax(TEMPERATURE, log_q=False)
        value = batch_loss(model, loss, batch, items, log_q_N=None, device=CPU)
        found.append({"loss": value.detach(), **gradients(model, value)})
    assert found[0].keys() == found[1].keys()
    for name, wanted in found[1].items():
        torch.testing.assert_close(found[0][name].double(), wanted.double(), rtol=1e-3, atol=1e-5)


def test_items_of_histories_that_do_not_compete_are_encoded_once_with_those_that_do() -> None:
    model, items, given = model_of("mean"), catalogue(), examples(in_order=False)
    batch = Batches(given, batch_size=10, catalogue_size=ITEMS, seed=1, candidates="in_batch").batch(0, 1)
    seen: list[list[int]] = []
    model.candidate.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]["id"].tolist()))
    batch_loss(model, InBatchSoftmax(), batch, items, log_q_N=None, device=CPU)
    read = batch.queries["read"]
    assert isinstance(read, Ragged)
    competing, in_histories = set(batch.candidate_rows.tolist()), set(read.values.tolist())  # type: ignore[union-attr]
    assert in_histories - competing  # else this would say nothing
    assert in_histories & competing
    assert [len(seen), len(seen[0]), set(seen[0])] == [1, len(set(seen[0])), competing | in_histories]


def test_what_a_history_reads_is_what_competes_dropout_included() -> None:
    # the query is the mean of one item that competes: with vectors of one length, it scores the highest with itself
    model, items, given = model_of("mean", hidden_dropout=0.5).train(), catalogue(), examples(in_order=False)
    batch = Batches(given, batch_size=10, catalogue_size=ITEMS, seed=1, candidates="in_batch").batch(0, 1)
    taken: dict[str, Tensor] = {}
    model.candidate.register_forward_hook(lambda *given: taken.update(items=given[2]))
    model.query.register_forward_pre_hook(lambda _, inputs: taken.update(read=inputs[1]))
    batch_loss(model, InBatchSoftmax(), batch, items, log_q_N=None, device=CPU)
    assert taken["read"] is taken["items"]


def test_targets_are_not_read() -> None:
    # another vector for an item that is in no history of the batch leaves its queries as they were
    model, items, given = model_of(TransformerEncoderSpec(dropout=0.0)).eval(), catalogue(), examples(in_order=True)
    batch = Batches(given, batch_size=10, catalogue_size=ITEMS, seed=1, candidates="catalogue").batch(0, 1)
    column = batch.queries["read"]
    assert isinstance(column, Prefixes)
    alone = column.ragged()
    with torch.no_grad():
        vectors_ND = model.encode_candidates(items)
        before_BD = model.encode_queries_with_items(batch.queries, vectors_ND)
        changed = 0
        for place, item in enumerate(batch.positives.tolist()):
            history = alone.values[alone.offsets[place] : alone.offsets[place + 1]].tolist()
            other_ND = vectors_ND.clone()
            other_ND[item] += 1
            after_BD = model.encode_queries_with_items(batch.queries, other_ND)
            assert torch.equal(after_BD[place], before_BD[place]) == (item not in history)
            changed += not torch.equal(after_BD, before_BD)
    assert changed  # by rows that come later: the item is in their history


def test_values_that_are_dropped_leave_the_expectation_of_a_sum() -> None:
    entry = InputSpec(column="read", width=WIDTH, items="candidate", pooling="sum", value_dropout=0.5)
    spec = ModelSpec(
        tables=(TableSpec(name="id", vocabulary_size=ITEMS, embedding_dim=WIDTH),),
        query=TowerSpec(inputs=(entry,)),
        candidate=TowerSpec(inputs=(InputSpec(column="id", width=WIDTH, table="id"),)),
    )
    model = build(spec, seed=0).train()
    read = {"read": Ragged(torch.arange(8).repeat(4000), torch.arange(4001) * 8)}
    vectors_ND = torch.ones(ITEMS, WIDTH)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found_BD = model.encode_queries_with_items(read, vectors_ND)
    assert float(found_BD[:, 0].mean()) == pytest.approx(8, rel=0.02)
    assert {*found_BD[:, 0].tolist()} == {2.0 * kept for kept in range(9)}
    assert {*model.eval().encode_queries_with_items(read, vectors_ND)[:, 0].tolist()} == {8.0}


def test_a_query_that_reads_items_needs_them() -> None:
    model = model_of("mean")
    batch = Batches(examples(False), batch_size=10, catalogue_size=ITEMS, seed=1, candidates="in_batch").batch(0, 0)
    with pytest.raises(ValueError, match="input 'read' reads vectors of items: give items_ND"):
        model.encode_queries(batch.queries)
    broken = replace(batch, queries={**batch.queries, "read": torch.arange(10)})
    with pytest.raises(TypeError, match="any number of catalogue rows"):
        batch_loss(model, InBatchSoftmax(), broken, catalogue(), log_q_N=None, device=CPU)


def test_a_model_of_ones_own_says_how_it_reads_items() -> None:
    class Own(TwoTower):
        def encode_queries(self, features: Any) -> Tensor:
            return super().encode_queries(features)

    class Whole(Own):
        def encode_queries_with_items(self, features: Any, items_ND: Tensor) -> Tensor:
            found_BD: Tensor = self.query(features, items_ND)
            return -found_BD

    found = model_of("mean")
    batch = Batches(examples(False), batch_size=10, catalogue_size=ITEMS, seed=1, candidates="in_batch").batch(0, 0)
    vectors_ND = torch.randn(ITEMS, WIDTH)
    parts = (found.spec, found.embeddings, found.query, found.candidate)
    with pytest.raises(TypeError, match="Own has an encode_queries of its own, and its queries read items"):
        Own(*parts).encode_queries_with_items(batch.queries, vectors_ND)
    expected_BD = found.encode_queries_with_items(batch.queries, vectors_ND)
    torch.testing.assert_close(Whole(*parts).encode_queries_with_items(batch.queries, vectors_ND), -expected_BD)
