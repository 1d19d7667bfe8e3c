"""Number formats as rows of data: frozen records, and the rows that have names.

Nothing here computes, and nothing here imports torch: a format says what a pattern means, ``core`` does the arithmetic.
"""

from __future__ import annotations

import ast
import difflib
import math
from dataclasses import dataclass
from typing import Any

from .errors import FormatError


def _whole(owner: str, name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise FormatError(
            f"{owner} has no {name}={value!r}: {name} is an int from {low} to {high}. Choose {name} in that range."
        )
    return value


def _choice(owner: str, name: str, value: object, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise FormatError(f"{owner} has no {name}={value!r}. Choose one of {', '.join(allowed)}.")
    return str(value)


@dataclass(frozen=True, slots=True)
class Posit:
    """A posit format: two's complement patterns of ``n`` bits with ``es`` exponent bits.

    >>> Posit(16)
    Posit(n=16, es=2)
    >>> Posit(16).max_scale, Posit(16).significand_bits, str(Posit(16, 1))
    (56, 12, 'posit(16,1)')

    Standard: Posit Standard (2022) section 3 for es = 2; any other es is refnum's documented extension.
    """

    n: int  #: width in bits, 2 to 64
    es: int = 2  #: exponent bits, 0 to 4; 2 in the standard

    def __post_init__(self) -> None:
        _whole("Posit", "n", self.n, 2, 64)
        _whole("Posit", "es", self.es, 0, 4)

    @property
    def width(self) -> int:
        """Bits of one pattern."""
        return self.n

    @property
    def container_bits(self) -> int:
        """Bits of the smallest signed integer that holds a pattern."""
        return next(bits for bits in (8, 16, 32, 64) if bits >= self.n)

    @property
    def nar(self) -> int:
        """The pattern of NaR as a signed integer: the least of all."""
        return -(1 << (self.n - 1))

    @property
    def maxpos(self) -> int:
        """The pattern of the largest posit."""
        return (1 << (self.n - 1)) - 1

    @property
    def max_scale(self) -> int:
        """log2 of the largest posit; the smallest positive one is 2**-max_scale."""
        return (self.n - 2) << self.es

    @property
    def max_value(self) -> float:
        """The largest value."""
        return 2.0**self.max_scale

    @property
    def significand_bits(self) -> int:
        """The most bits that a significand has, the hidden one included."""
        return max(1, self.n - 2 - self.es)

    def fraction_bits(self, scale: int) -> int:
        """Fraction bits of posits from 2**scale on; negative where the regime cuts off so many exponent bits."""
        k = scale >> self.es
        return self.n - 3 - self.es - (k if k >= 0 else -k - 1)

    @property
    def quire_bits(self) -> int:
        """Width of the quire: 16n for es = 2 (section 3.4); for other es refnum's W = 4 * max_scale + 32."""
        return 4 * self.max_scale + 32

    @property
    def name(self) -> str:
        """The shortest name that `parse` reads back."""
        if self.es == 2 and self.n in (8, 16, 32, 64):
            return f"posit{self.n}"
        return f"posit({self.n},{self.es})"

    def __str__(self) -> str:
        return self.name


SPECIALS = ("none", "fn", "ieee", "fnuz")
OVERFLOWS = ("saturate", "inf", "nan")


@dataclass(frozen=True, slots=True)
class Minifloat:
    """A sign-magnitude floating-point format of any exponent and mantissa width.

    A magnitude code ``e << mantissa | m`` is worth ``m * 2**(1 - bias - mantissa)`` for e = 0, else
    ``(2**mantissa + m) * 2**(e - bias - mantissa)``.

    >>> Minifloat(4, 3, specials="fn")
    Minifloat(exponent=4, mantissa=3, bias=7, specials='fn', overflow='saturate', signed=True, subnormals=True)
    >>> Minifloat(4, 3, specials="fn").largest
    126

    Standard: IEEE 754-2019 section 3.4 for the binary rows; OCP 8-bit and MX formats 1.0 for the small ones.
    """

    exponent: int  #: exponent bits, 1 to 11
    mantissa: int  #: stored fraction bits, 0 to 52
    bias: int | None = None  #: exponent bias; None: 2**(exponent-1) - 1, one more for fnuz
    specials: str = "ieee"  #: none: all finite; fn: all-ones is NaN; ieee: Inf and NaNs; fnuz: only 10..0, NaN
    overflow: str = "saturate"  #: what a value beyond the largest gives: saturate, inf, nan
    signed: bool = True  #: has a sign bit
    subnormals: bool = True  #: exponent field 0 means subnormal; False: an ordinary exponent (e8m0), so no zero

    def __post_init__(self) -> None:
        _whole("Minifloat", "exponent", self.exponent, 1, 11)
        _whole("Minifloat", "mantissa", self.mantissa, 0, 52)
        _choice("Minifloat", "specials", self.specials, SPECIALS)
        _choice("Minifloat", "overflow", self.overflow, OVERFLOWS)
        if self.bias is None:
            fnuz = self.specials == "fnuz"
            object.__setattr__(self, "bias", (1 << (self.exponent - 1)) - (0 if fnuz else 1))
        _whole("Minifloat", "bias", self.bias, -1100, 1100)
        if self.overflow == "inf" and self.specials != "ieee":
            raise FormatError(
                f"Minifloat cannot overflow to 'inf' with specials={self.specials!r}, which has no Inf code. "
                "Choose overflow='saturate' or 'nan', or specials='ieee'."
            )
        if self.overflow == "nan" and self.specials == "none":
            raise FormatError(
                "Minifloat cannot overflow to 'nan' with specials='none', which has no NaN code. "
                "Choose overflow='saturate'."
            )
        if self.specials == "ieee" and self.mantissa == 0:
            raise FormatError(
                "Minifloat has no NaN code with specials='ieee' and mantissa=0: the top exponent is Inf alone. "
                "Choose specials='fn' or 'none'."
            )
        if self.specials == "fnuz" and not self.signed:
            raise FormatError(
                "Minifloat with specials='fnuz' needs signed=True: its NaN is the pattern of -0. Choose other specials."
            )

    @property
    def width(self) -> int:
        """Bits of one code."""
        return int(self.signed) + self.exponent + self.mantissa

    @property
    def container_bits(self) -> int:
        """Bits of the integer that holds a code: uint8 up to 8 bits, int16, int32, int64 above."""
        return next(bits for bits in (8, 16, 32, 64) if bits >= self.width)

    @property
    def significand_bits(self) -> int:
        """Bits of a normal significand, the hidden one included."""
        return self.mantissa + 1

    @property
    def min_scale(self) -> int:
        """log2 of the smallest normal value."""
        assert self.bias is not None
        return (1 if self.subnormals else 0) - self.bias

    @property
    def infinity(self) -> int | None:
        """The magnitude code of Inf, or None."""
        return ((1 << self.exponent) - 1) << self.mantissa if self.specials == "ieee" else None

    @property
    def nan(self) -> int | None:
        """The code of the NaN that is written (its sign bit clear, except fnuz), or None."""
        top = (1 << (self.exponent + self.mantissa)) - 1
        match self.specials:
            case "fn":
                return top
            case "ieee":
                return (((1 << self.exponent) - 1) << self.mantissa) | (1 << (self.mantissa - 1))
            case "fnuz":
                return top + 1
            case _:
                return None

    @property
    def largest(self) -> int:
        """The magnitude code of the largest finite value."""
        top = (1 << (self.exponent + self.mantissa)) - 1
        match self.specials:
            case "fn":
                return top - 1
            case "ieee":
                return (((1 << self.exponent) - 1) << self.mantissa) - 1
            case _:
                return top

    @property
    def largest_exact(self) -> tuple[int, int]:
        """The largest finite value as (odd integer, exponent): integer * 2**exponent."""
        assert self.bias is not None
        field, fraction = self.largest >> self.mantissa, self.largest & ((1 << self.mantissa) - 1)
        hidden = 1 if field or not self.subnormals else 0
        integer = fraction | (hidden << self.mantissa)
        exponent = (field if hidden else 1) - self.bias - self.mantissa
        zeros = (integer & -integer).bit_length() - 1
        return integer >> zeros, exponent + zeros

    @property
    def max_scale(self) -> int:
        """log2 of the largest finite value, rounded down."""
        integer, exponent = self.largest_exact
        return integer.bit_length() - 1 + exponent

    @property
    def max_value(self) -> float:
        """The largest finite value; inf where it lies beyond float64."""
        integer, exponent = self.largest_exact
        return math.ldexp(integer, exponent) if self.max_scale < 1024 else math.inf

    @property
    def name(self) -> str:
        """The row's name, or the record spelled out."""
        return next((name for name, row in _ROWS.items() if row == self), repr(self))

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """Two's complement integers in units of ``2**-fraction``: elements of block formats.

    >>> FixedPoint(8, 6, symmetric=True)
    FixedPoint(width=8, fraction=6, symmetric=True)
    >>> FixedPoint(8, 6).max_value
    1.984375

    Standard: OCP MX 1.0 section 5.3.4 for INT8, which is ``FixedPoint(8, 6)``.
    """

    width: int  #: bits of one code, 2 to 32
    fraction: int  #: how many of them lie behind the point; may be negative, or more than there are
    symmetric: bool = False  #: the least code is decoded but never written

    def __post_init__(self) -> None:
        _whole("FixedPoint", "width", self.width, 2, 32)
        _whole("FixedPoint", "fraction", self.fraction, -1000, 1000)
        if not isinstance(self.symmetric, bool):
            raise FormatError(f"FixedPoint has no symmetric={self.symmetric!r}. Choose True or False.")

    @property
    def container_bits(self) -> int:
        """Bits of the smallest integer that holds a code."""
        return next(bits for bits in (8, 16, 32) if bits >= self.width)

    @property
    def significand_bits(self) -> int:
        """The most bits that a magnitude that is written has."""
        return self.width - 1

    @property
    def largest(self) -> int:
        """The code of the largest value."""
        return (1 << (self.width - 1)) - 1

    @property
    def largest_exact(self) -> tuple[int, int]:
        """The largest value as (odd integer, exponent): integer * 2**exponent."""
        return self.largest, -self.fraction

    @property
    def max_scale(self) -> int:
        """log2 of the largest value, rounded down."""
        return self.width - 2 - self.fraction

    @property
    def max_value(self) -> float:
        """The largest value."""
        return self.largest * 2.0**-self.fraction

    @property
    def name(self) -> str:
        """The record spelled out."""
        return repr(self)

    def __str__(self) -> str:
        return self.name


Format = Posit | Minifloat  #: formats of single values
Element = Minifloat | FixedPoint  #: formats of what shares a scale


@dataclass(frozen=True, slots=True)
class Block:
    """A block format: elements that share a scale, so that a value is element times scale.

    >>> str(mxfp4), mxfp4.bits, str(Block(e2m1, e8m0, 16))
    ('mxfp4', 4.25, 'block(e2m1,e8m0,16)')

    Standard: OCP Microscaling Formats (MX) 1.0 section 5 for the mx rows.
    """

    element: Element  #: the format of the elements
    scale: Minifloat  #: the format of the scales: e8m0, e4m3 or float32
    size: int | tuple[int, int]  #: elements of a block along the axis; or rows and columns of a tile

    def __post_init__(self) -> None:
        if not isinstance(self.element, (Minifloat, FixedPoint)) or self.element.width > 8:
            raise FormatError(
                f"Block has no element={self.element}. Allowed are Minifloat and FixedPoint of at most 8 bits. "
                "Choose one, for example refnum.e2m1."
            )
        if isinstance(self.element, Minifloat) and not (self.element.signed and self.element.subnormals):
            raise FormatError(
                f"Block has no element={self.element}: elements have a sign and a 0. Choose one such, for example "
                "refnum.e2m1."
            )
        if self.scale not in (e8m0, e4m3, float32):
            raise FormatError(f"Block has no scale={self.scale}. Choose one of e8m0, e4m3, float32.")
        for count in self.tile:
            _whole("Block", "size", count, 1, 1 << 20)

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and columns of a block; the columns lie along the axis."""
        if isinstance(self.size, tuple) and len(self.size) == 2:
            return self.size
        return 1, self.size

    @property
    def packed(self) -> int:
        """Codes in a byte: two of 4 bits, else one."""
        return 2 if self.element.width == 4 else 1

    @property
    def bits(self) -> float:
        """Bits of an element and its part of the scale."""
        rows, columns = self.tile
        return self.element.width + self.scale.width / (rows * columns)

    @property
    def name(self) -> str:
        """The row's name, or else one made of the element, the scale and the size."""
        rows, columns = self.tile
        size = str(columns) if rows == 1 else f"({rows},{columns})"
        spelled = f"block({self.element},{self.scale},{size})"
        return next((name for name, row in _BLOCKS.items() if row == self), spelled)

    def __str__(self) -> str:
        return self.name


posit8, posit16, posit32, posit64 = Posit(8), Posit(16), Posit(32), Posit(64)

e2m1 = Minifloat(2, 1, specials="none")
e2m3 = Minifloat(2, 3, specials="none")
e3m2 = Minifloat(3, 2, specials="none")
e4m3 = Minifloat(4, 3, specials="fn")
e5m2 = Minifloat(5, 2)
e4m3fnuz = Minifloat(4, 3, specials="fnuz")
e5m2fnuz = Minifloat(5, 2, specials="fnuz")
e8m0 = Minifloat(8, 0, bias=127, specials="fn", signed=False, subnormals=False)
float16 = Minifloat(5, 10, overflow="inf")
bfloat16 = Minifloat(8, 7, overflow="inf")
tf32 = Minifloat(8, 10, overflow="inf")
float32 = Minifloat(8, 23, overflow="inf")
float64 = Minifloat(11, 52, overflow="inf")

mxfp4 = Block(e2m1, e8m0, 32)
mxfp6_e2m3 = Block(e2m3, e8m0, 32)
mxfp6_e3m2 = Block(e3m2, e8m0, 32)
mxfp8_e4m3 = Block(e4m3, e8m0, 32)
mxfp8_e5m2 = Block(e5m2, e8m0, 32)
mxint8 = Block(FixedPoint(8, 6, symmetric=True), e8m0, 32)
nvfp4 = Block(e2m1, e4m3, 16)

_BLOCKS: dict[str, Block] = {
    "mxfp4": mxfp4,
    "mxfp6_e2m3": mxfp6_e2m3,
    "mxfp6_e3m2": mxfp6_e3m2,
    "mxfp8_e4m3": mxfp8_e4m3,
    "mxfp8_e5m2": mxfp8_e5m2,
    "mxint8": mxint8,
    "nvfp4": nvfp4,
}

_ROWS: dict[str, Format] = {
    "posit8": posit8,
    "posit16": posit16,
    "posit32": posit32,
    "posit64": posit64,
    "e2m1": e2m1,
    "e2m3": e2m3,
    "e3m2": e3m2,
    "e4m3": e4m3,
    "e5m2": e5m2,
    "e4m3fnuz": e4m3fnuz,
    "e5m2fnuz": e5m2fnuz,
    "e8m0": e8m0,
    "float16": float16,
    "bfloat16": bfloat16,
    "tf32": tf32,
    "float32": float32,
    "float64": float64,
}


def holds(row: Minifloat, fmt: Format) -> bool:
    """Whether every value of the format is a value of the floating-point row.

    >>> holds(float32, Posit(28)), holds(float32, posit32), holds(float64, posit32)
    (True, False, True)
    """
    # The unit of a posit never grows towards 0, so that of the least value, which is the value itself, is the finest.
    finest = -fmt.max_scale if isinstance(fmt, Posit) else fmt.min_scale - fmt.mantissa
    return (
        fmt.significand_bits <= row.significand_bits
        and fmt.max_scale <= row.max_scale
        and finest >= row.min_scale - row.mantissa
    )


def keeps(row: Minifloat, fmt: Format) -> bool:
    """Whether a value of the floating-point row, rounded to the format, is always a value of the row again.

    >>> keeps(float32, posit32), keeps(float32, Posit(20, 3)), keeps(float16, bfloat16)
    (True, False, False)
    """
    # A result can leave the row only by rounding up past its largest value or down below its least one, or by being the
    # value at which the format saturates: elsewhere it is either the value itself or coarser.
    least = row.min_scale - row.mantissa
    if isinstance(fmt, Minifloat):
        if fmt.max_value >= row.max_value:
            unit = max(fmt.min_scale, row.max_scale) - fmt.mantissa  # the step of the format at the row's largest value
            return unit <= row.max_scale - row.mantissa or fmt.max_scale == row.max_scale
        integer, exponent = fmt.largest_exact
        return integer.bit_length() <= row.significand_bits and exponent >= least
    up = fmt.max_scale <= row.max_scale or fmt.fraction_bits(row.max_scale) >= row.mantissa
    cut = max(0, -fmt.fraction_bits(least))  # exponent bits that the posits near the least value lack
    return up and (-fmt.max_scale >= least or least % (1 << cut) == 0)


def named() -> dict[str, Format | Block]:
    """All rows that have a name.

    >>> named()["posit16"], named()["nvfp4"].size
    (Posit(n=16, es=2), 16)
    """
    return {**_ROWS, **_BLOCKS}


def scalars() -> dict[str, Format]:
    """The rows among them that are formats of single values."""
    return dict(_ROWS)


def parse(text: str) -> Format | Element | Block:
    """The format that a text names: the inverse of ``str``.

    >>> parse("posit(16,1)"), parse("nvfp4") == nvfp4, parse("block(e2m1,e8m0,16)").size
    (Posit(n=16, es=1), True, 16)

    Raises
    ------
    FormatError
        When no format has the name.
    """
    try:
        fmt = _read(ast.parse(text, mode="eval").body)
    except FormatError:
        raise
    except (SyntaxError, TypeError, ValueError, RecursionError):
        fmt = None
    if isinstance(fmt, (Posit, Minifloat, FixedPoint, Block)):
        return fmt
    near = difflib.get_close_matches(str(text).lower(), named(), cutoff=0.5)
    hint = f"Near it: {', '.join(near)}. " if near else ""
    raise FormatError(f"No format is named {text!r}. {hint}Choose one of {', '.join(named())}, or posit(n,es).")


def parse_scalar(text: str) -> Format:
    """The format of single values that a text names.

    >>> parse_scalar("posit8")
    Posit(n=8, es=2)

    Raises
    ------
    FormatError
        When no such format has the name.
    """
    fmt = parse(text)
    if isinstance(fmt, (Posit, Minifloat)):
        return fmt
    raise FormatError(
        f"{text} is a format of blocks, not of single values. Choose one of {', '.join(_ROWS)}, or posit(n,es)."
    )


_RECORDS = {"posit": Posit, "block": Block, "Posit": Posit, "Minifloat": Minifloat, "FixedPoint": FixedPoint}


def _read(node: ast.expr) -> Any:
    """A format, or an argument of one, from a syntax tree."""
    match node:
        case ast.Name(id=name) if name in named():
            return named()[name]
        case ast.Call(func=ast.Name(id=name)) if name in _RECORDS:
            keywords = {str(k.arg): _read(k.value) for k in node.keywords}
            return _RECORDS[name](*map(_read, node.args), **keywords)
        case ast.Name():
            raise ValueError(node.id)
        case _:
            return ast.literal_eval(node)
