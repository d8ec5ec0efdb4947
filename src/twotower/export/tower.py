"""A tower with its preprocessing: from raw columns and rows of vocabularies to vectors, in one graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.export.arithmetic import column_of
from twotower.export.columns import Encoded
from twotower.export.geo_feature import encode_geo
from twotower.export.graph import Graph
from twotower.export.layers import tower_vectors
from twotower.export.number_features import encode_buckets, encode_number, encode_timestamp, encode_vector
from twotower.export.raw_columns import RawColumns
from twotower.export.row_features import encode_history, encode_lists, encode_single
from twotower.export.signature import Output, TowerSignature
from twotower.export.vocabularies import Vocabularies
from twotower.models import Tower
from twotower.preprocessing import (
    FittedBuckets,
    FittedCategory,
    FittedFeature,
    FittedGeo,
    FittedHistory,
    FittedId,
    FittedNumber,
    FittedTimestamp,
    FittedVector,
)

__all__ = ["write_tower"]


def write_tower(
    path: Path,
    tower: Tower,
    features: Iterable[FittedFeature | FittedHistory],
    *,
    id_column: str,
    stand_ins: Mapping[str, object],
    catalogue: pl.Series,
    vocabularies: Vocabularies,
    opset: int,
    properties: Mapping[str, str],
    items_ND: NDArray[np.float32] | None = None,
) -> TowerSignature:
    """Write a tower as an ONNX file, and its vocabularies beside it.

    Args:
        path: The file, in the folder of the export.
        tower: Of parts that `require_exportable` knows.
        features: Fitted, in the order of the tower's inputs.
        id_column: Of the user's, or the item's, id.
        stand_ins: By column, what a missing value is taken as.
        catalogue: Ids of all items.
        vocabularies: Of both towers.
        opset: Of ONNX.
        properties: Kept with the model.
        items_ND: Vectors of the catalogue, which a tower may read in histories.

    Raises:
        ConfigError: If two inputs would have one name.
    """
    graph = Graph(path.stem, opset=opset)
    raw = RawColumns(graph, stand_ins)
    read = {entry.column for entry in tower.spec.inputs}
    columns: dict[str, Encoded] = {}
    for feature in features:
        if read & {column.name for column in feature.columns}:
            columns.update(_encode(raw, feature, catalogue, vocabularies))
    vectors_BD = tower_vectors(graph, tower, columns, items_ND)
    refused_B = raw.refused()
    if refused_B is not None:
        nothing = graph.constant(np.array(np.nan, dtype=np.float32))
        vectors_BD = graph.node("Where", column_of(graph, refused_B), nothing, vectors_BD)
    output = Output(shape=("batch", tower.spec.output_width))
    about = "a vector for each row; NaN where an input was missing that must not be, or out of its range"
    graph.output(vectors_BD, output.name, np.float32, output.shape, about=about)
    files = graph.write(path, properties=properties)
    return TowerSignature(
        file=path.name,
        files=tuple(file.name for file in files),
        id_column=id_column,
        inputs=raw.inputs(),
        output=output,
    )


def _encode(
    raw: RawColumns, feature: FittedFeature | FittedHistory, catalogue: pl.Series, vocabularies: Vocabularies
) -> dict[str, Encoded]:
    if isinstance(feature, FittedHistory):
        return encode_history(raw, feature, catalogue, vocabularies)
    if isinstance(feature, FittedId | FittedCategory):
        return encode_single(raw, feature, vocabularies)
    if isinstance(feature, FittedNumber):
        return encode_number(raw, feature)
    if isinstance(feature, FittedBuckets):
        return encode_buckets(raw, feature)
    if isinstance(feature, FittedTimestamp):
        return encode_timestamp(raw, feature)
    if isinstance(feature, FittedGeo):
        return encode_geo(raw, feature)
    if isinstance(feature, FittedVector):
        return encode_vector(raw, feature)
    return encode_lists(raw, feature, vocabularies)
