"""The cache of converted tables: used again, noticed when it does not fit, whole or not there at all."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower.columnar import ColumnarTable, Converting, open_table
from twotower.data import TableConfig
from twotower.errors import TableReadError

LOG = "viewer,stream,age,country,watched\nv2,s1,31,BR,10.5\nv1,s2,,,3\nv2,s3,19,PT,\nv10,s1,,BR,8\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log.csv").write_text(LOG)
    return tmp_path / "log.csv"


def opened(
    path: Path, *, columns: list[str] | None = None, events: list[Converting] | None = None, **spec: Any
) -> ColumnarTable:
    return open_table(
        TableConfig(path=path.name, **spec),
        noun="log",
        base_dir=path.parent,
        cache_dir=path.parent / "cache",
        columns=columns,
        listener=None if events is None else events.append,
    )


def as_text(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col(pl.Enum).cast(pl.String))


def test_columns_are_sorted_enums_integers_and_floats(log: Path) -> None:
    table = opened(log)
    assert table.frame.schema == {
        "viewer": pl.Enum(["v1", "v10", "v2"]),
        "stream": pl.Enum(["s1", "s2", "s3"]),
        "age": pl.Int64,
        "country": pl.Enum(["BR", "PT"]),
        "watched": pl.Float64,
    }
    assert table.frame["viewer"].to_physical().to_list() == [2, 0, 2, 1]
    assert table.frame["viewer"].to_physical().dtype == pl.UInt8
    assert as_text(table.frame).rows() == [
        ("v2", "s1", 31, "BR", 10.5),
        ("v1", "s2", None, None, 3.0),
        ("v2", "s3", 19, "PT", None),
        ("v10", "s1", None, "BR", 8.0),
    ]
    assert table.report.rows == 4
    assert table.frame.n_chunks() == 1


def test_a_table_is_converted_once(log: Path) -> None:
    first = opened(log)
    assert first.converted == "converted for the first time"
    events: list[Converting] = []
    again = opened(log, events=events)
    assert again.converted is None
    assert events == []
    assert (again.key, again.report, again.frame.equals(first.frame)) == (first.key, first.report, True)
    assert first.folder == log.parent / "cache" / "columnar" / first.key


def test_opening_it_is_using_it(log: Path) -> None:
    manifest = opened(log).folder / "manifest.json"
    os.utime(manifest, (1_000_000, 1_000_000))
    opened(log)
    assert manifest.stat().st_mtime > 1_000_000


def test_values_stay_in_their_files(log: Path) -> None:
    folder = opened(log).folder
    before = opened(log).frame["watched"]
    path = next(folder / f"{place:04d}.values" for place in [4])
    with path.open("r+b") as file:
        file.write(b"\0" * 8)
    assert before[0] == 0.0  # mapped, not copied


@pytest.mark.parametrize("change", ["content", "time", "types", "fill", "policy"])
def test_another_source_or_another_reading_is_another_table(log: Path, change: str) -> None:
    key = opened(log).key
    spec: dict[str, Any] = {}
    if change == "content":
        stamp = log.stat().st_mtime_ns
        log.write_text(LOG.replace("v10", "v11"))
        os.utime(log, ns=(stamp, stamp))
    elif change == "time":
        os.utime(log, (5, 5))
    elif change == "types":
        spec = {"types": {"age": "float32"}}
    elif change == "fill":
        spec = {"fill": {"age": 30}}
    else:
        spec = {"on_bad_rows": "skip"}
    other = opened(log, **spec)
    assert other.key != key
    assert other.converted == "converted for the first time"
    if change == "content":
        assert other.frame["viewer"].cast(pl.String)[3] == "v11"


def test_only_wanted_columns_are_kept_and_more_can_be_added(log: Path) -> None:
    table = opened(log, columns=["stream", "viewer"])
    assert table.frame.columns == ["viewer", "stream"]
    assert table.report.ignored == ("age", "country", "watched")
    assert len(list(table.folder.glob("*.values"))) == 2
    fewer = opened(log, columns=["stream"])
    assert (fewer.converted, fewer.frame.columns) == (None, ["stream"])
    more = opened(log, columns=["age"])
    assert more.converted == "converted again, with the columns that were not wanted before"
    assert (more.key, more.frame.columns) == (table.key, ["age"])
    assert opened(log, columns=["viewer", "stream", "age"]).converted is None
    assert opened(log).converted is not None
    assert opened(log, columns=["watched", "country"]).converted is None
    assert table.frame["viewer"].cast(pl.String).to_list() == ["v2", "v1", "v2", "v10"]  # its files are gone, its values stay


def test_a_wanted_column_that_is_not_there(log: Path) -> None:
    for _ in range(2):
        with pytest.raises(TableReadError, match=r"log .*log.csv: no column 'viewr'; did you mean 'viewer'"):
            opened(log, columns=["viewr", "stream"])
        opened(log)
    with pytest.raises(TableReadError, match="if its separator is ',', declare separator = ','"):
        opened(log, separator=";", columns=["viewer"])


def test_missing_values_are_filled_and_counted(log: Path) -> None:
    table = opened(log, fill={"age": 30, "country": "unknown", "watched": 0, "viewer": "nobody"})
    assert as_text(table.frame).select("age", "country", "watched").rows() == [
        (31, "BR", 10.5),
        (30, "unknown", 3.0),
        (19, "PT", 0.0),
        (30, "BR", 8.0),
    ]
    assert table.frame.schema["country"] == pl.Enum(["BR", "PT", "unknown"])
    assert table.frame.schema["viewer"] == pl.Enum(["v1", "v10", "v2"])  # nothing was missing, so "nobody" does not occur
    assert table.report.filled == {"viewer": 0, "age": 2, "country": 1, "watched": 1}
    assert sum(column.null_count() for column in table.frame) == 0
    assert not list(table.folder.glob("*.valid"))


@pytest.mark.parametrize("name", ["0000.values", "0002.valid", "0001.categories", "manifest.json"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_damaged_cache_is_noticed_and_made_again(log: Path, name: str, how: str) -> None:
    table = opened(log)
    path = table.folder / name
    if how == "cut":
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[:-1])
    else:
        path.unlink()
    events: list[Converting] = []
    again = opened(log, events=events)
    assert again.converted is not None
    assert again.converted.startswith("converted again: in the cache")
    assert (name.partition(".")[0] in again.converted) == (name != "manifest.json") or "manifest" in again.converted
    assert events[0].why == again.converted
    assert events[0].again
    assert as_text(again.frame).rows()[3] == ("v10", "s1", None, "BR", 8.0)
    assert opened(log).converted is None


def test_a_manifest_of_another_format_is_not_trusted(log: Path) -> None:
    path = opened(log).folder / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"format_version": 0}))
    assert opened(log).converted == "converted again: in the cache its manifest is of another format"


def test_codes_that_name_no_category_are_damage(log: Path) -> None:
    path = opened(log).folder / "0000.values"
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert "damaged" in (opened(log).converted or "")


KILLED = """
import os, signal, sys
from pathlib import Path
from twotower.columnar import open_table
from twotower.data import TableConfig
def listen(event):
    if event.rows:
        os.kill(os.getpid(), signal.SIGKILL)
