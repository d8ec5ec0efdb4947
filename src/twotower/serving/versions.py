"""The version that answers, and how another takes its place."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread

from twotower.bundle import activate, current_version, is_published, open_bundle, version_folder, versions
from twotower.errors import BundleError, CorruptBundleError, TwotowerError
from twotower.recommender import LiveRecommender, Recommender, Request, bundle_folder
from twotower.store import LiveStore, RedisStore

__all__ = ["Version", "Versions"]

_log = logging.getLogger("twotower.serving")
_PROBED = 8


@dataclass(frozen=True, eq=False)
class Version:
    """A model that answers.

    Attributes:
        name: Of the version.
        live: Answers.
    """

    name: str
    live: LiveRecommender


class Versions:
    """Holds the active version. Another one is loaded and tried before it takes the place of the active one, in one assignment:
    who has begun with a version ends with it.

    Args:
        model: A run folder, a bundle, or a folder of published versions.
        store: Items and interactions that outlast versions; opened with the kinds of ids that the first version has.
        poll_seconds: How often it is looked whether another process has chosen another version.

    Raises:
        BundleError: If there is no version that can be loaded.
        StoreError: If the store can't be opened.
    """

    def __init__(
        self, model: Path, open_store: Callable[[Recommender], LiveStore | RedisStore], *, poll_seconds: float
    ) -> None:
        self._model, self._poll_seconds = model, poll_seconds
        self.published = is_published(model)
        name = current_version(model).version if self.published else None
        recommender, name = _load(model, name)
        self.store = open_store(recommender)
        self._lock = Lock()
        self.swaps = self.refused = 0
        self._refused_name: str | None = None
        self.active = self._tried(recommender, name)
        self._end = Event()
        self._thread = Thread(target=self._watch, name="twotower-versions", daemon=True)
        if self.published:
            self._thread.start()

    @property
    def names(self) -> list[str]:
        """Versions that can be activated."""
        return versions(self._model) if self.published else [self.active.name]

    def activate(self, name: str) -> tuple[str, str]:
        """Load a version, try it, let it answer from now on, and make it the folder's current one.

        Returns:
            The version, and the one before.

        Raises:
            BundleError: If there is no such version, or it is broken; the active one stays.
        """
        if not self.published:
            raise BundleError(f"{self._model.name} is no folder of versions; serve one that twotower publish made")
        with self._lock:
            before = self.active.name
            version_folder(self._model, name)
            self._swap(name)
            activate(self._model, name)
            return name, before

    def close(self) -> None:
        """Stop looking for other versions, and close the store."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        self.store.close()

    def _swap(self, name: str) -> None:
        if name == self.active.name:
            return
        try:
            self.active = self._tried(*_load(self._model, name))
        except TwotowerError as error:
            self.refused += 1
            raise BundleError(f"version {name} is refused, and {self.active.name} stays: {error}") from error
        self.swaps += 1
        gc.collect()

    def _tried(self, recommender: Recommender, name: str) -> Version:
        """A version that has answered: what it caches is there, and what is broken has shown.

        A single request may be refused all the same: a query may need a value that nobody stands in for.
        """
        if not all(bool(weights.isfinite().all()) for weights in recommender.model.parameters()):
            raise CorruptBundleError("it can't answer: weights of its model are not finite")
        version = Version(name, LiveRecommender(recommender, self.store, self.store))
        users = recommender.users.table.ids.head(_PROBED).to_list()
        requests = [Request(user=user, k=10) for user in users] + [Request(features={}, k=10)]
        answers = version.live.answer(requests).answers
        if all(isinstance(answer, TwotowerError) for answer in answers):
            raise CorruptBundleError(f"it can't answer: {answers[0]}")
        return version

    def _watch(self) -> None:
        told = None
        while not self._end.wait(self._poll_seconds):
            name = None
            try:
                name = current_version(self._model).version
                if name in (self.active.name, self._refused_name):
                    continue
                with self._lock:
                    name = current_version(self._model).version
                    self._swap(name)
                self._refused_name = told = None
                _log.info("version", extra={"facts": {"version": name}})
            except TwotowerError as error:
                self._refused_name = name
                if str(error) != told:  # a damaged pointer stays damaged: once is enough
                    told = str(error)
                    _log.error("version refused", extra={"facts": {"error": told}})


def _load(model: Path, name: str | None) -> tuple[Recommender, str]:
    """The recommender of a version (None: of a run folder or a bundle), and the version's name."""
    if name is not None:
        return Recommender.load(version_folder(model, name)), name
    recommender = Recommender.load(model)
    manifest = open_bundle(bundle_folder(model)).path / "manifest.sha256"
    return recommender, f"{model.name or 'model'}-{manifest.read_text(encoding='utf-8')[:8]}"
