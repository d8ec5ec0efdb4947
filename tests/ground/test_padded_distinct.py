from __future__ import annotations

import torch
from emulated_device import DEVICE, emulated
from hypothesis import given
from hypothesis import strategies as st

from twotower.padded_distinct import padded_distinct


@given(st.lists(st.integers(-5, 9), max_size=12))
def test_it_finds_what_unique_finds(values: list[int]) -> None:
    given_ = torch.tensor(values, dtype=torch.int64)
    rows, inverse, counts = torch.unique(given_, return_inverse=True, return_counts=True)
    found = padded_distinct(given_)
    assert len(found.values) == len(values)
    assert found.values[: len(rows)].tolist() == rows.tolist()
    assert found.values.tolist() == (rows.tolist() * len(values))[: len(values)]
    assert found.places.tolist() == inverse.tolist()
    assert found.counts.tolist() == counts.tolist() + [0] * (len(values) - len(rows))
    assert given_[found.order].tolist() == sorted(values)


def test_a_recording_of_it_finds_other_ones() -> None:
    with emulated() as emulation:
        given_ = torch.tensor([3, 1, 3, 3], device=DEVICE)
        with emulation.record() as recording:
            found = padded_distinct(given_)
            counts = found.counts
        given_.copy_(torch.tensor([5, 0, 4, 0]))
        recording.replay()
        assert found.values.tolist() == [0, 4, 5, 0]
        assert found.places.tolist() == [2, 0, 1, 0]
        assert counts.tolist() == [2, 1, 1, 0]
