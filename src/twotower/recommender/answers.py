"""Many requests at once, each with its own wishes and its own fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.errors import ConfigError, DataError, TwotowerError
from twotower.recommender.events import Event
from twotower.recommender.filters import Where, key_of
from twotower.recommender.id_lookup import require_list
from twotower.recommender.recommender import Recommender, require_k
from twotower.recommender.request_encoder import Asked
from twotower.recommender.requests import join_rows
from twotower.types import Id, Ragged

__all__ = ["Answer", "Request", "answer_all"]


@dataclass(frozen=True)
class Request:
    """What one query asks for; the fields mean what the arguments of `Recommender.recommend` do.

    Attributes:
        user: Who asks; None: somebody who is not named.
        features: Columns of the query; None: nothing.
        history: Item ids, or events, the most recent last, in place of the stored history; None: the stored one.
        k: Items.
        exclude_seen: Leave out what the user is known to have met.
        exclude: Item ids that are left out.
        only: Item ids to choose from; None: the whole catalogue.
        where: Conditions on columns of the catalogue.
    """

    user: Id | None = None
    features: Mapping[str, object] | None = None
    history: Sequence[Event] | None = None
    k: int = 10
    exclude_seen: bool = True
    exclude: Sequence[Id] = ()
    only: Sequence[Id] | None = None
    where: Where = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Answer:
    """The items of one request, best first.

    Attributes:
        rows: Of `Recommender.items`, int64, at most k; fewer where fewer may be recommended.
        scores: float32, of each.
        assumed: Values that the request left out and that were filled in, by column.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    assumed: Mapping[str, object]


def answer_all(
    recommender: Recommender, requests: Sequence[Request], *, later: Sequence[Sequence[Event]] | None = None
) -> list[Answer | TwotowerError]:
    """Answer requests together where they can be: one encoding and one search for all that allow the same items.

    The answer to a request does not depend on what is asked beside it: a request with a fault gets its error, and the others
    their items.

    Args:
        recommender: What is asked.
        requests: Any number.
        later: For each request, what its user met after the stored history, the most recent last.

    Returns:
        An answer, or what is wrong with the request, in their order.
    """
    answers: list[Answer | TwotowerError | None] = [None] * len(requests)
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, request in enumerate(requests):
        try:
            groups.setdefault(_group(request), []).append(place)
        except TwotowerError as error:
            answers[place] = error
    for places in groups.values():
        _answer_group(recommender, requests, later, places, answers)
    assert all(answer is not None for answer in answers)
    return answers  # type: ignore[return-value]


def _group(request: Request) -> tuple[object, ...]:
    """Requests with the same key are encoded and searched together.

    Raises:
        ConfigError: If a wish is none.
        DataError: If something is not a list, or not a mapping.
    """
    require_k(request.k)
    if not isinstance(request.exclude_seen, bool):
        raise ConfigError(f"exclude_seen must be true or false; came {request.exclude_seen!r}")
    if request.features is not None and not isinstance(request.features, Mapping):
        raise DataError(f"features must be a mapping of columns to values; came {request.features!r}")
    require_list(request.exclude, "exclude")
    # a feature that is not given by any request of a group is not encoded anew
    names = None if request.features is None else frozenset(request.features)
    return names, _key_of_ids(request.only), key_of(request.where)


def _key_of_ids(only: Sequence[Id] | None) -> tuple[object, ...] | None:
    """The same for the same ids; Python takes 1, 1.0 and True for the same."""
    if only is None:
        return None
    require_list(only, "only")
    key = (tuple(map(type, only)), tuple(only))
    try:
        hash(key)
    except TypeError:
        raise DataError("only must be a list of ids: text or integers, one per entry") from None
    return key


def _answer_group(
    recommender: Recommender,
    requests: Sequence[Request],
    later: Sequence[Sequence[Event]] | None,
    places: list[int],
    answers: list[Answer | TwotowerError | None],
) -> None:
    """Fill in the answers at some places; where they fail together, each is asked alone."""
    mine = [requests[place] for place in places]
    try:
        found = _search(recommender, mine, None if later is None else [later[place] for place in places])
    except TwotowerError as error:
        if len(places) == 1:
            answers[places[0]] = error
            return
        for place in places:
            _answer_group(recommender, requests, later, [place], answers)
        return
    for place, answer in zip(places, found, strict=True):
        answers[place] = answer


def _search(recommender: Recommender, requests: list[Request], later: list[Sequence[Event]] | None) -> list[Answer]:
    first = requests[0]
    histories = [request.history for request in requests]
    asked = recommender.requests.encode(
        [request.user for request in requests],
        None if first.features is None else [request.features or {} for request in requests],
        None if all(history is None for history in histories) else histories,
        later=later,
    )
    found = recommender.index.search(
        asked.queries_BD,
        min(max(request.k for request in requests), len(recommender.items)),
        excluded=_excluded(recommender, requests, asked),
        allowed=recommender.allowed(first.only, first.where),
    )
    rows_BK, scores_BK = found.rows_BK.numpy(), found.scores_BK.numpy()
    defaults = recommender.defaults.values
    assumed = {name: mask.tolist() for name, mask in asked.assumed.items()}
    answers = []
    for place, request in enumerate(requests):
        rows_K = rows_BK[place, : request.k]
        there = int((rows_K >= 0).sum())
        filled = {name: defaults[name] for name, mask in assumed.items() if mask[place]}
        answers.append(Answer(rows_K[:there], scores_BK[place, :there], filled))
    return answers


def _excluded(recommender: Recommender, requests: list[Request], asked: Asked) -> Ragged:
    """Rows that each request leaves out."""
    excluded = asked.seen
    wishes = [request.exclude_seen for request in requests]
    if not all(wishes):
        excluded = excluded.keep(torch.tensor(wishes).repeat_interleave(excluded.lengths))
    if any(request.exclude for request in requests):
        rows = [recommender.items.require(request.exclude, "exclude", removed=True) for request in requests]
        offsets = torch.tensor([0, *np.cumsum([len(part) for part in rows]).tolist()])
        excluded = join_rows(excluded, Ragged(torch.cat(rows), offsets))
    return excluded
