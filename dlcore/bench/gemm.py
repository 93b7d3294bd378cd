"""FLOP/s of NumPy's matrix product, run as a script so that its BLAS is given as many threads as it is asked for.

`OPENBLAS_NUM_THREADS=2 python -P gemm.py SECONDS float32 float64` prints {"library": ..., "float32": FLOP/s, ...}.
"""

import json
import sys
import time

import numpy as np

SIZES = (512, 1024, 2048, 4096)


def best_rate(dtype, seconds):
    """FLOP/s of the fastest product of square matrices, the larger ones tried while there is time for three."""
    rng, best, end = np.random.default_rng(0), 0.0, time.perf_counter() + seconds
    for n in SIZES:
        a, b = (rng.standard_normal((n, n)).astype(dtype) for _ in range(2))
        out = np.empty_like(a)
        if best and time.perf_counter() + 3 * 2 * n**3 / best > end:
            break
        stop = min(end, time.perf_counter() + seconds / 3)
        for number in range(1000):
            start = time.perf_counter()
            if number > 2 and start > stop:
                break
            np.matmul(a, b, out=out)
            best = max(best, 2 * n**3 / (time.perf_counter() - start))
    return best


def library():
    """NumPy's version, and what BLAS it was built with."""
    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return f"NumPy {np.__version__} ({blas.get('name', 'unknown BLAS')} {blas.get('version', '')})".replace(" )", ")")


if __name__ == "__main__":
    allowed, dtypes = float(sys.argv[1]) / len(sys.argv[2:]), sys.argv[2:]
    print(json.dumps({"library": library(), **{name: best_rate(name, allowed) for name in dtypes}}))
