from __future__ import annotations

import pytest
import torch

from twotower.models import rows_read, with_places
from twotower.types import Column, Prefixes, Ragged

SEQUENCES = Ragged(torch.tensor([9, 2, 9, 4], dtype=torch.int32), torch.tensor([0, 3, 4]))
FEATURES: dict[str, Column | Prefixes] = {
    "age": torch.tensor([[1.0], [2.0], [3.0]]),
    "words": Ragged(torch.tensor([70, 71]), torch.tensor([0, 1, 1, 2])),
    "liked": Ragged(torch.tensor([3, 9], dtype=torch.int32), torch.tensor([0, 0, 2, 2])),
    "read": Prefixes(SEQUENCES, torch.tensor([0, 0, 1]), torch.tensor([1, 3, 1])),
}


def test_the_rows_of_the_named_columns_once() -> None:
    found = rows_read(FEATURES, ["liked", "read"])
    assert (found.tolist(), found.dtype) == ([2, 3, 4, 9], torch.int64)
    assert rows_read(FEATURES, ["liked"]).tolist() == [3, 9]
    empty = Ragged(torch.zeros(0, dtype=torch.int32), torch.zeros(3, dtype=torch.int64))
    assert rows_read({"liked": empty}, ["liked"]).tolist() == []
    assert with_places({"liked": empty}, ["liked"], torch.zeros(0, dtype=torch.int64))["liked"].num_rows == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("rows", [[2, 3, 4, 9], [9, 7, 3, 4, 100, 2, 0]])
def test_places_are_where_the_rows_are(rows: list[int]) -> None:
    given = torch.tensor(rows)
    found = with_places(FEATURES, ["liked", "read"], given)
    liked, read = found["liked"], found["read"]
    assert isinstance(liked, Ragged)
    assert isinstance(read, Prefixes)
    assert given[liked.values].tolist() == [3, 9]
    assert given[read.sequences.values].tolist() == [9, 2, 9, 4]
    assert read.ragged().offsets.tolist() == [0, 1, 4, 5]
    assert found["words"] is FEATURES["words"]
    assert found["age"] is FEATURES["age"]
    assert SEQUENCES.values.tolist() == [9, 2, 9, 4]  # of the batch, which stays as it was


def test_a_column_of_single_values_is_none_of_items() -> None:
    with pytest.raises(TypeError, match="any number of catalogue rows; it holds one value a row"):
        rows_read(FEATURES, ["age"])
