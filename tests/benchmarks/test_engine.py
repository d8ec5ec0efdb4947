"""The benchmarks of the engine run, on the smallest sizes, and end in one line of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"

pytestmark = pytest.mark.slow

SMALL_LOG = ["--set", "data.sample.fraction=0.2", "--set", "split.test=1000", "--set", "training.batch_size=512"]
SMALL = {
    "ceilings": [],
    "evaluation": ["--sizes", "600x300", "--repeats", "1"],
    "exact_search": ["--sizes", "3000x8", "--ks", "10", "--queries", "16", "--repeats", "1"],
    "movielens_speed": ["--turns", "1"],
    "livestream_preparation": ["--rows", "30000", "--turns", "1", *SMALL_LOG, "--set", "split.train=4000"],
    "whole_job": ["--rows", "30000", "--turns", "1", *SMALL_LOG, "--set", "split.train=4000"],
    "loss": ["--batches", "64,128", "--repeats", "1", "--eager-up-to", "64"],
    "feed": ["--rows", "2000", "--users", "50", "--items", "60", "--batch", "256", "--workers", "1", "--repeats", "1"],
    "large_catalogue": [
        "--users",
        "600",
        "--items",
        "700",
        "--rows",
        "4000",
        "--batch",
        "128",
        "--steps",
        "1",
        "--repeats",
        "1",
    ],
}


def last_line(name: str, *more: str) -> dict[str, Any]:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *SMALL[name], *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["benchmark"] == name
    return found


def test_the_loss_is_measured_and_eager_is_counted_where_it_does_not_fit() -> None:
    small, large = last_line("loss")["sizes"]
    assert set(small["seconds"]) == {"ours", "ours, bfloat16", "eager", "eager, bfloat16"}
    assert set(large["seconds"]) == {"ours", "ours, bfloat16"}
    assert (small["eager_bytes_are_counted"], large["eager_bytes_are_counted"]) == (False, True)


def test_the_feed_is_measured_beside_loaders() -> None:
    assert set(last_line("feed")["ratios"]) == {"DataLoader", "DataLoader, 1 workers", "DataLoader, whole batches"}


def test_what_plain_pytorch_learns_is_measured_too() -> None:
    found = last_line("large_catalogue", "--recall")
    assert set(found["ratios"]) == {"Adam", "SparseAdam"}
    recall = found["recall@100"]
    assert min(recall[side] for side in ("ours", "Adam", "SparseAdam")) > 0.1


def test_ceilings_are_rates() -> None:
    found = last_line("ceilings")
    assert all(found[name] > 0.1 for name in ("gflops_float32", "gflops_bfloat16", "gigabytes_per_s"))


def test_all_sides_of_an_evaluation_find_the_same_recall() -> None:
    (size,) = last_line("evaluation")["sizes"]
    assert set(size["ratios"]) == {"matmul + topk", "matmul + count"}
    (recall,) = set(size["recall@100"].values())
    assert 0.1 < recall < 0.9


def test_exact_search_finds_the_ids_of_matmul_and_topk() -> None:
    rows = last_line("exact_search")["rows"]
    assert [row["queries"] for row in rows] == [16, 1]
    assert all(row["same_ids"]["matmul + topk"] for row in rows)


@pytest.mark.data
def test_movielens_is_measured_beside_plain_pytorch() -> None:
    found = last_line("movielens_speed")
    assert found["complete"]
    assert set(found["sides"]) == {"ours", "plain PyTorch", "plain PyTorch, whole batches"}
    assert min(side["recall@100"] for side in found["sides"].values()) > 0.1
    assert set(found["left_out"]) == {"TFRS", "RecTools DSSM"}
    ours = found["sides"]["ours"]
    assert ours["seconds"] == pytest.approx(300 * ours["epoch_seconds"] + 60 * ours["evaluation_seconds"])


def test_preparing_training_and_evaluating_a_log_are_measured() -> None:
    found = last_line("livestream_preparation")
    assert found["ours"]["counts"]["train"] == 4_000
    assert found["ours"]["train_rows_per_s"] > 100
    assert set(found["roofline"]) == {"training", "evaluation"}
    assert found["peer_left_out"] == "not asked for (--peer)"


def test_the_whole_job_ends_in_a_bundle() -> None:
    found = last_line("whole_job")
    assert found["sides"]["ours"]["runs"] == 1
    assert found["sides"]["ours"]["peak_bytes"] > 10**8
    assert found["ratios"] == {}
