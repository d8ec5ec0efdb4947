"""RecTools' DSSM on the MovieLens notebook's rows: some epochs, each timed, and how long ranking takes.

Run by ``movielens_speed.py`` with the interpreter of the peer's own environment, on ``train.csv``, ``test.csv`` and
``titles.csv`` of a folder. Its model is another one than the notebook's: user and item networks over one-hot features and the
user's interactions, a triplet loss with one drawn negative, Adam. One of its epochs draws one row for each user; seconds are
given for as many rows as the notebook's epoch has.

The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped,unused-ignore]
import pytorch_lightning as lightning  # type: ignore[import-not-found,unused-ignore]
import torch
from rectools import Columns  # type: ignore[import-not-found,unused-ignore]
from rectools.dataset import Dataset  # type: ignore[import-not-found,unused-ignore]
from rectools.models import DSSMModel  # type: ignore[import-not-found,unused-ignore]


class Clock(lightning.Callback):  # type: ignore[misc,unused-ignore]
    """Seconds of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        del trainer, pl_module
        self._began = time.perf_counter()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        del trainer, pl_module
        self.seconds.append(time.perf_counter() - self._began)


def main() -> None:
    """Train a few epochs, then rank the test rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=10, help="worth so many times the train rows")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--factors", type=int, default=32)
    parser.add_argument("--most-epochs", type=int, default=40, help="of its own, which are short; seconds are scaled")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    np.random.seed(arguments.seed)  # noqa: NPY002  (RecTools draws from NumPy's global generator)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    os.chdir(arguments.folder)  # Lightning leaves a checkpoint where it is run
    parts = {name: pd.read_csv(f"{name}.csv", dtype={"user_id": str}) for name in ("train", "test")}
    dataset = _dataset(parts["train"], pd.read_csv("titles.csv", dtype=str)["movie_title"])
    users = parts["train"]["user_id"].nunique()
    wanted = -(-arguments.epochs * len(parts["train"]) // users)
    model = DSSMModel(
        n_factors=arguments.factors,
        max_epochs=min(wanted, arguments.most_epochs),
        batch_size=arguments.batch,
        callbacks=[Clock()],
        loggers=False,
        trainer_accelerator="cpu",
    )
    model._trainer.progress_bar_callback.disable()
    model.fit(dataset)
    (clock,) = [each for each in model.trainer.callbacks if isinstance(each, Clock)]  # RecTools copies what it is given
    began = time.perf_counter()
    recall = _recall(model, dataset, parts["test"])
    evaluation = time.perf_counter() - began
    scale = len(parts["train"]) / users
    print(
        json.dumps(
            {
                "epoch_seconds": [seconds * scale for seconds in clock.seconds],
                "own_epochs": len(clock.seconds),
                "own_epochs_worth_of_rows": wanted,
                "evaluation_seconds": [evaluation, evaluation],
                "recall@100": [recall],
            }
        )
    )


def _dataset(train: Any, titles: Any) -> Any:
    """Ids and the words of titles as features."""
    rows = pd.DataFrame({Columns.User: train["user_id"], Columns.Item: train["movie_title"], Columns.Weight: 1.0})
    rows[Columns.Datetime] = pd.to_datetime(train["timestamp"], unit="s")
    known = [title for title in titles.unique() if title in set(train["movie_title"])]
    words = [(title, "word", word) for title in known for word in re.sub(r"[^\w\s]", "", title.lower()).split()]
    words += [(title, "title", title) for title in known]
    users = [(user, "user", user) for user in train["user_id"].unique()]
    names = ["id", "feature", "value"]
    return Dataset.construct(
        rows.drop_duplicates([Columns.User, Columns.Item]),
        user_features_df=pd.DataFrame(users, columns=names),
        cat_user_features=["user"],
        item_features_df=pd.DataFrame(words, columns=names),
        cat_item_features=["word", "title"],
    )


def _recall(model: Any, dataset: Any, test: Any) -> float:
    """Share of test rows with fewer than 100 items nearer to the user than their own; unknown users and titles miss."""
    users_UD, items_ND = (torch.from_numpy(vectors) for vectors in model.get_vectors(dataset))
    user_of = pd.Series(dataset.user_id_map.internal_ids, index=dataset.user_id_map.external_ids)
    item_of = pd.Series(dataset.item_id_map.internal_ids, index=dataset.item_id_map.external_ids)
    both = pd.DataFrame({"user": test["user_id"].map(user_of), "item": test["movie_title"].map(item_of)}).dropna().astype(int)
    queries, own = torch.from_numpy(both["user"].to_numpy()), torch.from_numpy(both["item"].to_numpy())
    distances_UN = torch.cdist(users_UD, items_ND)
    nearer = (distances_UN[queries] < distances_UN[queries, own][:, None]).sum(dim=1)
    return float((nearer < 100).sum() / len(test))


if __name__ == "__main__":
    main()
