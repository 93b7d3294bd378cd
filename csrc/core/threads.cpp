// The pool: a region is published in one 64-bit word, the chunks not yet claimed as [front, back). The caller claims
// from the front and workers from the back, so that successive regions over the same data find it in the same caches.
// A claim is one compare-and-swap; whoever wins it holds a chunk of the current region, whose description cannot
// change before that chunk is done, so stale workers need no epoch.
//
// A second Python thread that calls while a region runs does its chunks itself: waiting would cost more than it gains.
// A hot region costs 0.1-0.5 us. Waking a sleeping worker: 30-70 us, hence the spin. What costs more is memory that
// goes from core to core, 7 ns a line that is written after the other has read it, and 29 ns where the cores have no
// cache in common (a Zen 4; a virtual machine may be moved from one to the other within seconds). So kernels cut their
// work such that a thread mostly finds again what it has made itself: the first rows are the caller's.
//
// A worker that is woken on the caller's own processor waits there until the caller has done all the work, and sleeps
// again before the system's balancing has seen it: after a pause a process stayed on one core for tens of milliseconds.
// So who wakes a worker that fell asleep where the caller runs now sends it elsewhere; once there, it may run anywhere
// again. (Linux 6.18 in a virtual machine of two cores, processes stopped and continued before each turn of 10 ms, exp
// of a million floats: 193 of 360 turns took 210 us a call or more instead of 106, now 9.)
#include "core/threads.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <set>
#include <utility>

