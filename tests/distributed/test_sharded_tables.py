"""One contract for tables of one process and tables that ranks share: what is looked up, and what training makes of it.

The oracle is a collection of one process that is trained on what all ranks are given, by `twotower.optim.RowwiseAdagrad`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from tests.distributed.in_ranks import in_ranks, preload
from torch import Tensor

from twotower.distributed import Placement, Ranks, RowWise, ShardedTables, TableAdagrad, TableWise, table_exchange
from twotower.errors import RankLostError
from twotower.nn import EmbeddingCollection
from twotower.optim import RowwiseAdagrad
from twotower.spec import InputSpec, TableSpec
from twotower.types import Ragged

pytestmark = pytest.mark.skipif(find_spec("torchrec") is None, reason="needs the extra distributed")
preload("tests.distributed.with_torchrec")

TABLES = (
    TableSpec(name="item", vocabulary_size=23, embedding_dim=8, update="rows"),
    TableSpec(name="genre", vocabulary_size=5, embedding_dim=4),  # dense: every rank has it
    TableSpec(name="user.id", vocabulary_size=11, embedding_dim=8, update="rows", init_scale=0.5),
    TableSpec(name="one", vocabulary_size=1, embedding_dim=4, update="rows"),
)
QUERY = (
    InputSpec(column="user", width=8, table="user.id"),
    InputSpec(column="history", width=8, table="item", pooling="mean"),
    InputSpec(column="last", width=8, table="item"),  # a table that two inputs share
    InputSpec(column="genres", width=4, table="genre", pooling="sum"),
    InputSpec(column="one", width=4, table="one", pooling="sqrt_n"),
)
CANDIDATE = (InputSpec(column="item", width=8, table="item"),)  # and the other tower
ADAGRAD = TableAdagrad(learning_rate=0.1, initial_accumulator=0.01, epsilon=1e-4)
ROWS = 9

PLANS: dict[str, dict[str, Placement] | None] = {
    "row_wise": {"item": RowWise(), "user.id": RowWise(), "one": RowWise()},
    "table_wise": {"item": TableWise(0), "user.id": TableWise(0), "one": TableWise(0)},
    "mixed": {"item": RowWise(), "one": TableWise(0)},  # the third by the planner
    "planner": None,
}


def _features(step: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Rows of all ranks. Few ids, so that ranks share most of them."""
    generator = torch.Generator().manual_seed(100 + step)

    def ids(size: int, count: int = ROWS) -> Tensor:
        return torch.randint(size, (count,), generator=generator)

    def ragged(size: int) -> Ragged:
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), ids(4).cumsum(0)])
        return Ragged(ids(size, int(offsets[-1])).to(torch.int32), offsets)

    queries = {"user": ids(11), "history": ragged(23), "last": ids(23), "genres": ragged(5), "one": ragged(1)}
    return queries, {"item": ids(23)}


def _taken(features: Mapping[str, Any], rows: Tensor) -> dict[str, Any]:
    return {name: column[rows] if isinstance(column, Tensor) else column.take(rows) for name, column in features.items()}


def _shares(step: int, size: int) -> list[Tensor]:
    """Which rows a rank has: uneven, and at every third step the last has none."""
    last = size if step % 3 != 2 or size == 1 else size - 1
    return [torch.arange(rank, ROWS, last) if rank < last else torch.arange(0) for rank in range(size)]


def _collection(distant: ShardedTables | None) -> tuple[EmbeddingCollection, Tensor]:
    generator = torch.Generator().manual_seed(7)
    collection = EmbeddingCollection(TABLES, generator=generator, distant=distant)
    return collection, torch.rand(3, generator=generator)  # what is drawn next


