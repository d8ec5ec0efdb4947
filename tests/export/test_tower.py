"""An exported tower and the sizes of what it is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.export.conftest import Plant

from twotower.export import TowerSignature, export_onnx
from twotower.export.session import Session

HISTORY = {"kind": "history", "name": "past", "max_length": 3}
ID = {"kind": "id", "column": "user"}


def session_of(run: Path) -> tuple[Session, TowerSignature]:
    done = export_onnx(run, run.parent / "out", check_rows=3)
    return Session(done.folder / "query_tower.onnx"), done.signature.query


@pytest.mark.parametrize("pooling", ["mean", "sum", "sqrt_n"])
def test_batches_of_none_one_and_many(plant: Plant, pooling: str) -> None:
    session, tower = session_of(plant([ID, HISTORY], pooling=pooling))
    assert session.input_names == ["user.row", "past.rows"] == [entry.name for entry in tower.inputs]
    ids, rows = np.arange(20), np.tile(np.arange(5), (20, 1))
    many = session.run({"user.row": ids, "past.rows": rows})
    for size in (0, 1, 7):
        some = session.run({"user.row": ids[:size], "past.rows": rows[:size]})
        assert some.shape == (size, 6)
        np.testing.assert_allclose(some, many[:size], atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "sum", "sqrt_n"])
def test_lines_of_no_length_are_empty_histories(plant: Plant, pooling: str) -> None:
    session, _ = session_of(plant([ID, HISTORY], pooling=pooling))
    ids = np.arange(4)
    nothing = session.run({"user.row": ids, "past.rows": np.zeros((4, 0), dtype=np.int64)})
    padded = session.run({"user.row": ids, "past.rows": np.full((4, 9), -1)})
    np.testing.assert_allclose(nothing, padded, atol=1e-6)
    assert np.isfinite(nothing).all()
    something = session.run({"user.row": ids, "past.rows": np.full((4, 1), 2)})
    assert np.abs(something - nothing).max() > 0.01


def test_only_the_latest_are_read_wherever_the_padding_stands(plant: Plant) -> None:
    session, _ = session_of(plant([HISTORY]))
    rows = np.array([[9, 8, 1, 2, 3, -1, -1], [-1, 9, -1, 1, 2, -1, 3], [1, 2, 3, -1, -1, -1, -1]])
    vectors = session.run({"past.rows": rows})
    np.testing.assert_allclose(vectors, np.tile(vectors[:1], (3, 1)), atol=1e-6)
    assert np.abs(session.run({"past.rows": np.array([[9, 1, 2]])}) - vectors[:1]).max() > 0.01


def test_rows_that_no_vocabulary_has(plant: Plant) -> None:
    session, _ = session_of(plant([ID]))
    vectors = session.run({"user.row": np.array([0, -1, 3])})
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True, False]
    with pytest.raises(Exception, match="indices element out of data bounds"):
        session.run({"user.row": np.array([10_000])})


def test_a_number_that_must_be_there(plant: Plant) -> None:
    session, tower = session_of(
        plant(candidate=[{"kind": "id", "column": "item"}], query=[{"kind": "number", "column": "height"}])
    )
    (entry,) = tower.inputs
    assert entry.kind == "number"
    assert (entry.required, entry.stand_in is not None) == (
        False,
        True,
    )  # the median of train stands in for what a request lacks
    vectors = session.run({"height": np.array([170.0, np.nan, np.inf, entry.stand_in])})
    assert np.isnan(vectors).all(axis=1).tolist() == [False, False, True, False]
    np.testing.assert_array_equal(vectors[1], vectors[3])


def test_two_features_of_one_column_of_vectors(plant: Plant) -> None:
    face = {"kind": "vector", "column": "face", "missing": "zeros"}
    _, tower = session_of(plant([ID, face, {**face, "normalise": True, "name": "direction"}]))
    assert [entry.name for entry in tower.inputs] == ["user.row", "face"]
    assert tower.largest_error < 1e-5
