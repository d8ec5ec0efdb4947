"""Events in tables of requests, and where a model of events can't go."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.runs import events_world
from tests.runs.events_world import Trained

from twotower.data import Histories, IdTable
from twotower.errors import ConfigError, DataError
from twotower.recommender import BatchOptions, Recommender, StoredUsers, recommend_batch
from twotower.recommender.history_inputs import event_column
from twotower.runs import parse_recipe, run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("events") / "run", "transformer")


def answered(trained: Trained, frame: pl.DataFrame, folder: Path, **options: Any) -> pl.DataFrame:
    recommend_batch(trained.recommender, [frame], folder / "found.parquet", BatchOptions(k=3, **options), fingerprint="x")
    return pl.read_parquet(folder / "found.parquet")


def test_a_table_of_requests_has_events_and_times(trained: Trained, tmp_path: Path) -> None:
    histories = [trained.events(f"u{user}", 10**9) for user in range(6)]
    frame = pl.DataFrame({"past": histories, "time": [1_790_000_000 + 10_000 * at for at in range(6)]})
    found = answered(trained, frame, tmp_path, history_column="past")
    features = [{"time": time} for time in frame["time"]]
    expected = trained.recommender.recommend(histories=histories, features=features, k=3).frame
    assert found["item"].to_list() == expected["item"].to_list()
    assert found["score"].to_list() == pytest.approx(expected["score"].to_list(), abs=1e-4)


def test_all_known_users(trained: Trained, tmp_path: Path) -> None:
    users = [f"u{user}" for user in range(6)]
    found = answered(trained, pl.DataFrame({"user": users}), tmp_path)
    expected = trained.recommender.recommend(users, k=3).frame
    assert found["item"].to_list() == expected["item"].to_list()


def test_lists_without_items_or_times_are_refused(trained: Trained, tmp_path: Path) -> None:
    without = pl.DataFrame({"past": [[{"time": 5, "rating": 3.0}]]})
    with pytest.raises(DataError, match="lists of events, which must have a field 'item'"):
        answered(trained, without, tmp_path, history_column="past")
    with pytest.raises(DataError, match="must hold lists of item ids, which are text"):
        answered(trained, pl.DataFrame({"past": [[{"item": 5, "time": 5}]]}), tmp_path, history_column="past")
    with pytest.raises(DataError, match="reads when the events of a history were"):
        answered(trained, pl.DataFrame({"past": [["i1", "i2"]]}), tmp_path, history_column="past")
    with pytest.raises(DataError, match="one in row 0 is missing"):
        answered(trained, pl.DataFrame({"past": [[{"item": "i1", "time": 5}, None]]}), tmp_path, history_column="past")


def test_a_time_is_any_finite_number(trained: Trained) -> None:
    at = [{"time": 1_790_000_000}]
    for times in ([0], [-5], [2**63], [1e300], [-1e308, 1e308], [np.float32(5), np.int64(7)]):
        events = [{"item": "i1", "time": time} for time in times]
        found = trained.recommender.encode_queries(histories=[events], features=at)
        assert bool(found.isfinite().all())
    for wrong in (10**400, math.inf, math.nan, True, None, "5"):
        with pytest.raises(DataError, match="reads when the events of a history were"):
            trained.recommender.encode_queries(histories=[[{"item": "i1", "time": wrong}]], features=at)


def test_events_are_read_in_the_order_of_their_times(trained: Trained, tmp_path: Path) -> None:
    recommender, at = trained.recommender, [{"time": 1_790_000_000}] * 2
    histories = [trained.events("u1", 10**9), [*trained.events("u2", 10**9), *trained.events("u3", 10**9)]]
    sorted_by_time = sorted(histories[1], key=lambda event: event["time"])
    expected_BD = recommender.encode_queries(histories=[histories[0], sorted_by_time], features=at)
    mixed = [histories[0][::-1], histories[1]]
    assert [event["time"] for event in histories[1]] != sorted(event["time"] for event in histories[1])
    torch.testing.assert_close(recommender.encode_queries(histories=mixed, features=at), expected_BD)
    found = answered(trained, pl.DataFrame({"past": mixed, "time": [1_790_000_000] * 2}), tmp_path, history_column="past")
    assert found["item"].to_list() == recommender.recommend(histories=histories, features=at, k=3).frame["item"].to_list()
    # of one time, they are in the order in which they came
    same = [{"item": item, "time": 5, "rating": rating} for item, rating in (("i4", 1), ("i7", 2), ("i1", 5))]
    vectors_BD = recommender.encode_queries(histories=[same, same[::-1]], features=at)
    assert float((vectors_BD[0] - vectors_BD[1]).abs().max()) > 1e-4


def test_where_rows_were_in_another_order_than_times_histories_are_read_as_they_are_given(tmp_path: Path) -> None:
    values = events_world.recipe(events_world.FULL, training=events_world.short()).model_dump(mode="json")
    values["data"]["columns"]["order"] = "row"
    frame = events_world.planted("request").with_columns(time=-pl.col("time"))
    run(parse_recipe({**values, "tune": {}}), tmp_path / "run", interactions=frame)
    recommender = Recommender.load(tmp_path / "run")
    with torch.no_grad():
        for name, parameter in recommender.model.named_parameters():
            if "bias." in name or "gap." in name:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    assert not recommender.users.are_in_order
    events: list[Any] = recommender.events("u3")
    assert [event["time"] for event in events] == sorted((event["time"] for event in events), reverse=True)
    stored_BD = recommender.encode_queries(["u3"])
    torch.testing.assert_close(recommender.encode_queries(histories=[events]), stored_BD)
    assert float((recommender.encode_queries(histories=[events[::-1]]) - stored_BD).abs().max()) > 1e-3


def test_histories_in_order() -> None:
    def stored(times: list[int] | None, *ends: int) -> StoredUsers:
        rows = torch.zeros(ends[-1], dtype=torch.int32)
        at = None if times is None else torch.tensor(times)
        histories = Histories(torch.tensor([0, *ends]), rows, rows.bool(), at)
        frame = pl.DataFrame({"user": [f"u{at}" for at in range(len(ends))]})
        return StoredUsers(IdTable(frame, "user", "user"), histories)

    assert stored(None, 3).are_in_order
    assert stored([], 0, 0).are_in_order
    assert stored([1, 5, 5, 2, 9], 0, 3, 3, 5, 5).are_in_order
    assert not stored([1, 5, 4, 2, 9], 0, 3, 3, 5, 5).are_in_order
    assert not stored([1, 5, 5, 9, 2], 0, 3, 3, 5, 5).are_in_order
    assert not stored([5, 2], 2).are_in_order


def test_stored_values_are_not_told(trained: Trained) -> None:
    with pytest.raises(ConfigError, match="reads 'device', 'rating' of events"):
        trained.recommender.events("u1")


def test_a_bundle_holds_no_column_that_nobody_reads(trained: Trained) -> None:
    names = set(trained.recommender.users.item_histories.columns)
    assert names == {event_column("sequence", "rating"), event_column("sequence", "device")}


@pytest.mark.parametrize("kind", ["transformer", "hstu", "times", "columns"])
def test_an_export_refuses_what_it_does_not_know(kind: str, tmp_path: Path) -> None:
    export = pytest.importorskip("twotower.export")
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    made = Trained(tmp_path / "run", kind)
    with pytest.raises(ConfigError, match="an ONNX export knows sequences of items alone: serve the bundle"):
        export.export_onnx(made.folder, tmp_path / "towers")
    assert not (tmp_path / "towers").exists()
