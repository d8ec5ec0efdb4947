"""Figures of a report that follow from lists of recommendations: what they look like, and example users."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.data import Examples
from twotower.evaluation import JudgedRows, Scorer, list_figures, top_items
from twotower.reports import Choice, ExampleUser, ListTable, PopularityShares
from twotower.runs.load_run import LoadedRun
from twotower.runs.phase import user_frame
from twotower.runs.report_items import ItemGroups, ItemTexts, in_words

__all__ = ["K", "example_users", "first_rows", "list_table", "listed", "popularity_shares"]

K = 10
"""Length of the lists."""

_MOST_USERS = 2000
_HISTORY_SHOWN, _CHOSEN_SHOWN = 10, 15


def first_rows(loaded: LoadedRun, judged: JudgedRows) -> NDArray[np.int64]:
    """Each user's first test row in the order of the interactions: places in ``judged``, ascending."""
    place_in_time = np.empty(len(loaded.tables.interactions), dtype=np.int64)
    place_in_time[loaded.tables.interactions.order] = np.arange(len(place_in_time))
    order = np.lexsort((place_in_time[judged.rows], judged.user_rows))
    users = judged.user_rows[order]
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = users[1:] != users[:-1]
    return np.sort(order[is_first])


def listed(places: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """Those of the first rows that lists are made for: all, or 2,000 drawn."""
    if len(places) <= _MOST_USERS:
        return places
    return np.sort(np.random.default_rng([seed, 9]).choice(places, _MOST_USERS, replace=False))


def list_table(
    rankers: Mapping[str, Scorer],
    examples: Examples,
    places: NDArray[np.int64],
    of_users: int,
    counts_N: NDArray[np.int64],
    vectors_ND: Tensor,
    texts: ItemTexts,
) -> tuple[ListTable, dict[str, NDArray[np.int64]]]:
    """Lists of every ranker, and their figures.

    Args:
        rankers: By name, made for the examples.
        examples: The test rows.
        places: Of the rows that lists are made for.
        of_users: How many users have test rows.
        counts_N: Train rows of each item.
        vectors_ND: Of the model, behind the diversity by vectors, the same for all rankers.
        texts: Categories of the items.

    Returns:
        The table, and by ranker the lists, int64 ``[Q, K]``.
    """
    rows = torch.from_numpy(places)
    lists = {name: top_items(scorer, rows, K, seen=examples.seen) for name, scorer in rankers.items()}
    categories = texts.encoded_categories()
    figures = {
        name: list_figures(
            items_QK,
            ks=(K,),
            catalogue_size=len(counts_N),
            item_counts_N=torch.from_numpy(counts_N),
            histories=examples.seen(rows),
            vectors_ND=vectors_ND,
            categories=categories,
        )
        for name, items_QK in lists.items()
    }
    table = ListTable(k=K, lists=len(rows), of_users=of_users, categories=texts.category_column, rankers=figures)
    return table, {name: items_QK.numpy() for name, items_QK in lists.items()}


def popularity_shares(
    lists: Mapping[str, NDArray[np.int64]], consumed: NDArray[np.int64], tenths: ItemGroups
) -> PopularityShares | None:
    """Where listed items and those of test rows lie between popular and rare.

    Args:
        lists: By ranker, catalogue rows, -1 for no item.
        consumed: Catalogue rows of the test rows, -1 for what the catalogue lacks.
        tenths: The catalogue cut in ten.

    Returns:
        None where nothing was consumed or listed.
    """

    def shares(items: NDArray[np.int64]) -> tuple[float, ...]:
        counted = np.bincount(tenths.group_of[items[items >= 0]], minlength=len(tenths.names))
        return tuple(float(share) for share in counted / counted.sum())

    listing = {name: items_QK.reshape(-1) for name, items_QK in lists.items() if bool((items_QK >= 0).any())}
    if not listing or not bool((consumed >= 0).any()):
        return None
    return PopularityShares(
        rule=tenths.rule,
        names=tenths.names,
        items=tenths.sizes,
        consumed=shares(consumed),
        recommended={name: shares(items) for name, items in listing.items()},
    )


def example_users(
    loaded: LoadedRun,
    judged: JudgedRows,
    scorer: Scorer,
    examples: Examples,
    places: NDArray[np.int64],
    texts: ItemTexts,
    *,
    seed: int,
    count: int,
) -> tuple[ExampleUser, ...]:
    """Users drawn by the seed: one with a long history, one with a short one, one without, and so on.

    Args:
        loaded: The run.
        judged: Its test rows.
        scorer: Of its model.
        examples: Its test rows.
        places: Each user's first test row.
        texts: Of the items.
        seed: Of the draw.
        count: How many; fewer where there are fewer.
    """
    chosen = _drawn(judged, places, seed=seed, count=count)
    if not chosen:
        return ()
    rows = torch.tensor([place for place, _ in chosen])
    lists_QK = top_items(scorer, rows, K, seen=examples.seen)
    return tuple(
        _example(loaded, judged, examples, place, kind, items_K.tolist(), texts)
        for (place, kind), items_K in zip(chosen, lists_QK, strict=True)
    )


def _drawn(judged: JudgedRows, places: NDArray[np.int64], *, seed: int, count: int) -> list[tuple[int, str]]:
    """Places of first rows, and what kind of user each is: the kinds in turn, as long as they last."""
    lengths = judged.history_lengths[places]
    met = lengths[lengths > 0]
    short, long = (float(np.quantile(met, q)) for q in (0.2, 0.8)) if met.size else (0.0, 0.0)
    generator = np.random.default_rng([seed, 10])
    kinds = {
        "a long history": generator.permutation(places[(lengths > 0) & (lengths >= long)]),
        "a short history": generator.permutation(places[(lengths > 0) & (lengths <= short) & (lengths < max(long, 1))]),
        "no history": generator.permutation(places[lengths == 0]),
    }
    drawn: list[tuple[int, str]] = []
    for turn in range(count):
        drawn += [(int(those[turn]), kind) for kind, those in kinds.items() if turn < len(those)]
    return drawn[:count]


def _example(
    loaded: LoadedRun,
    judged: JudgedRows,
    examples: Examples,
    place: int,
    kind: str,
    recommended: list[int],
    texts: ItemTexts,
) -> ExampleUser:
    user = int(judged.user_rows[place])
    people = user_frame(loaded.tables)
    described = {n: in_words(people[n][user]) for n in people.columns if n != loaded.tables.user_ids.id_column}
    mine = np.flatnonzero(judged.user_rows == user)
    time = np.empty(len(loaded.tables.interactions), dtype=np.int64)
    time[loaded.tables.interactions.order] = np.arange(len(time))
    mine = mine[np.argsort(time[judged.rows[mine]], kind="stable")]
    chosen = [int(item) for item in dict.fromkeys(judged.item_rows[mine].tolist()) if item >= 0]
    history = list(dict.fromkeys(reversed(examples.seen(torch.tensor([place])).values.tolist())))
    listed_items = [item for item in recommended if item >= 0]
    later, in_list = set(chosen), set(listed_items)

    def choice(item: int, marked: bool) -> Choice:
        return Choice(title=texts.titles[item], details=texts.details(item), marked=marked)

    return ExampleUser(
        kind=kind,
        user=in_words(loaded.tables.user_ids.ids[user]),
        details=", ".join(f"{name} {text}" for name, text in described.items() if text),
        history_length=len(history),
        history=tuple(choice(item, False) for item in history[:_HISTORY_SHOWN]),
        recommended=tuple(choice(item, item in later) for item in listed_items),
        chosen=tuple(choice(item, item in in_list) for item in chosen[:_CHOSEN_SHOWN]),
        chosen_count=len(chosen),
    )
