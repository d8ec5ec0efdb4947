"""What the name of a column gives away: words that people use for users, items, times and outcomes."""

from __future__ import annotations

import re

__all__ = [
    "ID_WORDS",
    "ITEM_WORDS",
    "MOMENT_WORDS",
    "OUTCOME_WORDS",
    "TIME_WORDS",
    "USER_WORDS",
    "id_stem",
    "is_id_of",
    "name_words",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


USER_WORDS = _words(
    "user viewer customer member visitor session account client reader listener player person profile buyer subscriber guest "
    "patient student passenger uid userid"
)
"""Who chooses."""

ITEM_WORDS = _words(
    "item product movie film broadcaster streamer article video song track artist book asin sku content stream channel game "
    "restaurant place hotel post page ad show episode recipe course job iid itemid movieid productid"
)
"""What is chosen."""

TIME_WORDS = _words("time timestamp date datetime ts at when created day unixtime epoch")
"""When."""

OUTCOME_WORDS = _words(
    "duration count counts rating ratings score stars seconds minutes watch watched watchtime playtime plays clicks click "
    "clicked purchased purchase bought liked like likes revenue amount quantity qty spent dwell length label target outcome "
    "completed completion views listens review reward gift gifts tip tips votes vote converted conversion feedback weight"
)
"""What a row came to: it is not known when items are to be recommended."""

MOMENT_WORDS = _words("device platform os browser locale hour weekday referrer campaign surface")
"""What is known of the moment in which somebody asks."""

ID_WORDS = _words("id ids key uuid guid hash no number code")
"""What is put behind a user or an item to say that it is the id."""

_TITLES = _words("name title")


def name_words(name: str) -> list[str]:
    """The words of a column's name, small.

    Example:
        >>> name_words("viewer_ageYears"), name_words("USER-ID"), name_words("movieId")
        (['viewer', 'age', 'years'], ['user', 'id'], ['movie', 'id'])
    """
    parted = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return [word.lower() for word in re.split(r"[^0-9A-Za-z]+", parted) if word]


def is_id_of(name: str, hints: frozenset[str], *, by_title: bool = False) -> bool:
    """Whether a name is that of an id of the hinted kind: ``user`` and ``user_id`` are, ``user_age`` is not.

    Args:
        name: Of a column.
        hints: `USER_WORDS` or `ITEM_WORDS`.
        by_title: Whether ``movie_title`` and ``title`` will do, where nothing better is there.

    Example:
        >>> [is_id_of(name, ITEM_WORDS) for name in ("movieId", "movie", "movie_title", "movie_year")]
        [True, True, False, False]
        >>> is_id_of("movie_title", ITEM_WORDS, by_title=True)
        True
    """
    words = set(name_words(name))
    titled = by_title and "title" in words
    return (bool(words & hints) or titled) and words <= hints | ID_WORDS | (_TITLES if by_title else frozenset())


def id_stem(name: str) -> frozenset[str]:
    """The word with which the names of an id's attributes begin: of ``viewer_id``, as in ``viewer_age``, it is ``viewer``.

    Example:
        >>> sorted(id_stem("viewer_id")), sorted(id_stem("id"))
        (['viewer'], [])
    """
    words = [word for word in name_words(name) if word not in ID_WORDS | _TITLES]
    return frozenset(words[:1])
