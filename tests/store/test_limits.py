from __future__ import annotations

from typing import Any

import pytest

from twotower.store.limits import check_after, check_count, check_kind


@pytest.mark.parametrize("after", [0, 1, 2**63 - 1])
def test_a_sequence_is_let_be(after: int) -> None:
    check_after(after)


@pytest.mark.parametrize("after", [-1, 2**63, 0.0, True, None, "1"])
def test_what_is_no_sequence_is_refused(after: Any) -> None:
    with pytest.raises(ValueError, match=r"after must be the sequence of a record, or 0 \(came: "):
        check_after(after)


@pytest.mark.parametrize("count", [None, 1, 2**63 - 1])
def test_a_number_of_records_is_let_be(count: int | None) -> None:
    check_count(count, "latest")


@pytest.mark.parametrize("count", [0, -1, 2**63, 1.0, True])
def test_what_is_no_number_of_records_is_refused(count: Any) -> None:
    with pytest.raises(ValueError, match=r"latest must be at least 1, or None for all \(came: "):
        check_count(count, "latest")


def test_what_is_no_kind_of_ids_is_refused() -> None:
    check_kind("text", "item_kind")
    check_kind("integer", "item_kind")
    with pytest.raises(ValueError, match=r"item_kind must be 'text' or 'integer' \(came: 'int'\)"):
        check_kind("int", "item_kind")