namespace dlcore {

namespace {

constexpr int kMaxThreads = 1024;
constexpr int64_t kMaxChunks = int64_t{1} << 31;
// As long as waking a thread takes: never more than twice the cost of the best choice (ski rental).
constexpr auto kSpin = std::chrono::microseconds(60);

// Where a worker sleeps, for whoever wakes it.
struct Sleep {
  pid_t thread;
  std::atomic<int> processor{-1};    // -1: it is awake
  std::atomic<bool> moved{false};    // it is kept from a processor that it may use
  cpu_set_t allowed;                 // written before `moved`
};

struct Pool {
  alignas(64) std::atomic<uint64_t> unclaimed{0};  // front << 32 | back; equal halves: nothing to do
  alignas(64) std::atomic<uint32_t> pending{0};    // chunks not yet done; the caller sleeps on it
  alignas(64) std::atomic<uint32_t> wakeups{0};    // workers sleep on it
  std::atomic<int> sleepers{0};
  std::atomic<bool> caller_sleeps{false};
  // The region: written by the caller before `unclaimed`, read by those who claimed.
  alignas(64) ChunkFunction function = nullptr;
  void* context = nullptr;
  int64_t offset = 0;
  uint32_t control = 0;  // the caller's MXCSR: rounding and denormals as it has set them
  alignas(64) std::atomic<bool> failed{false};  // a chunk has thrown: the others are left out
  std::exception_ptr failure;  // what it threw, written before its chunk counts as done
  // Owned by whoever holds `busy`.
  alignas(64) std::atomic<bool> busy{false};
  int processors = 0;  // not known yet. No `static` of a function: a fork could leave its guard locked for ever
  int workers = 0;
  pthread_t threads[kMaxThreads];
  Sleep sleeps[kMaxThreads];
  std::atomic<int> alive{0};  // workers with this index or above leave
  std::atomic<bool> spins{true};
};
Pool pool;
std::atomic<int> wanted{0};  // 0: not asked for yet
thread_local bool inside = false;

void futex_wait(std::atomic<uint32_t>& word, uint32_t expected) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}
void futex_wake(std::atomic<uint32_t>& word, int count) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

#if defined(__x86_64__)
void pause() { _mm_pause(); }
uint32_t floating_control() { return _mm_getcsr(); }
void set_floating_control(uint32_t control) {
  constexpr uint32_t kFlags = 0x3f;  // sticky exception flags differ all the time and change nothing
  if ((_mm_getcsr() ^ control) & ~kFlags) _mm_setcsr(control);
}
#else
void pause() {}
uint32_t floating_control() { return 0; }
void set_floating_control(uint32_t) {}
#endif

// Waits until done() or the spin is over; the clock is read rarely, as it costs as much as a pause.
template <class Done> bool spin_until(Done done) {
  for (int i = 0; i < 16; ++i) {
    if (done()) return true;
    pause();
  }
  if (!pool.spins.load(std::memory_order_relaxed)) return done();
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      if (done()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

bool nothing_unclaimed() {
  const uint64_t state = pool.unclaimed.load();
  return (state >> 32) == static_cast<uint32_t>(state);
}

void run_claimed(int64_t first, int64_t count) {
  try {
    for (int64_t chunk = first; chunk < first + count && !pool.failed.load(std::memory_order_relaxed); ++chunk) {
      pool.function(pool.context, chunk);
    }
  } catch (...) {
    if (!pool.failed.exchange(true)) pool.failure = std::current_exception();
  }
}

// Claims and runs chunks until none is left. Claims shrink with what is left: few when chunks are many and small,
// one by one at the end, for balance.
void run_chunks(bool from_front) {
  uint64_t state = pool.unclaimed.load(std::memory_order_acquire);
  for (;;) {
    const uint32_t front = static_cast<uint32_t>(state >> 32), back = static_cast<uint32_t>(state);
    if (front == back) return;
    const uint32_t share = 4 * static_cast<uint32_t>(pool.alive.load(std::memory_order_relaxed) + 1);
    const uint32_t count = std::max(1u, (back - front) / share);
    const uint64_t next = from_front ? state + (uint64_t{count} << 32) : state - count;
    if (!pool.unclaimed.compare_exchange_weak(state, next, std::memory_order_acq_rel)) continue;
    if (!from_front) set_floating_control(pool.control);
    const int64_t first = pool.offset + (from_front ? front : back - count);
    run_claimed(first, count);
    if (pool.pending.fetch_sub(count) == count && pool.caller_sleeps.load()) futex_wake(pool.pending, 1);
    state = pool.unclaimed.load(std::memory_order_acquire);
  }
}

// Keeps a sleeping worker from the processor `here`, if it may run on another.
void send_elsewhere(Sleep& worker, int here) {
  if (worker.moved.load() || sched_getaffinity(worker.thread, sizeof worker.allowed, &worker.allowed) != 0) return;
  cpu_set_t others = worker.allowed;
  CPU_CLR(here, &others);
  worker.moved = CPU_COUNT(&others) > 0 && sched_setaffinity(worker.thread, sizeof others, &others) == 0;
}

void fall_asleep(Sleep& self, uint32_t seen) {
  self.processor = sched_getcpu();
  futex_wait(pool.wakeups, seen);
  self.processor = -1;
  if (self.moved.load()) {
    sched_setaffinity(0, sizeof self.allowed, &self.allowed);
    self.moved = false;
  }
}

void* work(void* argument) {
  const int index = static_cast<int>(reinterpret_cast<intptr_t>(argument));
  Sleep& self = pool.sleeps[index];
  self.thread = static_cast<pid_t>(syscall(SYS_gettid));
  inside = true;
  const auto leaving = [&] { return index >= pool.alive.load(); };
  while (!leaving()) {
    if (spin_until([&] { return !nothing_unclaimed() || leaving(); })) {
      run_chunks(false);
      continue;
    }
    const uint32_t seen = pool.wakeups.load();
    pool.sleepers.fetch_add(1);  // before looking again: the caller publishes first and counts sleepers second
    if (nothing_unclaimed() && !leaving()) fall_asleep(self, seen);
    pool.sleepers.fetch_sub(1);
  }
  return nullptr;
}

void wake(int count) {
  if (pool.sleepers.load() == 0) return;
  const int here = sched_getcpu();
  for (int k = 0; k < pool.workers; ++k)
    if (pool.sleeps[k].processor.load() == here) send_elsewhere(pool.sleeps[k], here);
  pool.wakeups.fetch_add(1);
  futex_wake(pool.wakeups, count);
}

void forget_workers() {  // in a forked child: they stayed in the parent
  pool.workers = 0;
  pool.alive = 0;
  pool.unclaimed = 0;
  pool.pending = 0;
  pool.sleepers = 0;
  pool.caller_sleeps = false;
  pool.failed = false;
  pool.failure = nullptr;
  pool.busy = false;
}
// From the start on: a fork beside the first region must find it, too.
const int fork_rule = pthread_atfork(nullptr, nullptr, forget_workers);

// Starts or ends workers; the caller holds `busy`.
void resize(int workers) {
  if (!pool.processors) pool.processors = processor_threads();
  pool.spins = workers < pool.processors;  // more threads than cores: a spinning thread keeps another from working
  pool.alive = workers;
  if (workers < pool.workers) {
    pool.wakeups.fetch_add(1);
    futex_wake(pool.wakeups, INT_MAX);
    while (pool.workers > workers) pthread_join(pool.threads[--pool.workers], nullptr);
    return;
  }
  sigset_t all, before;  // signals are the main thread's: Python's handlers run there
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  while (pool.workers < workers) {
    void* index = reinterpret_cast<void*>(static_cast<intptr_t>(pool.workers));
    pool.sleeps[pool.workers].processor = -1;  // whatever one before it left, perhaps in a forked child's parent
    pool.sleeps[pool.workers].moved = false;
    if (pthread_create(&pool.threads[pool.workers], nullptr, work, index) != 0) {
      set_thread_count(pool.workers + 1);  // the system gives no more
      pool.alive = pool.workers;
      break;
    }
    ++pool.workers;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void run_serially(int64_t chunks, ChunkFunction function, void* context) {
  for (int64_t chunk = 0; chunk < chunks; ++chunk) function(context, chunk);
}

void run_region(int64_t offset, int64_t chunks, ChunkFunction function, void* context) {
  pool.function = function;
  pool.context = context;
  pool.offset = offset;
  pool.control = floating_control();
  pool.pending.store(static_cast<uint32_t>(chunks), std::memory_order_relaxed);
  pool.unclaimed.store(static_cast<uint64_t>(chunks));
  wake(static_cast<int>(std::min<int64_t>(chunks - 1, pool.workers)));
  run_chunks(true);
  const auto finished = [] { return pool.pending.load() == 0; };
  if (!spin_until(finished)) {
    pool.caller_sleeps = true;
    while (const uint32_t left = pool.pending.load()) futex_wait(pool.pending, left);
    pool.caller_sleeps = false;
  }
  if (pool.failed.exchange(false)) std::rethrow_exception(std::exchange(pool.failure, nullptr));
}

struct Owner {  // of the pool, whose `busy` it has taken; ends also where a chunk throws
  Owner() { inside = true; }
  ~Owner() {
    inside = false;
    pool.busy.store(false, std::memory_order_release);
  }
};

int read_number(const char* path_format, int cpu, int otherwise) {
  char path[96];
  std::snprintf(path, sizeof path, path_format, cpu);
  std::FILE* file = std::fopen(path, "r");
  if (!file) return otherwise;
  int value = otherwise;
  if (std::fscanf(file, "%d", &value) != 1) value = otherwise;
  std::fclose(file);
  return value;
}

// Whole cores that the container's quota pays for, rounded up.
int quota_cores() {
  long long quota = 0, period = 0;
  std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r");
  if (!file) return INT_MAX;
  const bool limited = std::fscanf(file, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0;
  std::fclose(file);
  return limited ? static_cast<int>((quota + period - 1) / period) : INT_MAX;
}

}  // namespace

int processor_threads() {
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) {
    return static_cast<int>(std::clamp(sysconf(_SC_NPROCESSORS_ONLN), 1L, static_cast<long>(kMaxThreads)));
  }
  std::set<std::pair<int, int>> cores;  // hyperthreads share the units that kernels keep busy
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &mask)) continue;
    cores.emplace(read_number("/sys/devices/system/cpu/cpu%d/topology/physical_package_id", cpu, 0),
                  read_number("/sys/devices/system/cpu/cpu%d/topology/core_id", cpu, cpu));
  }
  return std::clamp(std::min(static_cast<int>(cores.size()), quota_cores()), 1, kMaxThreads);
}

int thread_count() {
  if (inside) return 1;  // what is cut for more would be computed by this thread, piece by piece
  if (const int n = wanted.load(std::memory_order_relaxed)) return n;
  const char* asked = std::getenv("DLCORE_NUM_THREADS");
  const int n = asked ? std::atoi(asked) : 0;
  int unset = 0;
  wanted.compare_exchange_strong(unset, n >= 1 ? std::min(n, kMaxThreads) : processor_threads());
  return wanted.load();
}

Serial::Serial(bool serial) : before_(inside) { inside = inside || serial; }
Serial::~Serial() { inside = before_; }

void set_thread_count(int n) { wanted = std::clamp(n, 1, kMaxThreads); }

void parallel_chunks(int64_t chunks, ChunkFunction function, void* context) {
  const int threads = chunks > 1 ? thread_count() : 1;
  if (threads == 1 || pool.busy.exchange(true, std::memory_order_acquire)) {
    return run_serially(chunks, function, context);
  }
  const Owner owner;
  if (pool.workers != threads - 1) resize(threads - 1);
  for (int64_t offset = 0; offset < chunks; offset += kMaxChunks) {
    run_region(offset, std::min(kMaxChunks, chunks - offset), function, context);
  }
}

}  // namespace dlcore
