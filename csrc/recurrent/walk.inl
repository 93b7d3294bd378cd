// What all layers share: sequences and their lengths, the walk over steps and its threads, states.

// The order of steps, and which rows of the batch are still there at one.
struct Sequence {
  int64_t steps, batch;
  bool reverse;
  const int64_t* lengths;  // or null: all steps of all rows

  int64_t at(int64_t s) const { return reverse ? steps - 1 - s : s; }
  bool active(int64_t t, int64_t row) const { return !lengths || t < lengths[row]; }
  bool all_active(int64_t t, int64_t row, int rows) const {
    for (int r = 0; lengths && r < rows; ++r)
      if (t >= lengths[row + r]) return false;
    return true;
  }
};

static Sequence sequence_of(const Array& over_time, const Array& lengths, bool reverse) {
  return {over_time.shape[0], over_time.shape[1], reverse, lengths ? lengths.as<int64_t>() : nullptr};
}

static void check_lengths(const char* name, const Sequence& q) {
  for (int64_t b = 0; q.lengths && b < q.batch; ++b)
    if (q.lengths[b] < 1 || q.lengths[b] > q.steps)
      throw ValueFault(std::string(name) + ": lengths[" + std::to_string(b) + "] is " + std::to_string(q.lengths[b]) +
                       ", not between 1 and " + std::to_string(q.steps) + " steps");
}

// A part of a step: run(s, r0, r1, p0, p1) for rows [r0, r1) and its parts [p0, p1), which may run side by side once
// the stage before is done. `work`: multiply-adds of a row, or what takes as long.
template <class F> struct Stage {
  int64_t parts, work;
  F run;
};
template <class F> Stage(int64_t, int64_t, F) -> Stage<F>;

constexpr int64_t kStageWork = int64_t{1} << 17;  // multiply-adds worth another thread for a part of a step: 2 us
// And with fewer rows than threads, where a step takes as long as its weights from the second-level cache: 0.6 us.
constexpr int64_t kFewRowsWork = int64_t{1} << 14;
constexpr int64_t kGatesWork = int64_t{1} << 10;  // what the gates of a vector of units take, in multiply-adds

// Threads that share the units of a step, and meet at each; 1 where each has rows of its own. They do where there are
// fewer rows than threads, and where the weights of all units do not stay in a second-level cache and a step is worth
// the meeting. `work`: multiply-adds of a row in a step, which is how many weights there are.
template <class C> static int64_t sharers(const Sequence& q, int64_t work) {
  const int64_t threads = thread_count();
  if (q.batch < threads) {
    const int64_t shares = std::min(threads, q.batch * work / kFewRowsWork);
    return shares > q.batch ? shares : 1;
  }
  const bool stay = work * static_cast<int64_t>(sizeof(C)) <= second_level_cache() / 4 * 3;
  return stay || q.batch * work / threads <= 4 * kStageWork ? 1 : threads;
}

// Steps 0 to steps - 1 (back: the other way round) through all stages.
template <class C, bool back = false, class... Stages>
static void walk(const Sequence& q, int64_t work, const Stages&... stages) {
  const int64_t threads = thread_count(), shares = sharers<C>(q, work);
  const auto step_of = [&](int64_t s) { return back ? q.steps - 1 - s : s; };
  if (shares > 1) {
    for (int64_t s = 0; s < q.steps; ++s) {
      const auto share = [&](const auto& stage) {
        const int64_t worth = std::max<int64_t>(1, q.batch * stage.work / kFewRowsWork);
        const int64_t chunks = std::min({shares, stage.parts, worth});
        parallel_for(chunks, [&](int64_t c) {
          stage.run(step_of(s), int64_t{0}, q.batch, stage.parts * c / chunks, stage.parts * (c + 1) / chunks);
        });
      };
      (share(stages), ...);
    }
    return;
  }
  const int64_t least = ceil_div(kStageWork, q.steps * work + 1);  // rows worth another thread
  const int64_t chunks = std::max<int64_t>(1, std::min(threads, q.batch / least));
  parallel_for(chunks, [&](int64_t c) {
    const int64_t r0 = q.batch * c / chunks, r1 = q.batch * (c + 1) / chunks;
    for (int64_t s = 0; s < q.steps; ++s) (stages.run(step_of(s), r0, r1, int64_t{0}, stages.parts), ...);
  });
}

// Rows of a state: a buffer of the compute type from an operand (zeros where it is absent), and back.
template <class S>
static void load_state(compute_t<S>* to, int64_t pitch, const Array& from, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r) {
    std::fill_n(to + r * pitch, pitch, compute_t<S>(0));
    if (from) load_block(to + r * pitch, from.as<S>() + r * n, n);
  }
}
template <class S>
static void store_state(const Array& to, const compute_t<S>* from, int64_t pitch, int64_t rows, int64_t n) {
  for (int64_t r = 0; to && r < rows; ++r) store_block(to.as<S>() + r * n, from + r * pitch, n);
}

// Two buffers of rows that change places at every step.
template <class C> struct State {
  const int64_t pitch, size;
  const Scratch<C> room;
  State(int64_t rows, int64_t n) : pitch(pitch_of<C>(n)), size(rows * pitch), room(2 * size) {}
  C* at(int64_t s) const { return room.get() + (s & 1) * size; }
};
