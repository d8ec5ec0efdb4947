"""What ``signature.json`` says: the inputs of both towers, and how raw values become them.

Everything that somebody needs who serves the towers in another language, and has neither this library nor the bundle.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field

from twotower.config import Config

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "PADDING",
    "HashLookup",
    "Input",
    "NumberInput",
    "Output",
    "PartSplit",
    "RowInput",
    "RowsInput",
    "SeparatorSplit",
    "Signature",
    "TextSplit",
    "TowerSignature",
    "VectorInput",
    "Versions",
    "VocabularyLookup",
]

FORMAT: Final = "twotower-onnx"
"""What ``signature.json`` of every export says it is."""

FORMAT_VERSION: Final = 1
"""Counts up when a program that reads the signature would have to change."""

PADDING: Final = -1
"""Stands in rows of different lengths where a row has ended."""


class VocabularyLookup(Config):
    """A value's row stands beside it in a table.

    Attributes:
        file: Parquet of two columns: ``value``, each once, and ``row``.
        values: Of which type the values are; booleans are the texts ``true`` and ``false``.
        unknown_row: Row of a value that is not in the table; None: such a value is left out.
    """

    kind: Literal["vocabulary"] = "vocabulary"
    file: str
    values: Literal["text", "integer"]
    unknown_row: int | None


class HashLookup(Config):
    """A value's row is a hash of it: BLAKE2b over its UTF-8 text, modulo ``buckets``, plus ``first_row``.

    An integer is its decimal digits.

    Attributes:
        digest_bytes: Length of the digest, a parameter of BLAKE2b.
        byte_order: In which the digest is read as an integer without sign.
        buckets: How many there are.
        first_row: Row of the first one.
    """

    kind: Literal["hash"] = "hash"
    algorithm: Literal["blake2b"] = "blake2b"
    digest_bytes: int = 8
    byte_order: Literal["little"] = "little"
    buckets: int
    first_row: int = 1


Lookup: TypeAlias = Annotated[VocabularyLookup | HashLookup, Field(discriminator="kind")]


class PartSplit(Config):
    """One part of a composite text is looked up; without it, or where it is empty, the value is missing.

    Attributes:
        separator: What stands between the parts.
        part: Which one, counted from 0.
    """

    kind: Literal["part"] = "part"
    separator: str
    part: int


class SeparatorSplit(Config):
    """A text is cut at a separator; blanks around a piece are cut off, and empty pieces left out."""

    kind: Literal["separator"] = "separator"
    separator: str


class TextSplit(Config):
    """A text is cut into words.

    In this order: with a separator, the text is cut at it and blanks around the pieces are cut off; letters become small, one
    by one; the characters of ``remove`` are taken out; without a separator, the text is cut at blanks; empty words go.

    Attributes:
        tokenizer: A file for the library ``tokenizers`` (of Rust, with bindings), which does all of it, lookup included.
        separator: None: blanks.
        lowercase: Whether letters become small.
        remove: Characters that are taken out.
    """

    kind: Literal["text"] = "text"
    tokenizer: str
    separator: str | None
    lowercase: bool
    remove: str


class NumberInput(Config):
    """A raw column of numbers; booleans are 0 and 1, dates and times Unix seconds.

    Attributes:
        name: Of the input, and of the column.
        about: What it is, and what a missing value is, in a sentence.
        column: As the data has it.
        shape: ``["batch"]``.
        read_as: What the graph makes of it: the kinds of the features that read it.
        required: Whether it must not be missing: the vector of such a row is NaN.
        stand_in: What a missing value is taken as; None: each feature has its own rule, in the graph.
        range: Values outside of it give a vector of NaN; None: all finite values are taken.
    """

    kind: Literal["number"] = "number"
    name: str
    about: str
    column: str
    dtype: Literal["float64"] = "float64"
    shape: tuple[str, ...] = ("batch",)
    missing: Literal["NaN"] = "NaN"
    read_as: tuple[str, ...]
    required: bool
    stand_in: float | None = None
    range: tuple[float, float] | None = None


class VectorInput(Config):
    """A raw column of vectors of one length; a missing one is NaN in every place, and never in some.

    Attributes:
        name: Of the input, and of the column.
        about: What it is, and what a missing value is, in a sentence.
        column: As the data has it.
        shape: ``["batch", width]``.
        required: Whether it must not be missing: the vector of such a row is NaN.
    """

    kind: Literal["vector"] = "vector"
    name: str
    about: str
    column: str
    dtype: Literal["float64"] = "float64"
    shape: tuple[str | int, ...]
    missing: Literal["NaN"] = "NaN"
    required: bool


class RowInput(Config):
    """The row of one value per request or item; a negative one gives a vector of NaN.

    Attributes:
        name: Of the input.
        about: What it is, and what a missing value is, in a sentence.
        feature: What the feature is called.
        column: Whose values are looked up.
        shape: ``["batch"]``.
        split: What is done to a value before it is looked up.
        lookup: How the row is found.
        missing_row: Row of a missing value; None: it must not be missing.
        vocabulary_size: Rows are in ``[0, vocabulary_size)``.
    """

    kind: Literal["row"] = "row"
    name: str
    about: str
    feature: str
    column: str
    dtype: Literal["int64"] = "int64"
    shape: tuple[str, ...] = ("batch",)
    split: PartSplit | None = None
    lookup: Lookup
    missing_row: int | None
    vocabulary_size: int


class RowsInput(Config):
    """The rows of any number of values per request or item, in their order, each line filled up with ``padding``.

    Attributes:
        name: Of the input.
        about: What it is, and what a missing value is, in a sentence.
        feature: What the feature is called.
        column: Whose values are looked up; None: the history of the user, item ids in the order of time, the most recent last.
        shape: ``["batch", "..._length"]``; the length may be 0.
        split: How one text becomes several values; None: the column holds lists.
        lookup: How the row of a value is found.
        missing_rows: Of a missing value.
        max_length: The graph reads no more of a line than this; None: all.
        reads: Which ones: the ``first``, or the ``last``.
        vocabulary_size: Rows are in ``[0, vocabulary_size)``.
    """

    kind: Literal["rows"] = "rows"
    name: str
    about: str
    feature: str
    column: str | None
    dtype: Literal["int64"] = "int64"
    shape: tuple[str, ...]
    padding: int = PADDING
    split: Annotated[SeparatorSplit | TextSplit, Field(discriminator="kind")] | None = None
    lookup: Lookup
    missing_rows: tuple[int, ...] = ()
    max_length: int | None
    reads: Literal["first", "last"]
    vocabulary_size: int


Input: TypeAlias = Annotated[NumberInput | VectorInput | RowInput | RowsInput, Field(discriminator="kind")]


class Output(Config):
    """What a tower gives."""

    name: Literal["vector"] = "vector"
    dtype: Literal["float32"] = "float32"
    shape: tuple[str | int, ...]


class TowerSignature(Config):
    """A tower.

    Attributes:
        file: The graph.
        files: All files of the graph: more than one where its tables are beside it.
        id_column: The column of the user's, or the item's, id.
        inputs: In the order of the graph.
        output: The vector.
        checked_rows: How many rows were encoded here and by the bundle, before this was written.
        largest_error: By how much a number of a vector differed at most.
    """

    file: str
    files: tuple[str, ...]
    id_column: str
    inputs: tuple[Input, ...]
    output: Output
    checked_rows: int = 0
    largest_error: float = 0.0


class Versions(Config):
    """What wrote an export and what it was tried in."""

    twotower: str
    onnx: str
    onnxruntime: str
    opset: int


class Signature(Config):
    """The contents of ``signature.json``.

    Attributes:
        manifest_sha256: SHA-256 of the manifest of the bundle that the towers are of.
        versions: What wrote it, and what it was tried in.
        score: How the score of a query and a candidate follows from their vectors.
        query: The query tower.
        candidate: The candidate tower.
    """

    format: Literal["twotower-onnx"] = FORMAT
    format_version: int = FORMAT_VERSION
    manifest_sha256: str
    versions: Versions
    score: Literal["dot product"] = "dot product"
    query: TowerSignature
    candidate: TowerSignature
