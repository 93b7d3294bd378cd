"""Errors of dlcore. Each is also the Python error a NumPy user would expect."""


class ShapeError(ValueError):
    """Shapes do not fit: the text names the operation and the shapes."""


class DTypeError(TypeError):
    """A dtype (or device) is not accepted: the text names the operation and the dtypes."""


class CaptureError(RuntimeError):
    """A step cannot be recorded: the text says what prevents it and on which line."""


class AutogradError(RuntimeError):
    """A gradient cannot be had: a saved tensor was changed in place, or the graph is already released."""


class DeviceError(RuntimeError):
    """A device cannot be had: the text says what is missing."""
