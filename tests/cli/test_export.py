"""``twotower export``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

Call = Callable[..., tuple[int, str, str]]


def test_onnx(call: Call, finished: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    out = tmp_path / "out"
    status, text, err = call("export", finished, "--format", "onnx", "--out", out)
    assert (status, err) == (0, "")
    assert text.startswith(f"{out}: both towers, opset 17, ")
    assert "query_tower.onnx" in text
    assert "would be refused" in text
    names = {path.name for path in out.iterdir()}
    assert names == {"query_tower.onnx", "candidate_tower.onnx", "signature.json", "vocabulary"}
    status, text, err = call(
        "export", finished, "--format", "onnx", "--out", out, "--opset", "18", "--check-rows", "3", "--json"
    )
    assert (status, err) == (0, "")
    found = json.loads(text)
    assert found["opset"] == 18
    assert found["checked_rows"]["query"] > 3
    assert max(found["largest_error"].values()) < found["may_differ_by"] == 1e-4


def test_vectors(call: Call, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "vectors"
    status, text, err = call("export", finished, "--format", "vectors", "--out", out, "--users")
    assert (status, err) == (0, "")
    assert text.startswith(f"{out}: vectors of 8 items and 10 users, 4 wide, ")
    assert pl.read_parquet(out / "users.parquet").columns == ["user", "vector"]
    status, text, _ = call("export", finished, "--format", "vectors", "--out", out, "--as", "npy", "--json")
    assert status == 0
    assert {"items": 8, "users": None, "width": 4}.items() <= json.loads(text).items()
    assert (out / "items.npy").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "onnx"), "say where the export goes: --out FOLDER"),
        (("--format", "onx", "--out", "o"), "no 'onx'; did you mean 'onnx'?"),
        (("--format", "onnx", "--out", "o", "--users"), "--users: goes with --format vectors"),
        (("--format", "vectors", "--out", "o", "--opset", "18"), "--opset: goes with --format onnx"),
        (("--format", "vectors", "--out", "o", "--as", "csv"), "--as: there is no 'csv'"),
        (("--format", "vectors", "--out", "o.npy"), "name a folder"),
        (("--format", "vectors", "--out", "mine"), "holds something else"),
    ],
)
def test_wrong_usage(
    call: Call, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").write_text("")
    status, out, err = call("export", finished, *options)
    assert (status, out) == (2, "")
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_no_run(call: Call, tmp_path: Path) -> None:
    status, _, err = call("export", tmp_path / "nowhere", "--format", "vectors", "--out", tmp_path / "o")
    assert status == 1
    assert "no bundle or run folder" in err


def test_without_the_extra(call: Call, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    status, _, err = call("export", finished, "--format", "onnx", "--out", tmp_path / "o")
    assert status == 1
    assert "pip install 'twotower[onnx]'" in err


def test_the_help_does_not_wait_for_the_libraries() -> None:
    program = (
        "import sys\nfrom twotower.cli import main\ntry:\n    main(['export', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'onnx', 'onnxruntime', 'polars'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
