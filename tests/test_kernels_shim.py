"""The host shim: CUDA C++ on a CPU must keep CUDA's rules, and report what no GPU could do rightly."""

import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import dlcore.kernels
from dlcore.dtypes import float32, int32
from dlcore.kernels.launch import F64, I32, Cuda, In, Launch, Out, Table, Temp
from dlcore.kernels.shim import ORDERS, ShimError, run_cuda

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="no g++")

PROBE = r"""
#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" __global__ void sum(const float* x, float* out) {
  __shared__ float of_warp[8];
  float y = x[blockIdx.x * blockDim.x + threadIdx.x];
  for (int lanes = 16; lanes > 0; lanes /= 2) y += __shfl_xor_sync(0xffffffffu, y, lanes);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = y;
  __syncthreads();
  if (threadIdx.x != 0) return;  // threads that have returned are waited for no more
  y = 0;
  for (int w = 0; w < int(blockDim.x) / 32; ++w) y += of_warp[w];
  __syncthreads();
  out[blockIdx.x] = y;
}

template <bool barrier> __global__ void reversed(const int* x, int* out) {
  extern __shared__ int line[];
  line[threadIdx.x] = x[threadIdx.x];
  if (barrier) __syncthreads();
  out[threadIdx.x] = line[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void fresh(float* out) {
  __shared__ float a[64];
  extern __shared__ float b[];
  out[blockIdx.x * 2] = a[threadIdx.x];
  out[blockIdx.x * 2 + 1] = b[threadIdx.x];
  a[threadIdx.x] = b[threadIdx.x] = 1;
}

extern "C" __global__ void warp(int* out) {
  const int lane = threadIdx.x;
  out[lane] = __shfl_up_sync(0xffffffffu, lane, 3);
  out[32 + lane] = __shfl_down_sync(0xffffffffu, lane, 3, 8);
  out[64 + lane] = __shfl_sync(0xffffffffu, lane, 5, 16);
  out[96 + lane] = __ballot_sync(0xffffffffu, lane % 3 == 0);
  out[128 + lane] = __match_any_sync(0xffffffffu, lane / 8);
  if (lane < 4) out[160 + lane] = __reduce_add_sync(0xfu, lane);
  else out[160 + lane] = __any_sync(0xfffffff0u, lane == 31);
}

template <bool atomic> __global__ void count(int* counter) {
  int seen = counter[0];
  __syncthreads();
  if (atomic) atomicAdd(counter, 1);
  else
    counter[0] = seen + 1;
}
extern "C" __global__ void early(int* out) {
  if (threadIdx.x < 16) return;  // a lane that has returned is waited for no more
  out[threadIdx.x] = __any_sync(0xffffffffu, threadIdx.x == 31);
}

extern "C" __global__ void two_barriers() {
  if (threadIdx.x < 32) __syncthreads();
  else
    __syncthreads();
}
extern "C" __global__ void half_a_warp() {
  if (threadIdx.x < 16) __syncwarp();
  else
    __syncthreads();
}
extern "C" __global__ void idle_lane(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffffu, 1, 20);
}

extern "C" __global__ void round_all(const float* x, __half* halves, __nv_bfloat16* narrow, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  halves[i] = __float2half_rn(x[i]);
  narrow[i] = __float2bfloat16_rn(x[i]);
}

struct Mixed { float* to; int count; double a; void* none; long long last; };
extern "C" __global__ void take(const __grid_constant__ Mixed t, float x, long long n) {
  t.to[0] = t.count; t.to[1] = t.a; t.to[2] = t.none == nullptr; t.to[3] = t.last; t.to[4] = x; t.to[5] = n;
}

extern "C" __global__ void tickets(int* counter, int* seen) {
  seen[atomicAdd(counter, 1)] = blockIdx.y * gridDim.x + blockIdx.x;
  atomicMax(counter + 1, int(blockIdx.y));
}
"""


@pytest.fixture(scope="module", autouse=True)
def probe(tmp_path_factory):
    root = tmp_path_factory.mktemp("kernels")
    (root / "probe").mkdir()
    (root / "probe" / "probe.cu").write_text(PROBE)
    dlcore.kernels.__path__.append(str(root))
    yield root
    dlcore.kernels.__path__.remove(str(root))


def run(function, grid, threads, arrays, args, order="forward"):
    def address(operand):
        return arrays[operand.index].ctypes.data + operand.offset

    run_cuda(Launch(Cuda("probe/probe.cu", function, threads), grid, args), address, order=order)


@pytest.mark.parametrize("order", ORDERS)
def test_barriers_shuffles_and_blocks(order):
    x = np.arange(3 * 256, dtype=np.float32)
    out = np.zeros(3, np.float32)
    run("sum", (3,), 256, [x, out], {"x": In(0), "out": In(1)}, order)
    assert out.tolist() == x.reshape(3, 256).sum(1).tolist()


