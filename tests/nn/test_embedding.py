from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from twotower.nn import EmbeddingCollection, InteractionGraph, Propagation
from twotower.spec import GRUEncoderSpec, InputSpec, TableSpec
from twotower.types import Ragged

TABLE = TableSpec(name="item", vocabulary_size=50, embedding_dim=4, init_scale=0.5)


def collection(*tables: TableSpec, seed: int = 0) -> EmbeddingCollection:
    return EmbeddingCollection(tables or (TABLE,), generator=torch.Generator().manual_seed(seed))


def reading(column: str = "x", **changes: Any) -> InputSpec:
    return InputSpec(**{"column": column, "width": 4, "table": "item", **changes})


def ragged() -> Ragged:
    return Ragged(torch.tensor([3, 9, 9, 1]), torch.tensor([0, 3, 3, 4]))


def test_rows_are_looked_up_by_column() -> None:
    embeddings = collection()
    table = embeddings.table("item")
    columns = {"one": torch.tensor([7, 0, 7], dtype=torch.int32), "many": ragged(), "unused": torch.tensor([99])}
    found = embeddings(columns, [reading("one"), reading("many", pooling="sum")])
    assert set(found) == {"one", "many"}
    assert torch.equal(found["one"], table[[7, 0, 7]])
    torch.testing.assert_close(found["many"], torch.stack([table[3] + 2 * table[9], torch.zeros(4), table[1]]))


def test_pooling_is_the_mean_unless_told_otherwise() -> None:
    embeddings = collection()
    found = {
        pooling: embeddings({"x": ragged()}, [reading(pooling=pooling)])["x"] for pooling in (None, "mean", "sum", "sqrt_n")
    }
    assert torch.equal(found[None], found["mean"])
    assert not torch.allclose(found["mean"], found["sum"])
    assert not torch.allclose(found["sqrt_n"], found["sum"])


def test_initial_rows_are_uniform_in_the_scale_and_fixed_by_the_generator() -> None:
    weight = collection(TableSpec(name="item", vocabulary_size=2_000, embedding_dim=10, init_scale=0.5)).table("item").detach()
    assert 0.49 < float(weight.max()) <= 0.5
    assert -0.5 <= float(weight.min()) < -0.49
    assert abs(float(weight.mean())) < 0.02
    assert abs(float(weight.std()) - 0.5 / 3**0.5) < 0.01
    assert torch.equal(collection(seed=3).table("item"), collection(seed=3).table("item"))
    assert not torch.equal(collection(seed=3).table("item"), collection(seed=4).table("item"))


def test_columns_of_one_table_share_it() -> None:
    embeddings = collection()
    assert len(list(embeddings.parameters())) == 1
    found = embeddings({"a": torch.tensor([5]), "b": ragged()}, [reading("a"), reading("b")])
    (found["a"].sum() + found["b"].sum()).backward()
    gradient = embeddings.table("item").grad
    assert gradient is not None
    assert sorted(gradient.abs().sum(1).nonzero().flatten().tolist()) == [1, 3, 5, 9]


@pytest.mark.parametrize("name", ["items", "train", "type", "a.b", "forward", "tables", "specs", "%2E", ""])
def test_a_table_may_have_any_name(name: str) -> None:
    embeddings = collection(TableSpec(name=name, vocabulary_size=2, embedding_dim=3))
    assert embeddings.table(name).shape == (2, 3)
    assert embeddings.train().eval().training is False


def test_names_that_look_alike_are_two_tables() -> None:
    names = ["a.b", "a/b", "a%2Eb", "a:b"]
    embeddings = collection(*(TableSpec(name=name, vocabulary_size=2, embedding_dim=3) for name in names))
    assert len({id(embeddings.table(name)) for name in names}) == len(list(embeddings.parameters())) == 4


def test_tables_of_row_updates_have_sparse_gradients() -> None:
    rows = TableSpec(name="rows.of", vocabulary_size=50, embedding_dim=4, update="rows")
    embeddings = collection(TABLE, rows)
    names = {name for name, parameter in embeddings.named_parameters() if parameter is embeddings.table("rows.of")}
    assert embeddings.sparse_parameter_names() == names
    inputs = [reading("a", table="rows.of"), reading("b", table="rows.of"), reading("c")]
    columns = {"a": torch.tensor([1, 2]), "b": ragged(), "c": torch.tensor([4])}
    sum(vector.sum() for vector in embeddings(columns, inputs).values()).backward()
    sparse, dense = embeddings.table("rows.of").grad, embeddings.table("item").grad
    assert sparse is not None
    assert dense is not None
    assert (sparse.is_sparse, dense.is_sparse) == (True, False)
    assert sorted(sparse.coalesce().indices()[0].tolist()) == [1, 2, 3, 9]


