"""The MovieLens notebook on TensorFlow Recommenders: some epochs and evaluations, each timed.

Run by ``movielens_speed.py`` with the interpreter of the peer's own environment, on the rows of our split: ``train.csv`` and
``test.csv`` (``user_id``, ``movie_title``, ``timestamp``) and ``titles.csv``. The catalogue's vectors are made anew for each
evaluation, in batches of each of ``--catalogue-batches``; rows are kept in memory after the first epoch.

The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped,unused-ignore]
import tensorflow as tf  # type: ignore[import-untyped,unused-ignore]
import tensorflow_recommenders as tfrs  # type: ignore[import-not-found,unused-ignore]
from tfrs_towers import Tower, looked_up  # type: ignore[import-not-found,unused-ignore]


class UserFeatures(tf.keras.Model):  # type: ignore[misc,unused-ignore]
    """User id, time in buckets, time standardised: 65 numbers."""

    def __init__(self, users: Any, edges: Any, times: Any) -> None:
        super().__init__()
        self.id = looked_up(users)
        self.bucket = tf.keras.Sequential(
            [tf.keras.layers.Discretization(edges.tolist()), tf.keras.layers.Embedding(len(edges) + 1, 32)]
        )
        self.time = tf.keras.layers.Normalization(axis=None)
        self.time.adapt(times)

    def call(self, inputs: Any) -> Any:
        at = inputs["timestamp"]
        return tf.concat([self.id(inputs["user_id"]), self.bucket(at), tf.reshape(self.time(at), (-1, 1))], axis=1)


class TitleFeatures(tf.keras.Model):  # type: ignore[misc,unused-ignore]
    """Title as an id, and its words: 64 numbers."""

    def __init__(self, titles: Any) -> None:
        super().__init__()
        self.id = looked_up(titles)
        words = tf.keras.layers.TextVectorization(max_tokens=10_000)
        words.adapt(titles)
        self.words = tf.keras.Sequential(
            [words, tf.keras.layers.Embedding(10_000, 32, mask_zero=True), tf.keras.layers.GlobalAveragePooling1D()]
        )

    def call(self, titles: Any) -> Any:
        return tf.concat([self.id(titles), self.words(titles)], axis=1)


class Movies(tfrs.Model):  # type: ignore[misc,unused-ignore]
    """Two towers and the retrieval task."""

    def __init__(self, query: Any, candidate: Any, catalogue: Any) -> None:
        super().__init__()
        self.query = query
        self.candidate = candidate
        self.task = tfrs.tasks.Retrieval(metrics=tfrs.metrics.FactorizedTopK(candidates=catalogue.map(candidate)))

    def compute_loss(self, features: Any, training: bool = False) -> Any:
        queries = self.query({"user_id": features["user_id"], "timestamp": features["timestamp"]})
        return self.task(queries, self.candidate(features["movie_title"]), compute_metrics=not training)


def main() -> None:
    """Train a few epochs, evaluating now and then."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layer-sizes", type=int, nargs="+", default=[64, 32])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--evaluate-every", type=int, default=5)
    parser.add_argument("--catalogue-batches", type=int, nargs="+", default=[128], help="evaluate with each")
    parser.add_argument("--seed", type=int, default=42)
    arguments = parser.parse_args()
    tf.random.set_seed(arguments.seed)
    parts = {
        name: pd.read_csv(arguments.folder / f"{name}.csv", dtype={"user_id": str, "movie_title": str, "timestamp": "float32"})
        for name in ("train", "test")
    }
    titles = np.sort(pd.read_csv(arguments.folder / "titles.csv", dtype=str)["movie_title"].unique())
    rows = pd.concat(list(parts.values()))
    times = rows["timestamp"].to_numpy()
    edges = np.linspace(times.min(), times.max(), num=1_000)
    users = UserFeatures(np.unique(rows["user_id"].to_numpy(dtype=str)), edges, times)
    towers = Tower(users, arguments.layer_sizes), Tower(TitleFeatures(titles), arguments.layer_sizes)
    # the same towers; each evaluates by batches of another size, and the first is trained
    models = {
        size: Movies(*towers, tf.data.Dataset.from_tensor_slices(titles).batch(size)) for size in arguments.catalogue_batches
    }
    for each in models.values():
        each.compile(optimizer=tf.keras.optimizers.Adagrad(0.1))
    model = models[arguments.catalogue_batches[0]]
    train, test = (
        tf.data.Dataset.from_tensor_slices({name: frame[name].to_numpy() for name in ("user_id", "movie_title", "timestamp")})
        for frame in parts.values()
    )
    train = train.shuffle(100_000).batch(2_048).cache()
    test = test.batch(4_096).cache()
    epoch_seconds: list[float] = []
    evaluation_seconds: dict[int, list[float]] = {size: [] for size in models}
    recalls: list[float] = []
    for epoch in range(1, arguments.epochs + 1):
        began = time.perf_counter()
        model.fit(train, epochs=1, verbose=0)
        epoch_seconds.append(time.perf_counter() - began)
        if epoch % arguments.evaluate_every == 0:
            for size, each in models.items():
                began = time.perf_counter()
                figures = each.evaluate(test, return_dict=True, verbose=0)
                evaluation_seconds[size].append(time.perf_counter() - began)
            recalls.append(float(figures["factorized_top_k/top_100_categorical_accuracy"]))
    print(json.dumps({"epoch_seconds": epoch_seconds, "evaluation_seconds": evaluation_seconds, "recall@100": recalls}))


if __name__ == "__main__":
    main()
