"""Figures of a report that follow from a model's vectors: scores, lengths, and the map of the catalogue."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.evaluation import ModelScorer
from twotower.reports import Distribution, ItemMap, VectorFigures
from twotower.runs.load_run import LoadedRun
from twotower.runs.report_items import ItemGroups, ItemTexts
from twotower.runs.trained_parts import learned_temperature
from twotower.types import column_to

__all__ = ["item_map", "vector_figures"]

_QUERIES, _RANDOM_ITEMS, _BINS, _AT_ONCE = 1000, 10, 40, 128
_MOST_POINTS = 2500
_ROUNDING = 1e-6


def vector_figures(loaded: LoadedRun, scorer: ModelScorer, *, seed: int) -> VectorFigures | None:
    """Scores of test rows' own items and of random ones, lengths of vectors, how sharp the softmax is.

    Args:
        loaded: The run.
        scorer: Of its model, for its test rows.
        seed: Of the rows and the random items.

    Returns:
        None where no test row's item is in the catalogue.
    """
    examples, size = scorer.examples, scorer.num_items
    generator = np.random.default_rng([seed, 7])
    known = np.flatnonzero(examples.item_rows.numpy() >= 0)
    if not known.size:
        return None
    rows = torch.from_numpy(np.sort(generator.choice(known, min(_QUERIES, known.size), replace=False)))
    temperature, note = _temperature(loaded)
    own, drawn, spreads, perplexities, lengths = [], [], [], [], []
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        scores_BN = torch.cat([tile_BT for _, tile_BT in scorer.tiles(part, 65_536)], dim=1).double()
        own.append(scores_BN.gather(1, examples.item_rows[part].unsqueeze(1)).squeeze(1))
        others_BR = torch.from_numpy(generator.integers(0, size, size=(len(part), _RANDOM_ITEMS)))
        drawn.append(scores_BN.gather(1, others_BR))
        logits_BN = scores_BN / temperature
        spreads.append(logits_BN.std(dim=1, correction=0))
        log_p_BN = logits_BN.log_softmax(dim=1)
        perplexities.append((-(log_p_BN.exp() * log_p_BN).sum(dim=1)).exp())
        lengths.append(_query_lengths(scorer, part))
    own_Q, drawn_QR = torch.cat(own), torch.cat(drawn)
    ordered = ((own_Q.unsqueeze(1) > drawn_QR).double() + 0.5 * (own_Q.unsqueeze(1) == drawn_QR).double()).mean()
    scores = _distributions({"own items": own_Q.numpy(), "random items": drawn_QR.reshape(-1).numpy()})
    candidate_lengths = scorer.vectors_ND.double().norm(dim=1).cpu().numpy()
    norms = _distributions({"queries": torch.cat(lengths).numpy(), "candidates": candidate_lengths})
    return VectorFigures(
        queries=len(rows),
        scores=(scores[0], scores[1]),
        ordered_fraction=float(ordered),
        logit_spread=float(torch.cat(spreads).mean()),
        perplexity=float(torch.cat(perplexities).mean()),
        temperature=temperature,
        temperature_note=note,
        query_norms=norms[0],
        candidate_norms=norms[1],
        norm_popularity=_correlation(candidate_lengths, np.log1p(loaded.phase.item_counts)),
    )


def item_map(loaded: LoadedRun, vectors_ND: Tensor, groups: ItemGroups, texts: ItemTexts, *, seed: int) -> ItemMap | None:
    """The catalogue's vectors on their first two principal components.

    The components are those of the whole catalogue; of more than 2,500 items so many are drawn to be shown. Each component's
    sign is that which makes its largest loading positive, so that the same vectors give the same map.

    Returns:
        None for vectors of one dimension, or that are all alike.
    """
    vectors = vectors_ND.detach().cpu().double()
    centred_ND = vectors - vectors.mean(dim=0)
    # vectors that differ by rounding alone are all alike: stretched over the map, the rounding would look like a world
    if centred_ND.shape[1] < 2 or float(centred_ND.abs().max()) <= _ROUNDING * float(vectors.abs().max()):
        return None
    # the eigenvectors of a D x D matrix: a catalogue of any size costs no more memory than its vectors
    variances_D, axes_DD = torch.linalg.eigh(centred_ND.T @ centred_ND)
    axes_D2 = axes_DD[:, [-1, -2]]
    largest = axes_D2.abs().argmax(dim=0)
    axes_D2 = axes_D2 * torch.where(axes_D2[largest, torch.arange(2)] < 0, -1.0, 1.0)
    places_N2 = (centred_ND @ axes_D2).numpy()
    shares = (variances_D[[-1, -2]].clamp(min=0) / variances_D.clamp(min=0).sum()).tolist()
    size = len(places_N2)
    rows = np.arange(size)
    if size > _MOST_POINTS:
        rows = np.sort(np.random.default_rng([seed, 8]).choice(size, _MOST_POINTS, replace=False))
    main = texts.main_categories() if texts.category_column is not None else []
    return ItemMap(
        of=size,
        variance=(shares[0], shares[1]),
        x=tuple(round(float(x), 5) for x in places_N2[rows, 0]),
        y=tuple(round(float(y), 5) for y in places_N2[rows, 1]),
        titles=tuple(texts.titles[row] for row in rows),
        counts=tuple(int(count) for count in loaded.phase.item_counts[rows]),
        popularity=tuple(groups.names[group] for group in groups.group_of[rows]),
        category_column=texts.category_column,
        categories=tuple(main[row] for row in rows) if main else (),
    )


def _query_lengths(scorer: ModelScorer, rows: Tensor) -> Tensor:
    columns = scorer.examples.queries(rows, training=False)
    with torch.inference_mode():
        columns = {name: column_to(column, scorer.device) for name, column in columns.items()}
        queries_BD = scorer.model.encode_queries_with_items(columns, scorer.vectors_ND.to(scorer.device))
    lengths_B: Tensor = torch.linalg.vector_norm(queries_BD.double(), dim=1)
    return lengths_B.cpu()


def _temperature(loaded: LoadedRun) -> tuple[float, str]:
    """What the scores were divided by in training, as far as the run tells."""
    learned = learned_temperature(loaded)
    if learned is not None:
        return learned, "learned: at the end of training"
    note = "where learning started" if loaded.recipe.loss.learn_temperature else "of the recipe"
    return loaded.recipe.loss.temperature, note


def _distributions(values: dict[str, NDArray[np.float64]]) -> list[Distribution]:
    """Histograms with common bins, over what lies between the 0.1% and the 99.9% points; the rest is in the end bins."""
    low = min(float(np.quantile(each, 0.001)) for each in values.values())
    high = max(float(np.quantile(each, 0.999)) for each in values.values())
    if high - low <= 1e-9 * max(1.0, abs(low), abs(high)):
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    found = []
    for name, each in values.items():
        counts, _ = np.histogram(np.clip(each, low, high), bins=edges)
        found.append(
            Distribution(
                name=name,
                count=int(each.size),
                mean=float(each.mean()),
                std=float(each.std()),
                edges=tuple(float(f"{edge:.6g}") for edge in edges),
                shares=tuple(float(share) for share in counts / each.size),
            )
        )
    return found


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    if len(first) < 2 or np.ptp(first) <= 1e-6 * abs(float(first.mean())) or np.ptp(second) == 0.0:
        return None
    return float(np.corrcoef(first, second)[0, 1])
