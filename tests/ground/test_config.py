from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import pytest
from pydantic import Field, model_validator

from twotower.config import Config, parse_config
from twotower.errors import ConfigError
from twotower.runs import parse_recipe


class Circle(Config):
    kind: Literal["circle"] = "circle"
    radius: float
    circle: int = 0


class Square(Config):
    kind: Literal["square"] = "square"
    side: float = Field(default=1.0, gt=0)
    corners: tuple[int | float, ...] = ()


Shape: TypeAlias = Annotated[Circle | Square, Field(discriminator="kind")]


class Paint(Config):
    colour: str = "red"


class Entry(Config):
    """Two tables written as one: the keys of the shape, and ``paint``."""

    shape: Shape
    paint: Paint = Paint()

    @model_validator(mode="before")
    @classmethod
    def _split(cls, values: Any) -> Any:
        if isinstance(values, dict) and "shape" not in values:
            rest = {key: value for key, value in values.items() if key != "paint"}
            return {"shape": rest, **({"paint": values["paint"]} if "paint" in values else {})}
        return values


class Drawing(Config):
    title: str
    entries: tuple[Entry, ...] = Field(default=(), min_length=1, validate_default=False)
    background: Shape | None = None
    palette: dict[str, Paint] = Field(default_factory=dict)
    width: float = 1.0
    height: float = 1.0

    @model_validator(mode="after")
    def _flat(self) -> Drawing:
        if self.height > 2 * self.width:
            raise ValueError(f"height must be at most twice the width; came {self.height:g}")
        return self


def faults(values: object, config_type: type[Config] = Drawing) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_config(config_type, values)
    return caught.value.faults


def entry(**values: Any) -> dict[str, Any]:
    return {"title": "x", "entries": [{"kind": "square"}, values]}


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"titel": "x", "title": "x"}, "titel: unknown key; did you mean 'title'?"),
        ({"title": "x", "zzz": 1}, "zzz: unknown key; valid: background, entries, height, palette, title, width"),
        ({}, "title: is required"),
        # the level `shape` and the tag `circle` were not written, and are not named
        (entry(kind="circle", radius=1, raduis=2), "entries.1.raduis: unknown key; did you mean 'radius'?"),
        (entry(kind="circle", radius=1, piant={}), "entries.1.piant: unknown key; did you mean 'paint'?"),
        (entry(kind="square", piant={}), "entries.1.piant: unknown key; did you mean 'paint'?"),
        (entry(kind="circle"), "entries.1.radius: is required"),
        (entry(kind="square", side=0), "entries.1.side: input should be greater than 0 (came: 0)"),
        (entry(kind="square", square=1), "entries.1.square: unknown key; valid: corners, kind, paint, side"),
        (entry(kind="circle", radius=1, circle="x"), "entries.1.circle: input should be a valid integer, "),
        (entry(kind="square", paint={"color": "red"}), "entries.1.paint.color: unknown key; did you mean 'colour'?"),
        (entry(kind="sqare"), "entries.1.kind: no 'sqare'; did you mean 'square'?"),
        (entry(side=2), "entries.1.kind: is required; valid: circle, square"),
        # but where the level was written, it is
        (
            entry(shape={"kind": "circle", "raduis": 2, "radius": 1}),
            "entries.1.shape.raduis: unknown key; did you mean 'radius'?",
        ),
        ({"title": "x", "background": {"kind": "circle"}}, "background.radius: is required"),
        ({"title": "x", "palette": {"sky": {"color": "red"}}}, "palette.sky.color: unknown key; did you mean 'colour'?"),
        ({"title": "x", "entries": {"kind": "square"}}, "entries: must be a list: write [[entries]] for each entry"),
        ({"title": "x", "entries": "square"}, "entries: must be a list (came: 'square')"),
        (
            {"title": "x", "entries": ["square"]},
            "entries.0: must be a table of keys and values, with keys such as paint, shape",
        ),
        ({"title": "x", "entries": []}, "entries: must have at least 1 entries (came: [])"),
        ({"title": "x", "palette": 3}, "palette: must be a table of keys and values (came: 3)"),
        ({"title": "x", "width": float("nan")}, "width: input should be a finite number (came: nan)"),
        ({"title": "x", "height": 3}, "height must be at most twice the width; came 3"),
        ([], "must be a table of keys and values, with keys such as background, entries, height (came: [])"),
    ],
)
def test_a_fault_is_named_by_the_key_that_was_written(values: object, fault: str) -> None:
    (found,) = faults(values)
    assert found.startswith(fault)
    assert len(found) < len(fault) + 60


def test_all_faults_come_at_once() -> None:
    values = {"entries": [{"kind": "circle"}, {"kind": "square", "sides": 1}], "widht": 1, "palette": {"sky": {"color": 1}}}
    assert set(faults(values)) == {
        "title: is required",
        "entries.0.radius: is required",
        "entries.1.sides: unknown key; did you mean 'side'?",
        "palette.sky.color: unknown key; did you mean 'colour'?",
        "widht: unknown key; did you mean 'width'?",
    }


def test_a_value_that_could_have_been_two_things_is_one_fault() -> None:
    (found,) = faults(entry(kind="square", corners=[1, "x"]))
    assert found.startswith("entries.1.corners.1: input should be a valid integer")
    assert ", or input should be a valid number" in found


def test_long_values_are_not_repeated_in_the_message() -> None:
    (found,) = faults({"title": {"text": "x" * 200}})
    assert found == "title: input should be a valid string"


def test_the_source_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^drawing.toml: title: is required$"):
        parse_config(Drawing, {}, source="drawing.toml")


def test_what_is_right_is_built_and_frozen() -> None:
    drawing = parse_config(Drawing, entry(kind="circle", radius=2, paint={"colour": "blue"}))
    assert isinstance(drawing.entries[1].shape, Circle)
    assert (drawing.entries[1].shape.radius, drawing.entries[1].paint.colour) == (2.0, "blue")
    with pytest.raises(Exception, match="frozen"):
        drawing.title = "y"  # type: ignore[misc]


def test_recipes_name_the_keys_of_the_toml() -> None:
    recipe = {
        "name": "x",
        "data": {"columns": {"user": "u", "item": "i", "positives": "r >= 4", "tiem": "t"}},
        "split": {"kind": "random", "tset": 0.1},
        "query": {"features": [{"kind": "id", "column": "u", "embeding": {"dim": 8}}]},
        "candidate": {"features": [{"kind": "id", "column": "i", "embedding": {"dims": 8}}, {"kind": "idd", "column": "i"}]},
        "training": {"optimizer": {"kind": "adagrad", "learnin_rate": 0.1}},
    }
    with pytest.raises(ConfigError) as caught:
        parse_recipe(recipe)
    assert set(caught.value.faults) == {
        "data.columns.tiem: unknown key; did you mean 'time'?",
        "split.tset: unknown key; did you mean 'test'?",
        "query.features.0.embeding: unknown key; did you mean 'embedding'?",
        "candidate.features.0.embedding.dims: unknown key; did you mean 'dim'?",
        "candidate.features.1.kind: no 'idd'; did you mean 'id'?",
        "training.optimizer.learnin_rate: unknown key; did you mean 'learning_rate'?",
    }
