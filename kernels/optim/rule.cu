// The optimizers of rules.cuh on any number of tensors, of any sizes, groups and step counts, in one launch.
//
// Bound by memory: 12 bytes a float32 parameter and 8 for each of its moments. As adam.cu: chunks of one vector of
// moments a thread, the factors of a step made in every block by one thread while the loads are under way, step counts
// and the numbers kept for a parameter written by the last block that has read them. Which way an element is updated is
// the same for a whole tensor.
//
// Versions: 1, this one: unmeasured, not yet run on hardware.
#include "device_rules.cuh"

// Variant `variant` of a rule, which is known when it runs.
template <class Rule, int at, class C> DLCORE_RULE void apply(int variant, C& p, C g, C* m, const C* s) {
  if constexpr (at + 1 < Rule::kVariants)
    if (variant != at) return apply<Rule, at + 1>(variant, p, g, m, s);
  Rule::template update<at>(p, g, m, s);
}

// Pointers of a segment: parameter, gradient, moments (the last null where there is none), numbers kept, step count.
// each: chunks of a block.
template <class T, int kTensors, class Rule>
__global__ void __launch_bounds__(kThreads)
update(const __grid_constant__ Segments<3 + Rule::kMoments + Rule::kScalars, kTensors> table, const double* settings,
       int each, const long long* faults, const unsigned char* active) {
  after_previous();
  if (held_back(faults, active)) return;
  using C = Compute<T>;
  constexpr int n = kVector<C>, length = kThreads * n, moments = Rule::kMoments, scalars = Rule::kScalars;
  constexpr int counts = 2 + moments + scalars;
  __shared__ C shared[Rule::kFactors];
  __shared__ int shared_variant;
  __shared__ double kept[scalars + 1];  // no array of length 0
  int chunk = blockIdx.x * each;
  const int last = table.first[table.kCount], end = last < chunk + each ? last : chunk + each;
  for (int k = segment_of(table, chunk); chunk < end; ++k) {
    if (threadIdx.x == 0) {
      double s[Rule::kFactors];
#pragma unroll
      for (int j = 0; j < scalars; ++j) kept[j] = *static_cast<const volatile C*>(table.data[2 + moments + j][k]);
      const double* const h = settings + table.group[k] * Rule::kSettings;
      int v = Rule::factors(h, next_step(table.data[counts][k]), kept, s);
      while (v > 0 && table.data[1 + Rule::used(v)][k] == nullptr) --v;  // no list of buffers: as without momentum
      shared_variant = v;
#pragma unroll
      for (int j = 0; j < Rule::kFactors; ++j) shared[j] = static_cast<C>(s[j]);
    }
    __syncthreads();
    const int variant = shared_variant, used = Rule::used(variant);
    C s[Rule::kFactors];
#pragma unroll
    for (int j = 0; j < Rule::kFactors; ++j) s[j] = shared[j];
    for (const int until = table.first[k + 1] < end ? table.first[k + 1] : end; chunk < until; ++chunk) {
      const long long begin = (chunk - table.first[k]) * static_cast<long long>(length);
      const long long left = table.length[k] - begin;
      T* const p = static_cast<T*>(table.data[0][k]) + begin;
      const T* const g = static_cast<const T*>(table.data[1][k]) + begin;
      bool vectors = left >= length && on_16_bytes(p) && on_16_bytes(g);
#pragma unroll
      for (int i = 0; i < moments; ++i)
        vectors = vectors && (i >= used || on_16_bytes(static_cast<C*>(table.data[2 + i][k]) + begin));
      C x[n], dx[n], state[moments + 1][n];
      load_chunk(p, vectors, left, x);
      load_chunk(g, vectors, left, dx);
#pragma unroll
      for (int i = 0; i < moments; ++i)
        if (i < used) load_chunk(static_cast<const C*>(table.data[2 + i][k]) + begin, vectors, left, state[i]);
#pragma unroll
      for (int j = 0; j < n; ++j) {
        C m[moments + 1];
#pragma unroll
        for (int i = 0; i < moments; ++i) m[i] = i < used ? state[i][j] : C(0);
        apply<Rule, 0>(variant, x[j], dx[j], m, s);
#pragma unroll
        for (int i = 0; i < moments; ++i) state[i][j] = m[i];
      }
      store_chunk(p, vectors, left, x);
#pragma unroll
      for (int i = 0; i < moments; ++i)
        if (i < used) store_chunk(static_cast<C*>(table.data[2 + i][k]) + begin, vectors, left, state[i]);
    }
    __syncthreads();  // all have read the factors, and thread 0 the count and the numbers kept
    if (threadIdx.x == 0 && finish_step(table.data[counts][k], blocks_of(table, k, each))) {
#pragma unroll
      for (int j = 0; j < scalars; ++j) *static_cast<C*>(table.data[2 + moments + j][k]) = static_cast<C>(kept[j]);
    }
  }
}
