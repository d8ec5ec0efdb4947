"""Within one process here; across real forks in test_processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from twotower.errors import StoreError
from twotower.store import fork_guard
from twotower.store.fork_guard import check_process, note_closed, note_open


def test_a_file_may_be_open_several_times_in_one_process(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    path.touch()
    first, second = note_open(path), note_open(path)
    assert first == second
    check_process(first, path)
    note_closed(first)
    assert second in fork_guard._open
    note_closed(second)
    assert second not in fork_guard._open


def test_a_child_neither_uses_nor_opens_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = tmp_path / "live.db", tmp_path / "other.db"
    path.touch()
    other.touch()
    opened = note_open(path)
    parent = os.getpid()
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: parent + 1)
        with pytest.raises(StoreError, match=rf"was opened by process {parent} and can't be used in process {parent + 1}"):
            check_process(opened, path)
        with pytest.raises(
            StoreError, match=rf"was open in process {parent} when it forked process {parent + 1}.*after the fork"
        ):
            note_open(path)
        note_closed(note_open(other))
    note_closed(opened)
