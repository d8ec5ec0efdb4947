"""What the query reads of histories, as preprocessing and the model's spec say together."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from twotower.data import HistoryInput
from twotower.preprocessing import Preprocessor, SequenceFeature

__all__ = ["event_column", "history_inputs"]


def history_inputs(preprocessor: Preprocessor, item_ids: pl.Series, timed: Collection[str]) -> tuple[HistoryInput, ...]:
    """The query's features that are sliced from histories.

    Args:
        preprocessor: As fitted.
        item_ids: Of the catalogue.
        timed: Names of those whose encoder reads when events were.
    """
    lookups = preprocessor.history_lookup(item_ids)
    return tuple(
        HistoryInput(
            name=fitted.config.name,
            lookup=lookups.get(fitted.config.name),
            max_length=fitted.config.max_length,
            mode=fitted.config.mode,
            own_item=fitted.config.own_item,
            in_order=isinstance(fitted.config, SequenceFeature),
            times=fitted.config.name in timed,
            request_time=isinstance(fitted.config, SequenceFeature) and fitted.config.request_time,
            columns={column.name: event_column(fitted.config.name, column.name) for column in fitted.event_columns},
        )
        for fitted in preprocessor.spec.history
    )


def event_column(feature: str, column: str) -> str:
    """The name that a column of events has among those of the histories: features may encode one column differently."""
    return f"{feature}/{column}"
