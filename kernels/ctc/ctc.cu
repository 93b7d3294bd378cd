// The connectionist temporal classification loss with its gradient, a block for each sample, and their mean or sum.
//
// States, what is kept and how: csrc/ctc/ctc.inl, whose formulas these are. A step needs the one before, so a sample is
// a chain of 2 T steps, each as long as two barriers and the latency of a row of its states in the first-level cache;
// that bounds it, not memory (T N C probabilities read once, as many gradients written) or arithmetic (12 special
// functions a state and step). Blocks of 128 threads take the states in turns. The gradients of a label that is there
// more than once are added by the thread of its first place, in their order: no atomics, the same bits always.
//
// A length or a label that is not allowed sets the error words, and its sample's loss is NaN.
//
// Versions: 1, this one: unmeasured, not yet run on hardware. Compiled, no spills, on sm_80, 90, 100 and 120: 92 to 124
// registers.
#include "../common/convert.cuh"
#include "../common/order.cuh"

constexpr int kThreads = 128;

template <class T> __device__ inline T narrow(double x) { return static_cast<T>(x); }
template <> __device__ inline __half narrow<__half>(double x) { return __float2half(static_cast<float>(x)); }
template <> __device__ inline __nv_bfloat16 narrow<__nv_bfloat16>(double x) {
  return __float2bfloat16(static_cast<float>(x));
}

template <class A> __device__ inline A larger(A a, A b) { return a > b ? a : b; }
template <class A> __device__ inline A log_sum(A a, A b, A c) {
  const A most = larger(larger(a, b), c);
  return most + log(exp(a - most) + exp(b - most) + exp(c - most));
}

// Over the block, in all threads, in a fixed order.
template <bool largest, class A> __device__ inline A over_block(A x) {
  __shared__ A of_warp[kThreads / 32];
  for (int lane = 16; lane > 0; lane /= 2) {
    const A other = __shfl_xor_sync(0xffffffffu, x, lane);
    x = largest ? larger(x, other) : x + other;
  }
  __syncthreads();  // what the call before left has been read
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
  __syncthreads();
  x = of_warp[0];
  for (int w = 1; w < kThreads / 32; ++w) x = largest ? larger(x, of_warp[w]) : x + of_warp[w];
  return x;
}

__device__ inline void report(long long* errors, long long code, long long position) {
  atomicMax(errors, code);
  atomicMin(errors + 1, position);
}

// What a sample is made of.
template <class Label> struct Target {
  const Label* labels;
  long long length, blank;
  __device__ long long states() const { return 2 * length + 1; }
  __device__ long long label(long long s) const { return s % 2 ? static_cast<long long>(labels[s / 2]) : blank; }
  __device__ bool jumps(long long s) const {
    return s % 2 && s >= 3 && s < states() && labels[s / 2] != labels[s / 2 - 1];
  }
};

