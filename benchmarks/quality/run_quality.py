"""The quality of our recipes by published protocols: every recipe with several training seeds, one log for each run.

    python benchmarks/quality/run_quality.py --data FOLDER --only gowalla beauty --seeds 3
    python benchmarks/quality/run_quality.py --data FOLDER --only beauty --set training.epochs=5 --validation

First popularity is held to its known answers. Each run chooses its epoch on validation rows, is trained anew on all rows but
the test rows, and is judged once. Runs that are there are kept, interrupted ones go on; logs, runs and results lie in the work
folder. With ``--validation`` nothing is refitted and no test row is looked at: that is how settings are chosen.

Every line of JSON (one for each recipe, also in ``results.jsonl``) has the mean of each figure over the seeds and a 95%
interval, users and seeds drawn.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from known_popularity import check_popularity, read_protocol
from numpy.typing import NDArray
from quality_protocols import PROTOCOLS, Protocol
from quality_tables import DATA_VARIABLE, data_folder

from twotower.columnar import Converting
from twotower.errors import ConfigError
from twotower.evaluation import JudgedRows
from twotower.metrics import metric_rows, nested_difference
from twotower.runs import Recipe, load_tables, run
from twotower.runs.fit_model import fit_model, untrained_model
from twotower.runs.hardware import hardware
from twotower.training import EpochDone, TrainingEvent, resolve_device

__all__ = ["RunLog", "main", "over_seeds", "unit_values"]


class RunLog:
    """A run's log: the recipe, what was read, every epoch with its seconds and figures, the summary.

    Args:
        path: The file; what is there is kept and gone on with.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.say(f"== {datetime.now(UTC):%Y-%m-%d %H:%M:%S}")

    def say(self, line: str) -> None:
        """Add a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def listen(self, phase: str, event: TrainingEvent | Converting | str) -> None:
        """A `twotower.runs.RunListener`."""
        if isinstance(event, EpochDone):
            figures = "  ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
            best = " *" if event.best else ""
            self.say(f"{phase} {event.epoch:3}  {event.seconds:6.1f} s  loss {event.loss:.4f}  {figures}{best}")
        elif isinstance(event, str):
            self.say(f"{phase}: {event}")


def unit_values(
    judged: JudgedRows, metric: str, *, unit: str, removed: bool, catalogue_size: int, ranker: str = "model"
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A metric of each test row, or of each user, and whose it is.

    A user's rows must share a query, and no test item may be among what the user has seen: then one list per user ranks as the
    rows do, one by one.

    Args:
        judged: What a run keeps of its judgement.
        metric: ``recall@K`` or ``ndcg@K``.
        unit: ``row`` or ``user``.
        removed: Whether seen items are left out.
        catalogue_size: Of how many items.
        ranker: Whose ranks.
    """
    if unit == "row":
        return judged.values(ranker, metric, removed=removed), judged.user_rows
    ranks = judged.rankers[ranker].seen_removed if removed else judged.rankers[ranker].seen_included
    k = int(metric.partition("@")[2])
    found = metric_rows(ranks, [k], judged.user_rows, unit="user", catalogue_size=catalogue_size)
    return found.values[:, found.names.index(metric)], found.users