def test_dropouts_are_for_training_alone() -> None:
    embeddings = collection().eval()
    inputs = [reading("a", id_dropout=0.9), reading("b", id_dropout=0.9, value_dropout=0.9, pooling="sum")]
    columns = {"a": torch.arange(50), "b": ragged()}
    plain = embeddings(columns, [reading("a"), reading("b", pooling="sum")])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, vectors in embeddings(columns, inputs).items():
            assert torch.equal(vectors, plain[name])
        for name, vectors in embeddings.train()(columns, inputs).items():
            assert not torch.equal(vectors, plain[name])


def test_id_dropout_gives_the_vector_of_the_unknown() -> None:
    embeddings = collection().train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vectors = embeddings({"x": torch.full((2_000,), 7)}, [reading(id_dropout=0.25)])["x"]
    unknown = (vectors == embeddings.table("item")[0]).all(1)
    known = (vectors == embeddings.table("item")[7]).all(1)
    assert bool((unknown ^ known).all())
    assert abs(float(unknown.float().mean()) - 0.25) < 5 * (0.25 * 0.75 / 2_000) ** 0.5


def test_value_dropout_keeps_the_expectation_of_a_sum_and_the_scale_of_a_mean() -> None:
    embeddings = collection().train()
    column = Ragged(torch.tensor([1, 2, 3, 4, 5]).repeat(20_000), torch.arange(0, 100_001, 5))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        summed = embeddings({"x": column}, [reading(pooling="sum", value_dropout=0.4)])["x"]
        mean = embeddings({"x": column}, [reading(pooling="mean", value_dropout=0.4)])["x"]
    own = embeddings.table("item")[1:6].detach()
    torch.testing.assert_close(summed.mean(0), own.sum(0), atol=0.02, rtol=0)
    # a row that lost all its values pools to zeros: 0.4 ** 5 of them
    torch.testing.assert_close(mean.mean(0), own.mean(0) * (1 - 0.4**5), atol=0.01, rtol=0)
    assert summed.std(0).min() > 0.1


def test_an_input_without_a_table_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="'price' has no table"):
        collection()({"price": torch.zeros(2)}, [InputSpec(column="price", width=1)])


def test_id_dropout_of_a_history_replaces_each_value_for_itself() -> None:
    embeddings = collection().train()
    with torch.no_grad():
        embeddings.table("item").zero_()
        embeddings.table("item")[0] = 1.0
    column = Ragged(torch.tensor([1, 2, 3, 4]).repeat(2_000), torch.arange(0, 8_001, 4))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        share_of_unknown = embeddings({"x": column}, [reading(pooling="mean", id_dropout=0.3)])["x"][:, 0]
    counts = torch.bincount((share_of_unknown * 4).round().long(), minlength=5) / 2_000
    # the number of values replaced is binomial: of 4 with probability 0.3
    expected = torch.tensor([0.2401, 0.4116, 0.2646, 0.0756, 0.0081])
    assert ((counts - expected).abs() < 5 * (expected * (1 - expected) / 2_000).sqrt()).all()


def test_what_is_read_in_order_is_dropped_to_the_unknown_row_in_training_alone() -> None:
    item = TableSpec(name="item", vocabulary_size=5, embedding_dim=2)
    tables = collection(item)
    entry = InputSpec(column="s", width=2, table="item", id_dropout=0.5, encoder=GRUEncoderSpec(), max_length=400)
    column = Ragged(torch.full((400,), 3), torch.tensor([0, 400]))
    torch.manual_seed(0)
    read = tables.train().read(column, entry)
    unknown = (read == tables.table("item")[0]).all(1)
    assert 140 < int(unknown.sum()) < 260
    assert torch.equal(read[~unknown], tables.table("item")[3].expand(400 - int(unknown.sum()), 2))
    assert torch.equal(tables.eval().read(column, entry), tables.table("item")[3].expand(400, 2))


def propagating(update: str = "dense") -> EmbeddingCollection:
    user = TableSpec(name="user", vocabulary_size=3, embedding_dim=4, init_scale=0.5)
    item = TableSpec(name="item", vocabulary_size=4, embedding_dim=4, init_scale=0.5, update=update)
    return collection(user, item, TableSpec(name="word", vocabulary_size=5, embedding_dim=4))


