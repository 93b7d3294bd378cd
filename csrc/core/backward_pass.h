// One pass backward over the tape: what it knows of nodes, and how gradients arrive.
#pragma once
#include <queue>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/ref.h"
#include "core/tape.h"

namespace dlcore {

// Nodes are run in falling order of sequence: every consumer of a tensor is younger than its producer, so when a node's
// turn comes all gradients of its outputs have arrived.
//
// Threads may differentiate one graph at the same time. What a pass knows of a node (queued, needed, gradients so far)
// lies in the node itself for one pass at a time, the one that began while no other was under way, and for those within
// its rules, which go through younger nodes only. Every other pass keeps it in a table of its own.
struct Younger {
  bool operator()(const Node* a, const Node* b) const { return a->sequence < b->sequence; }
};

struct NodeState {  // of one node in one pass
  bool queued = false, needed = false;
  std::vector<Ref> douts;
};

struct BackwardPass {
  uint64_t id;
  bool retain;   // another pass may follow
  bool tracked;  // this one can be differentiated again
  uint64_t after;  // nodes up to this sequence number are left alone: what arrives there ends there
  bool in_nodes;   // where the state of nodes lies: in them, or in `states`
  std::unordered_map<Node*, NodeState> states;
  std::priority_queue<Node*, std::vector<Node*>, Younger> queue;  // owns a reference of each
  bool selective = false;  // only the gradients of some tensors are wanted:
  std::unordered_map<const void*, int> leaves;                                    // a wanted leaf -> its place
  std::unordered_map<Node*, std::vector<std::pair<uint32_t, int>>> intermediate;  // wanted outputs
  std::vector<PyObject*> found;
  std::vector<std::pair<TensorRef, Ref>> hooked_leaves;  // and the sums of what has arrived there so far
  Tensor* root = nullptr;  // borrowed: that the pass starts from with the gradient 1, for which no tensor has been made

  BackwardPass(bool retain_graph, bool create_graph, uint64_t first);
  ~BackwardPass();
  BackwardPass(const BackwardPass&) = delete;
  BackwardPass& operator=(const BackwardPass&) = delete;

  // Puts the node into the queue, unless it is there.
  void enqueue(Node* node);
  PyObject* dout(Node* node, uint32_t output) {  // borrowed; null: none has arrived
    return in_nodes ? node->douts[output] : states[node].douts[output].get();
  }
  void set_dout(Node* node, uint32_t output, PyObject* gradient) {  // takes over the reference
    if (in_nodes) Py_XSETREF(node->douts[output], gradient);
    else states[node].douts[output] = Ref::own(gradient);
  }
  void finish(Node* node);  // its turn is over: lets go of the gradients
  bool needed(Node* node) const;
  void need(Node* node) {
    if (in_nodes) node->needed_run = id;
    else states[node].needed = true;
  }
  bool wants(const Edge& e) const;
  bool wants(Node* node, uint32_t output) const;
};

// The gradient 1 that a pass starts from where none is given.
Ref ones_like(const Tensor* root);
// What has arrived at an output is None where it is the 1 of pass.root: a tensor is made once it is asked for.
bool is_one(BackwardPass& pass, Node* node, uint32_t output);
// The gradient that has arrived, or None if there is none; null with an error.
Ref arrived(BackwardPass& pass, Node* node, uint32_t output);

// Those below take over the reference to the gradient.
bool gather(PyObject*& slot, PyObject* gradient);  // slot = slot + gradient
// The hooks of a leaf see the sum of all that arrives there in this pass, when the pass ends.
bool accumulate_leaf(BackwardPass& pass, Tensor* leaf, PyObject* gradient);
bool settle_hooked_leaves(BackwardPass& pass);
bool push(BackwardPass& pass, Node* node, uint32_t output, PyObject* gradient);  // to an output of a node
// Along an edge, summed to the operand's shape and cast to its dtype.
bool send(BackwardPass& pass, Node* node, const Edge& edge, PyObject* gradient);

// The result of one of a node's gradient rules; null with an error.
Ref call_rule(BackwardPass& pass, Node* node, const GradientRule& rule);
// Takes it apart: one gradient for each target, a group's given as a list.
bool spread(Node* node, const GradientRule& rule, Ref result, std::vector<std::pair<int, Ref>>& gradients);

}  // namespace dlcore
