// Owning references to Python objects, counted once and given back where their scope ends; and what else of Python is
// bound to a scope: PendingError, WithoutGil; and the borders between C++ and Python: `safe` and `call_python`.
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

#include <unistd.h>

#include <exception>
#include <new>
#include <type_traits>
#include <utility>

// A variable of each thread that every operation looks at: it lies at a fixed distance from the thread's own address and
// has its value from the start, so that no function is called to find it. There is room for a few of them only.
#define PER_THREAD [[gnu::tls_model("initial-exec")]] constinit thread_local

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

// Sets MemoryError; null.
inline PyObject* out_of_memory(const char* name) { return PyErr_Format(PyExc_MemoryError, "%s: out of memory", name); }

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

// Calls something that may run Python code, or wait for the GIL. When the interpreter ends, CPython before 3.14 ends
// other threads (daemons) there by unwinding them; that must not go through frames of C++, which hold references and
// promise not to throw. So such a thread waits for the end of the process here, as it does in CPython 3.14.
template <class F> auto outside(F&& call) {
  try {
    return call();
  } catch (...) {  // no exception of C++: none goes through Python
    for (;;) ::pause();
  }
}

inline PyObject* call_python(PyObject* function, PyObject* const* args, size_t n) {
  return outside([&] { return PyObject_Vectorcall(function, args, n, nullptr); });
}

// safe<function>: the function as Python may call it, with C++ exceptions as Python errors (and null or -1 returned).
template <auto function> struct Safe;
template <class Result, class... Arguments, Result (*function)(Arguments...)> struct Safe<function> {
  static Result call(Arguments... arguments) {
    try {
      return function(arguments...);
    } catch (const std::bad_alloc&) {
      out_of_memory("dlcore");
    } catch (const std::exception& error) {
      PyErr_SetString(PyExc_RuntimeError, error.what());
    }
    if constexpr (std::is_pointer_v<Result>) return nullptr;
    else return static_cast<Result>(-1);
  }
};
template <auto function> inline constexpr auto safe = &Safe<function>::call;

// Other Python threads may run while this lives, and nothing of Python may be touched.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    outside([&] {
      PyEval_RestoreThread(state_);
      return 0;
    });
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace dlcore
