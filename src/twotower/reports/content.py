"""What a report says, as plain figures: the schema of ``report.json``, and all that the page is drawn from."""

from __future__ import annotations

from typing import Literal

from twotower.config import Config
from twotower.reports.figures import Comparison, Curve, Curves, Estimate, Group, Grouping, Outcome, Ranker, Seen
from twotower.reports.pictures import Choice, Distribution, ExampleUser, ItemMap, ListTable, PopularityShares, VectorFigures

__all__ = [
    "Choice",
    "Comparison",
    "Curve",
    "Curves",
    "Diagnosed",
    "Distribution",
    "Epoch",
    "Estimate",
    "ExampleUser",
    "Facts",
    "Group",
    "Grouping",
    "ItemMap",
    "LeftOut",
    "ListTable",
    "Note",
    "Outcome",
    "PopularityShares",
    "Ranker",
    "Report",
    "RunContent",
    "Seen",
    "Training",
    "VectorFigures",
]


class Epoch(Config):
    """One epoch of one training.

    Attributes:
        phase: ``select`` chooses the epochs, ``refit`` trains anew on train and validation rows, ``production`` on all.
        epoch: Counted from 1.
        seconds: Since the phase began, counting the steps and not the validations.
        loss: Mean over the epoch's rows.
        metrics: What validation gave; empty where this epoch was not validated.
    """

    phase: str
    epoch: int
    seconds: float
    loss: float
    metrics: dict[str, float]


class Training(Config):
    """How the model came about.

    Attributes:
        epochs: In the order of training, phase by phase.
        metric: The validation figure that is drawn: early stopping's, else the last recall with seen items included, or the
            RMSE of the first task where retrieval is not learned.
        validated_on: Which rows validation looked at; None for none.
        chosen_epoch: The epoch that was kept.
        smaller_is_better: Whether that figure is an error.
        tasks: Names of the tasks beside retrieval, whose losses are in the loss too.
    """

    epochs: tuple[Epoch, ...]
    metric: str
    validated_on: Literal["validation", "test"] | None
    chosen_epoch: int
    smaller_is_better: bool = False
    tasks: tuple[str, ...] = ()


class Note(Config):
    """A finding of the diagnosis.

    Attributes:
        code: Its stable name.
        severity: ``fault`` or ``warning``.
        title: What was found.
        evidence: Sentences with the measured figures.
        why: Why it matters.
        fix: What to change, in sentences.
    """

    code: str
    severity: str
    title: str
    evidence: tuple[str, ...]
    why: str
    fix: tuple[str, ...]


class Diagnosed(Config):
    """What the diagnosis of a run gave.

    Attributes:
        findings: What is wrong; empty when nothing was found.
        made: Codes of the checks that were made.
        not_made: By code, why a check could not be made.
    """

    findings: tuple[Note, ...]
    made: tuple[str, ...]
    not_made: dict[str, str]


class Facts(Config):
    """What a run was made from, on what, and for how long.

    Attributes:
        recipe: The resolved recipe: values as JSON by dotted key.
        data: What was read and dropped, in sentences.
        versions: Of the libraries.
        hardware: By name; empty where the run did not record it.
        seconds: By what they were spent on.
        peak_memory_bytes: Of the training process.
        trained_on: Which rows the shipped model has seen.
    """

    recipe: dict[str, str]
    data: tuple[str, ...]
    versions: dict[str, str]
    hardware: dict[str, str]
    seconds: dict[str, float]
    peak_memory_bytes: int
    trained_on: str


class LeftOut(Config):
    """A part of the report that has nothing to show.

    Attributes:
        part: Its title.
        why: In a sentence.
    """

    part: str
    why: str


class RunContent(Config):
    """One run.

    Attributes:
        label: What the page calls it.
        rows: Train, validation and test rows.
        users: Users with test rows.
        catalogue: Items that compete.
        not_in_catalogue: Test rows whose item the catalogue lacks, each a miss.
        metric: The figure that decides, by key.
        seen: Its variant.
        rankers: The model first.
        frozen: The same with histories frozen at the cut; empty where they do not grow.
        against_baseline: The model and the best baseline, by the figure that decides and by its other variant; empty where
            there is no baseline but chance.
        against_first: The model and the first run's; None for the first run, and where rows differ.
        not_paired: Why it is not compared with the first run; None where it is.
        notes: What a reader of the figures must know; leaks, above all.
        training: The curves.
        curves: Recall at any k.
        outcomes: The tasks beside retrieval.
        groupings: The rows in groups.
        vectors: Scores and norms.
        shares: Popular and rare.
        lists: What the lists look like.
        item_map: The catalogue's vectors.
        users_shown: Example users.
        diagnosis: What is wrong with it; None where it was not asked.
        facts: The recipe and the circumstances.
        left_out: What has nothing to show.
    """

    label: str
    rows: dict[str, int]
    users: int
    catalogue: int
    not_in_catalogue: int
    metric: str
    seen: Seen
    rankers: tuple[Ranker, ...]
    frozen: tuple[Ranker, ...] = ()
    against_baseline: tuple[Comparison, ...] = ()
    against_first: Comparison | None = None
    not_paired: str | None = None
    notes: tuple[str, ...] = ()
    training: Training
    curves: Curves
    outcomes: tuple[Outcome, ...] = ()
    groupings: tuple[Grouping, ...] = ()
    vectors: VectorFigures | None = None
    shares: PopularityShares | None = None
    lists: ListTable | None = None
    item_map: ItemMap | None = None
    users_shown: tuple[ExampleUser, ...] = ()
    diagnosis: Diagnosed | None = None
    facts: Facts
    left_out: tuple[LeftOut, ...] = ()


class Report(Config):
    """A report of one run, or of several side by side.

    Attributes:
        format: Of this schema.
        title: Of the page.
        draws: Bootstrap draws over users behind every interval.
        runs: The first is the run that the report is about.
    """

    format: Literal[1] = 1
    title: str
    draws: int
    runs: tuple[RunContent, ...]
