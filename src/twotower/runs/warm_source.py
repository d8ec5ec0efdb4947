"""The run that another one goes on from: opened, copied into the folder of that run, and read back from there."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from twotower.bundle import JSON, atomic_folder, dump_json, parse_json, read_tensors, write_tensors
from twotower.errors import BundleError, CheckpointError
from twotower.losses import RetrievalLoss
from twotower.models import ModelBuilder
from twotower.preprocessing import FittedFeature, FittedNumbers, numbers_of
from twotower.recommender import Recommender, bundle_folder
from twotower.runs.propagation_config import propagated_tables
from twotower.runs.read_recipe import parse_recipe
from twotower.runs.recipe import Recipe
from twotower.runs.run_folder import RunFolder
from twotower.runs.warm_model import WarmModel
from twotower.training import KeptEnd, TrainedParameters

__all__ = [
    "MakeLoss",
    "WarmSource",
    "WentOnFrom",
    "keep_learned_rows",
    "kept_numbers",
    "learned_rows_of",
    "open_source",
    "reopen_source",
    "went_on_from",
]

MakeLoss = Callable[[Recipe, int], RetrievalLoss]
"""Makes the loss of a recipe for a catalogue of some size."""

_NUMBERS = TypeAdapter(dict[str, dict[str, FittedFeature]])
_SOURCE = "source.json"
_ROWS = "rows.safetensors"


@dataclass(frozen=True, eq=False)
class WarmSource:
    """A run to go on from.

    Attributes:
        path: As it was named, absolute.
        identity: Hash of all that is taken from it.
        measured: The model that its figures are of; what this run is measured with goes on from it.
        shipped: The model that it ships, which with ``refit = "all"`` is another one; what this run ships goes on from it.
        lineage: What it went on from itself, the earliest first, and at last it: ``run``, ``recipe``, ``identity``,
            ``trained_on``.
        folders: By ``measured`` and ``shipped``: the bundles.
    """

    path: str
    identity: str
    measured: WarmModel
    shipped: WarmModel
    lineage: tuple[JSON, ...]
    folders: Mapping[str, Path]

    def keep(self, place: RunFolder) -> None:
        """Copy all that is taken into the folder of a run, whole or not at all, so that it can go on without the source."""
        numbers = numbers_of(self.measured.recommender.preprocessor.spec)
        with atomic_folder(place.warm_start) as folder:
            for name, bundle in self.folders.items():
                shutil.copytree(bundle, folder / name)
                write_tensors(folder / f"{name}.safetensors", _tensors(getattr(self, name)))
            found: dict[str, JSON] = {
                "from": self.path,
                "identity": self.identity,
                "lineage": list(self.lineage),
                "numbers": cast(JSON, _NUMBERS.dump_python(numbers, mode="json")),
            }
            (folder / _SOURCE).write_text(dump_json(found, source=_SOURCE), encoding="utf-8")

    def release(self, place: RunFolder) -> None:
        """Delete what only resuming would need; what is left says what the run went on from, and what it learned from."""
        for name in self.folders:
            shutil.rmtree(place.warm_start / name, ignore_errors=True)
            (place.warm_start / f"{name}.safetensors").unlink(missing_ok=True)


def open_source(folder: Path, *, builder: ModelBuilder, make_loss: MakeLoss) -> WarmSource:
    """Open a run, or a bundle, to go on from.

    Args:
        folder: Of either.
        builder: What built its model.
        make_loss: Makes its loss, of which the temperature may have been learned.

    Raises:
        BundleError: If it is neither, has not finished, or is damaged; or another builder built its model.
    """
    try:
        shipped_at = bundle_folder(folder)
        measured_at = folder / "measured" if (folder / "measured" / "manifest.json").is_file() else shipped_at
        shipped = Recommender.load(shipped_at, builder=builder, index="exact")
        measured = shipped if measured_at == shipped_at else Recommender.load(measured_at, builder=builder, index="exact")
    except BundleError as error:
        raise type(error)(f"--from {error}") from error
    phases = {"none": ("select", "select"), "train": ("refit", "refit"), "all": ("refit", "production")}
    of_measured, of_shipped = phases[str(cast("dict[str, Any]", shipped.card.get("recipe", {})).get("refit", "none"))]
    models = {
        "measured": _with_states(folder, measured, of_measured, make_loss),
        "shipped": _with_states(folder, shipped, of_shipped, make_loss),
    }
    if measured is shipped:
        # of a bundle alone, or of one model that is measured and shipped
        models["measured"] = models["shipped"]
    folders = {"measured": measured_at} | ({} if measured is shipped else {"shipped": shipped_at})
    digest = hashlib.sha256()
    for name, bundle in folders.items():
        digest.update((bundle / "manifest.json").read_bytes())
        for key, value in sorted(_tensors(models[name]).items()):
            digest.update(key.encode())
            digest.update(value.contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    identity = digest.hexdigest()
    before = shipped.card.get("warm_start")
    lineage = list(before["lineage"]) if isinstance(before, dict) else []
    recipe = shipped.card.get("recipe")
    entry: dict[str, JSON] = {
        "run": str(folder.resolve()),
        "recipe": recipe["name"] if isinstance(recipe, dict) else "",
        "identity": identity,
        "trained_on": str(shipped.card.get("trained_on", "")),
    }
    return WarmSource(str(folder.resolve()), identity, models["measured"], models["shipped"], (*lineage, entry), folders)


def reopen_source(place: RunFolder, *, builder: ModelBuilder) -> WarmSource | None:
    """What a run that was interrupted had gone on from, read from its own folder; None where it had begun anew.

    Raises:
        BundleError: If what was kept of it is damaged.
    """
    if not place.warm_start.is_dir():
        return None
    found = _kept(place)
    path = str(found["from"])
    folders = {name: place.warm_start / name for name in ("measured", "shipped") if (place.warm_start / name).is_dir()}
    if "measured" not in folders:
        raise BundleError(f"{place.warm_start}: what the run went on from is not there; start over with --overwrite --from RUN")
    models = {}
    for name, folder in folders.items():
        tensors = read_tensors(place.warm_start / f"{name}.safetensors")[0]
        states: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("state:"):
                parameter, _, entry = key.removeprefix("state:").rpartition(":")
                states.setdefault(parameter, {})[entry] = value
        loss = {key.removeprefix("loss:"): value for key, value in tensors.items() if key.startswith("loss:")}
        models[name] = WarmModel(path, Recommender.load(folder, builder=builder, index="exact"), loss, states)
    measured = models["measured"]
    return WarmSource(path, str(found["identity"]), measured, models.get("shipped", measured), tuple(found["lineage"]), folders)


class WentOnFrom(NamedTuple):
    """What a run had gone on from: its path, and the hash of all that was taken from it."""

    path: str
    identity: str


def went_on_from(place: RunFolder) -> WentOnFrom | None:
    """What a run had gone on from, also when it has finished; None where it had begun anew.

    Raises:
        BundleError: If what was kept of it is damaged.
    """
    if not place.warm_start.is_dir():
        return None
    found = _kept(place)
    return WentOnFrom(str(found["from"]), str(found["identity"]))


def kept_numbers(place: RunFolder) -> FittedNumbers:
    """The moments and edges that a run took over; none where it began anew.

    Raises:
        BundleError: If what was kept of them is damaged.
    """
    if not place.warm_start.is_dir():
        return {}
    try:
        return _NUMBERS.validate_python(_kept(place)["numbers"])
    except (KeyError, ValidationError) as error:
        raise BundleError(f"{place.warm_start / _SOURCE}: damaged ({error}); train the run again") from None


def keep_learned_rows(place: RunFolder, phase: str, rows: NDArray[np.int64]) -> None:
    """Remember which rows a training learns from."""
    path = place.warm_start / _ROWS
    found = read_tensors(path)[0] if path.is_file() else {}
    write_tensors(path, {**found, phase: torch.from_numpy(rows)})


def learned_rows_of(place: RunFolder, phase: str) -> NDArray[np.int64] | None:
    """Which rows a training learned from; None where it learned from all that it was fitted on.

    Raises:
        BundleError: If the file is damaged.
    """
    path = place.warm_start / _ROWS
    if not path.is_file():
        return None
    found = read_tensors(path)[0].get(phase)
    return None if found is None else found.numpy()


def _kept(place: RunFolder) -> dict[str, Any]:
    path = place.warm_start / _SOURCE
    try:
        found = parse_json(path.read_bytes(), source=str(path))
    except FileNotFoundError:
        raise BundleError(f"{path}: missing; start over with --overwrite --from RUN") from None
    if not isinstance(found, dict) or not {"from", "identity", "lineage", "numbers"} <= found.keys():
        raise BundleError(f"{path}: not what a run keeps of the one that it went on from, or damaged")
    return cast("dict[str, Any]", found)


def _with_states(folder: Path, recommender: Recommender, phase: str, make_loss: MakeLoss) -> WarmModel:
    """The model with what its run folder has of the end of its training; a bundle alone has nothing."""
    end = KeptEnd.of(RunFolder(folder).checkpoints(phase))
    values = recommender.card.get("recipe")
    if end is None or not isinstance(values, dict):
        return WarmModel(str(folder), recommender, {}, {})
    recipe = parse_recipe(values, source=f"{folder}: recipe")
    loss = make_loss(recipe, len(recommender.catalogue))
    try:
        of_end = end.weights("loss")
        learned = {name: of_end[name] for name, _ in loss.named_parameters() if name in of_end}
        trained = TrainedParameters(recommender.model, loss, recipe.training.optimizer)
        states = dict(end.states(trained))
    except (BundleError, CheckpointError) as error:
        raise type(error)(f"--from {error}; without its checkpoints, go on from {folder / 'bundle'}") from error
    # of tables that were propagated, the bundle holds what came of it, and the optimiser knew what went into it
    propagated = {id(recommender.model.embeddings.table(name)) for name in propagated_tables(recipe)}
    for name, parameter in trained.named:
        if id(parameter) in propagated:
            states.pop(name, None)
    return WarmModel(str(folder), recommender, learned, states)


def _tensors(model: WarmModel) -> dict[str, Tensor]:
    tensors = {f"loss:{name}": value for name, value in model.loss.items()}
    for parameter, entries in model.states.items():
        tensors |= {f"state:{parameter}:{entry}": value for entry, value in entries.items()}
    return tensors
