"""What is written beside a planted log: enough to build its world again, and to see that it is that log's."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from twotower.bundle import JSON, atomic_folder, dump_json, parse_json
from twotower.errors import BundleError, DatasetError

__all__ = ["TRUTH_FILE", "Truth", "log_bytes", "read_truth", "truth_folder", "write_truth"]

TRUTH_FILE = "truth.json"
_KIND = "twotower livestream truth"
_VERSION = 1
_SUFFIX = ".truth"


class Truth(NamedTuple):
    """The world of a log.

    Attributes:
        rows: Of the log.
        seed: Of everything.
        log_bytes: Size of the log, all files.
        communities: How many communities the broadcasters form.
        personal_share: Part of the variance of taste, over rows, that the viewers' attributes do not explain.
    """

    rows: int
    seed: int
    log_bytes: int
    communities: int
    personal_share: float


def truth_folder(log: Path) -> Path:
    """Where the truth of a log is: beside it."""
    return log.parent / f"{log.name}{_SUFFIX}"


def write_truth(log: Path, truth: Truth) -> Path:
    """Write the truth beside its log; gives its folder."""
    folder = truth_folder(log)
    fields: dict[str, JSON] = {"kind": _KIND, "version": _VERSION, **truth._asdict()}
    with atomic_folder(folder) as temporary:
        (temporary / TRUTH_FILE).write_text(dump_json(fields), encoding="utf-8")
    return folder


def read_truth(path: Path) -> Truth:
    """Read the truth of a log, given the log or the truth's folder.

    Raises:
        DatasetError: If there is none, it is damaged or of another version, or the log beside it is of another size.
    """
    folder = path if path.name.endswith(_SUFFIX) else truth_folder(path)
    file = folder / TRUTH_FILE
    again = "write the log again with `twotower synth livestream`"
    try:
        found = parse_json(file.read_bytes(), source=str(file))
    except OSError:
        raise DatasetError(f"{file} must tell the truth about a planted log, and can't be read; {again}") from None
    except BundleError as error:
        raise DatasetError(f"{error}; {again}") from None
    if not isinstance(found, dict) or found.get("kind") != _KIND:
        raise DatasetError(f"{file} is not the truth about a planted log of live streams; {again}")
    if found.get("version") != _VERSION:
        raise DatasetError(f"{file} must be of version {_VERSION}; came {found.get('version')!r}: {again}")
    values = {name: found.get(name) for name in Truth._fields}
    wrong = [
        name for name, value in values.items()
        if isinstance(value, bool) or not isinstance(value, float if name == "personal_share" else int) or value < 0
    ]  # fmt: skip
    if wrong:
        raise DatasetError(f"{file} must have the number {wrong[0]!r}; came {values[wrong[0]]!r}: {again}")
    truth = Truth(**values)  # type: ignore[arg-type]
    log = folder.parent / folder.name.removesuffix(_SUFFIX)
    if log.exists():
        size = log_bytes(log)
        if size != truth.log_bytes:
            raise DatasetError(f"{log} must have {truth.log_bytes:,} bytes, as {file} says; it has {size:,}: {again}")
    return truth


def log_bytes(log: Path) -> int:
    """The size of a log, a file or a folder of files."""
    return sum(path.stat().st_size for path in log.iterdir()) if log.is_dir() else log.stat().st_size
