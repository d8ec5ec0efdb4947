"""What an interaction log has to pass; see :mod:`twotower.store.contract_suite`."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

from twotower.errors import DataError
from twotower.store.contract import IdKind, Interaction, InteractionLog, LoggedInteraction
from twotower.store.suite_values import NOT_INTEGERS, NOT_TEXTS, ODD_INTEGERS, ODD_TEXTS, refuses

__all__ = ["INTERACTION_LOG_CHECKS", "MakeInteractionLog"]

MakeInteractionLog: TypeAlias = Callable[[IdKind, IdKind], InteractionLog]
"""From the kinds of the ids of users and of items to an empty log."""


def _times(history: Sequence[LoggedInteraction]) -> list[float | None]:
    return [entry.time for entry in history]


def _in_order(arrived: Sequence[LoggedInteraction]) -> list[LoggedInteraction]:
    """A user's history, slowly: each is put before the first one of a later time; without a time, at the end."""
    history: list[tuple[float, LoggedInteraction]] = []
    for entry in arrived:
        latest = history[-1][0] if history else float("-inf")
        at = latest if entry.time is None else entry.time
        place = next((n for n, (other, _) in enumerate(history) if other > at), len(history))
        history.insert(place, (at, entry))
    return [entry for _, entry in history]


def check_a_new_interaction_log_is_empty(make: MakeInteractionLog) -> None:
    log = make("text", "text")
    assert (log.last_interaction(), log.interactions(), log.histories(["a", "b"]), log.histories([])) == (0, [], [[], []], [])


def check_interactions_come_back_in_order_of_arrival(make: MakeInteractionLog) -> None:
    log = make("text", "integer")
    assert log.append([Interaction("a", 1, 5.5), Interaction("b", 2)]) == 2
    assert log.append([Interaction("a", 1, 4)]) == 3 == log.last_interaction()
    assert [tuple(entry) for entry in log.interactions()] == [(1, "a", 1, 5.5), (2, "b", 2, None), (3, "a", 1, 4.0)]
    assert type(log.interactions()[2].time) is float
    assert [entry.sequence for entry in log.interactions(1, limit=1)] == [2]
    assert log.interactions(3) == []


def check_a_history_is_in_order_of_time(make: MakeInteractionLog) -> None:
    log = make("text", "text")
    log.append([Interaction("u", item, time) for item, time in (("c", 3.0), ("a", 1.0), ("d", 3.0), ("b", -2.0), ("a", 1.0))])
    log.append([Interaction("v", "z", 2.0)])
    (history,) = log.histories(["u"])
    assert [entry.item for entry in history] == ["b", "a", "a", "c", "d"]
    assert [entry.sequence for entry in history] == [4, 2, 5, 1, 3]
    assert {entry.user for entry in history} == {"u"}


def check_without_a_time_it_happened_on_arrival(make: MakeInteractionLog) -> None:
    log = make("text", "text")
    times = (None, None, 20.0, None, 10.0, None, 30.0)
    for n, time in enumerate(times):
        log.append([Interaction("u", str(n), time), Interaction("v", str(n))])
    log.append([Interaction("w", str(n), time) for n, time in enumerate(times)])
    u, v, w = log.histories(["u", "v", "w"])
    assert [entry.item for entry in u] == [entry.item for entry in w] == ["0", "1", "4", "2", "3", "5", "6"]
    assert _times(u) == [None, None, 10.0, 20.0, None, None, 30.0]
    assert [entry.item for entry in v] == [str(n) for n in range(7)]


def check_the_latest_are_the_last(make: MakeInteractionLog) -> None:
    log = make("integer", "integer")
    log.append([Interaction(1, n, float(-n)) for n in range(10)] + [Interaction(2, 7, 0.0)] * 3)
    (every,) = log.histories([1])
    for latest in (1, 3, 10, 11):
        assert log.histories([1], latest=latest) == [every[-latest:]]
    assert [entry.sequence for entry in log.histories([1], after=4)[0]] == [10, 9, 8, 7, 6, 5]
    assert [entry.sequence for entry in log.histories([1], after=4, latest=2)[0]] == [6, 5]
    assert [entry.item for entry in log.histories([2], latest=2)[0]] == [7, 7], "an item that comes twice counts twice"


def check_each_user_has_a_history(make: MakeInteractionLog) -> None:
    log = make("text", "text")
    log.append([Interaction(user, "x", 1.0) for user in ("a", "b", "a")])
    found = log.histories(["b", "nobody", "a", "b"])
    assert [[entry.sequence for entry in history] for history in found] == [[2], [], [1, 3], [2]]


