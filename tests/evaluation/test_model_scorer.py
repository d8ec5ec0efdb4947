"""The model as a ranker: exact scores, whatever the tiles, and ties that are ties."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from twotower.data import Examples, HistoryInput, build_histories
from twotower.evaluation import ModelScorer, encode_catalogue, evaluate
from twotower.index import ExactIndex
from twotower.models import TwoTower, build
from twotower.spec import InputSpec, ModelSpec, TableSpec, TowerSpec

CPU = torch.device("cpu")


def world(
    *, num_users: int = 3, num_items: int = 5, dim: int = 4, mode: Literal["before", "others"] = "before"
) -> tuple[TwoTower, dict[str, Tensor], Examples]:
    """A model that looks up the user, the item and what the user did before."""
    tables = (
        TableSpec(name="user", vocabulary_size=num_users, embedding_dim=dim, init_scale=1.0),
        TableSpec(name="item", vocabulary_size=num_items, embedding_dim=dim, init_scale=1.0),
    )
    query = TowerSpec(
        inputs=(
            InputSpec(column="user", width=dim, table="user"),
            InputSpec(column="history", width=dim, table="item", pooling="sum"),
        ),
        layer_sizes=(dim,),
        input_dropout=0.5,
    )
    candidate = TowerSpec(inputs=(InputSpec(column="item", width=dim, table="item"),))
    model = build(ModelSpec(tables=tables, query=query, candidate=candidate), seed=3).eval()
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, num_users, 12), rng.integers(0, num_items, 12)
    histories, before = build_histories(users, items, np.arange(12), num_users=num_users)
    lookup = torch.arange(num_items, dtype=torch.int32)
    examples = Examples(
        user_rows=torch.from_numpy(users),
        item_rows=torch.from_numpy(items),
        users={"user": torch.arange(num_users)},
        context={},
        histories=histories,
        before=before,
        seen_before=mode == "before",
        history_inputs=(HistoryInput("history", lookup, mode=mode),),
    )
    return model, {"item": torch.arange(num_items)}, examples


@pytest.mark.parametrize("mode", ["before", "others"])
def test_scores_are_dot_products(mode: Literal["before", "others"]) -> None:
    model, items, examples = world(mode=mode)
    scorer = ModelScorer(model, items, examples, device=CPU)
    rows = torch.tensor([9, 2])
    ((first, scores_BT),) = scorer.tiles(rows, 5)
    user, item = (model.embeddings.table(name).detach().double().numpy() for name in ("user", "item"))
    state = dict(model.query.layers.named_parameters())
    (weight_DH,) = (p.detach().double().numpy() for p in state.values() if p.ndim == 2)
    who, what = examples.user_rows.tolist(), examples.item_rows.tolist()
    for query, row in enumerate(rows.tolist()):
        past = [what[r] for r in range(row if mode == "before" else 12) if who[r] == who[row]]
        hidden = np.concatenate([user[who[row]], sum((item[i] for i in past), np.zeros(4))])
        assert scores_BT[query].numpy() == pytest.approx(item @ (weight_DH @ hidden), abs=1e-5)
    assert first == 0
    assert scores_BT.dtype == torch.float32


@pytest.mark.parametrize("tile_size", [1, 2, 3, 5, 9])
def test_tiles_give_the_same_scores(tile_size: int) -> None:
    model, items, examples = world()
    scorer = ModelScorer(model, items, examples, device=CPU)
    rows = torch.arange(12)
    ((_, whole_BN),) = scorer.tiles(rows, scorer.num_items)
    tiles = list(scorer.tiles(rows, tile_size))
    assert [first for first, _ in tiles] == list(range(0, 5, tile_size))
    assert torch.equal(torch.cat([tile_BT for _, tile_BT in tiles], dim=1), whole_BN)


def test_scores_are_those_of_the_index() -> None:
    """What was judged is what is served: the same order to the last bit."""
    model, items, examples = world(num_items=60, dim=32)
    scorer = ModelScorer(model, items, examples, device=CPU)
    rows = torch.arange(12)
    ((_, scores_BN),) = scorer.tiles(rows, 60)
    with torch.inference_mode():
        queries_BD = model.encode_queries(examples.queries(rows, training=False)).clone()
    found = ExactIndex.build(scorer.vectors_ND.clone()).search(queries_BD, 60)
    assert torch.equal(scores_BN.gather(1, found.rows_BK), found.scores_BK)


class Fixed:
    """A model whose vectors are given."""

    def __init__(self, queries_BD: Tensor, items_ND: Tensor) -> None:
        self.training = False
        self.queries_BD, self.items_ND = queries_BD, items_ND
        self.embedding_dim = int(items_ND.shape[1])

    def encode_queries(self, features: dict[str, Tensor]) -> Tensor:
        return self.queries_BD[features["row"]]

    def encode_queries_with_items(self, features: dict[str, Tensor], items_ND: Tensor) -> Tensor:
        del items_ND
        return self.encode_queries(features)

    def encode_candidates(self, features: dict[str, Tensor]) -> Tensor:
        return self.items_ND[features["item"]]


def judged(queries_BD: Tensor, items_ND: Tensor, positives: Tensor) -> float:
    """Recall@3 of a model with these vectors."""
    count = len(queries_BD)
    histories, before = build_histories(np.arange(count), np.full(count, -1), np.arange(count), num_users=count)
    examples = Examples(
        user_rows=torch.arange(count),
        item_rows=positives,
        users={},
        context={"row": torch.arange(count)},
        histories=histories,
        before=before,
        seen_before=True,
    )
    scorer = ModelScorer(
        Fixed(queries_BD, items_ND),  # type: ignore[arg-type]
        {"item": torch.arange(len(items_ND))},
        examples,
        device=CPU,
    )
    return evaluate(scorer, examples, ks=[3], draws=0).seen_included.values["recall@3"]


@pytest.mark.parametrize("num_items", [7, 100, 1664])
def test_a_collapsed_model_is_worth_chance(num_items: int) -> None:
    """All items have one vector: 3 places for N items, for whatever the arithmetic does with their columns."""
    generator = torch.Generator().manual_seed(num_items)
    for dim in range(1, 66):
        vector_D = torch.randn(dim, generator=generator)
        queries_BD = torch.randn(5, dim, generator=generator)
        positives = torch.randint(num_items, (5,), generator=generator)
        assert judged(queries_BD, vector_D.repeat(num_items, 1), positives) == pytest.approx(3 / num_items, rel=1e-12), dim


def test_duplicates_tie_with_each_other_alone() -> None:
    """Every vector is there ten times: the best one's copies share the first ten places."""
    generator = torch.Generator().manual_seed(0)
    for dim in (1, 13, 32, 65):
        vectors_ND = torch.randn(10, dim, generator=generator).repeat(10, 1)
        queries_BD = torch.randn(6, dim, generator=generator)
        best = (queries_BD.double() @ vectors_ND[:10].double().T).argmax(dim=1)
        assert judged(queries_BD, vectors_ND, best + 40) == pytest.approx(0.3, rel=1e-12)


def test_encoding_in_parts_changes_nothing() -> None:
    model, items, _ = world(num_items=11)
    whole_ND = encode_catalogue(model, items, device=CPU)
    assert whole_ND.shape == (11, 4)
    assert torch.equal(encode_catalogue(model, items, device=CPU, batch_size=3), whole_ND)
    assert torch.equal(whole_ND, model.embeddings.table("item").detach())


def test_a_model_in_training_is_refused() -> None:
    model, items, examples = world()
    with pytest.raises(ValueError, match=r"must be in evaluation mode; call model.eval\(\)"):
        ModelScorer(model.train(), items, examples, device=CPU)
