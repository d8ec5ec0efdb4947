"""Search in a collection of a Qdrant server, of the extra ``qdrant``: the one file that imports its client."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

from twotower.errors import IndexServerError, MissingExtraError
from twotower.index.arguments import check_search, checked_vectors, require_whole
from twotower.index.contract import NO_ROW, SearchResult
from twotower.types import Ragged

__all__ = ["QdrantIndex"]

Array: TypeAlias = "np.ndarray[Any, Any]"

_NOTE = "twotower_index"
_FORMAT = 1
_MORE = 16
_TOGETHER = 64


class QdrantIndex:
    """Most of the k best by dot product, found by a Qdrant server; made by :meth:`build`, found again by :meth:`attach`.

    For a catalogue beyond one machine: the vectors lie in the shards of a Qdrant cluster, and this process holds none of them.
    Where they fit into memory here, `HNSWIndex` and `ExactIndex` need no server, no network and no text form of every vector on
    the way.

    A ``VectorIndex``: a point's id is its row. The server is asked for some more than k, with their vectors; from these the
    scores are summed in float64 and rounded to float32 as `ExactIndex` scores, best first, ties by lowest row among what came.
    What may be missing is what the server's graph did not come by; with ``exact`` it reads all vectors, and only rows that
    differ in the last bits of float32 can be missing, or rows of a tie that is longer than what was asked for. The same
    question has the same answer as long as the server gives it: one that is still building its graph, or replicas with graphs
    of their own, may not.

    ``excluded`` and ``allowed`` go into the query as lists of ids, so that they count inside the search: ``allowed`` as those
    that are, or those that are not, whichever are fewer. A mask that halves a large catalogue is a long list in every query;
    catalogues that need it should be collections of their own. Where the graph finds fewer than k of those that may be
    returned, all are looked through.

    The collection is not to be changed beside the index. It has one dense vector a point, without a name, and the distance dot.

    Example:
        >>> from qdrant_client import QdrantClient  # doctest: +SKIP
        >>> index = QdrantIndex.build(torch.eye(3), QdrantClient("http://127.0.0.1:6333"), "items")  # doctest: +SKIP
        >>> index.search(torch.tensor([[1.0, 0.0, 2.0]]), k=2).rows_BK.tolist()  # doctest: +SKIP
        [[2, 0]]
    """

    def __init__(
        self,
        client: Any,
        collection: str,
        *,
        num_vectors: int,
        embedding_dim: int,
        checksum: int,
        beam: int | None,
        exact: bool,
    ) -> None:
        self._client = client
        self._collection = collection
        self._num_vectors = num_vectors
        self._embedding_dim = embedding_dim
        self._checksum = checksum
        self._beam = beam
        self._exact = exact

    @classmethod
    def build(
        cls,
        vectors_ND: Tensor,
        client: Any,
        collection: str,
        *,
        batch: int = 1000,
        progress: Callable[[int, int], None] | None = None,
        neighbours: int = 16,
        ef_construction: int = 100,
        shards: int = 1,
        replicas: int = 1,
        on_disk: bool = False,
        beam: int | None = None,
        exact: bool = False,
    ) -> Self:
        """Make a collection and send the vectors to it.

        What says that the collection is whole is written last, so that one whose upload was interrupted is not attached to.

        Args:
            vectors_ND: Floats of any width (sent as float32), shape ``[N, D]``; N may be 0.
            client: A ``qdrant_client.QdrantClient``.
            collection: Its name; none of that name may be there.
            batch: How many vectors go together.
            progress: Called after each batch with how many are there, and N.
            neighbours: How many each vector is linked to in the server's graph (its ``m``).
            ef_construction: The beam in which neighbours are looked for.
            shards: Over which the vectors are spread.
            replicas: Of each shard.
            on_disk: Whether the server keeps vectors on its disk, and not in its memory.
            beam: Of a search (``hnsw_ef``); None: as the server has it. Where k is more, k is.
            exact: Whether the server reads all vectors in place of its graph.

        Raises:
            ValueError: If the shape or the dtype is another, or a number is not positive.
            DataError: If a vector holds NaN or an infinity; names the rows.
            IndexServerError: If the collection is there already, or the server can't be reached or refuses.
            MissingExtraError: If the client is not installed.
        """
        numbers = {"batch": batch, "ef_construction": ef_construction, "shards": shards, "replicas": replicas}
        require_whole(1, **numbers, **({} if beam is None else {"beam": beam}))
        require_whole(2, neighbours=neighbours)
        own_ND = checked_vectors(vectors_ND).cpu().contiguous()
        models = _models()
        num_vectors, dim = own_ND.shape
        with _faults(collection, "built"):
            if client.collection_exists(collection):
                raise IndexServerError(
                    f"there is a collection {collection!r} already; attach to it, delete it, or choose another name"
                )
            client.create_collection(
                collection,
                vectors_config=models.VectorParams(size=dim, distance=models.Distance.DOT, on_disk=on_disk),
                hnsw_config=models.HnswConfigDiff(m=neighbours, ef_construct=ef_construction),
                shard_number=shards,
                replication_factor=replicas,
            )
            for start in range(0, num_vectors, batch):
                rows = list(range(start, min(start + batch, num_vectors)))
                points = models.Batch(ids=rows, vectors=own_ND[start : start + batch].tolist())
                client.upsert(collection, points=points, wait=True)
                if progress is not None:
                    progress(start + len(rows), num_vectors)
            checksum = _checksum(own_ND)
            if num_vectors:
                note = {"format": _FORMAT, "num_vectors": num_vectors, "embedding_dim": dim, "vectors_crc32": checksum}
                client.set_payload(collection, payload={_NOTE: note}, points=[0], wait=True)
        return cls(client, collection, num_vectors=num_vectors, embedding_dim=dim, checksum=checksum, beam=beam, exact=exact)

    @classmethod
    def attach(
        cls,
        client: Any,
        collection: str,
        *,
        embedding_dim: int,
        num_vectors: int,
        checksum: int | None = None,
        beam: int | None = None,
        exact: bool = False,
    ) -> Self:
        """Use a collection that :meth:`build` made.

        Args:
            client: A ``qdrant_client.QdrantClient``.
            collection: Its name.
            embedding_dim: D, as it must be.
            num_vectors: N, as it must be.
            checksum: :attr:`checksum` of the index that was built, as it must be; None: of whatever vectors it was.
            beam: As of :meth:`build`, and so is the next.
            exact: Whether the server reads all vectors.

        Raises:
            ValueError: If ``beam`` is not positive.
            IndexServerError: If the collection is not there, has another width, distance or count, was not built whole, or is
                of other vectors; or if the server can't be reached or refuses.
            MissingExtraError: If the client is not installed.
        """
        require_whole(1, embedding_dim=embedding_dim, **({} if beam is None else {"beam": beam}))
        models = _models()
        with _faults(collection, "attached to"):
            if not client.collection_exists(collection):
                raise IndexServerError(f"there is no collection {collection!r}; build it")
            params = client.get_collection(collection).config.params.vectors
            if not isinstance(params, models.VectorParams):
                raise _other(collection, "vectors", "one without a name", "several, or with names")
            count = client.count(collection, exact=True).count
            points = client.retrieve(collection, [0], with_payload=True) if num_vectors else []
        wanted_and_found = [
            ("the width of vectors", embedding_dim, params.size),
            ("the distance", "Dot", getattr(params.distance, "value", params.distance)),
            ("the number of vectors", num_vectors, count),
        ]
        note = (points[0].payload or {}).get(_NOTE) if points else None
        if num_vectors and isinstance(note, dict):
            wanted_and_found += [
                ("the format", _FORMAT, note.get("format")),
                ("the number of vectors in its note", num_vectors, note.get("num_vectors")),
                ("the width in its note", embedding_dim, note.get("embedding_dim")),
            ]
            if checksum is not None:
                wanted_and_found.append(("the checksum of its vectors", checksum, note.get("vectors_crc32")))
        for what, wanted, found in wanted_and_found:
            if wanted != found:
                raise _other(collection, what, wanted, found)
        if num_vectors and not isinstance(note, dict):
            raise IndexServerError(
                f"collection {collection!r} was not built by twotower, or not to its end; delete it and build it"
            )
        own = int(note["vectors_crc32"]) if isinstance(note, dict) else _checksum(torch.empty(0, embedding_dim))
        return cls(
            client, collection, num_vectors=num_vectors, embedding_dim=embedding_dim, checksum=own, beam=beam, exact=exact
        )

    @property
    def num_vectors(self) -> int:
        """How many vectors the index holds (N)."""
        return self._num_vectors

    @property
    def embedding_dim(self) -> int:
        """The width of a vector (D)."""
        return self._embedding_dim

    @property
    def checksum(self) -> int:
        """CRC-32 of the vectors that the collection was built from, for :meth:`attach`."""
        return self._checksum

    def search(
        self, queries_BD: Tensor, k: int, *, excluded: Ragged | None = None, allowed: Tensor | None = None
    ) -> SearchResult:
        """Find most of the k rows with the highest dot product; see `twotower.index.VectorIndex.search`, and errors there.

        Returns:
            B rows of k results, on the CPU: always k where k may be returned.

        Raises:
            IndexServerError: If the server can't be reached or refuses, or the collection has changed since it was built.
        """
        own_BD = check_search(
            queries_BD, k, excluded, allowed, num_vectors=self._num_vectors, embedding_dim=self._embedding_dim
        )
        own_BD = own_BD.cpu()
        mask_N = None if allowed is None else allowed.cpu().numpy()
        lists = [np.empty(0, dtype=np.int64)] * len(own_BD) if excluded is None else _lists(excluded)
        left = self._num_vectors if mask_N is None else int(mask_N.sum())
        outs = lists if mask_N is None else [rows[mask_N[rows]] for rows in lists]
        result = SearchResult(
            torch.full((len(own_BD), k), NO_ROW, dtype=torch.int64),
            torch.full((len(own_BD), k), -torch.inf, dtype=torch.float32),
        )
        if left == 0:
            return result
        must, must_not = self._conditions(mask_N)
        wanted = [min(k, left - len(out)) for out in outs]
        asked = [number for number, want in enumerate(wanted) if want > 0]
        for start in range(0, len(asked), _TOGETHER):
            part = asked[start : start + _TOGETHER]
            limits = [min(wanted[number] + _MORE, left - len(outs[number])) for number in part]
            filters = [self._filter(must, must_not, outs[number]) for number in part]
            found = self._ask(own_BD[part], limits, filters, exact=self._exact)
            short = [place for place, points in enumerate(found) if len(points) < wanted[part[place]]]
            if short:
                rest = [part[place] for place in short]
                again = self._ask(own_BD[rest], [limits[n] for n in short], [filters[n] for n in short], exact=True)
                for place, points in zip(short, again, strict=True):
                    found[place] = points
            for number, points in zip(part, found, strict=True):
                self._put(result, number, own_BD[number], wanted[number], points)
        return result

    def _put(self, result: SearchResult, number: int, query_D: Tensor, want: int, points: Sequence[Any]) -> None:
        """The best of what came, as float64 scores them."""
        rows = np.array([point.id for point in points], dtype=np.int64)
        vectors = np.array([point.vector for point in points], dtype=np.float32)
        if len(rows) < want or vectors.shape != (len(rows), self._embedding_dim) or rows.max() >= self._num_vectors:
            raise IndexServerError(
                f"collection {self._collection!r} answered with {len(rows)} points in place of {want} or more, or with others "
                f"than it was built with: it has changed; delete it and build it again"
            )
        scores = (vectors.astype(np.float64) @ query_D.double().numpy()).astype(np.float32) + np.float32(0.0)
        order = np.lexsort((rows, -scores))[:want]
        result.rows_BK[number, :want] = torch.from_numpy(rows[order])
        result.scores_BK[number, :want] = torch.from_numpy(scores[order])

    def _ask(self, queries_BD: Tensor, limits: Sequence[int], filters: Sequence[Any], *, exact: bool) -> list[Any]:
        models = _models()
        requests = [
            models.QueryRequest(
                query=query,
                limit=limit,
                filter=each,
                params=models.SearchParams(exact=exact, hnsw_ef=None if self._beam is None else max(self._beam, limit)),
                with_vector=True,
                with_payload=False,
            )
            for query, limit, each in zip(queries_BD.tolist(), limits, filters, strict=True)
        ]
        with _faults(self._collection, "searched"):
            return [answer.points for answer in self._client.query_batch_points(self._collection, requests=requests)]

    def _conditions(self, mask_N: Array | None) -> tuple[list[int] | None, list[int]]:
        """The mask as rows that must be and rows that must not be, of which one is all."""
        if mask_N is None:
            return None, []
        shown, hidden = np.flatnonzero(mask_N), np.flatnonzero(~mask_N)
        return (shown.tolist(), []) if len(shown) < len(hidden) else (None, hidden.tolist())

    def _filter(self, must: list[int] | None, must_not: list[int], out: Array) -> Any:
        models = _models()
        if must is not None:
            gone = set(out.tolist())
            return models.Filter(must=[models.HasIdCondition(has_id=[row for row in must if row not in gone])])
        rows = must_not + out.tolist()
        return models.Filter(must_not=[models.HasIdCondition(has_id=rows)]) if rows else None


def _lists(excluded: Ragged) -> list[Array]:
    """The rows of each query, none twice."""
    values, offsets = excluded.values.cpu().numpy().astype(np.int64), excluded.offsets.cpu().tolist()
    return [np.unique(values[start:stop]) for start, stop in pairwise(offsets)]


def _checksum(vectors_ND: Tensor) -> int:
    return zlib.crc32(vectors_ND.numpy().data.cast("B")) if vectors_ND.numel() else 0


def _other(collection: str, what: str, wanted: object, found: object) -> IndexServerError:
    return IndexServerError(
        f"{what} of collection {collection!r} must be {wanted} (came: {found}): it belongs to another index; "
        f"choose another collection, or delete it and build it"
    )


@contextmanager
def _faults(collection: str, doing: str) -> Iterator[None]:
    """What the client raises, as what the caller can do about it."""
    exceptions = importlib.import_module("qdrant_client.http.exceptions")
    others = importlib.import_module("qdrant_client.common.client_exceptions")
    grpc = importlib.import_module("grpc")
    try:
        yield
    except exceptions.UnexpectedResponse as error:
        raise IndexServerError(
            f"collection {collection!r} can't be {doing}: the server refused, status {error.status_code} "
            f"({bytes(error.content)[:200].decode(errors='replace')}); see its log, and the client's key"
        ) from error
    except (exceptions.ApiException, others.QdrantException, grpc.RpcError, OSError) as error:
        cause = getattr(error, "source", error)
        raise IndexServerError(
            f"collection {collection!r} can't be {doing}: the server can't be reached or did not answer "
            f"({type(cause).__name__}: {cause}); see that it runs, and the client's address"
        ) from error
    except (
        ValueError,
        RuntimeError,
    ) as error:  # the client without a server, of a collection that is gone or one that is closed
        raise IndexServerError(
            f"collection {collection!r} can't be {doing}: {error}; build it again, or attach to another"
        ) from error


def _models() -> Any:
    try:
        return importlib.import_module("qdrant_client.models")
    except ModuleNotFoundError as fault:
        if fault.name != "qdrant_client":
            raise
        raise MissingExtraError("an index in Qdrant needs its client: pip install 'twotower[qdrant]'") from None
