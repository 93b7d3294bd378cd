"""What a recorded step reads from Python's state, and whether a replay would do the same.

While a step is recorded, its Python code runs under a trace function that sees every instruction before it runs, with
its operands (frames.py, observer.py). The objects themselves are judged, not their names: values by values.py, calls
by judge.py. Whatever is read must be one of three:

- *fresh*: made by this very call, so that it holds nothing from before;
- *known*: immutable, or the engine's own (a tensor's values are read from memory at every replay);
- *watched*: a guard holds what was read, and is tried before each replay (guards.py).

Anything else is a reason not to record, and so is every change of what was there before the call: a replay would not
repeat it. What is not listed as harmless is a reason, too: an unknown instruction, a C function that is not known to be
pure (known.py), an object that finds its attributes in its own way.
"""

from dlcore._observe.observer import Observation, Observer

__all__ = ["Observation", "Observer"]
