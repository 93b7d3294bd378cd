// What a running Python frame holds: its local variables, cells and value stack, for dlcore/_observe.
//
// CPython has no public way to read the operands of an instruction that is about to run. They lie in the frame, behind
// its fixed fields, whose layout is that of one minor version; dlcore/_observe/frames.py tries it before it is used.
#include "core/record.h"

namespace dlcore {

namespace {

#if PY_VERSION_HEX < 0x030C0000
struct InterpreterFrame {
  PyObject *function, *globals, *builtins, *locals, *code, *object;
  InterpreterFrame* previous;
  void* instruction;
  int top;  // the number of slots in use
  bool entry;
  char owner;
  PyObject* slots[1];  // local variables, cells, free variables, then the value stack
};
#else
struct InterpreterFrame {
  PyObject* code;
  InterpreterFrame* previous;
  PyObject *function, *globals, *builtins, *locals, *object;
  void* instruction;
  int top;  // set only while the frame does not run
  uint16_t return_offset;
  char owner;
  PyObject* slots[1];
};
#endif

struct FrameObject {  // the beginning of PyFrameObject
  PyObject_HEAD
  PyObject* back;
  InterpreterFrame* frame;
};

constexpr bool known = PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030E0000
#ifdef Py_GIL_DISABLED
                       && false
#endif
    ;

const InterpreterFrame* inside(PyObject* frame, const char* name) {
  if (known && PyFrame_Check(frame)) return reinterpret_cast<FrameObject*>(frame)->frame;
  PyErr_Format(PyExc_TypeError, "%s: a frame of CPython 3.11 to 3.13 is needed", name);
  return nullptr;
}

// frame_slot(frame, k): slot k of a running frame, or None where it is empty.
PyObject* frame_slot(PyObject*, PyObject* args) {
  PyObject* frame;
  Py_ssize_t k;
  if (!PyArg_ParseTuple(args, "On:frame_slot", &frame, &k)) return nullptr;
  const InterpreterFrame* f = inside(frame, "frame_slot");
  if (!f) return nullptr;
  const auto* code = reinterpret_cast<const PyCodeObject*>(f->code);
  if (k < 0 || k >= code->co_nlocalsplus + code->co_stacksize) {
    PyErr_Format(PyExc_IndexError, "frame_slot: the frame has no slot %zd", k);
    return nullptr;
  }
  PyObject* value = f->slots[k];
  return Py_NewRef(value ? value : Py_None);
}

// frame_function(frame): the function that the frame runs.
PyObject* frame_function(PyObject*, PyObject* frame) {
  const InterpreterFrame* f = inside(frame, "frame_function");
  return f ? Py_NewRef(f->function ? f->function : Py_None) : nullptr;
}

PyMethodDef methods[] = {
    {"frame_slot", safe<frame_slot>, METH_VARARGS, "frame_slot(frame, k): a local variable or operand, or None."},
    {"frame_function", safe<frame_function>, METH_O, "frame_function(frame): the function that the frame runs."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

bool init_frames(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace dlcore
