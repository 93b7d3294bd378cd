// An owning reference to a Python object: counted once, given back where its scope ends.
//
//   Ref list = Ref::own(PyList_New(0));      // takes over a new reference; null after a failed call
//   if (!list) return nullptr;               // the error is set
//   Ref item = Ref::share(borrowed);         // counts a borrowed one
//   return list.release();                   // hands it on
#pragma once
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <utility>

namespace dlcore {

class Ref {
 public:
  Ref() = default;
  static Ref own(PyObject* object) { return Ref(object); }
  static Ref share(PyObject* object) { return Ref(Py_XNewRef(object)); }
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref(const Ref& other) : object_(Py_XNewRef(other.object_)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() { Py_XDECREF(object_); }

  PyObject* get() const { return object_; }
  PyObject* release() { return std::exchange(object_, nullptr); }
  explicit operator bool() const { return object_; }

 private:
  explicit Ref(PyObject* object) : object_(object) {}
  PyObject* object_ = nullptr;
};

inline Ref attribute(PyObject* object, const char* name) { return Ref::own(PyObject_GetAttrString(object, name)); }

}  // namespace dlcore
