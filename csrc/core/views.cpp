// Views, and the tensors that they are views of: how a tracked write into one reaches the other.
//
// A view that is made while gradients are tracked knows its base, a tensor that is no view itself. A tracked write into
// the view's memory makes the base what `strided_assign` gives of it and of the value, without a copy: the memory holds
// that already. The view becomes what `as_strided` takes of the base. Other views of the base are stale then; they
// become the same once they are used.
#include "core/function.h"
#include "core/layout.h"
#include "core/record.h"
#include "core/tape.h"

namespace dlcore {

Tensor* view_of(Tensor* parent, const Array& array) {
  Tensor* view = new_view(parent, array);
  if (!view) return nullptr;
  view->view = true;
  Tensor* base = parent->view ? parent->base : parent;
  if (grad_enabled && base && !base->weak) view->base = as_tensor(Py_NewRef(as_object(base)));
  return view;
}

bool has_base(const Tensor* view) {  // which lies as its views were made of it
  return view->base && view->base->buffer == view->buffer && view->base->array.contiguous();
}

// (shape, strides, offset) of the view in its base, a contiguous one.
static Ref place_of(const Tensor* view) {
  const Array &a = view->array, &base = view->base->array;
  const int64_t offset = (a.as<const char>() - base.as<const char>()) / item_size(a.dtype);
  const Ref shape = Ref::own(shape_tuple(a.shape, a.ndim)), strides = Ref::own(shape_tuple(a.strides, a.ndim));
  if (!shape || !strides) return Ref();
  return Ref::own(Py_BuildValue("OOL", shape.get(), strides.get(), static_cast<long long>(a.size() ? offset : 0)));
}

static bool becomes_part_of_base(Tensor* view) {
  const Ref place = place_of(view);
  return place && link_result(reinterpret_cast<Function*>(bound.as_strided), &view->base, 1, place.get(), view);
}

bool refresh_view(Tensor* t) {
  if (!has_base(t) || !history_lost(t) || history_lost(t->base) || !t->base->node) return true;
  if (t->requires_grad && !t->node) return true;  // a leaf
  const bool before = std::exchange(grad_enabled, true);
  const bool good = becomes_part_of_base(t);
  grad_enabled = before;
  return good;
}

bool check_base(const char* operation, const Tensor* view) {
  if (!has_base(view)) {
    PyErr_Format(errors.autograd,
                 "%s: writing in place into a view would lose the gradient of what it is a view of, which is not known "
                 "(the view was made under no_grad(), is an argument of a recorded step, or of a tensor with gaps); "
                 "assign with x[index] = value, or use an out-of-place operation", operation);
    return false;
  }
  if (view->base->requires_grad && !view->base->node) {
    PyErr_Format(errors.autograd,
                 "%s: a view of a leaf that requires a gradient cannot be changed in place; use no_grad() or an "
                 "out-of-place operation", operation);
    return false;
  }
  if (history_lost(view->base)) {
    PyErr_Format(errors.autograd,
                 "%s: what this is a view of was changed in place through another tensor that shares its memory, so "
                 "its gradient would be wrong; take the view again after the write, or detach()", operation);
    return false;
  }
  return true;
}

bool write_through(Tensor* view, Tensor* value) {
  TensorRef before = TensorRef::own(alias_with_history(view->base));
  const Ref place = place_of(view);
  if (!before || !place) return false;
  Tensor* operands[2] = {before.get(), value};
  Function* f = reinterpret_cast<Function*>(bound.strided_assign);
  if (!link_result(f, operands, 2, place.get(), view->base)) return false;
  view->buffer->rewritten = true;
  return becomes_part_of_base(view);
}

}  // namespace dlcore
