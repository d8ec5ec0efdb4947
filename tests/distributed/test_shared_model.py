"""A model whose tables ranks share: steps of training, weights written and put back, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.distributed.in_ranks import in_ranks, preload
from torch import Tensor

from twotower.bundle import read_tensors, write_tensors
from twotower.distributed import (
    ALONE,
    Placement,
    Ranks,
    RowWise,
    ShardedTables,
    TableAdagrad,
    TableWise,
    WholeTable,
    rows_by_rank,
    stream_tables,
)
from twotower.distributed.torchrec_library import _check_versions, torchrec_library
from twotower.errors import ConfigError, MissingExtraError, TwotowerError
from twotower.models import TwoTower, build, sharded_weights, state_of, weights_of
from twotower.optim import RowwiseAdagrad
from twotower.spec import GRUEncoderSpec, InputSpec, ModelSpec, TableSpec, TowerSpec
from twotower.types import Prefixes, Ragged

needs_torchrec = pytest.mark.skipif(find_spec("torchrec") is None, reason="needs the extra distributed")
preload("tests.distributed.with_torchrec")

ADAGRAD = TableAdagrad(learning_rate=0.3, initial_accumulator=0.1, epsilon=1e-7)
ITEM = TableSpec(name="item", vocabulary_size=31, embedding_dim=8, update="rows")
WIDE = TableSpec(name="wide", vocabulary_size=6, embedding_dim=12, update="rows")
SPEC = ModelSpec(
    tables=(ITEM, TableSpec(name="small", vocabulary_size=4, embedding_dim=4), WIDE),
    query=TowerSpec(
        inputs=(
            InputSpec(column="history", width=8, table="item", encoder=GRUEncoderSpec(dropout=0.0), max_length=9),
            InputSpec(column="small", width=4, table="small"),
        ),
        layer_sizes=(10, 6),
    ),
    candidate=TowerSpec(
        inputs=(InputSpec(column="item", width=8, table="item"), InputSpec(column="wide", width=12, table="wide")),
        layer_sizes=(6,),
    ),
)
ROWS, STEPS = 6, 3


def _batch(step: int, rows: Tensor) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Rows of a batch of all ranks: each user's history, of which two rows are beginnings, and a candidate for each."""
    generator = torch.Generator().manual_seed(step)
    sequences = Ragged(torch.randint(31, (12,), generator=generator), torch.tensor([0, 3, 3, 12]))
    history = Prefixes(sequences, torch.tensor([0, 0, 1, 2, 2, 2])[rows], torch.tensor([1, 3, 0, 2, 9, 5])[rows])
    queries = {"history": history, "small": torch.randint(4, (ROWS,), generator=generator)[rows]}
    candidates = {
        "item": torch.randint(31, (ROWS,), generator=generator)[rows],
        "wide": torch.randint(6, (ROWS,), generator=generator)[rows],
    }
    return queries, candidates


def _step(model: TwoTower, step: int, rows: Tensor, ranks: Ranks) -> None:
    """A softmax over the candidates of all ranks; its sum over ranks is the loss."""
    queries, candidates = _batch(step, rows)
    model.zero_grad()
    with model.fetched(queries, candidates):
        queries_BD, own_BD = model.encode_queries(queries), model.encode_candidates(candidates)
    logits = queries_BD @ ranks.gather(own_BD).T
    first = sum(ranks.lengths(len(rows))[: ranks.rank])
    torch.nn.functional.cross_entropy(logits * 3, torch.arange(len(rows)) + first, reduction="sum").backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in model.parameters():
            if ranks.size > 1:
                grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = ranks.sum_(grad)
            assert parameter.grad is not None
            if not parameter.grad.is_sparse:
                parameter.sub_(0.05 * parameter.grad)


def _one_process() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    model = build(SPEC, seed=3)
    tables = {name: model.embeddings.table(name) for name in ("item", "wide")}
    optimizer = RowwiseAdagrad(tables.values(), lr=0.3, initial_accumulator_value=0.1, eps=1e-7)
    for step in range(STEPS):
        _step(model, step, torch.arange(ROWS), ALONE)
        optimizer.step()
    states = {name: optimizer.state[table]["accumulator"].clone() for name, table in tables.items()}
    return {name: tensor.clone() for name, tensor in state_of(model).items()}, states


