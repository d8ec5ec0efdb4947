"""Where an export may go."""

from __future__ import annotations

from pathlib import Path

import pytest

from twotower.errors import ConfigError
from twotower.export.place import require_free


def test_free_places(tmp_path: Path) -> None:
    require_free(tmp_path / "new", "s.json", "x")
    require_free(tmp_path, "s.json", "x")  # empty
    (tmp_path / "s.json").write_text('{"format": "x"}')
    (tmp_path / "more").write_text("")
    require_free(tmp_path, "s.json", "x")
    (tmp_path / "a.parquet").write_text("")
    require_free(tmp_path / "a.parquet", "s.json", "x")


@pytest.mark.parametrize("text", ['{"format": "y"}', "[]", "{", "", None])
def test_a_folder_of_something_else(tmp_path: Path, text: str | None) -> None:
    (tmp_path / "mine").write_text("")
    if text is not None:
        (tmp_path / "s.json").write_text(text)
    with pytest.raises(ConfigError, match="holds something else"):
        require_free(tmp_path, "s.json", "x")


def test_the_wrong_kind_of_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        require_free(tmp_path / "file", "s.json", "x")
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        require_free(tmp_path / "folder.parquet", "s.json", "x")
