"""Raw columns of numbers as inputs of a graph: each once, however many features read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from twotower.errors import ConfigError
from twotower.export.arithmetic import double, either, whole
from twotower.export.graph import Graph
from twotower.export.signature import Input, NumberInput, RowInput, RowsInput, VectorInput

__all__ = ["Numbers", "RawColumns"]


_MUST = ", which it must not be"
_UNIX = ", in Unix seconds"


class Numbers(NamedTuple):
    """A column of numbers in a graph.

    Attributes:
        values: float64 ``[B]``; any number where one is missing.
        missing: Where one is, bool ``[B]``; None: nowhere.
    """

    values: str
    missing: str | None


@dataclass
class _Read:
    numbers: Numbers
    read_as: list[str] = field(default_factory=list)
    required: bool = False
    range: tuple[float, float] | None = None


@dataclass
class _ReadVectors:
    values: str
    missing: str
    width: int
    required: bool = False


class RawColumns:
    """The inputs of a graph, and which of its rows must not be believed.

    Args:
        graph: That they are inputs of.
        stand_ins: By column, what a missing value is taken as, before any feature reads it.
    """

    def __init__(self, graph: Graph, stand_ins: Mapping[str, object]) -> None:
        self.graph = graph
        self.stand_ins = stand_ins
        self._numbers: dict[str, _Read] = {}
        self._vectors: dict[str, _ReadVectors] = {}
        self._inputs: dict[str, Input | None] = {}
        self._rows: list[str] = []
        self._refused: list[str] = []

    def numbers(self, column: str, *, kind: str, required: bool = False, range_: tuple[float, float] | None = None) -> Numbers:
        """A column of numbers.

        Args:
            column: Its name, and that of the input.
            kind: Of the feature that reads it, for the signature.
            required: Whether a missing value makes a vector of NaN.
            range_: Outside of which a value does.
        """
        if column not in self._numbers:
            self._numbers[column] = _Read(self._new(column))
        read = self._numbers[column]
        read.read_as.append(kind)
        if required and read.numbers.missing is not None and not read.required:
            read.required = True
            self.refuse(read.numbers.missing)
        if range_ is not None:
            read.range = range_ if read.range is None else (max(range_[0], read.range[0]), min(range_[1], read.range[1]))
        return read.numbers

    def vectors(self, column: str, width: int, *, required: bool) -> str:
        """A column of vectors, float64 ``[B, width]``; zeros where one is missing, unless it is required."""
        if column not in self._vectors:
            self._vectors[column] = self._new_vectors(column, width)
        read = self._vectors[column]
        if required and not read.required:
            read.required = True
            self.refuse(read.missing)
        return read.values

    def row(self, entry: RowInput) -> str:
        """Rows of a vocabulary, int64 ``[B]``."""
        self._claim(entry.name, entry)
        given = self.graph.input(entry.name, np.int64, entry.shape, about=entry.about)
        self._rows.append(given)
        return given

    def rows(self, entry: RowsInput) -> str:
        """Rows of a vocabulary, int64 ``[B, L]``, padded."""
        self._claim(entry.name, entry)
        return self.graph.input(entry.name, np.int64, entry.shape, about=entry.about)

    def refuse(self, mark: str) -> None:
        """Rows (bool ``[B]``) whose vector is NaN."""
        self._refused.append(mark)

    def refused(self) -> str | None:
        """All of them; None: there can be none."""
        marks = list(self._refused)
        if self._rows:
            least = self._rows[0] if len(self._rows) == 1 else self.graph.node("Min", *self._rows)
            marks.append(self.graph.node("Less", least, _integer(self.graph, 0)))
        return either(self.graph, marks)

    def inputs(self) -> tuple[Input, ...]:
        """What the signature says of them, in the order of the graph."""
        return tuple(self._column_input(name) if entry is None else entry for name, entry in self._inputs.items())

    def _column_input(self, column: str) -> NumberInput | VectorInput:
        if column in self._vectors:
            vectors = self._vectors[column]
            return VectorInput(
                name=column,
                about=f"the vector {column}; NaN in every place where it is missing{_MUST if vectors.required else ''}",
                column=column,
                shape=("batch", vectors.width),
                required=vectors.required,
            )
        read, stand_in = self._numbers[column], self.stand_ins.get(column)
        taken = f", which is taken as {stand_in}" if stand_in is not None else _MUST if read.required else ""
        return NumberInput(
            name=column,
            about=f"the number {column}{_UNIX if 'timestamp' in read.read_as else ''}; NaN where it is missing{taken}",
            column=column,
            read_as=tuple(dict.fromkeys(read.read_as)),
            required=read.required,
            stand_in=None if stand_in is None else float(stand_in),  # type: ignore[arg-type]
            range=read.range,
        )

    def _new(self, column: str) -> Numbers:
        graph = self.graph
        self._claim(column, None)
        given = graph.input(column, np.float64, ("batch",), about="numbers; a missing one is NaN")
        missing = graph.node("IsNaN", given)
        self.refuse(graph.node("IsInf", given))
        stand_in = self.stand_ins.get(column)
        if stand_in is not None:
            return Numbers(graph.node("Where", missing, double(graph, float(stand_in)), given), None)  # type: ignore[arg-type]
        return Numbers(graph.node("Where", missing, double(graph, 0.0), given), missing)

    def _new_vectors(self, column: str, width: int) -> _ReadVectors:
        graph = self.graph
        self._claim(column, None)
        given = graph.input(column, np.float64, ("batch", width), about="vectors; a missing one is NaN in every place")
        nothing_BW = graph.node("IsNaN", given)
        absent_B, infinite_B = _count(graph, nothing_BW), _count(graph, graph.node("IsInf", given))
        missing_B = graph.node("Equal", absent_B, _integer(graph, width))
        some_B = graph.node("Greater", absent_B, _integer(graph, 0))
        self.refuse(graph.node("Greater", infinite_B, _integer(graph, 0)))
        self.refuse(graph.node("And", some_B, graph.node("Not", missing_B)))
        return _ReadVectors(graph.node("Where", nothing_BW, double(graph, 0.0), given), missing_B, width)

    def _claim(self, name: str, entry: Input | None) -> None:
        if name in self._inputs:
            raise ConfigError(
                f"two inputs of a tower would have the name {name!r} in an ONNX export; give one of the features another name"
            )
        self._inputs[name] = entry


def _count(graph: Graph, marks_BW: str) -> str:
    """How many marks are set in each row, int64 ``[B]``."""
    return graph.node("ReduceSum", graph.cast(marks_BW, np.int64), whole(graph, 1), keepdims=0)


def _integer(graph: Graph, value: int) -> str:
    return graph.constant(np.array(value, dtype=np.int64))
