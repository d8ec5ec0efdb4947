"""Vectors of items and users, for stores of vectors that are not ours."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import twotower
from twotower.bundle import JSON, atomic_file, atomic_folder, remove_leftovers, write_json
from twotower.errors import ConfigError
from twotower.export.place import require_free
from twotower.export.vector_files import VectorBlock, VectorLayout, write_matrix, write_table
from twotower.models import ModelBuilder, build
from twotower.recommender import Recommender, bundle_folder

__all__ = ["VECTORS_FORMAT", "VECTORS_SIGNATURE", "VectorsDone", "VectorsExport", "export_vectors"]

VECTORS_FORMAT = "twotower-vectors"
"""What ``vectors.json`` of every folder of vectors says it is."""

VECTORS_SIGNATURE = "vectors.json"

_ITEMS_AT_ONCE, _USERS_AT_ONCE = 2**15, 2**12


@dataclass(frozen=True)
class VectorsDone:
    """How far an export is.

    Attributes:
        noun: What is written: ``items`` or ``users``.
        rows: How many are.
        total: How many there are.
    """

    noun: str
    rows: int
    total: int


@dataclass(frozen=True)
class VectorsExport:
    """What was written.

    Attributes:
        path: The file, or the folder.
        items: How many vectors of items.
        users: How many of users; None: none were asked for.
        width: D.
        size_bytes: Of all files.
    """

    path: Path
    items: int
    users: int | None
    width: int
    size_bytes: int


def export_vectors(
    run: str | Path,
    out: str | Path,
    *,
    users: bool = False,
    layout: VectorLayout = "parquet",
    builder: ModelBuilder = build,
    listener: Callable[[VectorsDone], None] = lambda _: None,
) -> VectorsExport:
    """Write the vectors of all items, and of all users that the bundle knows, with their ids.

    A user's vector is that of a request which gives the id and nothing else: with the history as it is stored, at the end of
    train. The score of a user and an item is the dot product of their vectors.

    Args:
        run: A run folder, or a bundle.
        out: A file that ends in ``.parquet``, of the items; or a folder, in which there are ``items.parquet`` (or
            ``items.npy`` and ``items.ids.jsonl``), the users' likewise, and ``vectors.json`` about them. An earlier export
            there is replaced, whole or not at all.
        users: Whether users are written too, into a folder.
        layout: Of the files in a folder.
        builder: What built the model, where it was one of your own.
        listener: Told after every block of rows.

    Raises:
        ConfigError: If the name, or what is in its place, is not one to write to.
        BundleError: If there is no bundle, it is damaged, or the disk refuses.
    """
    target = Path(out)
    _require_name(target, users=users, layout=layout)
    require_free(target, VECTORS_SIGNATURE, VECTORS_FORMAT)
    folder = bundle_folder(run)
    manifest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    recommender = Recommender.load(folder, builder=builder)
    width = int(recommender.item_vectors_ND.shape[1])
    facts = {"version": twotower.__version__, "manifest_sha256": manifest, "score": "dot product"}
    write = partial(_write, recommender=recommender, facts=facts, listener=listener)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    num_items, num_users = len(recommender.catalogue), len(recommender.users.table) if users else None
    if target.suffix:
        with atomic_file(target) as temporary:
            write(temporary, None, "items")
            size = temporary.stat().st_size
        return VectorsExport(target, num_items, None, width, size)
    with atomic_folder(target) as temporary:
        for noun in ("items", "users") if users else ("items",):
            if layout == "parquet":
                write(temporary / f"{noun}.parquet", None, noun)
            else:
                write(temporary / f"{noun}.npy", temporary / f"{noun}.ids.jsonl", noun)
        about: dict[str, JSON] = {"format": VECTORS_FORMAT, **facts, "width": width, "items": num_items, "users": num_users}
        write_json(temporary / VECTORS_SIGNATURE, about)
        size = sum(path.stat().st_size for path in temporary.iterdir())
    return VectorsExport(target, num_items, num_users, width, size)


def _write(
    path: Path,
    ids_path: Path | None,
    noun: str,
    *,
    recommender: Recommender,
    facts: dict[str, str],
    listener: Callable[[VectorsDone], None],
) -> None:
    """Write the vectors of items or users: a table, or with a path for the ids, a matrix."""
    table = recommender.catalogue if noun == "items" else recommender.users.table
    blocks = _item_blocks(recommender) if noun == "items" else _user_blocks(recommender)
    width, total = int(recommender.item_vectors_ND.shape[1]), len(table)

    def done(rows: int) -> None:
        listener(VectorsDone(noun, rows, total))

    if ids_path is None:
        write_table(path, blocks, id_column=table.id_column, width=width, facts=facts, listener=done)
    else:
        write_matrix(path, ids_path, blocks, rows=total, width=width, listener=done)


def _item_blocks(recommender: Recommender) -> Iterator[VectorBlock]:
    ids, vectors_ND = recommender.catalogue.ids, recommender.item_vectors_ND
    for start in range(0, len(ids), _ITEMS_AT_ONCE):
        yield ids[start : start + _ITEMS_AT_ONCE], vectors_ND[start : start + _ITEMS_AT_ONCE].numpy()


def _user_blocks(recommender: Recommender) -> Iterator[VectorBlock]:
    ids = recommender.users.table.ids
    for start in range(0, len(ids), _USERS_AT_ONCE):
        part = ids[start : start + _USERS_AT_ONCE]
        yield part, recommender.encode_queries(part.to_list()).numpy()


def _require_name(target: Path, *, users: bool, layout: VectorLayout) -> None:
    faults = []
    if layout not in ("parquet", "npy"):
        faults.append(f"layout: must be parquet or npy; came {layout!r}")
    if target.suffix == ".npy":
        faults.append(f"{target.name}: a matrix has a file of ids beside it; name a folder, and say npy")
    elif target.suffix not in ("", ".parquet"):
        faults.append(f"{target.name}: name a file that ends in .parquet, or a folder, which has no suffix")
    elif target.suffix and layout == "npy":
        faults.append(f"{target.name}: ends in .parquet, and npy was asked for; name a folder")
    elif target.suffix and users:
        faults.append(f"{target.name}: users and items are two tables; name a folder, which has no suffix")
    if faults:
        raise ConfigError(faults)
