"""Versions of a model take each other's place under load; a broken one does not."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from starlette.testclient import TestClient
from tests.recommender.conftest import World

from twotower.bundle import activate, current_version, publish, roll_back
from twotower.errors import BundleError, DataError
from twotower.recommender import LiveRecommender, Moment, Recommender, Request


def reversed_model(world: World) -> Recommender:
    """A model that recommends the other way round, of a catalogue that calls its items otherwise."""
    ours = world.recommender
    frame = ours.catalogue.frame.with_columns(pl.lit("other").alias("query"))
    catalogue = type(ours.catalogue)(frame, ours.catalogue.id_column)
    return Recommender(ours.model, ours.preprocessor, catalogue, -ours.item_vectors_ND, ours.users, ours.defaults, ours.card)


@pytest.fixture
def published(world: World, bundle: Path, tmp_path: Path) -> tuple[Path, str, str]:
    """A folder of two versions, of which the first is current."""
    folder = tmp_path / "published"
    reversed_model(world).save(tmp_path / "other")
    names = [publish(source, folder) for source in (bundle, tmp_path / "other")]
    activate(folder, names[0])
    return folder, names[0], names[1]


QUERY = {"queries": [{"user": "user-01"}, {"user": "user-02"}], "k": 5, "exclude_seen": False, "columns": ["query"]}


def test_another_version_answers_from_now_on(
    make_client: Any, published: tuple[Path, str, str], writing: dict[str, str], world: World
) -> None:
    folder, first, second = published
    client: TestClient = make_client(model=folder)
    before = client.post("/v1/recommend", json=QUERY).json()
    assert before["version"] == first
    assert client.get("/v1/model").json()["versions"] == sorted([first, second])
    answer = client.post("/v1/model:activate", json={"version": second}, headers=writing)
    assert answer.json() == {"version": second, "previous": first}
    assert current_version(folder).version == second
    after = client.post("/v1/recommend", json=QUERY).json()
    assert after["version"] == second
    expected = reversed_model(world).recommend(["user-01"], k=5, exclude_seen=False).frame["item"].to_list()
    assert [item["id"] for item in after["results"][0]["items"]] == expected
    assert {item["columns"]["query"] for result in after["results"] for item in result["items"]} == {"other"}
    assert client.post("/v1/model:activate", json={"version": "no such"}, headers=writing).status_code == 404
    assert client.post("/v1/model:activate", json={"version": "../versions/" + first}, headers=writing).status_code == 404


def test_what_another_process_chooses_is_followed(make_client: Any, published: tuple[Path, str, str]) -> None:
    folder, first, second = published
    client: TestClient = make_client(model=folder)
    activate(folder, second)
    _wait_for(client, second)
    roll_back(folder)
    _wait_for(client, first)


@pytest.mark.parametrize("part", ["weights.safetensors", "catalogue.parquet", "manifest.json", "item_vectors.safetensors"])
def test_a_broken_version_is_refused_and_the_old_one_stays(
    make_client: Any, published: tuple[Path, str, str], writing: dict[str, str], part: str
) -> None:
    folder, first, second = published
    path = folder / "versions" / second / "bundle" / part
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    client: TestClient = make_client(model=folder)
    answer = client.post("/v1/model:activate", json={"version": second}, headers=writing)
    assert answer.status_code == 409
    assert part in answer.json()["detail"]
    assert current_version(folder).version == first
    activate(folder, second)  # somebody chooses it all the same
    time.sleep(0.2)
    assert client.post("/v1/recommend", json=QUERY).json()["version"] == first


def test_a_model_that_can_not_answer_is_refused(
    make_client: Any, published: tuple[Path, str, str], writing: dict[str, str], world: World, tmp_path: Path
) -> None:
    folder, first, _ = published
    ours = world.recommender
    model = copy.deepcopy(ours.model)
    with torch.no_grad():
        for parameter in model.query.parameters():
            parameter.fill_(float("nan"))
    users, defaults = ours.users, ours.defaults
    Recommender(model, ours.preprocessor, ours.catalogue, ours.item_vectors_ND, users, defaults, ours.card).save(
        tmp_path / "nan"
    )
    name = publish(tmp_path / "nan", folder)
    client: TestClient = make_client(model=folder)
    answer = client.post("/v1/model:activate", json={"version": name}, headers=writing)
    assert answer.status_code == 409
    assert "can't answer" in answer.json()["detail"]
    assert client.post("/v1/recommend", json=QUERY).json()["version"] == first


def test_a_request_that_the_model_refuses_does_not_make_it_a_broken_one(
    make_client: Any, published: tuple[Path, str, str], writing: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query may need a value that nobody has by default; whoever gives it is answered."""
    folder, _, second = published
    client: TestClient = make_client(model=folder)
    honest = LiveRecommender.answer

    def answer(self: LiveRecommender, requests: Sequence[Request]) -> Moment:
        found = honest(self, requests)
        refused = [DataError("needs a value") if r.user is None else a for r, a in zip(requests, found.answers, strict=True)]
        return Moment(found.recommender, refused)

    monkeypatch.setattr(LiveRecommender, "answer", answer)
    reply = client.post("/v1/model:activate", json={"version": second}, headers=writing)
    assert reply.status_code == 200
    monkeypatch.setattr(
        LiveRecommender, "answer", lambda self, requests: Moment(self.recommender, [DataError("no")] * len(requests))
    )
    assert client.post("/v1/model:activate", json={"version": published[1]}, headers=writing).status_code == 409


