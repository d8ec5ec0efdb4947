"""From what Redis and the way to it say to what the caller can do about it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from twotower.errors import StoreBusyError, StoreError

__all__ = ["may_pass", "shown_url", "store_error", "was_sent"]

_NOTHING = "; nothing of this call was written"
_UNKNOWN = (
    "; whether this call was written is not known, and writing again may write it twice: look at what the store has first"
)
# the first word of what a server answers; from within a script it is still there, otherwise redis-py takes it away
_ANSWERS = {
    "READONLY": "it is a read-only replica; name the primary in the URL",
    "OOM": "its memory is full (maxmemory); give it more, or compact_items() and remove what is not needed",
    "MISCONF": "it can't save to its own disk and refuses writes; see its log, and make space there",
    "NOREPLICAS": "it has fewer replicas than min-replicas-to-write asks for; bring them back",
    "NOAUTH": "it asks for a user and a password; put them into the URL",
    "WRONGPASS": "it refused the user and the password of the URL; correct them",
    "NOPERM": "the user of the URL may not do this; allow it the commands of scripts, hashes, streams and sorted sets",
    "MOVED": "it is one node of a cluster, which is not supported; name a single server, or the primary of one that replicates",
    "CROSSSLOT": "it is a cluster, which is not supported; name a single server, or the primary of one that replicates",
    "CLUSTERDOWN": "it is a cluster, which is not supported; name a single server, or the primary of one that replicates",
}
_PASSING = {
    "LOADING": "it is still loading its data",
    "BUSY": "it has been busy with somebody's script",
    "MASTERDOWN": "it has lost its primary",
    "TRYAGAIN": "it is moving its data",
    "max number of clients": "it has as many clients as it takes",
}


def shown_url(url: str) -> str:
    """A URL as a message may show it: where the server is, without user, password and options.

    Example:
        >>> shown_url("rediss://shop:secret@live.example:6380/2?ssl_cert_reqs=none")
        'rediss://live.example:6380/2'
    """
    parts = urlsplit(url)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{parts.path}"


def was_sent(redis: Any, error: Exception) -> bool:
    """Whether a call may have reached the server although an error came back: so it is where a connection breaks.

    It has not where the connection was never made, and a script that the server answered with an error wrote nothing.
    """
    if isinstance(error, redis.exceptions.TimeoutError):
        return "connecting" not in str(error)
    if not isinstance(error, redis.exceptions.ConnectionError) or _word(redis, error, {**_ANSWERS, **_PASSING}):
        return False
    return "connecting to" not in str(error)


def may_pass(redis: Any, error: Exception) -> bool:
    """Whether it is worth to try again at once: the connection broke or is refused, or the server says that it will do."""
    if isinstance(error, redis.exceptions.TimeoutError):
        return False
    if _word(redis, error, _PASSING):
        return True
    return isinstance(error, redis.exceptions.ConnectionError) and not _word(redis, error, _ANSWERS)


def store_error(redis: Any, error: Exception, name: str, doing: str, *, sent: bool) -> StoreError:
    """What to raise in place of an error of redis-py.

    Args:
        redis: The module.
        error: What it raised.
        name: The server, as messages show it.
        doing: What was being done: ``read``, ``written`` or ``opened``.
        sent: Whether the call may have been carried out.
    """
    lost = "" if doing != "written" else _UNKNOWN if sent else _NOTHING
    kind = StoreError if sent and doing == "written" else StoreBusyError
    words = str(error).splitlines()[0] if str(error) else type(error).__name__
    passing = _word(redis, error, _PASSING)
    if passing:
        return kind(f"{name} can't be {doing}: {_PASSING[passing]}{lost}; try again later")
    known = _word(redis, error, _ANSWERS)
    if known:
        return StoreError(f"{name} can't be {doing}: {_ANSWERS[known]}{lost}")
    if isinstance(error, redis.exceptions.TimeoutError):
        return kind(
            f"{name} can't be {doing}: it has not answered in time ({words}){lost}; see whether it is busy, or try again"
        )
    if isinstance(error, redis.exceptions.ConnectionError):
        return kind(
            f"{name} can't be {doing}: it can't be reached ({words}){lost}; see that it runs, and that the URL is right"
        )
    return StoreError(f"{name} can't be {doing}: {words}{lost}")


def _word(redis: Any, error: Exception, answers: dict[str, str]) -> str | None:
    """Which of these answers it is."""
    classes = {
        "READONLY": "ReadOnlyError",
        "OOM": "OutOfMemoryError",
        "NOPERM": "NoPermissionError",
        "LOADING": "BusyLoadingError",
        "MOVED": "MovedError",
        "CROSSSLOT": "ClusterCrossSlotError",
        "TRYAGAIN": "TryAgainError",
        "MASTERDOWN": "MasterDownError",
        "CLUSTERDOWN": "ClusterDownError",
    }
    text = str(error)
    for word in answers:
        if (
            isinstance(error, getattr(redis.exceptions, classes.get(word, ""), ()))
            or text.startswith(word)
            or f"-{word} " in text
        ):
            return word
    if "WRONGPASS" in answers and isinstance(error, redis.exceptions.AuthenticationError):
        return "NOAUTH" if "required" in text.lower() else "WRONGPASS"
    return None