def _losses(collection: EmbeddingCollection, queries: Mapping[str, Any], candidates: Mapping[str, Any]) -> tuple[Tensor, Any]:
    """A loss that is a sum over rows, and the vectors."""
    with collection.fetched((queries, QUERY), (candidates, CANDIDATE)):
        vectors = collection(queries, QUERY)
        found = collection(candidates, CANDIDATE)["item"]
    own = torch.cat([vectors["user"], vectors["history"], vectors["last"]], dim=1)
    loss = (own * own.detach().roll(1, 1)).sum() + (vectors["history"] * found).sum()
    loss = loss + (vectors["genres"] * vectors["one"]).square().sum() + vectors["one"].sum()
    return loss, {name: vector.detach() for name, vector in vectors.items()} | {"item": found.detach()}


RATES = (0.1, 0.05, 0.2, 0.2)


def _local() -> dict[str, Any]:
    """The oracle: one process, all rows."""
    collection, after = _collection(None)
    optimizer = RowwiseAdagrad(
        [collection.table(table.name) for table in TABLES if table.update == "rows"],
        lr=ADAGRAD.learning_rate,
        initial_accumulator_value=ADAGRAD.initial_accumulator,
        eps=ADAGRAD.epsilon,
    )
    first = {name: parameter.detach().clone() for name, parameter in collection.named_parameters()}
    seen, dense = [], []
    for step, rate in enumerate(RATES):
        optimizer.param_groups[0]["lr"] = rate
        collection.zero_grad()
        loss, vectors = _losses(collection, *_features(step))
        loss.backward()  # type: ignore[no-untyped-call]
        dense.append(collection.table("genre").grad)
        seen.append(vectors)
        optimizer.step()
    names = {collection._names[table.name]: table.name for table in TABLES}
    return {
        "after": after,
        "first": {names[name]: rows for name, rows in first.items()},
        "vectors": seen,
        "dense": dense,
        "last": {table.name: collection.table(table.name).detach() for table in TABLES},
        "accumulators": {
            table.name: optimizer.state[collection.table(table.name)]["accumulator"]
            for table in TABLES
            if table.update == "rows"
        },
    }


def _shards(tables: ShardedTables) -> list[tuple[str, int, list[list[float]], list[float]]]:
    return [(each.table, each.rows.start, each.weights.tolist(), each.accumulators.tolist()) for each in tables.shards()]


def _sharded(ranks: Ranks) -> dict[str, Any]:
    return {name: _trained(ranks, plan) for name, plan in PLANS.items()}


def _trained(ranks: Ranks, plan: dict[str, Placement] | None) -> dict[str, Any]:
    tables = ShardedTables([table for table in TABLES if table.update == "rows"], ranks, adagrad=ADAGRAD, plan=plan)
    collection, after = _collection(tables)
    first, seen, dense = _shards(tables), [], []
    for step, rate in enumerate(RATES):
        tables.set_learning_rate(rate)
        collection.zero_grad()
        rows = _shares(step, ranks.size)[ranks.rank]
        queries, candidates = _features(step)
        loss, vectors = _losses(collection, _taken(queries, rows), _taken(candidates, rows))
        loss.backward()  # type: ignore[no-untyped-call]
        grad = collection.table("genre").grad
        dense.append(ranks.sum_(torch.zeros(5, 4) if grad is None else grad).tolist())
        seen.append({name: vector.tolist() for name, vector in vectors.items()})
    return {
        "after": after.tolist(),
        "plan": tables.plan,
        "first": first,
        "vectors": seen,
        "dense": dense,
        "last": _shards(tables),
        "names": sorted(name for name, _ in collection.named_parameters()),
        "distant": collection.distant_parameter_names(),
    }


