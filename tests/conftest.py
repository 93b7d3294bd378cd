"""The tests compute on the CPU, also on a machine with a GPU; those of GPUs (test_cuda_*.py) name their device."""

import os

os.environ.setdefault("DLCORE_DEVICE", "cpu")
