"""Libraries that take any array of the array API standard, at work on tensors: values, dtypes, and that they stay here.

Each program runs in a process of its own, for SciPy reads SCIPY_ARRAY_API when it is imported.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAD = """
import numpy as np
import dlcore as dl
rng = np.random.default_rng(0)
a = rng.standard_normal((60, 5)).astype(np.float32)
labels = (a[:, 0] + 0.1 * a[:, 1] > 0).astype(np.int64)
x, y = dl.tensor(a), dl.tensor(labels)

def same(ours, theirs, tolerance=2e-4):
    assert isinstance(ours, dl.Tensor), type(ours)
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=tolerance, atol=tolerance)
"""
SKLEARN = """
from sklearn import config_context
from sklearn.base import clone
def both(estimator, use, *more):
    theirs = use(clone(estimator).fit(a, *[np.asarray(m) for m in more]), a)
    with config_context(array_api_dispatch=True):
        return use(clone(estimator).fit(x, *more), x), theirs
"""
PROGRAMS = {
    "array_api_compat": ("array_api_compat", """
import array_api_compat as compat
assert compat.array_namespace(x, y) is dl and compat.is_array_api_obj(x)
assert compat.size(x) == 300 and compat.device(x) is dl.device("cpu") and compat.to_device(x, "cpu") is x
"""),
    "einops": ("einops", """
from einops.array_api import rearrange, reduce, repeat
same(rearrange(x, "(n k) c -> n (k c)", k=3), a.reshape(20, 15), 0)
same(reduce(x, "n c -> c", "max"), a.max(0), 0)
same(repeat(x, "n c -> n c 2"), np.repeat(a[:, :, None], 2, 2), 0)
w = dl.tensor(a, requires_grad=True)
rearrange(w * 2, "n c -> c n").sum().backward()
same(w.grad, np.full_like(a, 2), 0)
"""),
    "scipy.stats": ("scipy", """
from scipy import stats
for f in (stats.zscore, stats.skew, stats.kurtosis, stats.sem, stats.variation):
    same(f(x), f(a), 2e-3)
for f in (stats.gmean, stats.hmean, stats.pmean):
    more = (2.0,) if f is stats.pmean else ()
    same(f(dl.abs(x) + 1, *more), f(np.abs(a) + 1, *more))
same(stats.zmap(x, x), stats.zmap(a, a))
"""),
    "scipy.signal and special": ("scipy", """
from scipy import signal, special
same(signal.detrend(x), signal.detrend(a))
same(special.softmax(x, axis=1), special.softmax(a, axis=1))
same(special.logsumexp(x, axis=0), special.logsumexp(a, axis=0))
"""),
    "sklearn.preprocessing": ("sklearn", SKLEARN + """
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, StandardScaler
for estimator in (StandardScaler(), MinMaxScaler(), MaxAbsScaler(), Normalizer()):
    same(*both(estimator, lambda fitted, data: fitted.transform(data)))
"""),
    "sklearn.metrics": ("sklearn", SKLEARN + """
from sklearn import metrics
p, q = a[:, 0], a[:, 1]
with config_context(array_api_dispatch=True):
    for f in (metrics.mean_squared_error, metrics.mean_absolute_error, metrics.r2_score):
        np.testing.assert_allclose(f(dl.tensor(p), dl.tensor(q)), f(p, q), rtol=1e-4)
    for f in (metrics.accuracy_score, metrics.zero_one_loss):
        np.testing.assert_allclose(f(y, 1 - y), f(labels, 1 - labels))
"""),
    "sklearn.decomposition": ("sklearn", SKLEARN + """
from sklearn.decomposition import PCA
ours, theirs = both(PCA(2, svd_solver="full"), lambda fitted, data: fitted.transform(data))
same(ours, theirs, 1e-3)
"""),
    "sklearn.linear_model": ("sklearn", SKLEARN + """
from sklearn.linear_model import Ridge
ours, theirs = both(Ridge(solver="svd"), lambda fitted, data: fitted.predict(data), x[:, 0] * 2 - x[:, 3])
same(ours, theirs, 1e-3)
"""),
    "sklearn.discriminant_analysis": ("sklearn", SKLEARN + """
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
ours, theirs = both(LinearDiscriminantAnalysis(), lambda fitted, data: fitted.predict(data), y)
same(ours, theirs, 0)
"""),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_works_on_tensors(name):
    needed, program = PROGRAMS[name]
    if find_spec(needed) is None:
        pytest.skip(f"{needed} is not here")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    environment |= {"SCIPY_ARRAY_API": "1", "DLCORE_DEVICE": "cpu"}
    command = [sys.executable, "-P", "-c", HEAD + program]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr[-3000:]
