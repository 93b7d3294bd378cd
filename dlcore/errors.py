"""Errors of dlcore. Each is also the Python error a NumPy user would expect."""


class ShapeError(ValueError):
    """Shapes do not fit together; the text names the operation and the shapes."""


class DTypeError(TypeError):
    """A dtype or a device is not accepted; the text names the operation and the dtypes."""


class CaptureError(RuntimeError):
    """A step cannot be recorded; the text says what prevents it, and on which line."""


class AutogradError(RuntimeError):
    """There is no gradient, or it would be wrong: the graph is released, or a saved tensor was changed in place."""


class DeviceError(RuntimeError):
    """A device cannot be used; the text says what is missing."""


class AnomalyError(FloatingPointError):
    """An operation has made a NaN or an infinity; the text names it, its shapes and the ranges of its operands."""
