"""Trained models as files for other programs: ONNX, and one C file with no dependencies."""

from dlcore.export.c_program import c
from dlcore.export.onnx_model import onnx

__all__ = ["c", "onnx"]
