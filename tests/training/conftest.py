"""The tiny world that is trained here, as a fixture."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tiny_world import World, make_world


@pytest.fixture
def world() -> Callable[..., World]:
    return make_world