def check_ids_of_interactions_keep_what_they_are(make: MakeInteractionLog) -> None:
    texts, integers = make("text", "integer"), make("integer", "text")
    texts.append([Interaction(user, number) for user in ODD_TEXTS for number in ODD_INTEGERS])
    integers.append([Interaction(number, item) for item in ODD_TEXTS for number in ODD_INTEGERS])
    for history in texts.histories(ODD_TEXTS):
        assert [(type(entry.user), entry.item) for entry in history] == [(str, number) for number in ODD_INTEGERS]
    for user, history in zip(ODD_INTEGERS, integers.histories(ODD_INTEGERS), strict=True):
        assert [(entry.user, entry.item) for entry in history] == [(user, item) for item in ODD_TEXTS]
    for value in NOT_TEXTS:
        assert refuses(DataError, texts.append, [Interaction(value, 1)]), value
        assert refuses(DataError, integers.append, [Interaction(1, value)]), value
        assert refuses(DataError, texts.histories, [value]), value
    for value in NOT_INTEGERS:
        assert refuses(DataError, integers.append, [Interaction(value, "a")]), value
        assert refuses(DataError, integers.histories, [value]), value


def check_interactions_are_written_all_or_none(make: MakeInteractionLog) -> None:
    log = make("text", "text")
    assert log.append([]) == 0
    log.append([Interaction("a", "x", 1.0)])
    bad: list[Any] = [float("nan"), float("inf"), float("-inf"), 10**400, "1", True]
    for time in bad:
        interactions = [Interaction("a", "y"), Interaction("a", "z", time), Interaction("b", "z")]
        assert refuses(DataError, log.append, interactions), time
    assert log.append([]) == log.last_interaction() == 1
    assert [len(history) for history in log.histories(["a", "b"])] == [1, 0]


def check_times_come_back_as_they_went(make: MakeInteractionLog) -> None:
    log = make("text", "text")
    times = [0.1, -0.0, 0, 5e-324, -1.7e308, 1.7e308, 2**53, 1_700_000_000.123456, 1_700_000_000, 2**62]
    log.append([Interaction("a", "x", time) for time in times])
    assert _times(log.interactions()) == [float(time) for time in times]
    assert _times(log.histories(["a"])[0]) == sorted(map(float, times))


def check_what_is_asked_of_interactions_is_checked(make: MakeInteractionLog) -> None:
    log = make("text", "text")
    for after in (-1, 1.5, True, None, 2**63):
        assert refuses(ValueError, log.interactions, after), after
        assert refuses(ValueError, log.histories, ["a"], after=after), after
    for count in (0, -1, 1.5, True):
        assert refuses(ValueError, log.interactions, limit=count), count
        assert refuses(ValueError, log.histories, ["a"], latest=count), count


def check_histories_are_those_of_the_slow_way(make: MakeInteractionLog) -> None:
    draw = random.Random(1)
    log = make("integer", "integer")
    while log.last_interaction() < 300:
        several = draw.choice((1, 1, 2, 7))
        times = [draw.choice((None, float(draw.randrange(20)))) for _ in range(several)]
        log.append([Interaction(draw.randrange(5), draw.randrange(9), time) for time in times])
    arrived = log.interactions()
    assert [entry.sequence for entry in arrived] == list(range(1, len(arrived) + 1))
    for user, history in enumerate(log.histories(range(5))):
        expected = _in_order([entry for entry in arrived if entry.user == user])
        assert history == expected
        assert log.histories([user], latest=6, after=150) == [[entry for entry in expected if entry.sequence > 150][-6:]]


def check_threads_lose_no_interaction(make: MakeInteractionLog) -> None:
    log = make("integer", "integer")

    def append(thread: int) -> None:
        for n in range(10):
            last = log.append([Interaction(thread, n), Interaction(thread, -n)])
            (own,) = log.histories([thread])
            assert [entry.item for entry in own][-2:] == [n, -n], "what was written is read"
            assert own[-1].sequence <= last

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, range(8)))
    arrived = log.interactions()
    assert [entry.sequence for entry in arrived] == list(range(1, 161))
    assert [len(history) for history in log.histories(range(8))] == [20] * 8
    assert all(one.user == other.user for one, other in zip(arrived[::2], arrived[1::2], strict=True)), "a call is one piece"


INTERACTION_LOG_CHECKS: tuple[Callable[[MakeInteractionLog], None], ...] = (
    check_a_new_interaction_log_is_empty,
    check_interactions_come_back_in_order_of_arrival,
    check_a_history_is_in_order_of_time,
    check_without_a_time_it_happened_on_arrival,
    check_the_latest_are_the_last,
    check_each_user_has_a_history,
    check_ids_of_interactions_keep_what_they_are,
    check_interactions_are_written_all_or_none,
    check_times_come_back_as_they_went,
    check_what_is_asked_of_interactions_is_checked,
    check_histories_are_those_of_the_slow_way,
    check_threads_lose_no_interaction,
)
"""Every check of an :class:`~twotower.store.InteractionLog`."""
