from __future__ import annotations

from collections.abc import Iterator

import pytest

from twotower.native import library


@pytest.fixture(autouse=True)
def opened_anew() -> Iterator[None]:
    library._opened_once.cache_clear()
    yield
    library._opened_once.cache_clear()
