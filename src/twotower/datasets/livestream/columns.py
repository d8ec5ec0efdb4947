"""Rows of the log as their reader finds them: ids, attributes of both sides with their gaps, outcomes."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.datasets.livestream.hashes import Floats, Hashes, Integers
from twotower.datasets.livestream.values import AGES, COUNTRIES, GENDERS, LANGUAGES, NETWORKS, PAIR_COUNTRY, PAIR_LANGUAGE
from twotower.datasets.livestream.viewers import Attributes, scrambled
from twotower.datasets.livestream.watches import Watches, World

__all__ = ["LIVESTREAM_COLUMNS", "livestream_frame"]

LIVESTREAM_COLUMNS = (
    "viewer", "broadcaster", "viewer_age", "viewer_gender", "viewer_longitude", "viewer_latitude", "viewer_lang",
    "viewer_country", "broadcaster_age", "broadcaster_gender", "broadcaster_longitude", "broadcaster_latitude",
    "broadcaster_lang", "broadcaster_country", "duration", "viewer_network", "broadcaster_network", "count",
)  # fmt: skip
"""The columns of the log, in their order."""

_MISSING = {"age": 0.115, "gender": 0.035, "position": 0.195, "lang": 0.035}
"""How many people never say it."""

_LOST = 0.005
"""How many rows lack it though the person says it."""

_OUTCOME_MISSING = 0.03
_BIRTHDAYS = 0.5
_MOVES = 0.03
_WRONG = 0.003
_LONGEST_S = 14_400.0
_MOST = 200.0

_CENTRES = np.array([[country.longitude, country.latitude, country.spread] for country in COUNTRIES])


def livestream_frame(world: World, rows: Integers) -> pl.DataFrame:
    """Some rows of the log: `LIVESTREAM_COLUMNS`, nulls where a value is missing.

    Args:
        world: The planted world.
        rows: int64 ``[n]``, row numbers.
    """
    watches = world.watches(rows)
    hashes = world.hashes
    viewers = world.viewers.attributes(watches.viewers)
    columns = _side("viewer", watches.viewers, viewers, _positions(hashes, "viewer", watches.viewers, viewers), watches, hashes)
    broadcasters = world.broadcasters.attributes(watches.broadcasters)
    network = broadcasters.network
    positions = _positions(hashes, "broadcaster", watches.broadcasters, broadcasters)
    broadcasters, positions = _changed(world, watches, broadcasters, positions)
    columns |= _side("broadcaster", watches.broadcasters, broadcasters._replace(network=network), positions, watches, hashes)
    columns |= _outcomes(hashes, watches)
    return pl.DataFrame({name: columns[name] for name in LIVESTREAM_COLUMNS})


def _side(
    side: str, people: Integers, known: Attributes, positions: tuple[Floats, Floats], watches: Watches, hashes: Hashes
) -> dict[str, pl.Series]:
    """The columns of the viewers or of the broadcasters of some rows."""
    networks = _texts(NETWORKS, known.network)
    unplaced = _absent(hashes, side, "position", people, watches.rows)
    longitude, latitude = (_numbers(np.round(values, 4), unplaced, pl.Float32) for values in positions)
    return {
        side: networks + ":" + pl.Series(scrambled(people)).cast(pl.String),
        f"{side}_age": _numbers(AGES[known.age], _absent(hashes, side, "age", people, watches.rows), pl.Int32),
        f"{side}_gender": _texts(GENDERS, known.gender, _absent(hashes, side, "gender", people, watches.rows)),
        f"{side}_longitude": longitude,
        f"{side}_latitude": latitude,
        f"{side}_lang": _texts(LANGUAGES, PAIR_LANGUAGE[known.pair], _absent(hashes, side, "lang", people, watches.rows)),
        f"{side}_country": _texts([country.code for country in COUNTRIES], PAIR_COUNTRY[known.pair]),
        f"{side}_network": networks,
    }


def _positions(hashes: Hashes, side: str, people: Integers, known: Attributes) -> tuple[Floats, Floats]:
    """Longitude and latitude of each person, around the middle of the country."""
    longitude, latitude, spread = _CENTRES[PAIR_COUNTRY[known.pair]].T
    east = longitude + spread * hashes.normal(f"{side}: longitude", people)
    north = latitude + spread * hashes.normal(f"{side}: latitude", people)
    return np.clip(east, -180.0, 180.0), np.clip(north, -85.0, 85.0)


def _changed(
    world: World, watches: Watches, known: Attributes, positions: tuple[Floats, Floats]
) -> tuple[Attributes, tuple[Floats, Floats]]:
    """What rows say of their broadcasters: some have had a birthday, some have moved, and now and then a row is wrong."""
    people, rows, uniform = watches.broadcasters, watches.rows, world.hashes.uniform
    older = uniform("broadcaster: birthday", people) < _BIRTHDAYS * watches.times
    moved = uniform("broadcaster: moves", people) < _MOVES * watches.times
    # who moved is placed as a broadcaster of the same community is, whose number no other has
    elsewhere = world.broadcasters.attributes(people + world.broadcasters.total)
    there = _positions(world.hashes, "broadcaster, moved", people, elsewhere)
    wrong_gender = uniform("row: wrong gender", rows)
    wrong_lang = uniform("row: wrong lang", rows)
    other_gender = (wrong_gender / _WRONG * len(GENDERS)).astype(np.int64) % len(GENDERS)
    other_pair = (wrong_lang / _WRONG * len(PAIR_COUNTRY)).astype(np.int64) % len(PAIR_COUNTRY)
    same_country = np.where(PAIR_COUNTRY[other_pair] == PAIR_COUNTRY[known.pair], other_pair, known.pair)
    return (
        Attributes(
            pair=np.where(moved, elsewhere.pair, np.where(wrong_lang < _WRONG, same_country, known.pair)),
            network=known.network,
            age=np.minimum(known.age + older, len(AGES) - 1),
            gender=np.where(wrong_gender < _WRONG, other_gender, known.gender),
        ),
        (np.where(moved, there[0], positions[0]), np.where(moved, there[1], positions[1])),
    )


def _outcomes(hashes: Hashes, watches: Watches) -> dict[str, pl.Series]:
    """How long was watched and how often: more of a favourite, and more in the viewer's own communities."""
    rows = watches.rows
    liked = 1.1 * watches.favourite + 0.8 * watches.own
    seconds = np.clip(np.exp(3.6 + liked + hashes.normal("row: duration", rows)), 1.0, _LONGEST_S)
    waits = -np.log1p(-hashes.uniform("row: count", rows))
    times = np.minimum(1 + np.floor(waits * (0.3 + liked)), _MOST)
    return {
        "duration": _numbers(np.round(seconds), hashes.uniform("row: no duration", rows) < _OUTCOME_MISSING, pl.Int32),
        "count": _numbers(times, hashes.uniform("row: no count", rows) < _OUTCOME_MISSING, pl.Int32),
    }


def _absent(hashes: Hashes, side: str, what: str, people: Integers, rows: Integers) -> NDArray[np.bool_]:
    """Where something is not said: mostly by people who never do, now and then by chance."""
    never = hashes.uniform(f"{side}: no {what}", people) < _MISSING[what]
    return never | (hashes.uniform(f"row: no {side} {what}", rows) < _LOST)


def _texts(values: tuple[str, ...] | list[str], codes: Integers, absent: NDArray[np.bool_] | None = None) -> pl.Series:
    if absent is not None:
        codes = np.where(absent, len(values), codes)
    return pl.Series([*values, None], dtype=pl.String).gather(codes)


def _numbers(values: NDArray[np.float64] | Integers, absent: NDArray[np.bool_], dtype: type[pl.DataType]) -> pl.Series:
    series = pl.Series(values.astype(np.float64)).cast(dtype)
    return series.set(pl.Series(absent), None)
