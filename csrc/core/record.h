// Recording: a step's launches are kept while it runs, and run again later in one loop, without Python.
//
// While a thread records, everything still happens as usual; besides, each launch is noted with the buffers behind its
// arrays. Buffers are either `outside` (there before: parameters, moments, data), an `input` of the step (bound anew at
// every replay), or made `inside`. Inside buffers nobody holds when the step is over are laid out in one arena by when
// they are needed; those that outputs and gradients lie in keep memory of their own, replaced whenever somebody still
// holds the last call's. Between recording and laying out, dlcore/_fusion.py may make neighbouring launches one.
#pragma once
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/layout.h"
#include "core/tensor.h"

namespace dlcore {

struct Function;
struct Plan;

struct Region {  // a buffer that the recorded step uses
  enum Kind : uint8_t { outside, input, inside } kind = outside;
  Buffer* buffer = nullptr;  // kept while outside, input or surviving; null once an inside buffer is freed
  size_t bytes = 0;
  int first = -1, last = -1;  // commands that touch it
  int argument = -1;          // input: which argument, or
  int leaf = -1;              // the gradient that a leaf starts with: an index into `grads`
  int line = -1;              // inside: where it was made, an index into `lines`
  uint8_t device = 0;         // whose memory
  bool written = false;
  bool from_host = false;     // exported before any command touched it: the host fills it
  int64_t offset = -1;        // inside, not surviving: where in the arena
};

struct Command {
  Kernel kernel;
  Owned<Function> function;  // the operation; null for copies that dispatch made
  Ref attrs, lengths;        // its attributes, and the lengths of its groups of operands; or null
  int line;                  // of the user's code, an index into `lines`
  int first_array, n_inputs, n_arrays;
  int first_param, n_params;
  int caller = -1;           // the function that errors name, an index into `callers`; -1: the operation
};

struct ViewNote {  // the call of a view operation: nothing is launched, but whoever writes the step down needs it
  Owned<Function> function;
  Ref attrs;
  int line;    // of the user's code, an index into `lines`
  int before;  // the command that comes next in the step as it ran
  int base, view;  // indices into `view_arrays`
};

struct Place {  // where an array of a command lies
  int region;   // -1: a value of its own (a Python number), at `offset` in `immediates`; -2: absent
  int64_t offset;  // bytes
};

struct LeafGrad {  // a leaf whose gradient the step reads or replaces
  TensorRef leaf;         // null once nobody else knows it
  int argument = -1;      // the input that the leaf is, if it is one
  bool read = false;      // its first use was a reading: the step starts from it,
  int region = -1;        // an input of its own, or from None (-1)
  TensorRef given = {};   // the gradient before, put back in the end
  bool replaced = false;  // the step sets it:
  int cleared = -1, set = -1;  // the first command after it became None, and after it last became another tensor
};

// Everything about one recorded step. Plain data: recorder.cpp fills it, replay.cpp runs it.
struct Steps {
  std::vector<Command> commands;
  std::vector<ViewNote> views;       // of dry runs alone
  std::vector<Array> view_arrays;
  std::vector<Place> view_places;    // beside view_arrays
  std::vector<Array> arrays;
  std::vector<Place> places;     // beside arrays
  std::vector<Param> params;
  std::vector<int64_t> immediates;
  std::vector<Region> regions;
  std::vector<LeafGrad> grads;
  std::vector<std::string> lines;  // "file.py:12: text" of the user's code
  std::vector<std::string> callers;  // functions made of operations, whose errors are theirs (_arguments.py)
  std::vector<TensorRef> operands;  // leaves used by the step: they must keep needing a gradient, or not
  std::vector<TensorRef> older;     // views and tensors with a history from before the step, in tracked calls
  int64_t arena_bytes = 0, unplanned_bytes = 0;
  uint8_t device = 0;  // of the operations: the interpreter's, though its memory is the host's
};
void release(Steps& steps);  // gives back its buffers, and empties it
// Lays the inside regions that have no buffer out in an arena: sets their offsets and arena_bytes.
void plan_arena(Steps& steps);

// What a failure to record means for the calls that follow; as in dlcore/_reasons.py.
enum class FailureKind : int {
  permanent,     // every call would fail like this one: the step reads a value on the host, for instance
  keeps_tensor,  // the step keeps a tensor that it has made, as an optimizer's first step keeps its state
  rebinds,       // the step changes what a recording of it depends on
  no_memory,     // it could not be noted; the step itself has run
};

struct Failure {
  FailureKind kind = FailureKind::permanent;
  std::string text;   // empty: there is no failure
  std::string line;   // "file.py:12" in the user's code, or empty
  bool empty() const { return text.empty(); }
};

struct Recorder {
  Steps steps;
  std::vector<TensorRef> given;  // the arguments,
  std::vector<Tensor*> aliases;  // and what stands for them
  uint64_t serial;             // marks the buffers seen by this recorder
  uint64_t newest = 0;         // the node made last before the step: those with a larger number are the step's own
  Failure failure;             // why this cannot be recorded: the first reason
  Function* function = nullptr;  // the operation that runs, for the commands it makes
  const Plan* plan = nullptr;
  bool dry = false;            // launches are noted, not run
  bool within = false;         // a function whose errors name it: the last of `callers`
  std::unordered_map<std::string, int> line_numbers;
  std::unordered_map<Tensor*, int> grad_of;
  std::unordered_map<Tensor*, bool> operand_flags;  // whether they needed a gradient when first used
};

extern const char* const kFromHost;  // why a tensor that the host filled cannot be used
PER_THREAD extern Recorder* recorder;  // null: this thread does not record

// begin_call: whether errors of what this thread records until end_call() are those of the function `name`; not where no
// step is recorded, or a function around it has its name there already.
bool begin_call(const char* name);
void end_call();

// The same memory behind a buffer of its own, so that this use of it can be told from others; owns a reference to `t`.
Tensor* aliased(Tensor* t);
void set_recorder(Recorder* r);  // for this thread; null: recording is over

void record_dropped(Buffer* buffer);  // called always: its last reference went, in whatever thread

// Called by the rest of the core while recorder is set. They never throw: where memory runs out the step goes on, and
// cannot be recorded.
void record_launch(const Kernel& kernel, const Args& args);
void record_view(Function* f, const Plan* plan, Tensor* base, Tensor* view);
void record_made(Buffer* buffer);     // by new_buffer
void record_written(Buffer* buffer);  // its version rose
void record_operand(Tensor* t, bool tracked);  // `tracked`: the call becomes a node of the tape
void record_grad_read(Tensor* leaf);  // before it is read: may replace it by an alias
void record_grad_replaced(Tensor* leaf, bool none);
void record_tracked_write(Tensor* t);    // a write in place has become part of t's gradient history
// The step cannot be recorded, for a reason such as "item() reads a value back to the host"; it goes on unrecorded.
void record_failure(const char* reason);
// The same where the host is about to see values: false, with an error set, if there are none because no kernel ran.
bool record_host_read(const char* reason);
bool record_host_access(Tensor* t, const char* reason);  // and where it may as well be about to fill new memory

// Rises when something that recordings depend on has changed: requires_grad, modules, optimizers.
extern uint64_t changes;

bool init_record(PyObject* module);
bool init_frames(PyObject* module);

}  // namespace dlcore
