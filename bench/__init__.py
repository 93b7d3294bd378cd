"""Benchmarks of this project: its goals beside the peers, and the results of known machines."""

from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
