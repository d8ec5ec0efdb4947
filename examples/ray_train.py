"""Train a recipe on the workers of a Ray cluster: ``twotower train RECIPE --ranks N``, with Ray Train in place of torchrun.

    pip install 'twotower[ray]'
    python examples/ray_train.py recipes/movielens.toml --run-dir /shared/runs/movielens --workers 4

Every worker is one rank. Ray Train starts them, opens their process group, and starts all of them again when one dies; the run
then goes on from its last checkpoint. All workers see the tables and the run's folder by the same paths.
Without a cluster (``ray start``, or the variable RAY_ADDRESS) Ray starts on this machine alone.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when a Ray is started from here

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from twotower.distributed import Ranks
from twotower.runs import parse_recipe, read_recipe, run

PATIENCE_S = 12 * 60 * 60  # how long others may wait while rank 0 reads tables, judges or writes


def train_rank(job: dict[str, Any]) -> dict[str, Any]:
    """What each worker does: be a rank of the process group that Ray Train has opened. Rank 0's answer is the trainer's."""
    result = run(
        parse_recipe(job["recipe"]), job["folder"], resume=True, ranks=Ranks.of()
    )  # begins, or goes on with what is there
    return {key: value for key, value in result.summary.items() if key != "details"}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Read the command line, train, print what came of it."""
    parser = argparse.ArgumentParser(description="Train a recipe on the workers of a Ray cluster.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument(
        "--run-dir", type=Path, required=True, help="on storage that all workers see; a run there is gone on with"
    )
    parser.add_argument("--workers", type=int, default=2, help="how many ranks")
    parser.add_argument("--cpus", type=int, default=1, help="cores of each, which are its threads")
    parser.add_argument("--gpu", action="store_true", help="a GPU for each, with NCCL; else the CPU, with gloo")
    parser.add_argument("--restarts", type=int, default=3, help="how often all may be started again, after one died")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a key of the recipe, as in twotower train"
    )
    asked = parser.parse_args(arguments)

    # read here, so that a fault in it is told before anything is started; paths in it are whole from here on
    recipe = read_recipe(asked.recipe, overrides=[*asked.set, f"device={'cuda' if asked.gpu else 'cpu'}"])
    folder = asked.run_dir.resolve()
    trainer = TorchTrainer(
        train_rank,
        train_loop_config={"recipe": recipe.model_dump(mode="json"), "folder": str(folder)},
        # both are spoken on GPUs: tensors of the CPU are exchanged too
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if asked.gpu else "gloo", timeout_s=PATIENCE_S),
        scaling_config=ScalingConfig(num_workers=asked.workers, use_gpu=asked.gpu, resources_per_worker=_resources(asked)),
        run_config=RunConfig(
            storage_path=f"{folder}.ray",  # Ray Train's own notes; checkpoints are in the run's folder
            failure_config=FailureConfig(max_failures=asked.restarts),
        ),
    )
    summary: dict[str, Any] = trainer.fit().return_value
    for name, value in summary["metrics"]["test"]["seen_included"].items():
        print(f"{name}: {value:.4f}")
    print(f"bundle: {folder / 'bundle'}")
    return summary


def _resources(asked: argparse.Namespace) -> dict[str, float]:
    return {"CPU": asked.cpus, **({"GPU": 1} if asked.gpu else {})}


if __name__ == "__main__":
    main()
