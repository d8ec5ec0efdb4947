"""The model with its loss: candidates encoded once give what the naive matrix of all rows by all rows does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from twotower.losses import InBatchSoftmax, Temperature, log_q_from_counts
from twotower.models import TwoTower, build, state_of
from twotower.spec import InputSpec, ModelSpec, TableSpec, TowerSpec
from twotower.types import Column, Ragged, take_column

ITEMS = torch.tensor([3, 1, 3, 5, 1, 3, 0, 5])
COUNTS = torch.tensor([4.0, 9.0, 1.0, 20.0, 2.0, 7.0], dtype=torch.float64)


def model() -> TwoTower:
    tables = (
        TableSpec(name="user", vocabulary_size=5, embedding_dim=4),
        TableSpec(name="item", vocabulary_size=7, embedding_dim=4, init_scale=1.0),
        TableSpec(name="word", vocabulary_size=9, embedding_dim=2, init_scale=1.0),
    )
    query = TowerSpec(
        inputs=(
            InputSpec(column="user", width=4, table="user"),
            InputSpec(column="history", width=4, table="item", pooling="mean"),
        ),
        layer_sizes=(6, 4),
    )
    candidate = TowerSpec(
        inputs=(
            InputSpec(column="item", width=4, table="item"),
            InputSpec(column="words", width=2, table="word", pooling="sqrt_n"),
        ),
        layer_sizes=(6, 4),
        skip=("item",),
    )
    return build(ModelSpec(tables=tables, query=query, candidate=candidate), seed=2).double()


def queries() -> dict[str, Column]:
    return {
        "user": torch.tensor([1, 2, 3, 4, 1, 2, 3, 0]),
        "history": Ragged(torch.tensor([1, 2, 3, 3, 6, 2]), torch.tensor([0, 2, 2, 3, 4, 4, 5, 5, 6])),
    }


def catalogue() -> dict[str, Column]:
    words = Ragged(torch.tensor([1, 2, 3, 4, 5, 5, 8]), torch.tensor([0, 2, 2, 3, 5, 6, 7]))
    return {"item": torch.arange(1, 7), "words": words}


def naive_loss(model: TwoTower, temperature: Tensor, log_q_N: Tensor | None, *, mask_accidental_hits: bool) -> Tensor:
    """Every row of the batch is encoded as a candidate, in a matrix of all rows by all rows; the loop of the paper."""
    queries_BD = model.encode_queries(queries())
    rows_BD = torch.cat(
        [
            model.encode_candidates({name: take_column(column, item[None]) for name, column in catalogue().items()})
            for item in ITEMS
        ]
    )
    losses = []
    for i in range(len(ITEMS)):
        logits = {}
        for j in range(len(ITEMS)):
            if mask_accidental_hits and i != j and ITEMS[i] == ITEMS[j]:
                continue
            logit = (queries_BD[i] * rows_BD[j]).sum() / temperature
            logits[j] = logit if log_q_N is None else logit - log_q_N[ITEMS[j]]
        losses.append(torch.stack(list(logits.values())).exp().sum().log() - logits[i])
    return torch.stack(losses).mean()


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("mask_accidental_hits", [False, True])
def test_each_candidate_once_is_the_naive_matrix_in_value_and_gradient(corrected: bool, mask_accidental_hits: bool) -> None:
    log_q_N = log_q_from_counts(COUNTS) if corrected else None
    naive, once = model(), model()
    distinct, positives, counts = torch.unique(ITEMS, return_inverse=True, return_counts=True)
    temperature = Temperature(0.3, learned=True).double()
    loss = InBatchSoftmax(temperature, log_q=corrected, mask_accidental_hits=mask_accidental_hits)
    found = loss(
        once.encode_queries(queries()),
        once.encode_candidates({name: take_column(column, distinct) for name, column in catalogue().items()}),
        positives,
        counts_C=counts.double(),
        log_q_C=None if log_q_N is None else log_q_N[distinct],
    )
    found.backward()

    other = temperature.value().detach().requires_grad_()
    expected = naive_loss(naive, other, log_q_N, mask_accidental_hits=mask_accidental_hits)
    expected.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert temperature.log_excess.grad is not None
    assert other.grad is not None
    torch.testing.assert_close(temperature.log_excess.grad, other.grad * other.detach(), rtol=1e-10, atol=1e-12)
    assert len(distinct) < len(ITEMS)
    gradients = dict(once.named_parameters())
    for name, parameter in naive.named_parameters():
        torch.testing.assert_close(gradients[name].grad, parameter.grad, rtol=1e-10, atol=1e-12, msg=name)
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_encoding_a_catalogue_is_encoding_its_rows() -> None:
    found = model().eval()
    whole_ND = found.encode_candidates(catalogue())
    for row in range(6):
        one = {name: take_column(column, torch.tensor([row])) for name, column in catalogue().items()}
        torch.testing.assert_close(found.encode_candidates(one)[0], whole_ND[row])


def test_the_towers_are_two() -> None:
    found = model()
    assert found.encode_queries(queries()).shape == (8, 4)
    assert found.encode_candidates(catalogue()).shape == (6, 4)
    before = found.encode_candidates(catalogue())
    with torch.no_grad():
        for parameter in found.query.layers.parameters():
            parameter.zero_()
    assert torch.equal(found.encode_candidates(catalogue()), before)
    assert found.encode_queries(queries()).abs().sum() == 0
    assert len(state_of(found)) == 3 + 4 + 4