// alpha: `kept` rows for each sample of 2 * its room for labels + 1 states; onward and beta two such rows, p one; next:
// two numbers a label. dx may be null. count: labels of a row, or of all samples where `padded` is 0.
template <class T, class Label, class Steps, class Length>
__global__ void __launch_bounds__(kThreads)
ctc(const T* x, const Label* targets, const Steps* input_lengths, const Length* target_lengths, T* dx, double* losses,
    Compute<T>* alpha_rows, Compute<T>* others, long long* next, long long* errors, long long bad_length,
    long long bad_label, long long steps_most, long long classes, long long step_stride, long long sample_stride,
    long long class_stride, long long count, long long padded, long long blank, long long kept, long long mean,
    long long zero_infinity) {
  after_previous();
  using A = Compute<T>;
  const A never = A(-1e30), gone = A(-1e29);
  const long long n = blockIdx.x, samples = gridDim.x, thread = threadIdx.x;
  const long long steps = static_cast<long long>(input_lengths[n]);
  long long length = static_cast<long long>(target_lengths[n]), first = n * count, total = 0;
  bool good = steps >= 0 && steps <= steps_most && length >= 0 && length <= count;
  if (!padded) {
    first = 0;
    for (long long m = 0; m < samples; ++m) {
      const long long one = static_cast<long long>(target_lengths[m]);
      first += m < n ? one : 0;
      total += one;
    }
    good = good && total == count && first >= 0 && first + length <= count;
  }
  if (!good && thread == 0) report(errors, bad_length, n);
  const Target<Label> target{targets + (good ? first : 0), good ? length : 0, blank};
  bool labels_good = good;
  for (long long k = 0; k < target.length; ++k) {
    const long long label = static_cast<long long>(target.labels[k]);
    if (label >= 0 && label < classes && label != blank) continue;
    labels_good = false;
    if (thread == 0) report(errors, bad_label, first + k);
  }
  const long long states = target.states(), room = 2 * first + n;
  T* const out = dx ? dx + n * classes : dx;
  const long long row_stride = samples * classes;
  if (!labels_good) {
    if (thread == 0) losses[n] = nan("");
    for (long long i = thread; dx && i < steps_most * classes; i += kThreads)
      out[i / classes * row_stride + i % classes] = narrow<T>(nan(""));
    return;
  }
  const T* const probabilities = x + n * sample_stride;
  A* const alpha = alpha_rows + room * kept;
  const auto emission = [&](long long t, long long s) {
    const A value = widen(probabilities[t * step_stride + target.label(s) * class_stride]);
    return value < never ? never : value;
  };
  // Rows of alpha; a state that is not of the row is never reached.
  double sum = 0;
  A top = 0;
  for (long long t = 0; t < steps; ++t) {
    A* const row = alpha + t % kept * states;
    const A* const before = alpha + (t + kept - 1) % kept * states;
    A most = never;
    for (long long s = thread; s < states; s += kThreads) {
      A value;
      if (t == 0) {
        value = s < 2 ? emission(0, s) : never;
      } else {
        const A one = s > 0 ? before[s - 1] : never, two = target.jumps(s) ? before[s - 2] : never;
        value = log_sum(before[s], one, two) + (emission(t, s) - top);
      }
      row[s] = value;
      most = larger(value, most);
    }
    sum += static_cast<double>(top);
    most = over_block<true>(most);
    top = most < gone ? A(0) : most;
    __syncthreads();
  }
  const double infinity = -log(0.0);  // NVRTC has no INFINITY
  double loss = states == 1 ? 0 : infinity;
  if (steps > 0) {
    const A* const last = alpha + (steps - 1) % kept * states;
    const A both = log_sum(last[states - 1], states > 1 ? last[states - 2] : never, never);
    loss = both < gone ? infinity : -(sum + static_cast<double>(both));
  }
  const bool infinite = isinf(loss);
  const double share = mean ? 1.0 / (static_cast<double>(length > 1 ? length : 1) * static_cast<double>(samples)) : 1.0;
  if (thread == 0) losses[n] = (infinite && zero_infinity ? 0 : loss) * share;
  if (!dx) return;
  const long long filled = infinite ? 0 : steps;  // rows below have a gradient
  for (long long i = thread; i < steps_most * classes; i += kThreads) {
    const long long t = i / classes;
    const bool unknown = infinite && !zero_infinity && t < steps;
    if (t >= filled) out[t * row_stride + i % classes] = narrow<T>(unknown ? nan("") : 0.0);
  }
  if (infinite || steps == 0) return;
  // For each label the next place with the same one, and whether it is the first.
  long long* const follows = next + 2 * first;
  for (long long k = thread; k < target.length; k += kThreads) {
    long long after = -1, head = 1;
    const Label own = target.labels[k];
    for (long long j = k + 1; j < target.length && after < 0; ++j) after = target.labels[j] == own ? j : -1;
    for (long long j = 0; j < k && head; ++j) head = target.labels[j] != own;
    follows[2 * k] = after, follows[2 * k + 1] = head;
  }
  A* const onward = others + room * 3;
  A* const beta = onward + states;
  A* const p = beta + states;
  for (long long t = steps - 1; t >= 0; --t) {
    const A* const row = alpha + t * states;
    A most = never, highest = never;
    for (long long s = thread; s < states; s += kThreads) {
      A value = s >= states - 2 ? A(0) : never;
      if (t < steps - 1) {
        const A one = s + 1 < states ? onward[s + 1] : never, two = target.jumps(s + 2) ? onward[s + 2] : never;
        value = log_sum(onward[s], one, two);
      }
      beta[s] = value;
      most = larger(row[s] + value, most);
      highest = larger(value, highest);
    }
    most = over_block<true>(most);
    highest = over_block<true>(highest);
    if (highest < gone) highest = 0;
    A all = 0, blanks = 0;
    for (long long s = thread; s < states; s += kThreads) {
      const A probability = exp(row[s] + beta[s] - most);
      p[s] = probability;
      all += probability;
      blanks += s % 2 ? A(0) : probability;
      onward[s] = beta[s] + (emission(t, s) - highest);
    }
    all = over_block<false>(all);
    blanks = over_block<false>(blanks);
    const A scale = static_cast<A>(-share / static_cast<double>(all));
    T* const to = out + t * row_stride;
    for (long long c = thread; c < classes; c += kThreads) to[c] = narrow<T>(c == blank ? scale * blanks : A(0));
    __syncthreads();
    for (long long k = thread; k < target.length; k += kThreads) {
      if (!follows[2 * k + 1]) continue;
      A together = 0;
      for (long long j = k; j >= 0; j = follows[2 * j]) together += p[2 * j + 1];
      to[target.label(2 * k + 1)] = narrow<T>(scale * together);
    }
    __syncthreads();
  }
}

// out = the losses, or their sum in their order.
template <class T> __global__ void __launch_bounds__(kThreads)
finish(const double* losses, T* out, long long samples, long long each) {
  after_previous();
  if (each) {
    for (long long n = threadIdx.x; n < samples; n += kThreads) out[n] = narrow<T>(losses[n]);
  } else if (threadIdx.x == 0) {
    double sum = 0;
    for (long long n = 0; n < samples; ++n) sum += losses[n];
    out[0] = narrow<T>(sum);
  }
}
