// The recording side: what a step does is noted while it runs.
#include <algorithm>
#include <cstring>
#include <new>

#include "core/function.h"
#include "core/record.h"
#include "core/tape.h"

namespace dlcore {

PER_THREAD Recorder* recorder = nullptr;
uint64_t changes = 0;

static auto& recorders = *new std::vector<Recorder*>;  // of all threads, which may go on while the process ends

constexpr int64_t kArenaAlignment = 128;

void set_recorder(Recorder* r) {
  if (r) recorders.push_back(r);
  if (recorder) recorders.erase(std::find(recorders.begin(), recorders.end(), recorder));
  recorder = r;
}

const char* const kFromHost =
    "a tensor made from memory of the host is used; make it outside the step, or pass it as an argument";

// ---- where in the user's code -------------------------------------------------------------------------------------
// The innermost Python line outside dlcore's own package, as "file:line".
static int user_line() {
  static std::string package;  // ".../dlcore/"
  if (package.empty()) {
    const Ref module = Ref::own(PyImport_ImportModule("dlcore"));
    const Ref file = module ? attribute(module.get(), "__file__") : Ref();
    const char* path = file ? PyUnicode_AsUTF8(file.get()) : nullptr;
    package = path ? std::string(path, std::strlen(path) - std::strlen("__init__.py")) : "?";
    PyErr_Clear();
  }
  std::string found;
  auto frame = Owned<PyFrameObject>::own(PyThreadState_GetFrame(PyThreadState_Get()));
  while (frame && found.empty()) {
    const auto code = Owned<PyCodeObject>::own(PyFrame_GetCode(frame.get()));
    const char* file = PyUnicode_AsUTF8(code->co_filename);
    if (file && std::strncmp(file, package.c_str(), package.size())) {
      found = std::string(file) + ":" + std::to_string(PyFrame_GetLineNumber(frame.get()));
    }
    frame = Owned<PyFrameObject>::own(PyFrame_GetBack(frame.get()));
  }
  PyErr_Clear();
  const auto [place, added] = recorder->line_numbers.emplace(found, static_cast<int>(recorder->steps.lines.size()));
  if (added) recorder->steps.lines.push_back(found);
  return place->second;
}

bool begin_call(const char* name) {
  if (!recorder || recorder->within) return false;
  std::vector<std::string>& callers = recorder->steps.callers;
  if (callers.empty() || callers.back() != name) callers.emplace_back(name);
  return recorder->within = true;
}
void end_call() {
  if (recorder) recorder->within = false;
}

// Where memory runs out, what was noted so far is incomplete: the step goes on, and cannot be recorded.
template <class F> static void note(F&& f) {
  try {
    f();
  } catch (const std::bad_alloc&) {
    if (!recorder->failure.empty()) return;
    recorder->failure.kind = FailureKind::no_memory;
    recorder->failure.text = "out of memory";  // short enough to need none
  }
}

void record_failure(const char* reason) {
  if (!recorder->failure.empty()) return;
  note([&] {
    const int line = user_line();
    recorder->failure = {FailureKind::permanent, reason, recorder->steps.lines[static_cast<size_t>(line)]};
  });
}

// ---- buffers ------------------------------------------------------------------------------------------------------
static uint64_t mark_of(int region) { return recorder->serial << 32 | static_cast<uint32_t>(region); }

static int known_region(const Buffer* buffer) {  // -1: this recorder has not met it
  return buffer->mark >> 32 == recorder->serial ? static_cast<int>(static_cast<uint32_t>(buffer->mark)) : -1;
}

static int region_of(Buffer* buffer) {
  const int known = known_region(buffer);
  if (known >= 0) return known;
  const int index = static_cast<int>(recorder->steps.regions.size());
  recorder->steps.regions.push_back(
      {.kind = Region::outside, .buffer = buffer, .bytes = buffer->bytes, .device = buffer->device});
  keep(buffer);
  buffer->mark = mark_of(index);
  return index;
}

void record_made(Buffer* buffer) {
  note([&] {
    const int index = static_cast<int>(recorder->steps.regions.size());
    recorder->steps.regions.push_back({.kind = Region::inside, .buffer = buffer, .bytes = buffer->bytes,
                                       .line = user_line(), .device = buffer->device});
    buffer->mark = mark_of(index);
  });
}

void record_dropped(Buffer* buffer) {  // the garbage collector may run in another thread than the recorder
  for (Recorder* r : recorders) {
    if (buffer->mark >> 32 == r->serial) r->steps.regions[static_cast<uint32_t>(buffer->mark)].buffer = nullptr;
  }
}

void record_written(Buffer* buffer) {
  note([&] {
    const size_t region = static_cast<size_t>(region_of(buffer));
    recorder->steps.regions[region].written = true;
  });
}

bool record_host_read(const char* reason) {
  record_failure(reason);
  if (recorder->dry) PyErr_SetString(errors.capture, reason);
  return !recorder->dry;
}

bool record_host_access(Tensor* t, const char* reason) {
  if (!t->buffer) return true;
  const int known = known_region(t->buffer);
  Region* region = known >= 0 ? &recorder->steps.regions[static_cast<size_t>(known)] : nullptr;
  if (!region || region->kind != Region::inside || region->first >= 0) return record_host_read(reason);
  region->from_host = true;  // the host fills it
  return true;
}

void record_operand(Tensor* t, bool tracked) {
  if (t->weak || !is_float(t->array.dtype) || !t->buffer) return;
  const int known = known_region(t->buffer);
  if (known >= 0 && recorder->steps.regions[static_cast<size_t>(known)].kind != Region::outside) return;
  if (t->node || t->view) {
    if (!tracked || (t->node && t->node->sequence > recorder->newest)) return;
    std::vector<TensorRef>& older = recorder->steps.older;
    const auto same = [t](const TensorRef& other) { return other.get() == t; };
    if (std::any_of(older.begin(), older.end(), same)) return;
    return note([&] { older.push_back(TensorRef::share(t)); });
  }
  note([&] {
    if (!recorder->operand_flags.emplace(t, t->requires_grad).second) return;
    recorder->steps.operands.push_back(TensorRef::share(t));
  });
}

// ---- launches -----------------------------------------------------------------------------------------------------
static void touch(int index, int command, const Array& a, bool writes) {
  Region& region = recorder->steps.regions[static_cast<size_t>(index)];
  if (region.first < 0) {
    const bool whole = writes && a.contiguous() && static_cast<size_t>(a.size() * item_size(a.dtype)) == region.bytes;
    if (region.from_host && !whole) record_failure(kFromHost);
    region.first = command;
  }
  region.last = command;
  region.written = region.written || writes;
}

static void note_launch(const Kernel& kernel, const Args& args) {
  Steps& s = recorder->steps;
  const int index = static_cast<int>(s.commands.size());
  const Plan* plan = recorder->plan;
  if (plan) s.device = plan->device;
  s.commands.push_back({kernel, Owned<Function>::share(recorder->function), plan ? plan->attrs : Ref(),
                        plan ? plan->lengths : Ref(), user_line(),
                        static_cast<int>(s.arrays.size()), args.n_inputs, args.n_arrays,
                        static_cast<int>(s.params.size()), args.n_params,
                        recorder->within ? static_cast<int>(s.callers.size()) - 1 : -1});
  s.params.insert(s.params.end(), args.params, args.params + args.n_params);
  for (int k = 0; k < args.n_arrays; ++k) {
    Buffer* buffer = args.buffers[k];
    if (buffer && args.arrays[k]) touch(region_of(buffer), index, args.arrays[k], k >= args.n_inputs);
  }
  for (int k = 0; k < args.n_arrays; ++k) {
    const Array& a = args.arrays[k];
    Buffer* buffer = args.buffers[k];
    s.arrays.push_back(a);
    if (!a) {
      s.places.push_back({-2, 0});
    } else if (buffer) {
      s.places.push_back({region_of(buffer), static_cast<char*>(a.data) - static_cast<char*>(buffer->data)});
    } else {
      s.places.push_back({-1, static_cast<int64_t>(s.immediates.size())});
      int64_t value = 0;
      std::memcpy(&value, a.data, static_cast<size_t>(item_size(a.dtype)));
      s.immediates.push_back(value);
    }
  }
}

void record_launch(const Kernel& kernel, const Args& args) {
  if (recorder->failure.empty()) note([&] { note_launch(kernel, args); });
}

// Nothing is launched for a view, so only dry runs, from which a step is written down, keep them.
static void note_view(Function* f, const Plan* plan, Tensor* base, Tensor* view) {
  Steps& s = recorder->steps;
  const int first = static_cast<int>(s.view_arrays.size());
  for (Tensor* t : {base, view}) {
    const int64_t offset = static_cast<char*>(t->array.data) - static_cast<char*>(t->buffer->data);
    s.view_arrays.push_back(t->array);
    s.view_places.push_back({region_of(t->buffer), offset});
  }
  s.views.push_back({Owned<Function>::share(f), plan->attrs, user_line(), static_cast<int>(s.commands.size()), first,
                     first + 1});
}

void record_view(Function* f, const Plan* plan, Tensor* base, Tensor* view) {
  if (recorder->dry && recorder->failure.empty() && base->buffer) note([&] { note_view(f, plan, base, view); });
}

// ---- arguments and gradients of leaves ----------------------------------------------------------------------------
Tensor* aliased(Tensor* t) {
  TensorRef owner = TensorRef::share(t);
  Tensor* alias = new_foreign(t->array, t->device, t->buffer->readonly, t, free_object);
  if (!alias) return nullptr;
  owner.release();
  alias->requires_grad = t->requires_grad;
  hold_grad(alias, Py_XNewRef(t->grad));
  return alias;
}

static int argument_of(const Tensor* alias) {  // -1: none
  const std::vector<Tensor*>& aliases = recorder->aliases;
  const auto found = std::find(aliases.begin(), aliases.end(), alias);
  return found == aliases.end() ? -1 : static_cast<int>(found - aliases.begin());
}

static LeafGrad& leaf_grad(Tensor* leaf) {
  std::vector<LeafGrad>& grads = recorder->steps.grads;
  if (grads.size() == grads.capacity()) grads.reserve(2 * grads.size() + 1);  // so that both tables get it, or none
  const auto [place, added] = recorder->grad_of.emplace(leaf, static_cast<int>(grads.size()));
  if (added) grads.push_back({.leaf = TensorRef::share(leaf), .argument = argument_of(leaf)});
  return grads[static_cast<size_t>(place->second)];
}

void record_tracked_write(Tensor* t) {
  const int region = known_region(t->buffer);
  if (region < 0 || recorder->steps.regions[static_cast<size_t>(region)].kind != Region::inside) {
    record_failure("a tensor from before the step is changed in place as a part of its gradient history");
  }
}

// A gradient that the step starts from is an input: another tensor may lie there at the next call.
static void note_grad_read(Tensor* leaf) {
  LeafGrad& g = leaf_grad(leaf);
  if (g.read || g.replaced) return;
  g.read = true;
  if (!leaf->grad) return;
  Tensor* start = as_tensor(leaf->grad);
  if (start->node) return record_failure("the step starts from a gradient with a history (create_graph)");
  TensorRef alias = TensorRef::own(aliased(start));
  if (!alias) return PyErr_Clear(), record_failure("out of memory");
  std::vector<Region>& regions = recorder->steps.regions;
  const int index = static_cast<int>(regions.size());
  regions.push_back({.kind = Region::input, .buffer = alias->buffer, .bytes = alias->buffer->bytes,
                     .leaf = static_cast<int>(&g - recorder->steps.grads.data()), .device = alias->buffer->device});
  keep(alias->buffer);
  g.region = index;
  alias->buffer->mark = mark_of(index);
  g.given = TensorRef::own(start);
  leaf->grad = as_object(alias.release());
}

void record_grad_read(Tensor* leaf) {
  if (!leaf->node) note([&] { note_grad_read(leaf); });
}

static void note_grad_replaced(Tensor* leaf, bool none) {
  LeafGrad& g = leaf_grad(leaf);
  if (recorder->dry && !g.read && !g.replaced) g.given = TensorRef::share(as_tensor(leaf->grad));
  g.replaced = true;
  const int next = static_cast<int>(recorder->steps.commands.size());
  if (!none) g.set = next;
  else if (g.set < 0 && g.cleared < 0) g.cleared = next;
}

void record_grad_replaced(Tensor* leaf, bool none) {
  if (!leaf->node) note([&] { note_grad_replaced(leaf, none); });
}

// ---- the memory plan ----------------------------------------------------------------------------------------------
namespace {
struct Hole {
  int64_t offset, size;
};

class Arena {
 public:
  int64_t take(int64_t size) {  // the smallest hole that fits, else at the end
    Hole* best = nullptr;
    for (Hole& h : holes_) {
      if (h.size >= size && (!best || h.size < best->size)) best = &h;
    }
    if (best) {
      const int64_t offset = best->offset;
      best->offset += size;
      best->size -= size;
      if (best->size == 0) holes_.erase(holes_.begin() + (best - holes_.data()));
      return offset;
    }
    int64_t offset = end_;
    if (!holes_.empty() && holes_.back().offset + holes_.back().size == end_) {  // the last hole grows
      offset = holes_.back().offset;
      holes_.pop_back();
    }
    end_ = offset + size;
    return offset;
  }
  void give(int64_t offset, int64_t size) {
    const auto before = [](const Hole& h, int64_t o) { return h.offset < o; };
    const auto after = std::lower_bound(holes_.begin(), holes_.end(), offset, before);
    auto hole = holes_.insert(after, {offset, size});
    if (hole + 1 != holes_.end() && hole->offset + hole->size == (hole + 1)->offset) {
      hole->size += (hole + 1)->size;
      hole = holes_.erase(hole + 1) - 1;
    }
    if (hole != holes_.begin() && (hole - 1)->offset + (hole - 1)->size == hole->offset) {
      (hole - 1)->size += hole->size;
      holes_.erase(hole);
    }
  }
  int64_t size() const { return end_; }

