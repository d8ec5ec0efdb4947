"""Tables of one width, sharded by TorchRec: ids in, rows out, and an update of the rows in the backward pass."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from twotower.distributed.ranks import Ranks
from twotower.distributed.table_plan import Placement, RowWise, described_tables
from twotower.distributed.torchrec_library import quiet_torchrec, torchrec_library
from twotower.spec import TableSpec

__all__ = ["TableAdagrad", "TableExchange", "TableShard"]


def _ranks_of_a_node(ranks: Ranks) -> int:
    """TorchRec takes a rank's device to be its number within the node: see `opened_ranks`, which takes it from LOCAL_RANK."""
    return 1 + max(ranks.lengths(int(os.environ.get("LOCAL_RANK", "0"))))


@dataclass(frozen=True, slots=True)
class TableAdagrad:
    """The numbers of row-wise Adagrad, as `twotower.optim.RowwiseAdagrad` has them.

    Attributes:
        learning_rate: At least 0.
        initial_accumulator: What every row's accumulator starts from, at least 0.
        epsilon: Above 0.
    """

    learning_rate: float = 0.1
    initial_accumulator: float = 0.0
    epsilon: float = 1e-7

    def __post_init__(self) -> None:
        if not (self.learning_rate >= 0 and self.initial_accumulator >= 0 and self.epsilon > 0):
            raise ValueError(
                "learning_rate and initial_accumulator must be at least 0 and epsilon above 0; "
                f"came {self.learning_rate}, {self.initial_accumulator} and {self.epsilon}"
            )


@dataclass(frozen=True, slots=True)
class TableShard:
    """The part of a table that a rank holds. The tensors are the table's own: what is written to them is what is looked up.

    Attributes:
        table: Name of the table.
        rows: Which of its rows, consecutive.
        columns: Which of its columns: all, since a row-wise accumulator is of whole rows.
        weights: float32 ``[len(rows), len(columns)]``.
        accumulators: float32 ``[len(rows)]``: sums of the mean squared gradient of each row.
    """

    table: str
    rows: range
    columns: range
    weights: Tensor
    accumulators: Tensor


class TableExchange:
    """One ``EmbeddingCollection`` of TorchRec.

    Args:
        tables: By name, all of one width.
        plan: Where each is.
        ranks: Which share them.
        adagrad: How rows are updated.
        device: Of the shards.
    """

    def __init__(
        self,
        tables: Mapping[str, TableSpec],
        plan: Mapping[str, Placement],
        ranks: Ranks,
        adagrad: TableAdagrad,
        device: torch.device,
    ) -> None:
        self._torchrec = torchrec_library()
        self.keys = {name: f"t{number}" for number, name in enumerate(tables)}  # TorchRec's names have no dots
        self._sizes = {name: table.vocabulary_size for name, table in tables.items()}
        sharder = self._torchrec.EmbeddingCollectionSharder(
            fused_params={
                "optimizer": self._torchrec.EmbOptimType.EXACT_ROWWISE_ADAGRAD,
                "learning_rate": adagrad.learning_rate,
                "eps": adagrad.epsilon,
            }
        )
        with quiet_torchrec():
            module = described_tables({key: tables[name] for name, key in self.keys.items()}, ranks.size)
            sharding = self._torchrec.construct_module_sharding_plan(
                module,
                {key: self._generated(plan[name]) for name, key in self.keys.items()},
                sharder=sharder,
                local_size=_ranks_of_a_node(ranks) if device.type == "cuda" else ranks.size,
                world_size=ranks.size,
                device_type=device.type,
            )
            env = self._torchrec.ShardingEnv.from_process_group(ranks.group)
            self._collection = sharder.shard(module, sharding, env, device=device)
        self._device = device

    def _generated(self, place: Placement) -> Any:
        """What TorchRec makes a table's plan of."""
        if isinstance(place, RowWise):
            return self._torchrec.row_wise(compute_kernel="fused")
        return self._torchrec.table_wise(place.rank, compute_kernel="fused")

    def shards(self) -> Iterator[TableShard]:
        """This rank's parts; tables of which it has no rows are left out."""
        names = {key: name for name, key in self.keys.items()}
        for kernel in self._kernels():
            weights, states = kernel.emb_module.split_embedding_weights(), kernel.emb_module.split_optimizer_states()
            for table, weight_RD, (accumulator_R, *_) in zip(kernel.config.embedding_tables, weights, states, strict=True):
                (first, _), (count, width) = table.local_metadata.shard_offsets, table.local_metadata.shard_sizes
                name = names[table.name]
                rows = range(first, min(first + count, self._sizes[name]))
                if rows:
                    yield TableShard(name, rows, range(width), weight_RD[: len(rows)], accumulator_R[: len(rows)])

    def set_learning_rate(self, rate: float) -> None:
        """Of the updates from here on."""
        for kernel in self._kernels():
            kernel.emb_module.set_learning_rate(rate)

    def rows(self, ids: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rows of each table, ``[n, width]``; of no rows where a table has no ids here. Called by all ranks."""
        given = [ids.get(name, torch.empty(0, dtype=torch.int64)).to(self._device) for name in self.keys]
        features = self._torchrec.KeyedJaggedTensor(
            keys=list(self.keys.values()),
            values=torch.cat(given),
            lengths=torch.tensor([len(each) for each in given], device=self._device),
            stride=1,  # to TorchRec the ids of a table are one row of any length
        )
        found = self._collection(features)
        return {name: found[key].values() for name, key in self.keys.items()}

    def _kernels(self) -> Iterator[Any]:
        """FBGEMM's tables, for each kind of sharding."""
        for lookup in self._collection._lookups:
            yield from lookup._emb_modules
