"""From a trained model to a recommender that can be shipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.bundle import JSON
from twotower.data import Histories, IdTable
from twotower.data.consecutive import taken_frame
from twotower.distributed import Ranks, exchange, stream_tables
from twotower.evaluation import encode_catalogue
from twotower.models import ModelBuilder, sharded_weights
from twotower.recommender import Recommender, RequestDefaults, StoredUsers
from twotower.runs.fit_model import FittedModel
from twotower.runs.phase import Phase, user_frame
from twotower.types import Ragged

__all__ = ["recommender_of", "ship_bundle"]

_AT_ONCE = 2**20


def ship_bundle(fitted: FittedModel, card: Mapping[str, JSON], path: Path, *, builder: ModelBuilder, ranks: Ranks) -> None:
    """Write a trained model's bundle. All ranks call this, and rank 0 writes.

    Of tables that ranks share it writes rows as they come, and has no table as a whole; the vectors of the catalogue it has.

    Args:
        fitted: Moved to the CPU, but for tables that ranks share.
        card: What the bundle will say of itself; that of rank 0 counts.
        path: Of the bundle.
        builder: What built the model.
        ranks: Those that trained it.

    Raises:
        TwotowerError: On the other ranks, if rank 0 can't write, where its own error is raised.
    """
    vectors_ND = _catalogue_vectors(fitted, ranks)

    def write() -> None:
        assert vectors_ND is not None
        recommender_of(fitted, card, vectors_ND).save(path, builder=builder)

    tables = sharded_weights(fitted.model)
    if tables:
        stream_tables(list(tables.values()), write, ranks)
    elif ranks.first:
        write()


def _catalogue_vectors(fitted: FittedModel, ranks: Ranks) -> Tensor | None:
    """``[N, D]`` on the CPU of rank 0, each rank having encoded its share; None on the others."""
    model, items = fitted.model, fitted.phase.items
    device = torch.device("cpu") if model.embeddings.distant is None else fitted.device
    own_SD = encode_catalogue(model.to(device), items, device=device, ranks=ranks).cpu()
    lengths = ranks.lengths(len(own_SD))
    to_first = [len(own_SD), *[0] * (ranks.size - 1)]
    vectors_ND = exchange(ranks, own_SD, to_first, lengths if ranks.first else [0] * ranks.size)
    return vectors_ND.clone() if ranks.first else None


def recommender_of(fitted: FittedModel, card: Mapping[str, JSON], vectors_ND: Tensor | None = None) -> Recommender:
    """Put a trained model together with what serving needs: the catalogue and its vectors, known users, histories, defaults.

    Args:
        fitted: Moved to the CPU.
        card: What the bundle will say of itself.
        vectors_ND: Of the catalogue, where they are known already.
    """
    phase = fitted.phase
    model = fitted.model.cpu()
    if vectors_ND is None:
        vectors_ND = encode_catalogue(model, phase.items, device=torch.device("cpu")).clone()
    interactions = phase.tables.interactions
    schema, spec = interactions.schema, phase.preprocessor.spec
    read = {column for f in spec.context for column in f.config.source_columns}
    if schema.time is not None and any(entry.request_time for entry in model.spec.query.inputs):
        read.add(schema.time)
    context_columns = sorted(read)
    user_columns = sorted({column for f in spec.user for column in f.config.source_columns} - {schema.user})
    users, histories, latest = _known_users(phase, user_columns)
    trained = users.filter(pl.Series(latest >= 0))
    places = pl.Series(latest).set(pl.Series(latest < 0), None)
    kept = [_as_text(interactions.frame[name].gather(places)) for name in context_columns if name != schema.time]
    users = users.with_columns(kept)
    if schema.time in context_columns:  # the time of a request is not that of the user's last visit
        users = users.with_columns(pl.lit(None, dtype=interactions.frame[schema.time].dtype).alias(schema.time))
    people = IdTable(users, schema.user, "user")
    context = taken_frame(interactions.frame, interactions.in_order(phase.fit_rows))
    of_users = RequestDefaults.from_train(trained, user_columns, time_column=None)
    of_context = RequestDefaults.from_train(context, context_columns, time_column=schema.time)
    return Recommender(
        model=model,
        preprocessor=phase.preprocessor,
        catalogue=phase.catalogue,
        item_vectors_ND=vectors_ND,
        users=StoredUsers(people, histories, _disliked(phase, people)),
        defaults=RequestDefaults(of_context.time_column, {**of_users.values, **of_context.values}),
        card=card,
    )


def _known_users(phase: Phase, columns: list[str]) -> tuple[pl.DataFrame, Histories, NDArray[np.int64]]:
    """Users of the train rows and of the users table, with their histories (empty for those without train rows), and the latest
    train row of each, int64, -1 for none.
    """
    tables = phase.tables
    user = tables.user_ids.id_column
    everyone = user_frame(tables).select(user, *columns)
    latest = np.full(everyone.height, -1, dtype=np.int64)
    in_order = tables.interactions.in_order(phase.fit_rows)
    for start in range(0, len(in_order), _AT_ONCE):
        rows = in_order[start : start + _AT_ONCE]
        latest[tables.user_rows[rows]] = rows  # of a user's rows, the last one stays
    trained = latest >= 0
    known = trained if tables.users is None else trained | (tables.users.rows(tables.user_ids.ids) >= 0)
    rows = np.flatnonzero(known)
    frame, histories = everyone[rows], phase.train.histories.take(torch.from_numpy(rows))
    if tables.users is None:
        return frame, histories, latest[rows]
    idle = tables.users.frame.filter(pl.Series(tables.user_ids.rows(tables.users.ids) < 0)).select(
        pl.col(tables.users.id_column).alias(user), *columns
    )
    offsets = torch.cat([histories.offsets, histories.offsets[-1:].expand(idle.height)])
    return (
        pl.concat([frame, idle]),
        replace(histories, offsets=offsets),
        np.append(latest[rows], np.full(idle.height, -1, dtype=np.int64)),
    )


def _as_text(column: pl.Series) -> pl.Series:
    """Text where it is coded: what is stored must not depend on how the table was read."""
    return column.cast(pl.String) if column.dtype == pl.Enum else column


def _disliked(phase: Phase, people: IdTable) -> Ragged | None:
    """What each user met and did not like: the distinct items of the rows that are no positives. None where there are none."""
    interactions = phase.tables.interactions
    negatives, schema = interactions.negatives, interactions.schema
    # what happened after the rows that were trained on is not known yet
    if schema.order == "row":
        negatives = negatives.filter(pl.Series(interactions.negatives_at <= phase.fit_rows.max()))
    elif schema.time is not None:
        latest = interactions.frame[schema.time].gather(phase.fit_rows).max()
        negatives = negatives.filter(pl.col(schema.time) <= latest)
    if negatives.is_empty():
        return None
    pairs = np.stack([people.rows(negatives[schema.user]), phase.catalogue.rows(negatives[schema.item])], axis=1)
    pairs = np.unique(pairs[(pairs >= 0).all(axis=1)], axis=0)
    offsets = np.zeros(len(people) + 1, dtype=np.int64)
    np.cumsum(np.bincount(pairs[:, 0], minlength=len(people)), out=offsets[1:])
    return Ragged(torch.from_numpy(pairs[:, 1].astype(np.int32)), torch.from_numpy(offsets))
