"""Ids, categories, lists, texts and histories: rows of vocabularies, which the caller of a graph looks up in the sidecar."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import polars as pl

from twotower.export.columns import Encoded, RaggedValue, RowsValue
from twotower.export.graph import Graph
from twotower.export.raw_columns import RawColumns
from twotower.export.signature import (
    PADDING,
    HashLookup,
    PartSplit,
    RowInput,
    RowsInput,
    SeparatorSplit,
    TextSplit,
    VocabularyLookup,
)
from twotower.export.vocabularies import Vocabularies
from twotower.preprocessing import FittedCategory, FittedHistory, FittedId, FittedMultiCategory, FittedText
from twotower.spec import RowsColumn
from twotower.vocabulary import OUT_OF_VOCABULARY

__all__ = ["encode_history", "encode_lists", "encode_single"]

_REMOVED = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"


def encode_single(raw: RawColumns, feature: FittedId | FittedCategory, vocabularies: Vocabularies) -> dict[str, Encoded]:
    """An id or a category: one row each."""
    config, (column,) = feature.config, feature.columns
    missing_row = _missing_row(feature, raw.stand_ins)
    entry = RowInput(
        name=f"{config.output_name}.row",
        about=f"the row of {config.column}; "
        + ("it must not be missing" if missing_row is None else f"{missing_row} where it is missing"),
        feature=config.output_name,
        column=config.column,
        split=_part(feature),
        lookup=_id_lookup(feature, vocabularies) if isinstance(feature, FittedId) else _category_lookup(feature, vocabularies),
        missing_row=missing_row,
        vocabulary_size=column.vocabulary_size,
    )
    return {config.output_name: RowsValue(raw.row(entry))}


def encode_lists(raw: RawColumns, feature: FittedMultiCategory | FittedText, vocabularies: Vocabularies) -> dict[str, Encoded]:
    """Several categories, or the words of a text: any number of rows each, of which the first ones may be all that is read."""
    config, (column,) = feature.config, feature.columns
    name = config.output_name
    if isinstance(feature, FittedText):
        values, most = pl.Series(feature.tokens, dtype=pl.String), feature.config.max_tokens
    else:
        values, most = feature.lookup.ids, feature.config.max_values
    stand_in = feature.encode(pl.Series([raw.stand_ins.get(config.column)]))[name]
    entry = RowsInput(
        name=f"{name}.rows",
        about=f"the rows of the {'words' if isinstance(feature, FittedText) else 'values'} of {config.column}, in their order; "
        f"then {PADDING}",
        feature=name,
        column=config.column,
        shape=("batch", _length(name)),
        split=_pieces(feature, vocabularies),
        lookup=_vocabulary(name, values, np.arange(1, len(values) + 1), vocabularies),
        missing_rows=tuple(stand_in.values.tolist()),
        max_length=most,
        reads="first",
        vocabulary_size=column.vocabulary_size,
    )
    return {name: _ragged(raw.graph, raw.rows(entry), most, last=False)}


def encode_history(
    raw: RawColumns, feature: FittedHistory, catalogue: pl.Series, vocabularies: Vocabularies
) -> dict[str, Encoded]:
    """A history: the rows of the items of the catalogue, the most recent last; an item that it lacks is left out.

    Args:
        raw: The inputs of the graph.
        feature: Fitted.
        catalogue: Ids of the items that can be recommended; others are passed over in every history.
        vocabularies: Beside the graph.
    """
    config, (column,) = feature.config, feature.columns
    # of items that are the candidate's vectors, the table is that of the catalogue, in its order
    rows = np.arange(len(catalogue)) if feature.lookup is None else feature.encode(catalogue).numpy()
    entry = RowsInput(
        name=f"{config.name}.rows",
        about=f"the rows of the items that the user chose before, the most recent last; then {PADDING}",
        feature=config.name,
        column=None,
        shape=("batch", _length(config.name)),
        lookup=_vocabulary(config.name, catalogue, rows, vocabularies, unknown=None),
        max_length=config.max_length,
        reads="last",
        vocabulary_size=column.vocabulary_size if isinstance(column, RowsColumn) else len(catalogue),
    )
    return {config.name: _ragged(raw.graph, raw.rows(entry), config.max_length, last=True)}


def _length(feature: str) -> str:
    """The name of a dimension: letters, digits and underscores, for runtimes that take it for a name of their own."""
    return f"{re.sub(r'[^0-9a-zA-Z]+', '_', feature)}_length"


def _ragged(graph: Graph, given_BL: str, most: int | None, *, last: bool) -> RaggedValue:
    """Padded rows as rows that a table has, and which of them count."""
    zero = graph.constant(np.array(0, dtype=np.int64))
    there_BL = graph.node("GreaterOrEqual", given_BL, zero)
    if most is not None:
        # places are counted from the end that is read, padding left out, wherever it stands
        counted_BL = graph.cast(there_BL, np.int64)
        places_BL = graph.node("CumSum", counted_BL, graph.constant(np.array(1, dtype=np.int64)), reverse=int(last))
        within_BL = graph.node("LessOrEqual", places_BL, graph.constant(np.array(most, dtype=np.int64)))
        there_BL = graph.node("And", there_BL, within_BL)
    weights_BL = graph.cast(there_BL, np.float32)
    found_B1 = graph.node("ReduceSum", weights_BL, graph.constant(np.array([1], dtype=np.int64)), keepdims=1)
    counts_B1 = graph.node("Max", found_B1, graph.constant(np.array(1, dtype=np.float32)))
    return RaggedValue(graph.node("Max", given_BL, zero), weights_BL, counts_B1)


def _vocabulary(
    feature: str,
    values: pl.Series,
    rows: np.ndarray,
    vocabularies: Vocabularies,
    *,
    unknown: int | None = OUT_OF_VOCABULARY,
) -> VocabularyLookup:
    if isinstance(values.dtype, pl.Enum | pl.Categorical):
        values = values.cast(pl.String)
    kind = "text" if values.dtype == pl.String else "integer"
    return VocabularyLookup(file=vocabularies.put(feature, values, rows), values=kind, unknown_row=unknown)


def _id_lookup(feature: FittedId, vocabularies: Vocabularies) -> VocabularyLookup | HashLookup:
    config = feature.config
    if feature.lookup is None:
        return HashLookup(buckets=config.hash_buckets or 0)
    values = feature.lookup.ids if feature.tail is None else pl.concat([feature.lookup.ids, feature.tail.ids])
    rows = feature.encode(values)[config.output_name].numpy()
    return _vocabulary(config.output_name, values, rows, vocabularies)


def _category_lookup(feature: FittedCategory, vocabularies: Vocabularies) -> VocabularyLookup:
    values = feature.lookup.ids
    return _vocabulary(feature.config.output_name, values, np.arange(1, len(values) + 1), vocabularies)


def _missing_row(feature: FittedId | FittedCategory, stand_ins: Mapping[str, object]) -> int | None:
    stand_in = stand_ins.get(feature.config.column)
    if stand_in is None and isinstance(feature, FittedCategory) and feature.config.missing == "error":
        return None
    return int(feature.encode(pl.Series([stand_in]))[feature.config.output_name][0])


def _part(feature: FittedId | FittedCategory) -> PartSplit | None:
    if isinstance(feature, FittedId) or feature.config.separator is None or feature.config.part is None:
        return None
    return PartSplit(separator=feature.config.separator, part=feature.config.part)


def _pieces(feature: FittedMultiCategory | FittedText, vocabularies: Vocabularies) -> SeparatorSplit | TextSplit | None:
    separator = feature.config.separator
    if isinstance(feature, FittedText) and not feature.config.only_separated:
        config = feature.config
        file = vocabularies.put_text(config.output_name, ".tokenizer.json", feature.tokenizer.to_str(pretty=True))
        return TextSplit(
            tokenizer=file,
            separator=separator,
            lowercase=config.lowercase,
            remove=_REMOVED if config.strip_punctuation else "",
        )
    return None if separator is None else SeparatorSplit(separator=separator)
