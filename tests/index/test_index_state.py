"""What is kept of an index tells which vectors it belongs to."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from twotower.errors import CorruptBundleError, IncompatibleBundleError
from twotower.index.index_state import begun_config, checked_config

VECTORS = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def test_numbers_come_back() -> None:
    config = begun_config("graph", VECTORS) | {"beam": 7, "other": 1}
    assert checked_config(config, "graph", VECTORS, {"beam": 2}) == {"beam": 7}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("kind", "lists", "kind of the index must be 'graph' \\(came: 'lists'\\)"),
        ("num_vectors", 3, "num_vectors of the index must be 2 \\(came: 3\\)"),
        ("vectors_crc32", 0, "vectors_crc32 of the index must be"),
        ("format", None, "format of the index must be 1"),
        ("beam", None, "beam of the index must be an integer of at least 2 \\(came: None\\)"),
        ("beam", 1, "beam of the index must be an integer of at least 2 \\(came: 1\\)"),
        ("beam", True, "beam of the index"),
        ("beam", "7", "beam of the index"),
    ],
)
def test_what_does_not_fit_is_named(name: str, value: Any, message: str) -> None:
    config = begun_config("graph", VECTORS) | {"beam": 7, name: value}
    with pytest.raises(CorruptBundleError, match=message):
        checked_config(config, "graph", VECTORS, {"beam": 2})


def test_other_vectors_of_the_same_shape_are_refused() -> None:
    with pytest.raises(CorruptBundleError, match="it belongs to other vectors"):
        checked_config(begun_config("graph", VECTORS), "graph", VECTORS + 1, {})


def test_a_newer_format_is_told_from_damage() -> None:
    with pytest.raises(IncompatibleBundleError, match=r"of format 1 \(came: 2\)"):
        checked_config(begun_config("graph", VECTORS) | {"format": 2}, "graph", VECTORS, {})


def test_no_vectors() -> None:
    none = torch.empty(0, 2)
    assert checked_config(begun_config("graph", none), "graph", none, {}) == {}
