from __future__ import annotations

import pytest

from twotower.config import parse_config
from twotower.errors import ConfigError
from twotower.spec import (
    FloatsColumn,
    GRUEncoderSpec,
    HSTUEncoderSpec,
    InputSpec,
    ModelSpec,
    OrdinalHeadSpec,
    RegressionHeadSpec,
    RowsColumn,
    TableSpec,
    TowerSpec,
    TransformerEncoderSpec,
)


def tower(**changes: object) -> TowerSpec:
    inputs = (InputSpec(column="id", width=4, table="item", id_dropout=0.1), InputSpec(column="price", width=2))
    return TowerSpec(**{"inputs": inputs, "layer_sizes": (8, 3), **changes})


def test_a_spec_survives_json() -> None:
    table = TableSpec(name="item", vocabulary_size=9, embedding_dim=4, update="rows")
    spec = ModelSpec(tables=(table,), query=tower(skip=("id",)), candidate=tower(l2_normalise=True), share_layers=True)
    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec


def test_heads_survive_json_and_are_written_only_where_there_are_some() -> None:
    plain = ModelSpec(query=tower(), candidate=tower())
    assert set(plain.model_dump()) == {"tables", "query", "candidate", "share_layers"}
    assert "heads" not in plain.model_dump_json()
    heads = (
        RegressionHeadSpec(name="rating", mean=3.5, scale=1.1, low=1, high=5, inputs=("product",), layer_sizes=(8,)),
        OrdinalHeadSpec(name="watched", levels=(0.1, 0.5), shares=(1 / 3, 2 / 3), activation="tanh"),
    )
    spec = plain.model_copy(update={"heads": heads})
    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec


def test_widths() -> None:
    assert (tower().input_width, tower().output_width) == (6, 3)
    assert tower(layer_sizes=()).output_width == 6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "t", "vocabulary_size": 0, "embedding_dim": 4}, "vocabulary_size: "),
        ({"name": "t", "vocabulary_size": 1, "embedding_dim": 0}, "embedding_dim: "),
        ({"name": "t", "vocabulary_size": 1, "embedding_dim": 1, "init_scale": 0}, "init_scale: "),
        ({"name": "t", "vocabulary_size": 1, "embedding_dim": 1, "update": "row"}, "update: "),
    ],
)
def test_tables_that_can_not_be_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(TableSpec, values)


def test_towers_need_inputs_and_dropouts_below_one() -> None:
    for key, value in {"inputs": (), "input_dropout": 1.0, "hidden_dropout": -0.1, "layer_sizes": (0,)}.items():
        values = {**tower().model_dump(), key: value}
        with pytest.raises(ConfigError, match=f"{key}"):
            parse_config(TowerSpec, values)


def test_columns_tell_their_kind() -> None:
    assert RowsColumn(name="id", vocabulary_size=3).model_dump() == {
        "kind": "rows",
        "name": "id",
        "vocabulary_size": 3,
        "ragged": False,
    }
    assert FloatsColumn(name="price", width=1).kind == "floats"


def test_encoders_survive_json_and_are_written_only_where_there_are_some() -> None:
    plain = InputSpec(column="words", width=4, table="word", pooling="sum")
    written = {"column", "width", "table", "pooling", "id_dropout", "value_dropout"}
    assert set(plain.model_dump()) == set(plain.model_dump(mode="json")) == written
    assert "encoder" not in plain.model_dump_json()
    assert "max_length" not in plain.model_dump_json()
    for encoder in (GRUEncoderSpec(layers=2, dropout=0.1), TransformerEncoderSpec(blocks=3, heads=2, gates=True)):
        entry = InputSpec(column="words", width=4, table="word", encoder=encoder, max_length=7)
        assert set(entry.model_dump()) == written | {"encoder", "max_length"}
        assert InputSpec.model_validate_json(entry.model_dump_json()) == entry


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": {"kind": "gru"}}, "encoder and max_length are given together, or neither"),
        ({"max_length": 5}, "encoder and max_length are given together, or neither"),
        ({"encoder": {"kind": "gru"}, "max_length": 5, "pooling": "sum"}, "an encoder takes the place of pooling"),
        ({"encoder": {"kind": "gru"}, "max_length": 5, "value_dropout": 0.1, "pooling": None}, "takes the place of pooling"),
        ({"encoder": {"kind": "gru"}, "max_length": 5, "table": None}, "and reads rows of a table"),
        ({"encoder": {"kind": "transformer", "heads": 3}, "max_length": 5}, "a multiple of the encoder's heads; came 4 for 3"),
        ({"encoder": {"kind": "gru"}, "max_length": 0}, "greater than or equal to 1"),
    ],
)
def test_encoders_that_do_not_fit_their_input_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(InputSpec, {"column": "words", "width": 4, "table": "word", **changes})


def test_items_are_written_only_where_they_are_read() -> None:
    plain = InputSpec(column="read", width=4, table="item", pooling="mean")
    assert "items" not in plain.model_dump()
    pooled = InputSpec(column="read", width=4, items="candidate", pooling="sum", value_dropout=0.1)
    read = InputSpec(column="read", width=4, items="candidate", encoder=GRUEncoderSpec(), max_length=3)
    for entry in (pooled, read):
        assert InputSpec.model_validate_json(entry.model_dump_json()) == entry
        assert entry.model_dump()["items"] == "candidate"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"table": "item", "pooling": "mean"}, "items take the place of a table and of id_dropout"),
        ({"id_dropout": 0.1, "pooling": "mean"}, "items take the place of a table and of id_dropout"),
        ({}, "items are any number a row: give pooling or an encoder"),
        ({"items": "query", "pooling": "mean"}, "items: "),
        ({"encoder": {"kind": "gru"}, "max_length": 3, "pooling": "mean"}, "an encoder takes the place of pooling"),
        ({"encoder": {"kind": "transformer", "heads": 3}, "max_length": 3}, "a multiple of the encoder's heads; came 4 for 3"),
    ],
)
def test_items_that_can_not_be_read(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(InputSpec, {"column": "read", "width": 4, "items": "candidate", **values})


def test_keys_of_an_encoder_are_written_in_the_order_that_models_were_saved_with() -> None:
    transformer = TransformerEncoderSpec(
        relative_time=True, relative_position=True, time_gap=True, time_buckets=8, gates=True
    ).model_dump_json()
    assert transformer == (
        '{"kind":"transformer","blocks":2,"heads":2,"hidden":4,"dropout":0.2,"gates":true,'
        '"relative_time":true,"relative_position":true,"time_gap":true,"time_buckets":8}'
    )
    hstu = HSTUEncoderSpec(relative_time=False, relative_position=False, time_gap=True, time_buckets=8).model_dump_json()
    assert hstu == (
        '{"kind":"hstu","blocks":2,"heads":2,"dropout":0.2,'
        '"relative_time":false,"relative_position":false,"time_gap":true,"time_buckets":8}'
    )
    assert HSTUEncoderSpec().model_dump_json() == '{"kind":"hstu","blocks":2,"heads":2,"dropout":0.2}'
    for kind in (TransformerEncoderSpec, HSTUEncoderSpec):
        with pytest.raises(ValueError, match="time_buckets belongs to relative_time or time_gap"):
            kind(relative_time=False, time_buckets=8)
