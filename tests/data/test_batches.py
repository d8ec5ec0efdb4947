from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from twotower.data import Batch, Batches, Examples, HistoryInput, build_histories
from twotower.data import batches as room
from twotower.data.shuffle import permuted
from twotower.types import Coded, Prefixes, Ragged

USERS, ITEMS, ROWS = 5, 7, 23
_DRAWN = np.random.default_rng(0)
USER_ROWS, ITEM_ROWS = _DRAWN.integers(0, USERS, ROWS), _DRAWN.integers(0, ITEMS, ROWS)
# what a user has in the table of histories, more than in the examples: rows of another part of the data
MORE_USERS, MORE_ITEMS = _DRAWN.integers(0, USERS, 6), _DRAWN.integers(0, ITEMS, 6)


def examples(*, weights: torch.Tensor | None = None, outcomes: dict[str, torch.Tensor] | None = None) -> Examples:
    users, items = np.concatenate([USER_ROWS, MORE_USERS]), np.concatenate([ITEM_ROWS, MORE_ITEMS])
    histories, before = build_histories(users, items, np.arange(len(users)), num_users=USERS)
    return Examples(
        user_rows=torch.from_numpy(USER_ROWS),
        item_rows=torch.from_numpy(ITEM_ROWS),
        users={"user": torch.arange(USERS)},
        context={"row": torch.arange(ROWS)},
        histories=histories,
        before=before[:ROWS],
        seen_before=True,
        history_inputs=(HistoryInput("history", torch.arange(ITEMS, dtype=torch.int32)),),
        weights=weights,
        outcomes=outcomes or {},
    )


def batches(**options: Any) -> Batches:
    made = {name: options.pop(name, None) for name in ("weights", "outcomes")}
    defaults: dict[str, Any] = {"batch_size": 8, "catalogue_size": ITEMS, "seed": 1, "candidates": "in_batch"}
    return Batches(examples(**made), **{**defaults, **options})


def in_order(**options: Any) -> Batches:
    """Batches of examples whose histories an encoder reads, at most four items each."""
    entry = HistoryInput("history", torch.arange(ITEMS, dtype=torch.int32), 4, "before", "allow", in_order=True)
    defaults: dict[str, Any] = {"batch_size": 8, "catalogue_size": ITEMS, "seed": 1, "candidates": "in_batch"}
    return Batches(replace(examples(), history_inputs=(entry,)), **{**defaults, **options})


def all_of(feed: Batches, epoch: int) -> list[Batch]:
    return [feed.batch(epoch, index) for index in range(len(feed))]


def test_an_epoch_has_every_row_once() -> None:
    feed = batches()
    sizes = [len(batch.rows) for batch in all_of(feed, 0)]
    assert (len(feed), sizes) == (3, [8, 8, 7])
    for epoch in range(3):
        rows = torch.cat([batch.rows for batch in all_of(feed, epoch)])
        assert rows.tolist() != list(range(ROWS))
        assert sorted(rows.tolist()) == list(range(ROWS))


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    feed, fresh = batches(), batches()
    walked = {epoch: [batch.rows.tolist() for batch in all_of(feed, epoch)] for epoch in range(3)}
    assert fresh.batch(2, 1).rows.tolist() == walked[2][1]
    assert fresh.batch(0, 2).rows.tolist() == walked[0][2]
    assert feed.order(1).tolist() == [row for rows in walked[1] for row in rows]
    assert walked[0] != walked[1]
    assert [batch.rows.tolist() for batch in all_of(batches(seed=2), 0)] != walked[0]


@pytest.mark.parametrize("extra_negatives", [0, 5])
def test_candidates_are_folded_and_counted(extra_negatives: int) -> None:
    feed = batches(extra_negatives=extra_negatives)
    drawn = Counter[int]()
    for batch in all_of(feed, 0):
        assert batch.candidate_rows is not None
        assert batch.counts is not None
        candidates, counts = batch.candidate_rows.tolist(), batch.counts.tolist()
        own = [int(ITEM_ROWS[row]) for row in batch.rows.tolist()]
        assert [candidates[column] for column in batch.positives.tolist()] == own
        assert len(set(candidates)) == len(candidates)
        assert batch.counts.dtype == torch.float32
        extra = Counter(dict(zip(candidates, map(int, counts), strict=True)))
        extra.subtract(own)
        assert min(extra.values()) >= 0
        assert sum(extra.values()) == extra_negatives
        drawn.update(extra)
    assert bool(drawn.total()) == bool(extra_negatives)


