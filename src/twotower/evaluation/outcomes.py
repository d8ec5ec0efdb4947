"""What a model's head says of rows whose outcome is known."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.data.examples import Examples
from twotower.evaluation.model_scorer import encode_catalogue
from twotower.models import TwoTower
from twotower.types import Features, column_to

__all__ = ["predict_outcomes"]

_ROWS_AT_ONCE = 4096


def predict_outcomes(
    model: TwoTower, items: Features, examples: Examples, *, head: str, device: torch.device
) -> NDArray[np.float64]:
    """The outcome of every row as a head predicts it, from the row's own context, history and item.

    Args:
        model: In evaluation mode, on the device.
        items: Features of the whole catalogue.
        examples: The rows.
        head: Name of the task.
        device: Where the model is.

    Returns:
        In the units of the table, float64 ``[n]``; NaN for a row whose item the catalogue lacks.

    Raises:
        KeyError: If the model has no such head.
        ValueError: If the model is in training mode.
    """
    predictor = model.head(head)
    vectors_ND = encode_catalogue(model, items, device=device)
    found = np.full(len(examples), np.nan)
    known = (examples.item_rows >= 0).nonzero().flatten()
    with torch.inference_mode():
        for start in range(0, len(known), _ROWS_AT_ONCE):
            rows = known[start : start + _ROWS_AT_ONCE]
            columns = examples.queries(rows, training=False)
            columns = {name: column_to(column, device) for name, column in columns.items()}
            queries_BD = model.encode_queries_with_items(columns, vectors_ND)
            own_BD = vectors_ND[examples.item_rows[rows].to(device)]
            found[rows.numpy()] = predictor.predict(predictor(queries_BD, own_BD)).numpy()
    return found
