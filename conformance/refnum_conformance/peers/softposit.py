"""SoftPosit (the package ``softposit``), driven below its object layer: its extension exports every C function.

Patterns in and out are int64 tensors, right-aligned and sign-extended; a format is ``(n, es)``. Which operation may be
checked by equality, and with which operands left out, is the table `OPERATIONS` (posit.md 5.3); what SoftPosit gets
wrong is pinned in `refnum_conformance.known_deviations.softposit`.

The loops over elements are our own C file beside this one, compiled with gcc on first use into a per-user cache; they
receive SoftPosit's functions as pointers. Without gcc every element is one ctypes call, and `available` says so.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import builds

_SOURCE = Path(__file__).with_name("softposit_loops.c")


# The installed extension, and the loops ------------------------------------------------------------------------------


@functools.cache
def _extension() -> tuple[ctypes.CDLL | None, str]:
    """The shared object of the installed package and its version, or None and the reason."""
    spec = importlib.util.find_spec("_softposit")
    if spec is None or spec.origin is None:
        return None, "softposit is not installed: pip install 'softposit>=0.3.4.4' (it needs a C compiler)"
    return ctypes.CDLL(spec.origin), importlib.metadata.version("softposit")


@functools.cache
def _loops() -> tuple[ctypes.CDLL | None, str]:
    """The compiled loops and who compiled them, or None and the reason."""
    return builds.load(_SOURCE)


def available() -> tuple[bool, str]:
    """Whether SoftPosit can be asked, and how: its version and what loops over the elements; else why not."""
    extension, version = _extension()
    if extension is None:
        return False, version
    loops, reason = _loops()
    how = f"C loops by {reason}" if loops else f"one ctypes call an element, slow: {reason}"
    return True, f"softposit {version}, {how}"


def compiled() -> tuple[bool, str]:
    """Whether the C loops run, which long sweeps and timings need; else why not."""
    extension, reason = _extension()
    if extension is None:
        return False, reason
    loops, reason = _loops()
    return loops is not None, reason


# The posit types of SoftPosit ----------------------------------------------------------------------------------------


def _struct(name: str, word: type, length: int = 0) -> type[ctypes.Structure]:
    field = word * length if length else word
    return type(name, (ctypes.Structure,), {"_fields_": [("v", field)]})


@dataclass(frozen=True)
class Family:
    """One posit type of SoftPosit and the quire that goes with it. The C file has the same table, of macros."""

    name: str  #: as in the names of its functions, and of our loops
    bits: int  #: the size of its word
    posit: type[ctypes.Structure]
    quire: type[ctypes.Structure]
    quire_name: str
    sized: bool = False  #: the functions that round take the width as well
    at_the_top: bool = False  #: our n-bit patterns are shifted to the top of the word

    def write(self, pattern: int, n: int) -> ctypes.Structure:
        """The C argument for an n-bit pattern, whatever stands above its n bits."""
        shift = self.bits - n if self.at_the_top else 0
        return self.posit((pattern << shift) & ((1 << self.bits) - 1))

    def read(self, result: ctypes.Structure, n: int) -> int:
        """The n-bit pattern in a C result, sign-extended."""
        word = result.v - (result.v >> (self.bits - 1) << self.bits)
        return int(word >> (self.bits - n if self.at_the_top else 0))


_POSIT_2, _QUIRE_2 = _struct("posit_2", ctypes.c_uint32), _struct("quire_2", ctypes.c_uint64, 8)

P8 = Family("p8", 8, _struct("posit8", ctypes.c_uint8), _struct("quire8", ctypes.c_uint32), "q8")
P16 = Family("p16", 16, _struct("posit16", ctypes.c_uint16), _struct("quire16", ctypes.c_uint64, 2), "q16")
P32 = Family("p32", 32, _struct("posit32", ctypes.c_uint32), _struct("quire32", ctypes.c_uint64, 8), "q32")
PX2 = Family("pX2", 32, _POSIT_2, _QUIRE_2, "qX2", sized=True, at_the_top=True)
TOP = Family("top", 32, _POSIT_2, _QUIRE_2, "qX2", sized=True)  # pX2 with the patterns already where it wants them

FAMILIES = {family.name: family for family in (P8, P16, P32, PX2, TOP)}
_FIXED = {(8, 0): P8, (16, 1): P16, (32, 2): P32}


def family(n: int, es: int) -> Family | None:
    """The type that serves posit(n, es), or None. posit(32,2) is p32, not pX2, which is wrong near its ends there."""
    return _FIXED.get((n, es)) or (PX2 if es == 2 and 2 <= n <= 31 else None)


# One call ------------------------------------------------------------------------------------------------------------

_SCALARS = {
    "double": ctypes.c_double,
    "int32": ctypes.c_int32,
    "int64": ctypes.c_int64,
    "uint32": ctypes.c_uint32,
    "uint64": ctypes.c_uint64,
}


def call(function: str, signature: str, *operands: float, n: int) -> int | float:
    """One call of an exported C function. Patterns go in by their low n bits and come out sign-extended.

    >>> if available()[0]: assert call("p32_add", "p32 p32 -> p32", 0x40000000, 0x40000000, n=32) == 0x48000000

    Parameters
    ----------
    function : str
        The exported name.
    signature : str
        Kinds of operands and of the result: ``p8 p16 p32 pX2 double int32 int64 uint32 uint64``; a final ``n`` among
        the operands stands for the width.
    n : int
        Width of the patterns.
    """
    extension, reason = _extension()
    if extension is None:
        raise RuntimeError(f"{function} cannot be called: {reason}.")
    kinds, (result,) = (side.split() for side in signature.split("->"))
    entry = extension[function]
    entry.restype = FAMILIES[result].posit if result in FAMILIES else _SCALARS[result]
    values = (*operands, n) if kinds[-1] == "n" else operands
    got = entry(*(_argument(kind, value, n) for kind, value in zip(kinds, values, strict=True)))
    return FAMILIES[result].read(got, n) if result in FAMILIES else got


def _argument(kind: str, value: float, n: int) -> object:
    if kind in FAMILIES:
        return FAMILIES[kind].write(int(value), n)
    return ctypes.c_int(n) if kind == "n" else _SCALARS[kind](value)


# The operations that equality may check ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """How SoftPosit computes one row of the operations table, and where it is right (posit.md 5.3)."""

    loop: str  #: the C loop: its element types are below
    symbols: tuple[str, ...]  #: SoftPosit's functions; {p} and {q} become the names of the posit and the quire
    families: tuple[Family, ...] = (P8, P16, P32, PX2)  #: where it is right
    not_n: tuple[int, ...] = ()  #: widths of pX2 at which it is not
    excluded: Callable[..., Tensor] | None = None  #: (n, es, *operands) -> mask of operands with a known defect


# loop -> dtypes of its operands, dtype of its result
_ELEMENTS = {
    "unary": ((torch.int32,), torch.int32),
    "binary": ((torch.int32, torch.int32), torch.int32),
    "ternary": ((torch.int32, torch.int32, torch.int32), torch.int32),
    "from_double": ((torch.float64,), torch.int32),
    "to_double": ((torch.int32,), torch.float64),
    "from_int": ((torch.int64,), torch.int32),
    "dot": ((torch.int32, torch.int32), torch.int32),
}


def _product_is_2_119(n: int, es: int, a: Tensor, b: Tensor) -> Tensor:
    """p32_mul when abs(a * b) = 2^119: deviation 2. Only two powers of two have such a product."""
    if (n, es) != (32, 2):
        return torch.zeros(torch.broadcast_shapes(a.shape, b.shape), dtype=torch.bool)
    (fraction_a, scale_a), (fraction_b, scale_b) = (torch.frexp(decode(x, n, es)) for x in (a, b))
    powers = (fraction_a.abs() == 0.5) & (fraction_b.abs() == 0.5)
    return powers & (scale_a + scale_b == 121)  # frexp's fraction lies in [1/2, 1): each scale counts one more


def _dot_with_a_defect(n: int, es: int, a: Tensor, b: Tensor) -> Tensor:
    """Dots that SoftPosit may get wrong.

    Those that may overflow quire8, which ends at 2^19; those with a product of 2^36 and more in quire16, deviation 6;
    and those close to half-way between the two largest posits, deviation 13.
    """
    signed = (decode(a, n, es) * decode(b, n, es)).nan_to_num(0.0, 0.0, 0.0)  # NaR is no product
    products = signed.abs()
    if (n, es) == (8, 0):
        return products.sum(-1) >= 2.0**18
    if (n, es) == (16, 1):
        return (products >= 2.0**36).any(-1)
    half_way, error = 2.0 ** (((n - 2) << es) - 2), products.sum(-1) * 2.0**-40
    return (signed.sum(-1).abs() - half_way).abs() <= half_way * 2.0**-20 + error


def _is_nar(n: int, es: int, bits: Tensor) -> Tensor:
    """NaR to double: +inf from all but p32, deviation 7."""
    return (bits == -(1 << (n - 1))) & ((n, es) != (32, 2))


def _is_least_int64(n: int, es: int, i: Tensor) -> Tensor:
    """i64_to_p* of the least integer: by build NaR or 0, deviation 11."""
    return i == torch.iinfo(torch.int64).min


OPERATIONS = {
    "add": Operation("binary", ("{p}_add",)),
    "sub": Operation("binary", ("{p}_sub",)),
    "mul": Operation("binary", ("{p}_mul",), excluded=_product_is_2_119),
    "div": Operation("binary", ("{p}_div",)),
    "sqrt": Operation("unary", ("{p}_sqrt",)),
    "nearest_int": Operation("unary", ("{p}_roundToInt",), not_n=(8,)),  # deviation 5
    "fma": Operation("ternary", ("{p}_mulAdd",), families=(P8, P16)),  # deviations 1 and 4
    "quire_dot": Operation("dot", ("{q}_fdp_add", "{q}_to_{p}"), excluded=_dot_with_a_defect),
    "encode": Operation("from_double", ("convertDoubleTo{P}",)),
    "decode": Operation("to_double", ("convert{P}ToDouble",), excluded=_is_nar),
    "to_float": Operation("to_double", ("convert{P}ToDouble",), excluded=_is_nar),  # decode, under the standard's name
    "from_int": Operation("from_int", ("i64_to_{p}",), excluded=_is_least_int64),
    "convert": Operation("unary", ("pX2_to_pX2",), families=(P32, PX2)),
}


def covers(op: str, n: int, es: int, *target: int) -> bool:
    """Whether equality with SoftPosit means something for this operation on posit(n, es): the matrix of posit.md 5.3.

    >>> covers("add", 16, 2), covers("fma", 32, 2), covers("nearest_int", 8, 2), covers("convert", 32, 2, 16, 2)
    (True, False, False, True)

    Parameters
    ----------
    target : int
        For `convert` the (n, es) of the result: narrowing within es = 2 only.
    """
    row, kind = OPERATIONS.get(op), family(n, es)
    if row is None or kind not in row.families or (kind is PX2 and n in row.not_n):
        return False
    return not target or (target[1] == 2 and 2 <= target[0] <= min(n, 31))


def excluded(op: str, n: int, es: int, *operands: Tensor) -> Tensor:
    """Mask of the elements where SoftPosit has a documented defect, so that it proves nothing."""
    row = OPERATIONS[op]
    if row.excluded is not None:
        return row.excluded(n, es, *operands)
    return torch.zeros(torch.broadcast_shapes(*(operand.shape for operand in operands)), dtype=torch.bool)


# Running a row -------------------------------------------------------------------------------------------------------


def _functions(row: Operation, kind: Family) -> list[str]:
    names = {"p": kind.name, "P": kind.name.upper(), "q": kind.quire_name}
    return [symbol.format(**names) for symbol in row.symbols]


def _pointer(x: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.data_ptr())


def _entry(op: str, kind: Family, n: int, ending: str = "") -> Callable[..., Any]:
    """The C loop of a row with SoftPosit's functions and the width filled in; it takes tensors and numbers."""
    possible, reason = compiled()
    if not possible:
        raise RuntimeError(f"SoftPosit's C loop for {op} cannot run: {reason}.")
    (extension, _), (loops, _), row = _extension(), _loops(), OPERATIONS[op]
    assert extension is not None
    assert loops is not None
    functions = [ctypes.cast(extension[name], ctypes.c_void_p) for name in _functions(row, kind)]
    entry = loops[f"{kind.name}_{row.loop}{ending}"]
    entry.restype = ctypes.c_long if ending else None  # `differences` loops count, the others write

    def run(*arguments: Any) -> Any:
        return entry(*functions, ctypes.c_int(n), *(_pointer(x) if isinstance(x, Tensor) else x for x in arguments))

    return run


