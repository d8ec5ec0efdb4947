"""What a model's head says of rows whose outcome is known."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.data.examples import Examples
from twotower.distributed import ALONE, Ranks, fetch_rows, require_same
from twotower.evaluation.model_scorer import encode_catalogue
from twotower.models import TwoTower, rows_read, with_places
from twotower.types import Features, QueryFeatures, column_to

__all__ = ["predict_outcomes"]

_ROWS_AT_ONCE = 4096


def predict_outcomes(
    model: TwoTower, items: Features, examples: Examples, *, head: str, device: torch.device, ranks: Ranks = ALONE
) -> NDArray[np.float64]:
    """The outcome of every row as a head predicts it, from the row's own context, history and item.

    Args:
        model: In evaluation mode, on the device.
        items: Features of the whole catalogue.
        examples: The rows.
        head: Name of the task.
        device: Where the model is.
        ranks: Who predicts; every rank calls with the same rows, encodes its share of the catalogue, and takes its turn with
            the rows, of whose items it fetches the vectors. All get the answer of one process.

    Returns:
        In the units of the table, float64 ``[n]``; NaN for a row whose item the catalogue lacks.

    Raises:
        KeyError: If the model has no such head.
        ValueError: If the model is in training mode, or ranks have other rows than others.
    """
    predictor, names = model.head(head), model.item_columns
    known = (examples.item_rows >= 0).nonzero().flatten()
    require_same(ranks, "the rows whose outcome is predicted", known, examples.item_rows)
    vectors_SD = encode_catalogue(model, items, device=device, ranks=ranks)
    lengths = ranks.lengths(len(vectors_SD))
    blocks = [known[start : start + _ROWS_AT_ONCE] for start in range(0, len(known), _ROWS_AT_ONCE)]
    found = [torch.empty(0, dtype=torch.float64)]
    with torch.inference_mode():
        for start in range(0, len(blocks), ranks.size):
            turn = blocks[start : start + ranks.size]
            # who has nothing to do predicts a row that nobody asks for
            rows = turn[ranks.rank] if ranks.rank < len(turn) else turn[0][:1]
            columns, own = examples.queries(rows, training=False), examples.item_rows[rows].long()
            features: QueryFeatures = {name: column_to(column, device) for name, column in columns.items()}
            vectors_VD = vectors_SD
            if ranks.size > 1:
                read: Tensor = torch.unique(torch.cat([own, *([rows_read(columns, names)] if names else [])]))
                vectors_VD, features = (
                    fetch_rows(ranks, vectors_SD, lengths, read),
                    with_places(features, names, read.to(device)),
                )
                own = torch.searchsorted(read, own)
            queries_BD = model.encode_queries_with_items(features, vectors_VD)
            own_BD = vectors_VD[own.to(device)]
            predicted = predictor.predict(predictor(queries_BD, own_BD)).cpu().double()
            sizes = [len(each) for each in turn] + [0] * (ranks.size - len(turn))
            found.append(ranks.gather(predicted[: sizes[ranks.rank]], sizes))
    outcomes = np.full(len(examples), np.nan)
    outcomes[known.numpy()] = torch.cat(found).numpy()
    return outcomes
