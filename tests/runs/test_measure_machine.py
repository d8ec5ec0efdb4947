"""What is measured of this machine is a device that can be planned with."""

from __future__ import annotations

from pathlib import Path

import pytest

from twotower.planning import Device, read_device
from twotower.runs import measure_machine


@pytest.mark.slow  # two processes, and half a minute of products and copies
def test_a_measured_machine_is_a_device(tmp_path: Path) -> None:
    found = measure_machine()
    assert found.is_host
    assert found.memory_bytes > 10**8
    # beside any amount of other work: between a tenth of a slow core and a hundred times a quick one
    assert 1e8 < found.float32_per_s < 1e13
    assert 1e7 < found.memory_bytes_per_s < 1e12
    assert 1e-7 < found.link_latency_s < 10
    assert 1e5 < found.link_bytes_per_s < 1e12
    assert found.process_bytes > 10**8
    assert "loopback" in found.source
    path = tmp_path / "here.json"
    path.write_text(found.model_dump_json())
    assert read_device(path) == Device.model_validate(found.model_dump())
