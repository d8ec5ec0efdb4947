from pathlib import Path

import pytest

from twotower.cache_root import cache_root


def test_the_root_is_chosen_then_from_the_environment_then_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOTOWER_CACHE", str(tmp_path / "env"))
    assert cache_root(tmp_path / "chosen") == tmp_path / "chosen"
    assert cache_root(None) == tmp_path / "env"
    monkeypatch.delenv("TWOTOWER_CACHE")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_root(None) == tmp_path / ".cache" / "twotower"
