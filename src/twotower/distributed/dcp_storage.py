"""torch.distributed.checkpoint over safetensors and JSON: its planners say who writes and reads what, these files hold it.

DCP's own storage keeps what is not a tensor, and its index of the tensors, as Python objects that run code when they are read.
Its storage of safetensors files does not, but takes one piece of a tensor per file, guesses a tensor's shape from the pieces
that it finds, and writes from a copy in memory. So the storage is ours, and the planning is DCP's: what several ranks give is
written by one, pieces may neither overlap nor leave gaps, and a reader gets the regions of stored pieces that its own meet.

Imported when the first checkpoint is written or read: DCP takes about a second to import.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import (
    LoadPlan,
    LoadPlanner,
    ReadItem,
    SavePlan,
    SavePlanner,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from torch.futures import Future

from twotower.distributed.tensor_file import DTYPES, FileSum, dtype_name, read_region, write_tensor_file
from twotower.distributed.together import words_of
from twotower.distributed.training_state import Pieces, Shard
from twotower.errors import CheckpointError

__all__ = ["FillPieces", "ReadPieces", "StoredTensors", "WritePieces", "WritePlanner"]

StoredTensors = Mapping[str, Any]
"""Of each tensor by name, as JSON: ``dtype``, ``shape``, and ``pieces``: ``offsets``, ``shape``, ``file``, ``key``."""


class WritePlanner(DefaultSavePlanner):
    """What each rank writes of its `Pieces`.

    Args:
        alike: What must be the same on all ranks, as text: what replicated tensors there are.
    """

    def __init__(self, alike: str) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)
        self.alike = alike

    def create_local_plan(self) -> SavePlan:
        items = []
        for name, shards in self.state_dict.items():
            for shard in shards:
                data = TensorWriteData(
                    chunk=ChunkStorageMetadata(torch.Size(shard.offsets), shard.values.shape),
                    properties=TensorProperties(dtype=shard.values.dtype),
                    size=torch.Size(shard.shape),
                )
                items.append(WriteItem(MetadataIndex(name, shard.offsets), WriteItemType.SHARD, tensor_data=data))
        return SavePlan(items, planner_data=self.alike)

    def create_global_plan(self, all_plans: list[SavePlan]) -> tuple[list[SavePlan], Metadata]:
        others = [rank for rank, plan in enumerate(all_plans) if plan.planner_data != all_plans[0].planner_data]
        if others:
            raise CheckpointError(
                f"replicated tensors have the same names, shapes and types on all ranks; rank {others[0]} has them otherwise "
                f"than rank 0: {_first_difference(all_plans[0].planner_data, all_plans[others[0]].planner_data)}"
            )
        _require_one_kind([item for plan in all_plans for item in plan.items])
        try:
            plans, metadata = super().create_global_plan(all_plans)
        except ValueError as error:
            raise CheckpointError(f"the ranks' pieces of a tensor make it up, each number once: {error}") from error
        for name, entry in metadata.state_dict_metadata.items():  # DCP looks for gaps among several ranks only
            if sum(math.prod(chunk.sizes) for chunk in _tensor(entry).chunks) != math.prod(_tensor(entry).size):
                raise CheckpointError(f"the ranks' pieces of a tensor make it up, each number once; {name!r} has gaps")
        return plans, metadata

    def lookup_object(self, index: MetadataIndex) -> Tensor:
        return _piece_at(self.state_dict[index.fqn], index).values


class FillPieces(DefaultLoadPlanner):
    """What a rank reads into its `Pieces`."""

    def __init__(self) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)

    def set_up_planner(self, state_dict: Pieces, metadata: Metadata | None = None, is_coordinator: bool = False) -> None:
        self.state_dict = {name: [shard for shard in shards if shard.values.numel()] for name, shards in state_dict.items()}
        self.metadata = metadata
        self.is_coordinator = is_coordinator

    def create_local_plan(self) -> LoadPlan:
        assert self.metadata is not None
        items: list[ReadItem] = []
        for name, shards in self.state_dict.items():
            stored = _tensor(self.metadata.state_dict_metadata[name])
            chunks = [ChunkStorageMetadata(torch.Size(shard.offsets), shard.values.shape) for shard in shards]
            items += create_read_items_for_chunk_list(name, stored, chunks)
        return LoadPlan(items)

    def lookup_tensor(self, index: MetadataIndex) -> Tensor:
        return _piece_at(self.state_dict[index.fqn], index).values


class WritePieces(StorageWriter):
    """Writes a rank's pieces to one file, and has rank 0 commit after all have written.

    Args:
        folder: Of this checkpoint; it is there.
        rank: This rank.
        commit: Called on rank 0 with what is stored, and with every file's size and checksum.
    """

    def __init__(self, folder: Path, rank: int, commit: Callable[[StoredTensors, dict[str, FileSum]], None]) -> None:
        self.folder = folder
        self.file = f"rank-{rank:05d}.safetensors"
        self.commit = commit

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        future: Future[list[WriteResult]] = Future()
        future.set_result(self._written(plan, planner))
        return future

    def _written(self, plan: SavePlan, planner: SavePlanner) -> list[WriteResult]:
        if not plan.items:
            return []
        tensors: dict[str, Tensor] = {}
        for item in plan.items:
            values = planner.resolve_data(item)
            assert isinstance(values, Tensor)
            tensors[_key(item.index)] = values
        path = self.folder / self.file
        try:
            found = write_tensor_file(path, tensors)
        except Exception as error:  # an error has to travel to the other ranks: text does, whatever it holds
            what = words_of(error)
            raise CheckpointError(what if self.file in what else f"{path} can't be written: {what}") from None
        return [
            WriteResult(item.index, tensors[_key(item.index)].nbytes, (self.file, found.size_bytes, found.sha256))
            for item in plan.items
        ]

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        where = {result.index: result.storage_data[0] for of_rank in results for result in of_rank}
        sums = {name: FileSum(*found) for of_rank in results for name, *found in [each.storage_data for each in of_rank[:1]]}
        tensors: dict[str, Any] = {}
        for name, entry in sorted(metadata.state_dict_metadata.items()):
            tensor = _tensor(entry)
            indexes = [MetadataIndex(name, chunk.offsets) for chunk in tensor.chunks]
            tensors[name] = {
                "dtype": dtype_name(tensor.properties.dtype),
                "shape": list(tensor.size),
                "pieces": [
                    {"offsets": list(chunk.offsets), "shape": list(chunk.sizes), "file": where[index], "key": _key(index)}
                    for chunk, index in zip(tensor.chunks, indexes, strict=True)
                ],
            }
        self.commit(tensors, sums)

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None: ...

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None: ...

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        return plans

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return False  # never found by a path: it is given

    def storage_meta(self) -> StorageMeta | None:
        return None


class ReadPieces(StorageReader):
    """Reads regions of stored pieces.

    Args:
        folder: Of a checkpoint that was found whole.
        tensors: What it holds.
    """

    def __init__(self, folder: Path, tensors: StoredTensors) -> None:
        self.folder = folder
        self.tensors = tensors
        self.files = {
            MetadataIndex(name, piece["offsets"]): (piece["file"], piece["key"])
            for name, tensor in tensors.items()
            for piece in tensor["pieces"]
        }

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        return Metadata(
            {
                name: TensorStorageMetadata(
                    properties=TensorProperties(dtype=DTYPES[tensor["dtype"]]),
                    size=torch.Size(tensor["shape"]),
                    chunks=[
                        ChunkStorageMetadata(torch.Size(piece["offsets"]), torch.Size(piece["shape"]))
                        for piece in tensor["pieces"]
                    ],
                )
                for name, tensor in self.tensors.items()
            }
        )

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        for item in plan.items:
            file, key = self.files[item.storage_index]
            try:
                read_region(self.folder / file, key, list(item.storage_offsets), planner.resolve_tensor(item))
            except Exception as error:
                raise CheckpointError(f"{self.folder / file} can't be read: {words_of(error)}") from None
        future: Future[None] = Future()
        future.set_result(None)
        return future

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None: ...

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any) -> None: ...

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return False


def _require_one_kind(items: list[WriteItem]) -> None:
    """Pieces of one tensor agree on what they are pieces of."""
    known: dict[str, tuple[torch.Size, torch.dtype]] = {}
    for item in items:
        assert item.tensor_data is not None
        kind = item.tensor_data.size, item.tensor_data.properties.dtype
        if known.setdefault(item.index.fqn, kind) != kind:
            raise CheckpointError(
                f"all pieces of a tensor are of one shape and type; {item.index.fqn!r} is {_kind(known[item.index.fqn])} "
                f"in one and {_kind(kind)} in another"
            )


def _kind(kind: tuple[torch.Size, torch.dtype]) -> str:
    return f"{kind[1]} {tuple(kind[0])}"


def _tensor(entry: object) -> TensorStorageMetadata:
    assert isinstance(entry, TensorStorageMetadata)
    return entry


def _piece_at(shards: list[Shard], index: MetadataIndex) -> Shard:
    return next(shard for shard in shards if torch.Size(shard.offsets) == index.offset)


def _key(index: MetadataIndex) -> str:
    return f"{index.fqn}@{','.join(map(str, index.offset or ()))}"


def _first_difference(ours: str, theirs: str) -> str:
    here, there = set(ours.splitlines()), set(theirs.splitlines())
    return min(here ^ there)
