"""A world of 12 users and 8 items in which even users like even items, odd users odd ones, and a tiny model of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from twotower.data import Batches, Examples, HistoryInput, build_histories
from twotower.losses import (
    GBCE,
    BilateralSoftmax,
    CountMinSketch,
    InBatchSoftmax,
    RetrievalLoss,
    StreamedLogQ,
    Temperature,
    log_q_from_counts,
)
from twotower.models import TwoTower, build
from twotower.nn import InteractionGraph, Propagation
from twotower.spec import HeadSpec, InputSpec, ModelSpec, TableSpec, TowerSpec
from twotower.training import TrainingConfig, TrainingResult, train
from twotower.types import Column, Ragged

__all__ = ["ITEMS", "TRAINING_CASES", "USERS", "World", "make_world"]

USERS, ITEMS = 12, 8
_ADAMW = {"optimizer": {"kind": "adamw", "epsilon": 0.01}}  # of gradients near 0, an epsilon near 0 makes noise
TRAINING_CASES: tuple[dict[str, Any], ...] = (
    {},
    {"update": "rows"},
    {"history": False},
    {"learned_temperature": True},
    {"reduction": "sum"},
    {"loss_kind": "log-q"},
    {"loss_kind": "sketch"},
    {"loss_kind": "corrected"},
    {"loss_kind": "bsl"},
    {"loss_kind": "gbce", "extra_negatives": 3},
    {"queue_batches": 2},
    {"extra_negatives": 3},
    {"propagation": (0.5, 0.5)},
    {"weights": torch.linspace(0.1, 1, 48)},
    {"options": {"clip_norm": 0.5}},
    {"options": _ADAMW},
    {"update": "rows", "options": _ADAMW},
    {"update": "rows", "options": {"optimizer": {"kind": "adamw", "sparse_kind": "lazy_adam", "epsilon": 0.01}}},
    {"update": "rows", "options": {"optimizer": {"kind": "rowwise_adagrad"}}},
)
"""Arguments of `make_world`: what a training on another device must end as on the CPU."""


@dataclass
class World:
    """Everything that ``train`` takes, made anew for every test."""

    model: TwoTower
    loss: RetrievalLoss
    batches: Batches
    items: dict[str, Column]
    options: dict[str, Any] = field(default_factory=dict)
    log_q: dict[str, Any] = field(default_factory=dict)

    def train(self, config: Mapping[str, Any] | None = None, **options: Any) -> TrainingResult:
        values = {"epochs": 3, "batch_size": 10, "early_stopping": None, **self.options, **(config or {})}
        defaults: dict[str, Any] = {"seed": 7, "device": torch.device("cpu")}
        return train(
            self.model,
            self.loss,
            self.batches,
            self.items,
            config=TrainingConfig.model_validate(values),
            **{**defaults, **self.log_q, **options},
        )

    def liked_first(self, model: TwoTower | None = None) -> dict[str, float]:
        """The share of users all of whose four likes come before the items that they do not like; and a finer figure."""
        found = model or self.model
        histories = self.batches.examples.histories
        users: dict[str, Column] = {
            "user": torch.arange(USERS),
            "mood": torch.zeros(USERS, 1),
            "history": Ragged(histories.item_rows, histories.offsets),
        }
        with torch.no_grad():
            scores = (found.encode_queries(users) @ found.encode_candidates(self.items).T).numpy()
        likes = (np.arange(USERS)[:, None] + np.arange(ITEMS)[None, :]) % 2 == 0
        worst = np.where(likes, scores, np.inf).min(1)
        best = np.where(likes, -np.inf, scores).max(1)
        return {"liked first": float((worst > best).mean()), "margin": float((worst - best).mean())}

    def state(self) -> dict[str, torch.Tensor]:
        modules = {"model": self.model, "loss": self.loss}
        return {f"{key}.{name}": p.detach().clone() for key, module in modules.items() for name, p in module.named_parameters()}


def make_world(
    *,
    seed: int = 0,
    update: str = "dense",
    history: bool = True,
    dropout: float = 0.0,
    learned_temperature: bool = False,
    reduction: str = "mean",
    weights: torch.Tensor | None = None,
    mood: torch.Tensor | None = None,
    options: Mapping[str, Any] | None = None,
    heads: tuple[HeadSpec, ...] = (),
    outcomes: Mapping[str, torch.Tensor] | None = None,
    queue_batches: int = 0,
    extra_negatives: int = 0,
    loss_kind: str = "in batch",
    propagation: tuple[float, ...] | None = None,
) -> World:
    users, items = np.nonzero((np.arange(USERS)[:, None] + np.arange(ITEMS)[None, :]) % 2 == 0)
    order = np.random.default_rng(0).permutation(len(users))
    histories, before = build_histories(users, items, order, num_users=USERS)
    examples = Examples(
        user_rows=torch.from_numpy(users),
        item_rows=torch.from_numpy(items),
        users={"user": torch.arange(USERS)},
        context={"mood": torch.zeros(len(users), 1) if mood is None else mood},
        histories=histories,
        before=before,
        seen_before=True,
        history_inputs=(HistoryInput("history", torch.arange(ITEMS)),),
        weights=weights,
        outcomes=outcomes or {},
    )
    tables = tuple(
        TableSpec(name=name, vocabulary_size=size, embedding_dim=4, update=update)
        for name, size in (("user", USERS), ("item", ITEMS))
    )
    query: tuple[InputSpec, ...] = (
        InputSpec(column="user", width=4, table="user", id_dropout=dropout),
        InputSpec(column="mood", width=1),
    )
    if history:
        query += (InputSpec(column="history", width=4, table="item", pooling="sum", value_dropout=dropout),)
    candidate = (InputSpec(column="item", width=4, table="item"),)
    spec = ModelSpec(
        tables=tables,
        query=TowerSpec(inputs=query, layer_sizes=(6, 4), input_dropout=dropout, hidden_dropout=dropout),
        candidate=TowerSpec(inputs=candidate, layer_sizes=(4,)),
        heads=heads,
    )
    temperature = Temperature(0.5, learned=learned_temperature)
    made: dict[str, Callable[[], RetrievalLoss]] = {
        "in batch": lambda: InBatchSoftmax(temperature, reduction=reduction),  # type: ignore[arg-type]
        "log-q": lambda: InBatchSoftmax(temperature, log_q=True),
        "sketch": lambda: InBatchSoftmax(temperature, log_q=True),
        "corrected": lambda: InBatchSoftmax(temperature, log_q="corrected"),
        "bsl": lambda: BilateralSoftmax(0.5, positive_temperature=0.8, log_q=True),
        "gbce": lambda: GBCE(temperature, sampling_rate=extra_negatives / ITEMS),
    }
    loss = made[loss_kind]()
    batches = Batches(
        examples,
        batch_size=10,
        catalogue_size=ITEMS,
        seed=seed,
        candidates="uniform" if loss.uniform_negatives else "in_batch",
        extra_negatives=extra_negatives,
        queue_batches=queue_batches,
        users=loss.needs_users,
    )
    log_q: dict[str, Any] = {}
    if loss.uses_log_q:
        log_q = {"log_q_N": log_q_from_counts(torch.bincount(examples.item_rows, minlength=ITEMS))}
    if loss_kind == "sketch":
        log_q = {"streamed_log_q": StreamedLogQ(CountMinSketch(4, 2))}
    model = build(spec, seed=seed)
    if propagation is not None:
        graph = InteractionGraph.from_pairs(users, items, num_queries=USERS, num_candidates=ITEMS)
        model.embeddings.propagate(Propagation("user", "item", graph, propagation))
    return World(model, loss, batches, {"item": torch.arange(ITEMS)}, dict(options or {}), log_q)
