// Guards: what a recorded step has read from Python's state, and how to see whether it is as it was.
//
// dlcore/_observe finds them while a step runs; they are tried before each replay. Only `asked` runs Python code, and
// `cls` where a class has changed.
#pragma once
#include "core/ref.h"

namespace dlcore {

enum class GuardKind : int {  // as in dlcore/_observe/guards.py
  entry,     // the value of `key` in the dict `owner`; null: there is none
  item,      // the element of the list `owner` at the index `key`
  cell,      // the contents of the cell `owner`; null: it is empty
  type,      // the class of `owner`, and the dict `key` in which it keeps its attributes; null: it has none
  cls,       // what can be looked up on the class `owner`: its version tag, which rises with every change; `key()` says
             // whether what has been read is the same after all
  elements,  // all elements of the list `owner`: a tuple
  entries,   // all entries of the dict `owner`, in their order: a tuple of keys and values by turns
  code,      // what the function `owner` runs: its code, its defaults, its defaults of keywords
  asked,     // `owner()` is true
};

struct Guard {
  GuardKind kind;
  Ref owner, key, value;
};

// Numbers and texts by value (floats by their bits, for -0.0 is not 0.0), tuples by their parts, the rest by identity.
bool same_value(PyObject* now, PyObject* then);
int holds(Guard& guard);                   // 1 yes, 0 no, -1: with an error set that is no Exception
bool make_guard(PyObject* tuple, Guard& guard);  // of (kind, owner, key, value); false with an error set
bool init_guards(PyObject* module);

}  // namespace dlcore
