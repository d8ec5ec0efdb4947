"""Which tables the ranks of a training share, as the recipe says."""

from __future__ import annotations

from twotower.distributed import Placement, Ranks, RowWise, ShardedTables, TableAdagrad
from twotower.errors import ConfigError
from twotower.models import ModelBuilder, TwoTower, build, builder_name
from twotower.optim import rowwise_adagrad_numbers
from twotower.planning import MOST_LOCAL_BYTES
from twotower.runs.recipe import Recipe
from twotower.spec import ModelSpec, TableSpec
from twotower.training import resolve_device

__all__ = ["build_with_split_tables", "would_be_split"]


def would_be_split(recipe: Recipe, table: TableSpec) -> bool:
    """Whether several ranks share a table, unless the recipe says that it is updated densely.

    Args:
        recipe: Its ``training.sharding``.
        table: How it is updated need not be decided yet.
    """
    sharding = recipe.training.sharding
    if sharding == "auto":
        return 4 * table.vocabulary_size * table.embedding_dim > MOST_LOCAL_BYTES
    return sharding == "row_wise"


def build_with_split_tables(recipe: Recipe, spec: ModelSpec, builder: ModelBuilder, ranks: Ranks) -> TwoTower:
    """Build a model, its tables shared by the ranks where the recipe says so; its fresh weights are those of one process.

    Args:
        recipe: Seed, ``training.sharding`` and optimiser.
        spec: How tables are updated is decided.
        builder: Of the model.
        ranks: All of them call this.

    Raises:
        ConfigError: If a table can't be split, or the builder is one of one's own, which has no place for tables elsewhere.
        MissingExtraError: If TorchRec is not installed.
    """
    split = [table for table in spec.tables if table.update == "rows" and would_be_split(recipe, table)]
    if ranks.size == 1 or not split:
        return builder(spec, seed=recipe.seed)
    if builder is not build:
        raise ConfigError(
            f"training.sharding = {recipe.training.sharding!r}: the builder {builder_name(builder)} makes its own tables; set "
            "training.sharding = 'local'",
            source="recipe",
        )
    rate, initial, epsilon = rowwise_adagrad_numbers(recipe.training.optimizer)
    by_rows = recipe.training.sharding == "row_wise"
    plan: dict[str, Placement] | None = {table.name: RowWise() for table in split} if by_rows else None
    tables = ShardedTables(
        split,
        ranks,
        adagrad=TableAdagrad(rate, initial, epsilon),
        plan=plan,
        device=resolve_device(recipe.device),
    )
    return build(spec, seed=recipe.seed, distant=tables)
