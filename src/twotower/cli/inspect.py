"""``twotower inspect``."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote
from typing import Any

import polars as pl

from twotower.bundle import open_bundle
from twotower.cli.output import print_json, print_lines, print_table
from twotower.cli.verdict import print_verdict
from twotower.data import read_table

__all__ = ["inspect_command"]


def inspect_command(path: Path, *, separator: str | None, as_json: bool) -> None:
    """Print what is in a table, a bundle or a run."""
    if (path / "manifest.json").exists():
        _bundle(path, as_json)
    elif (path / "recipe.json").exists():
        _run(path, as_json)
    else:
        _table(path, separator, as_json)


def _table(path: Path, separator: str | None, as_json: bool) -> None:
    frame = read_table(path, separator=separator)
    columns = [_column(frame[name]) for name in frame.columns]
    if as_json:
        print_json({"path": str(path), "rows": frame.height, "columns": columns})
        return
    header = ["column", "type", "missing", "distinct", "range", "example"]
    rows = [
        [c["name"], c["type"], f"{c['missing_fraction']:.1%}", f"{c['distinct']:,}", _range(c), _short(c["example"])]
        for c in columns
    ]
    print_table(f"{path}: {frame.height:,} rows", header, rows, left=["column", "type", "range", "example"])


def _column(column: pl.Series) -> dict[str, Any]:
    present = column.drop_nulls()
    plain = pl.Series([str(value) for value in present.to_list()]) if present.dtype.is_nested() else present
    ordered = len(present) > 0 and (present.dtype.is_numeric() or present.dtype.is_temporal())
    return {
        "name": column.name,
        "type": str(column.dtype),
        "missing_fraction": column.null_count() / max(1, len(column)),
        "distinct": plain.n_unique(),
        "least": present.min() if ordered else None,
        "greatest": present.max() if ordered else None,
        "example": _plain(present[0]) if len(present) else None,
    }


def _plain(value: Any) -> Any:
    return value.to_list() if isinstance(value, pl.Series) else value


def _range(column: dict[str, Any]) -> str:
    return "" if column["least"] is None else f"{column['least']} to {column['greatest']}"


def _short(value: Any, longest: int = 40) -> str:
    if value is None:
        return ""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _bundle(path: Path, as_json: bool) -> None:
    bundle = open_bundle(path)
    manifest = bundle.manifest
    if as_json:
        print_json(manifest.model_dump(mode="json"))
        return
    print_lines(
        f"{path}: bundle, format {manifest.format_version}, written {manifest.created_at} by twotower "
        f"{manifest.library_version}; every checksum holds",
    )
    rows = [[name, part.file, f"{part.size_bytes:,}", part.sha256[:12]] for name, part in sorted(manifest.parts.items())]
    print_table("", ["part", "file", "bytes", "sha256"], rows, left=["part", "file", "sha256"])
    print_lines("")
    if isinstance(result := bundle.card.get("result"), dict):
        print_verdict(result)
    if "trained_on" in bundle.card:
        print_lines(f"trained on: {bundle.card['trained_on']}")


def _run(path: Path, as_json: bool) -> None:
    result = path / "result.json"
    if not result.exists():
        state = {"run_dir": str(path), "finished": False}
        if as_json:
            print_json(state)
        else:
            print_lines(
                f"{path}: a run that has not finished; go on with: twotower train RECIPE --run-dir {quote(str(path))} --resume"
            )
        return
    summary = json.loads(result.read_text(encoding="utf-8"))
    if as_json:
        print_json({"finished": True, **{key: value for key, value in summary.items() if key != "details"}})
        return
    print_verdict(summary)
    print_lines(f"bundle: {path / 'bundle'}")
