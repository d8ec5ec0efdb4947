"""Exact top-k: `ExactIndex`, FAISS flat, and `matmul` + `topk` as one would write them in an afternoon, in one process.

The peers take turns, at least five times, with as many threads each; figures are medians. Ids are compared, ties aside. FAISS
is installed where ``--peer`` asks for it, and left out with a line where it is missing; of its settings for when to use a
BLAS, the one that is fastest in a trial is taken. Prints a table and ends in one line of JSON. The last column says how much
our search gets of what the machine can do: products and bytes are counted, and the ceilings (products a second of a large
matrix product in the dtype of our first pass, bytes a second of reading memory) are measured in the same run.

On an accelerator the vectors, the queries and what is found stay there; FAISS flat, which searches on the processor, is left
out, and of the sizes of blocks for `matmul` + `topk` the one that is fastest in a trial is taken.

    python benchmarks/exact_search.py --peer                                   (a quarter of an hour)
    python benchmarks/exact_search.py --device cuda
    python benchmarks/exact_search.py --sizes 20000x16 --ks 10 --queries 64    (seconds)
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from device import device_ceilings, device_facts, device_option, synchronised
from measured import table
from peers import PeerUnavailableError, faiss_module
from torch import Tensor

from twotower.index import ExactIndex

SIZES = ((100_000, 32), (1_000_000, 64), (1_700_000, 32))
KS = (10, 100, 500)
_SCORES_BYTES = 2**28
_DEVICE_SCORES_BYTES = (2**28, 2**31, 2**33)
_NO_FAISS = "its package on PyPI searches on the processor"
_FAISS_BLAS_FROM = (20, 1, 2**30)
_SAME = 1e-5


class Peer(NamedTuple):
    """One way to search: what it does with queries and k, and what was chosen for it."""

    search: Callable[[Tensor, int], Tensor]
    settings: str


def main() -> None:
    """Measure every size, number of queries and k; print a table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=_sizes, default=SIZES, help="vectors x width, separated by commas")
    parser.add_argument("--ks", type=_numbers, default=KS, help="how many to find, separated by commas")
    parser.add_argument("--queries", type=int, default=512, help="in a batch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of every peer")
    parser.add_argument("--first-pass", default="auto", help="of ExactIndex")
    parser.add_argument("--peer", action="store_true", help="install FAISS where it is missing")
    parser.add_argument("--faiss-folder", type=Path, help="where FAISS is kept; left out, in twotower's cache")
    parser.add_argument("--normalised", action="store_true", help="vectors and queries of length 1")
    device_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.faiss, left_out = None, {}
    try:
        if options.device.type != "cpu":
            raise PeerUnavailableError(_NO_FAISS)
        options.faiss = faiss_module(options.faiss_folder, install=options.peer)
    except PeerUnavailableError as fault:
        left_out["FAISS flat"] = str(fault)
        print(f"  FAISS is left out: {fault}", file=sys.stderr, flush=True)
    rows: list[dict[str, Any]] = []
    for num_vectors, dim in options.sizes:
        rows += _measured(num_vectors, dim, options)
    print(_shown(rows))
    for name, why in left_out.items():
        print(f"{name} is left out: {why}")
    line = {"benchmark": "exact_search", "threads": options.threads, "repeats": options.repeats}
    print(json.dumps({**line, "device": device_facts(options.device), "rows": rows, "left_out": left_out}))


