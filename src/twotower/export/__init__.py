"""Towers and vectors for other programs: ONNX files with what they need, and tables of vectors."""

from twotower.export.onnx_folder import LARGEST_ERROR, OnnxExport, export_onnx
from twotower.export.signature import Signature

__all__ = ["LARGEST_ERROR", "OnnxExport", "Signature", "export_onnx"]
