"""Towers and vectors for other programs: ONNX files with what they need, and tables of vectors."""

from twotower.export.feeds import Feeds
from twotower.export.onnx_folder import LARGEST_ERROR, OnnxExport, export_onnx
from twotower.export.signature import (
    HashLookup,
    NumberInput,
    Output,
    PartSplit,
    RowInput,
    RowsInput,
    SeparatorSplit,
    Signature,
    TextSplit,
    TowerSignature,
    VectorInput,
    Versions,
    VocabularyLookup,
)
from twotower.export.vector_files import VectorLayout
from twotower.export.vectors import VectorsDone, VectorsExport, export_vectors

__all__ = [
    "LARGEST_ERROR",
    "Feeds",
    "HashLookup",
    "NumberInput",
    "OnnxExport",
    "Output",
    "PartSplit",
    "RowInput",
    "RowsInput",
    "SeparatorSplit",
    "Signature",
    "TextSplit",
    "TowerSignature",
    "VectorInput",
    "VectorLayout",
    "VectorsDone",
    "VectorsExport",
    "Versions",
    "VocabularyLookup",
    "export_onnx",
    "export_vectors",
]
