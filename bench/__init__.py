"""Benchmarks: dlcore beside its peers, in turns, in one run. `python -m bench --help`."""
