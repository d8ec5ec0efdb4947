"""Where twotower keeps what it can make or fetch again."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_root"]


def cache_root(cache_dir: Path | None = None) -> Path:
    """The folder of fetched data sets, converted tables and compiled kernels.

    Args:
        cache_dir: Chosen by the caller; None: ``$TWOTOWER_CACHE``, read now, else ``~/.cache/twotower``.
    """
    if cache_dir is not None:
        return cache_dir
    chosen = os.environ.get("TWOTOWER_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "twotower"
