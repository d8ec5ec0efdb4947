"""What collectives cost, computed by hand and by passing messages."""

from __future__ import annotations

import pytest
from tests.planning.worlds import device

from twotower.planning import Links


def test_one_rank_waits_for_nobody() -> None:
    alone = Links(device(), 1)
    assert (alone.all_reduce_s(100), alone.all_gather_s(100), alone.all_to_all_s(100)) == (0, 0, 0)


def test_two_ranks_of_a_node() -> None:
    pair = Links(device(), 2)
    # a ring of two: two messages there and back, each byte passes once
    assert pair.all_reduce_s(100) == pytest.approx(2 * 1 + 10)
    assert pair.all_gather_s(100) == pytest.approx(1 + 5)
    assert pair.all_to_all_s(100) == pytest.approx(1 + 5)


def test_a_reduction_takes_the_ring_or_the_tree() -> None:
    four = Links(device(), 4)
    assert four.all_reduce_s(100) == pytest.approx(6 + 15)  # the ring; the tree's 4 + 20 are more
    assert four.all_reduce_s(0) == pytest.approx(4)  # the tree: two levels up, two down; the ring's 6 are more


def test_two_nodes_share_their_ports() -> None:
    eight = Links(device(), 8)
    # four ports of 2 carry 8, a link 10; a way around has six links and one crossing
    assert eight.all_gather_s(80) == pytest.approx(6 * 1 + 3 + 80 * 7 / 8 / 8)
    assert eight.all_reduce_s(80) == pytest.approx(min(2 * 9 + 17.5, 2 * (2 + 3) + 20))
    # 30 bytes to three near ranks at 10, 40 to four far ones at 2, and all seven messages
    assert eight.all_to_all_s(80) == pytest.approx(max(3, 20) + 3 * 1 + 4 * 3)


def test_a_wide_network_leaves_the_link_as_the_narrowest_place() -> None:
    eight = Links(device(network_bytes_per_s=1000.0), 8)
    assert eight.all_gather_s(80) == pytest.approx(9 + 7)
    assert eight.all_to_all_s(80) == pytest.approx(3 + 15)


def test_shares_and_messages_at_once() -> None:
    half = Links(device(wire_share=0.5), 2)
    assert half.all_gather_s(100) == pytest.approx(1 + 10)
    together = Links(device(messages_at_once=5), 8)
    assert together.all_to_all_s(80) == pytest.approx(20 + 15 / 5)


def test_the_last_node_may_not_be_full() -> None:
    five = Links(device(), 5)
    assert (five.near, five.nodes) == (4, 2)
    assert five.around_s == pytest.approx(3 + 3)
    assert five.all_to_all_s(50) == pytest.approx(max(50 * 3 / 5 / 10, 50 * 1 / 5 / 2) + 3 + 3)


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_a_ring_of_messages_takes_what_the_formula_says(ranks: int) -> None:
    """Slow way: chunks are handed on, one at a time on a link, until everybody has every chunk."""
    chunk, latency, speed = 12.0, 1.0, 10.0
    has = [{rank: 0.0} for rank in range(ranks)]  # by chunk: since when
    free = [0.0] * ranks
    for _ in range(ranks - 1):
        for rank in range(ranks):
            to = (rank + 1) % ranks
            waiting = {which: since for which, since in has[rank].items() if which not in has[to]}
            which = min(waiting, key=lambda name: waiting[name])
            free[rank] = max(free[rank], waiting[which]) + latency + chunk / speed
            has[to][which] = free[rank]
    assert all(len(each) == ranks for each in has)
    last = max(since for each in has for since in each.values())
    assert Links(device(), ranks).all_gather_s(chunk * ranks) == pytest.approx(last)
