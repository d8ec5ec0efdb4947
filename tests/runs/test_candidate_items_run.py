"""Whole runs whose histories hold items as the candidate tower makes them: they know cold items, and answer alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from twotower.errors import ConfigError
from twotower.evaluation import ModelScorer, encode_catalogue, predict_outcomes
from twotower.recommender import Answer, BatchOptions, LiveRecommender, Recommender, Request, recommend_batch
from twotower.runs import diagnose, explain, parse_recipe, reevaluate, report_runs, run
from twotower.runs.feature_evidence import _permuted, feature_columns, unknown_values
from twotower.runs.fit_model import untrained_model
from twotower.runs.knowledge_evidence import known_of_test
from twotower.runs.load_run import load_run
from twotower.runs.loss_evidence import _encoded
from twotower.runs.probe import make_probe
from twotower.runs.recipe import Recipe
from twotower.runs.recipe_values import recipe_toml, recipe_values
from twotower.runs.report_vectors import _query_lengths
from twotower.runs.table_updates import TouchedRows
from twotower.runs.tables import load_tables
from twotower.store import Interaction, MemoryStore
from twotower.types import Prefixes, Ragged, take_column

KINDS, WARM, COLD, USERS = 5, 40, 15, 90
TRANSFORMER: dict[str, Any] = {"kind": "transformer", "blocks": 1, "heads": 2, "hidden": 2, "dropout": 0.1}
CPU = torch.device("cpu")


def things() -> pl.DataFrame:
    """What an item is follows from its features; ``c`` items are in nobody's train rows."""
    names = [f"i{at}" for at in range(WARM)] + [f"c{at}" for at in range(COLD)]
    kinds = [at % KINDS for at in range(WARM)] + [at % KINDS for at in range(COLD)]
    return pl.DataFrame(
        {
            "item": names,
            "genre": [f"g{kind}|{'old' if at % 2 else 'new'}" for at, kind in enumerate(kinds)],
            "title": [f"The {('Red', 'Blue', 'Green', 'Grey', 'Black')[kind]} Door {at % 3}" for at, kind in enumerate(kinds)],
            "year": [1990.0 + 3 * (at % 7) for at in range(len(names))],
        }
    )


def people() -> pl.DataFrame:
    return pl.DataFrame({"user": [f"u{at}" for at in range(USERS)], "age": [20 + 7 * at % 50 for at in range(USERS)]})


def planted() -> pl.DataFrame:
    """The kind of the next item is decided by the kind of the last; which item of its kind is chance."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(USERS):
        kind = int(rng.integers(KINDS))
        for at in range(10 + user % 5):
            kind = (2 * kind + 1) % KINDS if rng.random() < 0.97 else int(rng.integers(KINDS))
            rows.append((f"u{user}", f"i{kind + KINDS * int(rng.integers(WARM // KINDS))}", 1_000 * user + at, f"d{at % 2}"))
    return pl.DataFrame(rows, schema=["user", "item", "time", "device"], orient="row")


def tables() -> dict[str, Any]:
    return {"interactions": planted(), "items": things(), "users": people()}


def recipe(
    items: str = "candidate", *, kind: str = "sequence", encoder: Any = TRANSFORMER, longest: int = 6, **changes: Any
) -> Recipe:
    own = {} if items == "candidate" else {"dim": 16, "table": "item"}
    embedding = {**own, **({"encoder": encoder} if kind == "sequence" else {"pooling": "mean"})}
    values: dict[str, Any] = {
        "name": "towers",
        "device": "cpu",
        "data": {"columns": {"user": "user", "item": "item", "time": "time"}},
        "split": {"kind": "leave_last_out"},
        "query": {"features": [{"kind": kind, "items": items, "max_length": longest, "embedding": embedding}]},
        "candidate": {
            "features": [
                {"kind": "id", "column": "item", "embedding": {"dim": 16, "table": "item", "id_dropout": 0.1}},
                {"kind": "multi_category", "column": "genre", "separator": "|", "embedding": {"dim": 8}},
                {"kind": "text", "column": "title", "embedding": {"dim": 8}},
                {"kind": "number", "column": "year"},
            ]
        },
        "model": {"layer_sizes": [24, 16]},
        "loss": {"kind": "full"},
        "training": {
            "epochs": 25,
            "batch_size": 64,
            "optimizer": {"kind": "adamw", "learning_rate": 0.003},
            "early_stopping": False,
        },
        "evaluation": {"ks": [1, 5], "draws": 0, "per_user": False},
        "baselines": {"train": ["popularity"]},
    }
    return parse_recipe({**values, **changes})


def everything(**changes: Any) -> Recipe:
    """Two ways of reading the history beside a user's age and a device; briefly trained."""
    features = [
        {"kind": "sequence", "items": "candidate", "max_length": 6, "embedding": {"encoder": TRANSFORMER}},
        {"kind": "history", "items": "candidate", "max_length": 3, "embedding": {"pooling": "sqrt_n", "value_dropout": 0.1}},
        {"kind": "number", "column": "age"},
        {"kind": "category", "column": "device", "missing": "own_row", "embedding": {"dim": 4}},
    ]
    short = {"epochs": 2, "batch_size": 64, "optimizer": {"kind": "adamw", "learning_rate": 0.01}, "early_stopping": False}
    return recipe(**{"query": {"features": features}, "training": short, **changes})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("everything") / "run"
    run(everything(), folder, **tables())
    return folder