def _of_ranks(ranks: Ranks, folder: Path) -> dict[str, Any]:
    plan: dict[str, Placement] = {"item": RowWise(), "wide": TableWise(ranks.size - 1)}
    tables = ShardedTables([ITEM, WIDE], ranks, adagrad=ADAGRAD, plan=plan)
    model = build(SPEC, seed=3, distant=tables)
    for step in range(STEPS):
        _step(model, step, torch.arange(ROWS)[ranks.share(ROWS).start : ranks.share(ROWS).stop], ranks)
    path = folder / "weights.safetensors"
    streams = sharded_weights(model)
    stream_tables(list(streams.values()), lambda: write_tensors(path, weights_of(model)), ranks)
    blocks: list[int] = []
    states = {name: WholeTable(tables, name, "accumulators", block_bytes=20) for name in ("item", "wide")}

    def write_states() -> None:
        for name, state in states.items():
            write_tensors(folder / name, {"accumulators": state})
        blocks.extend(len(block) for block in states["wide"].blocks())

    stream_tables([*states.values(), states["wide"]], write_states, ranks)
    found = {"streams": list(streams), "blocks": blocks, "refused": _refused(ranks, folder, tables)}
    found["put"] = _put_back(ranks, tables, path, folder)
    return found


def _refused(ranks: Ranks, folder: Path, tables: ShardedTables) -> str | None:
    """Rank 0 can't write: everybody is told, at whatever block, and what was there stays."""

    def fail() -> None:
        for at, _ in enumerate(WholeTable(tables, "item", block_bytes=320).blocks()):
            if at == 1:
                raise OSError("the disk is full")

    before = (folder / "weights.safetensors").read_bytes()
    try:
        stream_tables([WholeTable(tables, "item", block_bytes=320)], fail, ranks)
    except (TwotowerError, OSError) as fault:
        assert (folder / "weights.safetensors").read_bytes() == before
        return f"{type(fault).__name__}: {fault}"
    return None


def _put_back(ranks: Ranks, tables: ShardedTables, path: Path, folder: Path) -> bool:
    """Into tables that are placed otherwise, in pieces of any length; each rank takes what is its own."""
    weights = read_tensors(path)[0]
    others = ShardedTables([WIDE, ITEM], ranks, adagrad=ADAGRAD, plan={"item": TableWise(0), "wide": RowWise()})
    for name in ("item", "wide"):
        states = read_tensors(folder / name)[0]["accumulators"]
        for first in range(0, len(states), 5):
            whole = weights[f"embeddings.table:{name}"]
            others.put(name, first, whole[first : first + 5], states[first : first + 5] if first else None)
        others.put(name, 0, weights[f"embeddings.table:{name}"][:5], states[:5])
    return all(
        torch.equal(shard.weights, weights[f"embeddings.table:{shard.table}"][shard.rows.start : shard.rows.stop])
        and torch.equal(
            shard.accumulators, read_tensors(folder / shard.table)[0]["accumulators"][shard.rows.start : shard.rows.stop]
        )
        and shard.columns == range(tables.specs[shard.table].embedding_dim)
        for shard in others.shards()
    )


@needs_torchrec
@pytest.mark.parametrize("size", [1, 3])
def test_a_model_that_ranks_share_is_the_one_of_one_process(size: int, tmp_path: Path) -> None:
    expected, accumulators = _one_process()
    found = in_ranks(_of_ranks, size, tmp_path, timeout_s=300)
    weights = read_tensors(tmp_path / "weights.safetensors")[0]
    assert sorted(weights) == sorted(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-5, atol=1e-6)
    write_tensors(tmp_path / "at once", weights)
    assert (tmp_path / "weights.safetensors").read_bytes() == (tmp_path / "at once").read_bytes()
    for name, state in accumulators.items():
        torch.testing.assert_close(read_tensors(tmp_path / name)[0]["accumulators"], state, rtol=1e-5, atol=1e-6)
    assert all(of["put"] for of in found)
    assert all(of["streams"] == ["embeddings.table:item", "embeddings.table:wide"] for of in found)
    assert found[0]["blocks"] == [5, 1], "20 bytes are five accumulators"
    assert found[0]["refused"] == "OSError: the disk is full"
    assert [of["refused"].split(":")[0] for of in found[1:]] == ["TwotowerError"] * (size - 1)


def _message(call: Callable[[], Any], *faults: type[Exception]) -> str:
    with pytest.raises(faults) as caught:
        call()
    return str(caught.value)


