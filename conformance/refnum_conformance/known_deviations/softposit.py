"""Defects of softposit 0.3.4.4 (posit.md 5.2), each pinned with operands, the answer got, and the right one.

Patterns stand here as SoftPosit prints them, without sign. ``got`` lists every answer that was seen: one where the
answer is fixed, several where it hangs on how the package was built, none where it comes out of uninitialised memory
and differs from run to run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Deviation:
    """One call that comes out wrong, or may."""

    number: int  #: of the defect in posit.md 5.2, which ends with 12
    why: str
    function: str  #: SoftPosit's
    signature: str  #: as `peers.softposit.call` reads it; empty where it takes more than one call
    n: int
    es: int
    operands: tuple[int, ...]  #: patterns; integers for `from_int`
    got: tuple[float, ...]  #: patterns without sign, integers or values
    right: float
    operation: str  #: the row of the operations table that gives ``right``
    options: dict[str, Any] = field(default_factory=dict)  #: what it takes besides the format

    @property
    def takes_patterns(self) -> bool:
        """The operands are patterns."""
        return self.operation != "from_int"

    @property
    def gives_patterns(self) -> bool:
        """The result is a pattern."""
        return not self.operation.startswith("to_")

    def __str__(self) -> str:
        operands = ", ".join(f"{x:#x}" if self.takes_patterns else str(x) for x in self.operands)
        return f"#{self.number} {self.function}({operands}), n = {self.n}"


_OLD = {"p8": (8, 0), "p16": (16, 1), "p32": (32, 2), "pX2": (16, 2)}  # the formats in which the conversions are pinned
_STICKY = "a bit that only the sticky bit remembers is lost (issue 49)"
_POWER = "abs(a * b) = 2^119 exactly (issue 31)"
_ENDS = "one exponent bit is left: a negative shift, undefined in C"
_OVERWRITTEN = "the sticky bit is overwritten"
_FLIPPED = "-maxPos becomes maxPos, at n = 8 only"
_SATURATED = "saturates, where the standard wants the sentinel"

# number, why, function, operation, n, operands, got, right
_ARITHMETIC = (
    (1, _STICKY, "p32_mulAdd", "fma", 32, (0xFFFE8C13, 0x40000000, 0x00021FF6), 0x000202FA, 0x000202FB),
    (1, _STICKY, "p32_mulAdd", "fma", 32, (0x80000004, 0xFFFFFFFF, 0xF77B9A26), 0x0FAF7344, 0x0FAF7345),
    (1, _STICKY, "p32_mulAdd", "fma", 32, (0x40000000, 0x80000004, 0x7FFFFFFD), 0x7FFFFFFC, 0x7FFFFFFD),
    (1, _STICKY, "p32_mulAdd", "fma", 32, (0x3D9F4000, 0x385AB000, 0x3241C39A), 0x3C3DB76C, 0x3C3DB76D),
    (2, _POWER, "p32_mul", "mul", 32, (0x64000000, 0x80000003), 0x80000002, 0x80000001),
    (2, _POWER, "p32_mul", "mul", 32, (0x38000000, 0x7FFFFFFF), 0x7FFFFFFE, 0x7FFFFFFF),
    (2, _POWER, "p32_mul", "mul", 32, (0x70000000, 0x7FFFFFFB), 0x7FFFFFFE, 0x7FFFFFFF),
    (3, _ENDS, "pX2_add", "add", 32, (0x00000001, 0x7FFFFFFD), 0x7FFFFFFC, 0x7FFFFFFD),
    (3, _ENDS, "pX2_sub", "sub", 32, (0x6D6846D4, 0x80000003), 0x7FFFFFFC, 0x7FFFFFFD),
    (3, _ENDS, "pX2_mul", "mul", 32, (0x3FFFFFFF, 0x00000004), 0x00000003, 0x00000004),
    (3, _ENDS, "pX2_div", "div", 32, (0x00000003, 0x3B10B493), 0x00000002, 0x00000003),
    (4, _OVERWRITTEN, "pX2_mulAdd", "fma", 15, (0x3FFD, 0x01D4, 0x000E), 0x3FCA, 0x3FCB),
    (4, _OVERWRITTEN, "pX2_mulAdd", "fma", 16, (0x7680, 0x6128, 0x0001), 0x7B9C, 0x7B9D),
    (4, _OVERWRITTEN, "pX2_mulAdd", "fma", 24, (0x801400, 0x7F8900, 0xFFFFFF), 0x800024, 0x800023),
    (4, _OVERWRITTEN, "pX2_mulAdd", "fma", 24, (0x809C00, 0xF8C17C, 0x000001), 0x7A6654, 0x7A6655),
    (5, _FLIPPED, "pX2_roundToInt", "nearest_int", 8, (0x81,), 0x7F, 0x81),
)

# number, why, family, width of the integer, signed, operand, got, right
_TO_INTEGER = (
    *((8, "NaR becomes 0", p, 32, True, 1 << (n - 1), (0,), -(2**31)) for p, (n, _) in _OLD.items()),
    *((8, "NaR becomes 0", p, 64, True, 1 << (n - 1), (0,), -(2**63)) for p, (n, _) in _OLD.items()),
    (9, _SATURATED, "p32", 64, True, 0x7FFFFFFF, (2**63 - 1,), -(2**63)),
    (9, _SATURATED, "p32", 64, True, 0x80000001, (-(2**63 - 1),), -(2**63)),
    (10, _SATURATED, "p32", 32, False, 0xC0000000, (0,), 2**31),
    (12, "zero-extended below the package's own wrapper", "p32", 32, True, 0x9C000000, (2**32 - 32, -32), -32),
    (12, "zero-extended below the package's own wrapper", "pX2", 32, True, 0x9C00, (2**32 - 32, -32), -32),
)


def _arithmetic() -> list[Deviation]:
    rows = []
    for number, why, function, operation, n, operands, got, right in _ARITHMETIC:
        p = function.split("_")[0]
        signature = f"{f'{p} ' * len(operands)}{'n ' if p == 'pX2' else ''}-> {p}"
        rows.append(Deviation(number, why, function, signature, n, 2, operands, (got,), right, operation))
    return rows


def _to_integer() -> list[Deviation]:
    rows = []
    for number, why, p, width, signed, operand, got, right in _TO_INTEGER:
        # int_fast32_t has 64 bits where this was seen, so every one of these functions returns 64.
        name, result = (f"i{width}", "int64") if signed else (f"ui{width}", "uint64")
        options = {"width": width, "signed": signed}
        function, signature = f"{p}_to_{name}", f"{p} -> {result}"
        rows.append(Deviation(number, why, function, signature, *_OLD[p], (operand,), got, right, "to_int", options))
    return rows


def _to_double() -> list[Deviation]:
    return [
        Deviation(
            number=7,
            why="NaR becomes +inf; p32 gives NaN",
            function=f"convert{p.upper()}ToDouble",
            signature=f"{p} -> double",
            n=n,
            es=es,
            operands=(1 << (n - 1),),
            got=(math.inf,),
            right=math.nan,
            operation="to_float",
            options={"dtype": "float64"},
        )
        for p, (n, es) in _OLD.items()
        if p != "p32"
    ]


def _from_least_integer() -> list[Deviation]:
    return [
        Deviation(
            number=11,
            why="NaR when built with -fwrapv, 0 without (issue 30)",
            function=f"i{width}_to_{p}",
            signature=f"int{width} {'n ' if p == 'pX2' else ''}-> {p}",
            n=n,
            es=es,
            operands=(-(1 << (width - 1)),),
            got=(1 << (n - 1), 0),
            right=1 << (n - 1),
            operation="from_int",
            options={"dtype": f"int{width}", "sentinel": True},
        )
        for p, (n, es) in _OLD.items()
        for width in (32, 64)
    ]


_UNINITIALISED = Deviation(
    number=6,
    why="products of scale above 36 leave a word of quire16 unset; scale 36 shifts by 64",
    function="q16_fdp_add",
    signature="",
    n=16,
    es=1,
    operands=(0x7FF0, 0x7FF0) + 16 * (0x8020, 0x7FE0),  # 2^20 * 2^20 - 16 * (2^18 * 2^18), pair by pair
    got=(),
    right=0,
    operation="quire_dot",
)

_HALF_WAY = "the last step before maxPos, where all exponent bits are cut off: bits far below the half do not count"

# function, n, the pattern of a power of two whose square lies half-way to maxPos, got, right: with minPos^2 it is more
_DOTS = tuple(
    Deviation(13, _HALF_WAY, function, "", n, 2, (root, root, 1, 1), (right - 1,), right, "quire_dot")
    for function, n, root, right in (
        ("q32_to_p32", 32, 0x7FFF6000, 0x7FFFFFFF),
        ("qX2_to_pX2", 31, 0x3FFF9000, 0x3FFFFFFF),
        ("qX2_to_pX2", 16, 0x7F60, 0x7FFF),
        ("qX2_to_pX2", 8, 0x76, 0x7F),
    )
)

DEVIATIONS: tuple[Deviation, ...] = (
    *_arithmetic(),
    _UNINITIALISED,
    *_DOTS,
    *_to_double(),
    *_to_integer(),
    *_from_least_integer(),
)
