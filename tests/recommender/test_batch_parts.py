"""Parts of an output: for one caller at a time, and right whenever a process dies."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from pathlib import Path

import polars as pl
import pytest

from twotower.errors import BundleError
from twotower.recommender.batch_parts import Parts, open_parts


def part(number: int) -> pl.DataFrame:
    return pl.DataFrame({"row": [10 * number, 10 * number + 1]})


def some(output: Path, count: int, fingerprint: str = "a") -> Path:
    """An output that was interrupted after so many parts."""
    with open_parts(output, fingerprint) as parts:
        for number in range(count):
            parts.add(part(number), requests=3, skipped=1)
    return output.with_name(f".{output.name}.parts")


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_parts_become_the_output(tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"found{suffix}"
    some(output, 2)
    with open_parts(output, "a") as parts:
        assert (parts.requests, parts.skipped) == (6, 2)
        parts.add(part(2), requests=1, skipped=0)
        assert parts.join(output) == 6
    found = pl.read_parquet(output) if suffix == ".parquet" else pl.read_csv(output)
    assert found["row"].to_list() == [0, 1, 10, 11, 20, 21]
    assert names(tmp_path) == [output.name]


def test_parts_of_another_fingerprint_are_deleted(tmp_path: Path) -> None:
    folder = some(tmp_path / "found.csv", 2)
    with open_parts(tmp_path / "found.csv", "b") as parts:
        assert parts.requests == 0
        assert names(folder) == []
    assert names(tmp_path) == []


def test_a_second_caller_is_refused_until_the_first_one_is_done(tmp_path: Path) -> None:
    output = tmp_path / "found.csv"
    with open_parts(output, "a") as parts:
        parts.add(part(0), requests=1, skipped=0)
        for fingerprint in ("a", "b"):
            with (
                pytest.raises(BundleError, match=r"found\.csv is being written by another process; wait"),
                open_parts(output, fingerprint),
            ):
                pass
        with open_parts(tmp_path / "other.csv", "a"):
            pass
        parts.join(output)
    with open_parts(output, "a") as parts:
        assert parts.requests == 0


def _die_at_work(output: Path) -> None:
    with open_parts(output, "a") as parts:
        parts.add(part(0), requests=3, skipped=1)
        os._exit(1)


def test_a_caller_that_died_holds_nothing(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_die_at_work, args=(tmp_path / "found.csv",))
    process.start()
    process.join()
    assert process.exitcode == 1
    with open_parts(tmp_path / "found.csv", "a") as parts:
        assert parts.requests == 3


def test_only_parts_that_are_there_are_known(tmp_path: Path) -> None:
    folder = some(tmp_path / "found.csv", 3)
    (folder / "part-000001.parquet").unlink()
    with open_parts(tmp_path / "found.csv", "a") as parts:
        assert (parts.requests, parts.skipped) == (3, 1)
        parts.add(part(7), requests=1, skipped=0)
        parts.join(tmp_path / "found.csv")
    assert pl.read_csv(tmp_path / "found.csv")["row"].to_list() == [0, 1, 70, 71], "and nothing of what came after the gap"


@pytest.mark.parametrize("when", ["they are put together", "another fingerprint comes"])
def test_a_process_that_dies_while_it_deletes_parts(when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "found.csv"
    folder = some(output, 3)
    deleted: list[str] = []
    unlink = Path.unlink

    def die(path: Path, *, missing_ok: bool = False) -> None:
        if path.parent == folder and len(deleted) == 2:
            raise KeyboardInterrupt
        if path.parent == folder:
            deleted.append(path.name)
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", die)
        with pytest.raises(KeyboardInterrupt), open_parts(output, "a" if when.startswith("they") else "b") as parts:
            parts.join(output)
    assert deleted[0] == "parts.json"
    with open_parts(output, "a") as parts:
        assert parts.requests == 0, "what is left is not taken for an answer"
        assert names(folder) == []


def test_what_died_while_it_put_parts_together_is_deleted(tmp_path: Path) -> None:
    leftover, others = tmp_path / ".found.csv.12-00ff00ff.tmp", tmp_path / ".other.csv.12-00ff00ff.tmp"
    for path in (leftover, others):
        path.write_text("half")
    some(tmp_path / "found.csv", 1)
    assert names(tmp_path) == [".found.csv.parts", others.name]
    shutil.rmtree(tmp_path / ".found.csv.parts")
    leftover.write_text("half")
    (tmp_path / "link.csv").symlink_to(tmp_path / "found.csv")
    with open_parts(tmp_path / "link.csv", "a"):
        pass
    assert names(tmp_path) == [others.name, "link.csv"], "beside what a link points to"


def test_a_folder_that_is_deleted_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "found.csv"
    opened: list[int] = []
    original = os.open

    def late(path: Path, flags: int, *mode: int) -> int:
        descriptor = original(path, flags, *mode)
        if not opened:
            Path(path).rmdir()  # by its owner, who was done
        opened.append(descriptor)
        return descriptor

    with monkeypatch.context() as patched:
        patched.setattr("twotower.recommender.batch_parts.os.open", late)
        with open_parts(output, "a") as parts:
            patched.undo()
            assert isinstance(parts, Parts)
            assert output.with_name(".found.csv.parts").is_dir()
    assert len(opened) == 2


def test_a_place_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(BundleError, match=r"found\.csv can't be written: .*choose another place"),
        open_parts(tmp_path / "file" / "found.csv", "a"),
    ):
        pass
