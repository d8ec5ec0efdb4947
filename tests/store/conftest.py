"""Stores that are closed when a test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from twotower.store import IdKind, LiveStore

OpenStore = Callable[..., LiveStore]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[OpenStore]:
    """Opens ``live.db`` in the test's folder, or another path."""
    stores: list[LiveStore] = []

    def opened(
        path: Path = tmp_path / "live.db",
        *,
        item_kind: IdKind = "text",
        user_kind: IdKind = "text",
        wait_s: float = 5.0,
        verify: bool = True,
    ) -> LiveStore:
        stores.append(LiveStore.open(path, item_kind=item_kind, user_kind=user_kind, wait_s=wait_s, verify=verify))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()
