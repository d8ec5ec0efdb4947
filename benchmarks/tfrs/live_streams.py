"""The live-stream notebook on TensorFlow Recommenders, with its errors mended, as one program with timed phases.

Run by ``livestream_preparation.py`` with the interpreter of the peer's own environment. What is mended: the catalogue is the
distinct broadcasters of the sample, the figure that is read exists, and so do the classes. The rest is the notebook's way: a
pandas frame of all 18 columns, a random tenth of it, ``tf.data`` one row at a time, vocabulary and moments adapted from that,
and ``FactorizedTopK`` over the catalogue.

The last line of stdout is one JSON object: seconds and peak memory of every phase, and the accuracies.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped,unused-ignore]
import tensorflow as tf  # type: ignore[import-untyped,unused-ignore]
import tensorflow_recommenders as tfrs  # type: ignore[import-not-found,unused-ignore]
from tfrs_towers import Tower, looked_up  # type: ignore[import-not-found,unused-ignore]

COLUMNS = {
    "viewer": "str",
    "broadcaster": "str",
    "viewer_age": "float32",
    "viewer_gender": "str",
    "viewer_longitude": "float32",
    "viewer_latitude": "float32",
    "viewer_lang": "str",
    "viewer_country": "str",
    "broadcaster_age": "float32",
    "broadcaster_gender": "str",
    "broadcaster_longitude": "float32",
    "broadcaster_latitude": "float32",
    "broadcaster_lang": "str",
    "broadcaster_country": "str",
    "duration": "float32",
    "viewer_network": "str",
    "broadcaster_network": "str",
    "count": "float32",  # whole numbers, but some are missing
}
FILLS = {name: "unknown" for name, kind in COLUMNS.items() if kind == "str"} | {
    "viewer_age": 30,
    "broadcaster_age": 30,
    "viewer_longitude": 0,
    "viewer_latitude": 0,
    "broadcaster_longitude": 0,
    "broadcaster_latitude": 0,
    "duration": 0,
    "count": 0,
}
USED = ("viewer", "viewer_age", "broadcaster")


class Phases:
    """Seconds and peak memory so far of each phase, in order."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float]] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        began, busy = time.perf_counter(), time.process_time()
        yield
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - busy
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        self.found[name] = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak}
        print(f"{name}: {seconds:.1f} s, {peak / 1e9:.2f} GB at most so far", file=sys.stderr, flush=True)


class ViewerFeatures(tf.keras.Model):  # type: ignore[misc,unused-ignore]
    """Viewer id, age in buckets, age standardised: 65 numbers."""

    def __init__(self, viewers: Any, age_edges: Any, ages: Any) -> None:
        super().__init__()
        self.id = looked_up(viewers)
        self.age_bucket = tf.keras.Sequential(
            [
                tf.keras.layers.Discretization(age_edges.tolist()),
                tf.keras.layers.Embedding(len(age_edges) + 1, 32),
            ]
        )
        self.age = tf.keras.layers.Normalization(axis=None)
        self.age.adapt(ages)

    def call(self, inputs: Any) -> Any:
        age = inputs["viewer_age"]
        return tf.concat([self.id(inputs["viewer"]), self.age_bucket(age), tf.reshape(self.age(age), (-1, 1))], axis=1)


class BroadcasterFeatures(tf.keras.Model):  # type: ignore[misc,unused-ignore]
    """Broadcaster id, and the parts of it between colons: 64 numbers."""

    def __init__(self, broadcasters: Any, catalogue: Any) -> None:
        super().__init__()
        self.id = looked_up(broadcasters)
        words = tf.keras.layers.TextVectorization(
            max_tokens=32, standardize=None, split=lambda text: tf.strings.split(text, ":")
        )
        words.adapt(catalogue)
        self.words = tf.keras.Sequential(
            [words, tf.keras.layers.Embedding(32, 32, mask_zero=True), tf.keras.layers.GlobalAveragePooling1D()]
        )

    def call(self, broadcasters: Any) -> Any:
        return tf.concat([self.id(broadcasters), self.words(broadcasters)], axis=1)


class LiveStreams(tfrs.Model):  # type: ignore[misc,unused-ignore]
    """Two towers and the retrieval task."""

    def __init__(self, query: Any, candidate: Any, catalogue: Any) -> None:
        super().__init__()
        self.query = query
        self.candidate = candidate
        self.task = tfrs.tasks.Retrieval(metrics=tfrs.metrics.FactorizedTopK(candidates=catalogue.map(candidate)))

    def compute_loss(self, features: Any, training: bool = False) -> Any:
        queries = self.query({"viewer": features["viewer"], "viewer_age": features["viewer_age"]})
        return self.task(queries, self.candidate(features["broadcaster"]), compute_metrics=not training)


