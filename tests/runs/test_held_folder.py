"""A folder that one process holds; what is refused, and that nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from twotower.errors import ConfigError
from twotower.runs.held_folder import LOCK, folder_faults, held_folder


def nothing() -> None:
    pass


def test_a_folder_is_made_and_held_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    with held_folder(path, "training", nothing):
        assert (path / LOCK).is_file()
        with (
            pytest.raises(ConfigError, match=f"--run-dir {path}: another process is tuning into it; wait, or name another"),
            held_folder(path, "tuning", nothing),
        ):
            pass
    with held_folder(path, "training", nothing):
        pass


def test_it_is_let_go_where_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), held_folder(tmp_path, "training", nothing):
        raise ZeroDivisionError
    with held_folder(tmp_path, "training", nothing):
        pass


def test_what_is_refused_is_not_locked(tmp_path: Path) -> None:
    def refuse() -> None:
        raise ConfigError("foreign")

    with pytest.raises(ConfigError, match="foreign"), held_folder(tmp_path, "training", refuse):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_named_for_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (file, file / "below"):
        with (
            pytest.raises(ConfigError, match=f"--run-dir {path}: must be a folder, or a new name; a file is in the way"),
            held_folder(path, "training", nothing),
        ):
            pass


def test_what_may_not_be_written_is_named(tmp_path: Path) -> None:
    def refuse() -> None:
        raise PermissionError(13, "denied", "/some/where")

    with (
        pytest.raises(ConfigError, match="can't write /some/where; name a folder that you may write"),
        held_folder(tmp_path, "training", refuse),
    ):
        pass


def test_errors_of_the_block_are_its_own(tmp_path: Path) -> None:
    # of what is read or written within, a caller may say so: by folder_faults around the block
    with pytest.raises(PermissionError), held_folder(tmp_path, "tuning", nothing):
        raise PermissionError(13, "denied", "table.csv")
    with pytest.raises(ConfigError, match=r"can't write table\.csv"), folder_faults(tmp_path):
        raise PermissionError(13, "denied", "table.csv")
