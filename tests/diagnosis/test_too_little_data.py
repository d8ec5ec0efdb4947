from __future__ import annotations

from dataclasses import replace

from twotower.diagnosis import IdTableLoad, TrainingData, check_width

MOVIELENS = TrainingData(
    tables=(IdTableLoad("item", "candidate", ids=1664, width=64, rows=80_000),),
    catalogue=1664,
    untrained=100,
    only_item_ids=False,
)


def test_a_usual_width_is_no_finding() -> None:
    assert check_width(MOVIELENS) is None


def test_more_numbers_than_their_rows_can_place() -> None:
    user = IdTableLoad("user", "query", ids=1000, width=128, rows=9_000)
    finding = check_width(replace(MOVIELENS, tables=(user,)))
    assert finding is not None
    assert "1,000 vectors of 128 numbers from 9,000 train rows: 9.0 rows for each vector" in finding.evidence[0]
    assert finding.fix[0].startswith("query.features: embedding.dim = 64 for 'user'")
    assert check_width(replace(MOVIELENS, tables=(replace(user, width=64),))) is None  # what the fix says


def test_items_that_are_only_ids_and_were_never_seen() -> None:
    cold = replace(MOVIELENS, untrained=800, only_item_ids=True)
    finding = check_width(cold)
    assert finding is not None
    assert "800 of 1,664 items (48%)" in finding.evidence[0]
    assert check_width(replace(cold, only_item_ids=False)) is None
    assert check_width(replace(cold, untrained=300)) is None
