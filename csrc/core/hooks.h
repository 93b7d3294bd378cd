// What Python adds to the tape: hooks on gradients, nodes with a rule of their own, and nodes that keep nothing and are
// computed again for the backward pass.
#pragma once
#include "core/tape.h"

namespace dlcore {

// The gradient after the hooks of `output` among `hooks` (a list of (output, function, last), or null), those that come
// last after the others: what a function returns takes the gradient's place. Null with an error.
Ref hooked(PyObject* hooks, uint32_t output, Ref gradient);
bool has_hooks(PyObject* hooks, uint32_t output);

// While a thread has a region, nodes that it makes join: they keep nothing, or are kept themselves (see set_region).
PER_THREAD extern PyObject* region;
bool join_region(Node* node);
// Has the region of a node compute again what the node would have kept; false with an error.
bool fill_saved(Node* node);

bool init_hooks(PyObject* module);

}  // namespace dlcore
