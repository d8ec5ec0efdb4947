"""Training over a large catalogue and exact search, measured to the end on a device that is none."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from emulated_device import DEVICE, emulated
from torch import Tensor

from twotower.training.captured import CAPTURES

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
PROPERTIES = SimpleNamespace(name="none", total_memory=1, multi_processor_count=1, major=0, minor=0)


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[dict[str, Any], str]]:
    """Run a program on the emulated device: its line, and what it printed before."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name, value in (("synchronize", None), ("get_device_properties", PROPERTIES)):
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(Tensor, "pin_memory", lambda self, *_: self)
    device = importlib.import_module("device")
    monkeypatch.setattr(device, "_there", lambda text: torch.device("cpu") if text == "cpu" else DEVICE)
    ceilings = device.device_ceilings

    def run(name: str, *arguments: str, captures: bool = True) -> tuple[dict[str, Any], str]:
        program = importlib.import_module(name)
        monkeypatch.setattr(program, "device_ceilings", lambda which: ceilings(which, size=16, megabytes=1, repeats=1))
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments, "--device", "cuda"])
        with emulated() as emulation:
            if captures:
                monkeypatch.setitem(CAPTURES, DEVICE.type, emulation.capture)
            program.main()
        *shown, last = capsys.readouterr().out.splitlines()
        return json.loads(last), "\n".join(shown)

    return run


CATALOGUE = ("--users", "600", "--items", "700", "--rows", "4000", "--batch", "128", "--steps", "1", "--repeats", "1")


def test_a_large_catalogue_is_trained_there_by_all_sides(measure: Callable[..., Any]) -> None:
    found, shown = measure("large_catalogue", *CATALOGUE, "--recall")
    assert found["device"]["name"] == "none"
    assert set(found["peer_feeds"]) == {"resident", "pinned, whole batches", "pinned, row by row"}
    assert "Adam, rows resident: " in shown
    assert found["not_captured"] is None
    assert set(found["rows_per_s"]) == {"ours", "ours, queued", "SparseAdam", "Adam"}
    recall = found["recall@100"]
    assert min(recall[side] for side in ("ours", "Adam", "SparseAdam")) > 0.5


def test_a_step_that_can_not_be_captured_is_queued(measure: Callable[..., Any]) -> None:
    found, shown = measure("large_catalogue", *CATALOGUE, captures=False)
    assert found["not_captured"] == f"the device is {DEVICE.type}"
    assert f"our step is not captured: the device is {DEVICE.type}" in shown
    assert set(found["rows_per_s"]) == {"ours", "ours, queued", "SparseAdam", "Adam"}


def test_turns_of_a_device_are_not_gone_on_with_on_another(measure: Callable[..., Any], tmp_path: Path) -> None:
    keep = tmp_path / "turns.jsonl"
    measure("large_catalogue", *CATALOGUE, "--keep", str(keep))
    text = keep.read_text(encoding="utf-8")
    keep.write_text(text.replace('"name": "none"', '"name": "another"'), encoding="utf-8")
    with pytest.raises(SystemExit, match="other settings"):
        measure("large_catalogue", *CATALOGUE, "--keep", str(keep))


def test_resident_rows_are_shuffled_anew_for_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    plain = importlib.import_module("plain_pytorch")
    columns = [torch.arange(1000), torch.arange(1000) * 2]
    batches = plain.resident_batches(columns, 300)
    epochs = [[next(batches) for _ in range(3)] for _ in range(2)]
    for epoch in epochs:
        rows = torch.cat([first for first, _ in epoch])
        assert len(set(rows.tolist())) == 900
        assert all(torch.equal(second, 2 * first) for first, second in epoch)
    assert not torch.equal(epochs[0][0][0], epochs[1][0][0])


def test_exact_search_is_compared_with_plain_products_alone(measure: Callable[..., Any]) -> None:
    found, shown = measure("exact_search", "--sizes", "3000x8", "--ks", "10", "--queries", "16", "--repeats", "1")
    assert found["device"]["name"] == "none"
    assert set(found["left_out"]) == {"FAISS flat"}
    assert "FAISS flat is left out: " in shown
    assert [row["queries"] for row in found["rows"]] == [16, 1]
    for row in found["rows"]:
        assert row["same_ids"] == {"matmul + topk": True}
        assert row["settings"]["matmul + topk"].endswith("MB of scores")
