"""Figures of vectors, lists, items and users, as a report has them."""

from __future__ import annotations

from twotower.config import Config

__all__ = ["Choice", "Distribution", "ExampleUser", "ItemMap", "ListTable", "PopularityShares", "VectorFigures"]


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
