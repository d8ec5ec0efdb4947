"""Peers that are not installed beside twotower: where each is kept, what it needs, and how it is built when asked."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tfrs.environment import PeerUnavailableError, peer_python

__all__ = ["PeerUnavailableError", "faiss_module", "kept_in", "rectools_python", "tfrs_or_why", "tfrs_python"]

RECTOOLS = ("torch", "rectools[torch]==0.19.*")
FAISS = ("faiss-cpu==1.15.*",)


def kept_in(name: str) -> Path:
    """Where a peer is kept unless a folder is named: in twotower's cache.

    twotower is not asked where that is: its imports would make this process, and so its children, look large.
    """
    return Path(os.environ.get("TWOTOWER_CACHE") or Path.home() / ".cache" / "twotower") / "peers" / name


def tfrs_python(folder: Path | None) -> Path:
    """The interpreter that has TensorFlow Recommenders (an environment of 2 GB is built where it is not there).

    Raises:
        PeerUnavailableError: If it can't be built.
    """
    return peer_python(folder or kept_in("tfrs-0.7.7"))


def tfrs_or_why(folder: Path | None, *, asked: bool) -> tuple[Path | None, str]:
    """The interpreter of `tfrs_python`, or None and why it is left out, which is also said on stderr.

    Args:
        folder: As for `tfrs_python`.
        asked: Whether the peer is to be measured at all.
    """
    if not asked:
        return None, "not asked for (--peer)"
    try:
        return tfrs_python(folder), ""
    except PeerUnavailableError as fault:
        print(f"the peer is left out: {fault}", file=sys.stderr, flush=True)
        return None, str(fault)


def rectools_python(folder: Path | None) -> Path:
    """The interpreter that has RecTools and PyTorch (about 1 GB).

    Raises:
        PeerUnavailableError: If it can't be built.
    """
    return peer_python(folder or kept_in("rectools-0.19"), requirements=RECTOOLS, imports="import rectools.models, torch")


def faiss_module(folder: Path | None, *, install: bool) -> Any:
    """FAISS, which runs in this process: as it is installed, or from a folder of its own.

    Args:
        folder: Where it is kept; None: in twotower's cache.
        install: Whether to install it there where it is missing.

    Raises:
        PeerUnavailableError: If it is not there, or can't be installed.
    """
    place = folder or kept_in("faiss-1.15")
    sys.path.append(str(place))  # last: what it brings along must not shadow what is here
    try:
        return importlib.import_module("faiss")
    except ModuleNotFoundError:
        if not install:
            raise PeerUnavailableError("FAISS is not installed (--peer installs it)") from None
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place), *FAISS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    importlib.invalidate_caches()
    try:
        return importlib.import_module("faiss")
    except ImportError as fault:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise PeerUnavailableError(f"FAISS: {lines[-1] if lines else fault}") from None
