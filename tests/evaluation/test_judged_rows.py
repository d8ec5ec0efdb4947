"""Judged rows: what they hold, that they come back from a file, and that damage is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from twotower.errors import BundleError
from twotower.evaluation import JudgedRows, PositiveRanks
from twotower.metrics import Ranks


def ranks(*above: int, tied: int = 1) -> Ranks:
    return Ranks(np.array(above), np.full(len(above), tied))


def judged() -> JudgedRows:
    return JudgedRows(
        rows=np.array([5, 9, 7]),
        user_rows=np.array([0, 0, 2]),
        item_rows=np.array([3, -1, 1]),
        warm=np.array([True, True, False]),
        history_lengths=np.array([4, 5, 0]),
        item_counts=np.array([12, 0, 1]),
        rankers={
            "model": PositiveRanks(ranks(0, 2, 3, tied=2), ranks(0, 2, 1)),
            "b/a": PositiveRanks(ranks(9, 8, 7), ranks(6, 5, 4)),
        },
    )


def same(first: JudgedRows, second: JudgedRows) -> bool:
    return first.to_frame().equals(second.to_frame()) and list(first.rankers) == list(second.rankers)


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    judged().write(tmp_path / "deep" / "judged.parquet")
    assert same(JudgedRows.read(tmp_path / "deep" / "judged.parquet"), judged())
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["judged.parquet"]


def test_values_are_those_of_the_variant_and_zero_outside_of_the_catalogue() -> None:
    found = judged()
    # rank 1 or 2, 3 or 4, 4 or 5; row 1 has no item in the catalogue
    assert found.values("model", "recall@1", removed=False).tolist() == [0.5, 0.0, 0.0]
    assert found.values("model", "recall@4", removed=False).tolist() == [1.0, 0.0, 0.5]
    assert found.values("model", "recall@2", removed=True).tolist() == [1.0, 0.0, 1.0]
    assert found.values("model", "mrr", removed=True).tolist() == [1.0, 0.0, 0.5]
    assert found.values("model", "ndcg@5", removed=True) == pytest.approx([1.0, 0.0, 1 / np.log2(3)])
    # behind everything, where k is larger than the catalogue
    assert found.values("b/a", "recall@100", removed=False).tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("metric", ["recall", "recall@0", "recall@x", "hits@3", "mrr@3"])
def test_an_unknown_metric_is_named(metric: str) -> None:
    with pytest.raises(ValueError, match=r"recall@K, ndcg@K or mrr; came"):
        judged().values("model", metric, removed=False)


def test_more_rankers_come_after_and_must_have_judged_as_many_rows() -> None:
    more = judged().with_rankers({"other": PositiveRanks(ranks(1, 1, 1), ranks(0, 0, 0))})
    assert list(more.rankers) == ["model", "b/a", "other"]
    assert list(judged().rankers) == ["model", "b/a"]
    with pytest.raises(ValueError, match="ranks of 1 rows came for 3"):
        judged().with_rankers({"short": PositiveRanks(ranks(1), ranks(1))})


def test_rows_are_the_same_only_in_the_same_order_and_of_the_same_users() -> None:
    one = judged()
    assert one.same_rows(judged())
    order = np.array([1, 0, 2])
    for rows, users in ((one.rows[order], one.user_rows), (one.rows, one.user_rows + 1), (one.rows[:2], one.user_rows[:2])):
        assert not one.same_rows(JudgedRows(rows, users, one.item_rows, one.warm, one.history_lengths, one.item_counts, {}))


def test_what_is_damaged_or_missing_says_how_to_get_it_back(tmp_path: Path) -> None:
    path = tmp_path / "judged.parquet"
    with pytest.raises(BundleError, match="missing; judge the run again: twotower evaluate"):
        JudgedRows.read(path)
    path.write_bytes(b"PAR1 nothing of it PAR1")
    with pytest.raises(BundleError, match="damaged"):
        JudgedRows.read(path)
    whole = judged().to_frame()
    for frame in (
        whole.drop("warm"),
        whole.drop("model/tied_removed"),
        whole.with_columns(pl.col("row").cast(pl.Int32)),
        whole.with_columns(pl.lit(None, dtype=pl.Int64).alias("model/above")),
        whole.with_columns((-pl.col("model/above") - 1).alias("model/above")),
    ):
        frame.write_parquet(path)
        with pytest.raises(BundleError, match="judge the run again"):
            JudgedRows.read(path)
