"""An approximate index beside a bundle: written whole, read back only as it was written."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from torch import Tensor

from twotower.bundle import JSON, open_bundle, write_bundle
from twotower.errors import ConfigError, CorruptBundleError, DataError
from twotower.index import HNSWIndex, IndexState, IVFPQIndex, VectorIndex

__all__ = ["index_folder", "read_index", "remove_index", "write_index"]

_PART = "index"


def write_index(folder: Path, state: IndexState, card: Mapping[str, JSON]) -> None:
    """Write an index as a bundle of its own, atomically.

    Args:
        folder: Replaced when it is one.
        state: The index.
        card: What it says of itself: how it was tuned.
    """
    with write_bundle(folder, card={"config": cast(JSON, dict(state.config)), **card}) as writer:
        writer.tensors(_PART, state.tensors)


def read_index(folder: Path, vectors_ND: Tensor) -> VectorIndex:
    """Read an index back; every byte is held to its checksum first.

    Args:
        folder: Where it is.
        vectors_ND: That it was built over.

    Raises:
        BundleError: If it is damaged, of other vectors, or of a newer format.
        MissingExtraError: If what it needs is not installed.
    """
    bundle = open_bundle(folder)
    config = bundle.card.get("config")
    if not isinstance(config, dict):
        raise CorruptBundleError(f"{folder}: not an index; build it anew: twotower index RUN")
    kinds = {"hnsw": HNSWIndex, "ivf-pq": IVFPQIndex}
    kind = str(config.get("kind")).replace("_", "-")
    if kind not in kinds:
        raise CorruptBundleError(f"{folder}: an index of an unknown kind, {kind!r}; build it anew: twotower index RUN")
    try:
        return kinds[kind].from_state(vectors_ND, bundle.tensors(_PART), config)  # type: ignore[attr-defined,no-any-return]
    except (CorruptBundleError, ValueError, DataError) as error:
        raise CorruptBundleError(f"{folder}: {error}; build it anew: twotower index RUN") from error


def index_folder(run: Path) -> Path:
    """Where a run's index is, or will be.

    Raises:
        ConfigError: If this is a bundle without its run folder: a bundle holds nothing beside its parts.
    """
    if (run / "manifest.json").is_file():
        raise ConfigError(f"{run} is a bundle; an index lies beside one: name the folder that holds {run.name}/")
    return run / "index"


def remove_index(run: Path) -> bool:
    """Remove a run's index, so that it is searched exactly; whether there was one."""
    folder = index_folder(run)
    if not folder.is_dir():
        return False
    gone = folder.with_name(f".{folder.name}.removed")
    folder.replace(gone)  # never half of it
    shutil.rmtree(gone)
    return True
