"""A run's folder: what lies where, and who may write."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twotower.bundle import remove_leftovers, write_json, write_text
from twotower.errors import ConfigError
from twotower.runs.recipe import Recipe
from twotower.training import EpochDone, TrainingEvent, TrainingStarted

__all__ = ["MetricsLog", "RunFolder"]


@dataclass(frozen=True)
class RunFolder:
    """A run's folder.

    ``recipe.json`` is the resolved recipe, ``data.json`` what was read and dropped, ``metrics.jsonl`` a line per epoch,
    ``checkpoints/`` the state of each training, ``result.json`` the figures, ``bundle/`` what is served. ``result.json`` is
    written last: where it is, the run has finished.
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

    def checkpoints(self, phase: str) -> Path:
        return self.path / "checkpoints" / phase

    @contextmanager
    def open(self, recipe: Recipe, *, resume: bool, overwrite: bool) -> Iterator[None]:
        """Hold the folder for writing.

        Args:
            recipe: Written into it; when resuming, it must be the one that is there.
            resume: Go on with what is there.
            overwrite: Start over where a run is; its bundle stays until the new one replaces it.

        Raises:
            ConfigError: If a run is there and neither was asked for, if the recipe differs, or another process is writing.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--run-dir {self.path}: can't be made a folder: {error.strerror}") from None
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConfigError(f"--run-dir {self.path}: another process is training into it") from None
            self._prepare(recipe, resume=resume, overwrite=overwrite)
            yield

    def _prepare(self, recipe: Recipe, *, resume: bool, overwrite: bool) -> None:
        wanted = recipe.model_dump(mode="json")
        if self.recipe.exists():
            if not resume and not overwrite:
                raise ConfigError(
                    f"--run-dir {self.path}: a run is there already; go on with --resume, start over with --overwrite, "
                    "or name another folder"
                )
            if resume and not overwrite and json.loads(self.recipe.read_text(encoding="utf-8")) != wanted:
                raise ConfigError(
                    f"--run-dir {self.path}: the run there has another recipe (see {self.recipe}); "
                    "resume with the same one, or start over with --overwrite"
                )
        elif any(entry.name != ".lock" for entry in self.path.iterdir()):
            raise ConfigError(f"--run-dir {self.path}: the folder holds other things; name a new one")
        remove_leftovers(self.path)
        if overwrite or not self.recipe.exists():
            self.result.unlink(missing_ok=True)
            write_json(self.recipe, wanted)


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
