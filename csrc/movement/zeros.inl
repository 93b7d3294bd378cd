// What sums and single places begin with. A body includes it once, behind common/strided_copy.inl.

// Zeros, by all threads: 4 MiB in cache take one thread of a Zen 4 50 us, two 27.
static inline void clear(void* to, int64_t bytes) {
  parallel_ranges(bytes, kCopyGrain, [&](int64_t begin, int64_t end) {
    memset(static_cast<char*>(to) + begin, 0, end - begin);
  });
}
