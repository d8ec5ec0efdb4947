"""Text to bytes and back."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from twotower.data.arrow_text import ArrowText


@pytest.mark.parametrize("values", [[], [None], [""], ["a", "", None, "\u00e9\u00e8", "x" * 40], [None, None, "b"]])
def test_there_and_back(values: list[str | None]) -> None:
    whole = pl.Series("id", ["skipped", *values, "too"], dtype=pl.String)
    chunks = pl.concat(
        [pl.Series("id", values[:1], dtype=pl.String), pl.Series("id", values[1:], dtype=pl.String)], rechunk=False
    )
    for column in (pl.Series("id", values, dtype=pl.String), whole.slice(1, len(values)), chunks):
        found = ArrowText.of(column)
        encoded = [(value or "").encode() for value in values]
        cut = [found.text[a:b].tobytes() for a, b in zip(found.offsets, found.offsets[1:], strict=False)]
        assert cut == encoded
        assert (found.valid is None) == (None not in values)
        back = found.series("name")
        assert (back.name, back.to_list()) == ("name", values)
        assert back.dtype == pl.String


def test_what_is_there_although_it_is_said_not_to_be_is_null() -> None:
    texts = ArrowText(np.frombuffer(b"abc", dtype=np.uint8), np.array([0, 1, 3]), np.array([True, False]))
    assert texts.series("id").to_list() == ["a", None]


def test_nothing_else_is_loaded_for_it() -> None:
    code = (
        "import sys, numpy as np; from twotower.data.arrow_text import ArrowText\n"
        "ArrowText(np.zeros(1, dtype=np.uint8), np.array([0, 1])).series('id'); print('pyarrow.compute' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
