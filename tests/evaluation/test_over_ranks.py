"""A catalogue that is shared out over ranks is judged as by one process: ranks, figures, lists and the file of judged rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from tests.distributed.in_ranks import in_ranks
from torch import Tensor

from twotower.data import Examples, HistoryInput, build_histories
from twotower.distributed import Ranks, share_of
from twotower.errors import DataError
from twotower.evaluation import (
    Evaluation,
    JudgedRows,
    ModelScorer,
    Scorer,
    ShardedScorer,
    encode_catalogue,
    evaluate,
    evaluate_per_user,
    predict_outcomes,
    rank_positives,
    top_items,
)
from twotower.evaluation.counting import count_positives
from twotower.models import TwoTower, build
from twotower.spec import InputSpec, ModelSpec, RegressionHeadSpec, TableSpec, TowerSpec
from twotower.types import Ragged

CPU = torch.device("cpu")
BLOCK, ENCODED = 16, 11
"""Queries at a time, and items that are encoded at a time."""


@contextmanager
def small_blocks(*, kernel: bool = True) -> Iterator[None]:
    with ExitStack() as patched:
        patched.enter_context(mock.patch("twotower.evaluation.rank._MOST_QUERIES", BLOCK))
        patched.enter_context(mock.patch.dict(encode_catalogue.__kwdefaults__, batch_size=ENCODED))
        patched.enter_context(mock.patch.dict("os.environ", TWOTOWER_NATIVE="1" if kernel else "0"))
        yield


def world(num_items: int, num_rows: int, *, reads_items: bool = False) -> tuple[TwoTower, dict[str, Tensor], Examples]:
    """Towers with layers, so that a vector's last bits follow from what is encoded beside it; items of a kind are twins."""
    num_users, num_kinds, dim = 7, max(1, num_items // 3), 6
    tables = (
        TableSpec(name="user", vocabulary_size=num_users, embedding_dim=dim, init_scale=1.0),
        TableSpec(name="kind", vocabulary_size=num_kinds, embedding_dim=dim, init_scale=1.0),
    )
    read = (
        InputSpec(column="history", width=dim, items="candidate", pooling="mean")
        if reads_items
        else InputSpec(column="history", width=dim, table="kind", pooling="mean")
    )
    query = TowerSpec(inputs=(InputSpec(column="user", width=dim, table="user"), read), layer_sizes=(19, dim))
    candidate = TowerSpec(inputs=(InputSpec(column="kind", width=dim, table="kind"),), layer_sizes=(19, dim))
    model = build(ModelSpec(tables=tables, query=query, candidate=candidate), seed=3).eval()
    rng = np.random.default_rng(num_items + num_rows)
    before_rows = 90
    users, items = (rng.integers(0, most, before_rows + num_rows) for most in (num_users, num_items))
    items[before_rows + 1 :: 7] = -1
    kinds = torch.from_numpy(rng.integers(0, num_kinds, num_items))
    histories, before = build_histories(users, items, np.arange(len(users)), num_users=num_users)
    examples = Examples(
        user_rows=torch.from_numpy(users[before_rows:]),
        item_rows=torch.from_numpy(items[before_rows:]),
        users={"user": torch.arange(num_users)},
        context={},
        histories=histories,
        before=before[before_rows:],
        seen_before=True,
        history_inputs=(HistoryInput("history", None if reads_items else kinds.int(), max_length=5),),
    )
    return model, {"kind": kinds}, examples


def told(found: Evaluation) -> dict[str, Any]:
    """Everything but the time that it took."""
    plain: dict[str, Any] = {"unit": found.unit, "units": found.units, "missing": found.not_in_catalogue}
    for variant in ("seen_included", "seen_removed"):
        figures, ranks = getattr(found, variant), getattr(found.ranks, variant)
        plain |= {f"{variant} {each.name}": getattr(figures, each.name) for each in fields(figures) if each.name != "rows"}
        plain |= {f"{variant} rows {name}": values.tolist() for name, values in figures.rows.items()}
        plain |= {f"{variant} above": ranks.above.tolist(), f"{variant} tied": ranks.tied.tolist()}
    return plain


def judged_bytes(found: Evaluation, examples: Examples) -> bytes:
    count = np.arange(len(examples))
    users, items = examples.user_rows.numpy(), examples.item_rows.numpy()
    judged = JudgedRows(count, users, items, count % 2 == 0, count, count, {"model": found.ranks})
    with tempfile.TemporaryDirectory() as folder:
        judged.write(Path(folder) / "test.parquet")
        return (Path(folder) / "test.parquet").read_bytes()


def everything(scorer: Scorer, examples: Examples) -> list[Any]:
    found = evaluate(scorer, examples, ks=[1, 4, 100], draws=20)
    rows = torch.arange(len(examples)).flip(0)
    answers: list[Any] = [told(found), judged_bytes(found, examples)]
    answers.append(told(evaluate(scorer, examples, ks=[2], rows=rows[: 1 + len(rows) // 2], draws=0)))
    answers.append(told(evaluate_per_user(scorer, examples, ks=[1, 4], draws=20)))
    for k, block_bytes in ((1, 48 * 1000), (4, 48 * 1000), (scorer.num_items + 3, 64 * 2**20)):
        answers.append(top_items(scorer, rows, k, block_bytes=block_bytes).tolist())
        answers.append(top_items(scorer, rows, k, seen=examples.seen, block_bytes=block_bytes).tolist())
    # a row at a time, and the catalogue in tiles that end elsewhere than ranges
    answers.append(top_items(scorer, rows[:5], 4, seen=examples.seen, block_bytes=48 * 7).tolist())
    return answers


CASES = [
    # items, rows, whether histories read candidates' vectors, whether there is the kernel, precision of products
    (50, 75, False, True, "highest"),
    (50, 40, False, False, "highest"),
    (50, 75, True, True, "highest"),
    (50, 40, False, True, "high"),  # of which nothing is counted: all goes by tiles
    (3, 40, True, True, "highest"),  # fewer than ranks
    (1, 2, False, True, "highest"),
    (23, 1, True, False, "high"),
]


def _as_one(ranks: Ranks) -> dict[str, Any]:
    encoded = {"queries": 0, "items": 0}

    def watched(model: TwoTower, name: str, key: str) -> Any:
        work = getattr(model, name)

        def encode(features: Any, *others: Any) -> Tensor:
            encoded[key] += 1
            found: Tensor = work(features, *others)
            return found

        return mock.patch.object(model, name, encode)

    answers, same, shares = [], [], []
    for num_items, num_rows, reads_items, kernel, precision in CASES:
        model, items, examples = world(num_items, num_rows, reads_items=reads_items)
        torch.set_float32_matmul_precision(precision)
        with small_blocks(kernel=kernel):
            expected = everything(ModelScorer(model, items, examples, device=CPU), examples)
            with watched(model, "encode_candidates", "items"), watched(model, "encode_queries_with_items", "queries"):
                scorer = ShardedScorer(model, items, examples, device=CPU, ranks=ranks)
                found = everything(scorer, examples)
            whole_ND = encode_catalogue(model, items, device=CPU)
        answers.append(found)
        same.append(found == expected)
        assert torch.equal(scorer.vectors_SD, whole_ND[scorer.own.start : scorer.own.stop])
        shares.append(scorer.vectors_SD.shape[0])
    torch.set_float32_matmul_precision("highest")
    return {"same": same, "answers": answers, "shares": shares, "encoded": encoded}


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_as_by_one_process(size: int) -> None:
    found = in_ranks(_as_one, size, timeout_s=400)
    for rank, of in enumerate(found):
        assert of["same"] == [True] * len(CASES), "as one process"
        assert of["answers"] == found[0]["answers"], "every rank has the same answer"
        assert of["shares"] == [len(share_of(case[0], rank, size)) for case in CASES], "a share and no more"
        assert of["encoded"] == found[0]["encoded"], "tables that are shared out are looked up together, equally often"
    ties = [max(answers[0]["seen_included tied"]) for answers in found[0]["answers"]]
    assert max(ties) > 2, "twins are there"
    assert found[0]["answers"][0][0] != found[0]["answers"][0][3]


class Given:
    """A model whose vectors are given."""

    item_columns: tuple[str, ...] = ()
    training = False

    def __init__(self, queries_QD: Tensor) -> None:
        self.queries_QD = queries_QD

    def encode_queries_with_items(self, features: dict[str, Tensor], items_ND: Tensor) -> Tensor:
        del items_ND
        return self.queries_QD[features["row"]]


def examples_of(positives: Tensor) -> Examples:
    count = len(positives)
    histories, before = build_histories(np.arange(count), np.full(count, -1), np.arange(count), num_users=count)
    return Examples(
        user_rows=torch.arange(count),
        item_rows=positives,
        users={},
        context={"row": torch.arange(count)},
        histories=histories,
        before=before,
        seen_before=True,
    )


def vectors(kind: str, num: int, dim: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    free = torch.randn(num, dim, generator=generator)
    return {
        "free": free,
        "twins": free[torch.randint(0, 5, (num,), generator=generator)],
        "collapsed": free[:1].expand(num, -1).clone(),
        "near": free[:1] + 1e-7 * free,
        "zero": torch.zeros(num, dim),
        "signs": -torch.zeros(num, dim),
        "one long": torch.cat([free[:-1], 1e4 * free[-1:]]),
        "beyond": 1e25 * free,  # whose products are infinite in float32
    }[kind]


KINDS = ["free", "twins", "collapsed", "near", "zero", "signs", "one long", "beyond"]


def _given(ranks: Ranks) -> list[str]:
    """Vectors that are there already, in parts of other lengths than shares; ranks and lists against sorting."""
    wrong = []
    num_items, num_rows = 41, 37
    edges = {1: [0, 41], 2: [0, 3, 41], 3: [0, 20, 20, 41], 4: [0, 0, 1, 40, 41]}[ranks.size]
    part = slice(edges[ranks.rank], edges[ranks.rank + 1])
    generator = torch.Generator().manual_seed(1)
    for kind in KINDS:
        for dim in (1, 24):
            items_ND, queries_QD = vectors(kind, num_items, dim), torch.randn(num_rows, dim, generator=generator)
            queries_QD = queries_QD * (1e25 if kind == "beyond" else 1.0)
            positives = torch.randint(num_items, (num_rows,), generator=generator)
            model: Any = Given(queries_QD)
            examples = examples_of(positives)
            scorer = ShardedScorer(model, items_ND[part], examples, device=CPU, ranks=ranks)
            exact_QN = (queries_QD.double() @ items_ND.double().T).float()
            lists = [sorted({(7 * row + step * step) % num_items for step in range(row % 9)}) for row in range(num_rows)]
            offsets = torch.tensor(np.cumsum([0, *map(len, lists)]))
            seen = Ragged(torch.tensor([item for each in lists for item in each]), offsets)
            with small_blocks():
                # what goes by tiles goes 7 items at a time: tiles and ranges end at other places
                own = Ragged(positives, torch.arange(num_rows + 1))
                ranked = rank_positives(scorer, torch.arange(num_rows), own, seen.take, block_bytes=8 * BLOCK * 7)
                best_QK = top_items(scorer, torch.arange(num_rows), 6, seen=seen.take)
            for row in range(num_rows):
                scores, score = exact_QN[row], exact_QN[row, positives[row]]
                others = [item for item in lists[row] if item != int(positives[row])]
                above, tied = (scores > score), (scores == score)
                places = [int(above.sum()), int(tied.sum()), int(above.sum() - above[others].sum())]
                came = [ranked.seen_included.above[row], ranked.seen_included.tied[row], ranked.seen_removed.above[row]]
                places.append(int(tied.sum() - tied[others].sum()))
                came.append(ranked.seen_removed.tied[row])
                left = [item for item in range(num_items) if item not in lists[row]]
                order = sorted(left, key=lambda item, scores=scores: (-float(scores[item]), item))[:6]  # type: ignore[misc]
                if [int(each) for each in came] != places or best_QK[row].tolist() != order:
                    wrong.append(f"{kind} {dim} {row}: {came} {places} {best_QK[row].tolist()} {order}")
            # pair by pair, as a counter without lists is asked
            counter = scorer.counter(torch.arange(num_rows))
            assert (counter is None) == (kind == "beyond")
            if counter is not None:
                whole = count_positives(counter, torch.arange(num_rows), positives, seen)
                by_pairs = count_positives(_NoLists(counter), torch.arange(num_rows), positives, seen)
                wrong += [f"{kind} pairs"] * (not all(map(torch.equal, whole, by_pairs)))
    return wrong


class _NoLists:
    """A counter that is given every pair."""

    def __init__(self, counter: Any) -> None:
        self.pairs, self.versus, self.count = counter.pairs, counter.versus, counter.count


@pytest.mark.parametrize("size", [1, 3, 4])
def test_vectors_that_are_there_already(size: int) -> None:
    assert in_ranks(_given, size) == [[]] * size


def _faults(ranks: Ranks) -> dict[str, str]:
    last, found = ranks.rank == ranks.size - 1, {}
    examples = examples_of(torch.tensor([0, 1, 3, 2]))
    model: Any = Given(torch.ones(4, 2))

    def tried(name: str, work: Any) -> None:
        try:
            work()
            found[name] = ""
        except (ValueError, DataError) as error:
            found[name] = f"{type(error).__name__}: {error}"

    def scorer(value: float, width: int = 2) -> ShardedScorer:
        part = torch.ones(2, width)
        part[1] = value if last else 1.0
        return ShardedScorer(model, part, examples, device=CPU, ranks=ranks)

    nan = float("nan")
    tried("nan", lambda: evaluate(scorer(nan), examples, ks=[1], draws=0))
    tried("nan in lists", lambda: top_items(scorer(nan), torch.arange(4), 2))
    tried("width", lambda: scorer(1.0, 3 if last else 2))
    rows = torch.arange(3 if last else 4)
    tried("rows", lambda: evaluate(scorer(1.0), examples, ks=[1], rows=rows, draws=0))
    tried("rows of lists", lambda: top_items(scorer(1.0), rows, 2))
    training: Any = world(3, 4)
    training[0].train()
    tried("training", lambda: ShardedScorer(*training, device=CPU, ranks=ranks))
    tried("well", lambda: evaluate(scorer(1.0), examples, ks=[1], draws=0))
    return found


def test_an_error_is_everybodys() -> None:
    first, second = in_ranks(_faults, 2)
    assert first == second
    assert first["nan"].startswith("DataError: scores must be numbers; one of query row 0 is NaN (catalogue rows 0 to 3)")
    assert first["nan in lists"].startswith(
        "DataError: scores must be numbers; one of query row 0 is NaN (catalogue rows 2 to 3)"
    )
    assert "width and dtype of the vectors must be the same on all ranks" in first["width"]
    assert "the rows that are judged must be the same on all ranks; rank 1" in first["rows"]
    assert "the rows that are judged must be the same on all ranks; rank 1" in first["rows of lists"]
    assert "must be in evaluation mode" in first["training"]
    assert first["well"] == ""


def _outcomes(ranks: Ranks) -> list[bool]:
    found = []
    for num_items, num_rows, reads_items in ((50, 75, False), (50, 75, True), (3, 5, True), (2, 1, False)):
        plain, items, examples = world(num_items, num_rows, reads_items=reads_items)
        head = RegressionHeadSpec(name="stars", mean=3.0, scale=1.0, low=-50, high=50)
        model = build(plain.spec.model_copy(update={"heads": (head,)}), seed=3).eval()
        with small_blocks(), mock.patch("twotower.evaluation.outcomes._ROWS_AT_ONCE", 9):
            alone = predict_outcomes(model, items, examples, head="stars", device=CPU)
            shared = predict_outcomes(model, items, examples, head="stars", device=CPU, ranks=ranks)
        assert np.isnan(alone).tolist() == (examples.item_rows < 0).tolist()
        assert num_rows == 1 or np.unique(alone).size > num_rows // 2
        found.append(np.array_equal(alone, shared, equal_nan=True))
    return found


def test_outcomes_as_by_one_process() -> None:
    assert in_ranks(_outcomes, 3) == [[True] * 4] * 3
