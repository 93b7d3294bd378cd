// x[index] and x[index] = value of ints, slices, Ellipsis and None, of integer tensors, arrays and lists that stand side
// by side, and of one mask. What is more, wrong or out of range goes to dlcore/_indexing.py, which also words the errors.
#include "core/indexing.h"

#include <algorithm>
#include <cstring>

#include "core/batch.h"
#include "core/function.h"
#include "core/record.h"
#include "core/stand_in.h"
#include "core/tape.h"
#include "core/traced.h"

namespace dlcore {

namespace {

// ---- parsing ------------------------------------------------------------------------------------------------------
// What an int or a slice takes of an axis: `count` places from `start` on, or one (count < 0), without the axis.
struct Entry {
  Py_ssize_t start, count, step;
};
bool plain_entry(PyObject* item, int64_t n, Entry* entry) {
  if (PyLong_CheckExact(item)) {
    int overflow;
    const long long i = PyLong_AsLongLongAndOverflow(item, &overflow);
    *entry = {static_cast<Py_ssize_t>(i < 0 ? i + n : i), -1, 1};
    return !overflow && i >= -n && i < n;
  }
  if (!PySlice_Check(item)) return false;
  const auto* s = reinterpret_cast<PySliceObject*>(item);
  for (PyObject* part : {s->start, s->stop, s->step})
    if (part != Py_None && !PyLong_CheckExact(part)) return false;
  Py_ssize_t start, stop, step;
  if (PySlice_Unpack(item, &start, &stop, &step) < 0) {  // a step of 0
    PyErr_Clear();
    return false;
  }
  const Py_ssize_t count = PySlice_AdjustIndices(n, &start, &stop, step);
  *entry = {count ? start : 0, count, count > 1 ? step : 1};  // a step that is not taken may have been cut to fit
  return true;
}

bool is_array(PyObject* item) {
  if (PyLong_CheckExact(item) || PySlice_Check(item)) return false;
  return is_tensor(item) || PyList_CheckExact(item) || reinterpret_cast<PyObject*>(Py_TYPE(item)) == bound.ndarray;
}

// A view of ints, walks and new axes; axes that are not mentioned stay whole.
struct Walks {
  static constexpr int kMost = 2 * kMaxDims;
  Entry entries[kMost];
  bool fresh[kMost];  // a new axis
  int n = 0;          // of them

  bool add(const Entry& entry, bool is_fresh = false) {
    if (n == kMost) return false;
    fresh[n] = is_fresh;
    entries[n++] = entry;
    return true;
  }
};

// An index in parts: a view, and what gathers from it along neighbouring axes.
struct Parsed : Walks {
  TensorRef arrays[kMaxDims];
  int n_arrays = 0;
  int axis = 0;           // of the view, where the first of the arrays stands
  bool whole = true;      // the view is the tensor itself
  bool mask = false;      // the one array is a mask

  // False, with an error or without one, where Python must look at it.
  bool parse(const Tensor* t, PyObject* index) {
    const bool several = PyTuple_CheckExact(index);
    const Py_ssize_t count = several ? PyTuple_GET_SIZE(index) : 1;
    PyObject* const* items = several ? &PyTuple_GET_ITEM(index, 0) : &index;
    if (count > kMost) return false;
    int used = 0, gaps = 0, arrays_given = 0;
    for (Py_ssize_t k = 0; k < count; ++k) {
      if (items[k] == Py_None) continue;
      if (items[k] == Py_Ellipsis) {
        ++gaps;
        continue;
      }
      ++used;
      if (is_array(items[k]) && ++arrays_given && !take_array(t, items[k], used)) return false;
    }
    const Array& a = t->array;
    if (used > a.ndim || gaps > 1) return false;
    return place(a, items, count, a.ndim - used, arrays_given);
  }

 private:
  // `used` grows by the axes of a mask.
  bool take_array(const Tensor* t, PyObject* item, int& used) {
    if (n_arrays == kMaxDims || mask) return false;
    TensorRef found;
    if (is_tensor(item)) found = TensorRef::share(as_tensor(item));
    else if (recorder || t->device) return false;
    else found = TensorRef::own(PyList_CheckExact(item) ? listed(item, DType::float32) : copied_array(item));
    if (!found || found->weak || is_float(found->array.dtype)) return false;
    if (found->array.dtype == DType::bool_) {
      mask = true;
      if (n_arrays || !found->array.ndim) return false;
      used += found->array.ndim - 1;
    }
    arrays[n_arrays++] = std::move(found);
    return true;
  }

