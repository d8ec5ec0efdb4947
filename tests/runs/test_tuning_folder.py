"""A tuning's folder: who may write, and what it is a tuning of."""

from __future__ import annotations

from pathlib import Path

import pytest

from twotower.errors import ConfigError
from twotower.runs.tuning_folder import TuningFolder, differences


def test_a_tuning_that_is_there_is_gone_on_with_or_started_over(tmp_path: Path) -> None:
    place = TuningFolder(tmp_path / "tune")
    with place.open(resume=True, overwrite=False):
        place.study.write_text("study")
        place.best.write_text("best")
    with (
        pytest.raises(ConfigError, match="a tuning is there already; go on with --resume"),
        place.open(resume=False, overwrite=False),
    ):
        pass
    with place.open(resume=True, overwrite=False):
        place.begin(overwrite=False)
        assert place.study.exists()
    with place.open(resume=False, overwrite=True):
        assert place.study.exists()
        place.begin(overwrite=True)
        assert not place.study.exists()
        assert not place.best.exists()
    with pytest.raises(ConfigError, match="give one of them"), place.open(resume=True, overwrite=True):
        pass


def test_other_things_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with (
        pytest.raises(ConfigError, match=r"holds other things than a tuning \(mine.txt\)"),
        TuningFolder(tmp_path).open(resume=False, overwrite=True),
    ):
        pass
    with (
        pytest.raises(ConfigError, match="a file is in the way"),
        TuningFolder(tmp_path / "mine.txt").open(resume=False, overwrite=False),
    ):
        pass


@pytest.mark.parametrize("resume", [False, True])
def test_results_without_their_storage_are_not_written_over(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "best.toml").write_text("mine")
    place = TuningFolder(tmp_path)
    with (
        pytest.raises(ConfigError, match=r"best.toml would be written over.*study.sqlite is missing"),
        place.open(resume=resume, overwrite=False),
    ):
        pass
    with place.open(resume=False, overwrite=True):
        place.begin(overwrite=True)
    assert not place.best.exists()


def test_a_file_that_may_not_be_read_elsewhere_is_not_said_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), TuningFolder(tmp_path).open(resume=False, overwrite=False):
        raise PermissionError(13, "Permission denied", "log.csv")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    place = TuningFolder(tmp_path)
    with (
        place.open(resume=False, overwrite=False),
        pytest.raises(ConfigError, match="another process is tuning"),
        place.open(resume=True, overwrite=False),
    ):
        pass


def test_what_differs_is_said() -> None:
    stored = {"recipe": {"a": {"b": 1}, "c": 2}, "space": {"k": {"low": 1}}, "metric": "mrr", "seed": 0, "data": "x"}
    assert differences(stored, stored) == []
    assert differences(stored, {**stored, "data": "y"}) == ["the contents of the tables, or their split, changed"]
    other = {**stored, "recipe": {"a": {"b": 3}}, "space": {"k": {"low": 2}}, "metric": "ndcg@10", "data": "y"}
    assert differences(stored, other) == ["a.b is 3, was 1", "c is None, was 2", "tune: k.low is 2, was 1", "and 1 more"]
