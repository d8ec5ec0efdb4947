from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from twotower.baselines import PopularityScorer
from twotower.runs import Recipe
from twotower.runs.probe import VectorScorer, headline

MakeRecipe = Callable[..., Recipe]


@pytest.mark.parametrize(
    ("stopping", "wanted"),
    [
        ({"metric": "recall@5"}, ("recall@5", "recall@5", False, 5)),
        ({"metric": "recall@1 removed"}, ("recall@1 removed", "recall@1", True, 1)),
        ({"metric": "ndcg@10"}, ("ndcg@10", "ndcg@10", False, 5)),
        ({"metric": "mrr"}, ("mrr", "mrr", False, 5)),
        ({"metric": "recall@1 per user removed"}, ("recall@1 removed", "recall@1", True, 1)),
        (False, ("recall@5", "recall@5", False, 5)),
    ],
)
def test_the_headline_is_what_training_goes_by(
    make_recipe: MakeRecipe, stopping: object, wanted: tuple[str, str, bool, int]
) -> None:
    found = headline(make_recipe(training={"early_stopping": stopping}))
    assert (found.name, found.metric, found.removed, found.k) == wanted


def test_a_scorer_of_vectors_gives_their_products_in_tiles() -> None:
    queries, items = torch.randn(3, 4), torch.randn(5, 4)
    scorer = VectorScorer(queries, items)
    tiles = list(scorer.tiles(torch.tensor([2, 0]), 2))
    assert [first for first, _ in tiles] == [0, 2, 4]
    assert torch.allclose(torch.cat([tile for _, tile in tiles], dim=1), queries[[2, 0]] @ items.T, atol=1e-6)
    assert scorer.num_items == PopularityScorer(torch.ones(5, dtype=torch.int64)).num_items
