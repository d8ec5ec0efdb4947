"""What benchmarks need of a device: refused in one line where it is not there; run to the end on one that is none."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from emulated_device import DEVICE, emulated

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_one_line_and_exit_code_2() -> None:
    command = [sys.executable, str(BENCHMARKS / "loss.py"), "--device", "cuda"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("--device cuda: this machine has no CUDA device")


def test_what_a_device_can_be(modules: Any, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    modules("device").device_option(parser)
    assert parser.parse_args([]).device == torch.device("cpu")
    for name in ("tpu", "meta", "cuda:99"):
        with pytest.raises(SystemExit) as ended:
            parser.parse_args(["--device", name])
        assert ended.value.code == 2
        assert capsys.readouterr().err.startswith(f"--device {name}: ")


def test_of_the_processor_memory_is_what_was_taken_and_facts_are_known(modules: Any) -> None:
    device, kept = modules("device"), []
    cpu = torch.device("cpu")
    assert device.peak_bytes_on(cpu, lambda: kept.append(torch.ones(2**25))) > 2**26  # beyond what malloc keeps for later
    facts = device.device_facts(cpu)
    assert (facts["device"], facts["torch"]) == ("cpu", torch.__version__)


def test_the_loss_is_measured_on_a_device(
    modules: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    device, loss, calls = modules("device"), modules("loss"), []
    properties = {"name": "none", "total_memory": 1, "multi_processor_count": 1, "major": 0, "minor": 0}
    for name, given in (
        ("synchronize", None),
        ("reset_peak_memory_stats", None),
        ("empty_cache", None),
        ("memory_allocated", 1000),
        ("max_memory_allocated", 4000),
        ("get_device_properties", SimpleNamespace(**properties)),
    ):

        def called(*_: object, name: str = name, given: object = given) -> object:
            calls.append(name)
            return given

        monkeypatch.setattr(torch.cuda, name, called)
    monkeypatch.setattr(device, "_there", lambda _: DEVICE)
    ceilings = device.device_ceilings
    monkeypatch.setattr(loss, "device_ceilings", lambda which: ceilings(which, size=16, megabytes=1, repeats=1))
    monkeypatch.setattr(sys, "argv", ["loss.py", "--batches", "32", "--repeats", "1", "--dim", "4", "--device", "cuda"])
    with emulated():
        loss.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["device"]["name"] == "none"
    assert set(found["machine"]) == {"gflops_float32", "gflops_bfloat16", "gigabytes_per_s"}
    (size,) = found["sizes"]
    assert set(size["seconds"]) == {"ours", "ours, bfloat16", "eager", "eager, bfloat16"}
    assert size["bytes"] == {"ours": 3000, "ours, bfloat16": 3000, "eager": 3000}
    assert calls.count("reset_peak_memory_stats") == 3
