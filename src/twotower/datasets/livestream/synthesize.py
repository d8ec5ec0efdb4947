"""A planted log of live streams written to disk, in bounded memory, with what is needed to know the truth about it."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from twotower.bundle import atomic_file, atomic_folder
from twotower.bundle.atomic import remove_leftovers
from twotower.datasets.livestream.columns import livestream_frame
from twotower.datasets.livestream.truth_file import TRUTH_FILE, Truth, log_bytes, truth_folder, write_truth
from twotower.datasets.livestream.watches import World
from twotower.errors import ConfigError, DatasetError, nearest

__all__ = ["MOST_ROWS", "LivestreamFormat", "Synthesizing", "synthesize_livestream"]

LivestreamFormat: TypeAlias = Literal["csv", "parquet"]

MOST_ROWS = 2_000_000_000
_ROWS_AT_ONCE = 2**16
_GROUP_ROWS = 2**17
_FILE_ROWS = 1_000_000
_MEASURED = 20_000


class Synthesizing(NamedTuple):
    """How far the writing is.

    Attributes:
        rows: Written so far.
        rows_total: To be written.
        seconds: Since the start.
    """

    rows: int
    rows_total: int
    seconds: float


def synthesize_livestream(
    out: Path,
    *,
    rows: int,
    seed: int = 0,
    format: LivestreamFormat | None = None,
    listener: Callable[[Synthesizing], None] | None = None,
    rows_at_once: int = _ROWS_AT_ONCE,
) -> Path:
    """Write a planted log of who watched whose live stream; row order is time order.

    The log has the columns `LIVESTREAM_COLUMNS`. The same rows and seed give the same bytes. It is written whole or not at all
    under its name; what is needed to know the truth about it, `LivestreamTruth`, is written beside it, last.

    Args:
        out: The log: a file that ends in ``.csv`` or ``.parquet``, or, without a suffix, a folder of Parquet files of at most
            1,000,000 rows each. What was there is replaced; a folder only if it holds nothing else than such files.
        rows: n, in [1, 2,000,000,000].
        seed: Of everything, in [0, 2^63).
        format: None: what the suffix says.
        listener: Told how far the writing is, after every block.
        rows_at_once: Made at a time; changes memory, not the log.

    Returns:
        The folder of the truth: ``out`` with ``.truth`` after its name.

    Raises:
        ConfigError: If the rows, the seed, the format or the name is wrong.
        BundleError: If a place can't be written.
        DatasetError: If writing fails on the way; nothing is left then.
    """
    out, kind = Path(out), _format(Path(out), format)
    faults = [] if 1 <= rows <= MOST_ROWS else [f"rows must be in [1, {MOST_ROWS:,}]; came {rows:,}"]
    faults += [] if 0 <= seed < 2**63 else [f"seed must be in [0, 2^63); came {seed}"]
    folder = kind == "parquet" and not out.suffix
    faults += _in_the_way(out, "*.parquet") if folder else []
    faults += _in_the_way(truth_folder(out), TRUTH_FILE)
    if faults:
        raise ConfigError(faults)
    remove_leftovers(out.parent)
    world = World(rows, seed)
    try:
        if folder:
            with atomic_folder(out) as temporary:
                groups = _groups(world, rows_at_once, listener)
                _write_folder(temporary, groups, rows)
                _forget(truth_folder(out))
        else:
            with atomic_file(out) as temporary:
                groups = _groups(world, rows_at_once, listener)
                _write_csv(temporary, groups) if kind == "csv" else _write_parquet(temporary, groups)
                _forget(truth_folder(out))
    except OSError as error:
        raise DatasetError(f"{out} can't be written: {error.strerror or error}; check the space on the disk") from error
    return write_truth(out, _truth(out, world, seed))


def _format(out: Path, format: str | None) -> LivestreamFormat:
    suffixes: dict[str, LivestreamFormat] = {".csv": "csv", ".parquet": "parquet"}
    if format is not None and format not in get_args(LivestreamFormat):
        raise ConfigError(f"there is no format {format!r}{nearest(format, get_args(LivestreamFormat))}")
    by_suffix = suffixes.get(out.suffix)
    if format == "csv" or (format is None and by_suffix == "csv"):
        if by_suffix != "csv":
            raise ConfigError(f"a CSV file must end in .csv; came {out.name!r}")
        return "csv"
    if by_suffix == "parquet" or (format == "parquet" and not out.suffix):
        return "parquet"
    if format is None and not out.suffix:
        raise ConfigError(
            f"{out.name!r} has no suffix that tells the format: end it in .csv or .parquet, or say format parquet"
        )
    raise ConfigError(f"a log must end in .csv or .parquet, or have no suffix and be a folder of Parquet; came {out.name!r}")


def _in_the_way(folder: Path, ours: str) -> list[str]:
    if not folder.is_dir():
        return []
    strange = sorted(entry.name for entry in folder.iterdir() if not entry.match(ours))
    return (
        [f"{folder} would be replaced, and holds {strange[0]!r}, which was not written here; choose another"] if strange else []
    )


def _groups(world: World, at_once: int, listener: Callable[[Synthesizing], None] | None) -> Iterator[pl.DataFrame]:
    """The log in groups of rows that do not depend on how many are made at once."""
    started, total = time.monotonic(), world.shape.rows
    for first in range(0, total, _GROUP_ROWS):
        last = min(total, first + _GROUP_ROWS)
        blocks = []
        for start in range(first, last, at_once):
            end = min(last, start + at_once)
            blocks.append(livestream_frame(world, np.arange(start, end, dtype=np.int64)))
            if listener is not None:
                listener(Synthesizing(end, total, time.monotonic() - started))
        yield pl.concat(blocks)


def _write_csv(path: Path, groups: Iterator[pl.DataFrame]) -> None:
    with path.open("wb") as file:
        for number, group in enumerate(groups):
            file.write(group.write_csv(include_header=number == 0).encode())


def _write_parquet(path: Path, groups: Iterator[pl.DataFrame]) -> None:
    writer: pq.ParquetWriter | None = None
    with path.open("wb") as file:
        for group in groups:
            table = _arrow(group)
            writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd")
            writer.write_table(table)
        if writer is not None:
            writer.close()


def _write_folder(folder: Path, groups: Iterator[pl.DataFrame], rows: int) -> None:
    """Files of the same number of rows; what a group has over goes to the next."""
    over = pl.DataFrame()

    def of_one_file() -> Iterator[pl.DataFrame]:
        nonlocal over
        missing = _FILE_ROWS
        while missing:
            group = over if over.height else next(groups, over)
            if not group.height:
                return
            over = group.slice(missing)
            missing -= group.height - over.height
            yield group.head(group.height - over.height)

    for number in range(math.ceil(rows / _FILE_ROWS)):
        _write_parquet(folder / f"part-{number:05}.parquet", of_one_file())


def _arrow(frame: pl.DataFrame) -> pa.Table:
    table = frame.to_arrow()
    texts = (pa.large_string(), pa.string_view())
    plain = [pa.field(field.name, pa.string() if field.type in texts else field.type) for field in table.schema]
    return table.cast(pa.schema(plain))


def _forget(folder: Path) -> None:
    """Leave no truth of a log that is about to be replaced."""
    shutil.rmtree(folder, ignore_errors=True)


def _truth(out: Path, world: World, seed: int) -> Truth:
    rows = world.shape.rows
    measured = np.unique(np.linspace(0, rows - 1, min(rows, _MEASURED)).astype(np.int64))
    return Truth(
        rows=rows,
        seed=seed,
        log_bytes=log_bytes(out),
        communities=world.shape.communities,
        personal_share=round(world.tastes.personal_share(world.viewers.watching(measured)), 4),
    )
