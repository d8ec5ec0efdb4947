"""Manifests that are there, damaged, or of another time."""

from __future__ import annotations

import json
from pathlib import Path

from twotower.columnar.manifest import ColumnEntry, Manifest, find_damage, read_manifest
from twotower.data import SkippedRows


def stored(folder: Path) -> Manifest:
    (folder / "0000.values").write_bytes(b"12345678")
    manifest = Manifest(
        format_version=1,
        key="k",
        source="log.csv",
        rows=1,
        all_columns=("n",),
        columns=(ColumnEntry(name="n", kind="number", dtype="Int64", stem="0000", files={"0000.values": 8}),),
        skipped=SkippedRows(counts={}, sample=()),
        source_bytes=4,
        written=1.0,
        seconds=0.5,
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return manifest


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert read_manifest(tmp_path / "none") is None
    manifest = stored(tmp_path)
    assert read_manifest(tmp_path) == manifest
    assert find_damage(tmp_path, manifest) is None


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) == "its manifest is missing"
    manifest = stored(tmp_path)
    content = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(content | {"format_version": 2}))
    assert read_manifest(tmp_path) == "its manifest is of another format"
    (tmp_path / "manifest.json").write_text(json.dumps(content)[:-5])
    assert read_manifest(tmp_path) == "its manifest is damaged"
    (tmp_path / "0000.values").write_bytes(b"1234567")
    assert find_damage(tmp_path, manifest) == "0000.values of column 'n' has 7 bytes in place of 8"
    (tmp_path / "0000.values").unlink()
    assert find_damage(tmp_path, manifest) == "0000.values of column 'n' is missing"
