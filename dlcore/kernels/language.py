"""`jit` and `tl` for kernel files: stand-ins that import neither Triton nor anything heavy.

    from dlcore.kernels.language import jit, tl

    LOG2E = tl.constexpr(1.4426950408889634)

    @jit
    def double(x, out, n, BLOCK: tl.constexpr):
        i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        tl.store(out + i, tl.load(x + i, i < n) * 2, i < n)

A kernel is ordinary source until something compiles or interprets it: then it is built again over a copy of its
module's globals in which `tl` is triton.language and every Kernel a JITFunction. What stands at module level may be
kernels, `tl.constexpr(...)` of a number, string or `tl` name, and `tl` names themselves (as in `dtype=tl.float32`).
"""

from __future__ import annotations

import hashlib
import importlib
import linecache
from functools import cached_property
from types import CodeType, FunctionType
from typing import Any

from dlcore.dtypes import DType

__all__ = ["Constant", "Kernel", "Symbol", "jit", "tl"]


class Symbol:
    """A name below triton.language, not looked up yet: ``path`` is "float32" or "math.rsqrt"."""

    def __init__(self, path: str):
        self.path = path

    def __getattr__(self, name: str) -> Symbol:
        if name.startswith("__"):
            raise AttributeError(name)
        return Symbol(f"{self.path}.{name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Symbol) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"tl.{self.path}"

    def resolve(self) -> Any:
        """What Triton calls so."""
        import triton.language

        found: Any = triton.language
        for name in self.path.split("."):
            found = getattr(found, name)
        return found


class Constant:
    """`tl.constexpr`: an annotation, or a constant at module level."""

    def __init__(self, value: Any):
        self.value = value

    def __repr__(self) -> str:
        return f"tl.constexpr({self.value!r})"


class _Language:
    """`tl`: `constexpr`, and any other name as a Symbol."""

    constexpr = Constant

    def __getattr__(self, name: str) -> Symbol:
        if name.startswith("__"):
            raise AttributeError(name)
        return Symbol(name)

    def __repr__(self) -> str:
        return "tl"


tl: Any = _Language()


class Kernel:
    """A Triton function: the kernel itself, or a device function that kernels call.

    ``params``: its parameter names in order; ``constexprs``: those annotated `tl.constexpr`; ``defaults``: name ->
    default; ``hash``: of its source and of everything of ours that it names.
    """

    def __init__(self, function: FunctionType):
        code = function.__code__
        self.function = function
        self.module = function.__module__
        self.params: tuple[str, ...] = code.co_varnames[: code.co_argcount]
        notes = function.__annotations__
        self.constexprs = frozenset(p for p in self.params if notes.get(p) in (Constant, "tl.constexpr"))
        self.defaults: dict[str, Any] = dict(zip(self.params[::-1], (function.__defaults__ or ())[::-1], strict=False))
        self._built: Any = None

    @property
    def name(self) -> str:
        """What tables and errors call it: "softmax.softmax:softmax_kernel"."""
        return f"{self.module.removeprefix('dlcore.kernels.')}:{self.function.__name__}"

    def __repr__(self) -> str:
        return f"<kernel {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _find, (self.module, self.function.__name__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raises TypeError: only Triton calls it."""
        raise TypeError(f"{self.name} is a GPU kernel: it runs as a Launch of a Program, not by calling it")

    @cached_property
    def source(self) -> str:
        """Its text, decorators and comments included."""
        code = self.function.__code__
        last = max(end or line or 0 for line, end, _, _ in code.co_positions())  # getsource takes 20 times as long
        return "".join(linecache.getlines(code.co_filename)[code.co_firstlineno - 1 : last])

    @cached_property
    def hash(self) -> str:
        """Changes when its source does, or that of a kernel or a constant it names, however far away."""
        digest = hashlib.sha256()
        for kernel in sorted(_reachable(self, {}).values(), key=lambda k: k.name):
            digest.update(f"{kernel.name}\n{kernel.source}\n".encode())
            for name, value in sorted(_named(kernel).items()):
                digest.update(f"{name}={value.name if isinstance(value, Kernel) else value!r}\n".encode())
        return digest.hexdigest()

    def triton(self) -> Any:
        """The JITFunction, or under TRITON_INTERPRET=1 the interpreted function. Imports Triton."""
        if self._built is None:
            import triton

            globals_ = dict(self.function.__globals__)
            self._built = triton.jit(_rebuilt(self.function, globals_))  # first: it may call itself
            globals_ |= {name: resolve(value) for name, value in _named(self).items()}
        return self._built


def jit(function: FunctionType) -> Kernel:
    """Decorator: a Triton kernel or device function, compiled only when a Program needs it."""
    return Kernel(function)


def _find(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def resolve(value: Any) -> Any:
    """``value`` with our stand-ins and dtypes replaced by Triton's objects."""
    if isinstance(value, DType):
        return Symbol("int1" if value.kind == "bool" else value.name).resolve()
    if isinstance(value, tuple):
        return tuple(map(resolve, value))
    if isinstance(value, Kernel):
        return value.triton()
    if isinstance(value, Symbol):
        return value.resolve()
    if isinstance(value, Constant):
        import triton.language

        return triton.language.constexpr(resolve(value.value))
    if value is Constant or value is tl:
        import triton.language

        return triton.language.constexpr if value is Constant else triton.language
    return value


def _rebuilt(function: FunctionType, globals_: dict[str, Any]) -> FunctionType:
    globals_["tl"] = resolve(tl)
    defaults = tuple(resolve(d) for d in function.__defaults__ or ()) or None
    copy = FunctionType(function.__code__, globals_, function.__name__, defaults, function.__closure__)
    copy.__annotations__ = {name: resolve(a) for name, a in function.__annotations__.items()}
    copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
    return copy


def _names(code: CodeType) -> set[str]:
    inner = [c for c in code.co_consts if isinstance(c, CodeType)]
    return set(code.co_names).union(*(_names(c) for c in inner))


def _named(kernel: Kernel) -> dict[str, Any]:
    """The kernels and constants of ours that a kernel's body names."""
    found = {n: kernel.function.__globals__.get(n) for n in _names(kernel.function.__code__)}
    return {n: v for n, v in found.items() if v is not tl and isinstance(v, Kernel | Constant | Symbol | int | float)}


def _reachable(kernel: Kernel, seen: dict[str, Kernel]) -> dict[str, Kernel]:
    if kernel.name not in seen:
        seen[kernel.name] = kernel
        for value in _named(kernel).values():
            if isinstance(value, Kernel):
                _reachable(value, seen)
    return seen
