"""What a step costs, computed by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.planning.worlds import device, workload

from twotower.planning import Step, Table, slowest_of, step_of


def _work(step: Step) -> dict[str, Any]:
    return {part.what: (part.products, part.bytes, part.seconds) for part in step.work}


def _sent(step: Step) -> dict[str, Any]:
    return {f"{part.kind} {part.what}": (part.bytes, part.seconds) for part in step.collectives}


def test_the_work_of_one_rank() -> None:
    step = step_of(workload(), device(), 1, "auto")
    work = _work(step)
    # 8 rows of 3 numbers, 4 rows of 2, each read, written, and its gradient the same; at half of 100 bytes a second
    looked = 4 * (8 * 12 + 4 * 8)
    assert work["lookups"] == (0, looked, pytest.approx(looked / 50))
    # 8 queries of 2 x 3 x 2, 4 candidates of 2 x 2 x 2; three times; at half of 1,000 a second
    products, moved = 3 * (8 * 12 + 4 * 8), 4 * (8 * 10 + 4 * 8)
    assert work["towers"] == (products, moved, pytest.approx(max(products / 500, moved / 100)))
    # three products of 8 x 4 x 2, two operations each; candidates are passed over by two tiles
    products, moved = 3 * 2 * 8 * 4 * 2, 2 * 4 * 4 * 4 * 2
    assert work["loss"] == (products, moved, pytest.approx(max(products / 500, moved / 100)))
    users, items = 10 * (1 - 0.9**8), 4 * (1 - 0.75**4)
    updated = 4 * (users * (3 * 3 + 2) + items * (2 * 3 + 2))
    assert work["row updates"] == (0, pytest.approx(updated), pytest.approx(updated / 50))
    assert "dense updates" not in work
    assert step.collectives == ()
    assert step.feed_bytes == 40
    assert step.feed_s == pytest.approx(40 / 100 + 8 / 10)
    assert step.seconds == pytest.approx(0.25 + 1.2 + sum(seconds for _, _, seconds in work.values()))
    assert step.rows_per_s == pytest.approx(8 / step.seconds)
    assert step.overlapped_s == pytest.approx(step.work_s)
    assert step.saturated == max(work, key=lambda name: work[name][2])


def test_products_in_bfloat16_take_their_own_peak() -> None:
    quick = device(memory_bytes_per_s=1e6)
    narrow = replace(workload(), products_in="bfloat16")
    plain, narrowed = (_work(step_of(work, quick, 1, "auto")) for work in (workload(), narrow))
    assert plain["loss"][2] == pytest.approx(384 / 500)
    assert narrowed["loss"][2] == pytest.approx(384 / 2000)
    assert plain["towers"] == narrowed["towers"]


def test_a_rank_does_its_share() -> None:
    one, four = (_work(step_of(workload(), device(), ranks, "row_wise")) for ranks in (1, 4))
    for name in ("lookups", "towers", "loss"):
        assert four[name][0] == pytest.approx(one[name][0] / 4), name
    assert four["lookups"][1] == pytest.approx(one["lookups"][1] / 4)
    assert four["row updates"][1] == pytest.approx(one["row updates"][1] / 4)
    assert step_of(workload(), device(), 4, "row_wise").feed_s == pytest.approx(10 / 100 + 8 / 10)


def test_local_tables_are_updated_whole_by_every_rank() -> None:
    one, four = (_work(step_of(workload(), device(), ranks, "local")) for ranks in (1, 4))
    assert four["row updates"][1] == pytest.approx(one["row updates"][1])


def test_traffic_of_split_tables() -> None:
    step = step_of(workload(), device(), 2, "row_wise")
    sent = _sent(step)
    # a rank has 4 ids of users and 2 of items; half of everything leaves it
    assert sent["all_to_all ids"] == (6 * 8 / 2, pytest.approx(1 + 1 + 48 / 2 / 10))
    vectors = 4 * 12 + 2 * 8
    assert sent["all_to_all vectors"] == (vectors / 2, pytest.approx(1 + vectors / 2 / 10))
    assert sent["all_to_all gradients"] == sent["all_to_all vectors"]
    candidates = 4 * 2 * 4
    assert sent["all_gather candidates"] == (candidates / 2, pytest.approx(1 + candidates / 2 / 10))
    assert sent["all_reduce candidates' gradients"] == (candidates, pytest.approx(2 + candidates / 10))
    towers = 14 * 4
    assert sent["all_reduce towers and dense tables"] == (towers, pytest.approx(2 + towers / 10))
    assert len(sent) == 6
    assert step.collective_s == pytest.approx(sum(seconds for _, seconds in sent.values()))


def test_traffic_of_local_tables() -> None:
    sent = _sent(step_of(workload(), device(), 2, "local"))
    users, items = 10 * (1 - 0.9**4), 4 * (1 - 0.75**2)
    touched = users * 20 + items * 16
    assert sent["all_gather rows touched"] == (pytest.approx(touched), pytest.approx(1 + touched / 10))
    assert not any(name.startswith("all_to_all") for name in sent)


def test_dense_local_tables_are_reduced_and_passed_over() -> None:
    table = Table("users", 10, 3, query_ids=1, by_rows=False, state_per_number=1, state_per_row=0)
    step = step_of(workload(tables=(table,)), device(), 2, "local")
    # gradient filled and read, weights and states read and written
    assert _work(step)["dense updates"][1] == 4 * 120 + 2 * 120
    assert _sent(step)["all_reduce towers and dense tables"][0] == 56 + 120
    assert "row updates" in _work(step)


def test_all_at_once_is_the_longest_of_the_three() -> None:
    slow_feed = step_of(workload(), device(feed_rows_per_s=0.001), 2, "row_wise")
    assert slow_feed.overlapped_s == slow_feed.feed_s
    assert slow_feed.saturated == "input"
    slow_links = step_of(workload(), device(link_latency_s=1e6), 2, "row_wise")
    assert slow_links.overlapped_s == slow_links.collective_s
    assert slow_links.overlapped_s < slow_links.seconds


def test_the_slowest_of_many() -> None:
    assert slowest_of(1, 2.0, 1.0) == 2.0
    # the table of expected maxima of normal numbers: 1.8675 of 20, 2.5076 of 100; the bound lies above
    for ranks, expected in ((20, 1.8675), (100, 2.5076), (1000, 3.2414)):
        assert expected < slowest_of(ranks, 0.0, 1.0) < 1.35 * expected
