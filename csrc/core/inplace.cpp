// x op= y: writes a result into the target's memory and keeps the tape right.
#include <cstring>

#include "core/batch.h"
#include "core/device.h"
#include "core/function.h"
#include "core/layout.h"
#include "core/record.h"
#include "core/tape.h"

namespace dlcore {

Tensor* alias_with_history(Tensor* t) {
  Tensor* alias = new_view(t, t->array);
  if (!alias) return nullptr;
  alias->requires_grad = t->requires_grad;
  hold_node(alias, t->node);
  alias->output = t->output;
  alias->version_seen = t->version_seen;
  return alias;
}

static bool check_trackable(Function* f, const Tensor* target) {
  if (target->requires_grad && !target->node) {
    PyErr_Format(errors.autograd,
                 "%s: a leaf that requires a gradient cannot be changed in place; use no_grad() or an out-of-place "
                 "operation", f->name_utf8);
    return false;
  }
  return !target->view || check_base(f->name_utf8, target);
}

// Writes `value` (any strides, same shape) into target's memory, casting within the same kind.
static bool write_into(Function* f, Tensor* target, Tensor* value) {
  static const Kernel* copy = find_kernel("movement:copy");
  const Array &to = target->array, &from = value->array;
  if (to.ndim != from.ndim || std::memcmp(to.shape, from.shape, sizeof(int64_t) * to.ndim)) {
    const Ref have = Ref::own(shape_tuple(from.shape, from.ndim)), want = Ref::own(shape_tuple(to.shape, to.ndim));
    if (have && want) {
      PyErr_Format(errors.shape, "%s: a result of shape %R does not fit in place into shape %R", f->name_utf8,
                   have.get(), want.get());
    }
    return false;
  }
  TensorRef source = TensorRef::share(value);
  if (to.dtype != from.dtype) {
    if (is_float(from.dtype) && !is_float(to.dtype)) {
      PyErr_Format(errors.dtype, "%s: a result of dtype %s does not fit in place into dtype %s", f->name_utf8,
                   kDTypeName[static_cast<int>(from.dtype)], kDTypeName[static_cast<int>(to.dtype)]);
      return false;
    }
    PyObject* args[2] = {source.object(), dtype_object(to.dtype)};
    source = TensorRef::own(as_tensor(call_python(bound.cast, args, 2)));
    if (!source) return false;
  }
  if (may_meet(source.get(), target) && !same_array(source->array, to)) {
    source = TensorRef::own(contiguous_copy(source.get()));
    if (!source) return false;
  }
  Array arrays[2] = {source->array, to};
  Buffer* const buffers[2] = {source->buffer, target->buffer};
  const bool good = target->device ? device_copy(source.get(), target)
                                   : run_kernel(*copy, Args{arrays, 1, 2, nullptr, 0, buffers}, target->buffer->bytes);
  bump(target);
  return good;
}

// What the gradient needs of the values that are about to be overwritten is kept as a copy, with their history.
static bool keep_overwritten(Node* node, Tensor* before) {
  for (int k = 0; node && k < node->n_saved; ++k) {
    Saved& saved = node->saved[k];
    if (saved.tensor != before) continue;
    auto copy = TensorRef::own(contiguous_copy(before));
    if (!copy) return false;
    copy.get()->requires_grad = before->requires_grad;
    hold_node(copy.get(), before->node);
    copy.get()->output = before->output;
    copy.get()->version_seen = saved.version = copy.get()->buffer->version;
    Py_DECREF(as_object(saved.tensor));
    saved.tensor = as_tensor(Py_NewRef(copy.object()));
  }
  return true;
}

PyObject* call_inplace(Function* f, Tensor* target, PyObject* const* args, Py_ssize_t n) {
  bool batched = is_batched(target);
  for (Py_ssize_t k = 0; k < n && !batched; ++k) batched = is_tensor(args[k]) && is_batched(as_tensor(args[k]));
  if (batched) return read_signature(f) ? call_batched_inplace(f, target, args, n) : nullptr;
  if (!read_signature(f) || !check_written(target, f->name_utf8)) return nullptr;
  if (n + 1 != f->n_inputs || f->groups) {
    return PyErr_Format(PyExc_TypeError, "%s: in place it takes as many operands as its %d, each a tensor or a number",
                        f->name_utf8, f->n_inputs);
  }
  Operands operands(static_cast<int>(n) + 1);
  if (!refresh_view(target)) return nullptr;
  bool failed = false, tracked = wanted(target);
  for (int k = 0; k < n && !failed; ++k) {
    PyObject* like = as_object(target);
    operands.data[k + 1] = to_operand(f, args[k], k + 1, &like, 1, &failed);
    tracked = tracked || wanted(operands.data[k + 1]);
  }
  tracked = tracked && is_float(target->array.dtype);
  if (failed || (tracked && !check_trackable(f, target))) return nullptr;
  operands.data[0] = tracked ? alias_with_history(target) : as_tensor(Py_NewRef(as_object(target)));
  if (!operands.data[0]) return nullptr;
  Tensor* out = tracked || !f->elementwise ? nullptr : target;  // else it may be written before it is read
  const WithoutAutocast as_given;
  const Ref result = Ref::own(dispatch(f, operands, f->defaults, out));
  if (!result) return nullptr;
  if (!is_tensor(result.get())) {
    return PyErr_Format(PyExc_TypeError, "%s: an operation with one result is wanted in place", f->name_utf8);
  }
  const auto value = TensorRef::share(as_tensor(result.get()));
  if (value.get() != target) {
    if (tracked && !keep_overwritten(value.get()->node, operands.data[0])) return nullptr;
    if (!write_into(f, target, value.get())) return nullptr;
    if (tracked) {
      if (recorder) record_tracked_write(target);
      if (target->view) return write_through(target, value.get()) ? Py_NewRef(as_object(target)) : nullptr;
      hold_node(target, value->node);
      target->output = value->output;
      target->requires_grad = true;
      target->version_seen = target->buffer->version;
      target->buffer->rewritten = true;
    }
  }
  return Py_NewRef(as_object(target));
}

}  // namespace dlcore
