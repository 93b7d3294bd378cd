// What this machine can do at best: loops that copy, read, or multiply and add, and are there to be timed
// (dlcore/bench/roofs.py).
//
// Each thread has a slice of its own and goes over it again and again. A barrier starts the threads together, and each
// writes down when it began and ended: neither waking a thread nor the call is in the time.
#include <atomic>
#include <chrono>
#include <limits>
#include <stdexcept>

#include <sched.h>

#include "core/kernel.h"
#include "core/memory.h"
#include "core/threads.h"

namespace dlcore {
namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

constexpr double kPatience = 0.1;  // seconds in which every thread of the pool comes, unless another region has it

class Barrier {
 public:
  explicit Barrier(int64_t threads) : threads_(threads) {}
  // False where the others do not come: the pool is another's, and one thread has all the slices.
  bool wait() {
    arrived_.fetch_add(1);
    const double end = seconds_now() + kPatience;
    for (int spins = 0; arrived_.load() < threads_; ++spins) {
      if (spins % 1024 == 1023) sched_yield();  // more threads than processors
      if (late_.load() || seconds_now() > end) {
        late_ = true;
        return false;
      }
    }
    return true;
  }

 private:
  const int64_t threads_;
  std::atomic<int64_t> arrived_{0};
  std::atomic<bool> late_{false};
};

// work(thread, threads) on as many threads as `times` has rows, each of which gets (begin, end) in seconds; NaN where
// they could not run at the same time, and then the work is not done.
template <class Work> void together(const Array& times, const Work& work) {
  const int64_t threads = times.shape[0];
  double* time = times.as<double>();
  Barrier barrier(threads);
  parallel_for(threads, [&](int64_t thread) {
    const bool all = barrier.wait();
    time[2 * thread] = all ? seconds_now() : std::numeric_limits<double>::quiet_NaN();
    if (all) work(thread, threads);
    time[2 * thread + 1] = seconds_now();
  });
}

}  // namespace
}  // namespace dlcore

#define DLCORE_BODY "roofs/roofs.inl"
#include "common/each_isa.h"