def test_a_missing_barrier_shows_in_the_other_order():
    x = np.arange(64, dtype=np.int32)
    results = {}
    for barrier in ("true", "false"):
        for order in ORDERS[:2]:
            out = np.zeros(64, np.int32)
            run(f"reversed<{barrier}>", (1,), 64, [x, out], {"x": In(0), "out": In(1)}, order)
            results[barrier, order] = out.tolist()
    assert results["true", "forward"] == results["true", "backward"] == x[::-1].tolist()
    assert results["false", "forward"] != results["false", "backward"]


def test_a_missing_atomic_shows_where_blocks_interleave():
    results = {}
    for atomic in ("true", "false"):
        for order in ORDERS:
            counter = np.zeros(1, np.int32)
            run(f"count<{atomic}>", (10,), 1, [counter], {"counter": In(0)}, order)
            results[atomic, order] = counter[0]
    assert [results["true", order] for order in ORDERS] == [10, 10, 10]
    assert results["false", "backward"] == 10 > results["false", "interleaved"]


@pytest.mark.parametrize("order", ORDERS)
def test_lanes_that_have_returned_take_no_part(order):
    out = np.zeros(32, np.int32)
    run("early", (1,), 32, [out], {"out": In(0)}, order)
    assert out.tolist() == [0] * 16 + [1] * 16


def test_shared_memory_starts_as_nan_in_every_block():
    out = np.zeros(4, np.float32)
    run("fresh", (2,), 1, [out], {"out": In(0)})
    assert np.isnan(out).all()


def test_warp_operations():
    out = np.zeros(192, np.int32)
    run("warp", (1,), 32, [out], {"out": In(0)})
    lane = np.arange(32)
    assert out[:32].tolist() == np.where(lane < 3, lane, lane - 3).tolist()
    assert out[32:64].tolist() == np.where(lane % 8 + 3 < 8, lane + 3, lane).tolist()
    assert out[64:96].tolist() == (lane // 16 * 16 + 5).tolist()
    assert set(out[96:128].view(np.uint32).tolist()) == {sum(1 << k for k in range(0, 32, 3))}
    assert out[128:160].view(np.uint32).tolist() == [0xFF << k // 8 * 8 for k in lane]
    assert out[160:].tolist() == [6] * 4 + [1] * 28


@pytest.mark.parametrize(
    "function, threads, text",
    [
        ("two_barriers", 64, "wait at two barriers, lines"),
        ("half_a_warp", 32, "thread 0 waits for lanes ffffffff at __syncwarp for ever"),
        ("idle_lane", 32, "__shfl_sync reads lane 20, which takes no part"),
    ],
)
def test_what_no_gpu_could_do_is_reported(function, threads, text):
    out = np.zeros(32, np.int32)
    args = {"out": In(0)} if function == "idle_lane" else {}
    with pytest.raises(ShimError, match=text):
        run(function, (1,), threads, [out], args)


def test_sixteen_bit_floats_round_to_nearest_even():
    every = np.arange(1 << 16, dtype=np.uint16)
    between = [every.view(t).astype(np.float32) for t in (np.float16, ml_dtypes.bfloat16)]
    with np.errstate(all="ignore"):
        x = np.concatenate([*between, *((b[:-1] + b[1:]) / 2 for b in between)])
        want = x.astype(np.float16), x.astype(ml_dtypes.bfloat16)
    got = np.empty(x.size, np.float16), np.empty(x.size, ml_dtypes.bfloat16)
    args = {"x": In(0), "halves": In(1), "narrow": In(2), "n": I32(x.size)}
    run("round_all", (-(-x.size // 256),), 256, [x, *got], args)
    for g, w in zip(got, want, strict=True):
        nan = np.isnan(w.astype(np.float32))
        assert np.isnan(g.astype(np.float32)[nan]).all()
        assert g[~nan].tobytes() == w[~nan].tobytes()


def test_arguments_lie_as_c_lays_them():
    out = np.zeros(6, np.float32)
    table = Table((In(0), I32(7), F64(0.5), None, -3))
    run("take", (1,), 1, [out], {"t": table, "x": 1.5, "n": 9})
    assert out.tolist() == [7, 0.5, 1, -3, 1.5, 9]
    with pytest.raises(ShimError, match="the arguments do not fit"):
        run("take", (1,), 1, [out], {"t": table, "x": F64(1.5), "n": 9})


def test_atomics_and_a_grid_of_two_axes():
    counter, seen = np.zeros(2, np.int32), np.zeros(6, np.int32)
    run("tickets", (3, 2), 1, [counter, seen], {"counter": Temp(0, int32), "seen": Out(1, float32)}, order="backward")
    assert counter.tolist() == [6, 1]
    assert seen.tolist() == [5, 4, 3, 2, 1, 0]


def test_an_error_of_the_compiler_is_told(probe: Path):
    (probe / "probe" / "wrong.cu").write_text('extern "C" __global__ void wrong() { nothing(); }')
    with pytest.raises(ShimError, match=r"wrong\.cu does not compile on the host:(.|\n)*nothing"):
        run_cuda(Launch(Cuda("probe/wrong.cu", "wrong"), (1,), {}), lambda operand: 0)
