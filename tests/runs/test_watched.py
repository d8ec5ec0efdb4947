"""Names of validation's figures, taken apart and put together."""

from __future__ import annotations

import pytest

from twotower.runs.watched import Watched


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("recall@20", ("recall@20", False, False)),
        ("recall@20 removed", ("recall@20", False, True)),
        ("recall@20 per user", ("recall@20", True, False)),
        ("ndcg@20 per user removed", ("ndcg@20", True, True)),
        ("mrr removed", ("mrr", False, True)),
        ("stars rmse", ("stars rmse", False, False)),
    ],
)
def test_a_name_is_its_parts(name: str, parts: tuple[str, bool, bool]) -> None:
    found = Watched.of(name)
    assert (found.metric, found.per_user, found.removed) == parts
    assert found.name == name


@pytest.mark.parametrize("name", ["recall@1", "ndcg@20 per user removed", "mrr"])
def test_figures_of_rankings(name: str) -> None:
    assert Watched.of(name).orders_rankers


@pytest.mark.parametrize("name", ["stars rmse", "recall", "recall@0", "recall@x", "loss", "recall@5 removed per user"])
def test_what_orders_no_rankers(name: str) -> None:
    assert not Watched.of(name).orders_rankers
