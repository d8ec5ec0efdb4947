"""What a log of items and a log of interactions promise, whatever keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

from twotower.bundle import JSON
from twotower.types import Id

__all__ = ["IdKind", "Interaction", "InteractionLog", "ItemChange", "ItemLog", "LoggedInteraction"]

IdKind: TypeAlias = Literal["text", "integer"]
"""What the ids of a log are: all text, or all integers of 64 bits. The text "7" and the integer 7 are different ids."""


class ItemChange(NamedTuple):
    """One change of one item.

    Attributes:
        sequence: Where it stands in the log, from 1: later changes have higher numbers, and none is given twice.
        item: The item's id.
        features: What the item is from this change on; None where the change removed it.
    """

    sequence: int
    item: Id
    features: dict[str, JSON] | None


class Interaction(NamedTuple):
    """A user met an item.

    Attributes:
        user: The user's id.
        item: The item's id.
        time: Unix seconds, finite; None where it is not known.
    """

    user: Id
    item: Id
    time: float | None = None


class LoggedInteraction(NamedTuple):
    """An interaction as a log gives it back.

    Attributes:
        sequence: Where it stands in the log, from 1: later arrivals have higher numbers, and none is given twice.
        user: The user's id.
        item: The item's id.
        time: Unix seconds; None where it was not known.
    """

    sequence: int
    user: Id
    item: Id
    time: float | None


class ItemLog(Protocol):
    """The items that were put and removed, in the order in which it happened.

    Several processes follow the log by asking for what came after the last change that they have seen. A change is visible only
    when all changes before it are, so following never skips one.
    """

    def put_items(self, items: Sequence[tuple[Id, Mapping[str, JSON]]]) -> int:
        """Add items, or give them other features; all of them or, with an error, none.

        Args:
            items: Ids and features (finite numbers, text, lists, mappings with text as keys; tuples come back as lists). An id
                may come several times: the last one stays.

        Returns:
            The sequence of the last change of the log, which now outlasts this process.

        Raises:
            DataError: If an id is not of the log's kind, or JSON can't hold the features; it says which.
            StoreError: If it can't be written; then nothing was.
        """
        ...

    def remove_items(self, ids: Sequence[Id]) -> int:
        """Remove items, all or none; one that the log never had is noted as well, since a bundle may have it.

        Returns:
            As :meth:`put_items`.

        Raises:
            DataError: If an id is not of the log's kind.
            StoreError: If it can't be written; then nothing was.
        """
        ...

    def item_changes(self, after: int = 0, *, limit: int | None = None) -> list[ItemChange]:
        """The changes with a higher sequence, in order.

        Of the changes of one item, all but the last may be missing (:meth:`compact_items`): whoever applies them in order is at
        the right state when the list has ended.

        Args:
            after: The sequence of the last change that is known; 0 for none.
            limit: At most so many, the oldest; ask again after the last of them for more. All without it.

        Raises:
            StoreError: If they can't be read.
            CorruptStoreError: If one has changed since it was written.
        """
        ...

    def last_item_change(self) -> int:
        """The sequence of the last change, 0 without any; quick enough to be asked before every request."""
        ...

    def compact_items(self) -> int:
        """Forget the changes that a later one of the same item supersedes; removals stay, since a follower may be behind.

        Returns:
            How many were forgotten.
        """
        ...


class InteractionLog(Protocol):
    """The interactions of users with items, in the order of their arrival.

    An interaction may come twice and is then two interactions. One without a time counts as if it happened when it arrived: in
    its user's history it stands after all that had arrived before it, and before later arrivals with a later time.
    """

    def append(self, interactions: Sequence[Interaction]) -> int:
        """Add interactions; all of them or, with an error, none.

        Writing again after an error of the log is safe. Writing again because the answer was lost on the way may append twice.

        Args:
            interactions: In their order of arrival.

        Returns:
            The sequence of the last interaction of the log, which now outlasts this process.

        Raises:
            DataError: If an id is not of the log's kind, or a time is not a finite number; it says which.
            StoreError: If it can't be written; then nothing was.
        """
        ...

    def histories(self, users: Sequence[Id], *, latest: int | None = None, after: int = 0) -> list[list[LoggedInteraction]]:
        """The interactions of each user, in the order of time and of arrival at the same time, the most recent last.

        Args:
            users: Ids; one that has no interactions gets an empty list.
            latest: At most so many of each user, the most recent; an item that comes twice counts twice. All without it.
            after: Only those with a higher sequence, for instance the last one that a bundle was trained with.

        Returns:
            One list for each user, in their order, all of one moment.

        Raises:
            DataError: If an id is not of the log's kind.
            StoreError: If they can't be read.
            CorruptStoreError: If one has changed since it was written.
        """
        ...

    def interactions(self, after: int = 0, *, limit: int | None = None) -> list[LoggedInteraction]:
        """The interactions with a higher sequence, in order of arrival, for instance to train with them.

        Args:
            after: The sequence of the last interaction that is known; 0 for none.
            limit: At most so many, the oldest; ask again after the last of them for more. All without it.

        Raises:
            StoreError: If they can't be read.
            CorruptStoreError: If one has changed since it was written.
        """
        ...

    def last_interaction(self) -> int:
        """The sequence of the last interaction, 0 without any; quick enough to be asked before every request."""
        ...
