from __future__ import annotations

import itertools
from typing import Any

from twotower.store.checksums import interaction_checksum, item_checksum


def test_checksums_that_files_hold_stay_what_they_are() -> None:
    """Computed by hand with zlib.crc32 of b"3 1 a+{}", b"3 1 a-", b"3 -1 7-"; of the packed numbers and b"ann 7"."""
    assert item_checksum(3, "a", "{}") == 4_207_402_428
    assert item_checksum(3, "a", None) == 3_138_266_131
    assert item_checksum(3, 7, None) == 2_669_194_071
    assert interaction_checksum(1, "ann", 7, 1.5, 1.5) == 3_378_474_313
    assert interaction_checksum(1, "ann", 7, None, float("-inf")) == 2_866_924_139


def test_records_that_differ_have_checksums_that_differ() -> None:
    items: list[Any] = [
        *itertools.product((1, 2, 12), ("", "a", "a-", "1", 1, "1 a", "+", "é"), (None, "", "{}", "-", "a", "1"))
    ]
    assert len({item_checksum(*record) for record in items}) == len(items)
    ids = ("", " ", "a", "a ", " a", "1", 1)
    times = ((None, float("-inf")), (None, 0.0), (0.0, 0.0), (1.0, 1.0), (1.0, 0.0))
    interactions: list[Any] = [
        (sequence, user, item, *time) for sequence in (1, 256) for user in ids for item in ids for time in times
    ]
    # the kinds of ids are those of the store: 1 and "1" as items are told apart by it
    of_text = [record for record in interactions if isinstance(record[2], str)]
    assert len({interaction_checksum(*record) for record in of_text}) == len(of_text)


def test_what_is_no_record_has_the_checksum_of_none() -> None:
    wrong: list[Any] = [("x", "a", "b", 1.0, 1.0), (1, "a", "b", "x", 1.0), (1, "a", "b", 1.0, None), (1, "a", "b", b"x", 1.0)]
    assert {interaction_checksum(*record) for record in wrong} == {-1}
