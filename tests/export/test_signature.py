"""The signature goes to JSON and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.export.conftest import Plant
from tests.export.test_onnx_folder import CANDIDATE, QUERY

from twotower.export import Signature, export_onnx


def test_there_and_back(plant: Plant, tmp_path: Path) -> None:
    names = ("id", "id by hash", "part", "timestamp", "geo", "text", "lists", "vector", "history")
    done = export_onnx(plant([QUERY[name] for name in names], [CANDIDATE["kinds"]]), tmp_path / "out", check_rows=2)
    text = (tmp_path / "out" / "signature.json").read_text()
    assert Signature.model_validate_json(text) == done.signature
    assert {entry.kind for entry in done.signature.query.inputs} == {"number", "vector", "row", "rows"}
    files = {
        entry.lookup.file
        for tower in (done.signature.query, done.signature.candidate)
        for entry in tower.inputs
        if entry.kind in ("row", "rows") and entry.lookup.kind == "vocabulary"
    }
    on_disk = {f"vocabulary/{path.name}" for path in (tmp_path / "out" / "vocabulary").iterdir()}
    assert on_disk == files | {"vocabulary/bio.tokenizer.json"}
    with pytest.raises(ValidationError):
        Signature.model_validate_json(text.replace("twotower-onnx", "another"))