def test_a_damaged_pointer_is_told_once(
    make_client: Any, published: tuple[Path, str, str], caplog: pytest.LogCaptureFixture
) -> None:
    folder, first, _ = published
    client: TestClient = make_client(model=folder)
    logging.getLogger("twotower.serving").propagate = True
    with caplog.at_level(logging.ERROR, logger="twotower.serving"):
        (folder / "current.json").write_text("{}")
        time.sleep(0.5)
        assert client.post("/v1/recommend", json=QUERY).json()["version"] == first
    assert [record.getMessage() for record in caplog.records] == ["version refused"]


def test_what_was_put_is_in_every_version(make_client: Any, published: tuple[Path, str, str], writing: dict[str, str]) -> None:
    folder, _, second = published
    client: TestClient = make_client(model=folder)
    client.put("/v1/items", json={"items": [{"id": "New", "features": {"year": 1990, "query": "put"}}]}, headers=writing)
    client.post("/v1/model:activate", json={"version": second}, headers=writing)
    found = client.post("/v1/recommend", json={**QUERY, "k": 100, "where": {"query": "put"}}).json()
    assert [item["id"] for item in found["results"][0]["items"]] == ["New"]
    assert found["version"] == second


def test_swaps_under_load_mix_nothing_and_fail_nothing(
    make_client: Any, published: tuple[Path, str, str], writing: dict[str, str]
) -> None:
    swap_under_load(make_client(model=published[0]), published, writing, swaps=25, threads=3)


def swap_under_load(
    client: TestClient, published: tuple[Path, str, str], writing: dict[str, str], *, swaps: int, threads: int
) -> int:
    """Swap two versions while others ask; every answer must be one version's, whole. Returns how many there were."""
    _, first, second = published
    known = {}
    for name in (second, first):
        client.post("/v1/model:activate", json={"version": name}, headers=writing)
        answer = client.post("/v1/recommend", json=QUERY).json()
        known[answer["version"]] = answer
    end, faults, answered = threading.Event(), [], [0] * threads

    def asking(number: int) -> None:
        while not end.is_set():
            reply = client.post("/v1/recommend", json=QUERY)
            if reply.status_code != 200 or reply.json() != known.get(reply.json()["version"]):
                faults.append(reply.text)
            answered[number] += 1

    crowd = [threading.Thread(target=asking, args=(number,)) for number in range(threads)]
    for thread in crowd:
        thread.start()
    for number in range(swaps):
        reply = client.post("/v1/model:activate", json={"version": (second, first)[number % 2]}, headers=writing)
        assert reply.status_code == 200
    end.set()
    for thread in crowd:
        thread.join()
    assert not faults
    assert len(known) == 2
    assert known[first]["results"] != known[second]["results"]
    return sum(answered)


def _wait_for(client: TestClient, version: str) -> None:
    for _ in range(500):
        if client.post("/v1/recommend", json=QUERY).json()["version"] == version:
            return
        time.sleep(0.01)
    raise AssertionError(f"{version} never answered")


def test_a_run_folder_has_one_version(client: TestClient, writing: dict[str, str]) -> None:
    version = client.get("/v1/model").json()["version"]
    assert client.post("/v1/model:activate", json={"version": version}, headers=writing).status_code == 409


def test_where_nothing_is_it_says_what_to_do(make_client: Any, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="train one first"):
        make_client(model=tmp_path / "nothing")
