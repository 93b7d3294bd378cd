// Differentiable recordings: the graph behind what a recorded step returns, copied once, and one node in its place.
//
// A step that returns tensors with a gradient history leaves a graph behind. Its copy has no memory and reaches nothing
// of the user's: tensors kept for gradient rules are replaced by stand-ins, and where it would go on to leaves or to
// older nodes it ends in leaves of its own. A backward pass over the copy can so be recorded, without any kernel, with
// the stand-ins as arguments (dlcore/_recorded_gradient.py). A replay then makes a single node, which keeps what the
// rules need of this one call and sends gradients on to where the real graph would.
#pragma once
#include <memory>
#include <vector>

#include "core/tape.h"

namespace dlcore {


struct Tracking {
  struct Output {
    size_t result;  // of the recording
    bool view;      // as an eager call's result would be
  };
  struct End {
    int argument;       // the tensor given as this argument, or
    TensorRef tensor;   // one from before the step: a leaf, or what carries an older node
  };
  size_t n_results;     // those that the step returns; what the rules need follows
  std::vector<Output> outputs;
  std::vector<End> ends;
  Owned<Function> function;  // gives the node its name
  Plan* plan = nullptr;      // of the node: its one rule
  ~Tracking();
};

// copy_graph(roots, aliases, after) -> (roots, ends, leaves, kept, stands), see dlcore/_C.pyi.
PyObject* copy_graph(PyObject*, PyObject* args);
// track(n_results, outputs, ends, name, rule): replays return tensors with a history.
PyObject* track_recording(PyObject* self, PyObject* args);
// The results that the step returns, of all that the recording has, behind a node; steals `all`.
PyObject* linked_results(const Tracking& tracking, Ref all, const std::vector<Tensor*>& arguments);

}  // namespace dlcore
