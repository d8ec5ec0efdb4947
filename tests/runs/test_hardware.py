"""What a run says of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from twotower.runs.hardware import hardware


def test_the_machine_is_told() -> None:
    found = hardware(torch.device("cpu"))
    assert set(found) == {"cpu", "cores", "torch_threads", "kernels", "system"}
    assert found["cpu"]
    assert found["cores"] == os.cpu_count()
    assert found["torch_threads"] == torch.get_num_threads()


def test_a_system_without_cpuinfo_is_told_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("twotower.runs.hardware._CPU_INFO", tmp_path / "missing")
    assert hardware(torch.device("cpu"))["cpu"]
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Planted CPU @ 2 GHz\nmodel name\t: Another\n")
    monkeypatch.setattr("twotower.runs.hardware._CPU_INFO", tmp_path / "cpuinfo")
    assert hardware(torch.device("cpu"))["cpu"] == "Planted CPU @ 2 GHz"