def over_seeds(values: Sequence[NDArray[np.float64]], users: NDArray[np.int64]) -> dict[str, Any]:
    """Mean over seeds, its 95% interval (users and seeds drawn), and each seed's.

    Example:
        >>> over_seeds([np.array([1.0, 0.0]), np.array([1.0, 1.0])], np.array([3, 4]))["mean"]
        0.75
    """
    found = nested_difference(list(values), [np.zeros_like(values[0])], users, seed=0)
    return {
        "mean": float(found.mean),
        "low": float(found.low),
        "high": float(found.high),
        "seeds": [float(each.mean()) for each in values],
    }


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help=f"the folder of the files; left out, as {DATA_VARIABLE} says")
    parser.add_argument("--work", type=Path, default=Path("build/quality"), help="gets tables, runs, logs and results")
    parser.add_argument("--only", nargs="+", choices=list(PROTOCOLS), default=list(PROTOCOLS), help="protocols")
    parser.add_argument("--recipes", nargs="+", help="of those, only the recipes of these names")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="training seeds: how many, or which")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of twotower train")
    parser.add_argument("--validation", action="store_true", help="choose: train rows and validation rows only")
    parser.add_argument("--again", action="store_true", help="make runs anew that are there")
    arguments = parser.parse_args()
    seeds = list(range(1, arguments.seeds[0] + 1)) if len(arguments.seeds) == 1 else arguments.seeds
    data = data_folder(arguments.data)
    lines = []
    for name in arguments.only:
        popularity = _checked_popularity(name, data, arguments.work)
        for of in PROTOCOLS[name].recipes:
            if arguments.recipes is not None and of not in arguments.recipes:
                continue
            recipes = [
                read_protocol(name, data, arguments.work, (*arguments.set, f"seed={seed}", "evaluation.draws=0"), of=of)
                for seed in seeds
            ]
            if arguments.validation:
                line = {"benchmark": "quality_validation", "protocol": name, "recipe": of, "set": arguments.set}
                line |= {"seeds": [_chosen(recipe, arguments.work) for recipe in recipes]}
            else:
                line = {"benchmark": "quality", "protocol": name, "recipe": of, "set": arguments.set, "seeds": seeds}
                line |= {"popularity": popularity, **_measured(PROTOCOLS[name], recipes, arguments.work, again=arguments.again)}
            line |= {"at": f"{datetime.now(UTC):%Y-%m-%d %H:%M}", "machine": hardware(torch.device("cpu"))}
            lines.append(line)
            with (arguments.work / "results.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)


def _checked_popularity(name: str, data: Path | None, work: Path) -> list[dict[str, Any]]:
    """The known answers of popularity as we find them.

    Raises:
        SystemExit: If one is another.
    """
    lines = check_popularity(name, data, work)
    wrong = [str(line) for line in lines if not line.agrees]
    if wrong:
        raise SystemExit("\n".join([f"{name}: popularity is not what it is known to be: no figure can be trusted", *wrong]))
    return [{"metric": line.metric, "removed": line.removed, "seen": line.seen, "ties": line.ties} for line in lines]


def _measured(protocol: Protocol, recipes: Sequence[Recipe], work: Path, *, again: bool) -> dict[str, Any]:
    """Runs of one recipe with several seeds: figures by metric, seconds and epochs."""
    values: dict[str, list[NDArray[np.float64]]] = {}
    users: dict[str, NDArray[np.int64]] = {}
    summaries = []
    for recipe in recipes:
        folder = work / "runs" / f"{recipe.name}-{recipe.seed}"
        log = RunLog(work / "logs" / f"{recipe.name}-{recipe.seed}.log")
        log.say(json.dumps(recipe.model_dump(mode="json")))
        try:
            summary = run(recipe, folder, resume=not again, overwrite=again, listener=log.listen).summary
        except ConfigError as error:
            log.say(str(error))
            raise SystemExit(f"{folder}: {error}\n(--again makes it anew)") from None
        log.say(json.dumps({key: value for key, value in summary.items() if key != "details"}))
        judged = JudgedRows.read(folder / "judged" / "test.parquet")
        for key, (metric, removed) in zip(protocol.keys, protocol.pairs, strict=True):
            found, users[key] = unit_values(
                judged, metric, unit=protocol.unit, removed=removed, catalogue_size=summary["evaluation"]["catalogue"]
            )
            _require_same(found, summary, metric, removed=removed, unit=protocol.unit)
            values.setdefault(key, []).append(found)
        summaries.append(summary)
    return {
        "figures": {key: over_seeds(of_seeds, users[key]) for key, of_seeds in values.items()},
        "unit": protocol.unit,
        "epochs": [summary["selection"]["epoch"] for summary in summaries],
        "choosing_seconds": [round(summary["selection"]["seconds"], 1) for summary in summaries],
        "training_seconds": [round(summary["training"]["seconds"], 1) for summary in summaries],
        "validation": [summary["selection"]["validation"] for summary in summaries],
    }


def _require_same(values: NDArray[np.float64], summary: dict[str, Any], metric: str, *, removed: bool, unit: str) -> None:
    """Make sure that the run's own figure is the mean of the values."""
    variant = "seen_removed" if removed else "seen_included"
    of = summary["details"]["model"]["per_user"] if unit == "user" else summary["metrics"]["test"]
    if abs(of[variant][metric] - values.mean()) > 1e-9:
        raise SystemExit(
            f"{metric}: the run says {of[variant][metric]}, its judged rows {values.mean()}: queries of a user differ"
        )


def _chosen(recipe: Recipe, work: Path) -> dict[str, Any]:
    """Train on train rows, validate, and leave the test rows alone."""
    log = RunLog(work / "logs" / f"{recipe.name}-{recipe.seed}-validation.log")
    log.say(json.dumps(recipe.model_dump(mode="json")))
    tables = load_tables(recipe)
    began = time.perf_counter()
    fitted = fit_model(
        recipe,
        untrained_model(recipe, tables, tables.split.train),
        device=resolve_device(recipe.device),
        validation_rows=tables.split.validation,
        listener=lambda event: log.listen("select", event),
    )
    records = fitted.training.records
    return {
        "seed": recipe.seed,
        "epoch": fitted.training.epoch,
        "seconds": round(time.perf_counter() - began, 1),
        "validation": [dict(record["metrics"]) for record in records],
    }


if __name__ == "__main__":
    main()