def loop(op: str, n: int, es: int) -> Callable[..., None]:
    """The bare C loop, for timing: ``run(*operands, out)`` on contiguous tensors of one length.

    Operands and result are int32 patterns, float64 for the values of `encode` and `decode`, int64 for `from_int`.
    """
    run = _entry(op, _serving(n, es), n)

    def timed(*tensors: Tensor) -> None:
        run(*tensors, ctypes.c_long(tensors[-1].numel()))

    return timed


def differences(op: str, n: int, es: int) -> Callable[..., tuple[int, int]]:
    """Comparison inside C, for long sweeps: ``compare(*operands, got)`` counts what differs from SoftPosit.

    Operands and ``got`` are contiguous, int32 patterns for the binary operations; `encode` reads float32 values.
    The result is how many elements differ and the index of the first one.
    """
    run = _entry(op, _serving(n, es), n, "_differences")

    def compare(*tensors: Tensor) -> tuple[int, int]:
        first = ctypes.c_long(-1)
        different = run(*tensors, ctypes.c_long(tensors[-1].numel()), ctypes.byref(first))
        return different, first.value

    return compare


def _serving(n: int, es: int) -> Family:
    kind = family(n, es)
    if kind is None:
        raise ValueError(f"SoftPosit has no posit({n},{es}), only (8,0), (16,1), (32,2) and (n,2). Ask `covers` first.")
    return kind


