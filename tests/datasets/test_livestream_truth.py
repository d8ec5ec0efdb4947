"""The truth beside a log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from twotower.datasets import LivestreamTruth, synthesize_livestream
from twotower.errors import DataError, DatasetError
from twotower.types import Ragged

ROWS = 3_000


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "log.csv"
    synthesize_livestream(path, rows=ROWS, seed=9)
    return path


def test_opened_by_the_log_or_by_its_own_name(log: Path) -> None:
    truth = LivestreamTruth.open(log)
    assert LivestreamTruth.open(log.with_name("log.csv.truth")).facts == truth.facts
    assert (truth.facts.rows, truth.facts.seed, truth.facts.log_bytes) == (ROWS, 9, log.stat().st_size)
    assert 0.3 < truth.facts.personal_share < 0.8


def test_the_scorer_ranks_what_was_watched(log: Path) -> None:
    frame = pl.read_csv(log)
    rows = np.arange(2_000, ROWS)
    items = frame["broadcaster"].unique().sort()
    places = {name: place for place, name in enumerate(items)}
    item_rows = np.array([places[name] for name in frame["broadcaster"]])
    viewers = frame["viewer"].gather(rows)
    warm = viewers.is_in(frame["viewer"].head(2_000).implode()).to_numpy()

    def seen(asked: torch.Tensor) -> Ragged:
        each = [item_rows[: rows[i]][(frame["viewer"].head(int(rows[i])) == viewers[i]).to_numpy()] for i in asked.tolist()]
        return Ragged(torch.from_numpy(np.concatenate(each)), torch.from_numpy(np.cumsum([0, *(len(some) for some in each)])))

    scorer = LivestreamTruth.open(log).scorer(viewers.cast(pl.Categorical), rows, warm, seen, items)
    assert scorer.num_items == len(items)
    scores = torch.cat([tile for _, tile in scorer.tiles(torch.arange(len(rows)), 100)], dim=1)
    own = scores[torch.arange(len(rows)), torch.from_numpy(item_rows[rows])]
    ranks = (scores > own[:, None]).sum(dim=1)
    popular = (torch.from_numpy(np.bincount(item_rows[:2_000], minlength=len(items)))).argsort(descending=True)[:20]
    assert float((ranks < 20).float().mean()) > 1.5 * float(np.isin(item_rows[rows], popular.numpy()).mean())


def test_ids_of_other_forms_are_never_watched(log: Path) -> None:
    viewer = pl.read_csv(log)["viewer"].head(1)
    nothing = Ragged(torch.zeros(0, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
    strange = pl.Series(["", "pof:", "pof:99999999999999999999", "pof:-3", "5", None, "pof:9999999999"])
    scorer = LivestreamTruth.open(log).scorer(viewer, np.array([0]), np.array([True]), lambda _: nothing, strange)
    assert next(scorer.tiles(torch.tensor([0]), 10))[1].tolist() == [[0.0] * 7]


@pytest.mark.parametrize(
    ("rows", "viewers", "says"),
    [
        ([0, 1], ["pof:1"], "came 1 viewers, 2 rows, 2 warm"),
        ([-1], ["pof:1"], r"in \[0, 3,000\); came -1"),
        ([3000], ["pof:1"], r"in \[0, 3,000\); came 3,000"),
        ([7], ["pof:1"], "row 7 of the log is not of viewer 'pof:1'"),
    ],
)
def test_rows_of_another_log(rows: list[int], viewers: list[str], says: str, log: Path) -> None:
    truth = LivestreamTruth.open(log)
    empty = Ragged(torch.zeros(0, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(DataError, match=says):
        truth.scorer(
            pl.Series(viewers), np.array(rows), np.ones(len(rows), dtype=np.bool_), lambda _: empty, pl.Series(["a:1"])
        )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "must be of version 1; came 2"),
        ({"kind": "other"}, "is not the truth about a planted log"),
        ({"rows": None}, "must have the number 'rows'"),
        ({"seed": True}, "must have the number 'seed'"),
        ({"log_bytes": 17}, "must have 17 bytes"),
    ],
)
def test_a_truth_that_is_not_this_logs(change: dict[str, Any], says: str, log: Path, tmp_path: Path) -> None:
    facts = json.loads((log.with_name("log.csv.truth") / "truth.json").read_text())
    (tmp_path / "log.csv.truth").mkdir()
    (tmp_path / "log.csv.truth" / "truth.json").write_text(json.dumps(facts | change))
    (tmp_path / "log.csv").write_bytes(log.read_bytes())
    with pytest.raises(DatasetError, match=says) as caught:
        LivestreamTruth.open(tmp_path / "log.csv")
    assert "twotower synth livestream" in str(caught.value)


def test_no_truth_and_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="can't be read"):
        LivestreamTruth.open(tmp_path / "log.csv")
    (tmp_path / "log.csv.truth").mkdir()
    (tmp_path / "log.csv.truth" / "truth.json").write_text('{"kind": "tw')
    with pytest.raises(DatasetError, match="must be JSON"):
        LivestreamTruth.open(tmp_path / "log.csv")