log = Path(sys.argv[1])
open_table(TableConfig(path=str(log)), noun="log", base_dir=None, cache_dir=log.parent / "cache", listener=listen)
"""


@pytest.mark.slow
def test_a_killed_conversion_leaves_nothing_that_is_used(log: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(log)], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    left = [path.name for path in (log.parent / "cache" / "columnar").iterdir()]
    assert any(name.endswith(".tmp") for name in left)
    table = open_table(TableConfig(path=str(log)), noun="log", base_dir=None, cache_dir=log.parent / "cache")
    assert table.converted == "converted for the first time"
    assert as_text(table.frame).rows()[0] == ("v2", "s1", 31, "BR", 10.5)
    assert sorted(path.name for path in table.folder.parent.iterdir()) == [table.key, f"{table.key}.lock"]


TOGETHER = """
import sys
from pathlib import Path
from twotower.columnar import open_table
from twotower.data import TableConfig
log = Path(sys.argv[1])
table = open_table(TableConfig(path=str(log)), noun="log", base_dir=None, cache_dir=log.parent / "cache")
print(table.frame.height, table.converted is not None)
"""


@pytest.mark.slow
def test_of_processes_that_open_it_at_once_one_converts(log: Path) -> None:
    log.write_text("viewer,stream\n" + "".join(f"v{n},s{n % 7}\n" for n in range(300_000)))
    started = [
        subprocess.Popen([sys.executable, "-c", TOGETHER, str(log)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    answers = sorted(process.communicate(timeout=120)[0].split() for process in started)
    assert answers == [["300000", "False"], ["300000", "False"], ["300000", "True"]]


def test_what_a_killed_conversion_left_is_removed(log: Path) -> None:
    left = log.parent / "cache" / "columnar" / ".0123abcd.4711-0123abcd.tmp"
    left.mkdir(parents=True)
    (left / "0000.spool").write_bytes(b"half")
    assert opened(log).report.rows == 4
    assert not left.exists()


def test_an_interrupted_conversion_leaves_nothing(log: Path) -> None:
    def interrupt(event: Converting) -> None:
        if event.rows:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_table(TableConfig(path=str(log)), noun="log", base_dir=None, cache_dir=log.parent / "cache", listener=interrupt)
    assert [path.suffix for path in (log.parent / "cache" / "columnar").iterdir()] == [".lock"]
    assert opened(log).converted == "converted for the first time"


def test_a_conversion_by_another_is_waited_for(log: Path) -> None:
    table = opened(log)
    moved = table.folder.rename(table.folder.parent / "elsewhere")
    events: list[Converting] = []
    with ThreadPoolExecutor(1) as pool, (table.folder.parent / f"{table.key}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = pool.submit(opened, log, events=events)
        while not events and not waiting.done():
            time.sleep(0.01)
        moved.rename(table.folder)
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert waiting.result(timeout=60).converted is None
    assert [event.why for event in events] == ["waiting for another process that converts the same table"]


def test_a_source_that_changes_meanwhile_is_refused(log: Path) -> None:
    def listen(event: Converting) -> None:
        if event.rows:
            log.write_text(LOG + "v1,s1,1,BR,1\n")

    with pytest.raises(TableReadError, match="changed while it was read"):
        open_table(TableConfig(path=str(log)), noun="log", base_dir=None, cache_dir=log.parent / "cache", listener=listen)
    assert opened(log).report.rows == 5


def test_a_cache_that_cannot_be_written(log: Path) -> None:
    (log.parent / "cache").write_text("a file")
    with pytest.raises(TableReadError, match=r"its columns can't be written to .*columnar .*TWOTOWER_CACHE"):
        opened(log)


def test_no_rows_is_the_error_of_read_table(log: Path) -> None:
    log.write_text("a,b\n")
    with pytest.raises(TableReadError, match=r"0 rows \(columns: a, b\); a table needs at least one row"):
        opened(log)
    log.write_text("a,b\n1\n2,3,4\n")
    with pytest.raises(TableReadError, match=r"0 rows, 2 were bad and skipped"):
        opened(log, on_bad_rows="skip")


def test_a_column_of_numbers_that_turns_out_to_hold_text_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    count = 200_000
    wide = "x" * 90  # more than a block before the last row
    path.write_text("zip,n,pad\n" + "".join(f"{10_000 + n % 90_000},{n},{wide}\n" for n in range(count)) + "01234,1.5,\n")
    events: list[Converting] = []
    table = opened(path, events=events)
    assert table.frame["zip"].cast(pl.String)[[0, 1, count]].to_list() == ["10000", "10001", "01234"]
    assert table.frame["n"].dtype == pl.Float64
    assert table.frame["n"][[7, count]].to_list() == [7.0, 1.5]
    assert events[-1].bytes_total == 2 * path.stat().st_size
    assert (events[-1].bytes_read, events[-1].rows) == (events[-1].bytes_total, count + 1)


def test_many_categories(tmp_path: Path) -> None:
    ids = [f"pof:{n * 7919 % 70_001}" for n in range(70_001)]
    (tmp_path / "log.csv").write_text("id\n" + "\n".join(ids) + "\n")
    column = opened(tmp_path / "log.csv").frame["id"]
    assert column.to_physical().dtype == pl.UInt32
    assert column.cast(pl.String).to_list() == ids
    assert column.dtype.categories.to_list() == sorted(ids)  # type: ignore[attr-defined]


def test_columns_without_any_value(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("a,b,c,d\n,,1,\n,,2,\n")
    table = opened(path, types={"b": "integer"}, fill={"d": 0.5})
    assert table.frame.schema == {"a": pl.Enum([]), "b": pl.Int64, "c": pl.Int64, "d": pl.Float64}
    assert [column.null_count() for column in table.frame] == [2, 2, 0, 0]
    assert as_text(table.frame).rows() == [(None, None, 1, 0.5), (None, None, 2, 0.5)]


def test_bad_rows_are_in_the_report_now_and_later(log: Path) -> None:
    log.write_text(LOG + "v3,s1\nv4,s1,old,BR,1\n")
    with pytest.raises(TableReadError, match=r"data row 4 \(counted from 0\) has 2"):
        opened(log)
    for _ in range(2):
        table = opened(log, on_bad_rows="skip", types={"age": "integer"}, columns=["viewer"])
        assert table.report.skipped.counts == {"value of another type": 1, "wrong number of fields": 1}
        assert [(bad.row, bad.column, bad.text) for bad in table.report.skipped.sample] == [
            (4, None, "v3,s1"),
            (5, "age", "v4,s1,old,BR,1"),
        ]
        assert table.frame.height == 4


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "text": ["b", None, "a"],
            "small": pl.Series([1, None, 3], dtype=pl.Int8),
            "unsigned": pl.Series([1, 2, 2**63], dtype=pl.UInt64),
            "flag": [True, None, False],
            "day": [date(2024, 1, 31), None, date(1970, 1, 1)],
            "at": pl.Series([datetime(2024, 1, 31, 8), None, datetime(1970, 1, 1)], dtype=pl.Datetime("ms")),
            "zoned": pl.Series([datetime(2024, 1, 31, 8), None, None], dtype=pl.Datetime("us", "UTC")),
            "took": pl.Series([1, None, 3], dtype=pl.Duration("us")),
            "tags": [["x"], None, []],
            "nothing": [None, None, None],
            "kind": pl.Series(["p", "q", None], dtype=pl.Categorical),
            "exact": [1.5, None, float("nan")],
        }
    )
    frame.write_parquet(tmp_path / "log.parquet")
    table = opened(tmp_path / "log.parquet")
    expected = frame.with_columns(pl.col("kind").cast(pl.String))
    assert as_text(table.frame).schema == expected.schema
    assert as_text(table.frame).equals(expected)
    assert TableConfig(path=str(tmp_path / "log.parquet")).read().equals(expected)


def test_a_folder_of_parquet_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    for part in (1, 0):
        pl.DataFrame({"id": [f"u{part}"], "n": [part]}).write_parquet(tmp_path / "log" / f"part-{part}.parquet")
    assert as_text(opened(tmp_path / "log").frame).rows() == [("u0", 0), ("u1", 1)]
    events: list[Converting] = []
    pl.DataFrame({"id": ["u2"], "n": ["two"]}).write_parquet(tmp_path / "log" / "part-2.parquet")
    with pytest.raises(TableReadError, match=r"column 'n' must have one type, but is Int64 in .*part-0.* String in .*part-2"):
        opened(tmp_path / "log", events=events)
    assert [event.rows for event in events] == [0]  # known before a row was read


def test_an_object_store(tmp_path: Path) -> None:
    import fsspec  # type: ignore[import-untyped]

    store = fsspec.filesystem("memory")
    store.pipe("/logs/1.csv", b"id,n\na,1\n")
    store.pipe("/logs/2.csv", b"id,n\nb,2\n")
    for path in ("memory://logs/*.csv", "memory://logs"):
        config = TableConfig(path=path)
        table = open_table(config, noun="log", base_dir=Path("/nowhere"), cache_dir=tmp_path)
        assert as_text(table.frame).rows() == [("a", 1), ("b", 2)]
        assert config.read().rows() == [("a", 1), ("b", 2)]
    store.pipe("/logs/2.csv", b"id,n\nc,3\n")
    assert open_table(TableConfig(path="memory://logs"), noun="log", base_dir=None, cache_dir=tmp_path).frame["n"][1] == 3


def test_a_listener_is_told_how_far_it_is(log: Path) -> None:
    events: list[Converting] = []
    opened(log, events=events)
    assert (events[0].rows, events[0].bytes_read, events[0].why) == (0, 0, "converted for the first time")
    assert not events[0].again
    last = events[-1]
    assert (last.rows, last.bytes_read, last.bytes_total) == (4, log.stat().st_size, log.stat().st_size)
    assert last.seconds >= 0
