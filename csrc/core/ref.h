// Owning references to Python objects, counted once and given back where their scope ends; and what else of Python is
// bound to a scope: PendingError, WithoutGil.
//
//   Ref list = Ref::own(PyList_New(0));      // takes over a new reference; null after a failed call
//   if (!list) return nullptr;               // the error is set
//   Ref item = Ref::share(borrowed);         // counts a borrowed one
//   return list.release();                   // hands it on
//
// Owned<T> does the same for a struct that begins with PyObject_HEAD. With `auto t = TensorRef::own(new_view(x, a))`,
// t->array is a field, and t.object() is what Python's functions take. To replace a reference, assign another one: the
// old object goes only after the new one is in place, as with Py_SETREF.
#pragma once
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <utility>

namespace dlcore {

template <class T> class Owned {
 public:
  Owned() = default;
  static Owned own(T* object) { return Owned(object); }
  static Owned share(T* object) {
    Py_XINCREF(reinterpret_cast<PyObject*>(object));
    return Owned(object);
  }
  Owned(Owned&& other) noexcept : object_(other.release()) {}
  Owned(const Owned& other) : Owned(share(other.object_)) {}
  Owned& operator=(Owned other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Owned() { Py_XDECREF(object()); }

  T* get() const { return object_; }
  T* operator->() const { return object_; }
  PyObject* object() const { return reinterpret_cast<PyObject*>(object_); }
  T* release() { return std::exchange(object_, nullptr); }
  explicit operator bool() const { return object_; }

 private:
  explicit Owned(T* object) : object_(object) {}
  T* object_ = nullptr;
};

using Ref = Owned<PyObject>;

inline Ref attribute(PyObject* object, const char* name) { return Ref::own(PyObject_GetAttrString(object, name)); }

// Puts the error that is set now aside, and back where its scope ends: for cleaning up in between.
class PendingError {
 public:
  PendingError() { PyErr_Fetch(&type_, &value_, &trace_); }
  ~PendingError() { PyErr_Restore(type_, value_, trace_); }
  PendingError(const PendingError&) = delete;
  PendingError& operator=(const PendingError&) = delete;

 private:
  PyObject *type_, *value_, *trace_;
};

// Other Python threads may run while this lives, and nothing of Python may be touched.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() { PyEval_RestoreThread(state_); }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace dlcore
