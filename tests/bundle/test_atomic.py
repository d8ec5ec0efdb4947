from __future__ import annotations

import fcntl
import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from twotower.bundle import (
    atomic,
    atomic_file,
    atomic_folder,
    remove_leftovers,
    resolve_folder,
    write_bytes,
    write_json,
    write_text,
)
from twotower.errors import BundleError

Contents = dict[str, str]


class CrashError(BaseException):
    """The process dies here; no handler of ours catches it."""


def contents(folder: Path) -> Contents:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(folder: Path, text: str) -> None:
    (folder / "a").write_text(text)
    (folder / "deep").mkdir()
    (folder / "deep" / "b").write_text(text * 2)


def no_exchange(first: Path, second: Path) -> bool:
    return False


def fail_in_folder(path: Path, text: str) -> None:
    with atomic_folder(path) as temporary:
        fill(temporary, text)
        raise KeyError("x")


def fail_in_file(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text)
        raise KeyError("x")


@pytest.fixture(params=["exchange", "two renames"])
def swap(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of replacing a folder."""
    if request.param == "two renames":
        monkeypatch.setattr(atomic, "_exchange", no_exchange)
    return str(request.param)


# ------------------------------------------------------------------------------------------------------------------ files


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    for text in ("one", "two"):
        with atomic_file(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.name.startswith(".file.")
            assert str(os.getpid()) in temporary.name
            temporary.write_text(text)
            assert path.exists() == (text == "two")
        assert path.read_text() == text
        assert names(path.parent) == ["file"]


def test_bytes_text_and_json(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"\x00\xff")
    write_text(tmp_path / "b", "é\r\n")
    write_json(tmp_path / "c", {"k": 10})
    assert (tmp_path / "a").read_bytes() == b"\x00\xff"
    assert (tmp_path / "b").read_bytes() == b"\xc3\xa9\r\n"
    assert (tmp_path / "c").read_bytes() == b'{\n  "k": 10\n}\n'
    with pytest.raises(BundleError, match=r"c: k must be a finite number"):
        write_json(tmp_path / "c", {"k": float("nan")})
    assert (tmp_path / "c").read_bytes() == b'{\n  "k": 10\n}\n'


def test_an_error_in_the_block_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    with pytest.raises(KeyError):
        fail_in_file(tmp_path / "file", "half")
    assert contents(tmp_path) == {"file": "old"}


def test_a_failing_rename_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "file", "old")

    def fail(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(BundleError, match=r"file can't be written: No space left on device; check"):
        write_text(tmp_path / "file", "new")
    assert contents(tmp_path) == {"file": "old"}


def test_files_get_the_mode_that_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "file", "x")
        with atomic_folder(tmp_path / "folder") as temporary:
            fill(temporary, "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/file")
    (tmp_path / "latest").symlink_to("real/run")
    write_text(tmp_path / "link", "x")
    for text in ("y", "z"):
        with atomic_folder(tmp_path / "latest") as temporary:
            (temporary / "a").write_text(text)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "latest").is_symlink()
    assert contents(tmp_path / "real") == {"file": "x", "run/a": "z"}


def test_a_file_does_not_replace_a_folder_nor_the_other_way_round(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="folder is a folder, and a file was to be written there"):
        write_text(tmp_path / "folder", "x")
    with (
        pytest.raises(BundleError, match="file is a file, and a folder was to be written there"),
        atomic_folder(tmp_path / "file"),
    ):
        pass
    with pytest.raises(BundleError, match=r"file/below can't be written: (Not a directory|File exists)"):
        write_text(tmp_path / "file" / "below", "x")
    assert names(tmp_path) == ["file", "folder"]


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)
    with (
        pytest.raises(BundleError, match=r"folder can't be written: Permission denied; check the permissions"),
        atomic_folder(tmp_path / "folder"),
    ):
        pass


@pytest.mark.usefixtures("swap")
def test_everything_reaches_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def noted_fsync(descriptor: int) -> None:
        events.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink()}")
        fsync(descriptor)

    def noted(function: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
        def call(source: Path, target: Path) -> None:
            events.append(f"rename to {target}")
            function(source, target)

        return call

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted(rename))
    monkeypatch.setattr(os, "replace", noted(replace))
    with atomic_folder(tmp_path / "folder") as temporary:
        fill(temporary, "x")
    assert sorted(events[:4]) == sorted(f"sync {temporary}{below}" for below in ("", "/a", "/deep", "/deep/b"))
    assert events[4:] == [f"rename to {tmp_path / 'folder'}", f"sync {tmp_path}"]
    events.clear()
    with atomic_file(tmp_path / "file") as temporary:
        pass
    assert events == [f"sync {temporary}", f"rename to {tmp_path / 'file'}", f"sync {tmp_path}"]


# ---------------------------------------------------------------------------------------------------------------- folders


@pytest.mark.usefixtures("swap")
def test_a_folder_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder"
    for text in ("one", "two", "three"):
        with atomic_folder(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.name.startswith(".folder.")
            fill(temporary, text)
            if text == "two":
                (temporary / "only").write_text("here")
        assert contents(path) == {"a": text, "deep/b": text * 2} | ({"only": "here"} if text == "two" else {})
        assert names(path.parent) == ["folder"]


@pytest.mark.usefixtures("swap")
def test_an_error_in_the_block_leaves_the_old_folder(tmp_path: Path) -> None:
    for existing in (False, True):
        if existing:
            with atomic_folder(tmp_path / "folder") as temporary:
                fill(temporary, "old")
        with pytest.raises(KeyError):
            fail_in_folder(tmp_path / "folder", "new")
        assert contents(tmp_path) == ({"folder/a": "old", "folder/deep/b": "oldold"} if existing else {})


@pytest.mark.usefixtures("swap")
def test_the_old_folder_is_there_until_the_end(tmp_path: Path) -> None:
    for text in ("one", "two"):
        with atomic_folder(tmp_path / "folder") as temporary:
            fill(temporary, text)
            assert resolve_folder(tmp_path / "folder").exists() == (text == "two")
    assert contents(tmp_path / "folder")["a"] == "two"


def test_the_exchange_is_used_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "a").write_text("first")
    assert atomic._exchange(tmp_path / "one", tmp_path / "two")
    assert contents(tmp_path) == {"two/a": "first"}
    with pytest.raises(FileNotFoundError):
        atomic._exchange(tmp_path / "three", tmp_path / "two")
    monkeypatch.setattr("sys.platform", "darwin")
    assert not atomic._exchange(tmp_path / "one", tmp_path / "two")
    assert contents(tmp_path) == {"two/a": "first"}


@pytest.mark.parametrize("function", ["fsync", "rename", "rmtree"])
@pytest.mark.parametrize("step", range(8))
@pytest.mark.parametrize("dies_after", [False, True])
def test_a_crash_at_any_step_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: str, function: str, step: int, dies_after: bool
) -> None:
    path = tmp_path / "folder"
    with atomic_folder(path) as temporary:
        fill(temporary, "old")
    old, new = {"a": "old", "deep/b": "oldold"}, {"a": "new", "deep/b": "newnew"}
    calls = 0
    owner = shutil if function == "rmtree" else os
    original = getattr(owner, function)

    def die(*args: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls > step + 1:
            raise CrashError  # the dead do nothing: neither does the cleaning up that an exception would start
        if calls == step + 1:
            if dies_after:
                original(*args, **named)
            raise CrashError
        return original(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, function, die)
        if function != "rmtree":
            patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        try:
            with atomic_folder(path) as temporary:
                fill(temporary, "new")
            crashed = False
        except CrashError:
            crashed = True
    assert crashed == (calls > step)
    before = sorted(names(tmp_path))
    assert contents(resolve_folder(path)) in (old, new)
    assert names(tmp_path) == before, "a reader changes nothing"
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["folder"]
    assert contents(path) in (old, new)
    with atomic_folder(path) as temporary:
        fill(temporary, "next")
    assert contents(path) == {"a": "next", "deep/b": "nextnext"}
    assert names(tmp_path) == ["folder"]


def test_between_the_two_renames(tmp_path: Path) -> None:
    """What a process leaves that dies there: a reader finds the previous folder, and the next writer puts it back first."""
    previous = tmp_path / ".folder.previous"
    previous.mkdir()
    fill(previous, "old")
    assert resolve_folder(tmp_path / "folder") == previous
    with pytest.raises(KeyError):
        fail_in_folder(tmp_path / "folder", "new")
    assert contents(tmp_path) == {"folder/a": "old", "folder/deep/b": "oldold"}
    with atomic_folder(tmp_path / "folder") as temporary:
        fill(temporary, "new")
    assert contents(tmp_path) == {"folder/a": "new", "folder/deep/b": "newnew"}


def test_the_second_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_exchange", no_exchange)
    with atomic_folder(tmp_path / "folder") as temporary:
        fill(temporary, "old")
    rename = os.rename

    def fail(source: Path, target: Path) -> None:
        if source.name.endswith(".tmp"):
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(BundleError, match="Input/output error"), atomic_folder(tmp_path / "folder") as temporary:
        fill(temporary, "new")
    assert contents(tmp_path) == {"folder/a": "old", "folder/deep/b": "oldold"}


def test_a_path_that_does_not_exist_is_resolved_to_itself(tmp_path: Path) -> None:
    assert resolve_folder(tmp_path / "none") == tmp_path / "none"


# -------------------------------------------------------------------------------------------------------------- leftovers


def test_leftovers_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    keep = [".hidden", "file", ".file.tmp", ".x.12-0123456.tmp", "x.12-01234567.tmp", ".previous", ".of_a_file.previous"]
    for name in keep:
        (tmp_path / name).write_text("x")
    (tmp_path / ".file.123-00ff00ff.tmp").write_text("x")
    (tmp_path / f".mine.{os.getpid()}-00ff00ff.tmp").mkdir()
    (tmp_path / f".mine.{os.getpid()}-00ff00ff.tmp" / "a").write_text("x")
    (tmp_path / ".link.5-00ff00ff.tmp").symlink_to(tmp_path / "file")
    (tmp_path / "done").mkdir()
    (tmp_path / ".done.previous").mkdir()
    (tmp_path / ".undone.previous").mkdir()
    assert [remove_leftovers(tmp_path, of=name) for name in ("fil", "file")] == [[], [".file.123-00ff00ff.tmp"]]
    assert remove_leftovers(tmp_path) == [".done.previous", f".mine.{os.getpid()}-00ff00ff.tmp"]
    assert names(tmp_path) == sorted([*keep, ".link.5-00ff00ff.tmp", "done", "undone"])
    assert remove_leftovers(tmp_path / "none") == []


def test_what_is_being_written_is_not_a_leftover(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "file") as first, atomic_folder(tmp_path / "folder") as second:
        first.write_text("x")
        fill(second, "x")
        assert remove_leftovers(tmp_path) == []
    assert contents(tmp_path) == {"file": "x", "folder/a": "x", "folder/deep/b": "xx"}


def test_a_temporary_that_was_taken_for_a_leftover_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock = fcntl.flock
    taken: list[bool] = []

    def late(descriptor: int, operation: int) -> None:
        if not taken:
            taken.append(True)
            (next(tmp_path.iterdir())).unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    write_text(tmp_path / "file", "x")
    assert taken
    assert contents(tmp_path) == {"file": "x"}


def test_writers_and_a_cleaner_at_once(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def write(text: str) -> None:
        try:
            for _ in range(15):
                write_text(tmp_path / "file", text)
                with atomic_folder(tmp_path / "folder") as temporary:
                    fill(temporary, text)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in ("one", "two")]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        remove_leftovers(tmp_path)
    for thread in threads:
        thread.join()
    assert not failures
    remove_leftovers(tmp_path)
    text = (tmp_path / "file").read_text()
    assert text in ("one", "two")
    assert names(tmp_path) == ["file", "folder"]
    assert contents(tmp_path / "folder") in [{"a": t, "deep/b": t * 2} for t in ("one", "two")]