def _whole(
    of_ranks: list[list[tuple[str, int, list[list[float]], list[float]]]],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tables and accumulators from all ranks' shards; every row has to be there once."""
    weights, accumulators = {}, {}
    for table in TABLES:
        parts = sorted(
            (start, rows, states) for shards in of_ranks for name, start, rows, states in shards if name == table.name
        )
        if table.update == "rows":
            assert [start for start, _, _ in parts] == [sum(len(rows) for _, rows, _ in parts[:at]) for at in range(len(parts))]
            weights[table.name] = torch.tensor([row for _, rows, _ in parts for row in rows])
            accumulators[table.name] = torch.tensor([state for _, _, states in parts for state in states])
            assert len(weights[table.name]) == table.vocabulary_size
    return weights, accumulators


@pytest.fixture(scope="module")
def local() -> dict[str, Any]:
    return _local()


@pytest.fixture(scope="module", params=[1, 2, 4])
def of_ranks(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return in_ranks(_sharded, request.param, timeout_s=400)


@pytest.mark.parametrize("plan", PLANS)
class TestContract:
    def test_starts_with_the_same_rows(self, local: dict[str, Any], of_ranks: list[dict[str, Any]], plan: str) -> None:
        weights, accumulators = _whole([of[plan]["first"] for of in of_ranks])
        for name, rows in weights.items():
            assert torch.equal(rows, local["first"][name])
            assert torch.equal(accumulators[name], torch.full((len(rows),), 0.01))
        for of in of_ranks:
            assert of[plan]["after"] == local["after"].tolist()

    def test_is_placed_as_asked(self, of_ranks: list[dict[str, Any]], plan: str) -> None:
        for of in of_ranks:
            placed = of[plan]["plan"]
            assert placed == of_ranks[0][plan]["plan"]
            assert list(placed) == ["item", "user.id", "one"]
            for name, place in (PLANS[plan] or {}).items():
                assert placed[name] == place
        if plan == "table_wise":
            assert [sorted(name for name, *_ in of[plan]["last"]) for of in of_ranks[1:]] == [[]] * (len(of_ranks) - 1)
        if plan == "row_wise":
            sizes = [sum(len(rows) for name, _, rows, _ in of[plan]["last"] if name == "item") for of in of_ranks]
            assert sizes == {1: [23], 2: [12, 11], 4: [6, 6, 6, 5]}[len(of_ranks)]

    def test_gives_the_same_vectors(self, local: dict[str, Any], of_ranks: list[dict[str, Any]], plan: str) -> None:
        size = len(of_ranks)
        for step, expected in enumerate(local["vectors"]):
            for rank, rows in enumerate(_shares(step, size)):
                for name, vectors in expected.items():
                    found = torch.tensor(of_ranks[rank][plan]["vectors"][step][name]).reshape(vectors[rows].shape)
                    torch.testing.assert_close(found, vectors[rows], rtol=1e-6, atol=1e-6)

    def test_is_trained_as_one_process_on_all_rows(
        self, local: dict[str, Any], of_ranks: list[dict[str, Any]], plan: str
    ) -> None:
        weights, accumulators = _whole([of[plan]["last"] for of in of_ranks])
        for name, rows in weights.items():
            assert not torch.allclose(rows, local["first"][name], atol=1e-2), "it has learned something"
            torch.testing.assert_close(rows, local["last"][name], rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(accumulators[name], local["accumulators"][name], rtol=2e-6, atol=1e-6)
        for of in of_ranks:
            for found, expected in zip(of[plan]["dense"], local["dense"], strict=True):
                torch.testing.assert_close(torch.tensor(found), expected, rtol=1e-5, atol=1e-6)

    def test_has_parameters_of_dense_tables_only(self, of_ranks: list[dict[str, Any]], plan: str) -> None:
        for of in of_ranks:
            assert of[plan]["names"] == ["table:genre"]
            assert of[plan]["distant"] == {"table:item": "item", "table:user%2Eid": "user.id", "table:one": "one"}


def _without_the_others(ranks: Ranks) -> str:
    def closed(*_: Any) -> None:
        raise RuntimeError("Connection closed by peer")

    table_exchange.TableExchange.rows = closed  # type: ignore[method-assign, assignment]
    tables = ShardedTables([TABLES[0]], ranks, adagrad=ADAGRAD, plan={"item": RowWise()})
    with pytest.raises(RankLostError) as fault:
        tables.rows({"item": torch.arange(3)})
    return str(fault.value)


def test_a_rank_that_is_gone_when_rows_are_looked_up_is_called_so() -> None:
    assert all("has lost the others" in said for said in in_ranks(_without_the_others, 2))