def test_extra_negatives_are_uniform_and_drawn_anew_but_repeatable() -> None:
    feed = batches(extra_negatives=400)
    drawn = [Counter[int](), Counter[int]()]
    for epoch in range(2):
        for batch in all_of(feed, epoch):
            assert batch.candidate_rows is not None
            assert batch.counts is not None
            found = Counter(dict(zip(batch.candidate_rows.tolist(), map(int, batch.counts.tolist()), strict=True)))
            found.subtract(int(ITEM_ROWS[row]) for row in batch.rows.tolist())
            drawn[epoch].update(found)
    assert drawn[0] != drawn[1]
    expected, deviation = 1200 / ITEMS, (1200 / ITEMS * (1 - 1 / ITEMS)) ** 0.5
    assert all(abs(drawn[0][item] - expected) < 5 * deviation for item in range(ITEMS))
    again, other = batches(extra_negatives=400).batch(1, 2), batches(extra_negatives=400, seed=5).batch(1, 2)
    assert again.counts is not None
    assert other.counts is not None
    first = feed.batch(1, 2).counts
    assert first is not None
    assert torch.equal(again.counts, first)
    assert not torch.equal(other.counts, first)


def test_of_uniform_negatives_only_the_draws_are_counted() -> None:
    feed, mixed = batches(candidates="uniform", extra_negatives=5), batches(extra_negatives=5)
    for batch, other in zip(all_of(feed, 1), all_of(mixed, 1), strict=True):
        assert batch.candidate_rows is not None
        assert other.candidate_rows is not None
        assert batch.counts is not None
        assert other.counts is not None
        # the same candidates as with the batch's own, of which only the extra ones were drawn
        assert torch.equal(batch.candidate_rows, other.candidate_rows)
        assert torch.equal(batch.positives, other.positives)
        own = Counter(batch.positives.tolist())
        assert batch.counts.tolist() == [count - own[column] for column, count in enumerate(other.counts.tolist())]
        assert batch.counts.sum() == 5
        assert batch.counts.dtype == torch.float32


@pytest.mark.parametrize("queue_batches", [1, 2, 4])
@pytest.mark.parametrize("most_in_memory", [2**24, 3])
def test_the_items_of_the_batches_before_compete_too(queue_batches: int, most_in_memory: int) -> None:
    options: dict[str, Any] = {"extra_negatives": 2, "most_in_memory": most_in_memory}
    feed, plain = batches(queue_batches=queue_batches, **options), batches(**options)
    former: list[list[int]] = []
    for epoch in range(3):
        for index in range(len(feed)):
            # as training meets them, and as one that was resumed here does
            for found in (feed.batch(epoch, index), batches(queue_batches=queue_batches, **options).batch(epoch, index)):
                alone = plain.batch(epoch, index)
                assert torch.equal(found.rows, alone.rows)
                assert found.candidate_rows is not None
                assert found.counts is not None
                assert alone.candidate_rows is not None
                assert alone.counts is not None
                drawn = Counter(dict(zip(found.candidate_rows.tolist(), map(int, found.counts), strict=True)))
                drawn.subtract(dict(zip(alone.candidate_rows.tolist(), map(int, alone.counts), strict=True)))
                waiting = Counter(item for items in former[-queue_batches:] for item in items)
                assert +drawn == waiting
                assert min(drawn.values()) >= 0
                assert torch.equal(found.candidate_rows[found.positives], alone.candidate_rows[alone.positives])
            former.append([int(ITEM_ROWS[row]) for row in alone.rows.tolist()])


def test_all_of_the_catalogue_competes() -> None:
    for batch in all_of(batches(candidates="catalogue"), 0):
        assert (batch.candidate_rows, batch.counts, batch.masked) == (None, None, None)
        assert batch.positives.tolist() == [int(ITEM_ROWS[row]) for row in batch.rows.tolist()]


@pytest.mark.parametrize("candidates", ["in_batch", "catalogue"])
@pytest.mark.parametrize("extra_negatives", [0, 4])
def test_known_positives_are_masked_exactly(candidates: Any, extra_negatives: int) -> None:
    if candidates == "catalogue" and extra_negatives:
        return
    feed = batches(candidates=candidates, extra_negatives=extra_negatives, mask_known_positives=True)
    count = 0
    for batch in all_of(feed, 0):
        assert batch.masked is not None
        columns = list(range(ITEMS)) if batch.candidate_rows is None else batch.candidate_rows.tolist()
        expected = set()
        for query, row in enumerate(batch.rows.tolist()):
            user = USER_ROWS[row]
            known = {int(i) for u, i in zip(USER_ROWS, ITEM_ROWS, strict=True) if u == user}
            known |= {int(i) for u, i in zip(MORE_USERS, MORE_ITEMS, strict=True) if u == user}
            expected |= {(query, column) for column, item in enumerate(columns) if item in known and item != ITEM_ROWS[row]}
        pairs = list(zip(batch.masked[0].tolist(), batch.masked[1].tolist(), strict=True))
        assert len(pairs) == len(set(pairs))
        assert set(pairs) == expected
        count += len(pairs)
    assert count > 20
    assert batches(candidates=candidates).batch(0, 0).masked is None


