"""A server's half in plain Python: onnxruntime, a reader of Parquet and what lies in the folder, and nothing of twotower.

    python client.py FOLDER query REQUESTS.json VECTORS.npy

A request is a mapping of raw columns, and under ``history`` the items.
"""

from __future__ import annotations

import json
import re
import sys
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]


class Tower:
    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.about = json.loads((folder / "signature.json").read_text())[name]
        self.session = onnxruntime.InferenceSession(str(folder / self.about["file"]), providers=["CPUExecutionProvider"])
        self.tables: dict[str, dict[Any, int]] = {}

    def encode(self, requests: list[dict[str, Any]]) -> Any:
        feeds = {entry["name"]: getattr(self, entry["kind"])(entry, requests) for entry in self.about["inputs"]}
        return self.session.run(["vector"], feeds)[0]

    def number(self, entry: Any, requests: list[dict[str, Any]]) -> Any:
        values = [request.get(entry["column"]) for request in requests]
        return np.array([np.nan if value is None else float(value) for value in values])

    def vector(self, entry: Any, requests: list[dict[str, Any]]) -> Any:
        nothing = [np.nan] * entry["shape"][1]
        return np.array([request.get(entry["column"]) or nothing for request in requests], dtype=np.float64)

    def row(self, entry: Any, requests: list[dict[str, Any]]) -> Any:
        rows = []
        for request in requests:
            value = request.get(entry["column"])
            if entry["split"] and value is not None:
                parts = value.split(entry["split"]["separator"])
                value = (parts[entry["split"]["part"]] if len(parts) > entry["split"]["part"] else "") or None
            rows.append(entry["missing_row"] if value is None else self.found(entry["lookup"], value))
        return np.array(rows, dtype=np.int64)

    def rows(self, entry: Any, requests: list[dict[str, Any]]) -> Any:
        lines = []
        for request in requests:
            value = request.get(entry["column"]) if entry["column"] else request.get("history", [])
            if value is None:
                lines.append(entry["missing_rows"])
                continue
            rows = [self.found(entry["lookup"], piece) for piece in self.pieces(entry["split"], value) if piece is not None]
            lines.append([row for row in rows if row is not None])
        padded = np.full((len(lines), max(map(len, lines), default=0)), entry["padding"], dtype=np.int64)
        for at, line in enumerate(lines):
            padded[at, : len(line)] = line
        return padded

    def pieces(self, split: Any, value: Any) -> list[Any]:
        if split is None:
            return list(value)
        pieces = value.split(split["separator"]) if split["separator"] is not None else [value]
        if split["kind"] == "text":
            if split["lowercase"]:
                pieces = ["".join(letter.lower() for letter in piece) for piece in pieces]
            pieces = [piece.strip() for piece in pieces] if split["separator"] is not None else pieces
            pieces = [re.sub(f"[{re.escape(split['remove'])}]", "", p) if split["remove"] else p for p in pieces]
            if split["separator"] is None:
                pieces = [word for piece in pieces for word in piece.split()]
            return [piece for piece in pieces if piece]
        return [piece.strip() for piece in pieces if piece.strip()]

    def found(self, lookup: Any, value: Any) -> int | None:
        if isinstance(value, bool):
            value = "true" if value else "false"
        if lookup["kind"] == "hash":
            digest = blake2b(str(value).encode(), digest_size=lookup["digest_bytes"]).digest()
            return int(int.from_bytes(digest, lookup["byte_order"]) % lookup["buckets"] + lookup["first_row"])
        if lookup["file"] not in self.tables:
            table = pq.read_table(self.folder / lookup["file"]).to_pydict()
            self.tables[lookup["file"]] = dict(zip(table["value"], table["row"], strict=True))
        unknown: int | None = lookup["unknown_row"]
        return self.tables[lookup["file"]].get(value, unknown)


if __name__ == "__main__":
    folder, name, source, target = sys.argv[1:]
    vectors = Tower(Path(folder), name).encode(json.loads(Path(source).read_text()))
    assert not [module for module in sys.modules if module.split(".")[0] in ("twotower", "torch", "polars", "tokenizers")]
    np.save(target, vectors)
