from __future__ import annotations

from typing import Any

import pytest
import torch

from twotower.errors import ConfigError
from twotower.models import build, check_columns, state_of
from twotower.spec import (
    ColumnSpec,
    FloatsColumn,
    InputSpec,
    ItemsColumn,
    ModelSpec,
    OrdinalHeadSpec,
    RegressionHeadSpec,
    RowsColumn,
    TableSpec,
    TowerSpec,
)
from twotower.types import Ragged

USER = TableSpec(name="user", vocabulary_size=6, embedding_dim=4)
ITEM = TableSpec(name="item", vocabulary_size=7, embedding_dim=4)


def reads(column: str, table: str | None = None, width: int = 4) -> InputSpec:
    return InputSpec(column=column, width=width, table=table)


def tower(*inputs: InputSpec, **options: Any) -> TowerSpec:
    return TowerSpec(inputs=inputs, **{"layer_sizes": (5, 4), **options})


def spec(**changes: Any) -> ModelSpec:
    parts: dict[str, Any] = {
        "tables": (USER, ITEM),
        "query": tower(reads("user_id", "user"), reads("history", "item")),
        "candidate": tower(reads("item_id", "item"), reads("title", "item")),
    }
    return ModelSpec(**{**parts, **changes})


def test_a_seed_fixes_every_weight_and_torch_is_left_alone() -> None:
    before = torch.get_rng_state()
    one, again, other = (state_of(build(spec(), seed=seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], again[name]) for name in one)
    weights = [name for name in one if one[name].dim() == 2]
    assert len(weights) == 6
    assert not any(torch.equal(one[name], other[name]) for name in weights)


def test_towers_have_layers_of_their_own_unless_shared() -> None:
    apart, shared = build(spec(), seed=0), build(spec(share_layers=True), seed=0)
    assert apart.query.layers is not apart.candidate.layers
    assert shared.query.layers is shared.candidate.layers
    size = sum(parameter.numel() for parameter in apart.parameters())
    layers = sum(parameter.numel() for parameter in apart.candidate.layers.parameters())
    assert sum(parameter.numel() for parameter in shared.parameters()) == size - layers


HEADS = (
    RegressionHeadSpec(name="items", mean=3.0, scale=1.0, low=1.0, high=5.0, layer_sizes=(6,)),
    OrdinalHeadSpec(name="watched", levels=(0.0, 1.0), shares=(0.5, 0.5), inputs=("product",)),
)


def test_heads_leave_the_towers_as_they_are() -> None:
    plain, headed = build(spec(), seed=3), build(spec(heads=HEADS), seed=3)
    assert plain.head_names == []
    assert headed.head_names == ["items", "watched"]
    before, after = state_of(plain), state_of(headed)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert len(after) == len(before) + 4 + 4
    again, other = (state_of(build(spec(heads=HEADS), seed=seed)) for seed in (3, 4))
    weights = [name for name in after if name not in before and after[name].dim() == 2]
    assert all(torch.equal(after[name], again[name]) for name in after)
    assert not any(torch.equal(after[name], other[name]) for name in weights)


def test_a_head_is_found_by_its_name_alone() -> None:
    model = build(spec(heads=HEADS), seed=0)
    assert model.head("watched").name == "watched"
    assert model.head("items")(torch.zeros(2, 4), torch.zeros(2, 4)).shape == (2, 1)
    with pytest.raises(KeyError):
        model.head("rating")


def test_tables_are_in_the_model_once() -> None:
    model = build(spec(), seed=0)
    assert model.query.embeddings is model.candidate.embeddings
    assert sum(parameter.shape == (7, 4) for parameter in model.parameters()) == 1
    assert model.embedding_dim == 4


