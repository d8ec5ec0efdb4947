"""The oracle that counts gives the ranks that its tiles give, rows near in time and far apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from twotower.datasets.livestream import synthesize_livestream
from twotower.evaluation import CountingScorer, Scorer, rank_positives
from twotower.runs import Recipe, load_tables
from twotower.runs.oracle import oracle_ranker
from twotower.runs.phase import bare_examples
from twotower.types import Ragged

MakeRecipe = Callable[..., Recipe]


class TilesOnly:
    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    @property
    def num_items(self) -> int:
        return self.scorer.num_items

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        return self.scorer.tiles(rows, tile_size)


@pytest.mark.parametrize("split", [{"kind": "time", "test": 900, "validation": 10}, {"kind": "random", "test": 300}])
@pytest.mark.parametrize("items", ["train", "all"])
def test_the_oracle_ranks_as_its_tiles(make_recipe: MakeRecipe, tmp_path: Path, split: dict[str, Any], items: str) -> None:
    log = tmp_path / "log.csv"
    synthesize_livestream(log, rows=8000, seed=5)
    recipe = make_recipe(
        data={
            "interactions": {"path": str(log)},
            "columns": {"user": "viewer", "item": "broadcaster", "time": None, "order": "row"},
            "catalogue": {"items": items},
        },
        query={"features": [{"kind": "id", "column": "viewer"}]},
        candidate={"features": [{"kind": "id", "column": "broadcaster"}]},
        baselines={"truth": str(log)},
        split=split,
    )
    tables = load_tables(recipe)
    fit_rows = tables.split.train
    examples = bare_examples(recipe, tables, tables.catalogue(fit_rows).rows32(tables.interactions.item_ids), tables.split.test)
    scorer = oracle_ranker(recipe, tables, fit_rows)(examples)
    assert isinstance(scorer, CountingScorer)
    rows = torch.arange(len(examples))
    assert scorer.counter(rows[:100]) is not None
    positives = Ragged(examples.item_rows, torch.arange(len(examples) + 1))
    counted = rank_positives(scorer, rows, positives, examples.seen)
    scored = rank_positives(TilesOnly(scorer), rows, positives, examples.seen)
    for found, expected in ((counted.seen_included, scored.seen_included), (counted.seen_removed, scored.seen_removed)):
        assert found.above.tolist() == expected.above.tolist()
        assert found.tied.tolist() == expected.tied.tolist()
    # positives that nobody could know to be there score 0, and tie with all that are not
    assert scored.seen_included.above.min() == 0
