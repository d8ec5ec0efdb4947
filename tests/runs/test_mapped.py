from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from twotower.runs.mapped import stored_bytes


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
def test_what_lies_in_a_file_is_told_from_what_lies_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    np.arange(5000, dtype=np.int64).tofile(path)
    mapped = torch.from_numpy(np.memmap(path, dtype=np.int64, mode="r+"))
    assert stored_bytes([torch.zeros(30), mapped, torch.zeros(2, dtype=torch.bool), torch.zeros(0)]) == (122, 40_000)
    assert stored_bytes([mapped[1000:]]) == (0, 32_000)


def test_numbers_that_are_shared_count_once() -> None:
    numbers = torch.zeros(10)
    assert stored_bytes([numbers, numbers[:4], numbers.view(2, 5)]) == (40, 0)


def test_where_the_system_does_not_tell_all_is_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("twotower.runs.mapped._MAPS", tmp_path / "missing")
    assert stored_bytes([torch.zeros(10)]) == (40, 0)
