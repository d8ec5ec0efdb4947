"""What the store in memory promises is in the contract; here, that nothing leaks in or out."""

from __future__ import annotations

from twotower.store import Interaction, MemoryStore


def test_two_share_nothing() -> None:
    one, other = (MemoryStore(item_kind="text", user_kind="text") for _ in range(2))
    one.append([Interaction("u", "a")])
    one.put_items([("a", {})])
    assert (other.version(), other.histories(["u"])) == (0, [[]])


def test_what_is_read_belongs_to_the_reader() -> None:
    store = MemoryStore(item_kind="text", user_kind="text")
    store.append([Interaction("u", "a")])
    store.histories(["u"])[0].clear()
    store.interactions().clear()
    assert len(store.histories(["u"])[0]) == len(store.interactions()) == 1