def _sizes(text: str) -> tuple[tuple[int, int], ...]:
    return tuple((int(vectors), int(dim)) for vectors, dim in (part.split("x") for part in text.split(",")))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _measured(num_vectors: int, dim: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    vectors_ND = torch.randn(num_vectors, dim, generator=generator)
    queries_BD = torch.randn(options.queries, dim, generator=generator)
    if options.normalised:
        vectors_ND, queries_BD = (torch.nn.functional.normalize(each) for each in (vectors_ND, queries_BD))
    vectors_ND, queries_BD = vectors_ND.to(options.device), queries_BD.to(options.device)
    if options.device.type != "cpu":  # what its libraries do once is not ours to pay
        ExactIndex.build(vectors_ND[: 2**15], first_pass=options.first_pass).search(queries_BD, 10)
    synchronised(options.device)
    began = time.perf_counter()
    index = ExactIndex.build(vectors_ND, first_pass=options.first_pass)
    synchronised(options.device)
    build_seconds = time.perf_counter() - began
    ceilings = _ceilings(index.first_pass) if options.device.type == "cpu" else _device_ceilings(options)
    found = []
    for batch_BD in (queries_BD, queries_BD[:1]):
        peers = {
            "ours": Peer(lambda queries, k: index.search(queries, k).rows_BK, f"first pass {index.first_pass}"),
            "matmul + topk": _plain(vectors_ND, batch_BD),
        }
        flat = _flat(options.faiss, vectors_ND, batch_BD, options.threads)
        if flat is not None:
            peers["FAISS flat"] = flat
        for k in options.ks:
            row = {"vectors": num_vectors, "dim": dim, "queries": len(batch_BD), "k": k, "build_s": build_seconds}
            row |= _compared(peers, vectors_ND, batch_BD, k, options.repeats)
            found.append(row | _share(row, index.first_pass, ceilings))
            print(f"  {_line(found[-1])}", file=sys.stderr, flush=True)
    return found


def _compared(peers: dict[str, Peer], vectors_ND: Tensor, queries_BD: Tensor, k: int, repeats: int) -> dict[str, Any]:
    """Each peer in turn, again and again; medians, and which ids they agree on."""
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    rows: dict[str, Tensor] = {name: peer.search(queries_BD, k) for name, peer in peers.items()}
    # what takes a moment is done several times for one figure
    times = {name: max(1, round(0.05 / max(1e-6, _seconds(peer, queries_BD, k, 1)))) for name, peer in peers.items()}
    for _ in range(repeats):
        for name, peer in peers.items():
            seconds[name].append(_seconds(peer, queries_BD, k, times[name]))
    return {
        "seconds": {name: statistics.median(taken) for name, taken in seconds.items()},
        "least_s": {name: min(taken) for name, taken in seconds.items()},
        "settings": {name: peer.settings for name, peer in peers.items()},
        "same_ids": {name: _same(vectors_ND, queries_BD, rows["ours"], rows[name]) for name in peers if name != "ours"},
    }


def _plain(vectors_ND: Tensor, queries_BD: Tensor) -> Peer:
    """`matmul` + `topk`: in blocks of queries whose scores fit; on an accelerator in those that are quickest."""

    def in_blocks(scores_bytes: int) -> Peer:
        said = "float32, blocks of queries"
        said += "" if vectors_ND.device.type == "cpu" else f" of {scores_bytes / 2**20:,.0f} MB of scores"
        return Peer(lambda queries, k: _naive(vectors_ND, queries, k, scores_bytes), said)

    if vectors_ND.device.type == "cpu":
        return in_blocks(_SCORES_BYTES)
    free = torch.cuda.mem_get_info(vectors_ND.device)[0] if vectors_ND.is_cuda else _SCORES_BYTES
    tried = [in_blocks(each) for each in _DEVICE_SCORES_BYTES if each <= max(free // 4, _SCORES_BYTES)]
    for peer in tried:
        peer.search(queries_BD, 100)
    return min(tried, key=lambda peer: min(_seconds(peer, queries_BD, 100, 1) for _ in range(3)))


def _seconds(peer: Peer, queries_BD: Tensor, k: int, times: int) -> float:
    synchronised(queries_BD.device)
    began = time.perf_counter()
    for _ in range(times):
        peer.search(queries_BD, k)
    synchronised(queries_BD.device)
    return (time.perf_counter() - began) / times


def _same(vectors_ND: Tensor, queries_BD: Tensor, rows_BK: Tensor, other_BK: Tensor) -> bool:
    """Whether both found the same, or what scores the same to within the rounding of float32."""
    vectors_ND = vectors_ND.cpu()
    for query_D, mine_K, theirs_K in zip(queries_BD.cpu().double(), rows_BK.cpu(), other_BK.cpu(), strict=True):
        mine, theirs = np.setdiff1d(mine_K, theirs_K), np.setdiff1d(theirs_K, mine_K)
        if len(mine) != len(theirs) or len(np.unique(theirs_K)) != len(theirs_K):
            return False
        apart = vectors_ND[mine].double() @ query_D - vectors_ND[theirs].double() @ query_D
        if len(mine) and float(apart.abs().max()) > _SAME * float(query_D.norm() * vectors_ND[mine].norm(dim=1).max()):
            return False
    return True


def _naive(vectors_ND: Tensor, queries_BD: Tensor, k: int, scores_bytes: int) -> Tensor:
    block = max(1, scores_bytes // (4 * len(vectors_ND)))
    return torch.cat([(part_BD @ vectors_ND.T).topk(k, dim=1).indices for part_BD in torch.split(queries_BD, block)])


def _flat(faiss: Any, vectors_ND: Tensor, queries_BD: Tensor, threads: int) -> Peer | None:
    if faiss is None:
        return None
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(vectors_ND.shape[1])
    index.add(vectors_ND.numpy())

    def with_blas_from(blas_from: int) -> Peer:
        def search(queries_BD: Tensor, k: int) -> Tensor:
            faiss.cvar.distance_compute_blas_threshold = blas_from
            return torch.from_numpy(index.search(queries_BD.numpy(), k)[1])

        return Peer(search, f"faiss {faiss.__version__}, distance_compute_blas_threshold {blas_from}")

    tried = [with_blas_from(blas_from) for blas_from in _FAISS_BLAS_FROM]
    some_BD = queries_BD[:64]
    for peer in tried:
        peer.search(some_BD, 100)
    return min(tried, key=lambda peer: min(_seconds(peer, some_BD, 100, 1) for _ in range(3)))


def _ceilings(first_pass: str) -> dict[str, float]:
    """Products a second in that dtype and in float32, and bytes a second: the best of several tries."""
    kinds: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "float32": torch.mm,
        "bfloat16": lambda left, right: torch.mm(left.bfloat16(), right.bfloat16()),
        "int8": lambda left, right: torch._int_mm(left, right),
    }
    kind = first_pass if first_pass in kinds else "float32"
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
    found = {}
    for each in {kind, "float32"}:
        left, right = (torch.ones(1024, 1024).to(dtype[each]) for _ in range(2))
        found[f"{each}_flops_per_s"] = 2 * 1024**3 / _least(lambda left=left, right=right, each=each: kinds[each](left, right))  # type: ignore[misc]
    block = torch.ones(2**25, dtype=torch.int64)
    found["read_bytes_per_s"] = block.numel() * 8 / _least(block.sum)
    return found


def _device_ceilings(options: argparse.Namespace) -> dict[str, float]:
    """The same of an accelerator, whose bytes are those of a copy, read and written."""
    machine = device_ceilings(options.device)
    found = {f"{name}_flops_per_s": 1e9 * machine[f"gflops_{name}"] for name in ("float32", "bfloat16")}
    found["read_bytes_per_s"] = 1e9 * machine["gigabytes_per_s"]
    return found


def _least(work: Callable[[], object], tries: int = 8) -> float:
    least = float("inf")
    for _ in range(tries):
        began = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - began)
    return least


def _share(row: dict[str, Any], first_pass: str, ceilings: dict[str, float]) -> dict[str, Any]:
    """What has to be done at least (the first pass once over all vectors), and the time the ceilings allow for it."""
    kind = first_pass if first_pass != "none" else "float32"
    flops = 2 * row["queries"] * row["vectors"] * row["dim"]
    read_bytes = row["vectors"] * row["dim"] * {"float32": 4, "bfloat16": 2, "int8": 1}[kind]
    limits = {"products": flops / ceilings[f"{kind}_flops_per_s"], "memory": read_bytes / ceilings["read_bytes_per_s"]}
    bound = max(limits, key=lambda name: limits[name])
    ours = row["seconds"]["ours"]
    return {
        "flops": flops,
        "read_bytes": read_bytes,
        "ceilings": ceilings,
        "bound_by": bound,
        "share_of_ceiling": limits[bound] / ours,
        "times_faster": {name: taken / ours for name, taken in row["seconds"].items() if name != "ours"},
    }


def _line(row: dict[str, Any]) -> str:
    taken = ", ".join(f"{name} {1e3 * seconds:.1f} ms" for name, seconds in row["seconds"].items())
    return f"{row['vectors']:,} x {row['dim']}, {row['queries']} queries, k {row['k']}: {taken}"


def _shown(rows: Sequence[dict[str, Any]]) -> str:
    peers = ("ours", "matmul + topk", "FAISS flat")
    lines = []
    for row in rows:
        seconds, times = row["seconds"], row["times_faster"]
        lines.append(
            [
                f"{row['vectors']:,} x {row['dim']}",
                f"{row['queries']}",
                f"{row['k']}",
                *(f"{1e3 * seconds[peer]:.1f} ms" if peer in seconds else "-" for peer in peers),
                *(f"{times[peer]:.1f} x" if peer in times else "-" for peer in peers[1:]),
                "yes" if all(row["same_ids"].values()) else "NO",
                f"{100 * row['share_of_ceiling']:.0f}% of {row['bound_by']}",
            ]
        )
    head = ["vectors", "queries", "k", *peers, "to matmul", "to FAISS", "same ids", "of the ceiling"]
    ceilings = ", ".join(f"{name} {value / 1e9:.1f} G" for name, value in sorted(rows[0]["ceilings"].items()))
    settings = "; ".join(f"{name}: {value}" for name, value in rows[0]["settings"].items())
    return f"{table(head, lines)}\nceilings: {ceilings}\nsettings: {settings}"


if __name__ == "__main__":
    main()
