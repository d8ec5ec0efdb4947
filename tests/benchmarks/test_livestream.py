"""What the benchmarks of live streams are made of: the peer's environment, processes of their own, tables, the drawing."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
BENCHMARKS = ROOT / "benchmarks"
SVG = "{http://www.w3.org/2000/svg}"


def _module(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


def _peer_whose_pip(says: str, code: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The peer's module, whose virtual environment is one file: a Python that says something and ends."""
    peer = _module("tfrs.environment", monkeypatch)

    def create(place: Path, **chosen: bool) -> None:
        del chosen
        python = place / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/sh\necho \"$@\" >> {folder / 'calls'}\necho '{says}' >&2\nexit {code}\n", encoding="utf-8")
        python.chmod(0o755)

    monkeypatch.setattr("venv.create", create)
    return peer


def test_a_peer_that_cant_be_installed_says_why_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = _peer_whose_pip("ERROR: No matching distribution found for tensorflow==2.21.*", 1, tmp_path, monkeypatch)
    with pytest.raises(
        peer.PeerUnavailableError, match=r"^-m pip install failed: ERROR: No matching distribution .*$"
    ) as fault:
        peer.peer_python(tmp_path / "peer")
    assert "\n" not in str(fault.value)
    assert not (tmp_path / "peer" / "complete").exists()


def test_a_peer_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = _peer_whose_pip("", 0, tmp_path, monkeypatch)
    assert peer.peer_python(tmp_path / "peer") == tmp_path / "peer" / "bin" / "python"
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert [call.split()[:3] for call in calls] == [["-m", "pip", "install"], ["-W", "ignore", "-c"]]
    assert "tensorflow-recommenders==0.7.7" in calls[0]
    assert peer.peer_environment()["TF_USE_LEGACY_KERAS"] == "1"
    peer.peer_python(tmp_path / "peer")
    assert len((tmp_path / "calls").read_text(encoding="utf-8").splitlines()) == 2


def test_a_program_gives_its_last_line_and_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = _module("measured", monkeypatch)
    found = measured.run_program([sys.executable, "-c", "import time; time.sleep(.2); print('x'); print('{\"a\": 1}')"])
    assert found["a"] == 1
    assert found["wall_seconds"] >= 0.2


def test_a_program_that_fails_ends_the_benchmark_with_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = _module("measured", monkeypatch)
    with pytest.raises(SystemExit, match=r"failed \(3\):\nno such log"):
        measured.run_program([sys.executable, "-c", "import sys; print('no such log', file=sys.stderr); sys.exit(3)"])


def test_the_drawing_has_a_point_for_each_size_and_proportion_is_its_dashed_line(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ("prepare_seconds", "seconds", "prepare_peak_bytes", "peak_memory_bytes")
    sizes = [{"rows": rows, **{key: rows * each for each, key in enumerate(keys, start=1)}} for rows in (1e6, 5e6, 2e7)]
    root = ET.fromstring(_module("scale_drawing", monkeypatch).scale_drawing(sizes))
    assert len(root.findall(f"{SVG}circle")) == 4 * len(sizes)
    texts = [text.text for text in root.findall(f"{SVG}text")]
    assert [text for text in texts if text and text.endswith(" M")][:3] == ["1 M", "5 M", "20 M"]
    lines = [line.get("points", "").split() for line in root.findall(f"{SVG}polyline")]
    dashed = [path.get("d", "") for path in root.findall(f"{SVG}path") if path.get("stroke-dasharray")]
    for upper, straight in zip((lines[1], lines[3]), dashed, strict=True):  # seconds and bytes were made proportional to rows
        assert straight == f"M{upper[0].replace(',', ' ')}L{upper[-1].replace(',', ' ')}"


@pytest.mark.slow
def test_scale_runs_on_small_logs_and_ends_in_one_line_of_json(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(BENCHMARKS / "livestream_scale.py"),
        "--rows",
        "20000,5000",
        "--work",
        str(tmp_path / "work"),
    ]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out"), "--set", "split.test=500"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    sizes = json.loads(done.stdout.splitlines()[-1])["sizes"]
    assert [size["rows"] for size in sizes] == [5_000, 20_000]
    assert [size["counts"]["train"] for size in sizes] == [4_500, 19_500]
    assert all(size["seconds"] == pytest.approx(size["prepare_seconds"] + size["train_seconds"]) for size in sizes)
    assert all(size["peak_memory_bytes"] >= size["prepare_peak_bytes"] > 10**8 for size in sizes)
    assert (tmp_path / "out" / "livestream_scale.svg").exists()
