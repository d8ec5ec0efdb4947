"""A study of Optuna, of the extra ``tune``: which values to try next, when to give a trial up. The one file that imports it.

TPE is Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (2011). The median rule gives a trial up where its best
figure is worse than the median of the others' figures at the same epoch; Hyperband is Li et al. (2018).
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from twotower.errors import ConfigError, MissingExtraError, StoreError
from twotower.runs.search_space import Settings, Space
from twotower.runs.toml_text import toml_value
from twotower.runs.trial_record import TrialEnd, TrialRecord, TrialState
from twotower.runs.tune_config import TuneKeyConfig

__all__ = ["PrunerName", "Study", "create_study", "open_study", "optuna_library", "storage_faults"]

PrunerName: TypeAlias = Literal["median", "hyperband", "none"]

_NAME = "tune"
_STARTUP = 10
"""Trials that are drawn at random before TPE has enough to go by (Optuna's own default)."""

_WAIT_S = 60


def optuna_library() -> Any:
    """The module ``optuna``, told to log warnings only.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        optuna = importlib.import_module("optuna")
    except ModuleNotFoundError as fault:
        if fault.name != "optuna":
            raise
        raise MissingExtraError("tuning needs the library optuna: pip install 'twotower[tune]'") from None
    optuna.logging.set_verbosity(logging.WARNING)
    return optuna


@contextmanager
def storage_faults(path: Path) -> Iterator[None]:
    """Turns what the libraries below raise of a storage, at whatever page they find it, into one error of ours.

    Raises:
        StoreError: If the file is damaged, or can't be read or written.
    """
    optuna = optuna_library()
    sql = importlib.import_module("sqlalchemy.exc")
    try:
        yield
    except (optuna.exceptions.StorageInternalError, sql.SQLAlchemyError, sqlite3.Error) as error:
        reason = str(getattr(error.__cause__ or error, "orig", None) or error).partition("\n")[0]
        raise StoreError(
            f"{path}: the storage can't be read or written ({reason}); where the disk is full, make room, and go on with "
            "--resume; where the file is damaged, start over with --overwrite, or name another folder"
        ) from None


def create_study(path: Path, identity: Mapping[str, Any], *, smaller: bool) -> None:
    """Make an empty study, whole or not at all.

    Args:
        path: The file; there is none yet.
        identity: What it is a study of, as JSON.
        smaller: Whether smaller figures are better.
    """
    optuna = optuna_library()
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)  # of a process that was killed
    storage = _storage(optuna, temporary)
    study = optuna.create_study(study_name=_NAME, storage=storage, direction="minimize" if smaller else "maximize")
    study.set_user_attr("identity", json.dumps(identity, sort_keys=True))
    storage.remove_session()
    storage.engine.dispose()
    temporary.replace(path)


def open_study(path: Path, space: Space, *, seed: int, pruner: PrunerName, epochs: int, every: int, parallel: bool) -> Study:
    """Open a study that is there.

    Args:
        path: The file.
        space: What is varied.
        seed: Of TPE.
        pruner: Which rule gives trials up.
        epochs: Of a whole trial.
        every: Epochs between validations.
        parallel: Whether several trials run at a time: values near those that are being tried are then less likely.

    Raises:
        StoreError: If the file is damaged, or no study of ours.
    """
    optuna = optuna_library()
    try:
        with sqlite3.connect(path, timeout=_WAIT_S) as connection:
            connection.execute("SELECT count(*) FROM studies").fetchone()
        connection.close()
        study = optuna.load_study(study_name=_NAME, storage=_storage(optuna, path))
        identity = dict(json.loads(study.user_attrs["identity"]))
    except (sqlite3.Error, optuna.exceptions.StorageInternalError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{path}: damaged, or not the storage of a tuning ({error}); start over with --overwrite, or name another folder"
        ) from None
    rules = {
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=max(2, epochs // 4)),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=min(every, epochs), max_resource=epochs),
        "none": optuna.pruners.NopPruner,
    }
    study.pruner = rules[pruner]()
    return Study(study, path, space, identity, seed, parallel)


def _storage(optuna: Any, path: Path) -> Any:
    if "?" in str(path):
        raise ConfigError(f"--run-dir {path.parent}: SQLite takes no name with a question mark; name another folder")
    # numbers of connections and retries as Optuna has them; a writer waits for another one
    return optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": _WAIT_S}})


class Study:
    """Trials and their figures, in one file that survives this process.

    Use it from one process at a time; made by `open_study`.

    Attributes:
        identity: What it is a study of.
    """

    def __init__(self, study: Any, path: Path, space: Space, identity: dict[str, Any], seed: int, parallel: bool) -> None:
        self._path = path
        self.identity = identity
        self._optuna = optuna_library()
        self._study = study
        self._space = space
        self._seed = seed
        self._parallel = parallel
        self._asked: dict[int, Any] = {}

    def queue_own(self, settings: Settings) -> None:
        """Try the recipe as it is before anything else."""
        self._study.enqueue_trial(self._params(settings), user_attrs={"own": True})

    def requeue(self) -> list[int]:
        """Mark trials that were running when their process ended as interrupted, and queue them again.

        If this is interrupted itself, the next call does what it had not done.

        Returns:
            The numbers of the trials that are queued again now.
        """
        states = self._optuna.trial.TrialState
        marked: list[int] = list(self._study.user_attrs.get("interrupted", []))
        left = [trial.number for trial in self._study.get_trials(deepcopy=False, states=(states.RUNNING,))]
        if left:
            marked += [number for number in left if number not in marked]
            self._study.set_user_attr("interrupted", marked)
            for number in left:
                self._study.tell(number, state=states.FAIL)
        trials = self._study.get_trials(deepcopy=False)
        tried = {trial.user_attrs.get("again") for trial in trials}
        for number in [number for number in marked if number not in tried]:
            cut = trials[number]
            own = {"own": True} if cut.user_attrs.get("own") else {}
            # what waited for it stands beside it: it may have ended before it had stored all of these values
            params = {**cut.system_attrs.get("fixed_params", {}), **cut.params}
            self._study.enqueue_trial(params, user_attrs={"again": number, **own})
        return [number for number in marked if number not in tried]

    def ask(self) -> tuple[int, dict[str, Any]]:
        """Begin a trial: one that waits, else one that TPE chooses.

        What is chosen is a function of the seed, of how many trials there are (interrupted ones not counted), and of their
        figures, so that a tuning that was interrupted goes on as if it had not been.
        """
        marked = self._study.user_attrs.get("interrupted", [])
        place = len(self._study.get_trials(deepcopy=False)) - len(marked)
        digest = hashlib.sha256(f"{self._seed} {place}".encode()).digest()
        self._study.sampler = self._optuna.samplers.TPESampler(
            seed=int.from_bytes(digest[:4], "little"), n_startup_trials=_STARTUP, constant_liar=self._parallel
        )
        trial = self._study.ask({key: self._distribution(config) for key, config in self._space.items()})
        self._asked[trial.number] = trial
        return trial.number, self._settings(trial.params, exact=bool(trial.user_attrs.get("own", False)))

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Keep the figure of an epoch of a running trial; returns whether the trial is to be given up."""
        trial = self._asked[number]
        trial.report(value, epoch)
        return bool(trial.should_prune())

    def tell(self, number: int, end: TrialEnd) -> None:
        """Keep how a trial ended."""
        trial = self._asked.pop(number)
        states = self._optuna.trial.TrialState
        trial.set_user_attr("end", asdict(end))
        if end.state == "done":
            self._study.tell(trial, end.value)
        else:
            self._study.tell(trial, state=states.PRUNED if end.state == "pruned" else states.FAIL)

    def records(self) -> list[TrialRecord]:
        """Every trial, in the order of their numbers."""
        marked = set(self._study.user_attrs.get("interrupted", []))
        return [self._record(trial, trial.number in marked) for trial in self._study.get_trials(deepcopy=False)]

    def importances(self) -> dict[str, float]:
        """How much of what separates good trials from the others each key explains, by PED-ANOVA; they sum to 1.

        Watanabe et al., "PED-ANOVA" (2023). Of finished trials only; empty where there are too few, or all are alike.
        """
        done = [record for record in self.records() if record.state == "done"]
        if len(done) < 4 or len({record.value for record in done}) < 2:
            return {}
        try:
            found = self._optuna.importance.get_param_importances(
                self._study, evaluator=self._optuna.importance.PedAnovaImportanceEvaluator()
            )
        except (RuntimeError, ValueError):
            return {}
        return {key: float(value) for key, value in found.items()}

    def close(self) -> None:
        """Let go of the file."""
        storage = self._study._storage
        storage.remove_session()
        backend = getattr(storage, "_backend", storage)
        backend.engine.dispose()

    def _record(self, trial: Any, interrupted: bool) -> TrialRecord:
        states = self._optuna.trial.TrialState
        names: dict[Any, TrialState] = {
            states.COMPLETE: "done",
            states.PRUNED: "pruned",
            states.FAIL: "interrupted" if interrupted else "failed",
            states.RUNNING: "running",
            states.WAITING: "waiting",
        }
        stored, own = trial.user_attrs.get("end"), bool(trial.user_attrs.get("own", False))
        known = {field.name for field in fields(TrialEnd)}
        ended = trial.state in (states.COMPLETE, states.PRUNED) or stored is not None
        if ended and (not set(self._space) <= set(trial.params) or not isinstance(stored, Mapping) or set(stored) != known):
            raise StoreError(
                f"{self._path}: damaged: trial {trial.number} ended, and its values or its figure are not there; start over "
                "with --overwrite, or name another folder"
            )
        return TrialRecord(
            number=trial.number,
            state=names[trial.state],
            settings=self._settings(trial.params, exact=own),
            curve={int(epoch): float(value) for epoch, value in trial.intermediate_values.items()},
            end=None if stored is None or interrupted else TrialEnd(**stored),
            again=trial.user_attrs.get("again"),
            own=own,
        )

    def _distribution(self, config: TuneKeyConfig) -> Any:
        kinds = self._optuna.distributions
        if config.choices is not None:
            return kinds.CategoricalDistribution([toml_value(choice) for choice in config.choices])
        if config.is_integer:
            return kinds.IntDistribution(config.low, config.high, log=config.log, step=config.step or 1)
        return kinds.FloatDistribution(config.low, config.high, log=config.log, step=config.step)

    def _params(self, settings: Settings) -> dict[str, Any]:
        """Choices as the text that Optuna has for them."""
        return {key: toml_value(value) if self._space[key].choices is not None else value for key, value in settings.items()}

    def _settings(self, params: Mapping[str, Any], *, exact: bool) -> dict[str, Any]:
        return {key: _value(self._space[key], params[key], exact=exact) for key in self._space if key in params}


def _value(config: TuneKeyConfig, param: Any, *, exact: bool) -> Any:
    """What a recipe gets: the choice itself, and of a range a number that can be read, four digits of what was drawn."""
    if config.choices is not None:
        return next(choice for choice in config.choices if toml_value(choice) == param)
    if exact or config.is_integer or config.low is None or config.high is None:
        return param
    return min(max(float(f"{param:.4g}"), float(config.low)), float(config.high))
