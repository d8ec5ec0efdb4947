"""Both logs in a Redis server that the processes of several machines share."""

from __future__ import annotations

import importlib
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlsplit

from twotower.bundle import JSON
from twotower.errors import CorruptStoreError, IncompatibleStoreError, MissingExtraError, StoreError
from twotower.store import redis_scripts
from twotower.store.contract import IdKind, Interaction, ItemChange, LoggedInteraction
from twotower.store.entries import ItemEntry, check_ids, checked_interactions, checked_items, checked_removals
from twotower.store.limits import check_after, check_count, check_kind
from twotower.store.redis_errors import may_pass, shown_url, store_error, was_sent
from twotower.store.redis_records import (
    RESTORE,
    interaction_said,
    item_said,
    json_id,
    read_change,
    read_interaction,
    read_member,
)
from twotower.types import Id

__all__ = ["RedisStore"]

_APPLICATION, _FORMAT = "live store of twotower", "1"
_SCHEMES = ("redis", "rediss", "unix")
_PREFIX = re.compile(r"[A-Za-z0-9._{}-]{1,100}")
_PAGE = 5000
_LAST = 2**53  # sequences of a script end there
_PAUSE_S = 0.05
_NOTE_S = 60.0
_LASTING = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}


class RedisStore:
    """An :class:`~twotower.store.ItemLog` and an :class:`~twotower.store.InteractionLog` that a Redis server keeps.

    For services on several machines that share one state; on one machine :class:`~twotower.store.LiveStore` needs no server and
    is as durable as its disk. A call that writes is one script on the server: all of it or nothing, in one piece between those
    of others. It is made again by itself where its answer was lost on the way, for as long as a call may wait, and is written
    once all the same.

    **What lasts** is what the server keeps, and Redis by itself keeps little: with ``appendonly no`` a crash loses what came
    after the last snapshot, with ``appendfsync everysec`` about the last second. Only with ``appendonly yes`` and ``appendfsync
    always`` has a call that returned been flushed to the disk of the server. ``require_durable`` refuses a server of other
    settings, and one that would evict keys when its memory is full. No setting makes up for a disk that is lost or for a
    replica that is promoted: replicas follow a moment later, so that what was acknowledged last may be missing there.
    Everything is in the server's memory: about 300 bytes for an interaction of integers, and twice what longer ids add.

    One object may be used by all threads of a process; each process opens its own. A single server, with or without replicas;
    clusters are not supported. Got from :meth:`open`.

    Attributes:
        name: The server and the prefix, as messages show them: no user, no password.
        identity: Drawn when the store was made: sequences that were noted with another one mean nothing here.
        item_kind: What ids of items are.
        user_kind: What ids of users are.
    """

    def __init__(self, redis: Any, client: Any, *, name: str, prefix: str, wait_s: float) -> None:
        self._redis, self._client = redis, client
        self.name = name
        self._wait_s = wait_s
        self._head, self._items, self._interactions, self._of_item, self._superseded = (
            f"{prefix}:{part}" for part in ("head", "items", "interactions", "last-of-item", "superseded")
        )
        self._note, self._history = f"{prefix}:done:", f"{prefix}:history:"
        self.identity = ""
        self.item_kind: IdKind = "text"
        self.user_kind: IdKind = "text"
        self._closed = False

    @classmethod
    def open(
        cls,
        url: str,
        *,
        prefix: str = "twotower",
        item_kind: IdKind,
        user_kind: IdKind,
        require_durable: bool = True,
        wait_s: float = 5.0,
    ) -> RedisStore:
        """Open a store; one that is not there is made.

        Args:
            url: ``redis://[[user]:password@]host[:port][/database]``, ``rediss://`` for TLS, or ``unix://[:password@]/socket``;
                options of redis-py behind a question mark.
            prefix: All keys of the store begin with it and a colon: letters, digits, ``.``, ``_``, ``-`` and braces.
            item_kind: What ids of items are.
            user_kind: What ids of users are.
            require_durable: Whether to refuse a server that would lose what it has acknowledged, or that doesn't say.
            wait_s: How long a call waits for the server, in seconds.

        Raises:
            ValueError: If a kind, the prefix, the URL's scheme or ``wait_s`` is not as above.
            MissingExtraError: If redis-py is not installed.
            StoreError: If the server can't be reached, refuses, or is not durable.
            IncompatibleStoreError: If the prefix is another program's, of a newer format, or its ids are of another kind.
            CorruptStoreError: If records are missing.
        """
        check_kind(item_kind, "item_kind")
        check_kind(user_kind, "user_kind")
        if not _PREFIX.fullmatch(prefix):
            raise ValueError(
                f"prefix must be 1 to 100 letters, digits, dots, underscores, hyphens or braces (came: {prefix!r})"
            )
        if urlsplit(url).scheme not in _SCHEMES:
            raise ValueError(f"url must begin with redis://, rediss:// or unix:// (came: {shown_url(url)!r})")
        if not wait_s > 0:
            raise ValueError(f"wait_s must be positive (came: {wait_s})")
        redis = _redis_library()
        name = f"{shown_url(url)} (prefix {prefix})"
        try:
            if {"decode_responses", "protocol"} & dict(parse_qsl(urlsplit(url).query)).keys():
                raise ValueError("answers are read as they come")
            client = redis.Redis.from_url(
                url,
                protocol=2,
                socket_timeout=wait_s,
                socket_connect_timeout=wait_s,
                retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),  # a call is made again here, where its note is
            )
            client.connection_pool.make_connection()  # it connects later; an option that it doesn't know shows now
        except (ValueError, TypeError):  # its words may hold the password
            raise StoreError(f"{name} can't be opened: the URL or one of its options is wrong; see RedisStore.open") from None
        store = cls(redis, client, name=name, prefix=prefix, wait_s=wait_s)
        try:
            if require_durable:
                store._refuse_losing()
            store._begin(prefix, item_kind, user_kind)
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Let go of the connections. Closing again does nothing."""
        self._closed = True
        self._client.close()
        self._client.connection_pool.disconnect()

    def __enter__(self) -> RedisStore:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def put_items(self, items: Sequence[tuple[Id, Mapping[str, JSON]]]) -> int:
        """See :meth:`ItemLog.put_items <twotower.store.ItemLog.put_items>`."""
        return self._change(checked_items(items, self.item_kind))

    def remove_items(self, ids: Sequence[Id]) -> int:
        """See :meth:`ItemLog.remove_items <twotower.store.ItemLog.remove_items>`."""
        return self._change(checked_removals(ids, self.item_kind))

    def item_changes(self, after: int = 0, *, limit: int | None = None) -> list[ItemChange]:
        """See :meth:`ItemLog.item_changes <twotower.store.ItemLog.item_changes>`."""
        found = self._records(self._items, after, limit)
        return [read_change(self.name, number, record) for number, record in found]

    def last_item_change(self) -> int:
        """See :meth:`ItemLog.last_item_change <twotower.store.ItemLog.last_item_change>`."""
        return self._numbers()[0]

    def compact_items(self) -> int:
        """See :meth:`ItemLog.compact_items <twotower.store.ItemLog.compact_items>`. Others can write in between."""
        forgotten = 0
        while True:
            keys = [self._head, self._items, self._superseded]
            looked_at, gone = self._run(redis_scripts.COMPACT, keys, [self.identity, _PAGE], "written")
            forgotten += int(gone)
            if looked_at < _PAGE:
                return forgotten

    def append(self, interactions: Sequence[Interaction]) -> int:
        """See :meth:`InteractionLog.append <twotower.store.InteractionLog.append>`."""
        checked = checked_interactions(interactions, self.user_kind, self.item_kind)
        if not checked:
            return self.last_interaction()
        users: dict[Id, int] = {}
        arguments: list[object] = []
        for each in checked:
            place = users.setdefault(each.user, len(users) + 1)
            arguments += [place, "" if each.time is None else repr(each.time), interaction_said(each)]
        keys = [self._history + str(user) for user in users]
        return self._write(redis_scripts.ADD_INTERACTIONS, self._interactions, keys, arguments)

    def histories(self, users: Sequence[Id], *, latest: int | None = None, after: int = 0) -> list[list[LoggedInteraction]]:
        """See :meth:`InteractionLog.histories <twotower.store.InteractionLog.histories>`."""
        check_ids(users, self.user_kind, "user")
        check_count(latest, "latest")
        check_after(after)
        keys = [self._head, *(self._history + str(user) for user in users)]
        arguments = [self.identity, min(latest or 0, _LAST), f"{after:019d}"]
        answer = self._run(redis_scripts.HISTORIES, keys, arguments, "read")
        return [self._history_of(user, found) for user, found in zip(users, answer, strict=True)]

    def interactions(self, after: int = 0, *, limit: int | None = None) -> list[LoggedInteraction]:
        """See :meth:`InteractionLog.interactions <twotower.store.InteractionLog.interactions>`."""
        found = self._records(self._interactions, after, limit)
        for place, (number, _) in enumerate(found, after + 1):
            if number != place:
                raise CorruptStoreError(f"{self.name} is damaged: interaction {place} is missing; {RESTORE}")
        return [read_interaction(self.name, number, record) for number, record in found]

    def last_interaction(self) -> int:
        """See :meth:`InteractionLog.last_interaction <twotower.store.InteractionLog.last_interaction>`."""
        return self._numbers()[1]

    def version(self) -> int:
        """A number that rises with every change of either log, by whatever process; the same in all of them.

        One question to the server: as quick as the way there and back.
        """
        return sum(self._numbers()[:2])

    def _change(self, entries: list[ItemEntry]) -> int:
        if not entries:
            return self.last_item_change()
        arguments: list[object] = [part for entry in entries for part in (json_id(entry.item), item_said(entry))]
        return self._write(redis_scripts.ADD_ITEMS, self._items, [self._of_item, self._superseded], arguments)

    def _write(self, script: str, log: str, keys: list[str], arguments: list[object]) -> int:
        note = self._note + secrets.token_hex(12)
        note_ms = round(1000 * (_NOTE_S + 2 * self._wait_s))
        (last,) = self._run(script, [self._head, log, note, *keys], [self.identity, note_ms, *arguments], "written")
        return int(last)

    def _records(self, log: str, after: int, limit: int | None) -> list[tuple[int, bytes]]:
        """Sequences and records after a sequence, page by page: what is added meanwhile has higher ones."""
        check_after(after)
        check_count(limit, "limit")
        found: list[tuple[int, bytes]] = []
        while True:
            count = _PAGE if limit is None else min(_PAGE, limit - len(found))
            page = self._run(redis_scripts.PAGE, [self._head, log], [self.identity, after + 1, count], "read")
            found += [(int(number.partition(b"-")[0]), record) for number, record in zip(page[::2], page[1::2], strict=True)]
            if len(page) < 2 * count or len(found) == limit:
                return found
            after = found[-1][0]

    def _history_of(self, user: Id, found: list[bytes]) -> list[LoggedInteraction]:
        pairs = zip(found[::2], found[1::2], strict=True)
        history = [read_member(self.name, member, score) for member, score in pairs]
        history.reverse()
        for entry in history:
            if entry.user != user:
                raise CorruptStoreError(
                    f"{self.name} is damaged: user {user!r} has interaction {entry.sequence} of another one"
                )
        return history

    def _numbers(self) -> tuple[int, int]:
        items, interactions, _ = self._run(redis_scripts.HEAD, [self._head], [self.identity], "read")
        return int(items), int(interactions)

    def _begin(self, prefix: str, item_kind: IdKind, user_kind: IdKind) -> None:
        """Recognise the store, or make it where no key has its prefix."""
        keys = [self._head, self._items, self._interactions, self._of_item, self._superseded]
        values = [_APPLICATION, _FORMAT, secrets.token_hex(8), item_kind, user_kind]
        answer = self._run(redis_scripts.OPEN, keys, [*values, "0"], "opened", known=False)
        if answer[0] == b"none":
            self._refuse_foreign(prefix)
            answer = self._run(redis_scripts.OPEN, keys, [*values, "1"], "opened", known=False)
        if answer[0] == b"foreign":
            raise IncompatibleStoreError(
                f"{self.name} is another program's: {self._head} is not the head of a live store of twotower; choose another "
                f"prefix"
            )
        if answer[0] == b"format":
            raise IncompatibleStoreError(
                f"{self.name} is in version {answer[1].decode()} of the format, and this twotower reads version {_FORMAT}: "
                f"upgrade twotower"
            )
        _, head, of_items, of_interactions = answer
        _, _, identity, *kinds = (value.decode() for value in head[:5])
        self._refuse_missing([int(number or -1) for number in head[5:]], of_items, of_interactions)
        for what, kind, asked in zip(("items", "users"), kinds, (item_kind, user_kind), strict=True):
            if kind != asked:
                raise IncompatibleStoreError(
                    f"{self.name} has ids of {what} that are {kind}, and was opened for {asked}; it belongs to another "
                    f"recommender: choose another prefix"
                )
        self.identity, self.item_kind, self.user_kind = identity, item_kind, user_kind
        self._run(redis_scripts.TOUCH, [self._head], [identity], "written")

    def _refuse_foreign(self, prefix: str) -> None:
        pattern = re.sub(r"([\\*?\[\]])", r"\\\1", prefix) + ":*"
        try:
            found = next(self._client.scan_iter(match=pattern, count=5000), None)
        except self._redis.RedisError as error:
            raise store_error(self._redis, error, self.name, "opened", sent=False) from error
        if found is not None:
            raise IncompatibleStoreError(
                f"{self.name} has no head of a live store, but other keys ({found[:60]!r}): it is another program's, or has "
                f"lost its head; choose another prefix, or {RESTORE}"
            )

    def _refuse_missing(self, numbers: list[int], of_items: list[Any], of_interactions: list[Any]) -> None:
        items_last, items_count, last = numbers
        wanted = [[items_count, b"%d-0" % items_last], [last, b"%d-0" % last]]
        if [of_items, of_interactions] != wanted:
            raise CorruptStoreError(
                f"{self.name} is damaged: it was left with {items_count:,} changes of items up to {items_last:,} and {last:,} "
                f"interactions, and has {of_items[0]:,} up to {of_items[1].decode()} and {of_interactions[0]:,} up to "
                f"{of_interactions[1].decode()}; {RESTORE}"
            )

    def _refuse_losing(self) -> None:
        """Refuse a server whose settings lose what it has acknowledged."""
        try:
            settings: dict[str, str] = {}
            for key in (*_LASTING, "maxmemory", "maxmemory-policy"):
                settings |= self._client.config_get(key)
        except self._redis.ResponseError as error:
            raise StoreError(
                f"{self.name} does not say whether it keeps what it acknowledges (CONFIG GET: {error}); allow the user of the "
                f"URL CONFIG GET, or say require_durable=False if you know that it does, or that some may be lost"
            ) from error
        except self._redis.RedisError as error:
            raise store_error(self._redis, error, self.name, "opened", sent=False) from error
        losing = [key for key, value in _LASTING.items() if settings.get(key) != value]
        if losing:
            found = ", ".join(f"{key} {settings.get(key)}" for key in losing)
            wanted = ", ".join(f"'{key} {_LASTING[key]}'" for key in losing)
            raise StoreError(
                f"{self.name} may lose what it has acknowledged ({found}); set {wanted}, or say require_durable=False if some "
                f"may be lost"
            )
        if settings.get("maxmemory") != "0" and str(settings.get("maxmemory-policy")).startswith("allkeys"):
            raise StoreError(
                f"{self.name} evicts keys when its memory is full (maxmemory-policy {settings['maxmemory-policy']}); set "
                f"'maxmemory-policy noeviction', or say require_durable=False if some may be lost"
            )

    def _run(self, script: str, keys: list[str], arguments: Sequence[object], doing: str, *, known: bool = True) -> Any:
        """What a script answers, without its first word where the store is known; again for as long as it may help."""
        if self._closed:
            raise StoreError(f"{self.name} can't be {doing}: this store was closed; open it again")
        until = time.monotonic() + self._wait_s
        sent = False
        while True:
            try:
                answer = self._ask(script, keys, arguments)
                break
            except self._redis.RedisError as error:
                sent = sent or was_sent(self._redis, error)
                if not may_pass(self._redis, error) or time.monotonic() > until:
                    raise store_error(self._redis, error, self.name, doing, sent=sent) from error
                time.sleep(_PAUSE_S)
        if not known:
            return answer
        if answer[0] != b"ok":
            self._refuse(answer[0])
        return answer[1:]

    def _ask(self, script: str, keys: list[str], arguments: Sequence[object]) -> Any:
        digest = redis_scripts.digest(script)
        try:
            return self._client.evalsha(digest, len(keys), *keys, *arguments)
        except self._redis.exceptions.NoScriptError:  # since the server was started
            return self._client.eval(script, len(keys), *keys, *arguments)

    def _refuse(self, word: bytes) -> NoReturn:
        if word == b"replaced":
            raise StoreError(
                f"{self.name} was removed or replaced while it was open; nothing of this call was written; open it again"
            )
        raise CorruptStoreError(f"{self.name} is damaged: the end of a log is not where its head says; {RESTORE}")


def _redis_library() -> Any:
    try:
        return importlib.import_module("redis")
    except ModuleNotFoundError as fault:
        if fault.name != "redis":
            raise
        raise MissingExtraError("a store in Redis needs the library redis: pip install 'twotower[redis]'") from None