def _wrong(ranks: Ranks) -> dict[str, str]:
    library = torchrec_library()
    three = ITEM.model_copy(update={"name": "three", "embedding_dim": 6})
    dense = ITEM.model_copy(update={"name": "dense", "update": "dense"})

    def tables(*specs: TableSpec, **options: Any) -> ShardedTables:
        return ShardedTables(specs or (ITEM,), ranks, **{"adagrad": ADAGRAD, **options})

    good = tables(plan={"item": RowWise()})
    good.draw("item", torch.Generator().manual_seed(0))
    found = {
        "specs": _message(lambda: tables(three, dense), ConfigError),
        "plan": _message(lambda: tables(plan={"item": TableWise(1), "no": RowWise()}), ConfigError),
        "above": _message(lambda: good.rows({"item": torch.tensor([3, 31])}), IndexError),
        "below": _message(lambda: good.rows({"item": torch.tensor([-1, 3])}), IndexError),
        "rate": _message(lambda: good.set_learning_rate(float("nan")), ValueError),
        "put": _message(lambda: good.put("item", 30, torch.ones(2, 8)), ValueError),
        "width": _message(lambda: good.put("item", 0, torch.ones(2, 7), torch.ones(3)), ValueError),
    }
    ids = {"item": torch.tensor([3, 4])}
    rows = good.rows(ids)["item"]
    found["waiting"] = _message(lambda: good.rows(ids), RuntimeError)
    with torch.no_grad():
        assert torch.equal(good.rows(ids)["item"], rows)  # nothing is learned of these
    with torch.inference_mode():
        assert torch.equal(good.rows(ids)["item"], rows)
    rows.sum().backward()  # type: ignore[no-untyped-call]
    kept = good.rows(ids)["item"]  # the gradient came
    del kept
    kept = good.rows(ids)["item"]  # nobody can ask for a gradient any more
    library.set_gradient_division(True)
    found["division"] = _message(lambda: kept.sum().backward(), RuntimeError)  # type: ignore[no-untyped-call]
    return found


@needs_torchrec
def test_what_is_refused() -> None:
    (found,) = in_ranks(_wrong, 1, timeout_s=300)
    assert "table 'three' is 6 wide: sharded tables must be a multiple of 4 wide" in found["specs"]
    assert "table 'dense' is updated by dense gradients" in found["specs"]
    assert "table 'item' can't be on rank 1: there are 1 ranks" in found["plan"]
    assert "no table 'no'; there are item" in found["plan"]
    assert found["above"] == "rows of table 'item' must be in [0, 31); came 3 to 31"
    assert found["below"] == "rows of table 'item' must be in [0, 31); came -1 to 3"
    assert "must be finite and not negative; came nan" in found["rate"]
    assert "table 'item' is [31, 8], with an accumulator for each row; came [2, 8] from row 30 on" in found["put"]
    assert "came [2, 7] and [3] from row 0 on" in found["width"]
    assert "table 'item' still waits for the gradient of the rows that it gave before" in found["waiting"]
    assert "told to divide gradients by the number of ranks" in found["division"]


def test_tables_need_a_process_group() -> None:
    with pytest.raises(ValueError, match=r"need a process group: ranks = Ranks.of\(\)"):
        ShardedTables([ITEM], ALONE, adagrad=ADAGRAD)


@pytest.mark.parametrize("numbers", [{"learning_rate": -1.0}, {"initial_accumulator": -0.1}, {"epsilon": 0.0}])
def test_numbers_of_adagrad(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be at least 0 and epsilon above 0"):
        TableAdagrad(**numbers)


@pytest.mark.parametrize(
    ("torch_version", "torchrec", "fbgemm", "message"),
    [
        ("2.13.0+cpu", "1.8.0", {"fbgemm-gpu": None, "fbgemm-gpu-cpu": "1.8.1"}, None),
        ("2.11.0", "1.6.2", {"fbgemm-gpu": "1.6.0", "fbgemm-gpu-cpu": None}, None),
        (
            "2.13.0",
            None,
            {"fbgemm-gpu": "1.8.0"},
            r"need torchrec, which is not installed: pip install 'twotower\[distributed\]'",
        ),
        ("2.13.0", "1.8.0", {"fbgemm-gpu": None}, r"need fbgemm-gpu \(or fbgemm-gpu-cpu\), which is not installed"),
        (
            "2.13.0",
            "1.9.2",
            {"fbgemm-gpu": "1.8.0"},
            r"torch 2.13.0 needs 1.8.\* of both, and installed is torchrec 1.9.2: pip",
        ),
        ("2.14.0", "1.8.0", {"fbgemm-gpu-cpu": "1.8.0"}, r"needs 1.9.\* of both, .* torchrec 1.8.0 and fbgemm-gpu-cpu 1.8.0"),
    ],
)
def test_versions_fit(torch_version: str, torchrec: str | None, fbgemm: dict[str, str | None], message: str | None) -> None:
    if message is None:
        _check_versions(torch_version, torchrec, fbgemm)
        return
    with pytest.raises(MissingExtraError, match=message):
        _check_versions(torch_version, torchrec, fbgemm)


@pytest.mark.parametrize(("rows", "size"), [(1, 4), (4, 4), (5, 4), (23, 4), (8, 1)])
def test_rows_of_ranks_are_all_rows(rows: int, size: int) -> None:
    for placement in (RowWise(), TableWise(size - 1)):
        found = rows_by_rank(rows, placement, size)
        assert len(found) == size
        assert [row for part in found for row in part] == list(range(rows))