@pytest.fixture
def served(trained: Path) -> Recommender:
    return Recommender.load(trained / "bundle")


def slowly(recommender: Recommender, history: Sequence[Any], frame: pl.DataFrame, age: float, device: str | None) -> Tensor:
    """A query from raw values: each item of its history encoded alone, then read and pooled by hand, ``[D]``."""
    model, encode = recommender.model, recommender.preprocessor
    with torch.no_grad():
        items = [model.encode_candidates(encode.encode_items(frame.filter(item=item)))[0] for item in history]
        latest_LD = torch.stack(items[-6:]) if items else torch.zeros(0, 16)
        read_D = model.query.encoder("sequence").states(latest_LD[None])[0, -1]
        few_LD = latest_LD[-3:]
        pooled_D = few_LD.sum(0) / max(len(few_LD), 1) ** 0.5
        person = encode.encode_users(pl.DataFrame({"age": [age]}))["age"]
        place = encode.encode_context(pl.DataFrame({"device": pl.Series([device], dtype=pl.String)}))["device"]
        assert isinstance(person, Tensor)
        assert isinstance(place, Tensor)
        device_D = model.embeddings.table("query/device")[place.long()[0]]
        joined_F = torch.cat([read_D, pooled_D, person[0].float(), device_D])
        vector_D: Tensor = model.query.layers(joined_F[None])[0]
    return vector_D


HISTORIES = [["i3", "c1", "i7", "c4", "i3", "i9", "c0"], ["c2"], [], ["i1", "i2"], ["never", "i5", "never"]]
WITHOUT_UNKNOWN = [[item for item in history if item != "never"] for history in HISTORIES]


def test_a_history_has_one_vector_wherever_it_is_given(trained: Path, served: Recommender, tmp_path: Path) -> None:
    rows = [{"age": 30 + at, "device": "d1" if at % 2 else None} for at in range(len(HISTORIES))]
    device = [row["device"] or served.stand_ins.get("device") for row in rows]
    wanted_BD = torch.stack(
        [
            slowly(served, history, things(), float(row["age"] or 0), None if own is None else str(own))
            for history, row, own in zip(WITHOUT_UNKNOWN, rows, device, strict=True)
        ]
    )
    close: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
    given_BD = served.encode_queries(features=rows, histories=HISTORIES)
    torch.testing.assert_close(given_BD, wanted_BD, **close)
    assert (wanted_BD[0] - wanted_BD[3]).abs().max() > 0.01  # else all of this would say nothing
    alone = [served.encode_queries(features=[row], histories=[past]) for row, past in zip(rows, HISTORIES, strict=True)]
    torch.testing.assert_close(torch.cat(alone), wanted_BD, **close)
    items_ND = served.item_vectors_ND

    def scores(vectors_BD: Tensor, found: Sequence[Any]) -> None:
        for vector_D, answer in zip(vectors_BD, found, strict=True):
            assert isinstance(answer, Answer)
            torch.testing.assert_close(
                torch.from_numpy(answer.scores), items_ND[torch.from_numpy(answer.rows)] @ vector_D, **close
            )

    store = MemoryStore(item_kind="text", user_kind="text")
    live = LiveRecommender(served, store, store)
    asked = [Request(None, row, past, k=60, exclude_seen=False) for row, past in zip(rows, HISTORIES, strict=True)]
    scores(wanted_BD, live.answer(asked).answers)
    past = pl.DataFrame(rows).with_columns(past=pl.Series([list(history) for history in HISTORIES]))
    options = BatchOptions(k=60, exclude_seen=False, history_column="past", part_rows=2, chunk_rows=2)
    recommend_batch(served, past.iter_slices(2), tmp_path / "out.parquet", options, fingerprint="a")
    table = pl.read_parquet(tmp_path / "out.parquet")
    for at, vector_D in enumerate(wanted_BD):
        own = table.filter(row=at)
        expected_K = items_ND[torch.from_numpy(served.catalogue.rows(own["item"]))] @ vector_D
        torch.testing.assert_close(own["score"].to_torch(), expected_K, **close)