def test_queries_and_weights_follow_the_rows() -> None:
    weights = torch.arange(ROWS, dtype=torch.float32)
    for batch in all_of(batches(weights=weights), 0):
        assert batch.weights is not None
        assert batch.weights.tolist() == [float(row) for row in batch.rows.tolist()]
        assert torch.equal(batch.queries["row"], batch.rows)  # type: ignore[arg-type]
        assert torch.equal(batch.queries["user"], torch.from_numpy(USER_ROWS)[batch.rows])  # type: ignore[arg-type]
        history = batch.queries["history"]
        assert isinstance(history, Ragged)
        for i, row in enumerate(batch.rows.tolist()):
            items = history.values[int(history.offsets[i]) : int(history.offsets[i + 1])].tolist()
            earlier = [int(ITEM_ROWS[j]) for j in range(row) if USER_ROWS[j] == USER_ROWS[row]]
            assert items == [item for item in earlier if item != ITEM_ROWS[row]]
    assert batches().batch(0, 0).weights is None


def test_what_makes_no_batches_is_refused() -> None:
    with pytest.raises(ValueError, match="no meaning when all of the catalogue competes"):
        batches(candidates="catalogue", extra_negatives=1)
    with pytest.raises(ValueError, match="uniform negatives must be drawn"):
        batches(candidates="uniform")
    for candidates, extra in (("catalogue", 0), ("uniform", 3)):
        with pytest.raises(ValueError, match="a queue has meaning where the items of a batch compete"):
            batches(candidates=candidates, extra_negatives=extra, queue_batches=1)
    unknown = torch.from_numpy(ITEM_ROWS.copy())
    unknown[3] = -1
    for wrong in (replace(examples(), item_rows=unknown), replace(examples(), user_rows=unknown[:0], item_rows=unknown[:0])):
        with pytest.raises(ValueError, match="at least one example, and every item in the catalogue"):
            Batches(wrong, batch_size=8, catalogue_size=ITEMS, seed=0, candidates="in_batch")


@pytest.mark.parametrize("candidates", ["in_batch", "catalogue"])
def test_outcomes_stay_with_their_rows(candidates: str) -> None:
    ratings = torch.arange(ROWS, dtype=torch.float64).masked_fill(torch.arange(ROWS) % 4 == 0, float("nan"))
    for batch in all_of(batches(outcomes={"rating": ratings}, candidates=candidates), 1):
        torch.testing.assert_close(batch.outcomes["rating"], ratings[batch.rows], equal_nan=True)
    assert batches(candidates=candidates).batch(0, 0).outcomes == {}


