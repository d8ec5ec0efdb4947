"""The section about baselines: its names, its lists, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from twotower.errors import ConfigError
from twotower.runs import Recipe
from twotower.runs.baselines_config import BASELINE_NAMES

MakeRecipe = Callable[..., Recipe]


def test_names_in_the_order_of_the_tables() -> None:
    wanted = ("random", "popularity", "recent_popularity", "segment_popularity", "item_neighbours", "ease", "ials")
    assert wanted == BASELINE_NAMES


def test_a_recipe_without_the_section(make_recipe: MakeRecipe) -> None:
    section = make_recipe().baselines
    assert (section.train, section.segments, section.seen) == (("popularity", "random"), None, None)


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ({"train": ["easy"]}, "baselines.train.0"),
        ({"segments": []}, "baselines.segments"),
        ({"segments": [[]]}, "baselines.segments.0"),
        ({"seen": "kept"}, "baselines.seen"),
        ({"ease": {"regularisation": []}}, "baselines.ease.regularisation"),
        ({"ease": {"regularisation": [0.0]}}, "baselines.ease.regularisation.0"),
        ({"ials": {"factors": [0]}}, "baselines.ials.factors.0"),
        ({"ials": {"alpha": [0.0]}}, "baselines.ials.alpha.0"),
        ({"ials": {"regularisation": [-1.0]}}, "baselines.ials.regularisation.0"),
        ({"ials": {"iterations": [0]}}, "baselines.ials.iterations.0"),
        ({"item_neighbours": {"shrinkage": [-1.0]}}, "baselines.item_neighbours.shrinkage.0"),
        ({"item_neighbours": {"neighbours": [0]}}, "baselines.item_neighbours.neighbours.0"),
        ({"recent_popularity": {"half_life_fraction": [0.0]}}, "baselines.recent_popularity.half_life_fraction.0"),
        ({"segment_popularity": {"strength": [0.0]}}, "baselines.segment_popularity.strength.0"),
        ({"knn": {}}, "baselines.knn"),
    ],
)
def test_faults_name_their_key(make_recipe: MakeRecipe, section: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(fault)):
        make_recipe(baselines=section)
