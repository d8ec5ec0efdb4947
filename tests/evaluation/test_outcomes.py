from __future__ import annotations

import numpy as np
import pytest
import torch

from twotower.data import Examples, build_histories
from twotower.evaluation import predict_outcomes
from twotower.models import TwoTower, build
from twotower.spec import InputSpec, ModelSpec, RegressionHeadSpec, TableSpec, TowerSpec

CPU = torch.device("cpu")
USERS, ITEMS = 6, 5


def model_of() -> TwoTower:
    tables = tuple(
        TableSpec(name=n, vocabulary_size=s, embedding_dim=4, init_scale=1.0) for n, s in (("user", USERS), ("item", ITEMS))
    )
    user, item = (TowerSpec(inputs=(InputSpec(column=t.name, width=4, table=t.name),)) for t in tables)
    heads = tuple(
        RegressionHeadSpec(name=name, mean=mean, scale=1.0, low=-50, high=50)
        for name, mean in (("stars", 3.0), ("hours", 10.0))
    )
    return build(ModelSpec(tables=tables, query=user, candidate=item, heads=heads), seed=1).eval()


def examples_of(rows: int) -> Examples:
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, USERS, rows), rng.integers(-1, ITEMS, rows)
    histories, before = build_histories(users, items, np.arange(rows), num_users=USERS)
    features = {"user": torch.arange(USERS)}
    return Examples(torch.from_numpy(users), torch.from_numpy(items), features, {}, histories, before, seen_before=True)


@pytest.mark.parametrize("rows", [30, 5000])
def test_every_row_is_predicted_for_its_own_item(rows: int) -> None:
    model, examples = model_of(), examples_of(rows)
    found = predict_outcomes(model, {"item": torch.arange(ITEMS)}, examples, head="hours", device=CPU)
    with torch.no_grad():
        queries = model.encode_queries({"user": torch.arange(USERS)})
        items = model.encode_candidates({"item": torch.arange(ITEMS)})
        head = model.head("hours")
        table = [[float(head.predict(head(queries[u][None], items[i][None]))) for i in range(ITEMS)] for u in range(USERS)]
    users, chosen = examples.user_rows.tolist(), examples.item_rows.tolist()
    expected = [table[u][i] if i >= 0 else float("nan") for u, i in zip(users, chosen, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    other = predict_outcomes(model, {"item": torch.arange(ITEMS)}, examples, head="stars", device=CPU)
    assert float(np.nanmin(np.abs(found - other))) > 0


def test_a_model_in_training_mode_or_without_the_head_is_refused() -> None:
    model, examples = model_of(), examples_of(5)
    with pytest.raises(KeyError):
        predict_outcomes(model, {"item": torch.arange(ITEMS)}, examples, head="rating", device=CPU)
    with pytest.raises(ValueError, match="evaluation mode"):
        predict_outcomes(model.train(), {"item": torch.arange(ITEMS)}, examples, head="stars", device=CPU)
