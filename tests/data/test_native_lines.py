"""The kernel is there where a compiler is, and left out where that is wished; what it finds is in test_plain_lines."""

from __future__ import annotations

import numpy as np
import pytest

from twotower.data.native_lines import NativeLines
from twotower.native import native_status


def test_it_is_used_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = NativeLines.here()
    assert (kernel is not None) == native_status("lines").available
    if kernel is None:
        pytest.skip(native_status("lines").detail)
    text = np.frombuffer(b"a,bc\nd,e\n", dtype=np.uint8)
    assert kernel.scan(text, ord(","), 1, ord('"')) == (2, 1, 0, 9)
    found = kernel.fields(text, ord(","), np.array([0, 1], dtype=np.int32), np.array([1]))
    assert found is not None
    begins, ends = found
    assert (begins.tolist(), ends.tolist()) == ([[2, 7]], [[4, 8]])
    assert kernel.copy(text, begins[0], ends[0]).tobytes() == b"bce"
    monkeypatch.setenv("TWOTOWER_NATIVE", "0")
    assert NativeLines.here() is None
