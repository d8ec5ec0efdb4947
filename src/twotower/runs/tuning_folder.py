"""A tuning's folder: what lies where, who may write, and what it is a tuning of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twotower.bundle import remove_leftovers
from twotower.errors import ConfigError
from twotower.runs.held_folder import held_folder
from twotower.runs.run_folder import flat_keys

__all__ = ["TuningFolder", "differences"]

_SHOWN = 3


@dataclass(frozen=True)
class TuningFolder:
    """A tuning's folder.

    ``study.sqlite`` is the storage of Optuna, from which a tuning goes on; it holds what the tuning is of. ``trials.json`` is
    the table of all trials, ``best.toml`` the best recipe so far, ``report.html`` the page.
    """

    path: Path

    @property
    def study(self) -> Path:
        return self.path / "study.sqlite"

    @property
    def trials(self) -> Path:
        return self.path / "trials.json"

    @property
    def best(self) -> Path:
        return self.path / "best.toml"

    @property
    def page(self) -> Path:
        return self.path / "report.html"

    @contextmanager
    def open(self, *, resume: bool, overwrite: bool) -> Iterator[None]:
        """Hold the folder for writing; nothing in it changes before `begin`.

        Args:
            resume: Go on with the tuning that is there; without one, a new one begins.
            overwrite: Start over where a tuning is.

        Raises:
            ConfigError: If a tuning is there and neither was asked for, or both are; if the folder holds other things or can't
                be written, or another process is tuning into it.
        """
        if resume and overwrite:
            raise ConfigError("--resume goes on with a tuning and --overwrite starts it over: give one of them")
        with held_folder(self.path, "tuning", self._refuse_foreign):
            if self.study.exists() and not (resume or overwrite):
                raise ConfigError(
                    f"--run-dir {self.path}: a tuning is there already; go on with --resume, start over with --overwrite, "
                    "or name another folder"
                )
            left = [path.name for path in (self.trials, self.best, self.page) if path.exists()]
            if left and not self.study.exists() and not overwrite:
                raise ConfigError(
                    f"--run-dir {self.path}: {', '.join(left)} would be written over, and the tuning that it is of is not "
                    f"there ({self.study.name} is missing); start over with --overwrite, or name another folder"
                )
            yield

    def begin(self, *, overwrite: bool) -> None:
        """Remove what a killed process left behind, and, where the tuning starts over, the old one."""
        remove_leftovers(self.path)
        if overwrite:
            # the storage last: what an interruption leaves of the old one is then still a tuning
            for path in (self.page, self.best, self.trials, self.study.with_name(f"{self.study.name}-journal"), self.study):
                path.unlink(missing_ok=True)

    def _refuse_foreign(self) -> None:
        ours = {path.name for path in (self.study, self.trials, self.best, self.page)} | {f"{self.study.name}-journal"}
        other = sorted(entry.name for entry in self.path.iterdir() if entry.name not in ours and not _is_hidden(entry))
        if other:
            raise ConfigError(
                f"--run-dir {self.path}: the folder holds other things than a tuning ({', '.join(other[:_SHOWN])}); name a "
                "new folder"
            )


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".")


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> Sequence[str]:
    """How what a study is of differs from what is asked for now, in words; empty where it does not.

    Args:
        stored: ``recipe``, ``space``, ``metric``, ``seed``, ``pruner``, and ``data``: the fingerprint of the tables.
        wanted: The same.
    """
    found = []
    for part in ("recipe", "space"):
        then, now = flat_keys(stored.get(part)), flat_keys(wanted.get(part))
        found += [
            f"{'tune: ' if part == 'space' else ''}{key} is {now.get(key)!r}, was {then.get(key)!r}"
            for key in sorted(then.keys() | now.keys())
            if then.get(key) != now.get(key)
        ]
    found += [
        f"{part} is {wanted.get(part)!r}, was {stored.get(part)!r}"
        for part in ("metric", "seed", "pruner")
        if stored.get(part) != wanted.get(part)
    ]
    if not found and stored.get("data") != wanted.get("data"):
        found.append("the contents of the tables, or their split, changed")
    more = len(found) - _SHOWN
    return [*found[:_SHOWN], f"and {more} more"] if more > 0 else found