def test_what_is_known_is_what_was_judged(trained: Path, served: Recommender) -> None:
    loaded = load_tables(everything(), **tables())
    phase = untrained_model(everything(), loaded, loaded.split.train).phase
    test = phase.examples(loaded.split.test, grow=False)
    scorer = ModelScorer(served.model, phase.items, test, device=CPU)
    torch.testing.assert_close(scorer.vectors_ND, served.item_vectors_ND, rtol=1e-5, atol=1e-6)
    ((_, judged_BN),) = scorer.tiles(torch.arange(len(test)), scorer.num_items)
    frame = loaded.interactions.frame[loaded.split.test]
    users = frame["user"].to_list()
    answer = served.search(users, features=frame.select("device"), k=WARM + COLD, exclude_seen=False)
    served_BN = torch.empty_like(judged_BN).scatter_(1, answer.rows_BK, answer.scores_BK)
    torch.testing.assert_close(served_BN, judged_BN, rtol=1e-4, atol=1e-5)
    vector_D = slowly(served, served.history(users[3]), things(), float(people()["age"][3]), frame["device"][3])
    torch.testing.assert_close(judged_BN[3], served.item_vectors_ND @ vector_D, rtol=1e-4, atol=1e-5)
    assert reevaluate(trained, **tables()) is not None


def test_training_reads_what_is_served(served: Recommender) -> None:
    loaded = load_tables(everything(), **tables())
    untrained = untrained_model(everything(), loaded, loaded.split.train)
    batch = untrained.batches.batch(0, 0)
    column = batch.queries["sequence"]
    assert isinstance(column, Prefixes)
    with torch.no_grad():
        training_BD = served.model.encode_queries_with_items(
            batch.queries, encode_catalogue(served.model, untrained.phase.items, device=CPU)
        )
    alone = column.ragged()
    pooled = batch.queries["history"]
    assert isinstance(pooled, Ragged)
    frame, ids = loaded.interactions.frame[untrained.phase.fit_rows][batch.rows.numpy()], things()["item"].to_list()
    ages = dict(people().iter_rows())
    compared = 0
    for at in range(len(batch.rows)):
        rows = alone.values[alone.offsets[at] : alone.offsets[at + 1]].tolist()
        # a pooled history leaves the row's own item out
        if rows[-3:] == pooled.values[pooled.offsets[at] : pooled.offsets[at + 1]].tolist():
            user, device = frame["user"][at], frame["device"][at]
            vector_D = slowly(served, [ids[row] for row in rows], things(), ages[user], device)
            torch.testing.assert_close(training_BD[at], vector_D, rtol=1e-4, atol=1e-5)
            compared += 1
    assert compared > 30


