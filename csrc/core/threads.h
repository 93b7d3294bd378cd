// One pool for everything that runs on several threads. Workers spin for a bounded time, then sleep on a futex.
//
// What a chunk is must depend on shapes only, never on the number of threads: results are the same bits for any number.
#pragma once
#include <cstdint>
#include <type_traits>

namespace dlcore {

int thread_count();             // threads a parallel_for may use, the caller included
void set_thread_count(int n);   // n >= 1
int processor_threads();        // physical cores this process may run on: the default

// While one lives, this thread does everything itself.
class Serial {
 public:
  explicit Serial(bool serial);
  ~Serial();
  Serial(const Serial&) = delete;
  Serial& operator=(const Serial&) = delete;

 private:
  const bool before_;
};

using ChunkFunction = void (*)(void* context, int64_t chunk);
// Runs function(context, 0 .. chunks-1), each once, and returns when all are done. Where a chunk throws, chunks not yet
// begun are left out, and the first exception is thrown here. A call from inside a chunk runs serially. One chunk, or
// one thread, runs on the caller.
void parallel_chunks(int64_t chunks, ChunkFunction function, void* context);

template <class F> void parallel_for(int64_t chunks, F&& f) {
  if (chunks == 1) return f(int64_t{0});
  using Body = std::remove_reference_t<F>;
  parallel_chunks(chunks, [](void* context, int64_t chunk) { (*static_cast<Body*>(context))(chunk); },
                  const_cast<void*>(static_cast<const void*>(&f)));
}

// Splits `total` items into chunks of `grain` (the last may be shorter) and runs f(begin, end) for each.
// Grain so that one chunk is worth about 10 us: below that, waking another thread costs more than it gains.
template <class F> void parallel_ranges(int64_t total, int64_t grain, F&& f) {
  if (total <= 0) return;
  const int64_t chunks = (total + grain - 1) / grain;
  parallel_for(chunks, [&](int64_t chunk) {
    const int64_t begin = chunk * grain, end = begin + grain < total ? begin + grain : total;
    f(begin, end);
  });
}

}  // namespace dlcore
