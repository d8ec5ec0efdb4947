"""``twotower recommend --history`` where the query reads more of events than their items."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.runs.events_world import Trained

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    found = Trained(tmp_path_factory.mktemp("events") / "run", "transformer")
    found.recommender.save(found.folder / "bundle")  # with biases that tell times apart
    return found


@pytest.fixture(scope="module")
def columns(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("columns") / "run", "columns")


def test_events_are_objects(call: Call, trained: Trained) -> None:
    history = trained.events("u3", 10**9)[-2:]
    parts = [part for event in history for part in ("--history", json.dumps(event))]
    status, out, err = call("recommend", trained.folder, *parts, "--query", "time=1790000000", "-k", "4", "--json")
    assert (status, err) == (0, "")
    expected = trained.recommender.recommend(histories=[history], features=[{"time": 1_790_000_000}], k=4).frame
    found = json.loads(out)
    assert [item["item"] for item in found["items"]] == expected["item"].to_list()
    assert [item["score"] for item in found["items"]] == pytest.approx(expected["score"].to_list(), abs=1e-5)
    assert found["history"] == [event["item"] for event in history]
    assert "i4\n" in call("recommend", trained.folder, "--history", '{"item": "i4", "time": 5}')[1]


def test_times_may_be_dates(call: Call, trained: Trained) -> None:
    def scores(*times: str | int) -> list[float]:
        parts = [part for time in times for part in ("--history", json.dumps({"item": "i3", "time": time}))]
        status, out, err = call("recommend", trained.folder, *parts, "--query", "time=1790000000", "--json")
        assert (status, err) == (0, "")
        return [item["score"] for item in json.loads(out)["items"]]

    seconds = scores(1_789_999_200)
    assert scores("1789999200") == seconds
    assert scores("2026-09-21T14:40:00") == scores("2026-09-21T14:40:00Z") == scores("2026-09-21T16:40:00+02:00")
    assert scores("2026-09-21T14:00:00Z") == scores(1_789_999_200) != scores(5)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("i1", "--history i1: the query reads when the events of a history were; write each as an object"),
        ("i1", '--history \'{"item": "i1", "time": 1700000000}\' (it reads: time, device, rating)'),
        ('{"item": "i1"', '--history {"item": "i1": not valid JSON'),
        ('{"time": 5}', "must have its item, an id, under 'item'; it may have time, device, rating besides"),
        ('{"item": true, "time": 5}', "must have its item"),
        ('{"item": "i1", "time": "soon"}', "'time' is 'soon'; write 2024-01-31"),
        ('{"item": "i1", "time": null}', "the query reads when the events of a history were"),
        ('{"item": "i1", "time": 5, "stars": 3}', "the query reads no 'stars' of an event"),
        ('{"item": "i99", "time": 5}', "--history: no item 'i99'"),
    ],
)
def test_what_is_no_event(call: Call, trained: Trained, part: str, message: str) -> None:
    status, out, err = call("recommend", trained.folder, "--history", part)
    assert status in (1, 2)
    assert out == ""
    assert message in err
    assert err.count("Error") <= 1


def test_ids_are_enough_where_no_times_are_read(call: Call, columns: Trained) -> None:
    def items(part: str) -> list[dict[str, object]]:
        status, out, err = call("recommend", columns.folder, "--history", part, "--json")
        assert (status, err) == (0, "")
        found: list[dict[str, object]] = json.loads(out)["items"]
        return found

    assert items("i1") == items('{"item": "i1"}') == items('{"item": "i1", "rating": null}')


def test_a_brace_is_a_letter_of_ids_where_ids_are_all_that_is_read(call: Call, finished: Path) -> None:
    assert "--history: no item '{film 1}'" in call("recommend", finished, "--history", "{film 1}")[2]
