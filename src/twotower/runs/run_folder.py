"""A run's folder: what lies where, and who may write."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pydantic import ValidationError

from twotower.bundle import parse_json, remove_leftovers, write_json, write_text
from twotower.errors import ConfigError
from twotower.runs.held_folder import LOCK, folder_faults, held_folder
from twotower.runs.recipe import Recipe
from twotower.training import EpochDone, TrainingEvent, TrainingStarted

__all__ = ["WHERE_IT_RUNS", "HowToBegin", "MetricsLog", "RunFolder", "flat_keys", "without_where"]

WHERE_IT_RUNS = frozenset({"device", "training.resident_data", "training.cuda_graph"})
"""Keys of a recipe that say where it is computed, and not what: a run goes on elsewhere."""


class Keeps(Protocol):
    """What is kept in a run's folder before the run begins."""

    def keep(self, place: RunFolder) -> None:
        """Write it, whole or not at all."""
        ...


class HowToBegin(NamedTuple):
    """Whether a run is gone on with, and whether it is started over where one is."""

    resume: bool
    overwrite: bool


@dataclass(frozen=True)
class RunFolder:
    """A run's folder.

    Nothing is written before recipe and tables were found sound. ``recipe.json`` is the resolved recipe, ``data.json`` what was
    read and dropped, ``metrics.jsonl`` a line per epoch, ``checkpoints/`` the state of each training, ``judged/`` the rank of
    every test row's item, ``bundle/`` what is served, ``result.json`` the figures. ``result.json`` is written last: where it
    is, the run has finished. ``warm_start/`` is what is kept of the run that this one went on from. ``.begun`` says who
    had started the ranks that began here last what they were asked for.
    """

    path: Path

    @property
    def bundle(self) -> Path:
        return self.path / "bundle"

    @property
    def measured(self) -> Path:
        """The bundle that the figures are of, where another one is shipped (``refit = "all"``)."""
        return self.path / "measured"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def judged(self) -> Path:
        """Where every ranker put every test row's item."""
        return self.path / "judged" / "test.parquet"

    @property
    def judged_frozen(self) -> Path:
        """The same with histories frozen at the cut; there is none where they do not grow."""
        return self.path / "judged" / "test_frozen.parquet"

    def checkpoints(self, phase: str) -> Path:
        return self.path / "checkpoints" / phase

    def _forget_checkpoints(self) -> None:
        """Remove them all at once: of a half of them an older state would be gone on from."""
        folder = self.path / "checkpoints"
        if folder.exists():
            folder.rename(self.path / f".checkpoints.{uuid.uuid4().hex}.removed")
        for removed in self.path.glob(".checkpoints.*.removed"):
            shutil.rmtree(removed, ignore_errors=True)

    @property
    def data(self) -> Path:
        return self.path / "data.json"

    @property
    def begun(self) -> Path:
        """What ranks that are started again look at: whether what they are asked for has begun."""
        return self.path / ".begun"

    @property
    def warm_start(self) -> Path:
        """What is kept of the run that this one went on from; there is none where it began anew."""
        return self.path / "warm_start"

    def was_begun_by(self, agents: Iterable[str]) -> bool:
        """Whether ranks that one of these had started began what they were asked for, and nobody else came after them."""
        try:
            return bool(set(agents) & set(self.begun.read_text(encoding="utf-8").splitlines()))
        except FileNotFoundError:
            return False

    @contextmanager
    def open(
        self, recipe: Recipe, *, resume: bool, overwrite: bool, started_again_by: Iterable[str] = ()
    ) -> Iterator[HowToBegin]:
        """Hold the folder for writing; nothing in it changes before `begin`.

        Args:
            recipe: When resuming, it must be the one that is there.
            resume: Go on with what is there.
            overwrite: Start over where a run is.
            started_again_by: The agents of ranks that were asked for this before: what they had begun is gone on with.

        Raises:
            ConfigError: If a run is there and neither was asked for, or both are; if the recipe differs, the folder holds other
                things or can't be written, or another process is writing.
            BundleError: If the recipe that is there is damaged.
        """
        if resume and overwrite:
            raise ConfigError("--resume goes on with a run and --overwrite starts it over: give one of them")
        with folder_faults(self.path), held_folder(self.path, "training", self._refuse_foreign):
            if self.was_begun_by(started_again_by):
                resume, overwrite = True, False
            self._refuse_other_run(recipe, resume=resume, overwrite=overwrite)
            yield HowToBegin(resume, overwrite)

    def begin(self, recipe: Recipe, *, overwrite: bool, warm_start: Keeps | None = None, agents: Iterable[str] = ()) -> None:
        """Write the recipe: from here on, a run is here. Starting over forgets the old one, except for the bundles.

        The old bundle stays until the new one replaces it.

        Args:
            recipe: Of the run.
            overwrite: Whether to start over.
            warm_start: What the run goes on from; it is kept before the recipe is written, so that no run that can be resumed
                lacks it.
            agents: Who may start the ranks again that do this.
        """
        remove_leftovers(self.path)
        if overwrite or not self.recipe.exists():
            if warm_start is None:
                shutil.rmtree(self.warm_start, ignore_errors=True)
            else:
                warm_start.keep(self)
        if overwrite:
            self.result.unlink(missing_ok=True)
            self.metrics.unlink(missing_ok=True)
            self._forget_checkpoints()
            shutil.rmtree(self.path / "judged", ignore_errors=True)
        if not self.recipe.exists():  # else it is the old one that would be gone on with
            self._mark(agents)
        if overwrite or not self.recipe.exists():
            write_json(self.recipe, recipe.model_dump(mode="json"))
        self._mark(agents)

    def _mark(self, agents: Iterable[str]) -> None:
        said = "".join(f"{agent}\n" for agent in agents)
        if said:
            write_text(self.begun, said)
        else:
            self.begun.unlink(missing_ok=True)

    def _refuse_foreign(self) -> None:
        # what a process leaves that was killed before it had written the recipe: `begin` removes hidden temporaries
        ours = (LOCK, self.begun.name, f".{self.recipe.name}.", self.warm_start.name, f".{self.warm_start.name}.")
        if not self.recipe.exists() and any(not entry.name.startswith(ours) for entry in self.path.iterdir()):
            raise ConfigError(f"--run-dir {self.path}: the folder holds other things than a run; name a new folder")

    def _refuse_other_run(self, recipe: Recipe, *, resume: bool, overwrite: bool) -> None:
        if not self.recipe.exists() or overwrite:
            return
        if not resume:
            raise ConfigError(
                f"--run-dir {self.path}: a run is there already; go on with --resume, start over with --overwrite, "
                "or name another folder"
            )
        stored = flat_keys(_with_defaults(parse_json(self.recipe.read_bytes(), source=str(self.recipe))))
        wanted = flat_keys(recipe.model_dump(mode="json"))
        keys = sorted((stored.keys() | wanted.keys()) - WHERE_IT_RUNS)
        differing = [key for key in keys if stored.get(key) != wanted.get(key)]
        if differing:
            shown = ", ".join(f"{key} is {_shown(wanted, key)}, was {_shown(stored, key)}" for key in differing[:3])
            more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
            raise ConfigError(
                f"--run-dir {self.path}: the run there has another recipe ({shown}{more}); resume with the same one, "
                "or start over with --overwrite"
            )


