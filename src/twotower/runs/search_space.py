"""What a tuning varies: the keys of ``[tune]``, or a space made from the recipe; and the recipe of a trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from twotower.errors import ConfigError, nearest
from twotower.runs.loss_config import DEFAULT_CALIBRATION
from twotower.runs.propagation_config import propagated_tables
from twotower.runs.read_recipe import parse_recipe, put_key
from twotower.runs.recipe import Recipe
from twotower.runs.recipe_values import recipe_values, value_at
from twotower.runs.tune_config import TuneKeyConfig

__all__ = ["Settings", "Space", "check_space", "default_space", "own_settings", "own_value", "search_space", "tuned_recipe"]

Space: TypeAlias = Mapping[str, TuneKeyConfig]
"""What may be tried, by dotted key of the recipe."""

Settings: TypeAlias = Mapping[str, Any]
"""The values of one trial, by the keys of the space."""

TUNED_SECTIONS = ("query", "candidate", "model", "loss", "tasks", "training")
_WITH_WIDE_TABLES = frozenset({"id", "history", "text"})
_LEARNING_RATES = {"adamw": 0.001, "adagrad": 0.1, "rowwise_adagrad": 0.1}
_OF_THE_MODEL = frozenset({"layer_sizes", "input_dropout", "hidden_dropout"})
"""Of a tower that does not say so itself."""

_WEIGHT_DECAYS = {"adamw": (0.0, 0.001, 0.01, 0.1), "adagrad": (0.0, 1e-6, 1e-5, 1e-4)}


def search_space(recipe: Recipe) -> dict[str, TuneKeyConfig]:
    """The space that a recipe asks for: its ``[tune]``, or else `default_space`.

    Raises:
        ConfigError: If a key is tuned twice, or is one that decides which rows are learned or judged.
    """
    space = dict(recipe.tune) or default_space(recipe)
    keys = list(_keys(space))
    faults = []
    for key, name in keys:
        section = name.partition(".")[0]
        if section == "warm_start":
            faults.append(f"tune: {name!r} says how a run goes on from another one, and trials begin anew: leave it out")
        elif section not in TUNED_SECTIONS and section in type(recipe).model_fields:
            faults.append(
                f"tune: {name!r} decides what is judged, and not how well: figures would not compare; keys below "
                f"{', '.join(TUNED_SECTIONS)} can be tuned"
            )
        if section not in type(recipe).model_fields:
            faults.append(f"tune: {name!r} is no key of a recipe{nearest(section, TUNED_SECTIONS)}")
        metric = "training.early_stopping.metric."
        if f"{name}.".startswith(metric) or metric.startswith(f"{name}."):
            faults.append(f"tune: {name!r} has what trials are compared by; say that with --metric")
        clash = next((other for _, other in keys if other != name and f"{name}.".startswith(f"{other}.")), None)
        if clash is not None:
            faults.append(f"tune: {name!r} is a part of {clash!r}: tune one of them")
        if sum(other == name for _, other in keys) > 1 and name != key:
            faults.append(f"tune: {name!r} comes twice: name it once")
    if faults:
        raise ConfigError(list(dict.fromkeys(faults)))
    return space


def _keys(space: Space) -> Iterator[tuple[str, str]]:
    """Every key with those that take its value."""
    for key, config in space.items():
        for name in (key, *config.also):
            yield key, name


def tuned_recipe(recipe: Recipe, space: Space, settings: Settings) -> Recipe:
    """The recipe with the values of a trial.

    Raises:
        ConfigError: If the values make no recipe; the message names the key.
    """
    values = recipe_values(recipe)
    for key, value in settings.items():
        for name in (key, *space[key].also):
            put_key(values, name, _as_written(value), said=f"tune.{key}")
    return parse_recipe(values)


def check_space(recipe: Recipe, space: Space, build: Callable[[Recipe], object] | None = None) -> dict[str, list[str]]:
    """Make the recipe at both ends of every range and for every choice, all else being as the recipe has it.

    Args:
        recipe: The recipe.
        space: What is varied.
        build: Builds what the recipe describes, and raises a `ConfigError` where it can't; None: the recipe alone is made.

    Returns:
        What is wrong, by key; empty where nothing is.
    """
    faults: dict[str, list[str]] = {}
    for key, config in space.items():
        for value in config.ends:
            try:
                found = tuned_recipe(recipe, space, {key: value})
                if build is not None:
                    build(found)
            except ConfigError as error:
                faults.setdefault(key, []).extend(f"tune.{key} = {_as_written(value)}: {fault}" for fault in error.faults)
    # a key that does not exist is one fault, and not one for each end
    return {key: _without_repeats(found) for key, found in faults.items()}


def _without_repeats(faults: Sequence[str]) -> list[str]:
    """The fault of the first value where it is the key that is wrong."""
    unknown = [fault.partition(": ")[2] for fault in faults if ": unknown key" in fault]
    return [f"tune: {unknown[0]}"] if unknown else list(dict.fromkeys(faults))


def own_settings(recipe: Recipe, space: Space) -> dict[str, Any] | None:
    """The recipe's own values of the keys of a space; None where it is not in the space, so that no trial can be the recipe.

    It is not where one of its values lies outside of the range, or where keys that are to be alike differ in it.
    """
    found = {}
    for key, config in space.items():
        value = own_value(recipe, key)
        if config.is_integer and isinstance(value, float) and value.is_integer():
            value = int(value)  # a key of decimals, and a range that has integers of them
        inside = [choice for choice in config.ends if _as_written(choice) == value] if config.choices is not None else [value]
        if not inside or not config.holds(inside[0]) or any(own_value(recipe, name) != value for name in config.also):
            return None
        found[key] = inside[0]
    return found


def own_value(recipe: Recipe, key: str) -> Any:
    """What a recipe has at a key: what it says, or what holds where it says nothing; None where nothing does.

    Example:
        >>> recipe = parse_recipe({
        ...     "name": "a", "data": {"columns": {"user": "u", "item": "i", "time": "t"}},
        ...     "query": {"features": [{"kind": "id", "column": "u"}]},
        ...     "candidate": {"features": [{"kind": "id", "column": "i"}]}})
        >>> own_value(recipe, "training.optimizer.learning_rate"), own_value(recipe, "loss.calibration")
        (0.1, None)
    """
    value = value_at(recipe, key)
    if value is not None:
        return value
    loss = recipe.loss
    if key == "training.optimizer.learning_rate":
        return _learning_rate(recipe)
    if key == "loss.calibration" and loss.kind == "gbce" and loss.extra_negatives:
        return DEFAULT_CALIBRATION
    if key == "loss.positive_temperature" and loss.kind == "bsl":
        return loss.temperature
    if key == "loss.log_q" and loss.kind in ("in_batch", "bsl"):
        return True
    side, _, of_model = key.partition(".")
    if side in ("query", "candidate") and of_model in _OF_THE_MODEL:
        return value_at(recipe, f"model.{of_model}")
    return None


def _as_written(value: Any) -> Any:
    return [_as_written(entry) for entry in value] if isinstance(value, tuple) else value


def default_space(recipe: Recipe) -> dict[str, TuneKeyConfig]:
    """A space around a recipe, of what most often matters; each range holds the recipe's own value.

    The learning rate (a tenth to ten times), that of tables that are updated by rows, the temperature (a quarter to four
    times), dropout, the width of the tables of ids, words and histories, the layers, weight decay, and the rows of a batch.
    Widths that have to agree (shared tables, features that are added to the vector, propagated ones, both towers) stay in
    agreement.
    """
    return {
        **_optimizer_space(recipe),
        **_loss_space(recipe),
        **_dropout_space(recipe),
        **_width_space(recipe),
        **_layer_space(recipe),
    }


def _learning_rate(recipe: Recipe) -> float:
    optimizer = recipe.training.optimizer
    return optimizer.learning_rate or _LEARNING_RATES[optimizer.kind]


def _optimizer_space(recipe: Recipe) -> dict[str, TuneKeyConfig]:
    optimizer = recipe.training.optimizer
    rate = _learning_rate(recipe)
    space = {"training.optimizer.learning_rate": _around(rate, 10)}
    if optimizer.sparse_learning_rate is not None:
        space["training.optimizer.sparse_learning_rate"] = _around(optimizer.sparse_learning_rate, 10)
    if optimizer.kind in _WEIGHT_DECAYS:
        decays = sorted({*_WEIGHT_DECAYS[optimizer.kind], optimizer.weight_decay})
        space["training.optimizer.weight_decay"] = TuneKeyConfig(choices=tuple(decays))
    rows = recipe.training.batch_size
    if rows >= 2:
        space["training.batch_size"] = TuneKeyConfig(choices=(rows // 2, rows, 2 * rows))
    return space


def _loss_space(recipe: Recipe) -> dict[str, TuneKeyConfig]:
    if recipe.loss.weight == 0:
        return {}
    found = _around(recipe.loss.temperature, 4)
    if recipe.model.l2_normalise:  # of scores between -1 and 1, a softmax at 1 tells little apart
        found = found.model_copy(update={"low": min(0.02, float(found.low or 0))})
    return {"loss.temperature": found}


def _around(value: float, factor: float) -> TuneKeyConfig:
    return TuneKeyConfig(low=_rounded(value / factor), high=_rounded(value * factor), log=True)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _dropout_space(recipe: Recipe) -> dict[str, TuneKeyConfig]:
    model, towers = recipe.model, (recipe.query, recipe.candidate)
    space = {}
    if any(tower.input_dropout is None for tower in towers):
        space["model.input_dropout"] = _dropout(model.input_dropout)
    hidden = [len(tower.layer_sizes if tower.layer_sizes is not None else model.layer_sizes) > 1 for tower in towers]
    if any(deep and tower.hidden_dropout is None for deep, tower in zip(hidden, towers, strict=True)):
        space["model.hidden_dropout"] = _dropout(model.hidden_dropout)
    return space


def _dropout(own: float) -> TuneKeyConfig:
    """0 to .5 in steps of .1, or whatever range and step hold the recipe's own."""
    for step in (0.1, 0.05):
        stepped = TuneKeyConfig(low=0.0, high=0.5, step=step)
        if stepped.holds(own):
            return stepped
    return TuneKeyConfig(low=0.0, high=max(0.5, own))