def test_tasks_validation_and_reports_read_the_same(tmp_path: Path) -> None:
    rated = planted().with_columns(rating=1.0 + pl.col("item").str.slice(1).cast(pl.Int64) % KINDS)
    given = {**tables(), "interactions": rated}
    chosen = everything(
        tasks=[{"name": "rating", "column": "rating", "kind": "regression"}],
        split={"kind": "leave_last_out", "validation": True},
        training={"epochs": 2, "batch_size": 64, "early_stopping": {"metric": "recall@5"}},
    )
    run(chosen, tmp_path / "run", **given)
    recommender = Recommender.load(tmp_path / "run" / "bundle")
    loaded = load_run(tmp_path / "run", **given)
    phase, test = loaded.phase, loaded.tables.split.test
    examples = phase.examples(test, grow=False)
    frame = loaded.tables.interactions.frame[test]
    ages = dict(people().iter_rows())
    users, items = frame["user"].to_list(), frame["item"].to_list()
    wanted_QD = torch.stack(
        [
            slowly(recommender, recommender.history(user), things(), ages[user], device)
            for user, device in zip(users, frame["device"], strict=True)
        ]
    )
    head = recommender.model.head("rating")
    own_QD = recommender.item_vectors_ND[torch.from_numpy(recommender.catalogue.rows(frame["item"]))]
    with torch.no_grad():
        ratings = head.predict(head(wanted_QD, own_QD)).numpy()
    judged = predict_outcomes(recommender.model, phase.items, examples, head="rating", device=CPU)
    np.testing.assert_allclose(judged, ratings, rtol=1e-3, atol=1e-4)
    told = recommender.predict(users, items, features=frame.select("device"))
    np.testing.assert_allclose(told.frame["prediction"].to_numpy(), ratings, rtol=1e-3, atol=1e-4)
    scorer = ModelScorer(recommender.model, phase.items, examples, device=CPU)
    torch.testing.assert_close(
        _query_lengths(scorer, torch.arange(len(test))), wanted_QD.double().norm(dim=1), rtol=1e-4, atol=1e-5
    )
    untrained = untrained_model(chosen, loaded.tables, phase.fit_rows)
    parts = replace(untrained, model=recommender.model)
    for encoded in _encoded(parts, parts.batches, parts.batches.examples, training=True):
        expected_BD = recommender.model.encode_queries_with_items(encoded.batch.queries, recommender.item_vectors_ND)
        torch.testing.assert_close(encoded.queries_BD, expected_BD, rtol=1e-4, atol=1e-5)
    shown: dict[str, Any] = {"interactions": rated, "items": things(), "users_table": people()}
    assert report_runs([tmp_path / "run"], tmp_path / "report", **shown) is not None


