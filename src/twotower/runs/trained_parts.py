"""A trained model put back together with the loss and the batches that it was trained with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from twotower.diagnosis import NotMade
from twotower.errors import BundleError
from twotower.losses import Temperature
from twotower.models import load_state
from twotower.runs.fit_model import OwnParts, UntrainedModel, build_model
from twotower.runs.load_run import LoadedRun
from twotower.runs.phase import fit_phase
from twotower.runs.warm_source import kept_numbers, learned_rows_of
from twotower.runs.warm_start import with_numbers
from twotower.spec import HeadSpec
from twotower.training import KeptEnd

__all__ = ["learned_temperature", "measured_parts", "selected_parts"]


def measured_parts(loaded: LoadedRun, own: OwnParts) -> UntrainedModel:
    """The model that the figures are of, with its batches and its loss: trained, whatever the name of the type says.

    Args:
        loaded: The run.
        own: Parts of one's own that it was trained with.

    Raises:
        BundleError: If a temperature was learned and the checkpoint that holds it is not there, or the checkpoint is of another
            loss.
    """
    parts = build_model(loaded.recipe, loaded.phase, own, heads=_heads(loaded))
    end = _end_of(loaded, "select" if loaded.recipe.refit == "none" else "refit")
    if end is not None:
        _load(parts, end, model=False)
    elif loaded.recipe.loss.learn_temperature:
        raise BundleError("the temperature was learned, and the checkpoint that holds it is not in the run folder")
    return replace(parts, model=loaded.recommender.model.eval())


def selected_parts(loaded: LoadedRun, own: OwnParts) -> UntrainedModel | NotMade:
    """The model that was trained on train rows alone, so that validation rows are new to it.

    Without a refit it is the one that the figures are of. With one, it is read from the checkpoint of the choice of epochs: the
    model of the figures was trained on the validation rows too.

    Raises:
        BundleError: If the checkpoint is damaged, or of another model or loss.
        CheckpointError: In its place, of a checkpoint that ranks have written.
    """
    if loaded.recipe.refit == "none":
        return measured_parts(loaded, own)
    end = _end_of(loaded, "select")
    if end is None:
        return NotMade(
            f"the model was refitted on its validation rows (refit = {loaded.recipe.refit!r}), and the checkpoint of before "
            "is not in the run folder"
        )
    numbers, learned = kept_numbers(loaded.place), learned_rows_of(loaded.place, "select")
    phase = fit_phase(
        loaded.recipe,
        loaded.tables,
        np.asarray(loaded.tables.split.train),
        learn_from=learned,
        adapt=lambda preprocessor: with_numbers(preprocessor, numbers, loaded.recipe.warm_start),
    )
    parts = build_model(loaded.recipe, phase, own, heads=_heads(loaded))
    _load(parts, end, model=True)
    parts.model.embeddings.settle()
    return replace(parts, model=parts.model.eval())


def learned_temperature(loaded: LoadedRun) -> float | None:
    """What scores were divided by at the end of the training of the measured model; None where that is not known.

    It is known where the recipe's own loss learned a temperature, and the checkpoint that holds it is in the run folder.

    Raises:
        BundleError: If the checkpoint is damaged.
        CheckpointError: In its place, of a checkpoint that ranks have written.
    """
    end = _end_of(loaded, "select" if loaded.recipe.refit == "none" else "refit")
    if end is None or not loaded.recipe.loss.learn_temperature:
        return None
    temperature = Temperature(loaded.recipe.loss.temperature, learned=True)
    prefix = "temperature."
    state = {key.removeprefix(prefix): tensor for key, tensor in end.weights("loss").items() if key.startswith(prefix)}
    try:
        load_state(temperature, state)
    except BundleError:  # a loss of one's own keeps it elsewhere, or has none
        return None
    return float(temperature.value().detach())


def _heads(loaded: LoadedRun) -> tuple[HeadSpec, ...] | None:
    """The heads of a run that went on from another one, whose moments they have; None where fitting finds them again."""
    return loaded.recommender.model.spec.heads if loaded.place.warm_start.is_dir() else None


def _end_of(loaded: LoadedRun, phase: str) -> KeptEnd | None:
    """What a training ended with."""
    return KeptEnd.of(loaded.place.checkpoints(phase))


def _load(parts: UntrainedModel, end: KeptEnd, *, model: bool) -> None:
    modules = {"loss": parts.loss, **({"model": parts.model} if model else {})}
    for name, module in modules.items():
        weights = end.weights(name)
        try:
            load_state(module, weights)
        except BundleError as error:
            raise BundleError(
                f"{end.path}: the {name} in this checkpoint is not the recipe's ({error}); pass the builder and the loss that "
                "the run "
                "was trained with"
            ) from error
