"""int() of dynamic sizes in a network's code, kept symbolic while the network is traced.

Python's int() must return a number, so that `int(windows.shape[0] / windows_per_image)` makes a dynamic batch
size a constant. During the trace the network's modules get an `int` that keeps such sizes.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import sympy
import torch
from torch import nn
from torch.utils._sympy.functions import FloatTrueDiv, FloorDiv, IntTrueDiv, ToFloat

_NAME = "int"
_OTHERS = frozenset({"torch", "vim_deploy", *sys.stdlib_module_names}) - {"__main__"}


class _SymbolicInt(type):
    """The type of a class that behaves like `int` in calls, isinstance, issubclass and comparisons.

    Unlike `int`, the class returns symbolic sizes as symbolic integers. `lines`: that called it with one.
    """

    lines: dict[str, None]

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        symbol = _symbol(*arguments) if len(arguments) == 1 and not keywords else None
        if symbol is None:
            return builtins.int(*arguments, **keywords)
        caller = sys._getframe(1)
        cls.lines[f"{caller.f_globals['__name__']}:{caller.f_lineno}"] = None
        return symbol

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, builtins.int)

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, builtins.int)

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is builtins.int

    def __hash__(cls) -> builtins.int:
        return hash(builtins.int)


@contextmanager
def symbolic_int(network: nn.Module) -> Iterator[Collection[str]]:
    """Give an `int` that keeps symbolic sizes to the modules of the packages that the network's code is in.

    Yields the lines that called it with such a size, which is empty at first. All modules are restored at the
    end.
    """
    packages = {type(module).__module__.partition(".")[0] for module in network.modules()} - _OTHERS
    changed = [
        vars(module)
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in packages and isinstance(module, ModuleType) and _NAME not in vars(module)
    ]
    replacement = _SymbolicInt(_NAME, (builtins.int,), {"lines": {}})
    try:
        for namespace in changed:
            namespace[_NAME] = replacement
        yield replacement.lines.keys()
    finally:
        for namespace in changed:
            namespace.pop(_NAME, None)


def _symbol(value: Any) -> Any:
    """The symbolic integer part of a symbolic size, or of a quotient of such; None for other values."""
    if isinstance(value, torch.SymInt):
        return value
    if isinstance(value, torch.SymFloat) and (whole := _whole(value.node.expr)) is not None:
        return value.node.shape_env.create_symintnode(whole, hint=builtins.int(value.node.hint))
    return None


def _whole(value: sympy.Expr) -> sympy.Expr | None:
    """The integer that `value`, a quotient of sizes, is rounded down to; None for other expressions.

    Sizes are not negative, and both they and the divisors are far below 2**53, so that the division in
    floating point and the one of integers have the same integer part.
    """
    if value.is_integer:
        return value
    if isinstance(value, ToFloat):
        return value.args[0]
    if isinstance(value, (FloatTrueDiv, IntTrueDiv)):
        dividend, divisor = _whole(value.args[0]), value.args[1]
        if dividend is not None and divisor.is_number and divisor > 0 and float(divisor).is_integer():
            return FloorDiv(dividend, sympy.Integer(builtins.int(divisor)))
    return None