def _run_loop(op: str, kind: Family, n: int, operands: list[Tensor], out: Tensor) -> None:
    terms = [ctypes.c_long(operands[0].shape[-1])] if OPERATIONS[op].loop == "dot" else []
    _entry(op, kind, n)(*operands, out, ctypes.c_long(out.numel()), *terms)


def _one_dot(functions: list[str], kind: Family, n: int, a: list[int], b: list[int]) -> int:
    extension, _ = _extension()
    add, to = (extension[name] for name in functions)
    add.restype, to.restype = kind.quire, kind.posit
    quire = kind.quire()
    for x, y in zip(a, b, strict=True):
        quire = add(quire, kind.write(x, n), kind.write(y, n))
    return kind.read(to(quire, ctypes.c_int(n)) if kind.sized else to(quire), n)


_SIGNATURES = {
    "unary": "{p} {n} -> {p}",
    "binary": "{p} {p} {n} -> {p}",
    "ternary": "{p} {p} {p} {n} -> {p}",
    "from_double": "double {n} -> {p}",
    "to_double": "{p} -> double",
    "from_int": "int64 {n} -> {p}",
}


def _run_calls(op: str, kind: Family, n: int, operands: list[Tensor], out: Tensor) -> None:
    row = OPERATIONS[op]
    functions = _functions(row, kind)
    elements = zip(*(operand.tolist() for operand in operands), strict=True)
    if row.loop == "dot":
        results = [_one_dot(functions, kind, n, *pair) for pair in elements]
    else:
        signature = _SIGNATURES[row.loop].format(p=kind.name, n="n" if kind.sized else "")
        results = [call(functions[0], signature, *values, n=n) for values in elements]
    out.copy_(torch.tensor(results, dtype=out.dtype))


