"""Words in the names of columns."""

from __future__ import annotations

import pytest

from twotower.runs.column_names import ITEM_WORDS, USER_WORDS, id_stem, is_id_of, name_words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("viewer_age", ["viewer", "age"]),
        ("USER-ID", ["user", "id"]),
        ("movieId", ["movie", "id"]),
        ("Movie Title", ["movie", "title"]),
        ("userID", ["user", "id"]),
        ("", []),
        ("__", []),
    ],
)
def test_words(name: str, words: list[str]) -> None:
    assert name_words(name) == words


@pytest.mark.parametrize(
    ("name", "user", "item", "title"),
    [
        ("user", True, False, False),
        ("userId", True, False, False),
        ("viewer", True, False, False),
        ("customer_key", True, False, False),
        ("user_age", False, False, False),
        ("item", False, True, True),
        ("broadcaster", False, True, True),
        ("movie_title", False, False, True),
        ("title", False, False, True),
        ("name", False, False, False),
        ("id", False, False, False),
        ("movie_genre", False, False, False),
    ],
)
def test_ids(name: str, user: bool, item: bool, title: bool) -> None:
    assert is_id_of(name, USER_WORDS) == user
    assert is_id_of(name, ITEM_WORDS) == item
    assert is_id_of(name, ITEM_WORDS, by_title=True) == title


def test_stems() -> None:
    assert [sorted(id_stem(name)) for name in ("viewer_id", "viewer", "movie_title", "id")] == [
        ["viewer"],
        ["viewer"],
        ["movie"],
        [],
    ]
