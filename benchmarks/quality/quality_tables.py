"""From the files that published results are made with to tables that `twotower train` reads.

    python benchmarks/quality/quality_tables.py --data FOLDER --work build/quality

FOLDER holds ``gowalla/`` and ``beauty/`` as they are passed around; nothing of it is part of this repository. MovieLens is not
here: recipes name it, and twotower fetches it. Each data set becomes ``interactions.parquet`` and ``items.parquet`` in a folder
of its name; what is there already is kept.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["DATA_VARIABLE", "PREPARED", "beauty", "data_folder", "gowalla", "prepare"]

DATA_VARIABLE = "TWOTOWER_QUALITY_DATA"
"""Names the folder of the files where no argument does."""


def data_folder(given: Path | None = None) -> Path | None:
    """The folder of the files: as given, else as the variable says; None where neither does."""
    named = os.environ.get(DATA_VARIABLE)
    return given if given is not None or not named else Path(named)


def gowalla(source: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Gowalla as LightGCN, UltraGCN, SimpleX and BSL split it: interactions with their part, and all places.

    Args:
        source: Holds ``gowalla_train.npz`` and ``gowalla_test.npz`` (compressed sparse rows, a row per user), and
            ``valid.txt`` (``user item item ...``), the train pairs that are held out for choosing.

    Returns:
        ``user``, ``item`` and ``part`` (train, validation, test), by user and item, train before test; and ``item`` with every
        place, in the order of its number.

    Raises:
        SystemExit: If a file is missing, or a pair that is held out is no train pair.
    """
    train, num_items = _pairs(source / "gowalla_train.npz")
    test, _ = _pairs(source / "gowalla_test.npz")
    held = _listed(source / "valid.txt")
    # one number a pair, to look pairs up by
    keys = train[:, 0] * num_items + train[:, 1]
    is_held = np.isin(keys, held[:, 0] * num_items + held[:, 1])
    if is_held.sum() != len(held):
        raise SystemExit(f"{source / 'valid.txt'}: {len(held):,} pairs are held out, of which {is_held.sum():,} are in train")
    parts = [*np.where(is_held, "validation", "train").tolist(), *["test"] * len(test)]
    rows = np.concatenate([train, test])
    interactions = pl.DataFrame({"user": rows[:, 0], "item": rows[:, 1], "part": parts})
    return interactions, pl.DataFrame({"item": np.arange(num_items)})


def beauty(source: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Amazon Beauty (5-core) as S3-Rec, TIGER and BSARec read it: interactions in the order of time, and all items.

    Args:
        source: Holds ``Beauty.txt`` (``user item item ...``, in the order of time). Where ``idgenrec_user_sequence.txt`` (the
            same lines with Amazon's own ids) and ``idgenrec_item_keywords.txt`` (an id and a few words of the title) lie beside
            it, items have a ``title``.

    Returns:
        ``user`` and ``item``, users one after the other and their items in order; and ``item`` with every item.

    Raises:
        SystemExit: If a file is missing, or the two kinds of ids do not stand beside each other.
    """
    pairs = _listed(source / "Beauty.txt")
    interactions = pl.DataFrame({"user": pairs[:, 0], "item": pairs[:, 1]})
    items = interactions.select("item").unique().sort("item")
    names, words = source / "idgenrec_user_sequence.txt", source / "idgenrec_item_keywords.txt"
    if names.exists() and words.exists():
        items = items.join(_titles(pairs, names, words), on="item", how="left", maintain_order="left")
    return interactions, items


def _titles(pairs: NDArray[np.int64], names: Path, words: Path) -> pl.DataFrame:
    """``item`` and ``title``; empty text where an item has no words."""
    asins = [asin for line in names.read_text(encoding="utf-8").splitlines() for asin in line.split()[1:]]
    if len(asins) != len(pairs):
        raise SystemExit(f"{names}: {len(asins):,} items stand beside {len(pairs):,} of Beauty.txt")
    beside = pl.DataFrame({"item": pairs[:, 1], "asin": asins}).unique()
    if beside["item"].is_duplicated().any() or beside["asin"].is_duplicated().any():
        raise SystemExit(f"{names}: an item has two ids; the lines are not those of Beauty.txt")
    title_of = dict(line.partition(" ")[::2] for line in words.read_text(encoding="utf-8").splitlines())
    return beside.select("item", title=pl.Series([title_of.get(asin, "") for asin in beside["asin"]]))


PREPARED: Mapping[str, Callable[[Path], tuple[pl.DataFrame, pl.DataFrame]]] = {"gowalla": gowalla, "beauty": beauty}
"""What has to be prepared, by name: a folder of files to interactions and items."""


def prepare(name: str, data: Path | None, work: Path) -> Path:
    """Write the tables of a data set, if they are not there.

    Args:
        name: One of `PREPARED`.
        data: Holds a folder of that name with the files.
        work: Gets a folder of that name with the tables.

    Returns:
        The folder of the tables.

    Raises:
        SystemExit: If the files are needed and not there.
    """
    place = work / name
    if not (place / "items.parquet").exists():
        if data is None or not (data / name).is_dir():
            where = "no folder was given" if data is None else f"{data} has no folder {name}"
            raise SystemExit(f"{name}: the files are not part of this repository, and {where}: --data, or {DATA_VARIABLE}")
        interactions, items = PREPARED[name](data / name)
        place.mkdir(parents=True, exist_ok=True)
        for table, path in ((interactions, place / "interactions.parquet"), (items, place / "items.parquet")):
            part = path.with_suffix(".part")  # so that what an interruption leaves is not taken for a table
            table.write_parquet(part)
            part.replace(path)
    return place


def _pairs(path: Path) -> tuple[NDArray[np.int64], int]:
    """User and item of each entry of a matrix of compressed sparse rows, int64 ``[n, 2]``, and how many columns it has."""
    if not path.exists():
        raise SystemExit(f"{path} is missing")
    with np.load(path) as matrix:
        offsets, columns, shape = matrix["indptr"].astype(np.int64), matrix["indices"].astype(np.int64), matrix["shape"]
    users = np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))
    pairs = np.stack([users, columns], axis=1)
    return pairs[np.lexsort((columns, users))], int(shape[1])


def _listed(path: Path) -> NDArray[np.int64]:
    """User and item of lines ``user item item ...``, int64 ``[n, 2]``, in the order of the file."""
    if not path.exists():
        raise SystemExit(f"{path} is missing")
    lines = [np.array(line.split(), dtype=np.int64) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return np.concatenate([np.stack([np.full(len(line) - 1, line[0]), line[1:]], axis=1) for line in lines])


def main() -> None:
    """Prepare what the folder has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help=f"the folder of the files; left out, as {DATA_VARIABLE} says")
    parser.add_argument("--work", type=Path, default=Path("build/quality"), help="gets the tables")
    arguments = parser.parse_args()
    for name in PREPARED:
        place = prepare(name, data_folder(arguments.data), arguments.work)
        rows = pl.read_parquet(place / "interactions.parquet")
        items = pl.read_parquet(place / "items.parquet")
        print(f"{name}: {rows.height:,} rows of {rows['user'].n_unique():,} users, {items.height:,} items: {place}")


if __name__ == "__main__":
    main()