 private:
  std::vector<Hole> holes_;  // by offset, never touching each other
  int64_t end_ = 0;
};
}  // namespace

void plan_arena(Steps& s) {
  const size_t n = s.commands.size();
  std::vector<std::vector<Region*>> begins(n), ends(n);
  s.unplanned_bytes = 0;
  for (Region& r : s.regions) {
    if (r.kind != Region::inside || r.buffer || r.first < 0) continue;
    begins[static_cast<size_t>(r.first)].push_back(&r);
    ends[static_cast<size_t>(r.last)].push_back(&r);
    s.unplanned_bytes += static_cast<int64_t>(r.bytes);
  }
  Arena arena;
  const auto rounded = [](const Region* r) {
    return (static_cast<int64_t>(r->bytes) + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
  };
  for (size_t k = 0; k < n; ++k) {
    std::sort(begins[k].begin(), begins[k].end(), [](const Region* a, const Region* b) { return a->bytes > b->bytes; });
    for (Region* r : begins[k]) r->offset = r->bytes ? arena.take(rounded(r)) : 0;
    for (Region* r : ends[k]) {
      if (r->bytes) arena.give(r->offset, rounded(r));
    }
  }
  s.arena_bytes = arena.size();
}

void release(Steps& s) {
  for (Region& r : s.regions) drop(r.buffer);
  s = Steps{};
}

}  // namespace dlcore