def _width_space(recipe: Recipe) -> dict[str, TuneKeyConfig]:
    towers = (("query", recipe.query), ("candidate", recipe.candidate))
    added = {
        entry.embedding.table or f"{side}/{entry.feature.output_name}"
        for side, tower in towers
        for entry in tower.features
        if entry.feature.output_name in tower.skip
    }
    propagated = set(propagated_tables(recipe))
    added |= propagated if added & propagated else set()
    shared = {
        entry.embedding.table for _, tower in towers for entry in tower.features if entry.feature.kind in _WITH_WIDE_TABLES
    } - {None}
    wide = [
        (f"{side}.features.{place}.embedding.dim", entry.embedding)
        for side, tower in towers
        for place, entry in enumerate(tower.features)
        if (entry.feature.kind in _WITH_WIDE_TABLES or entry.embedding.table in shared)
        and not entry.reads_candidates
        and (entry.embedding.table or f"{side}/{entry.feature.output_name}") not in added
    ]
    if not wide:
        return {}
    width = max(embedding.dim for _, embedding in wide)
    alike = [key for key, embedding in wide if embedding.dim == width]
    choices = tuple(sorted({max(1, width // 2), width, 2 * width}))
    return {alike[0]: TuneKeyConfig(choices=choices, also=tuple(alike[1:]))}


def _layer_space(recipe: Recipe) -> dict[str, TuneKeyConfig]:
    towers = (recipe.query, recipe.candidate)
    own = recipe.model.layer_sizes
    if not own or all(tower.layer_sizes is not None for tower in towers):
        return {}
    width = own[-1]
    fixed = any(tower.layer_sizes is not None or tower.skip for tower in towers)  # the width of the vector is another's too
    choices = [(width,), (2 * width, width), own, *([] if fixed else [(2 * width,)])]
    return {"model.layer_sizes": TuneKeyConfig(choices=tuple(dict.fromkeys(choices)))}
