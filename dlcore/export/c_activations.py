"""The forms in C of the activations in dlcore/ops/units.py: the kernels of csrc/activation/units.inl once more."""

from __future__ import annotations

from dlcore.export.c_forms import C_FORMS
from dlcore.export.c_text import SUFFIX, CForm, Program, Unsupported, literal
from dlcore.export.trace import Call


def _form(template: str, *functions: str) -> CForm:
    """``template`` in {x}, {w} (a second operand), {0}, {1}, ... (attributes), `_CONSTANTS`, ``functions`` by name."""

    def made(p: Program, call: Call) -> list[str]:
        out = p.out(call)
        dtype = out.dtype
        if dtype not in SUFFIX:
            raise Unsupported("of integers it has no form there")
        names = {f: p.use(f"{f}_{SUFFIX[dtype]}") for f in functions}
        numbers = [literal(a, dtype) for a in call.attrs if isinstance(a, int | float)]
        constants = {n: literal(v, dtype) for n, v in _CONSTANTS.items()}

        def body(o: str, x: str, w: str = "") -> str:
            return f"{o} = {template.format(*numbers, x=x, w=w, **names, **constants)};"

        return p.loop(out.shape, [out, *p.operands(call)], body)

    return made


_SCALE, _ALPHA = 1.0507009873554804934, 1.6732632423543772848
_CONSTANTS = {
    "zero": 0, "three": 3, "six": 6, "sixth": 1 / 6.0, "scale": _SCALE, "negative": _SCALE * _ALPHA,
}  # fmt: skip
_RAISED = "({x} + {three} < {zero} ? {zero} : {x} + {three})"
_SIXTH = f"({_RAISED} > {{six}} ? {{six}} : {_RAISED}) * {{sixth}}"

C_FORMS |= {
    "silu": _form("{silu}({x})", "silu"), "mish": _form("{mish}({x})", "mish"),
    "softsign": _form("{softsign}({x})", "softsign"), "logsigmoid": _form("{logsigmoid}({x})", "logsigmoid"),
    "softplus": _form("{softplus}({x}, {0}, {1})", "softplus"),
    "elu": _form("{x} <= {zero} ? {expm1}({x}) * {0} : {x}", "expm1"),
    "celu": _form("{x} <= {zero} ? {expm1}({x} / {0}) * {0} : {x}", "expm1"),
    "selu": _form("{x} <= {zero} ? {expm1}({x}) * {negative} : {x} * {scale}", "expm1"),
    "leaky_relu": _form("{x} > {zero} ? {x} : {x} * {0}"), "prelu": _form("{x} > {zero} ? {x} : {x} * {w}"),
    "relu6": _form("{x} >= {six} ? {six} : {x} <= {zero} ? {zero} : {x}"),
    "hardtanh": _form("{x} >= {1} ? {1} : {x} <= {0} ? {0} : {x}"),
    "hardsigmoid": _form(_SIXTH), "hardswish": _form(f"({{x}} < -{{three}} ? -{{three}} : {{x}}) * ({_SIXTH})"),
    "hardshrink": _form("({x} >= -{0}) & ({x} <= {0}) ? {zero} : {x}"),
    "softshrink": _form("{x} > {0} ? {x} - {0} : {x} < -{0} ? {x} + {0} : {x} * {zero}"),
    "threshold": _form("{x} <= {0} ? {1} : {x}"),
}  # fmt: skip