def _shown(values: dict[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "not given"


def _with_defaults(values: Any) -> Any:
    """A stored recipe with the keys that recipes did not have yet when it was stored; as it is where it is no recipe."""
    try:
        return Recipe.model_validate(values).model_dump(mode="json")
    except ValidationError:
        return values


def without_where(recipe: Recipe) -> dict[str, Any]:
    """A recipe as JSON, but for where it runs."""
    found = recipe.model_dump(mode="json")
    for key in WHERE_IT_RUNS:
        *sections, name = key.split(".")
        part = found
        for section in sections:
            part = part[section]
        part.pop(name, None)
    return found


def flat_keys(value: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings and lists by their dotted keys.

    Example:
        >>> flat_keys({"a": {"b": [1, 2]}, "c": None})
        {'a.b.0': 1, 'a.b.1': 2, 'c': None}
    """
    if not isinstance(value, dict | list) or not value:
        return {prefix: value}
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    return {k: v for key, entry in entries for k, v in flat_keys(entry, f"{prefix}.{key}" if prefix else str(key)).items()}


class MetricsLog:
    """Writes ``metrics.jsonl``: one line per epoch of every phase, whole at every epoch, so that resuming repeats none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[str, list[Mapping[str, Any]]] = {}

    def listen(self, phase: str, event: TrainingEvent) -> None:
        """Take an event of a phase."""
        if isinstance(event, TrainingStarted):
            self.records[phase] = list(event.records)
        elif isinstance(event, EpochDone):
            self.records[phase].append(event.to_json())
        else:
            return
        lines = [json.dumps({"phase": name, **record}) for name, records in self.records.items() for record in records]
        write_text(self.path, "".join(f"{line}\n" for line in lines))
