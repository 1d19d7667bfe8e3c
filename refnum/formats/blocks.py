"""Formats whose elements share a scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from ..errors import FormatError
from .checks import choice, whole
from .codebooks import Codebook
from .integers import Exponent, FixedPoint
from .logarithms import Logarithmic
from .minifloats import Minifloat

Element = Minifloat | FixedPoint | Logarithmic | Codebook  #: formats of what shares a scale
Scale = Minifloat | Exponent  #: formats of what is shared
_ELEMENTS: Any = get_args(Element)
#: how amax, the largest magnitude of a block, makes a scale that is a power of two; formulas are in ``mx.scales``
RULES = ("floor", "ceil", "even", "rceil", "bound")
WIDEST = 24  #: bits of an element


@dataclass(frozen=True, slots=True)
class Block:
    """A block format: elements that share a scale, so that a value is element times scale.

    >>> from refnum.formats import e2m1, e8m0, mxfp4
    >>> str(mxfp4), mxfp4.bits, str(Block(e2m1, e8m0, 16))
    ('mxfp4', 4.25, 'block(e2m1,e8m0,16)')

    Scales are e8m0, e4m3 or float32; or powers of two of any width, ``Minifloat(w, 0, signed=False, subnormals=False,
    specials="none")`` with a bias, or `Exponent` in two's complement.

    Standard: OCP Microscaling Formats (MX) 1.0 section 5 for the mx rows.
    """

    element: Element  #: the format of the elements
    scale: Scale  #: the format of the scales
    size: int | tuple[int, int]  #: elements of a block along the axis; or rows and columns of a tile
    rule: str | None = None  #: how amax makes a scale that is a power of two; None: as the profile does

    def __post_init__(self) -> None:
        if not isinstance(self.element, _ELEMENTS) or self.element.width > WIDEST:
            raise FormatError(
                f"Block has no element={self.element}. Allowed are Minifloat, FixedPoint, Logarithmic and Codebook of "
                f"at most {WIDEST} bits. Choose one, for example refnum.e2m1."
            )
        if isinstance(self.element, Minifloat) and not (self.element.signed and self.element.subnormals):
            raise FormatError(
                f"Block has no element={self.element}: elements have a sign and a 0. Choose one such, for example "
                "refnum.e2m1."
            )
        if not _scales(self.scale):
            raise FormatError(
                f"Block has no scale={self.scale}. Choose one of e8m0, e4m3, float32, or a format of powers of two of "
                "at most 8 bits: Exponent(width), or Minifloat(width, 0, signed=False, subnormals=False, "
                "specials='none')."
            )
        if self.rule is not None:
            choice("Block", "rule", self.rule, RULES)
            if not self.by_powers:
                raise FormatError(
                    f"Block has no rule={self.rule!r} for scales of {self.scale}: rules are for powers of two. Leave "
                    "it out."
                )
        for count in self.tile:
            whole("Block", "size", count, 1, 1 << 20)

    @property
    def by_powers(self) -> bool:
        """Whether scales are powers of two."""
        return isinstance(self.scale, Exponent) or self.scale.mantissa == 0

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
        """The row's name or the family's; or else one made of the element, the scale, the size and the rule."""
        from .families import call_of  # families and rows are made of these records
        from .rows import name_of

        rows, columns = self.tile
        size = str(columns) if rows == 1 else f"({rows},{columns})"
        rule = "" if self.rule is None else f",{self.rule!r}"
        element = self.element.spelling if isinstance(self.element, Codebook) else self.element
        return name_of(self) or call_of(self) or f"block({element},{self.scale},{size}{rule})"

    def __str__(self) -> str:
        return self.name


def _scales(scale: object) -> bool:
    """Whether a format can be that of scales."""
    from .rows import e4m3, float32  # rows are made of these records

    if not isinstance(scale, Minifloat):
        return isinstance(scale, Exponent)
    if scale.mantissa == 0:
        powers = not scale.signed and not scale.subnormals and scale.specials in ("none", "fn")
        return powers and scale.width <= 8
    return scale in (e4m3, float32)
