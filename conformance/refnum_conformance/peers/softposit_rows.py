"""SoftPosit behind the rows of the table, with all that it has, right or wrong: a target.

``--refnum-target refnum_conformance.peers.softposit_rows``. What is right of it is a source: `softposit`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..floats import widened
from . import softposit
from .softposit import available, call, family

__all__ = ["available", "has", "to_int", *softposit.OPERATIONS]

Array = NDArray[Any]

__version__ = available()[1]

_FORMAT = ("n", "es", "to_n", "to_es")
#: what it has of the choices of some rows; it has no choice in the others
_CHOICES: dict[str, dict[str, tuple[Any, ...]]] = {
    "encode": {"rounding": ("nearest_even",)},
    "decode": {"dtype": ("float64",)},
    "to_float": {"dtype": ("float64",)},
    "from_int": {"dtype": ("int64",), "sentinel": (True,)},
    "to_int": {"width": (32, 64)},
}
#: (width, signed) -> the integer in the names of its functions, and what C returns: int_fast32_t has 64 bits
_INTEGERS = {(w, s): (f"{'' if s else 'u'}i{w}", "int64" if s else "uint64") for w in (32, 64) for s in (True, False)}


def has(row: str, **options: Any) -> bool:
    """Whether there is a type for the format, and a function for what is asked of it."""
    n, es, *to = (options[name] for name in _FORMAT if name in options)
    kind = family(n, es)
    if kind is None or (to and not softposit.covers("convert", n, es, *to)):
        return False
    return all(options[name] in values for name, values in _CHOICES.get(row, {}).items())


def _tensor(kind: str, operand: Array, dtype: str | None) -> torch.Tensor:
    return torch.from_numpy(widened(operand, dtype) if kind == "f" and dtype else np.ascontiguousarray(operand))


def _row(name: str) -> Callable[..., Array]:
    function = getattr(softposit, name)

    def row(*operands: Array, dtype: str | None = None, **options: Any) -> Array:
        kind = "f" if name == "encode" else "p"
        fmt = [options[key] for key in _FORMAT if key in options]
        result: Array = function(*(_tensor(kind, x, dtype) for x in operands), *fmt).numpy()
        return result.view(np.int64)

    return row


add, sub, mul, div, sqrt = (_row(name) for name in ("add", "sub", "mul", "div", "sqrt"))
nearest_int, fma, quire_dot = (_row(name) for name in ("nearest_int", "fma", "quire_dot"))
encode, decode, to_float, from_int, convert = (
    _row(name) for name in ("encode", "decode", "to_float", "from_int", "convert")
)


def to_int(bits: Array, n: int, es: int, width: int, signed: bool) -> Array:
    """One call an element: there is no loop for it."""
    kind = family(n, es)
    assert kind is not None
    name, result = _INTEGERS[width, signed]
    found = [call(f"{kind.name}_to_{name}", f"{kind.name} -> {result}", x, n=n) for x in bits.tolist()]
    return np.array([int(x) & (2**64 - 1) for x in found], np.uint64).view(np.int64)
