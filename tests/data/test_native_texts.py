"""The kernel is there where a compiler is, and left out where that is wished; what it finds is in test_coded_texts."""

from __future__ import annotations

import numpy as np
import pytest

from twotower.data import native_texts as room
from twotower.data.arrow_text import ArrowText
from twotower.data.native_texts import NativeTexts
from twotower.native import native_status


def test_it_is_used_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = NativeTexts.here()
    assert (kernel is not None) == native_status("texts").available
    if kernel is None:
        pytest.skip(native_status("texts").detail)
    text, offsets = np.frombuffer(b"cabcabab", dtype=np.uint8), np.array([0, 1, 3, 4, 6, 8])
    for valid, codes in ((None, [1, 0, 1, 0, 0]), (np.array([True, False, True, True, True]), [1, 2, 1, 0, 0])):
        found = kernel.code(ArrowText(text, offsets, valid))
        assert found is not None
        assert (found[0].tolist(), offsets[found[1]].tolist()) == (codes, [1 if valid is None else 4, 0])
    taken = kernel.take(ArrowText(text, offsets), np.array([4, 0]))
    assert (taken.text.tobytes(), taken.offsets.tolist()) == (b"abc", [0, 2, 3])
    monkeypatch.setattr(room, "_MOST", 4)
    assert kernel.code(ArrowText(text, offsets)) is None
    monkeypatch.setenv("TWOTOWER_NATIVE", "0")
    assert NativeTexts.here() is None
