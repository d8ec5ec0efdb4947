"""Records of a store in Redis; no server is needed."""

from __future__ import annotations

import hashlib

import pytest

from twotower.errors import CorruptStoreError
from twotower.store import Interaction
from twotower.store.entries import ItemEntry
from twotower.store.redis_records import interaction_said, item_said, json_id, read_change, read_interaction, read_member


def written(sequence: int, said: str) -> bytes:
    """As the scripts write it."""
    return f"{hashlib.sha1(f'{sequence} {said}'.encode()).hexdigest()[:16]} {said}".encode()


@pytest.mark.parametrize(
    ("user", "item", "time"), [("7", 7, 1.5), (7, "7", None), ("a b\n\0", "", 5e-324), (-(2**63), "😀\u2028", -1.7e308)]
)
def test_interactions_come_back_as_they_went(user: str | int, item: str | int, time: float | None) -> None:
    at = "-inf" if time is None else repr(time)
    record = written(12, f"{at} {interaction_said(Interaction(user, item, time))}")
    assert tuple(read_interaction("s", 12, record)) == (12, user, item, time)
    assert tuple(read_member("s", b"%019d " % 12 + record, at.encode())) == (12, user, item, time)
    for other in (11, 13):
        with pytest.raises(CorruptStoreError, match=f"interaction {other} has changed"):
            read_interaction("s", other, record)
    with pytest.raises(CorruptStoreError, match="another place in its history"):
        read_member("s", b"%019d " % 12 + record, b"3.25")
    for place in range(len(record)):
        changed = bytearray(record)
        changed[place] ^= 1
        with pytest.raises(CorruptStoreError, match="s is damaged"):
            read_interaction("s", 12, bytes(changed))


def test_changes_come_back_as_they_went() -> None:
    for item, features, expected in (("a b", '{"x":[1, "é"]}', {"x": [1, "é"]}), (7, None, None), ("", "{}", {})):
        record = written(3, item_said(ItemEntry(item, features)))
        assert tuple(read_change("s", 3, record)) == (3, item, expected)
        with pytest.raises(CorruptStoreError, match="item change 4 has changed"):
            read_change("s", 4, record)
    with pytest.raises(CorruptStoreError, match="item change 5 can't be read"):
        read_change("s", 5, written(5, "[1,"))
    for member in (b"", b"x" * 40):
        with pytest.raises(CorruptStoreError, match="a history holds"):
            read_member("s", member, b"1")


def test_ids_stay_what_they_are() -> None:
    assert [json_id(value) for value in ("7", 7, "", "\0", -1)] == ['"7"', "7", '""', '"\\u0000"', "-1"]
