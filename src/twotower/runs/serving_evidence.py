"""What a bundle answers, beside what the model makes of the tables that it was trained on."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.diagnosis import Clipped, Served
from twotower.evaluation import encode_catalogue, top_items
from twotower.preprocessing import BucketsFeature, FittedFeature, NumberFeature
from twotower.preprocessing.floats import clipped
from twotower.preprocessing.timestamp import to_seconds
from twotower.recommender import Recommender
from twotower.recommender.events import history_columns
from twotower.runs.load_run import LoadedRun
from twotower.runs.phase import Phase, user_frame
from twotower.runs.probe import CPU, VectorScorer, encode_rows
from twotower.types import Events, QueryColumn, gather_slices, take_column

__all__ = ["served"]

_MOST_USERS = 200
_LIST = 10


def served(loaded: LoadedRun) -> Served:
    """Compare item vectors, the lists of known users, the ranges of numbers, and what requests leave to be assumed."""
    phase, recommender = loaded.phase, loaded.recommender
    items_ND = encode_catalogue(recommender.model, phase.items, device=CPU)
    shipped_ND = recommender.item_vectors_ND
    users, differing = _users(phase, recommender, items_ND)
    return Served(
        items=len(items_ND),
        items_differing=float(_differ(shipped_ND, items_ND).double().mean()) if shipped_ND.shape == items_ND.shape else 1.0,
        users=users,
        users_differing=differing,
        clipped=_clipped(loaded),
        assumed=_assumed(loaded),
    )


def _differ(one_NK: Tensor, other_NK: Tensor) -> Tensor:
    """bool ``[N]``: rows whose difference is not small beside their length."""
    one, other = one_NK.double(), other_NK.double()
    scale = torch.maximum(one.norm(dim=1), other.norm(dim=1)).clamp_min(1e-12)
    lengths: Tensor = (one - other).norm(dim=1)
    return lengths / scale > Served.tolerance()


def _users(phase: Phase, recommender: Recommender, items_ND: Tensor) -> tuple[int, float]:
    """How many known users were asked for, and the share of them whose best scores are others than the tables give."""
    rows = np.unique(phase.tables.user_rows[phase.fit_rows])
    if len(rows) > _MOST_USERS:
        rows = np.sort(np.random.default_rng(0).choice(rows, _MOST_USERS, replace=False))
    k = min(_LIST, len(items_ND))
    answer = recommender.recommend(phase.tables.user_ids.ids[rows].to_list(), k=k, exclude_seen=False)
    served_QK = torch.zeros(len(rows), k)
    places = answer.frame.select("query", pl.col("rank") - 1)
    queries, ranks = (torch.from_numpy(places[name].to_numpy(writable=True)) for name in ("query", "rank"))
    served_QK[queries, ranks] = torch.from_numpy(answer.frame["score"].to_numpy(writable=True))
    queries_QD = encode_rows(recommender.model, _columns(phase, rows, recommender), items_ND)
    every = torch.arange(len(rows))
    best_QK = top_items(VectorScorer(queries_QD, items_ND), every, k)
    wanted_QK = (queries_QD.double() @ items_ND.double().T).gather(1, best_QK).float()
    return len(rows), float(_differ(served_QK, wanted_QK).double().mean())


def _columns(phase: Phase, rows: NDArray[np.int32], recommender: Recommender) -> dict[str, QueryColumn]:
    """The query of some users just after the last fitted row, from the tables: whole history, last context, end of train."""
    interactions = phase.tables.interactions
    schema, users = interactions.schema, torch.from_numpy(rows)
    order = interactions.order[np.isin(interactions.order, phase.fit_rows)]
    last = np.zeros(len(phase.tables.user_ids), dtype=np.int64)
    last[phase.tables.user_rows[order]] = order  # of a user's rows, in order, the last one stays
    frame = interactions.frame[last[rows]]
    if schema.time is not None and recommender.defaults.time_column == schema.time:
        end = interactions.frame[schema.time].gather(np.asarray(phase.fit_rows)).max()
        frame = frame.with_columns(pl.lit(end, dtype=frame[schema.time].dtype).alias(schema.time))
    columns: dict[str, QueryColumn] = {name: take_column(column, users) for name, column in phase.users.items()}
    columns |= phase.preprocessor.encode_context(frame)
    histories = phase.histories()
    starts, ends = histories.offsets[users], histories.ends_of(users)
    whole = Events(
        gather_slices(histories.item_rows, starts, ends - starts),
        None if histories.times is None else gather_slices(histories.times, starts, ends - starts).values,
        None,
        {name: gather_slices(rows, starts, ends - starts).values for name, rows in histories.columns.items()},
    )
    asked = None
    if schema.time is not None and any(entry.request_time for entry in phase.train.history_inputs):
        asked = torch.from_numpy(frame[schema.time].to_numpy(writable=True))
    return columns | history_columns(phase.train.history_inputs, whole, asked)


def _clipped(loaded: LoadedRun) -> tuple[Clipped, ...]:
    """Numbers and times of the query that have a fitted range, and how many test rows lie outside of it."""
    phase, tables = loaded.phase, loaded.tables
    spec, test = phase.preprocessor.spec, tables.split.test
    people = user_frame(tables)
    found = []
    for feature, of_user in [(f, True) for f in spec.user] + [(f, False) for f in spec.context]:
        config = feature.config
        ends = _range(feature)
        if ends is None:
            continue
        if config.kind == "timestamp" and config.num_edges is None and not config.standardise:
            continue  # the hour and the weekday come again
        source = config.source(people if of_user else tables.interactions.frame)
        values = to_seconds(source[tables.user_rows[test]] if of_user else source[test], config.output_name)
        if isinstance(config, NumberFeature | BucketsFeature):
            values = clipped(values, config.clip)  # what was declared is no surprise
        outside = (values < ends[0]) | (values > ends[1])
        found.append(Clipped(config.output_name, float(outside.mean()), float(ends[0]), float(ends[1])))
    return tuple(found)


def _range(feature: FittedFeature) -> tuple[float, float] | None:
    """The range that values are clipped to; None where there is none."""
    if feature.kind == "buckets":
        return feature.clip
    return (feature.minimum, feature.maximum) if feature.kind in ("number", "timestamp") else None


def _assumed(loaded: LoadedRun) -> tuple[tuple[str, float], ...]:
    spec, recommender = loaded.phase.preprocessor.spec, loaded.recommender
    frame = recommender.users.table.frame
    strict = sorted(
        {
            column
            for f in (*spec.user, *spec.context)
            if getattr(f.config, "missing", None) == "error"
            for column in f.config.source_columns
        }
    )
    return tuple(
        (name, frame[name].null_count() / max(1, frame.height))
        for name in strict
        if name in frame.columns and name != recommender.defaults.time_column
    )