def test_tables_of_row_updates_are_named_as_parameters() -> None:
    model = build(spec(tables=(USER, ITEM.model_copy(update={"update": "rows"}))), seed=0)
    (name,) = model.sparse_parameter_names()
    assert dict(model.named_parameters())[name].shape == (7, 4)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"heads": (HEADS[0], HEADS[0])}, "every head needs a name of its own; 'items' came twice"),
        (
            {"candidate": tower(reads("item_id", "item"), layer_sizes=(8,))},
            "query gives 4, candidate 8: make the last entry of layer_sizes equal",
        ),
        ({"query": tower(reads("user_id", "usr"))}, "query.user_id: no table 'usr'; there are item, user"),
        ({"query": tower(reads("user_id", "user", 3))}, "query.user_id: width 3, but table 'user' is 4 wide"),
        ({"tables": (USER, ITEM, USER)}, "every table needs a name of its own"),
        (
            {"query": tower(reads("id", "user"), reads("id", "item"))},
            "query: every input reads a column of its own; id came twice",
        ),
        ({"query": tower(reads("user_id", "user"), skip=("user",))}, "query.skip: 'user' must be an embedded input as wide as"),
        (
            {"query": tower(reads("user_id", "user"), reads("price", width=4), skip=("price",))},
            "query.skip: 'price' must be an embedded input",
        ),
        (
            {
                "query": tower(reads("user_id", "user"), skip=("user_id",), layer_sizes=(3,)),
                "candidate": tower(reads("item_id", "item"), layer_sizes=(3,)),
            },
            "as wide as the output \\(3\\); came one 4 wide",
        ),
        (
            {"share_layers": True, "query": tower(reads("user_id", "user"))},
            "towers that share layers need the same input_width; query has 4, candidate 8",
        ),
        (
            {"share_layers": True, "query": tower(reads("a", "user"), reads("b", "user"), layer_sizes=(4,))},
            r"the same layer_sizes; query has \(4,\), candidate \(5, 4\)",
        ),
        *(
            (
                {"share_layers": True, "query": tower(reads("a", "user"), reads("b", "user"), **{name: value})},
                f"the same {name}",
            )
            for name, value in {"activation": "tanh", "init": "he_uniform", "hidden_dropout": 0.5, "layer_norm": True}.items()
        ),
    ],
)
def test_a_spec_that_can_not_be_built_is_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault) as caught:
        build(spec(**changes), seed=0)
    assert len(caught.value.faults) == 1


def test_all_faults_come_at_once() -> None:
    query = tower(reads("user_id", "usr"), reads("history", "item", 3), skip=("nothing",), layer_sizes=(9,))
    with pytest.raises(ConfigError) as caught:
        build(spec(query=query), seed=0)
    assert len(caught.value.faults) == 4


def test_columns_must_be_what_the_inputs_read() -> None:
    columns: list[ColumnSpec] = [RowsColumn(name="user_id", vocabulary_size=6), FloatsColumn(name="price", width=1)]
    check_columns(tower(reads("user_id", "user"), reads("price", width=1)), columns, name="query")
    wrong = tower(reads("user_id", width=1), reads("price", "user"), reads("age", width=1))
    with pytest.raises(ConfigError) as caught:
        check_columns(wrong, columns, name="query")
    assert caught.value.faults == (
        "query tower: column 'user_id' holds rows, its input expects floats",
        "query tower: column 'price' holds floats, its input expects rows",
        "query tower: no column 'age'; preprocessing gives price, user_id",
    )


def items(width: int = 4, column: str = "history") -> InputSpec:
    return InputSpec(column=column, width=width, items="candidate", pooling="mean")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"query": tower(items(5))},
            "query.history: width 5, but the candidate tower, whose vectors it reads, gives 4",
        ),
        (
            {"candidate": tower(reads("item_id", "item"), items())},
            "candidate.history: only a query reads items as the candidate tower gives them",
        ),
    ],
)
def test_items_are_read_as_the_candidate_gives_them(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault) as caught:
        build(spec(**changes), seed=0)
    assert len(caught.value.faults) == 1


def test_items_may_be_added_to_the_output() -> None:
    model = build(spec(query=tower(items(), skip=("history",), layer_sizes=(4,))), seed=0)
    vectors_ND = torch.randn(3, 4)
    history = {"history": Ragged(torch.tensor([2, 0]), torch.tensor([0, 2]))}
    found_BD = model.encode_queries_with_items(history, vectors_ND)
    pooled_BD = vectors_ND[[2, 0]].mean(0, keepdim=True)
    torch.testing.assert_close(found_BD, model.query.layers(pooled_BD) + pooled_BD)
    assert model.item_columns == ("history",)


def test_columns_of_items_are_of_items() -> None:
    columns: list[ColumnSpec] = [
        ItemsColumn(name="history"),
        ItemsColumn(name="past"),
        RowsColumn(name="liked", vocabulary_size=6, ragged=True),
        FloatsColumn(name="price", width=4),
    ]
    check_columns(tower(items()), columns, name="query")
    wrong = tower(items(column="liked"), items(column="price"), reads("history", "item"), reads("past", width=4))
    with pytest.raises(ConfigError) as caught:
        check_columns(wrong, columns, name="query")
    assert caught.value.faults == (
        "query tower: column 'liked' holds rows, its input expects items",
        "query tower: column 'price' holds floats, its input expects items",
        "query tower: column 'history' holds items, its input expects rows of a table or floats",
        "query tower: column 'past' holds items, its input expects rows of a table or floats",
    )
