"""The tests compute on the CPU, also on a machine with a GPU; those of GPUs (test_cuda_*.py) name their device."""

import os
import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # `nohup make test &`: tests of Ctrl-C would wait for ever
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("DLCORE_DEVICE", "cpu")


def pytest_addoption(parser):
    group = parser.getgroup("dlcore")
    group.addoption("--all-combinations", action="store_true",
                    help="every dtype in every memory layout (make test-all), not only each pair of them")  # fmt: skip
    group.addoption("--dtypes", default="", help="only these, for the tests of the table: float32,float64")
