"""Which store a service keeps its live items and histories in: a file of this machine, or a Redis server that several share."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from twotower.errors import ConfigError
from twotower.recommender import Recommender
from twotower.store import IdKind, LiveStore, RedisStore

__all__ = ["is_redis_url", "open_store", "redis_place"]

_WAIT_S = 1.0  # the thread that answers waits with it


def is_redis_url(place: str | Path) -> bool:
    """Whether it names a Redis server, and not a file."""
    return isinstance(place, str) and place.startswith(("redis://", "rediss://"))


def open_store(place: str | Path, recommender: Recommender) -> LiveStore | RedisStore:
    """Open the store of a service, with the kinds of ids that its model has.

    Args:
        place: A file, or a URL as `redis_place` reads it.
        recommender: The model.

    Raises:
        ConfigError: If the URL is not as it must be.
        StoreError: If the store can't be opened.
        MissingExtraError: If it is in Redis and redis-py is not installed.
    """
    item_kind, user_kind = (_kind(kind) for kind in (recommender.items.kind, recommender.users.lookup.kind))
    if not is_redis_url(place):
        return LiveStore.open(place, item_kind=item_kind, user_kind=user_kind)
    url, prefix, require_durable = redis_place(str(place))
    try:
        return RedisStore.open(
            url, prefix=prefix, item_kind=item_kind, user_kind=user_kind, require_durable=require_durable, wait_s=_WAIT_S
        )
    except ValueError as error:
        raise ConfigError(f"the URL of the store: {error}") from error


def redis_place(url: str) -> tuple[str, str, bool]:
    """A URL without the two options that are ours, the prefix, and whether the server must be durable.

    Example:
        >>> redis_place("redis://127.0.0.1/0?prefix=shop&require_durable=no&ssl_ca_certs=ca.pem")
        ('redis://127.0.0.1/0?ssl_ca_certs=ca.pem', 'shop', False)
        >>> redis_place("redis://127.0.0.1/0?require_durable=perhaps")
        Traceback (most recent call last):
        ...
        twotower.errors.ConfigError: require_durable of the store's URL must be yes or no (came: 'perhaps')
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    prefix, durable = options.pop("prefix", "twotower"), options.pop("require_durable", "yes")
    if durable not in ("yes", "no"):
        raise ConfigError(f"require_durable of the store's URL must be yes or no (came: {durable!r})")
    return urlunsplit(parts._replace(query=urlencode(options))), prefix, durable == "yes"


def _kind(kind: str) -> IdKind:
    return "text" if kind == "text" else "integer"