@pytest.mark.parametrize("at_once", [1, 16, 2**15])
def test_of_many_examples_no_permutation_is_kept(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_AT_ONCE", at_once)
    small, large = batches(), batches(most_in_memory=ROWS - 1)
    assert batches(most_in_memory=ROWS).order(1).tolist() == small.order(1).tolist()
    for epoch in range(3):
        rows = [batch.rows.tolist() for batch in all_of(large, epoch)]
        assert [len(found) for found in rows] == [8, 8, 7]
        walked = [row for found in rows for row in found]
        assert sorted(walked) == list(range(ROWS))
        assert walked == large.order(epoch).tolist() == permuted(np.arange(ROWS), ROWS, [large.seed, epoch]).tolist()
        assert walked != small.order(epoch).tolist()
        # any batch is reached directly
        assert batches(most_in_memory=0).batch(epoch, 2).rows.tolist() == rows[2]
    assert large._order is None
    assert small._order is not None
    assert large.order(0).tolist() != large.order(1).tolist()
    assert batches(most_in_memory=0, seed=9).order(0).tolist() != large.order(0).tolist()


def test_narrow_and_stored_columns_give_the_same_batches(tmp_path: Path) -> None:
    wide = examples()
    stored: dict[str, Any] = {}
    for name in ("user_rows", "item_rows", "before"):
        getattr(wide, name).numpy().astype(np.int32).tofile(tmp_path / name)
        stored[name] = torch.from_numpy(np.memmap(tmp_path / name, dtype=np.int32, mode="c"))
    codes = Coded(torch.from_numpy(np.arange(ROWS) % 3).to(torch.uint8), torch.tensor([[5.0], [6.0], [7.0]]))
    plain = replace(wide, context={"row": torch.arange(ROWS), "coded": torch.arange(ROWS)[:, None] % 3 + 5.0})
    narrow = replace(wide, context={"row": torch.arange(ROWS), "coded": codes}, **stored)
    options: dict[str, Any] = {"batch_size": 8, "catalogue_size": ITEMS, "seed": 1, "candidates": "in_batch"}
    for index in range(3):
        one, other = (Batches(e, mask_known_positives=True, **options).batch(0, index) for e in (plain, narrow))
        assert list(one.queries) == list(other.queries)
        for name, column in one.queries.items():
            found = other.queries[name]
            pairs = zip(column, found, strict=True) if isinstance(column, Ragged) else [(column, found)]
            assert all(torch.equal(a, b) for a, b in pairs), name  # type: ignore[arg-type]
        assert one.candidate_rows is not None
        assert other.candidate_rows is not None
        assert (other.candidate_rows.dtype, other.positives.dtype) == (torch.int64, torch.int64)
        assert one.candidate_rows.tolist() == other.candidate_rows.tolist()
        assert one.positives.tolist() == other.positives.tolist()
        assert one.masked is not None
        assert other.masked is not None
        assert torch.equal(one.masked[1], other.masked[1])
        rows = torch.arange(ROWS)
        assert narrow.seen(rows).values.tolist() == plain.seen(rows).values.tolist()


@pytest.mark.parametrize("at_once", [1, 7, 8, 9, 16, 1000])
@pytest.mark.parametrize("candidates", ["in_batch", "catalogue"])
def test_batches_that_are_taken_together_are_those_that_are_taken_alone(
    candidates: Any, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_AT_ONCE", at_once)
    words = Ragged(torch.arange(11), torch.tensor([0, 2, 2, 7, 10, 11]))
    tags = Coded(torch.from_numpy(USER_ROWS).to(torch.uint8), words)
    rated = torch.rand(ROWS, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    rated[3] = torch.nan
    plain = examples(weights=torch.arange(ROWS).float() + 1, outcomes={"rating": rated})
    rich = replace(plain, users={**plain.users, "words": words}, context={**plain.context, "tags": tags})
    feed = Batches(rich, batch_size=4, catalogue_size=ITEMS, seed=1, candidates=candidates)
    for epoch, index in ((0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 5), (1, 2), (0, 2)):  # also out of order
        batch = feed.batch(epoch, index)
        rows = feed.order(epoch)[4 * index : 4 * index + 4]
        assert torch.equal(batch.rows, rows)
        for name, column in rich.queries(rows, training=True).items():
            found = batch.queries[name]
            for one, other in zip(found, column, strict=True) if isinstance(column, Ragged) else [(found, column)]:
                assert isinstance(one, torch.Tensor)
                assert isinstance(other, torch.Tensor)
                assert torch.equal(one, other), name
        assert batch.queries.keys() == rich.queries(rows, training=True).keys()
        items = rich.item_rows[rows]
        assert torch.equal(batch.positives if batch.candidate_rows is None else batch.candidate_rows[batch.positives], items)
        assert torch.equal(batch.weights, rich.weights[rows])  # type: ignore[arg-type, index]
        torch.testing.assert_close(batch.outcomes["rating"], rated[rows], equal_nan=True)


def test_rows_that_share_a_sequence_are_in_one_batch() -> None:
    feed = in_order()
    starts, _ = feed.examples.sequences(feed.examples.history_inputs[0])
    for epoch in range(2):
        found = all_of(feed, epoch)
        rows = torch.cat([batch.rows for batch in found])
        assert sorted(rows.tolist()) == list(range(ROWS))
        assert torch.equal(rows, feed.order(epoch))
        of = [set(starts[batch.rows].tolist()) for batch in found]
        assert sum(map(len, of)) == len(set.union(*of))
        for batch in found:
            column = batch.queries["history"]
            assert isinstance(column, Prefixes)
            alone, row = feed.examples.queries(batch.rows, training=True)["history"], batch.queries["row"]
            assert isinstance(alone, Ragged)
            assert isinstance(row, torch.Tensor)
            assert torch.equal(column.ragged().values, alone.values)
            assert row.tolist() == batch.rows.tolist()
            assert batch.candidate_rows is not None
            assert torch.equal(batch.candidate_rows[batch.positives], feed.examples.item_rows[batch.rows])
    assert torch.equal(in_order().batch(1, 1).rows, feed.batch(1, 1).rows)


def test_batches_that_are_too_small_for_sequences() -> None:
    with pytest.raises(ValueError, match=r"batches of 1 rows are too small for sequences that .* rows share"):
        in_order(batch_size=1)


def test_a_queue_of_batches_that_share_sequences() -> None:
    feed = in_order(queue_batches=1)
    walked = [[feed.batch(epoch, index) for index in range(len(feed))] for epoch in range(2)]
    again = in_order(queue_batches=1).batch(1, 0)  # a training that is resumed there
    before, here = walked[0][-1], walked[1][0]
    assert here.candidate_rows is not None
    assert again.candidate_rows is not None
    assert torch.equal(again.candidate_rows, here.candidate_rows)
    items = feed.examples.item_rows
    assert set(here.candidate_rows.tolist()) == {*items[here.rows].tolist(), *items[before.rows].tolist()}