def _apply(op: str, kind: Family, n: int, *operands: Tensor) -> Tensor:
    """A row on tensors that broadcast; dots run over the last axis."""
    row = OPERATIONS[op]
    takes, gives = _ELEMENTS[row.loop]
    ready = [x.to(dtype).contiguous() for x, dtype in zip(torch.broadcast_tensors(*operands), takes, strict=True)]
    terms = ready[0].shape[-1:] if row.loop == "dot" else ()
    shape = ready[0].shape[: ready[0].ndim - len(terms)]
    out = torch.empty(shape.numel(), dtype=gives)
    run = _run_calls if _loops()[0] is None else _run_loop
    run(op, kind, n, [x.reshape(shape.numel(), *terms) for x in ready], out)
    return out.reshape(shape).to(torch.float64 if gives.is_floating_point else torch.int64)


def add(a: Tensor, b: Tensor, n: int, es: int) -> Tensor:
    """a + b."""
    return _apply("add", _serving(n, es), n, a, b)


def sub(a: Tensor, b: Tensor, n: int, es: int) -> Tensor:
    """a - b."""
    return _apply("sub", _serving(n, es), n, a, b)


def mul(a: Tensor, b: Tensor, n: int, es: int) -> Tensor:
    """a * b."""
    return _apply("mul", _serving(n, es), n, a, b)


