"""A whole run on a GPU: from a log to a bundle that recommends on a machine without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cuda_device import ON_CUDA

from twotower.cli import main

pytestmark = ON_CUDA

RECIPE = Path(__file__).parent.parent.parent / "recipes" / "livestream.toml"
SMALL = ("split.test=400", "split.validation=200", "training.epochs=2", "training.batch_size=512")


def call(*arguments: object) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(part) for part in arguments])
    assert not stop.value.code


def trained(folder: Path, device: str) -> dict[str, Any]:
    options = [each for setting in (f"data.interactions.path={folder / 'log.csv'}", *SMALL) for each in ("--set", setting)]
    call("train", RECIPE, "--run-dir", folder / device, "--device", device, *options)
    found: dict[str, Any] = json.loads((folder / device / "result.json").read_text(encoding="utf-8"))
    return found


def test_a_run_there_finds_what_a_run_here_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call("synth", "livestream", "--rows", 6000, "--seed", 0, "--out", tmp_path / "log.csv")
    here, there = trained(tmp_path, "cpu"), trained(tmp_path, "cuda")
    assert here["rows"] == there["rows"]
    assert "gpu" in there["hardware"]
    assert "gpu" not in here["hardware"]
    for variant in ("seen_included", "seen_removed"):
        ours, theirs = (run["metrics"]["test"][variant] for run in (there, here))
        # what is dropped is drawn on the device, so that two runs are not one
        assert ours["recall@100"] == pytest.approx(theirs["recall@100"], abs=0.08)
        assert ours["recall@10"] > 1.5 * there["baselines"]["popularity"][variant]["recall@10"]
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    capsys.readouterr()
    call("recommend", tmp_path / "cuda", "--query", "viewer_country=BR,viewer_lang=pt,viewer_age=23", "--json")
    assert len(json.loads(capsys.readouterr().out.splitlines()[-1])) > 0


def test_a_bundle_is_judged_there_as_its_run_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("synth", "livestream", "--rows", 6000, "--seed", 0, "--out", tmp_path / "log.csv")
    run = trained(tmp_path, "cuda")
    capsys.readouterr()
    call("evaluate", tmp_path / "cuda", "--json")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["metrics"]["test"] == run["metrics"]["test"]
