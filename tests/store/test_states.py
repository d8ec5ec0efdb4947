"""Any order of calls, held to lists: a file that is open twice, compacted, copied and opened again forgets nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from twotower.store import Interaction, ItemChange, LiveStore, LoggedInteraction, MemoryStore

TEXTS = st.sampled_from(["a", "b", "", "7", "\0", "ä", "a\0"])
USERS = st.sampled_from([0, 7, -1, 2**63 - 1])
TIMES = st.none() | st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FEATURES = st.dictionaries(st.text(max_size=3), JSONS, max_size=3)


class Store(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "live.db"
        self.stores = [self.opened(), self.opened()]
        self.changes: list[ItemChange] = []
        self.last = 0
        self.arrived: list[LoggedInteraction] = []
        self.turn = 0
        self.follower: tuple[int, dict[Any, Any]] = (0, {})

    def opened(self) -> LiveStore:
        return LiveStore.open(self.path, item_kind="text", user_kind="integer")

    @property
    def store(self) -> LiveStore:
        self.turn += 1
        return self.stores[self.turn % 2]

    def change(self, item: str, features: dict[str, Any] | None) -> None:
        self.last += 1
        self.changes.append(ItemChange(self.last, item, features))

    @rule(items=st.lists(st.tuples(TEXTS, FEATURES), max_size=4))
    def put(self, items: list[Any]) -> None:
        number = self.store.put_items(items)
        for item, features in items:
            self.change(item, features)
        assert number == self.last

    @rule(ids=st.lists(TEXTS, max_size=3))
    def remove(self, ids: list[str]) -> None:
        number = self.store.remove_items(ids)
        for item in ids:
            self.change(item, None)
        assert number == self.last

    @rule(interactions=st.lists(st.tuples(USERS, TEXTS, TIMES), max_size=5))
    def append(self, interactions: list[tuple[int, str, float | None]]) -> None:
        assert self.store.append([Interaction(*values) for values in interactions]) == len(self.arrived) + len(interactions)
        for user, item, time in interactions:
            self.arrived.append(LoggedInteraction(len(self.arrived) + 1, user, item, None if time is None else float(time)))

    @rule()
    def compact(self) -> None:
        last = {change.item: change.sequence for change in self.changes}
        kept = [change for change in self.changes if change.sequence == last[change.item]]
        assert self.store.compact_items() == len(self.changes) - len(kept)
        self.changes = kept

    @rule()
    def follow(self) -> None:
        after, state = self.follower
        while changes := self.store.item_changes(after, limit=3):
            for _, item, features in changes:
                state.pop(item, None)
                if features is not None:
                    state[item] = features
            after = changes[-1].sequence
        now = {change.item: change.features for change in self.changes}  # the last one of each
        assert state == {item: features for item, features in now.items() if features is not None}
        self.follower = (after, state)

    @rule(both=st.booleans())
    def reopen(self, both: bool) -> None:
        for place in (0, 1) if both else (0,):
            self.stores[place].close()
        for place in (0, 1) if both else (0,):
            self.stores[place] = self.opened()

    @rule()
    def copy_log(self) -> None:
        self.store._checkpoint()

    @precondition(lambda self: self.turn % 5 == 0)
    @rule()
    def verify(self) -> None:
        self.store.verify()

    @rule(user=USERS, latest=st.none() | st.integers(1, 4), after=st.integers(0, 10))
    def read(self, user: int, latest: int | None, after: int) -> None:
        oracle = MemoryStore(item_kind="text", user_kind="integer")
        oracle.append([Interaction(entry.user, entry.item, entry.time) for entry in self.arrived])
        assert self.store.histories([user], latest=latest, after=after) == oracle.histories([user], latest=latest, after=after)
        assert self.store.interactions(after, limit=latest) == self.arrived[after:][:latest]

    @invariant()
    def all_is_there(self) -> None:
        for store in self.stores:
            assert store.item_changes() == self.changes
            assert store.version() == self.last + len(self.arrived)

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self.folder.cleanup()


TestStore = Store.TestCase
TestStore.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
