"""What a tuning writes: the table of trials, and the best recipe with where it comes from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from twotower.runs.recipe import Recipe
from twotower.runs.recipe_values import recipe_toml
from twotower.runs.search_space import Space, own_value, tuned_recipe
from twotower.runs.toml_text import toml_value
from twotower.runs.trial_record import TrialRecord
from twotower.runs.tune_config import TuneKeyConfig
from twotower.training import smaller_is_better

__all__ = [
    "best_of",
    "best_recipe_toml",
    "edge_notes",
    "own_text",
    "position",
    "state_words",
    "trials_table",
    "value_text",
]

_NEAR_AN_END = 0.03
_WORDS = {
    "done": "finished",
    "pruned": "given up early",
    "failed": "failed",
    "interrupted": "interrupted",
    "running": "running",
    "waiting": "waiting",
}


def best_of(records: Sequence[TrialRecord], *, smaller: bool) -> TrialRecord | None:
    """The finished trial with the best figure, the first of equals; None if there is none.

    A trial that was given up is never it: what it would have come to is not known.
    """
    found = [(record.value, record) for record in records if record.state == "done" and record.value is not None]
    if not found:
        return None
    return min(found, key=lambda entry: (entry[0] if smaller else -entry[0], entry[1].number))[1]


def state_words(records: Sequence[TrialRecord]) -> str:
    """How many trials ended how, in words; interrupted ones are not counted, since they are tried again."""
    counts = Counter(record.state for record in records if record.state != "interrupted")
    told = [f"{counts[state]} {word}" for state, word in _WORDS.items() if counts[state]]  # type: ignore[index]
    return f"{sum(counts.values())} trials ({', '.join(told)})"


def value_text(value: Any) -> str:
    """A value as a recipe has it.

    Example:
        >>> value_text((64, 32)), value_text(0.5), value_text("adamw")
        ('[64, 32]', '0.5', '"adamw"')
    """
    return toml_value(value)


def own_text(recipe: Recipe, key: str) -> str:
    """The recipe's own value of a key, as it would be written, also where it is a default; ``not set`` where it has none."""
    value = own_value(recipe, key)
    return "not set" if value is None else value_text(value)


def trials_table(
    recipe: Recipe,
    space: Space,
    metric: str,
    records: Sequence[TrialRecord],
    best: TrialRecord | None,
    importances: Mapping[str, float],
    notes: Sequence[str],
) -> dict[str, Any]:
    """What ``trials.json`` holds."""
    return {
        "format": 1,
        "name": recipe.name,
        "metric": metric,
        "smaller_is_better": smaller_is_better(metric),
        "space": {key: config.model_dump(mode="json", exclude_defaults=True) for key, config in space.items()},
        "best": None if best is None else best.number,
        "importances": dict(importances),
        "notes": list(notes),
        "trials": [record.to_json() for record in records],
    }


def best_recipe_toml(recipe: Recipe, space: Space, metric: str, records: Sequence[TrialRecord], best: TrialRecord) -> str:
    """The recipe with the best trial's values, under the name ``NAME-tuned``; its comments say where it comes from."""
    tuned = tuned_recipe(recipe, space, best.settings).model_copy(update={"name": f"{recipe.name}-tuned"})
    assert best.end is not None
    own = next((record for record in records if record.own and record.value is not None), None)
    lines = [
        f"The best of {state_words(records)} of a tuning of {recipe.name}:",
        f"{metric} {best.value:.4f} on validation rows, trial {best.number}, epoch {best.end.epoch} of {best.end.epochs_run}.",
    ]
    if own is not None and own.number != best.number:
        lines.append(f"The recipe as it was: {own.value:.4f} (trial {own.number}).")
    elif own is not None:
        lines.append("That is the recipe as it was: nothing that was tried is better.")
    lines += [
        "It was chosen by these rows among many, so that the figure is a little too high. Test rows were not looked at:",
        "what it is worth is what twotower train finds.",
        "",
        *(f"{name} = {value_text(value)}, was {own_text(recipe, name)}" for name, value in _all_settings(space, best)),
    ]
    return recipe_toml(tuned, lines)


def _all_settings(space: Space, trial: TrialRecord) -> list[tuple[str, Any]]:
    return [(name, value) for key, value in trial.settings.items() for name in (key, *space[key].also)]


def edge_notes(best: TrialRecord, space: Space) -> list[str]:
    """Ranges at whose end the best value lies: the best of all may lie beyond."""
    return [
        f"the best {key}, {value_text(best.settings[key])}, lies at the {end} end of its range: a wider one may hold a better"
        for key, config in space.items()
        if key in best.settings and (end := _end(config, best.settings[key])) is not None
    ]


def _end(config: TuneKeyConfig, value: Any) -> str | None:
    """``lower`` or ``upper``; None within. An end that is 0, of dropout say, is where such a range has to end."""
    if config.choices is not None or config.low is None or config.high is None:
        return None
    place = position(config, value)
    if place <= _NEAR_AN_END and config.low != 0:
        return "lower"
    return "upper" if place >= 1 - _NEAR_AN_END else None


def position(config: TuneKeyConfig, value: Any) -> float:
    """Where a value lies between the ends of its range, or among the choices: from 0 to 1."""
    if config.choices is not None:
        return config.choices.index(value) / (len(config.choices) - 1)
    low, high = float(config.low or 0), float(config.high or 0)
    if config.log:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (float(value) - low) / (high - low)