def test_an_export_has_the_vectors_in_its_graph(trained: Path, served: Recommender, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from twotower.export import export_onnx
    from twotower.export.feeds import Feeds
    from twotower.export.session import Session

    done = export_onnx(trained, tmp_path / "towers", check_rows=1_000)
    assert done.signature.query.checked_rows > USERS
    query = done.signature.query
    frame = pl.DataFrame({"age": [33] * len(HISTORIES), "device": ["d0"] * len(HISTORIES)})
    found_BD = Session(tmp_path / "towers" / query.file).run(Feeds(tmp_path / "towers", query).of(frame, HISTORIES))
    wanted_BD = torch.stack([slowly(served, history, things(), 33, "d0") for history in WITHOUT_UNKNOWN])
    np.testing.assert_allclose(found_BD, wanted_BD.numpy(), rtol=1e-4, atol=1e-5)


def test_live_histories_of_a_catalogue_that_changes(served: Recommender) -> None:
    store = MemoryStore(item_kind="text", user_kind="text")
    live = LiveRecommender(served, store, store)
    before = served.encode_queries(["u4"])
    live.put_items({"n1": {"genre": "g2|new", "title": "The Blue Door 1", "year": 1993.0}})
    torch.testing.assert_close(live.recommender.encode_queries(["u4"]), before)
    live.put_items({"c3": {"genre": "g0", "title": "The Grey Door", "year": 2005.0}})
    changed = things().filter(pl.col("item") != "c3")
    new = pl.DataFrame(
        {
            "item": ["n1", "c3"],
            "genre": ["g2|new", "g0"],
            "title": ["The Blue Door 1", "The Grey Door"],
            "year": [1993.0, 2005.0],
        }
    )
    changed = pl.concat([changed, new])
    past = ["i3", "n1", "c3", "i7"]

    def asks(live: LiveRecommender, history: list[str], frame: pl.DataFrame) -> None:
        found_BD = live.recommender.encode_queries(features=[{"age": 33, "device": "d0"}], histories=[history])
        torch.testing.assert_close(found_BD[0], slowly(served, past_of(history), frame, 33, "d0"), rtol=1e-4, atol=1e-5)

    def past_of(history: list[str]) -> list[str]:
        return [item for item in history if item in kept]

    kept = {*changed["item"].to_list()}
    asks(live, past, changed)
    live.append([Interaction("nobody", item, 2_000_000_000.0 + at) for at, item in enumerate(past)])
    (answer,) = live.answer([Request("nobody", {"age": 33, "device": "d0"}, k=99, exclude_seen=False)]).answers
    assert isinstance(answer, Answer)
    vectors_KD = live.recommender.items.vectors(torch.from_numpy(answer.rows))
    wanted_D = slowly(served, past, changed, 33, "d0")
    torch.testing.assert_close(torch.from_numpy(answer.scores), vectors_KD @ wanted_D, rtol=1e-4, atol=1e-5)
    # a removed item is read as it was trained with, a removed one that the bundle lacks not at all: in whatever process
    live.remove_items(["n1", "c3"])
    kept = {*things()["item"].to_list()}
    for each in (live, LiveRecommender(served, store, store)):
        asks(each, past, things())
        asks(each, ["n1"], things())
    live.put_items({"n1": {"genre": "g1", "title": "The Red Door", "year": 1999.0}})
    kept.add("n1")
    again = pl.concat([things(), pl.DataFrame({"item": ["n1"], "genre": ["g1"], "title": ["The Red Door"], "year": [1999.0]})])
    for each in (live, LiveRecommender(served, store, store)):
        asks(each, past, again)


def test_the_service_asks_the_same(trained: Path, served: Recommender, tmp_path: Path) -> None:
    testclient = pytest.importorskip("starlette.testclient")
    from twotower.serving.app import create_app
    from twotower.serving.config import Limits, ServiceConfig

    token = tmp_path / "token"
    token.write_text("a-token-of-many-signs\n")
    token.chmod(0o600)
    config = ServiceConfig(model=trained, store=tmp_path / "live.sqlite", token_file=token, limits=Limits())
    features = {"age": 33, "device": "d0"}
    new: dict[str, Any] = {"item": ["n1"], "genre": ["g2|new"], "title": ["The Blue Door 1"], "year": [1993.0]}
    frame = pl.concat([things(), pl.DataFrame(new)])
    past = ["i3", "n1", "c3"]

    def score(history: list[str], item: str) -> float:
        vector_D = slowly(served, history, frame, 33, "d0")
        return float(vector_D @ served.encode_items(frame.filter(item=item))[0])

    with testclient.TestClient(create_app(config)) as client:
        writing = {"Authorization": "Bearer a-token-of-many-signs"}
        put = {"items": [{"id": "n1", "features": {name: values[0] for name, values in new.items() if name != "item"}}]}
        assert client.put("/v1/items", json=put, headers=writing).status_code == 200
        events = [{"user": "somebody", "item": item, "time": 2_000_000_000 + at} for at, item in enumerate(past)]
        assert client.post("/v1/interactions", json={"interactions": events}, headers=writing).status_code == 200
        for query in ({"user": "somebody", "features": features}, {"features": features, "history": past}):
            asked = {"queries": [query], "k": 10, "exclude_seen": False}
            found = client.post("/v1/recommend", json=asked).json()["results"][0]["items"]
            for entry in found:
                assert entry["score"] == pytest.approx(score(past, entry["id"]), rel=1e-3, abs=1e-4)
            told = client.post("/v1/explain", json={"query": query, "item": "i8"}).json()
            assert told["score"] == pytest.approx(score(past, "i8"), rel=1e-3, abs=1e-4)
            assert told["without_history"] == pytest.approx(score([], "i8"), rel=1e-3, abs=1e-4)
            pulls = {entry["id"]: entry["pull"] for entry in told["history"]}
            assert pulls["n1"] == pytest.approx(score(past, "i8") - score(["i3", "c3"], "i8"), rel=1e-3, abs=1e-4)


def test_no_item_is_encoded_for_a_request(served: Recommender) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an item was encoded")

    served.model.candidate.register_forward_pre_hook(refuse)
    assert served.encode_queries(["u1"], histories=[["i1", "c1"]]).shape == (1, 16)


@pytest.mark.parametrize("kind", ["sequence", "history"])
def test_histories_of_items_that_nobody_had(kind: str, tmp_path: Path) -> None:
    """Which kind comes next is told by the features of the last item; its id says nothing where nobody had it."""
    found = {}
    follows = {name: (2 * at + 1) % KINDS for at, name in enumerate(f"c{at}" for at in range(KINDS))}
    for items in ("candidate", "table"):
        chosen = recipe(items, kind=kind, longest=1 if kind == "history" else 6)
        run(chosen, tmp_path / items, **tables())
        recommender = Recommender.load(tmp_path / items / "bundle")
        new: dict[Any, Any] = {
            f"new{at}": {"genre": f"g{at}|old", "title": t, "year": 2000.0} for at, t in enumerate(things()["title"][:KINDS])
        }
        recommender = recommender.with_items(new)
        follows |= {f"new{at}": (2 * at + 1) % KINDS for at in range(KINDS)}
        warm = recommender.recommend(histories=[[f"i{at}"] for at in range(WARM)], k=5, exclude_seen=False).frame
        cold = recommender.recommend(histories=[[name] for name in follows], k=5, exclude_seen=False).frame
        kinds = {item: int(genre[1]) for item, genre in things().select("item", "genre").iter_rows()}
        kinds |= {f"new{at}": at for at in range(KINDS)}
        of_warm = [(2 * (query % KINDS) + 1) % KINDS == kinds[item] for query, item in warm.select("query", "item").iter_rows()]
        of_cold = [[*follows.values()][query] == kinds[item] for query, item in cold.select("query", "item").iter_rows()]
        found[items] = (float(np.mean(of_warm)), float(np.mean(of_cold)))
    assert min(found["candidate"]) > 0.9
    assert found["table"][0] > 0.9
    assert found["table"][1] < 0.45


@pytest.mark.parametrize("loss", ["full", "in_batch"])
def test_with_ids_alone_it_is_a_shared_table(loss: str, tmp_path: Path) -> None:
    """A candidate that is its id's row and nothing else: reading what the tower makes of it is reading the row."""
    quiet = {**TRANSFORMER, "dropout": 0.0}
    vectors = {}
    for items in ("candidate", "table"):
        own = {} if items == "candidate" else {"dim": 16, "table": "item", "id_dropout": 0.0}
        shared = {"dim": 16, "table": "item", "id_dropout": 0.0}
        plain = recipe(
            items,
            query={"features": [{"kind": "sequence", "items": items, "max_length": 6, "embedding": {**own, "encoder": quiet}}]},
            candidate={"features": [{"kind": "id", "column": "item", "embedding": shared}]},
            model={"layer_sizes": []},
            loss={"kind": loss},
            training={"epochs": 3, "batch_size": 64, "optimizer": {"kind": "adagrad"}, "early_stopping": False},
        )
        run(plain, tmp_path / items, interactions=planted())
        recommender = Recommender.load(tmp_path / items / "bundle")
        vectors[items] = (recommender.item_vectors_ND, recommender.encode_queries(["u1", "u2"], histories=[["i1", "i2"], None]))
    for found, wanted in zip(vectors["candidate"], vectors["table"], strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", ["full", "in_batch"])
def test_a_run_that_is_resumed_ends_with_the_same_bits(loss: str, tmp_path: Path) -> None:
    always = {"epochs": 3, "batch_size": 64, "early_stopping": False, "checkpoint_every_s": 0}
    chosen = everything(training=always, loss={"kind": loss})
    run(chosen, tmp_path / "whole", **tables())
    steps = 0

    class StopError(Exception):
        pass

    def stop(phase: str, event: object) -> None:
        nonlocal steps
        steps += type(event).__name__ == "StepDone"
        if steps == 20:
            raise StopError

    with pytest.raises(StopError):
        run(chosen, tmp_path / "cut", **tables(), listener=stop)
    run(chosen, tmp_path / "cut", **tables(), resume=True)
    first, second = (Recommender.load(tmp_path / name / "bundle") for name in ("whole", "cut"))
    assert torch.equal(first.item_vectors_ND, second.item_vectors_ND)
    weights = [recommender.model.state_dict() for recommender in (first, second)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("items", ["table", "candidate"])
def test_beside_a_tower_of_many_features_from_a_sample(items: str, tmp_path: Path) -> None:
    short = {"epochs": 2, "batch_size": 64, "early_stopping": False}
    data = {"columns": {"user": "user", "item": "item", "time": "time"}, "sample": {"fraction": 0.8, "seed": 3}}
    result = run(recipe(items, data=data, training=short), tmp_path / "run", **tables())
    assert result is not None
    recommender = Recommender.load(tmp_path / "run" / "bundle")
    assert recommender.recommend(["u1"], k=5).frame.height == 5
    assert recommender.recommend(histories=[["i1", "c3"]], k=5).frame.height == 5
    assert recommender.similar_items(["c3"], k=3).frame.height == 3
    assert len(pl.read_parquet(tmp_path / "run" / "judged" / "test.parquet")) > 50
    assert diagnose(tmp_path / "run", **tables()).findings is not None
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from twotower.export import export_onnx

    assert export_onnx(tmp_path / "run", tmp_path / "towers").signature.query.largest_error < 1e-4


def test_a_diagnosis_of_what_items_are_read_as(trained: Path, tmp_path: Path) -> None:
    assert diagnose(trained, **tables()).findings is not None
    loaded = load_run(trained, **tables())
    model = Recommender.load(trained / "bundle").model
    unknown = unknown_values(model, loaded.phase, loaded.tables.split.test)
    assert sorted(entry.feature for entry in unknown) == ["device", "genre", "item", "title"]
    # the same rows have their own item in their history, the first item of the catalogue among them
    short = {"epochs": 1, "batch_size": 64, "early_stopping": False}
    found = {}
    for items in ("candidate", "table"):
        run(recipe(items, training=short), tmp_path / items, **tables())
        known = known_of_test(load_run(tmp_path / items, **tables()))
        found[items] = (known.own_in_train, known.own_in_test)
    assert found["candidate"] == found["table"]
    assert 0 < found["candidate"][0][0][1] < 1


def test_a_feature_that_changes_places_does_so_in_histories_too(trained: Path) -> None:
    loaded = load_run(trained, **tables())
    model, phase = Recommender.load(trained / "bundle").model, loaded.phase
    probe = make_probe(loaded, model, phase, loaded.tables.split.test, of_test=False)
    names = ("genre", "device", "sequence")
    entries = [entry for entry in feature_columns(phase.preprocessor) if entry.name in names]
    for entry in entries:
        found = _permuted(probe, [entry], 0)
        items: dict[str, Any] = dict(phase.items)
        columns: dict[str, Any] = dict(probe.columns)
        source = items if entry.tower == "candidate" else columns
        places = torch.from_numpy(np.random.default_rng(0).permutation(len(phase.catalogue) if source is items else USERS))
        source[entry.columns[0]] = take_column(source[entry.columns[0]], places)
        with torch.no_grad():
            items_ND = model.encode_candidates(items)
            queries_QD = model.encode_queries_with_items(columns, items_ND)
        torch.testing.assert_close(found.items_ND, items_ND.double(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.queries_QD, queries_QD.double(), rtol=1e-4, atol=1e-5)


def test_a_recipe_is_written_as_it_was_read() -> None:
    chosen = everything()
    values = recipe_values(chosen)
    assert parse_recipe(values) == chosen
    assert values["query"]["features"][0]["items"] == "candidate"
    assert 'items = "candidate"' in recipe_toml(chosen)
    again = Recipe.model_validate(json.loads(chosen.model_dump_json()))
    assert again == chosen
    assert set(chosen.model_dump()["query"]["features"][0]["embedding"]) == {"pooling", "value_dropout", "encoder"}


def test_what_does_not_say_it_reads_as_before() -> None:
    # the digest of recipes, checkpoints and bundles are of these texts
    plain = recipe("table").model_dump(mode="json")
    feature = plain["query"]["features"][0]
    assert feature["feature"] == {"kind": "sequence", "name": "sequence", "max_length": 6, "min_count": 1}
    assert {"dim", "table", "id_dropout", "init_scale", "update"} <= set(feature["embedding"])
    assert recipe("table").query.features[0] == parse_recipe(recipe_values(recipe("table"))).query.features[0]
    loaded = load_tables(recipe("table"), **tables())
    untrained = untrained_model(recipe("table"), loaded, loaded.split.train)
    assert all("items" not in entry for entry in untrained.model.spec.model_dump()["query"]["inputs"])
    history = json.loads(untrained.phase.preprocessor.to_json())["history"][0]
    assert list(history) == ["kind", "config", "lookup"]
    assert list(history["config"]) == ["kind", "name", "max_length", "min_count"]


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ({"embedding": {"dim": 16}}, r"embedding.dim: with items = 'candidate' there is no table: .* leave dim out"),
        ({"embedding": {"table": "item", "update": "rows"}}, "leave table, update out"),
        ({"embedding": {"id_dropout": 0.0}}, "leave id_dropout out"),
        ({"embedding": {"init_scale": 0.1}}, "leave init_scale out"),
        ({"min_count": 2}, "min_count: with items = 'candidate' no item shares a row"),
        ({"items": "tower"}, "items: "),
        ({"embedding": {"encoder": {"kind": "gru"}, "pooling": "mean"}}, "a sequence is read by its encoder, and not pooled"),
        (
            {"embedding": {"encoder": {**TRANSFORMER, "heads": 3}}},
            r"query.features.0.embedding.encoder.heads: .* 16 wide, and that must be a multiple of its heads; came 3",
        ),
    ],
)
def test_what_a_recipe_may_not_say(feature: dict[str, Any], message: str) -> None:
    encoder = {"encoder": {"kind": "gru"}}
    whole = {"kind": "sequence", "items": "candidate", **feature, "embedding": {**encoder, **feature.get("embedding", {})}}
    with pytest.raises(ConfigError, match=message):
        recipe(query={"features": [whole]})


def test_heads_must_divide_a_width_that_fitting_finds() -> None:
    features = [{"kind": "sequence", "items": "candidate", "embedding": {"encoder": TRANSFORMER}}]
    odd = recipe(model={"layer_sizes": []}, query={"features": features})
    loaded = load_tables(odd, **tables())
    with pytest.raises(ConfigError, match=r"vectors, which are 33 wide, and that must be a multiple of its heads; came 2"):
        untrained_model(odd, loaded, loaded.split.train)


def test_only_queries_have_histories() -> None:
    wrong = {"features": [{"kind": "sequence", "items": "candidate", "embedding": {"encoder": {"kind": "gru"}}}]}
    chosen = recipe(candidate=wrong)
    loaded = load_tables(chosen, **tables())
    with pytest.raises(ConfigError, match="a history belongs to the query; items have none"):
        untrained_model(chosen, loaded, loaded.split.train)


def test_what_a_batch_touches_of_tables_is_explained() -> None:
    # few rows a batch, whose histories hold other items than compete
    few = {"epochs": 1, "batch_size": 8, "early_stopping": False}

    def touched(items: str) -> TouchedRows:
        chosen = recipe(items, kind="history", training=few, loss={"kind": "in_batch"})
        loaded = load_tables(chosen, **tables())
        untrained = untrained_model(chosen, loaded, loaded.split.train)
        return TouchedRows(untrained.model.spec, untrained.batches, untrained.phase.items)

    read = touched("candidate")
    batch = read.batches.batch(0, 0)
    column = batch.queries["history"]
    assert isinstance(column, Ragged)
    assert batch.candidate_rows is not None
    both = {*column.values.tolist(), *batch.candidate_rows.tolist()}
    assert read("item") == len(both) > len(batch.candidate_rows) == read.candidates
    explained: Any = explain(recipe(training=few, loss={"kind": "in_batch"}), **tables())
    assert explained["feed"]["histories"] == ["sequence"]


def test_items_that_the_catalogue_lacks_are_in_no_history(tmp_path: Path) -> None:
    short = recipe(training={"epochs": 1, "batch_size": 64, "early_stopping": False})
    fewer = {**tables(), "items": things().filter(pl.col("item") != "i3")}
    run(short, tmp_path / "run", **fewer)
    recommender = Recommender.load(tmp_path / "run" / "bundle")
    pasts = {user: rows.sort("time")["item"].to_list() for (user,), rows in planted().group_by("user")}
    assert sum("i3" in past[:-3] for past in pasts.values()) > 5
    for user, past in pasts.items():
        history = recommender.history(str(user))
        known = [item for item in past if item != "i3"]
        assert history == known[: len(history)]
        assert len(past) - len(history) <= past.count("i3") + 2  # the last two rows validate and test
    found_BD = recommender.encode_queries(histories=[["i1", "i3", "i2"], ["i1", "i2"]])
    assert torch.equal(found_BD[0], found_BD[1])


def test_what_a_recipe_says_is_in_the_spec() -> None:
    loaded = load_tables(everything(), **tables())
    spec = untrained_model(everything(), loaded, loaded.split.train).model.spec
    read, pooled = spec.query.inputs[:2]
    assert (read.items, read.width, read.max_length, read.pooling) == ("candidate", 16, 6, None)
    assert read.encoder is not None
    assert read.encoder.kind == "transformer"
    assert (pooled.items, pooled.width, pooled.pooling, pooled.value_dropout) == ("candidate", 16, "sqrt_n", 0.1)
    assert "item" in [table.name for table in spec.tables]
    assert not [table.name for table in spec.tables if table.name in ("query/sequence", "query/history")]
