"""Tables that are elsewhere, here in the same process: what is asked of them, and that nothing else can tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from twotower.models import build
from twotower.nn import EmbeddingCollection, InteractionGraph, Propagation
from twotower.spec import GRUEncoderSpec, InputSpec, ModelSpec, TableSpec, TowerSpec
from twotower.types import Events, Prefixes, Ragged

ITEM = TableSpec(name="item", vocabulary_size=40, embedding_dim=4, update="rows")
USER = TableSpec(name="user", vocabulary_size=9, embedding_dim=4, init_scale=0.3)
WORD = TableSpec(name="word", vocabulary_size=30, embedding_dim=4, update="rows")


class Elsewhere:
    """Tables that remember what they were asked for."""

    def __init__(self, *tables: TableSpec) -> None:
        self.specs = {table.name: table for table in tables}
        self.weights: dict[str, Tensor] = {}
        self.asked: list[dict[str, list[int]]] = []

    def draw(self, name: str, generator: torch.Generator) -> None:
        spec = self.specs[name]
        rows = torch.empty(spec.vocabulary_size, spec.embedding_dim)
        self.weights[name] = rows.uniform_(-spec.init_scale, spec.init_scale, generator=generator).requires_grad_()

    def rows(self, ids: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.asked.append({name: rows.tolist() for name, rows in ids.items()})
        return {name: self.weights[name][rows] for name, rows in ids.items()}


def pair(*tables: TableSpec, distant: tuple[TableSpec, ...] = (ITEM, WORD)) -> tuple[Any, Any, Elsewhere]:
    """The same collection, with all tables and with some of them elsewhere."""
    elsewhere = Elsewhere(*distant)
    whole = EmbeddingCollection(tables, generator=torch.Generator().manual_seed(5))
    parted = EmbeddingCollection(tables, generator=torch.Generator().manual_seed(5), distant=elsewhere)
    return whole, parted, elsewhere


def both(whole: EmbeddingCollection, parted: EmbeddingCollection, elsewhere: Elsewhere, look_up: Any) -> None:
    """What is looked up is the same, and so are the gradients of all tables; what is drawn next is so to the bit."""
    found = []
    for collection in (whole, parted):
        torch.manual_seed(3)
        vectors = look_up(collection)
        sum((vector * vector.detach().cos()).sum() for vector in vectors).backward()
        found.append(([vector.detach() for vector in vectors], torch.rand(3)))
    for one, other in zip(found[0][0], found[1][0], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)  # pooled by kernels of dense and of sparse gradients
    assert torch.equal(found[0][1], found[1][1])
    for name in whole.specs:
        ours = elsewhere.weights[name].grad if name in elsewhere.specs else parted.table(name).grad
        theirs = whole.table(name).grad
        assert theirs is not None
        assert ours is not None
        torch.testing.assert_close(ours, theirs.to_dense() if theirs.is_sparse else theirs)


def ids(size: int, count: int, seed: int) -> Tensor:
    return torch.randint(size, (count,), generator=torch.Generator().manual_seed(seed))


HISTORY = Ragged(ids(40, 12, 1).to(torch.int32), torch.tensor([0, 5, 5, 12]))
WORDS = Ragged(ids(30, 9, 2), torch.tensor([0, 2, 4, 9]))
INPUTS = (
    InputSpec(column="user", width=4, table="user", id_dropout=0.3),
    InputSpec(column="item", width=4, table="item", id_dropout=0.5),
    InputSpec(column="history", width=4, table="item", pooling="mean", id_dropout=0.4),
    InputSpec(column="words", width=4, table="word", pooling="sum", value_dropout=0.5),
)
COLUMNS: dict[str, Any] = {"user": ids(9, 3, 4), "item": ids(40, 3, 3) + 0, "history": HISTORY, "words": WORDS}


@pytest.mark.parametrize("training", [True, False])
def test_a_tower_call_asks_once_and_gives_the_same(training: bool) -> None:
    whole, parted, elsewhere = pair(USER, ITEM, WORD)
    for collection in (whole, parted):
        collection.train(training)
    both(whole, parted, elsewhere, lambda collection: list(collection(COLUMNS, INPUTS).values()))
    items = sorted({*COLUMNS["item"].tolist(), *HISTORY.values.tolist()} | ({0} if training else set()))
    assert elsewhere.asked == [{"item": items, "word": sorted(set(WORDS.values.tolist()))}]


def test_lookups_of_a_block_ask_once() -> None:
    _, parted, elsewhere = pair(USER, ITEM, WORD)
    parted.eval()
    other = {"item": torch.tensor([39, 0])}
    with parted.fetched((COLUMNS, INPUTS), (other, INPUTS[1:2])):
        first = parted(COLUMNS, INPUTS)
        with parted.fetched((other, INPUTS[1:2])):
            second = parted(other, INPUTS[1:2])
        assert len(elsewhere.asked) == 1
    assert torch.equal(second["item"], elsewhere.weights["item"][other["item"]])
    (first["item"].sum() + second["item"].sum() * 2).backward()
    grad = elsewhere.weights["item"].grad
    assert grad is not None
    assert grad[39, 0] == 2 + COLUMNS["item"].tolist().count(39)
    parted(other, INPUTS[1:2])
    assert len(elsewhere.asked) == 2, "after the block, everything is asked anew"


def test_a_lookup_for_itself_asks_for_itself() -> None:
    whole, parted, elsewhere = pair(ITEM, distant=(ITEM,))
    read = InputSpec(column="history", width=4, table="item", encoder=GRUEncoderSpec(), max_length=9, id_dropout=0.4)
    prefixes = Prefixes(HISTORY, torch.tensor([0, 0, 2]), torch.tensor([1, 4, 7]))
    for column in (HISTORY, prefixes):
        both(whole, parted, elsewhere, lambda collection, column=column: [collection.read(column, read)])
    both(whole, parted, elsewhere, lambda collection: [collection.pooled(collection.lookup(HISTORY, INPUTS[2]), INPUTS[2])])
    wanted = sorted({0, *HISTORY.values.tolist()})
    assert elsewhere.asked == [{"item": wanted}] * 3


@pytest.mark.parametrize("kind", ["ragged", "prefixes", "events", "events of prefixes"])
def test_towers_with_sequences(kind: str) -> None:
    history = InputSpec(column="history", width=4, table="item", encoder=GRUEncoderSpec(), max_length=9)
    user = TowerSpec(inputs=(history, InputSpec(column="user", width=4, table="user")), layer_sizes=(6, 5), input_dropout=0.2)
    item = TowerSpec(inputs=(InputSpec(column="item", width=4, table="item"),), layer_sizes=(5,))
    spec = ModelSpec(tables=(USER, ITEM), query=user, candidate=item)
    column: Any = HISTORY
    if "prefixes" in kind:
        column = Prefixes(HISTORY, torch.tensor([0, 0, 2]), torch.tensor([1, 4, 7]))
    if "events" in kind:
        column = Events(column)
    queries: dict[str, Any] = {"history": column, "user": COLUMNS["user"]}
    candidates: dict[str, Any] = {"item": COLUMNS["item"]}
    elsewhere = Elsewhere(ITEM)
    whole, parted = build(spec, seed=2), build(spec, seed=2, distant=elsewhere)
    found = []
    for model in (whole, parted):
        torch.manual_seed(1)
        with model.fetched(queries, candidates):
            scores = model.encode_queries(queries) @ model.encode_candidates(candidates).T
        scores.square().sum().backward()  # type: ignore[no-untyped-call]
        found.append(scores.detach())
    torch.testing.assert_close(found[1], found[0])
    assert len(elsewhere.asked) == 1
    parameters, others = dict(whole.named_parameters()), dict(parted.named_parameters())
    assert parameters.keys() - others.keys() == {"embeddings.table:item"}
    assert parted.sparse_parameter_names() == set()
    for name, parameter in others.items():
        torch.testing.assert_close(parameter.detach(), parameters[name].detach(), rtol=0, atol=0)
        torch.testing.assert_close(parameter.grad, parameters[name].grad)
    whole_grad, grad = whole.embeddings.table("item").grad, elsewhere.weights["item"].grad
    assert whole_grad is not None
    assert grad is not None
    torch.testing.assert_close(grad, whole_grad.to_dense())


def test_no_rows_are_asked_for_too() -> None:
    _, parted, elsewhere = pair(ITEM, WORD)
    empty = {
        "item": torch.empty(0, dtype=torch.int64),
        "words": Ragged(torch.empty(0, dtype=torch.int64), torch.zeros(1).long()),
    }
    found = parted.eval()(empty, (INPUTS[1], INPUTS[3]))
    assert [list(vectors.shape) for vectors in found.values()] == [[0, 4], [0, 4]]
    assert elsewhere.asked == [{"item": [], "word": []}]


def test_inputs_of_other_tables_ask_for_nothing() -> None:
    _, parted, elsewhere = pair(USER, ITEM, WORD)
    parted({"user": torch.tensor([1])}, INPUTS[:1])
    assert elsewhere.asked == [{}]


def test_what_was_not_fetched() -> None:
    _, parted, _ = pair(ITEM, WORD)
    parted.eval()
    with parted.fetched(({"item": torch.tensor([3])}, INPUTS[1:2])):
        with pytest.raises(ValueError, match="rows that were not fetched when the block began"):
            parted.lookup(torch.tensor([3, 4]), INPUTS[1])
        with pytest.raises(ValueError, match="table 'word' was not fetched"):
            parted.lookup(WORDS, INPUTS[3])
    with (
        parted.fetched(({"item": torch.empty(0, dtype=torch.int64)}, INPUTS[1:2])),
        pytest.raises(ValueError, match="not fetched"),
    ):
        parted.lookup(torch.tensor([3]), INPUTS[1])


def test_what_a_collection_without_a_table_can_not_do() -> None:
    _, parted, _ = pair(USER, ITEM, WORD)
    with pytest.raises(ValueError, match="table 'item' is spread over ranks"):
        parted.table("item")
    assert parted.table("user").shape == (9, 4)
    assert parted.distant_parameter_names() == {"table:item": "item", "table:word": "word"}
    graph = InteractionGraph.from_pairs(np.array([0]), np.array([1]), num_queries=9, num_candidates=40)
    with pytest.raises(ValueError, match="updated by rows"):
        parted.propagate(Propagation("user", "item", graph, (0.5, 0.5)))


def test_distant_tables_must_be_the_specs() -> None:
    other = ITEM.model_copy(update={"vocabulary_size": 3})
    with pytest.raises(ValueError, match="must be among the specs, and the same; item, word are not"):
        EmbeddingCollection([ITEM], generator=torch.Generator(), distant=Elsewhere(other, WORD))
