"""A recipe: everything that a run is, in one TOML file."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from twotower.config import Config
from twotower.data import GivenSplit, SplitConfig, TimeSplit
from twotower.data.positives import parse_positives
from twotower.preprocessing import SequenceFeature
from twotower.runs.baselines_config import BaselinesConfig
from twotower.runs.data_config import DataConfig
from twotower.runs.feature_entry import FeatureEntry
from twotower.runs.loss_config import LossConfig
from twotower.runs.propagation_config import PropagationConfig, propagation_faults
from twotower.runs.task_config import TaskConfig
from twotower.runs.tune_config import TuneKeyConfig
from twotower.runs.warm_start_config import WarmStartConfig
from twotower.runs.watched import PER_USER, validation_figures
from twotower.spec import HSTUEncoderSpec, TransformerEncoderSpec
from twotower.training import DeviceName, TrainingConfig

__all__ = [
    "CandidateConfig",
    "DataConfig",
    "EvaluationConfig",
    "LossConfig",
    "ModelConfig",
    "QueryConfig",
    "Recipe",
]


LayerSize: TypeAlias = Annotated[int, Field(ge=1)]


class _TowerConfig(Config):
    """What a tower reads, and what it does otherwise than ``model`` says.

    Attributes:
        features: In the order of the concatenation.
        layer_sizes: None: as in ``model``.
        input_dropout: None: as in ``model``.
        hidden_dropout: None: as in ``model``.
        skip: Names of embedded features that are added to the output; each as wide as the output.
    """

    features: tuple[FeatureEntry, ...] = Field(min_length=1)
    layer_sizes: tuple[LayerSize, ...] | None = None
    input_dropout: float | None = Field(default=None, ge=0, lt=1)
    hidden_dropout: float | None = Field(default=None, ge=0, lt=1)
    skip: tuple[str, ...] = ()


class QueryConfig(_TowerConfig):
    """The query tower: its features, and what it does otherwise than ``model`` says."""


class CandidateConfig(_TowerConfig):
    """The candidate tower: its features, and what it does otherwise than ``model`` says."""


class ModelConfig(Config):
    """What both towers have in common.

    Attributes:
        layer_sizes: Output widths of the dense layers; the activation follows all but the last.
        activation: Of the hidden layers.
        init: Of the dense layers.
        input_dropout: On the concatenated inputs.
        hidden_dropout: After hidden activations.
        layer_norm: Before hidden activations.
        l2_normalise: Vectors of length 1.
        share_layers: One set of dense layers for both towers.
        propagation: Of the id embeddings of users and items, over the graph of the train rows. Written only where it is given,
            so that a recipe without it reads as it did before there was any.
    """

    layer_sizes: tuple[LayerSize, ...] = (64,)
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    init: Literal["glorot_uniform", "he_uniform"] = "glorot_uniform"
    input_dropout: float = Field(default=0.0, ge=0, lt=1)
    hidden_dropout: float = Field(default=0.0, ge=0, lt=1)
    layer_norm: bool = False
    l2_normalise: bool = False
    share_layers: bool = False
    propagation: PropagationConfig | None = None

    @model_serializer(mode="wrap")
    def _without_empty_propagation(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = write(self)
        if self.propagation is None:
            values.pop("propagation", None)
        return values


class EvaluationConfig(Config):
    """How the model is judged.

    Attributes:
        ks: Cut-offs of recall.
        draws: Bootstrap draws over users; 0 for no intervals.
        per_user: Also judge one list per user against all of the user's test items.
        validate_on: Which rows validation looks at while training. ``test`` is what the reference notebook does: it leaks,
            and early stopping is refused with it.
        max_validation_rows: Validate on at most so many rows, drawn by the recipe's seed; None for all.
    """

    ks: tuple[int, ...] = (1, 5, 10, 50, 100)
    draws: int = Field(default=1000, ge=0)
    per_user: bool = True
    validate_on: Literal["validation", "test"] = "validation"
    max_validation_rows: int | None = Field(default=None, ge=1)

    @field_validator("ks")
    @classmethod
    def _ks_are_ranks(cls, ks: tuple[int, ...]) -> tuple[int, ...]:
        if not ks or any(k < 1 for k in ks) or list(ks) != sorted(set(ks)):
            raise ValueError("must be distinct ranks of at least 1, ascending")
        return ks


class Recipe(Config):
    """Everything that a run is.

    Attributes:
        name: Names the run folder.
        seed: Of the weights, the order of rows, the dropout and the hashes of a sketch; the split has its own.
        device: Where to train.
        refit: ``none``: the model of the best epoch, trained on train rows. ``train``: once the epochs are chosen, train anew
            on train and validation rows; the test figures are of that model. ``all``: besides, train the model that is
            shipped on every row, test rows included; the figures are still those of the model that did not see them.
        data: Tables and columns.
        split: Train, validation, test.
        query: The query tower.
        candidate: The candidate tower.
        model: Layers of both.
        loss: The retrieval loss.
        tasks: Outcomes to predict beside retrieval; see `TaskConfig`.
        training: The loop.
        evaluation: The judgement.
        baselines: What the model is judged beside.
        warm_start: How a run goes on from another one, where ``twotower train --from`` names one. It is written only where it
            says something, so that a recipe without it reads as it did before there were warm starts.
        tune: What ``twotower tune`` may vary, by dotted key. It is no part of a run: nothing that is trained depends on it, and
            no run keeps it.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(default=1, ge=0)
    device: DeviceName = "auto"
    refit: Literal["none", "train", "all"] = "none"
    data: DataConfig
    split: SplitConfig = TimeSplit()
    query: QueryConfig
    candidate: CandidateConfig
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    tasks: tuple[TaskConfig, ...] = ()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    baselines: BaselinesConfig = BaselinesConfig()
    warm_start: WarmStartConfig = WarmStartConfig()
    tune: dict[str, TuneKeyConfig] = Field(default={}, exclude=True)

    @model_serializer(mode="wrap")
    def _without_empty_warm_start(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = write(self)
        if self.warm_start == WarmStartConfig():
            values.pop("warm_start", None)
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        faults = []
        columns = self.data.columns
        stopping = self.training.early_stopping
        if self.evaluation.validate_on == "test" and stopping is not None:
            faults.append(
                "training.early_stopping with evaluation.validate_on = 'test' would choose on test rows: set "
                "training.early_stopping = false"
            )
        if stopping is not None:
            plain = [*(f"recall@{k}" for k in self.evaluation.ks), "ndcg@10", "mrr"]
            errors = [f"{task.name} {figure}" for task in self.tasks for figure in ("rmse", "mae")]
            lists = [f"{kind}@{k}{PER_USER}" for kind in ("recall", "ndcg") for k in self.evaluation.ks]
            if stopping.metric not in validation_figures(self.evaluation.ks, [task.name for task in self.tasks]):
                faults.append(
                    f"training.early_stopping.metric: validation gives {', '.join((*plain, *lists))}, and each with ' removed' "
                    f"(seen items left out){''.join(f', {name}' for name in errors)}, but no {stopping.metric!r}; name one of "
                    "them, or change evaluation.ks"
                )
            elif self.loss.weight == 0 and self.tasks and stopping.metric not in errors:
                faults.append(
                    f"training.early_stopping.metric: {stopping.metric!r} says nothing where retrieval is not learned "
                    f"(loss.weight = 0); name one of {', '.join(errors)}, or set training.early_stopping = false"
                )
        if isinstance(self.split, TimeSplit) and self.data.columns.time is None and self.data.columns.order == "time":
            faults.append("split.kind = 'time' needs data.columns.time")
        faults += [
            f"training.batch_size: up to {entry.feature.max_length + 1:,} rows share a sequence "
            f"(query.features.{i}.max_length) and are in one batch; batches of {self.training.batch_size:,} are too small"
            for i, entry in enumerate(self.query.features)
            if isinstance(entry.feature, SequenceFeature) and self.training.batch_size <= entry.feature.max_length
        ]
        faults += [
            f"query.features.{i}.embedding.encoder.heads: the encoder reads the candidate tower's vectors, which are "
            f"{width} wide, and that must be a multiple of its heads; came {heads}"
            for i, heads, width in self.heads_of_candidates()
            if width is not None and width % heads
        ]
        roles = {columns.user: "user", columns.item: "item", columns.time: "time"}
        faults += [
            f"query.features.{i}.columns: {column!r} is the {roles[column]} (data.columns.{roles[column]}) and nothing that is "
            "known of an event beside its item and its time: leave it out"
            for i, entry in enumerate(self.query.features)
            for column in _event_columns(entry)
            if column in roles
        ]
        faults += self._task_faults() + propagation_faults(self)
        faults += self._outcome_faults() + self._catalogue_faults()
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def heads_of_candidates(self, width: int | None = None) -> list[tuple[int, int, int | None]]:
        """Features that read the candidate's vectors by attention: place, heads, and the width of the vectors.

        Args:
            width: Where it is known; None: that of the candidate's last layer, if it has layers.
        """
        sizes = self.model.layer_sizes if self.candidate.layer_sizes is None else self.candidate.layer_sizes
        width = (sizes[-1] if sizes else None) if width is None else width
        return [
            (i, entry.embedding.encoder.heads, width)
            for i, entry in enumerate(self.query.features)
            if entry.reads_candidates and isinstance(entry.embedding.encoder, TransformerEncoderSpec | HSTUEncoderSpec)
        ]

    def _task_faults(self) -> list[str]:
        columns = self.data.columns
        faults = []
        if self.loss.weight == 0 and not self.tasks:
            faults.append("loss.weight = 0 leaves nothing to learn: give retrieval a weight, or add [[tasks]]")
        names = [task.name for task in self.tasks]
        faults += [
            f"tasks: every task needs a name of its own; {name!r} came twice"
            for name in sorted(set(names))
            if names.count(name) > 1
        ]
        roles = {columns.user: "user", columns.item: "item", columns.time: "time"}
        return faults + [
            f"tasks.{i}.column: {task.column!r} is no outcome but the {roles[task.column]} (data.columns.{roles[task.column]})"
            for i, task in enumerate(self.tasks)
            if task.column in roles
        ]

    def timed_sequences(self) -> frozenset[str]:
        """Names of the query's sequences whose encoder reads when events were."""
        return frozenset(
            entry.feature.output_name
            for entry in self.query.features
            if entry.embedding.encoder is not None and entry.embedding.encoder.reads_times
        )

    def outcome_columns(self) -> dict[str, str]:
        """Columns that say what a row came to, and the key that declares each so; none of them is known of a query."""
        columns = self.data.columns
        outcomes = {} if columns.weight is None else {columns.weight: "data.columns.weight"}
        if columns.positives is not None:
            outcomes |= {condition.column: "data.columns.positives" for condition in parse_positives(columns.positives)}
        return outcomes | {task.column: f"tasks.{i}.column" for i, task in enumerate(self.tasks)}

    def columns_read(self) -> tuple[str, ...]:
        """Every column of the interactions that this recipe reads, and those that it would read in a table of users."""
        columns = self.data.columns
        read = [columns.user, columns.item, columns.time, *self.outcome_columns()]
        read += [name for entry in self.query.features for name in entry.feature.source_columns]
        read += [name for entry in self.query.features for name in _event_columns(entry)]
        read += self.data.catalogue.columns if self.data.catalogue is not None else ()
        read += [name for names in self.baselines.segments or () for name in names]
        read += [self.split.column] if isinstance(self.split, GivenSplit) else []
        return tuple(dict.fromkeys(name for name in read if name is not None))

    def _catalogue_faults(self) -> list[str]:
        """The item's own columns stand in every row, and would tell the query which item it is to find."""
        owned = () if self.data.catalogue is None else self.data.catalogue.columns
        outcomes = self.outcome_columns()
        return [
            f"data.catalogue.columns: {column!r} is an outcome of its own row ({outcomes[column]}) and no attribute of the "
            "item: of an item that no train row has it would be what is to be predicted; leave it out"
            for column in owned
            if column in outcomes
        ] + [
            f"query.features.{i}: column {column!r} belongs to the item (data.catalogue.columns), which is not known when "
            "items are to be recommended: as an input of the query it would give the answer away; leave it out"
            for i, entry in enumerate(self.query.features)
            for column in entry.feature.source_columns
            if column in owned
        ]

    def _outcome_faults(self) -> list[str]:
        """What a row came to is not known when it is to be predicted: it may weigh the row or be a target, but is no input."""
        outcomes = self.outcome_columns()
        read = [(i, column) for i, entry in enumerate(self.query.features) for column in entry.feature.source_columns]
        return [
            f"query.features.{i}: column {column!r} is an outcome of its own row ({outcomes[column]}), which is "
            "not known when items are to be recommended: as an input it would give the answer away; leave it out"
            for i, column in read
            if column in outcomes
        ]


def _event_columns(entry: FeatureEntry) -> tuple[str, ...]:
    return entry.feature.columns if isinstance(entry.feature, SequenceFeature) else ()
