"""A Python with a peer in it, in a folder of its own: no peer shares an environment with twotower."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

__all__ = ["REQUIREMENTS", "PeerUnavailableError", "peer_environment", "peer_python"]

REQUIREMENTS = (
    "tensorflow==2.21.*",
    "tf-keras==2.21.*",
    "tensorflow-recommenders==0.7.7",
    "pandas>=2.2",
)
"""What the notebook runs on: TFRS needs Keras 2, which is tf-keras today."""

_COMPLETE = "complete"
_IMPORTS = "import pandas, tensorflow_recommenders"


class PeerUnavailableError(Exception):
    """The peer can't be installed or imported here; the message says why, in one line."""


def peer_environment() -> dict[str, str]:
    """The environment variables that TFRS needs, beside those of this process."""
    return {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


def peer_python(folder: Path, *, requirements: Sequence[str] = REQUIREMENTS, imports: str = _IMPORTS) -> Path:
    """The interpreter of the peer's environment, built first where it is not complete.

    Args:
        folder: Where the virtual environment is, or is to be: about 2 GB for TensorFlow Recommenders.
        requirements: What pip installs there; left out, TensorFlow Recommenders.
        imports: A statement that shows that it works.

    Raises:
        PeerUnavailableError: If it can't be built (no network, no wheel for this machine) or its packages can't be imported.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / _COMPLETE).exists():
        print(f"building {folder}: {', '.join(requirements)}", file=sys.stderr, flush=True)
        try:
            venv.create(folder, with_pip=True, clear=True)
        except (OSError, subprocess.CalledProcessError) as fault:
            raise PeerUnavailableError(f"no virtual environment could be made in {folder}: {fault}") from None
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])
        _run([str(python), "-W", "ignore", "-c", imports])
        (folder / _COMPLETE).touch()
    return python


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, env=peer_environment(), check=True, capture_output=True, text=True)
    except OSError as fault:
        raise PeerUnavailableError(f"{command[0]} can't be run: {fault}") from None
    except subprocess.CalledProcessError as fault:
        lines = [line for line in fault.stderr.splitlines() if line.strip()]
        raise PeerUnavailableError(f"{' '.join(command[1:4])} failed: {lines[-1] if lines else 'no message'}") from None
