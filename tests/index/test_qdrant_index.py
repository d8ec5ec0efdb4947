"""What the index in Qdrant asks, refuses and says; its client answers itself, without a server."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch

from twotower.errors import IndexServerError, MissingExtraError
from twotower.index import QdrantIndex
from twotower.types import Ragged

qdrant: Any = pytest.importorskip("qdrant_client", reason="qdrant-client is not installed: pip install 'twotower[qdrant]'")
models = qdrant.models

pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact")  # what is asked for is seen all the same


@pytest.fixture
def client() -> Any:
    return qdrant.QdrantClient(":memory:")


VECTORS_ND = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))


def test_batches_and_progress(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, told = [], []
    upsert = client.upsert

    def counted(*arguments: Any, **named: Any) -> Any:
        sizes.append(len(named["points"].ids))
        return upsert(*arguments, **named)

    monkeypatch.setattr(client, "upsert", counted)
    index = QdrantIndex.build(VECTORS_ND, client, "items", batch=20, progress=lambda done, of: told.append((done, of)))
    assert (sizes, told) == ([20, 20, 10], [(20, 50), (40, 50), (50, 50)])
    assert index.checksum == zlib.crc32(VECTORS_ND.numpy().tobytes())
    assert client.retrieve("items", [49], with_vectors=True)[0].vector == VECTORS_ND[49].tolist()


def test_options_reach_the_server(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    asked: list[Any] = []
    create, query = client.create_collection, client.query_batch_points

    def creating(*arguments: Any, **named: Any) -> Any:
        made.append(named)
        return create(*arguments, **named)

    def asking(*arguments: Any, requests: Any) -> Any:
        asked.append(requests)
        return query(*arguments, requests=requests)

    monkeypatch.setattr(client, "create_collection", creating)
    monkeypatch.setattr(client, "query_batch_points", asking)
    index = QdrantIndex.build(
        VECTORS_ND, client, "items", neighbours=5, ef_construction=7, shards=2, replicas=3, on_disk=True, beam=30, exact=True
    )
    (given,) = made
    assert (given["shard_number"], given["replication_factor"], given["vectors_config"].on_disk) == (2, 3, True)
    assert (given["hnsw_config"].m, given["hnsw_config"].ef_construct) == (5, 7)
    assert given["vectors_config"].distance == models.Distance.DOT
    index.search(VECTORS_ND[:1], 3)
    QdrantIndex.attach(client, "items", embedding_dim=4, num_vectors=50).search(VECTORS_ND[:1], 30)
    QdrantIndex.attach(client, "items", embedding_dim=4, num_vectors=50, beam=10).search(VECTORS_ND[:1], 30)
    found = [(each.params.exact, each.params.hnsw_ef, each.limit) for (each,) in asked]
    assert found == [(True, 30, 19), (False, None, 46), (False, 46, 46)]


def test_what_is_left_out_is_asked_for_in_the_shorter_way(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    filters: list[Any] = []
    query = client.query_batch_points

    def asking(*arguments: Any, requests: Any) -> Any:
        filters.extend(each.filter for each in requests)
        return query(*arguments, requests=requests)

    monkeypatch.setattr(client, "query_batch_points", asking)
    index = QdrantIndex.build(VECTORS_ND, client, "items")
    excluded = Ragged(torch.tensor([3, 1, 3, 40]), torch.tensor([0, 3, 3, 4]))
    few, most = torch.arange(50) < 5, torch.arange(50) >= 2
    index.search(VECTORS_ND[:3], 2, excluded=excluded)
    index.search(VECTORS_ND[:3], 2, excluded=excluded, allowed=few)
    index.search(VECTORS_ND[:3], 2, excluded=excluded, allowed=most)
    told = [
        None if f is None else {name: c[0].has_id for name in ("must", "must_not") if (c := getattr(f, name))} for f in filters
    ]
    assert told == [
        *({"must_not": [1, 3]}, None, {"must_not": [40]}),
        *({"must": [0, 2, 4]}, {"must": [0, 1, 2, 3, 4]}, {"must": [0, 1, 2, 3, 4]}),
        *({"must_not": [0, 1, 3]}, {"must_not": [0, 1]}, {"must_not": [0, 1, 40]}),
    ]


def test_a_graph_that_finds_too_few_is_not_enough(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    index = QdrantIndex.build(VECTORS_ND, client, "items")
    expected = index.search(VECTORS_ND[:5], 8)
    query, asked = client.query_batch_points, []

    def poor(*arguments: Any, requests: Any) -> Any:
        asked.append([each.params.exact for each in requests])
        answers = query(*arguments, requests=requests)
        for number, answer in enumerate(answers):
            if not requests[0].params.exact and number % 2:
                answer.points = answer.points[:7]
        return answers

    monkeypatch.setattr(client, "query_batch_points", poor)
    found = index.search(VECTORS_ND[:5], 8)
    assert asked == [[False] * 5, [True] * 2]
    assert torch.equal(found.rows_BK, expected.rows_BK)
    assert torch.equal(found.scores_BK, expected.scores_BK)


def test_it_is_attached_to_in_another_process(tmp_path: Path) -> None:
    client = qdrant.QdrantClient(path=str(tmp_path))
    built = QdrantIndex.build(VECTORS_ND, client, "items")
    expected = built.search(VECTORS_ND[:3], 5)
    client.close()
    client = qdrant.QdrantClient(path=str(tmp_path))
    index = QdrantIndex.attach(client, "items", embedding_dim=4, num_vectors=50, checksum=built.checksum)
    assert (index.num_vectors, index.embedding_dim, index.checksum) == (50, 4, built.checksum)
    assert torch.equal(index.search(VECTORS_ND[:3], 5).rows_BK, expected.rows_BK)
    client.close()
    with pytest.raises(IndexServerError, match=r"can't be searched.*closed"):
        index.search(VECTORS_ND[:1], 1)


def test_an_empty_one_is_attached_to(client: Any) -> None:
    built = QdrantIndex.build(torch.empty(0, 3), client, "items")
    index = QdrantIndex.attach(client, "items", embedding_dim=3, num_vectors=0, checksum=built.checksum)
    assert index.search(torch.ones(1, 3), 2).rows_BK.tolist() == [[-1, -1]]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"embedding_dim": 5}, r"the width of vectors of collection 'items' must be 5 \(came: 4\)"),
        ({"num_vectors": 49}, r"the number of vectors of collection 'items' must be 49 \(came: 50\)"),
        ({"num_vectors": 0}, "the number of vectors"),
        ({"checksum": 1}, "the checksum of its vectors of collection 'items' must be 1 .*delete it and build it"),
    ],
)
def test_a_collection_of_others_is_refused(client: Any, wanted: dict[str, Any], words: str) -> None:
    QdrantIndex.build(VECTORS_ND, client, "items")
    with pytest.raises(IndexServerError, match=words):
        QdrantIndex.attach(client, "items", **({"embedding_dim": 4, "num_vectors": 50} | wanted))


def test_a_collection_that_twotower_did_not_build_is_refused(client: Any) -> None:
    def made(name: str, **config: Any) -> None:
        client.create_collection(name, **config)

    made("cosine", vectors_config=models.VectorParams(size=2, distance=models.Distance.COSINE))
    made("named", vectors_config={"a": models.VectorParams(size=2, distance=models.Distance.DOT)})
    made("other", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    client.upsert("other", points=models.Batch(ids=[0], vectors=[[1.0, 2.0]]))
    for name, number, words in (
        ("cosine", 0, r"the distance of collection 'cosine' must be Dot \(came: Cosine\)"),
        ("named", 0, "must be one without a name"),
        ("other", 1, "was not built by twotower, or not to its end"),
        ("nothing", 1, "there is no collection 'nothing'; build it"),
    ):
        with pytest.raises(IndexServerError, match=words):
            QdrantIndex.attach(client, name, embedding_dim=2, num_vectors=number)
    with pytest.raises(IndexServerError, match=r"there is a collection 'other' already"):
        QdrantIndex.build(torch.ones(1, 2), client, "other")


def test_an_upload_that_was_interrupted_is_not_attached_to(client: Any) -> None:
    def end(done: int, of: int) -> None:
        if done == of:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        QdrantIndex.build(VECTORS_ND, client, "items", batch=10, progress=end)
    with pytest.raises(IndexServerError, match=r"or not to its end"):
        QdrantIndex.attach(client, "items", embedding_dim=4, num_vectors=50)


def test_a_collection_that_changed_is_noticed(client: Any) -> None:
    index = QdrantIndex.build(VECTORS_ND, client, "items")
    client.upsert("items", points=models.Batch(ids=[50], vectors=[[9.0, 9.0, 9.0, 9.0]]))
    with pytest.raises(IndexServerError, match=r"it has changed; delete it and build it again"):
        index.search(torch.ones(1, 4), 1)
    client.delete("items", points_selector=models.PointIdsList(points=list(range(51))))
    with pytest.raises(IndexServerError, match=r"answered with 0 points in place of 1 or more"):
        index.search(torch.ones(1, 4), 1)
    client.delete_collection("items")
    with pytest.raises(IndexServerError, match=r"can't be searched: Collection items not found"):
        index.search(torch.ones(1, 4), 1)


def test_a_score_that_float32_can_not_hold_is_zero_and_ties_with_it(client: Any) -> None:
    index = QdrantIndex.build(torch.tensor([[-1e-30], [1e-30], [0.0]]), client, "items")
    found = index.search(torch.tensor([[1e-30]]), 3)
    assert found.rows_BK.tolist() == [[0, 1, 2]]
    assert not found.scores_BK.signbit().any()


@pytest.mark.parametrize("grpc", [False, True])
def test_a_server_that_is_gone_is_named(grpc: bool) -> None:
    client = qdrant.QdrantClient("http://127.0.0.1:1", grpc_port=1, prefer_grpc=grpc, timeout=2, check_compatibility=False)
    with pytest.raises(IndexServerError, match=r"collection 'items' can't be built: the server can't be reached") as found:
        QdrantIndex.build(VECTORS_ND, client, "items")
    assert "see that it runs" in str(found.value)
    with pytest.raises(IndexServerError, match=r"can't be attached to: the server can't be reached"):
        QdrantIndex.attach(client, "items", embedding_dim=4, num_vectors=50)
    client.close()


@pytest.mark.parametrize("option", ["batch", "neighbours", "ef_construction", "shards", "replicas", "beam"])
def test_numbers_are_checked(client: Any, option: str) -> None:
    given: dict[str, Any] = {option: 0}
    with pytest.raises(ValueError, match=f"{option} must be an integer of at least"):
        QdrantIndex.build(VECTORS_ND, client, "items", **given)
    assert not client.collection_exists("items")


def test_the_extra_is_named_where_it_is_missing(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "qdrant_client"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("importlib.import_module", _missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'twotower\[qdrant\]'"):
        QdrantIndex.build(VECTORS_ND, client, "items")
    with pytest.raises(MissingExtraError, match=r"pip install 'twotower\[qdrant\]'"):
        QdrantIndex.attach(client, "items", embedding_dim=4, num_vectors=50)


def _missing(name: str) -> Any:
    raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])


def test_the_room_does_not_import_it() -> None:
    code = "import sys, twotower.index; sys.exit('qdrant_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
