"""Whole runs whose query reads when events were, when it is asked, and what else is known of events: alike on every surface."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.runs.events_world import COLUMNS, DAY, FULL, ITEMS, KINDS, TRANSFORMER, USERS, Trained, planted, recipe, short, table
from torch import Tensor

from twotower.errors import ConfigError, DataError
from twotower.evaluation import ModelScorer
from twotower.recommender import LiveRecommender, Recommender, Request
from twotower.runs import diagnose, explain, run
from twotower.runs.fit_model import untrained_model
from twotower.runs.load_run import load_run
from twotower.runs.tables import load_tables
from twotower.store import Interaction, MemoryStore
from twotower.types import Events, Ragged


def hit_rate(folder: Path) -> float:
    judged = pl.read_parquet(folder / "judged" / "test.parquet")
    name = next(column for column in judged.columns if column.startswith("model") and "above" in column)
    return float((judged[name].to_numpy() == 0).mean())


@pytest.mark.parametrize(
    ("decides", "encoder", "sequence"),
    [
        ("request", {**TRANSFORMER, "relative_time": True}, {"request_time": True}),
        ("request", {**TRANSFORMER, "time_gap": True}, {"request_time": True}),
        ("request", {"kind": "hstu", "blocks": 1, "dropout": 0.1}, {"request_time": True}),
        ("event", {**TRANSFORMER, "relative_time": True}, {}),
        ("event", {**TRANSFORMER, "time_gap": True}, {}),
        ("event", {"kind": "hstu", "blocks": 1, "dropout": 0.1}, {}),
    ],
)
def test_it_learns_what_only_times_tell(
    decides: str, encoder: dict[str, Any], sequence: dict[str, Any], tmp_path: Path
) -> None:
    # without a softmax it takes longer to single out one event
    epochs = 16 if encoder["kind"] == "hstu" else 8
    optimizer = {"kind": "adamw", "learning_rate": 0.01}
    asked = recipe(encoder, sequence=sequence, training=short(epochs=epochs, optimizer=optimizer))
    run(asked, tmp_path / "run", interactions=planted(decides))
    assert hit_rate(tmp_path / "run") > 0.85


@pytest.mark.parametrize(("decides", "encoder", "sequence"), [("request", FULL, {}), ("event", TRANSFORMER, {})])
def test_who_does_not_know_the_time_guesses(
    decides: str, encoder: dict[str, Any], sequence: dict[str, Any], tmp_path: Path
) -> None:
    run(recipe(encoder, sequence=sequence), tmp_path / "run", interactions=planted(decides))
    assert hit_rate(tmp_path / "run") < 0.7


@pytest.fixture(scope="module", params=list(KINDS))
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp(request.param) / "run", request.param)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)


def test_training_evaluation_and_requests_give_one_vector(trained: Trained) -> None:
    model, phase = trained.recommender.model, trained.untrained.phase
    split = phase.tables.split
    batch = trained.untrained.batches.batch(0, 0)
    assert isinstance(batch.queries["sequence"], Events)
    rows = np.asarray(split.train)[batch.rows.numpy()]
    with torch.no_grad():
        in_training_BD = model.encode_queries(batch.queries)
        alone_BD = model.encode_queries(trained.untrained.batches.examples.queries(batch.rows, training=True))
    close(alone_BD, in_training_BD)
    # sequences that are trained on begin every fourth event, so the first eight events of users are read alike everywhere
    first = trained.frame.with_row_index("row").with_columns(at=pl.int_range(pl.len()).over("user"))["at"].to_numpy()
    same = first[rows] <= 8
    assert 10 < same.sum() < len(same)
    close(trained.served(rows[same]), in_training_BD[torch.from_numpy(same)])
    test = np.asarray(split.test)
    examples = phase.examples(test, grow=phase.grows)
    with torch.no_grad():
        judged_BD = model.encode_queries(examples.queries(torch.arange(len(test)), training=False))
    close(trained.served(test), judged_BD)
    close(torch.cat([trained.served(test[at : at + 1]) for at in range(20)]), judged_BD[:20])
    scorer = ModelScorer(model, phase.items, examples, device=torch.device("cpu"))
    _, scores_BT = next(iter(scorer.tiles(torch.arange(5), 1_000)))
    close(scores_BT.float(), judged_BD[:5] @ trained.recommender.item_vectors_ND.T)


def test_known_users_are_as_if_they_had_told_their_history(trained: Trained) -> None:
    recommender, end = trained.recommender, trained.frame.height
    users = [f"u{user}" for user in range(20)]
    fitted = trained.frame.filter(pl.int_range(pl.len()).is_in(trained.untrained.phase.fit_rows.tolist()))
    whole = Trained.__new__(Trained)
    whole.__dict__ |= trained.__dict__ | {"frame": fitted}
    histories = [whole.events(user, end) for user in users]
    features = [{"time": 1_800_000_000}] * 20 if trained.asks else None
    expected_BD = recommender.encode_queries(histories=histories, features=features)
    close(recommender.encode_queries(users, features=features), expected_BD)
    saved = trained.folder.parent / "saved"
    recommender.save(saved)
    close(Recommender.load(saved).encode_queries(users, features=features), expected_BD)


def test_what_a_user_does_while_serving_follows_the_stored_history(trained: Trained) -> None:
    recommender, store = trained.recommender, MemoryStore(item_kind="text", user_kind="text")
    live = LiveRecommender(recommender, store, store, now=lambda: 1_790_000_000.0)
    live.append([Interaction("u3", "i5", 1_789_000_000.0), Interaction("u3", "i6"), Interaction("new", "i5", 1_789_000_000.0)])
    stored = recommender.users.histories(["u3"]).values.tolist()
    assert live.history("u3") == [*recommender.items.ids(np.array(stored)), "i5", "i6"]
    answers = live.answer([Request(user, {"time": 1_790_000_100} if trained.asks else None, k=ITEMS) for user in ("u3", "new")])
    events: list[Any] = [{"item": "i5", "time": 1_789_000_000.0}, {"item": "i6", "time": 1_790_000_000.0}]
    if not trained.reads_times:
        events = ["i5", "i6"]
    features = [{"time": 1_790_000_100}] if trained.asks else None
    for user, later, answer in zip(("u3", "new"), (events, events[:1]), answers.answers, strict=True):
        vector_1D = recommender.requests.encode([user], features, later=[later]).queries_BD
        scores = (vector_1D @ recommender.item_vectors_ND.T)[0]
        assert not isinstance(answer, Exception)
        close(torch.from_numpy(answer.scores), scores[torch.from_numpy(answer.rows)])
    if trained.columns:  # what the log does not know is missing
        full = trained.events("u3", int(trained.untrained.phase.fit_rows.max()) + 1)
        assert full is not None
        missing = [
            {**(event if isinstance(event, dict) else {"item": event}), "rating": None, "device": None} for event in events
        ]
        close(
            recommender.requests.encode(["u3"], features, later=[missing]).queries_BD,
            recommender.requests.encode(["u3"], features, later=[events]).queries_BD,
        )


def test_a_request_may_leave_out_when_it_is(trained: Trained) -> None:
    if not trained.asks:
        with pytest.raises(ConfigError, match="does not read 'time'"):
            trained.recommender.recommend(["u1"], features=[{"time": 5}])
        return
    recommender = trained.recommender
    end = int(trained.frame["time"].gather(np.asarray(trained.untrained.phase.fit_rows)).max())  # type: ignore[arg-type]
    answer = recommender.recommend(["u1"])
    assert answer.assumed == {"time": end}
    assert recommender.recommend(["u1"], features=[{"time": end}]).assumed == {}
    assert recommender.recommend(["u1", "u2"], features=[{"time": end}, {"time": None}]).assumed == {"time": end}
    close(recommender.encode_queries(["u1"]), recommender.encode_queries(["u1"], features=[{"time": end}]))
    later_BD = recommender.encode_queries(["u1"], features=[{"time": end + 30 * DAY}])
    assert not torch.allclose(recommender.encode_queries(["u1"]), later_BD)
    with pytest.raises(DataError, match="column 'time' must"):
        recommender.encode_queries(["u1"], features=[{"time": float("inf")}])


BAD: list[tuple[list[Any], type[Exception], str]] = [
    (["i1"], DataError, r"reads when the events of a history were: give each as a mapping with its time in Unix seconds"),
    ([{"item": "i1"}], DataError, "reads when the events"),
    ([{"item": "i1", "time": None}], DataError, "reads when the events"),
    ([{"item": "i1", "time": "today"}], DataError, "reads when the events"),
    ([{"item": "i1", "time": True}], DataError, "reads when the events"),
    ([{"item": "i1", "time": float("nan")}], DataError, "reads when the events"),
    ([{"time": 5}], DataError, "must have its item, under 'item'"),
    ([{"item": 7, "time": 5}], DataError, "must hold item ids, which are text"),
    ([{"item": "i1", "time": 5, "ratings": 3}], ConfigError, "reads no 'ratings' of an event; did you mean 'rating'"),
    ([{"item": "i1", "time": 5, "rating": "good"}], DataError, "rating"),
    ([{"item": "i1", "time": 5, "rating": 3}, {"item": "i1", "time": 5, "rating": "good"}], DataError, "values of one type"),
    ([{"item": "i1", "time": 5, "device": 3}], DataError, "device"),
]


@pytest.mark.parametrize(("history", "error", "message"), BAD)
def test_events_that_are_none_are_refused(history: list[Any], error: type[Exception], message: str, bad: Trained) -> None:
    with pytest.raises(error, match=message):
        bad.recommender.recommend(histories=[history])
    store = MemoryStore(item_kind="text", user_kind="text")
    answers = LiveRecommender(bad.recommender, store, store).answer([Request(history=history), Request("u1")])
    assert isinstance(answers.answers[0], error)
    assert not isinstance(answers.answers[1], Exception)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("bad") / "run", "transformer")


def test_values_that_train_never_saw_are_as_if_they_were_missing(bad: Trained) -> None:
    def encoded(**changes: Any) -> Tensor:
        event = {"item": "i1", "time": 1_700_000_000, "rating": 3.0, "device": "tv", **changes}
        found: Tensor = bad.recommender.encode_queries(histories=[[event]])
        return found

    torch.testing.assert_close(encoded(rating=3), encoded(rating=3.0))
    assert not torch.allclose(encoded(rating=3), encoded(rating=4))
    assert not torch.allclose(encoded(device="tv"), encoded(device="phone"))
    torch.testing.assert_close(encoded(rating=9), encoded(rating=5))  # beyond the last edge
    none = {"item": "i1", "time": 1_700_000_000}
    torch.testing.assert_close(bad.recommender.encode_queries(histories=[[none]]), encoded(rating=None, device=None))


def test_only_with_request_time_is_the_time_of_a_judged_row_read() -> None:
    frame = planted("request")
    last = pl.int_range(pl.len()).over("user") == pl.len().over("user") - 1
    moved = frame.with_columns(time=pl.when(last).then(pl.col("time") + 20 * DAY).otherwise("time"))
    for requested in (False, True):
        asked = recipe(FULL, sequence={"request_time": requested}, training=short())
        found = []
        for each in (frame, moved):
            tables = load_tables(asked, interactions=each)
            untrained = untrained_model(asked, tables, tables.split.train)
            with torch.no_grad():
                for name, parameter in untrained.model.named_parameters():
                    if "bias." in name or "gap." in name:
                        parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
                examples = untrained.phase.examples(np.asarray(tables.split.test), grow=True)
                found.append(untrained.model.eval().encode_queries(examples.queries(torch.arange(USERS), training=False)))
        assert torch.equal(*found) == (not requested)


def test_what_the_row_itself_was_rated_is_never_read() -> None:
    frame = planted("request")
    rated = frame.with_columns(rating=pl.when(pl.int_range(pl.len()) % 2 == 0).then(6 - pl.col("rating")).otherwise("rating"))
    asked = recipe(FULL, sequence=COLUMNS, training=short())
    found: list[Any] = []
    for each in (frame, rated):
        tables = load_tables(asked, interactions=each)
        examples = untrained_model(asked, tables, tables.split.train).batches.examples
        found.append([examples.queries(torch.arange(len(examples)), training=way)["sequence"] for way in (True, False)])
    rows = np.asarray(tables.split.train)
    for one, other in zip(*found, strict=True):
        ends = one.items.offsets.tolist()
        changed = one.columns["rating"] != other.columns["rating"]
        positions = frame.with_row_index("row")["row"].to_numpy()
        assert bool(changed.any())
        for row, (start, end) in enumerate(itertools.pairwise(ends[:201])):
            read = positions[rows[row] - (end - start) : rows[row]]  # rows stand by user, in order
            middle = frame["rating"].gather(read) != 3
            assert changed[start:end].tolist() == ((read % 2 == 0) & middle.to_numpy()).tolist()


def test_a_run_that_is_resumed_ends_with_the_same_bits(tmp_path: Path) -> None:
    asked = recipe({"kind": "hstu", "blocks": 1}, sequence=COLUMNS, training=short(epochs=2, checkpoint_every_s=0))
    run(asked, tmp_path / "whole", interactions=table())

    class StopError(Exception):
        pass

    steps = 0

    def stop(phase: str, event: object) -> None:
        nonlocal steps
        steps += type(event).__name__ == "StepDone"
        if steps == 40:
            raise StopError

    with pytest.raises(StopError):
        run(asked, tmp_path / "cut", interactions=table(), listener=stop)
    run(asked, tmp_path / "cut", interactions=table(), resume=True)
    first, second = (Recommender.load(tmp_path / name / "bundle") for name in ("whole", "cut"))
    for (name, one), (_, other) in zip(first.model.named_parameters(), second.model.named_parameters(), strict=True):
        assert torch.equal(one, other), name


def test_it_is_explained_and_diagnosed(bad: Trained) -> None:
    found: Any = explain(bad.recipe, interactions=bad.frame)
    assert found["feed"]["request_time"] == ["sequence"]
    assert found["feed"]["events"] == {"sequence": ["time", "rating", "device"]}
    plain: Any = explain(recipe(TRANSFORMER), interactions=bad.frame)
    assert not {"request_time", "events"} & plain["feed"].keys()
    assert diagnose(bad.folder, interactions=bad.frame).findings is not None
    assert load_run(bad.folder, interactions=bad.frame).phase.timed == {"sequence"}


WRONG: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"kind": "gru"}, {"request_time": True}, r"request_time: the encoder \(kind 'gru'\) reads no times"),
    (TRANSFORMER, {"request_time": True}, r"request_time: the encoder \(kind 'transformer'\) reads no times"),
    ({**TRANSFORMER, "time_buckets": 10}, {}, "time_buckets belongs to relative_time or time_gap"),
    ({"kind": "hstu", "relative_time": False, "time_buckets": 10}, {}, "time_buckets belongs to relative_time or time_gap"),
    ({"kind": "hstu", "heads": 3}, {}, "multiple of the encoder's heads; came 16 for 3"),
    (TRANSFORMER, {"columns": ["rating"], "items": "candidate"}, "can't be read beside request_time or columns yet"),
    (TRANSFORMER, {"columns": ["rating", "rating"]}, "each column may be named once"),
    (TRANSFORMER, {"columns": ["time"]}, r"'time' is the time \(data.columns.time\)"),
    (TRANSFORMER, {"columns": ["user"]}, r"'user' is the user \(data.columns.user\)"),
    (TRANSFORMER, {"columns": ["item"]}, r"'item' is the item \(data.columns.item\)"),
]


@pytest.mark.parametrize(("encoder", "sequence", "message"), WRONG)
def test_what_a_recipe_may_not_say(encoder: dict[str, Any], sequence: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(encoder, sequence=sequence)


def test_what_the_tables_must_have(tmp_path: Path) -> None:
    columns = {"user": "user", "item": "item", "order": "row"}
    without = recipe(FULL, data={"columns": columns}, split={"kind": "random"})
    with pytest.raises(ConfigError, match="reads when events were, and the interactions have no time"):
        run(without, tmp_path / "run", interactions=planted("request"))
    with pytest.raises(ConfigError, match="no column 'ratings' in the interactions; did you mean 'rating'"):
        run(recipe(TRANSFORMER, sequence={"columns": ["ratings"]}), tmp_path / "run", interactions=planted("request"))


CHANGES: list[tuple[str, Callable[[Any], Any], str]] = [
    ("times", lambda parts: replace(parts, times=None), "histories have no times, which the query reads"),
    ("columns", lambda parts: replace(parts, columns={}), "histories have no column 'sequence/rating', which the query reads"),
    (
        "rows",
        lambda parts: replace(parts, columns={name: rows + 100 for name, rows in parts.columns.items()}),
        "'sequence/rating' must hold a row below",
    ),
]


@pytest.mark.parametrize(("name", "change", "message"), CHANGES)
def test_a_bundle_that_lacks_what_is_read_is_refused(
    name: str, change: Callable[[Any], Any], message: str, bad: Trained, tmp_path: Path
) -> None:
    recommender = Recommender.load(bad.folder / "bundle")
    recommender.users = replace(recommender.users, item_histories=change(recommender.users.item_histories))
    recommender.save(tmp_path / name)
    with pytest.raises(Exception, match=message):
        Recommender.load(tmp_path / name)


def test_models_without_times_are_written_as_before() -> None:
    plain = recipe(TRANSFORMER)
    text = plain.model_dump_json()
    for key in ("request_time", "relative_", "time_gap", "time_buckets", 'columns":[', "events"):
        assert key not in text
    tables = load_tables(plain, interactions=planted("request"))
    untrained = untrained_model(plain, tables, tables.split.train)
    for key in ("request_time", "relative_", "time_gap", "time_buckets", "events"):
        assert key not in untrained.model.spec.model_dump_json()
        assert key not in untrained.phase.preprocessor.to_json()
    assert not untrained.phase.train.histories.columns
    assert untrained.phase.train.times is None
    assert not isinstance(untrained.batches.batch(0, 0).queries["sequence"], Events | Ragged)


def test_times_are_not_read_beside_candidates_vectors() -> None:
    feature = {"kind": "sequence", "items": "candidate", "embedding": {"encoder": {"kind": "hstu"}}}
    with pytest.raises(ConfigError, match="items = 'candidate' can't be read by an encoder that reads times yet"):
        recipe(TRANSFORMER, query={"features": [feature]})
