"""How long, how large, how fast: what a person chooses about training."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from twotower.config import Config
from twotower.optim import OptimizerConfig, ScheduleConfig
from twotower.planning import AskedSharding

__all__ = ["DeviceName", "EarlyStopping", "ResidentData", "TrainingConfig", "smaller_is_better"]

DeviceName: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]

ResidentData: TypeAlias = Literal["auto", "always", "never"]
"""Whether examples are kept on an accelerator; see `TrainingConfig`."""


def smaller_is_better(metric: str) -> bool:
    """Whether a figure of validation is an error: its last word is ``rmse`` or ``mae``. Of all others more is better.

    Example:
        >>> smaller_is_better("rating rmse"), smaller_is_better("recall@100")
        (True, False)
    """
    return metric.split()[-1:] in (["rmse"], ["mae"])


class EarlyStopping(Config):
    """Keep the epoch with the best validation figure, and stop when it no longer improves.

    Attributes:
        metric: A key of what validation returns; larger is better, but for errors (see `smaller_is_better`). A recipe's
            validation gives ``recall@K``, ``ndcg@10`` and ``mrr`` per row, ``recall@K per user`` and ``ndcg@K per user`` of one
            list per user, and all of them with ``removed`` after them: seen items left out.
        patience: Validations without improvement before training stops; None trains all epochs and still keeps the best.
        min_delta: An improvement is more than this.
    """

    metric: str = "recall@100"
    patience: int | None = Field(default=5, ge=1)
    min_delta: float = Field(default=0.0, ge=0)


class TrainingConfig(Config):
    """The training loop.

    Attributes:
        epochs: At most; early stopping may end sooner.
        batch_size: Rows per step.
        optimizer: Of the dense parameters, and of tables with row updates.
        schedule: Learning-rate warm-up and decay, over ``epochs`` (not over the epochs that early stopping leaves).
        clip_norm: Largest global gradient norm; None does not clip.
        validate_every: Epochs between validations; the last epoch is always validated.
        early_stopping: None (in TOML: false) keeps the last epoch.
        checkpoint_every_s: Seconds between checkpoints; they also come with a better epoch, and at the end.
        sharding: Where tables are when several processes train: ``local``: each has all of them. ``row_wise``: their rows are
            split over all. ``auto``: those of more than 64 MiB are split, by rows or as whole tables, as TorchRec's planner
            finds best. What would be split is updated by touched rows with row-wise Adagrad on one process too, so that figures
            do not depend on how many there are; a feature with ``update = "dense"`` keeps its table local. Extra
            ``distributed``.
        resident_data: Whether the examples are kept on an accelerator, where batches are then made, and nothing but the numbers
            of rows goes there: where they take at most half of what is free beside the model (``auto``; of Apple's MPS, which
            does not say, never), ``always``, or ``never``. Without meaning on a CPU, and where several processes train.
        cuda_graph: On CUDA, capture a step once and replay it: a step of a small model is mostly the launching of its parts.
            Lists and histories are filled up to the longest. For one process, data that is resident, and retrieval alone;
            histories that are read in order, and what else has no fixed shapes, are refused with the reason.
    """

    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=2048, ge=1)
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    clip_norm: float | None = Field(default=None, gt=0)
    validate_every: int = Field(default=1, ge=1)
    early_stopping: EarlyStopping | None = EarlyStopping()
    checkpoint_every_s: float = Field(default=30.0, ge=0)
    sharding: AskedSharding = "local"
    resident_data: ResidentData = "auto"
    cuda_graph: bool = False

    @field_validator("early_stopping", mode="before")
    @classmethod
    def _false_is_none(cls, value: object) -> object:
        return None if value is False else value

    @model_validator(mode="after")
    def _split_tables_can_be_trained(self) -> TrainingConfig:
        optimizer = self.optimizer
        if self.sharding == "local":
            return self
        if optimizer.kind == "adagrad" or optimizer.sparse_kind == "lazy_adam":
            came = "adagrad" if optimizer.kind == "adagrad" else "lazy_adam"
            raise ValueError(
                f"sharding = {self.sharding!r}: split tables are trained by row-wise Adagrad, and came {came}: set "
                "optimizer.kind to 'rowwise_adagrad', or to 'adamw', whose tables of row updates are; or sharding = 'local'"
            )
        if self.clip_norm is not None:
            raise ValueError(
                f"sharding = {self.sharding!r}: clip_norm needs all gradients at once, and those of split tables are never in "
                "one place: leave it out, or set sharding = 'local'"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A recipe that says nothing of these reads as it did before there were any."""
        found: dict[str, Any] = write(self)
        for name in ("sharding", "resident_data", "cuda_graph"):
            if getattr(self, name) == type(self).model_fields[name].default:
                found.pop(name, None)
        return found
