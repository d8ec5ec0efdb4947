"""From a trained model to a recommender that can be shipped."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
import torch

from twotower.bundle import JSON
from twotower.data import Histories, IdTable
from twotower.evaluation import encode_catalogue
from twotower.recommender import Recommender, RequestDefaults, StoredUsers
from twotower.runs.fit_model import FittedModel
from twotower.runs.phase import Phase, user_frame
from twotower.types import Ragged

__all__ = ["recommender_of"]


def recommender_of(fitted: FittedModel, card: Mapping[str, JSON]) -> Recommender:
    """Put a trained model together with what serving needs: the catalogue and its vectors, known users, histories, defaults.

    Args:
        fitted: Moved to the CPU.
        card: What the bundle will say of itself.
    """
    phase = fitted.phase
    model = fitted.model.cpu()
    interactions = phase.tables.interactions.take(np.sort(phase.fit_rows))
    schema, spec = interactions.schema, phase.preprocessor.spec
    context_columns = sorted({column for f in spec.context for column in f.config.source_columns})
    user_columns = sorted({column for f in spec.user for column in f.config.source_columns} - {schema.user})
    users, histories = _known_users(phase, user_columns)
    latest = interactions.frame[interactions.order].group_by(schema.user, maintain_order=True).last()
    kept = [name for name in context_columns if name != schema.time]
    users = users.join(latest.select(schema.user, *kept), on=schema.user, how="left", maintain_order="left")
    if schema.time in context_columns:  # the time of a request is not that of the user's last visit
        users = users.with_columns(pl.lit(None, dtype=interactions.frame[schema.time].dtype).alias(schema.time))
    people = IdTable.from_table(users, schema.user, noun="user")
    trained = users.join(latest, on=schema.user, how="semi")
    of_users = RequestDefaults.from_train(trained, user_columns, time_column=None)
    of_context = RequestDefaults.from_train(interactions.frame, context_columns, time_column=schema.time)
    return Recommender(
        model=model,
        preprocessor=phase.preprocessor,
        catalogue=phase.catalogue,
        item_vectors_ND=encode_catalogue(model, phase.items, device=torch.device("cpu")).clone(),
        users=StoredUsers(people, histories, _disliked(phase, people)),
        defaults=RequestDefaults(of_context.time_column, {**of_users.values, **of_context.values}),
        card=card,
    )


def _known_users(phase: Phase, columns: list[str]) -> tuple[pl.DataFrame, Histories]:
    """Users of the train rows and of the users table, with their histories (empty for those without train rows)."""
    tables = phase.tables
    user = tables.user_ids.id_column
    everyone = user_frame(tables).select(user, *columns)
    trained = np.zeros(everyone.height, dtype=np.bool_)
    trained[tables.user_rows[phase.fit_rows]] = True
    known = trained if tables.users is None else trained | (tables.users.rows(tables.user_ids.ids) >= 0)
    rows = np.flatnonzero(known)
    frame, histories = everyone[rows], phase.train.histories.take(torch.from_numpy(rows))
    if tables.users is None:
        return frame, histories
    idle = tables.users.frame.filter(pl.Series(tables.user_ids.rows(tables.users.ids) < 0)).select(
        pl.col(tables.users.id_column).alias(user), *columns
    )
    offsets = torch.cat([histories.offsets, histories.offsets[-1:].expand(idle.height)])
    return pl.concat([frame, idle]), Histories(offsets, histories.item_rows, histories.first, histories.times)


def _disliked(phase: Phase, people: IdTable) -> Ragged | None:
    """What each user met and did not like: the distinct items of the rows that are no positives. None where there are none."""
    interactions = phase.tables.interactions
    negatives, schema = interactions.negatives, interactions.schema
    if schema.time is not None:  # what happened after the rows that were trained on is not known yet
        latest = interactions.frame[schema.time].gather(phase.fit_rows).max()
        negatives = negatives.filter(pl.col(schema.time) <= latest)
    if negatives.is_empty():
        return None
    pairs = np.stack([people.rows(negatives[schema.user]), phase.catalogue.rows(negatives[schema.item])], axis=1)
    pairs = np.unique(pairs[(pairs >= 0).all(axis=1)], axis=0)
    offsets = np.zeros(len(people) + 1, dtype=np.int64)
    np.cumsum(np.bincount(pairs[:, 0], minlength=len(people)), out=offsets[1:])
    return Ragged(torch.from_numpy(pairs[:, 1].astype(np.int32)), torch.from_numpy(offsets))
