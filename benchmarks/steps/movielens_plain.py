"""The MovieLens notebook in plain PyTorch, as one would write it in an afternoon: some epochs and evaluations, each timed.

``nn.Embedding`` and ``nn.EmbeddingBag``, two dense layers, Adagrad, a ``DataLoader``, eager cross-entropy over the matrix of
B x B logits; evaluation by ``matmul`` and ``topk``. Reads ``train.csv``, ``test.csv`` and ``titles.csv`` of a folder.

    python benchmarks/steps/movielens_plain.py FOLDER --epochs 10 --loader batches

The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

DIM, NUM_EDGES, MOST_WORDS, TOP = 32, 1_000, 10_000, 100


class Users(nn.Module):
    """User id, time in buckets, time standardised."""

    def __init__(self, num_users: int, layers: list[int]) -> None:
        super().__init__()
        self.id, self.bucket = nn.Embedding(num_users, DIM), nn.Embedding(NUM_EDGES + 1, DIM)
        self.dense = _dense(2 * DIM + 1, layers)

    def forward(self, rows_B: Tensor, buckets_B: Tensor, times_B1: Tensor) -> Tensor:
        found: Tensor = self.dense(torch.cat([self.id(rows_B), self.bucket(buckets_B), times_B1], dim=1))
        return found


class Titles(nn.Module):
    """Title as an id, and the mean of its words."""

    def __init__(self, num_titles: int, num_words: int, layers: list[int]) -> None:
        super().__init__()
        self.id = nn.Embedding(num_titles, DIM)
        self.words = nn.EmbeddingBag(num_words + 1, DIM, mode="mean", padding_idx=0)
        self.dense = _dense(2 * DIM, layers)

    def forward(self, rows_B: Tensor, words_BW: Tensor) -> Tensor:
        found: Tensor = self.dense(torch.cat([self.id(rows_B), self.words(words_BW)], dim=1))
        return found


def _dense(width: int, layers: list[int]) -> nn.Sequential:
    parts: list[nn.Module] = []
    for size in layers:
        linear = nn.Linear(width, size)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        parts += [linear, nn.ReLU()]
        width = size
    return nn.Sequential(*parts[:-1])


def main() -> None:
    """Train a few epochs, evaluating now and then."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layer-sizes", type=int, nargs="+", default=[64, 32])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--evaluate-every", type=int, default=5)
    parser.add_argument("--batch", type=int, default=2_048)
    parser.add_argument("--loader", choices=("rows", "batches"), default="rows", help="asked row by row, or batch by batch")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    train, test, words_NW, num_users, num_words = _columns(arguments.folder)
    users, titles = Users(num_users, arguments.layer_sizes), Titles(len(words_NW), num_words, arguments.layer_sizes)
    for table in (users.id, users.bucket, titles.id, titles.words):
        nn.init.uniform_(table.weight, -0.05, 0.05)
    parameters = [*users.parameters(), *titles.parameters()]
    optimizer = torch.optim.Adagrad(parameters, lr=0.1, initial_accumulator_value=0.1, eps=1e-7)
    dataset = TensorDataset(*train)
    loader: Iterable[list[Tensor]] = DataLoader(dataset, batch_size=arguments.batch, shuffle=True)
    if arguments.loader == "batches":
        sampler = BatchSampler(RandomSampler(dataset), arguments.batch, drop_last=False)
        loader = DataLoader(dataset, sampler=sampler, batch_size=None)
    epoch_seconds: list[float] = []
    evaluation_seconds: list[float] = []
    recalls: list[float] = []
    for epoch in range(1, arguments.epochs + 1):
        began = time.perf_counter()
        for rows_B, buckets_B, times_B1, own_B in loader:
            logits_BB = users(rows_B, buckets_B, times_B1) @ titles(own_B, words_NW[own_B]).T
            loss = functional.cross_entropy(logits_BB, torch.arange(len(own_B)), reduction="sum")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        epoch_seconds.append(time.perf_counter() - began)
        if epoch % arguments.evaluate_every == 0:
            began = time.perf_counter()
            recalls.append(_recall(users, titles, test, words_NW))
            evaluation_seconds.append(time.perf_counter() - began)
    print(json.dumps({"epoch_seconds": epoch_seconds, "evaluation_seconds": evaluation_seconds, "recall@100": recalls}))


def _columns(folder: Path) -> tuple[list[Tensor], list[Tensor], Tensor, int, int]:
    """Users, buckets of time, standardised times and titles of both parts, the words of each title, and two sizes."""
    parts = [pl.read_csv(folder / f"{name}.csv", schema_overrides={"user_id": pl.String}) for name in ("train", "test")]
    both = pl.concat(parts)
    users, times = sorted(both["user_id"].unique()), both["timestamp"].cast(pl.Float64).to_numpy()
    titles = sorted(pl.read_csv(folder / "titles.csv")["movie_title"].unique())
    user_row, title_row = ({name: row for row, name in enumerate(names)} for names in (users, titles))
    split = [re.sub(r"[^\w\s]", "", title.lower()).split() for title in titles]
    common = Counter(word for words in split for word in words).most_common(MOST_WORDS)
    word_row = {word: row for row, (word, _) in enumerate(common, start=1)}
    words_NW = torch.zeros(len(titles), max(map(len, split)), dtype=torch.int64)
    for row, words in enumerate(split):
        words_NW[row, : len(words)] = torch.tensor([word_row.get(word, 0) for word in words])
    edges = np.linspace(times.min(), times.max(), num=NUM_EDGES)
    found = []
    for part in parts:
        at = part["timestamp"].cast(pl.Float64).to_numpy()
        standard = ((at - times.mean()) / times.std()).astype(np.float32)
        found.append(
            [
                torch.tensor([user_row[user] for user in part["user_id"]]),
                torch.from_numpy(np.searchsorted(edges, at, side="right")),
                torch.from_numpy(standard)[:, None],
                torch.tensor([title_row[title] for title in part["movie_title"]]),
            ]
        )
    return found[0], found[1], words_NW, len(users), len(word_row)


@torch.inference_mode()
def _recall(users: Users, titles: Titles, test: list[Tensor], words_NW: Tensor) -> float:
    """Share of test rows whose title is among the first hundred."""
    vectors_ND = titles(torch.arange(len(words_NW)), words_NW)
    hits = 0
    for rows_B, buckets_B, times_B1, own_B in zip(*(torch.split(column, 4_096) for column in test), strict=True):
        best_BK = (users(rows_B, buckets_B, times_B1) @ vectors_ND.T).topk(TOP, dim=1).indices
        hits += int((best_BK == own_B[:, None]).any(dim=1).sum())
    return hits / len(test[0])


if __name__ == "__main__":
    main()
