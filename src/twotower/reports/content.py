"""What a report says, as plain figures: the schema of ``report.json``, and all that the page is drawn from."""

from __future__ import annotations

from typing import Literal

from twotower.config import Config

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

Seen = Literal["included", "removed"]
"""Whether what a user has seen competes in the ranking, or is removed from it."""


class Estimate(Config):
    """A figure with its 95% interval over users.

    Attributes:
        value: The mean.
        low: Lower end; None where no interval was drawn.
        high: Upper end; None where no interval was drawn.
    """

    value: float
    low: float | None = None
    high: float | None = None


class Ranker(Config):
    """One ranker on a run's test rows.

    Attributes:
        name: ``model``, or the name of a baseline.
        included: Figures by key (``recall@10``) with the whole catalogue competing.
        removed: The same with what the user has seen removed.
        settings: What was chosen for a baseline, in words; empty for none.
    """

    name: str
    included: dict[str, Estimate]
    removed: dict[str, Estimate]
    settings: str = ""

    def figures(self, seen: Seen) -> dict[str, Estimate]:
        """Those of one variant."""
        return self.included if seen == "included" else self.removed


class Comparison(Config):
    """Two rankers on the same rows, drawn together over users.

    Attributes:
        metric: Key of the figure.
        seen: Its variant.
        first: Label of the one.
        second: Label of the other.
        first_value: Mean of the one.
        second_value: Mean of the other.
        difference: First less second, with its interval.
        p_value: Two-sided, of no difference.
        users: How many were drawn.
    """

    metric: str
    seen: Seen
    first: str
    second: str
    first_value: float
    second_value: float
    difference: Estimate
    p_value: float
    users: int


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
        metric: The validation figure that is drawn: early stopping's, else the last recall with seen items included.
        validated_on: Which rows validation looked at; None for none.
        chosen_epoch: The epoch that was kept.
    """

    epochs: tuple[Epoch, ...]
    metric: str
    validated_on: Literal["validation", "test"] | None
    chosen_epoch: int


class Curve(Config):
    """Recall of one ranker at every ``k`` of the curves.

    Attributes:
        name: Of the ranker.
        included: One recall per ``k``.
        removed: One recall per ``k``.
    """

    name: str
    included: tuple[float, ...]
    removed: tuple[float, ...]


class Curves(Config):
    """Recall against the length of the list.

    Attributes:
        ks: Ascending, from 1 up to the catalogue's size or 1,000.
        rankers: A curve each.
    """

    ks: tuple[int, ...]
    rankers: tuple[Curve, ...]


class Group(Config):
    """Some of the test rows.

    Attributes:
        name: In words.
        rows: How many.
        users: How many users they are of.
        items: How many items of the catalogue the group is made of; None where it is not made of items.
        rankers: The figure of each ranker on these rows.
    """

    name: str
    rows: int
    users: int
    items: int | None = None
    rankers: dict[str, Estimate]


class Grouping(Config):
    """The test rows in groups by one rule.

    Attributes:
        key: ``popularity``, ``history`` or ``warmth``.
        rule: How the groups were cut, in a sentence.
        metric: Key of the figure.
        seen: Its variant.
        groups: Without those that no row is in.
    """

    key: str
    rule: str
    metric: str
    seen: Seen
    groups: tuple[Group, ...]


class Distribution(Config):
    """A histogram.

    Attributes:
        name: Of what.
        count: How many values.
        mean: Their mean.
        std: Their standard deviation.
        edges: Of the bins, one more than bins; distributions that are drawn together share them.
        shares: Of the values in each bin; they sum to 1.
    """

    name: str
    count: int
    mean: float
    std: float
    edges: tuple[float, ...]
    shares: tuple[float, ...]


class VectorFigures(Config):
    """Scores and vectors of a model.

    Attributes:
        queries: How many test rows were sampled.
        scores: Of the rows' own items, and of items drawn at random.
        ordered_fraction: Share of pairs (own item, random item) in which the own item scores higher; ties count half.
        logit_spread: Mean over the queries of the standard deviation of score / temperature over the catalogue.
        perplexity: Mean over the queries of exp(entropy) of the softmax over the catalogue: how many items share it.
        temperature: What the scores were divided by.
        temperature_note: Where it is from.
        query_norms: Lengths of the sampled query vectors.
        candidate_norms: Lengths of the catalogue's vectors.
        norm_popularity: Correlation of a candidate's length with log(1 + its train rows); None where either is constant.
    """

    queries: int
    scores: tuple[Distribution, Distribution]
    ordered_fraction: float
    logit_spread: float
    perplexity: float
    temperature: float
    temperature_note: str
    query_norms: Distribution
    candidate_norms: Distribution
    norm_popularity: float | None


class PopularityShares(Config):
    """Where lists of ten, and what users chose, lie between popular and rare.

    Attributes:
        rule: How the groups of items were cut.
        names: Of the groups, the most popular items first.
        items: Items in each.
        consumed: Share of the test rows whose item is in each.
        recommended: By ranker, share of the listed items in each.
    """

    rule: str
    names: tuple[str, ...]
    items: tuple[int, ...]
    consumed: tuple[float, ...]
    recommended: dict[str, tuple[float, ...]]


class ListTable(Config):
    """What lists of ``k`` look like.

    Attributes:
        k: Length of the lists.
        lists: How many, one per user, for the user's first test row, without what the user has seen.
        of_users: How many users have test rows; more than ``lists`` where users were sampled.
        categories: The catalogue column behind the figures of categories; None for none.
        rankers: By ranker, figures by key (``coverage@10``).
    """

    k: int
    lists: int
    of_users: int
    categories: str | None
    rankers: dict[str, dict[str, float]]


class ItemMap(Config):
    """The catalogue's vectors on their first two principal components.

    Attributes:
        of: Items in the catalogue.
        variance: Share of the variance on each axis.
        x: First component of each item shown.
        y: Second component.
        titles: Of each.
        counts: Train rows of each.
        popularity: Name of each one's group by popularity.
        category_column: A column of the catalogue; None for none.
        categories: Of each, its first category, the rarer ones as ``other``; empty without a column.
    """

    of: int
    variance: tuple[float, float]
    x: tuple[float, ...]
    y: tuple[float, ...]
    titles: tuple[str, ...]
    counts: tuple[int, ...]
    popularity: tuple[str, ...]
    category_column: str | None
    categories: tuple[str, ...]


class Choice(Config):
    """An item as a reader sees it.

    Attributes:
        title: Its title, else its id.
        details: A few columns of the catalogue, in words.
        marked: In a list of recommendations: the user chose it later. In what was chosen: the list had it.
    """

    title: str
    details: str = ""
    marked: bool = False


class ExampleUser(Config):
    """A user, with what came before and after.

    Attributes:
        kind: Why this one is shown.
        user: The id.
        details: What is known of the user, in words.
        history_length: Distinct items that a ranker could know of at the first test row.
        history: The latest of them, the most recent first.
        recommended: The model's list for the first test row, without what was seen.
        chosen: Items of the user's test rows, the first ones in order.
        chosen_count: Distinct items of the user's test rows.
    """

    kind: str
    user: str
    details: str
    history_length: int
    history: tuple[Choice, ...]
    recommended: tuple[Choice, ...]
    chosen: tuple[Choice, ...]
    chosen_count: int


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


class Outcome(Config):
    """How well a task beside retrieval predicts what a row came to.

    Attributes:
        name: Of the task.
        rows: Test rows judged: those with the outcome, whose item the catalogue holds.
        errors: By predictor, ``rmse`` and ``mae``, in the outcome's own unit.
        differences: By baseline, the model's mean squared error less that of the baseline; below 0, the model is better.
    """

    name: str
    rows: int
    errors: dict[str, dict[str, Estimate]]
    differences: dict[str, Estimate]


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