def one_edge(weights: tuple[float, ...] = (0.5, 0.25), tables: tuple[str, str] = ("user", "item")) -> Propagation:
    graph = InteractionGraph.from_pairs(np.array([1]), np.array([2]), num_queries=3, num_candidates=4)
    return Propagation(*tables, graph, weights)


def test_every_input_of_a_propagated_table_reads_propagated_rows() -> None:
    embeddings = propagating()
    user, item, word = (embeddings.table(name).detach().clone() for name in ("user", "item", "word"))
    embeddings.propagate(one_edge())
    moved = item / 2
    moved[2] = item[2] / 2 + user[1] / 4
    many = Ragged(torch.tensor([2, 3]), torch.tensor([0, 2]))
    columns = {"item": torch.tensor([2, 3, 0]), "many": many, "user": torch.tensor([1, 2]), "word": torch.tensor([1])}
    inputs = [reading("item"), reading("many", pooling="sum"), reading("user", table="user"), reading("word", table="word")]
    found = embeddings(columns, inputs)
    torch.testing.assert_close(found["item"], moved[[2, 3, 0]])
    torch.testing.assert_close(found["many"], (moved[2] + moved[3])[None])
    torch.testing.assert_close(found["user"], torch.stack([user[1] / 2 + item[2] / 4, user[2] / 2]))
    assert torch.equal(found["word"], word[[1]])
    in_order = embeddings.read(many, reading("many", encoder=GRUEncoderSpec(), max_length=3))
    torch.testing.assert_close(in_order, moved[[2, 3]])
    assert torch.equal(embeddings.table("item"), item)


def test_within_a_block_weights_are_read_once() -> None:
    embeddings = propagating()
    embeddings.propagate(one_edge())
    columns, inputs = {"x": torch.tensor([2])}, [reading()]
    with embeddings.propagated():
        before = embeddings(columns, inputs)["x"].detach()
        with torch.no_grad():
            embeddings.table("user").add_(1.0)
        with embeddings.propagated():
            assert torch.equal(embeddings(columns, inputs)["x"], before)
        assert torch.equal(embeddings(columns, inputs)["x"], before)
    after = embeddings(columns, inputs)["x"]
    torch.testing.assert_close(after, before + 0.25)
    with pytest.raises(KeyError), embeddings.propagated():
        embeddings({}, inputs)
    with embeddings.propagated():  # what an error left behind is gone
        assert torch.equal(embeddings(columns, inputs)["x"], after)


def test_gradients_go_through_a_block_in_training_alone() -> None:
    embeddings = propagating()
    embeddings.propagate(one_edge())
    columns, inputs = {"x": torch.tensor([2])}, [reading()]
    with embeddings.propagated():
        assert embeddings(columns, inputs)["x"].requires_grad
    with torch.no_grad(), embeddings.propagated(), torch.enable_grad():
        assert not embeddings(columns, inputs)["x"].requires_grad
    embeddings.eval()
    with embeddings.propagated():
        assert not embeddings(columns, inputs)["x"].requires_grad


def test_settled_tables_give_the_same_bits_without_the_graph() -> None:
    embeddings = propagating()
    columns = {"x": torch.arange(4), "user": torch.arange(3)}
    inputs = [reading(), reading("user", table="user")]
    embeddings.settle()  # nothing to do
    plain = embeddings(columns, inputs)
    embeddings.propagate(one_edge())
    before = embeddings(columns, inputs)
    names = [name for name, _ in embeddings.named_parameters()]
    embeddings.settle()
    after = embeddings(columns, inputs)
    assert embeddings.propagation is None
    assert [name for name, _ in embeddings.named_parameters()] == names
    for name in columns:
        assert torch.equal(before[name], after[name])
        assert not torch.equal(plain[name], after[name])


@pytest.mark.parametrize(("tables", "named"), [(("user", "items"), "'items'"), (("item", "item"), "'item' and 'item'")])
def test_a_propagation_is_between_two_tables_that_are_there(tables: tuple[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=rf"between two of the tables user, item, word; came .*{named}"):
        propagating().propagate(one_edge(tables=tables))


def test_a_propagated_table_is_not_updated_by_rows() -> None:
    with pytest.raises(ValueError, match="propagation gives every row a gradient: table 'item' can't be updated by rows"):
        propagating("rows").propagate(one_edge())
