"""Writing the log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from twotower.datasets import LIVESTREAM_COLUMNS, LivestreamTruth, Synthesizing, synthesize_livestream
from twotower.datasets.livestream import synthesize
from twotower.errors import BundleError, ConfigError, DatasetError

ROWS = 2_500


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_the_same_rows_and_seed_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    logs = [tmp_path / str(number) / name for number in range(3)]
    synthesize_livestream(logs[0], rows=ROWS, seed=5)
    synthesize_livestream(logs[1], rows=ROWS, seed=5, rows_at_once=700)
    synthesize_livestream(logs[2], rows=ROWS, seed=6)
    assert logs[0].read_bytes() == logs[1].read_bytes()
    assert logs[0].read_bytes() != logs[2].read_bytes()


def test_csv_parquet_and_folder_hold_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthesize_livestream(tmp_path / "log.csv", rows=ROWS)
    monkeypatch.setattr(synthesize, "_GROUP_ROWS", 600)
    monkeypatch.setattr(synthesize, "_FILE_ROWS", 1_000)
    synthesize_livestream(tmp_path / "groups.csv", rows=ROWS)
    assert (tmp_path / "groups.csv").read_bytes() == (tmp_path / "log.csv").read_bytes()
    synthesize_livestream(tmp_path / "log.parquet", rows=ROWS)
    synthesize_livestream(tmp_path / "folder", rows=ROWS, format="parquet")
    whole = pl.read_parquet(tmp_path / "log.parquet")
    assert whole.columns == list(LIVESTREAM_COLUMNS)
    assert whole.height == ROWS
    assert pl.read_csv(tmp_path / "log.csv", schema_overrides=whole.schema).equals(whole)
    assert names(tmp_path / "folder") == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    parts = [pl.read_parquet(tmp_path / "folder" / name) for name in names(tmp_path / "folder")]
    assert [part.height for part in parts] == [1_000, 1_000, 500]
    assert pl.concat(parts).equals(whole)


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    left = [tmp_path / ".log.csv.12345-0123abcd.tmp", tmp_path / ".other.99-89abcdef.tmp"]
    left[0].write_text("viewer,")
    left[1].mkdir()
    synthesize_livestream(tmp_path / "log.csv", rows=3)
    assert names(tmp_path) == ["log.csv", "log.csv.truth"]


def test_a_log_of_one_row(tmp_path: Path) -> None:
    synthesize_livestream(tmp_path / "log.csv", rows=1)
    assert pl.read_csv(tmp_path / "log.csv").shape == (1, 18)


def test_progress(tmp_path: Path) -> None:
    events: list[Synthesizing] = []
    truth = synthesize_livestream(tmp_path / "log.csv", rows=ROWS, listener=events.append, rows_at_once=1_000)
    assert [event.rows for event in events] == [1_000, 2_000, 2_500]
    assert {event.rows_total for event in events} == {2_500}
    assert events[0].seconds <= events[-1].seconds
    assert truth == tmp_path / "log.csv.truth"
    assert names(truth) == ["truth.json"]


@pytest.mark.parametrize(("name", "kind"), [("log.csv", None), ("log", "parquet")])
def test_an_interrupted_log_is_not_there(name: str, kind: synthesize.LivestreamFormat | None, tmp_path: Path) -> None:
    def stop(event: Synthesizing) -> None:
        if event.rows > 1_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize_livestream(tmp_path / name, rows=ROWS, format=kind, listener=stop, rows_at_once=1_000)
    assert names(tmp_path) == []
    synthesize_livestream(tmp_path / name, rows=500, format=kind)
    with pytest.raises(KeyboardInterrupt):
        synthesize_livestream(tmp_path / name, rows=ROWS, format=kind, listener=stop, rows_at_once=1_000)
    assert LivestreamTruth.open(tmp_path / name).facts.rows == 500


def test_a_killed_writer_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from twotower.datasets import synthesize_livestream\n"
        "stop = lambda event: event.rows > 1000 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "synthesize_livestream(Path(sys.argv[1]), rows=2500, listener=stop, rows_at_once=1000)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "log.csv")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert all(name.startswith(".log.csv.") for name in names(tmp_path))
    with pytest.raises(DatasetError, match=r"synth livestream"):
        LivestreamTruth.open(tmp_path / "log.csv")


def test_the_old_truth_goes_before_the_new_log_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log.csv"
    synthesize_livestream(log, rows=500)

    def fail(*_: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(synthesize, "write_truth", fail)
    with pytest.raises(KeyboardInterrupt):
        synthesize_livestream(log, rows=700)
    assert names(tmp_path) == ["log.csv"]


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("log.csv", {"rows": 0}, r"rows must be in \[1, 2,000,000,000\]; came 0"),
        ("log.csv", {"seed": -1}, r"seed must be in \[0, 2\^63\); came -1"),
        ("log.csv", {"rows": -2, "seed": -1}, "2 faults"),
        ("log.csv", {"format": "xml"}, "no format 'xml'; valid: csv, parquet"),
        ("log.csv", {"format": "parquet"}, "must end in .csv or .parquet"),
        ("log.parquet", {"format": "csv"}, "a CSV file must end in .csv; came 'log.parquet'"),
        ("log", {}, "'log' has no suffix that tells the format"),
        ("log.csv.gz", {}, "must end in .csv or .parquet"),
    ],
)
def test_wrong_arguments(name: str, arguments: dict[str, object], says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        synthesize_livestream(tmp_path / name, **({"rows": ROWS} | arguments))  # type: ignore[arg-type]
    assert names(tmp_path) == []


def test_a_folder_with_other_things_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match=r"holds 'letter.txt', which was not written here"):
        synthesize_livestream(tmp_path / "home", rows=ROWS, format="parquet")
    (tmp_path / "log.csv.truth").mkdir()
    (tmp_path / "log.csv.truth" / "mine").write_text("")
    with pytest.raises(ConfigError, match="holds 'mine'"):
        synthesize_livestream(tmp_path / "log.csv", rows=ROWS)
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"


def test_places_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="can't be written"):
        synthesize_livestream(tmp_path / "file" / "log.csv", rows=ROWS)
    (tmp_path / "log.csv").mkdir()
    with pytest.raises(BundleError, match="is a folder"):
        synthesize_livestream(tmp_path / "log.csv", rows=ROWS)


def test_a_full_disk_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(synthesize, "_write_csv", full)
    with pytest.raises(DatasetError, match=r"log.csv can't be written: No space left on device"):
        synthesize_livestream(tmp_path / "log.csv", rows=ROWS)
    assert names(tmp_path) == []
