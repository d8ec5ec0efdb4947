"""An index beside a bundle: tuned, refused where it misses its target, loaded with it, and never half of it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch
from tests.recommender.conftest import World, world_of

from twotower.errors import BundleError, ConfigError, CorruptBundleError
from twotower.index import ExactIndex, HNSWIndex, IVFPQIndex
from twotower.recommender import IndexOptions, Recommender, build_index, remove_index
from twotower.recommender.index_building import sample_queries


@pytest.fixture(scope="module")
def world() -> World:
    return world_of(num_users=60, num_items=400)


@pytest.fixture
def run(world: World, tmp_path: Path) -> Path:
    world.recommender.save(tmp_path / "run" / "bundle")
    return tmp_path / "run"


@pytest.mark.parametrize(("kind", "made"), [("hnsw", HNSWIndex), ("ivf-pq", IVFPQIndex)])
def test_an_index_is_loaded_with_its_bundle(run: Path, world: World, kind: str, made: type) -> None:
    curve, folder = build_index(run, IndexOptions(kind=kind, recall=0.85, k=10, queries=60))  # type: ignore[arg-type]
    assert folder == run / "index"
    assert curve.judged is not None
    assert curve.judged.mean >= 0.85
    assert curve.judged.num_queries == 30
    loaded = Recommender.load(run)
    assert isinstance(loaded.index, made)
    assert isinstance(Recommender.load(run, index="exact").index, ExactIndex)
    assert isinstance(Recommender.load(run / "bundle").index, ExactIndex)
    users = world.users["user"].to_list()
    exact = world.recommender.recommend(users, k=10).frame
    found = loaded.recommend(users, k=10).frame
    pairs = [set(zip(frame["query"], frame["item"], strict=True)) for frame in (exact, found)]
    assert len(pairs[0] & pairs[1]) >= 0.95 * len(pairs[0])
    assert found.height == exact.height
    same = exact.join(found, on=["query", "item"], suffix="_found")
    assert same["score"].to_list() == same["score_found"].to_list()
    assert remove_index(run)
    assert not remove_index(run)
    assert isinstance(Recommender.load(run).index, ExactIndex)


def test_queries_are_those_of_users_and_another_seed_takes_others(world: World) -> None:
    few = sample_queries(world.recommender, 7, seed=0)
    assert few.shape == (7, 8)
    everybody = world.recommender.requests.encode(world.users["user"].to_list()).queries_BD
    assert all(bool((everybody == row).all(dim=1).any()) for row in few)
    assert torch.equal(few, sample_queries(world.recommender, 7, seed=0))
    assert not torch.equal(few, sample_queries(world.recommender, 7, seed=1))


def test_what_misses_its_target_is_not_kept(run: Path) -> None:
    build_index(run, IndexOptions(k=10, queries=60))
    before = (run / "index" / "manifest.json").read_bytes()
    with pytest.raises(ConfigError, match="no setting surely reaches"):
        build_index(run, IndexOptions(k=10, queries=60, latency_ms=1e-9))
    assert (run / "index" / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (IndexOptions(recall=1.5), "recall must be"),
        (IndexOptions(recall=0.0), "recall must be"),
        (IndexOptions(kind="tree"), "kind must be"),  # type: ignore[arg-type]
        (IndexOptions(queries=5), "at least 20 users"),
    ],
)
def test_what_can_not_be_asked_for(run: Path, options: IndexOptions, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_index(run, options)
    assert not (run / "index").exists()


def test_a_bundle_alone_has_no_room_for_an_index(run: Path) -> None:
    with pytest.raises(ConfigError, match="lies beside one"):
        build_index(run / "bundle", IndexOptions())


def test_a_changed_byte_is_refused_with_the_file_named(run: Path) -> None:
    build_index(run, IndexOptions(k=10, queries=60))
    for path in sorted((run / "index").iterdir()):
        good = path.read_bytes()
        for place in range(0, len(good), max(1, len(good) // 7)):
            path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            with pytest.raises(BundleError, match=path.stem):
                Recommender.load(run)
        path.write_bytes(good)
    Recommender.load(run)


def test_an_index_of_other_vectors_is_refused(run: Path, world: World) -> None:
    build_index(run, IndexOptions(k=10, queries=60))
    ours = world.recommender
    Recommender(
        ours.model, ours.preprocessor, ours.catalogue, -ours.item_vectors_ND, ours.users, ours.defaults, ours.card
    ).save(run / "bundle")
    with pytest.raises(CorruptBundleError, match="belongs to other vectors"):
        Recommender.load(run)


def test_items_that_change_are_found_above_an_approximate_index(run: Path, world: World) -> None:
    build_index(run, IndexOptions(k=10, queries=60))
    loaded = Recommender.load(run)
    user = world.users["user"][0]
    best = loaded.recommend([user], k=2).frame["item"].to_list()
    columns = world.items.filter(pl.col("item") == best[0]).drop("item").to_dicts()[0]
    changed = loaded.with_items({"new": columns}, [best[1]])
    found = changed.recommend([user], k=400, exclude_seen=False).frame["item"].to_list()
    assert "new" in found
    assert best[1] not in found
    assert len(found) == 400
    assert loaded.recommend([user], k=2).frame["item"].to_list() == best