def div(a: Tensor, b: Tensor, n: int, es: int) -> Tensor:
    """a / b."""
    return _apply("div", _serving(n, es), n, a, b)


def sqrt(a: Tensor, n: int, es: int) -> Tensor:
    """The square root."""
    return _apply("sqrt", _serving(n, es), n, a)


def nearest_int(a: Tensor, n: int, es: int) -> Tensor:
    """The nearest integer, ties to even."""
    return _apply("nearest_int", _serving(n, es), n, a)


def fma(a: Tensor, b: Tensor, c: Tensor, n: int, es: int) -> Tensor:
    """a * b + c, rounded once."""
    return _apply("fma", _serving(n, es), n, a, b, c)


def quire_dot(a: Tensor, b: Tensor, n: int, es: int) -> Tensor:
    """Dot products over the last axis, exact in the quire and rounded once."""
    return _apply("quire_dot", _serving(n, es), n, a, b)


def encode(x: Tensor, n: int, es: int) -> Tensor:
    """Floats to patterns."""
    return _apply("encode", _serving(n, es), n, x)


def decode(bits: Tensor, n: int, es: int) -> Tensor:
    """Patterns to float64."""
    return _apply("decode", _serving(n, es), n, bits)


def to_float(bits: Tensor, n: int, es: int) -> Tensor:
    """Patterns to float64."""
    return decode(bits, n, es)


def from_int(i: Tensor, n: int, es: int) -> Tensor:
    """64-bit integers to patterns."""
    return _apply("from_int", _serving(n, es), n, i)


def convert(bits: Tensor, n: int, es: int, to_n: int, to_es: int) -> Tensor:
    """Patterns of posit(n, 2) to posit(to_n, 2), where n <= 32 and to_n <= 31."""
    if not covers("convert", n, es, to_n, to_es):
        raise ValueError(f"SoftPosit narrows within es = 2 only, not posit({n},{es}) to posit({to_n},{to_es}).")
    at_the_top = bits.to(torch.int64) << (32 - n)
    return _apply("convert", TOP, to_n, at_the_top) >> (32 - to_n)
