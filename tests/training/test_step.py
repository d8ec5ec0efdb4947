from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from twotower.losses import (
    BilateralSoftmax,
    CountMinSketch,
    FullSoftmax,
    InBatchSoftmax,
    StreamedLogQ,
    log_q_from_counts,
)
from twotower.training.step import Place, batch_loss, batch_losses, explain_divergence

World = Callable[..., Any]
CPU = torch.device("cpu")


def loss_of(found: Any, loss: Any, batch: Any, log_q_N: torch.Tensor | None = None) -> torch.Tensor:
    return batch_loss(found.model, loss, batch, found.items, log_q_N=log_q_N, device=CPU)


def slowly(found: Any, batch: Any, *, log_q: list[float] | None = None, everything: bool = False) -> list[float]:
    """The loss of every row, from the scores of every row with every item, temperature 0.5, own item once."""
    items = found.model.encode_candidates(found.items).tolist()
    queries = found.model.encode_queries(batch.queries).tolist()
    own = [int(found.batches.examples.item_rows[row]) for row in batch.rows.tolist()]
    losses = []
    for query, positive in zip(queries, own, strict=True):
        others = range(len(items)) if everything else [positive, *(item for item in own if item != positive)]
        logits = []
        for item in others:
            score = sum(q * c for q, c in zip(query, items[item], strict=True)) / 0.5
            logits.append(score - (log_q[item] if log_q else 0.0))
        positive_logit = logits[list(others).index(positive)]
        losses.append(float(torch.tensor(logits).logsumexp(0)) - positive_logit)
    return losses


@pytest.mark.parametrize("corrected", [False, True])
def test_the_loss_of_a_batch_is_over_its_own_items(world: World, corrected: bool) -> None:
    found = world()
    log_q = [-0.1 * item - 0.3 for item in range(8)] if corrected else None
    batch = found.batches.batch(0, 0)
    losses = slowly(found, batch, log_q=log_q)
    value = loss_of(found, InBatchSoftmax(0.5, log_q=corrected), batch, torch.tensor(log_q) if log_q else None)
    assert float(value.detach()) == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    weights = torch.arange(1.0, 11.0)
    weighted = loss_of(
        found, InBatchSoftmax(0.5, log_q=corrected), replace(batch, weights=weights), torch.tensor(log_q) if log_q else None
    )
    expected = sum(w * x for w, x in zip(weights.tolist(), losses, strict=True)) / 55
    assert float(weighted.detach()) == pytest.approx(expected, rel=1e-5)


def test_the_loss_over_the_catalogue(world: World) -> None:
    found = world()
    batch = found.batches.batch(0, 0)
    losses = slowly(found, batch, everything=True)
    whole = replace(batch, candidate_rows=None, counts=None, positives=found.batches.examples.item_rows[batch.rows])
    value = loss_of(found, FullSoftmax(0.5), whole)
    assert float(value.detach()) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_masked_pairs_do_not_compete(world: World) -> None:
    found = world()
    batch = found.batches.batch(0, 0)
    every = len(batch.candidate_rows)
    others = [(query, column) for query in range(10) for column in range(every) if column != int(batch.positives[query])]
    queries, columns = (torch.tensor(side) for side in zip(*others, strict=True))
    # where nothing competes, nothing is lost
    assert float(loss_of(found, InBatchSoftmax(0.5), replace(batch, masked=(queries, columns))).detach()) == pytest.approx(0)


def test_each_candidate_is_encoded_once(world: World) -> None:
    found = world()
    rows: list[int] = []
    found.model.candidate.layers.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    batch = found.batches.batch(0, 0)
    loss_of(found, InBatchSoftmax(0.5), batch)
    assert rows == [len(set(found.batches.examples.item_rows[batch.rows].tolist()))]


def explanation(found: Any, **changes: Any) -> str:
    batch = replace(found.batches.batch(0, 0), **changes)
    where = Place(epoch=2, batch=4, step=14, learning_rate=0.25)
    modules = {"model": found.model, "loss": found.loss}
    return str(explain_divergence("the loss", modules, batch, found.items, where))


def test_an_explanation_names_place_and_cause(world: World) -> None:
    found = world(learned_temperature=True)
    text = explanation(found)
    assert text.startswith("the loss is not a finite number in epoch 3, batch 5 (step 15); most likely scores too large")
    assert "learning rate (0.25)" in text
    assert "all sample weights of the batch are 0" in explanation(found, weights=torch.zeros(10))
    with torch.no_grad():
        found.loss.temperature.log_excess.fill_(float("nan"))
    assert "the weights temperature.log_excess are no longer finite" in explanation(found)
    queries = {**found.batches.batch(0, 0).queries, "mood": torch.full((10, 1), float("inf"))}
    first = sorted(found.batches.order(0)[:10].tolist())[:3]
    text = explanation(found, queries=queries)
    assert f"not finite in query feature 'mood' (rows {', '.join(map(str, first))}, ...); declare how they are filled" in text


def test_a_loss_that_asks_whose_rows_they_are_is_told(world: World) -> None:
    found = world()
    batch = found.batches.batch(0, 0)
    users = found.batches.examples.user_rows[batch.rows].long() % 3
    with torch.no_grad():
        for parameter in found.model.parameters():
            parameter.mul_(5)  # so that scores differ
    loss = BilateralSoftmax(0.5, positive_temperature=0.1)
    told, untold = (float(loss_of(found, loss, replace(batch, users=each)).detach()) for each in (users, None))
    assert batch.candidate_rows is not None
    with torch.no_grad():
        queries = found.model.encode_queries(batch.queries)
        candidates = found.model.encode_candidates({"item": batch.candidate_rows})
        wanted = loss(queries, candidates, batch.positives, counts_C=batch.counts, users_B=users)
    assert told == pytest.approx(float(wanted), rel=1e-6)
    assert told != pytest.approx(untold, rel=1e-3)


def test_a_sketch_says_how_likely_the_candidates_of_a_batch_were(world: World) -> None:
    found = world()
    streamed = StreamedLogQ(CountMinSketch(2**12))
    seen: Counter[int] = Counter()
    for index in range(3):
        batch = found.batches.batch(0, index)
        seen.update(found.batches.examples.item_rows[batch.rows].tolist())
        log_q = [math.log(max(seen[item], 1) / seen.total()) for item in range(8)]
        value = batch_losses(
            found.model,
            InBatchSoftmax(0.5, log_q=True),
            batch,
            found.items,
            log_q_N=None,
            device=CPU,
            streamed_log_q=streamed,
        )["retrieval"]
        losses = slowly(found, batch, log_q=log_q)
        assert float(value.detach()) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_where_the_whole_catalogue_competes_a_sketch_counts_the_positives(world: World) -> None:
    found = world()
    batch = found.batches.batch(0, 0)
    own = found.batches.examples.item_rows[batch.rows]
    whole = replace(batch, candidate_rows=None, counts=None, positives=own)
    streamed = StreamedLogQ(CountMinSketch(2**12))
    loss = InBatchSoftmax(0.5, log_q=True)
    value = batch_losses(found.model, loss, whole, found.items, log_q_N=None, device=CPU, streamed_log_q=streamed)["retrieval"]
    counts = torch.bincount(own, minlength=8)
    expected = batch_loss(found.model, loss, whole, found.items, log_q_N=log_q_from_counts(counts), device=CPU)
    assert float(value.detach()) == float(expected.detach())
    assert streamed.sketch.estimate(torch.arange(8)).tolist() == counts.tolist()
