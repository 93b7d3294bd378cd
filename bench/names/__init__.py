"""The names of NumPy and PyTorch, and which of them dlcore has: `python -m bench.names` writes docs/names.md."""
