"""What a run says of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from twotower.runs.hardware import available_memory_bytes, hardware


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


def test_available_memory_is_the_least_of_machine_and_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("twotower.runs.hardware._MEMORY_INFO", tmp_path / "meminfo")
    monkeypatch.setattr("twotower.runs.hardware._CONTAINER", tmp_path)
    assert available_memory_bytes() is None
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    assert available_memory_bytes() == 4000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory_bytes() == 4000 * 1024
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2500000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 100000\n")
    assert available_memory_bytes() == 600_000
    (tmp_path / "meminfo").write_text("nothing\n")
    assert available_memory_bytes() == 600_000