  bool place(const Array& a, PyObject* const* items, Py_ssize_t count, int rest, int arrays_given) {
    int at = 0, out = 0, met = 0;      // the axis of the tensor, that of the view, arrays gone by
    bool started = false, ended = false;  // the run of arrays, and of ints among them
    const auto keep_whole = [&](int axes) {
      for (int d = 0; d < axes; ++d, ++at, ++out)
        if (!add({0, static_cast<Py_ssize_t>(a.shape[at]), 1})) return false;
      return true;
    };
    for (Py_ssize_t k = 0; k < count; ++k) {
      PyObject* item = items[k];
      if (arrays_given && is_array(item)) {
        if (ended) return false;
        if (!met) axis = out;
        started = true;
        if (!keep_whole(mask ? arrays[0]->array.ndim : 1)) return false;
        ++met;
        continue;
      }
      if (item == Py_Ellipsis) {
        ended = started;
        if (!keep_whole(rest)) return false;
        continue;
      }
      if (item == Py_None) {
        ended = started;
        whole = false;
        ++out;
        if (!add({}, true)) return false;
        continue;
      }
      Entry entry;
      if (!plain_entry(item, a.shape[at], &entry) || !add(entry)) return false;
      const bool one = entry.count < 0;
      if (arrays_given && one && ended) return false;  // ints go with the arrays: all stand side by side, or else
      (one ? started : ended) = one || started;
      whole = whole && !one && entry.start == 0 && entry.step == 1 && entry.count == a.shape[at];
      ++at;
      out += !one;
    }
    return true;
  }
};

// The index of the view as the operation `slice` takes it.
PyObject* entries_of(const Parsed& parsed) {
  Ref found = Ref::own(PyTuple_New(parsed.n));
  for (int k = 0; found && k < parsed.n; ++k) {
    const Entry& e = parsed.entries[k];
    PyObject* item = parsed.fresh[k] ? Py_NewRef(Py_None)
                     : e.count < 0  ? PyLong_FromSsize_t(e.start)
                                    : Py_BuildValue("nnn", e.start, e.count, e.step);
    if (!item) return nullptr;
    PyTuple_SET_ITEM(found.get(), k, item);
  }
  return found.release();
}

// ---- views --------------------------------------------------------------------------------------------------------
// The view that `slice` gives (dlcore/ops/slicing.py), where nothing has to be kept of the call; null, perhaps without an
// error, where it has too many axes.
Tensor* view_at(Tensor* t, const Walks& walks) {
  Array view;
  view.dtype = t->array.dtype;
  int ndim = 0, axis = 0;
  int64_t offset = 0;
  const auto add = [&](int64_t length, int64_t stride) {
    if (ndim == kMaxDims) return false;
    view.shape[ndim] = length;
    view.strides[ndim++] = stride;
    return true;
  };
  for (int k = 0; k < walks.n; ++k) {
    if (walks.fresh[k]) {
      if (!add(1, 0)) return nullptr;
      continue;
    }
    const Entry& e = walks.entries[k];
    const int64_t stride = t->array.strides[axis++];
    offset += e.start * stride;
    if (e.count >= 0 && !add(e.count, e.count > 1 ? e.step * stride : stride)) return nullptr;
  }
  for (; axis < t->array.ndim; ++axis)
    if (!add(t->array.shape[axis], t->array.strides[axis])) return nullptr;
  view.ndim = static_cast<uint8_t>(ndim);
  view.data = t->array.as<char>() + offset * item_size(view.dtype);
  return view_of(t, view);
}

bool keeps_nothing(const Tensor* t) { return !recorder && !trace && !is_batched(t) && !wanted(t); }

PyObject* view_by(Tensor* t, const Parsed& parsed) {
  if (keeps_nothing(t)) {
    Tensor* view = view_at(t, parsed);
    if (view || PyErr_Occurred()) return as_object(view);
  }
  const Ref entries = Ref::own(entries_of(parsed));
  PyObject* operands[2] = {as_object(t), entries.get()};
  return entries ? PyObject_Vectorcall(bound.slice, operands, 2, nullptr) : nullptr;
}

// ---- gathering ----------------------------------------------------------------------------------------------------
// The positions that several arrays mean together, in the axes that they index laid out as one.
Ref joined_positions(const Parsed& parsed, const Array& view) {
  const Ref arrays = Ref::own(PyList_New(parsed.n_arrays));
  const Ref lengths = Ref::own(shape_tuple(view.shape + parsed.axis, parsed.n_arrays));
  if (!arrays || !lengths) return Ref();
  for (int k = 0; k < parsed.n_arrays; ++k)
    PyList_SET_ITEM(arrays.get(), k, Py_NewRef(parsed.arrays[k].object()));
  PyObject* operands[2] = {arrays.get(), lengths.get()};
  return Ref::own(PyObject_Vectorcall(bound.ravel_index, operands, 2, nullptr));
}

Ref with_joined_axes(const Parsed& parsed, Tensor* view) {
  const Array& a = view->array;
  int64_t shape[kMaxDims];
  int ndim = 0;
  for (int d = 0; d < a.ndim; ++d) {
    if (d > parsed.axis && d < parsed.axis + parsed.n_arrays) shape[ndim - 1] *= a.shape[d];
    else shape[ndim++] = a.shape[d];
  }
  const Ref lengths = Ref::own(shape_tuple(shape, ndim));
  PyObject* operands[2] = {as_object(view), lengths.get()};
  return lengths ? Ref::own(PyObject_Vectorcall(bound.reshape, operands, 2, nullptr)) : Ref();
}

PyObject* take_at(PyObject* view, PyObject* positions, int axis) {
  auto* take = reinterpret_cast<Function*>(bound.take);
  Tensor* operands[2] = {as_tensor(view), as_tensor(positions)};
  if (!read_signature(take)) return nullptr;
  if (!axis) return call(take, operands, 2, take->defaults);
  const Ref attrs = Ref::own(Py_BuildValue("(i)", axis));
  return attrs ? call(take, operands, 2, attrs.get()) : nullptr;
}

PyObject* gather(Tensor* view, const Parsed& parsed) {
  if (parsed.n_arrays == 1) return take_at(as_object(view), parsed.arrays[0].object(), parsed.axis);
  const Ref positions = joined_positions(parsed, view->array);
  const Ref joined = positions ? with_joined_axes(parsed, view) : Ref();
  return joined ? take_at(joined.get(), positions.get(), parsed.axis) : nullptr;
}

bool fits_mask(const Array& view, const Parsed& parsed) {
  const Array& mask = parsed.arrays[0]->array;
  return std::equal(mask.shape, mask.shape + mask.ndim, view.shape + parsed.axis);
}

// view[mask]; null, without an error, where Python must do it.
PyObject* select(Tensor* view, const Parsed& parsed) {
  Tensor* mask = parsed.arrays[0].get();
  const bool plain = keeps_nothing(view) && counts_here(mask) && !view->device && fits_mask(view->array, parsed);
  return plain ? masked_elements(view, mask, parsed.axis) : nullptr;
}

// A tensor of whole numbers, which `take` takes.
bool is_positions(PyObject* index) {
  if (!is_tensor(index) || as_tensor(index)->weak) return false;
  const DType dtype = as_tensor(index)->array.dtype;
  return !is_float(dtype) && dtype != DType::bool_;
}

// Null, without an error, where Python must look at it.
PyObject* subscript_quickly(Tensor* t, PyObject* index) {
  if (t->weak) return nullptr;
  if (is_positions(index) && t->array.ndim) return take_at(as_object(t), index, 0);
  if (grad_enabled && t->base && !refresh_view(t)) return nullptr;
  Walks one;
  Entry entry;
  if (t->array.ndim && keeps_nothing(t) && plain_entry(index, t->array.shape[0], &entry) && one.add(entry)) {
    return as_object(view_at(t, one));
  }
  Parsed parsed;
  if (!parsed.parse(t, index)) return nullptr;
  if (!parsed.n_arrays) return view_by(t, parsed);
  const Ref view = parsed.whole ? Ref::share(as_object(t)) : Ref::own(view_by(t, parsed));
  if (!view) return nullptr;
  return parsed.mask ? select(as_tensor(view.get()), parsed) : gather(as_tensor(view.get()), parsed);
}

// ---- assigning ----------------------------------------------------------------------------------------------------
bool is_number(PyObject* value) { return PyFloat_CheckExact(value) || PyLong_CheckExact(value) || PyBool_Check(value); }

// Whether the view's memory holds `value` already, and its history: x[0] += 1 assigns what was written.
bool is_there(const Tensor* view, PyObject* value) {
  if (!is_tensor(value)) return false;
  const Tensor* v = as_tensor(value);
  return v->base && v->base == view->base && v->array.dtype == view->array.dtype &&
         same_array(v->array, view->array) && v->requires_grad == view->requires_grad && view->array.size() > 0;
}

// view[mask] = number: of each element what is there or the number, without positions.
PyObject* fill_masked(Tensor* view, const Parsed& parsed, PyObject* value) {
  auto* where = reinterpret_cast<Function*>(bound.where);
  if (!is_number(value) || !is_float(view->array.dtype) || !fits_mask(view->array, parsed)) return nullptr;
  if (!read_signature(where) || !check_written(view, "setitem")) return nullptr;
  Array spread = parsed.arrays[0]->array;  // with axes of length 1 for those behind it
  const int behind = view->array.ndim - parsed.axis - spread.ndim;
  for (int k = 0; k < behind; ++k) {
    spread.shape[spread.ndim] = 1;
    spread.strides[spread.ndim++] = 0;
  }
  const TensorRef mask = TensorRef::own(new_view(parsed.arrays[0].get(), spread));
  const TensorRef number = mask ? TensorRef::own(new_scalar(value)) : TensorRef();
  if (!number) return nullptr;
  Tensor* operands[3] = {mask.get(), number.get(), view};
  const Ref made = Ref::own(call(where, operands, 3, where->defaults, view));
  return made.object() == as_object(view) ? Py_NewRef(Py_None) : nullptr;
}

PyObject* put_at(Tensor* view, const Parsed& parsed, PyObject* value) {
  if (parsed.axis) return nullptr;
  const int ndim = parsed.arrays[0]->array.ndim + view->array.ndim - parsed.n_arrays;
  if (is_tensor(value) && as_tensor(value)->array.ndim > ndim) return nullptr;
  const bool several = parsed.n_arrays > 1;
  const Ref positions = several ? joined_positions(parsed, view->array) : Ref::share(parsed.arrays[0].object());
  const Ref axes = positions && several ? Ref::own(PyLong_FromLong(parsed.n_arrays)) : Ref();
  PyObject* operands[4] = {as_object(view), positions.get(), value, axes.get()};
  return positions ? PyObject_Vectorcall(bound.put, operands, axes ? 4 : 3, nullptr) : nullptr;
}

// The element of a view of one, as `assign` stores it.
PyObject* store_one(Tensor* view, PyObject* value) {
  int64_t stored;
  const TensorRef number = TensorRef::own(new_scalar(value));
  const DType dtype = view->array.dtype;
  if (!number || !check_written(view, "setitem") || !store_immediate(number.get(), dtype, &stored, "setitem")) {
    return nullptr;
  }
  std::memcpy(view->array.data, &stored, static_cast<size_t>(item_size(dtype)));
  bump(view);
  return Py_NewRef(Py_None);
}

// Null, perhaps without an error, where Python must do it; else an object without meaning.
PyObject* assign_quickly(Tensor* t, PyObject* index, PyObject* value) {
  if (t->weak || (grad_enabled && t->base && !refresh_view(t)) || !keeps_nothing(t)) return nullptr;
  if (is_tensor(value)) {
    const Tensor* v = as_tensor(value);
    if (v->weak || !keeps_nothing(v) || v->device != t->device) return nullptr;
  } else if (!is_number(value)) {
    return nullptr;
  }
  Parsed parsed;
  if (!parsed.parse(t, index)) return nullptr;
  for (int k = 0; k < parsed.n_arrays; ++k)
    if (is_batched(parsed.arrays[k].get()) || parsed.arrays[k]->device != t->device) return nullptr;
  const TensorRef view = parsed.whole ? TensorRef::share(t) : TensorRef::own(view_at(t, parsed));
  if (!view) return nullptr;
  if (parsed.mask) return fill_masked(view.get(), parsed, value);
  if (parsed.n_arrays) return put_at(view.get(), parsed, value);
  if (is_tensor(value) && as_tensor(value)->array.ndim > view->array.ndim) return nullptr;
  if (is_there(view.get(), value)) return Py_NewRef(Py_None);
  if (is_number(value) && view->array.size() == 1 && !view->device && !examiner) return store_one(view.get(), value);
  return call_inplace(reinterpret_cast<Function*>(bound.assign), view.get(), &value, 1);
}

}  // namespace

PyObject* subscript(PyObject* self, PyObject* index) {
  const bool noted = begin_call("getitem");
  PyObject* found = subscript_quickly(as_tensor(self), index);
  if (noted) end_call();
  if (found || !python_answers()) return found;
  PyObject* args[2] = {self, index};
  return call_python(bound.getitem, args, 2);
}

int assign_subscript(PyObject* self, PyObject* index, PyObject* value) {
  if (!value) {
    PyErr_SetString(PyExc_TypeError, "elements of a tensor cannot be deleted");
    return -1;
  }
  if (Ref::own(assign_quickly(as_tensor(self), index, value))) return 0;
  if (!python_answers()) return -1;
  PyObject* args[3] = {self, index, value};
  return Ref::own(call_python(bound.setitem, args, 3)) ? 0 : -1;
}

}  // namespace dlcore