def main() -> None:
    """Run the notebook on one log."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--layer-sizes", type=int, nargs="+", default=[32])
    parser.add_argument("--fraction", type=float, default=0.1)
    parser.add_argument("--train", type=int, default=80_000)
    parser.add_argument("--test", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=42, help="of the sample and the split")
    parser.add_argument("--model-seed", type=int, default=42)
    parser.add_argument(
        "--columns",
        choices=("all", "used"),
        default="all",
        help="that the rows keep: all, as in the notebook, or those its model uses",
    )
    parser.add_argument("--until", choices=("prepare", "evaluate"), default="evaluate", help="the last phase")
    parser.add_argument("--catalogue-batches", type=int, nargs="+", default=[128], help="evaluate once with each")
    arguments = parser.parse_args()
    tf.random.set_seed(arguments.model_seed)
    phases = Phases()

    with phases.timed("read"):
        log = pd.read_csv(arguments.log, skiprows=1, names=list(COLUMNS), dtype=COLUMNS)
    rows = len(log)
    with phases.timed("prepare"):
        log = log.fillna(value=FILLS)
        sample = log.sample(frac=arguments.fraction, random_state=arguments.seed)
        dataset = tf.data.Dataset.from_tensor_slices(
            {name: sample[name].to_numpy(dtype=object if COLUMNS[name] == "str" else None) for name in COLUMNS}
        )
        kept = USED if arguments.columns == "used" else tuple(COLUMNS)
        watches = dataset.map(lambda row: {name: row[name] for name in kept})
        viewers = np.unique(np.concatenate(list(watches.batch(1_000).map(lambda row: row["viewer"]))))
        broadcasters = np.unique(np.concatenate(list(watches.batch(1_000).map(lambda row: row["broadcaster"]))))
        ages = np.concatenate(list(watches.batch(1_000).map(lambda row: row["viewer_age"])))
        edges = np.linspace(ages.min(), ages.max(), num=10)
        catalogue = tf.data.Dataset.from_tensor_slices(broadcasters)
        query = Tower(
            ViewerFeatures(viewers, edges, watches.map(lambda row: row["viewer_age"]).batch(1_000)), arguments.layer_sizes
        )
        candidate = Tower(BroadcasterFeatures(broadcasters, catalogue.batch(1_000)), arguments.layer_sizes)
        model = LiveStreams(query, candidate, catalogue.batch(arguments.catalogue_batches[0]))
        model.compile(optimizer=tf.keras.optimizers.Adagrad(0.1))
        shuffled = watches.shuffle(100_000, seed=arguments.seed, reshuffle_each_iteration=False)
        train = shuffled.take(arguments.train).cache().shuffle(100_000).batch(16_384)
        test = shuffled.skip(arguments.train).take(arguments.test).batch(4_096).cache()
        for rows_in_memory in (train, test):
            list(rows_in_memory)
    if arguments.until == "prepare":
        print(json.dumps({"phases": phases.found}))
        return
    epoch_seconds: list[float] = []
    with phases.timed("train"):
        for _ in range(arguments.epochs):
            began = time.perf_counter()
            model.fit(train, epochs=1, verbose=0)
            epoch_seconds.append(time.perf_counter() - began)
    evaluated: dict[str, Any] = {}
    for size in arguments.catalogue_batches:
        name = "evaluate"
        if evaluated:
            model.task = tfrs.tasks.Retrieval(
                metrics=tfrs.metrics.FactorizedTopK(candidates=catalogue.batch(size).map(candidate))
            )
            model.compile(optimizer=model.optimizer)
            name = f"evaluate, catalogue by {size}"
        with phases.timed(name):
            figures = model.evaluate(test, return_dict=True, verbose=0)
        evaluated[name] = {
            f"recall@{k}": float(figures[f"factorized_top_k/top_{k}_categorical_accuracy"]) for k in (1, 5, 10, 50, 100)
        }
    counts = {"rows": rows, "sample": len(sample), "viewers": len(viewers), "broadcasters": len(broadcasters)}
    accuracies = evaluated["evaluate"]
    popularity = _popularity(train, test)
    found = {"counts": counts, "phases": phases.found, "metrics": accuracies, "popularity": popularity}
    print(json.dumps({**found, "epoch_seconds": epoch_seconds, "train_rows": arguments.train}))


def _popularity(train: Any, test: Any) -> float:
    """Share of test rows whose broadcaster is among the hundred most frequent of the train rows."""
    drawn = np.concatenate([batch["broadcaster"].numpy() for batch in train])
    names, counts = np.unique(drawn, return_counts=True)
    top = set(names[np.argsort(-counts, kind="stable")[:100]].tolist())
    judged = np.concatenate([batch["broadcaster"].numpy() for batch in test])
    return float(np.mean([name in top for name in judged.tolist()]))


if __name__ == "__main__":
    main()
