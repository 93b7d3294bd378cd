"""Trained models as files for other programs: ONNX, and one C file with no dependencies."""

from dlcore.export import c_activations as c_activations  # its forms
from dlcore.export import c_convolutions as c_convolutions  # their form in C
from dlcore.export import c_elementwise as c_elementwise  # its forms
from dlcore.export import c_layers as c_layers  # their forms in C
from dlcore.export import c_places as c_places  # its forms
from dlcore.export import onnx_attention as onnx_attention  # its forms
from dlcore.export import onnx_convolutions as onnx_convolutions  # its forms
from dlcore.export import onnx_elementwise as onnx_elementwise  # its forms
from dlcore.export import onnx_norms as onnx_norms  # its forms
from dlcore.export import onnx_orders as onnx_orders  # its forms
from dlcore.export import onnx_pooling as onnx_pooling  # its forms
from dlcore.export import onnx_products as onnx_products  # its forms
from dlcore.export import onnx_sequences as onnx_sequences  # its forms
from dlcore.export import onnx_special as onnx_special  # its forms
from dlcore.export import onnx_statistics as onnx_statistics  # its forms
from dlcore.export import resize_forms as resize_forms  # its forms
from dlcore.export.c_program import c
from dlcore.export.onnx_model import onnx

__all__ = ["c", "onnx"]
