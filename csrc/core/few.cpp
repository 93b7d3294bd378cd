// New tensors of a few elements, filled where they are made: a call of a kernel costs twice as much as that. Where a
// recording runs, for every replay must fill them, and on devices, kernels do it: these functions answer None then.
#include <algorithm>
#include <cstring>

#include "core/record.h"
#include "core/ref.h"
#include "core/tensor.h"

namespace dlcore {

static constexpr int64_t kFew = 4096;  // bytes

bool are_few(const Tensor* fresh) {
  return !fresh->device && !recorder && fresh->array.size() * item_size(fresh->array.dtype) <= kFew;
}

template <class T> static void fill_as(const Array& a, const void* element) {
  T value;
  std::memcpy(&value, element, sizeof(T));
  std::fill_n(a.as<T>(), a.size(), value);
}

void fill_few(Tensor* fresh, const void* element) {
  switch (item_size(fresh->array.dtype)) {
    case 1: return fill_as<uint8_t>(fresh->array, element);
    case 2: return fill_as<uint16_t>(fresh->array, element);
    case 4: return fill_as<uint32_t>(fresh->array, element);
    default: return fill_as<uint64_t>(fresh->array, element);
  }
}

template <class T> static void count(const Array& a, double first, double step, double last) {  // as creation/ramp.inl
  T* x = a.as<T>();
  const int64_t n = a.shape[0];
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<T>(i + 1 < n ? first + static_cast<double>(i) * step : last);
}

// few_ramp(count, first, step, last, dtype, device)
PyObject* few_ramp(PyObject*, PyObject* args) {
  PyObject* dtype;
  long long n;
  double first, step, last;
  unsigned char device;
  DType type;
  if (!PyArg_ParseTuple(args, "LdddOb:few_ramp", &n, &first, &step, &last, &dtype, &device)) return nullptr;
  if (device || recorder || n > kFew / 8) Py_RETURN_NONE;
  if (!parse_dtype(dtype, &type)) return nullptr;
  const int64_t shape[1] = {n};
  TensorRef t = TensorRef::own(new_tensor(shape, 1, type));
  if (!t) return nullptr;
  switch (type) {
    case DType::float32: count<float>(t->array, first, step, last); break;
    case DType::float64: count<double>(t->array, first, step, last); break;
    case DType::int32: count<int32_t>(t->array, first, step, last); break;
    case DType::int64: count<int64_t>(t->array, first, step, last); break;
    default: Py_RETURN_NONE;
  }
  return as_object(t.release());
}

// few_eye(rows, columns, diagonal, dtype, device)
PyObject* few_eye(PyObject*, PyObject* args) {
  PyObject* dtype;
  long long shape[2], diagonal;
  unsigned char device;
  DType type;
  if (!PyArg_ParseTuple(args, "LLLOb:few_eye", &shape[0], &shape[1], &diagonal, &dtype, &device)) return nullptr;
  if (device || recorder || shape[0] > kFew || shape[1] > kFew || shape[0] * shape[1] > kFew / 8) Py_RETURN_NONE;
  if (!parse_dtype(dtype, &type)) return nullptr;
  const int64_t lengths[2] = {shape[0], shape[1]};
  const TensorRef one = TensorRef::own(new_scalar(Py_True)), t = TensorRef::own(new_tensor(lengths, 2, type));
  int64_t element;
  if (!one || !t || !store_immediate(one.get(), type, &element, "eye")) return nullptr;
  const int64_t item = item_size(type);
  std::memset(t->array.data, 0, static_cast<size_t>(t->array.size() * item));
  for (int64_t i = std::max<int64_t>(0, -diagonal); i < lengths[0] && i + diagonal < lengths[1]; ++i) {
    std::memcpy(t->array.as<char>() + (i * lengths[1] + i + diagonal) * item, &element, static_cast<size_t>(item));
  }
  return Py_NewRef(t.object());
}

}  // namespace dlcore
