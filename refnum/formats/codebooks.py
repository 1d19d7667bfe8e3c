"""Tables of values: whatever is strictly increasing is a format."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from ..errors import FormatError
from .checks import choice, spelled

SIZE = 1 << 16  #: the most values, and one more than the largest code
OVERFLOWS = ("saturate", "propagate", "inf", "nan")
SPECIALS = ("nan", "inf", "-inf")  #: what a code may stand for besides a value, as `float` reads it


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Codebook:
    """A format given by its values: any table that is strictly increasing, of at most 2**16 values.

    >>> ternary = Codebook((-1, 0, 1))
    >>> ternary.width, ternary.max_value, str(ternary)
    (2, 1.0, 'codebook(-1.0,0.0,1.0)')
    >>> signs = Codebook((-1, 1), codes=(1, 0), name="signs")
    >>> signs.codes, str(signs)
    ((1, 0), 'signs')

    Values are rounded by value: to the nearest, a tie to the neighbour with the even code. Where both codes are even a
    tie goes towards 0, where both are odd away from it. -0 is 0, and NaN without a code is what is nearest to 0. Where
    all values have one sign, what lies between 0 and them gives the nearest, and nothing overflows there.

    Standard: none; rows with a name give theirs.
    """

    values: tuple[float, ...]  #: strictly increasing, finite; ints and floats that float64 holds
    codes: tuple[int, ...] | None = None  #: of the values, 0 to 65535, each once; None: 0, 1, 2, ...
    specials: tuple[tuple[str, int], ...] = ()  #: codes of nan, inf and -inf; a mapping will do
    overflow: str | tuple[str, str] = "saturate"  #: what a value beyond the ends gives, or below and above apart: the
    #: end (saturate), the end, but Inf its code (propagate), the code of Inf (inf), that of NaN (nan)
    beyond: tuple[float, float] | None = None  #: where the next values below and above would be: a value rounded to
    #: them overflows; None: the last steps go on. Where both ends saturate it makes no difference
    name: str = ""  #: what `str` gives
    width: int = field(init=False)  #: bits of the largest code
    significand_bits: int = field(init=False)  #: the most bits that a value has
    unit_scale: int = field(init=False)  #: log2 of the unit of which all values are multiples
    zero: int = field(init=False)  #: the place of 0 among the values, or of what is nearest to it

    def __post_init__(self) -> None:
        values = tuple(map(_number, _sequence("values", self.values)))
        if not 1 <= len(values) <= SIZE:
            raise FormatError(f"Codebook got {len(values)} values. Allowed are 1 to {SIZE}. Give so many.")
        for low, high in pairwise(values):
            if not low < high:
                raise FormatError(
                    f"Codebook needs values that are strictly increasing, got {high} behind {low}. Sort them, and give "
                    "each once; codes go along."
                )
        codes = tuple(range(len(values))) if self.codes is None else _sequence("codes", self.codes)
        specials = _specials(self.specials)
        _check_codes(codes, len(values), specials)
        for name, value in {
            "overflow": _overflow(self.overflow, specials),
            "values": values,
            "codes": codes,
            "specials": tuple(sorted(specials.items())),
            "beyond": _beyond(values) if self.beyond is None else _checked_beyond(self.beyond, values),
            "width": max(1, max((*codes, *specials.values())).bit_length()),
            "zero": min(range(len(values)), key=lambda place: abs(values[place])),
            **_bits(values),
        }.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "name", self.name or self._call())

    def _options(self) -> dict[str, object]:
        """What is not as usual, as a call would give it."""
        options: dict[str, object] = {} if self.codes == tuple(range(len(self.values))) else {"codes": self.codes}
        if self.specials:
            options["specials"] = dict(self.specials)
        if self.overflow != "saturate":
            options["overflow"] = self.overflow
        if self.beyond != _beyond(self.values):
            options["beyond"] = self.beyond
        return options

    def _key(self) -> tuple[object, ...]:
        return self.values, self.codes, self.specials, self.overflow, self.beyond

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Codebook) and self._key() == other._key())

    def __hash__(self) -> int:
        return hash((len(self.values), self.values[0], self.values[-1], self.overflow))

    @property
    def overflows(self) -> tuple[str, str]:
        """What values below, and above, the ends give."""
        return (self.overflow, self.overflow) if isinstance(self.overflow, str) else self.overflow

    @property
    def container_bits(self) -> int:
        """Bits of the integer that holds a code: uint8 up to 8 bits, int16 above."""
        return 8 if self.width <= 8 else 16

    @property
    def nan(self) -> int | None:
        """The code of NaN, or None."""
        return dict(self.specials).get("nan")

    @property
    def max_scale(self) -> int:
        """log2 of the largest magnitude, rounded down."""
        return math.frexp(self.max_value)[1] - 1 if self.max_value else 0

    @property
    def max_value(self) -> float:
        """The largest magnitude."""
        return max(abs(self.values[0]), abs(self.values[-1]))

    @property
    def spelling(self) -> str:
        """What `parse` reads anywhere: the name, if it is known there, or else the whole table."""
        from .names import reads  # it knows all records

        return self.name if reads(self.name, self) else self._call(name=self.name)

    def _call(self, **options: object) -> str:
        return spelled("codebook", *self.values, **self._options(), **options)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.spelling


def _sequence(name: str, values: object) -> tuple[float, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise FormatError(f"Codebook needs a sequence for {name}, got {values!r}. Pass a tuple of numbers.")
    return tuple(values)


def _number(value: object) -> float:
    """A finite float64, never -0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < math.inf:
        raise FormatError(f"Codebook has no value {value!r}. Allowed are finite ints and floats. Leave it out.")
    if abs(value) > sys.float_info.max or float(value) != value:
        raise FormatError(
            f"Codebook has no value {value}, which float64 cannot hold. Allowed are the values of float64. Choose one "
            "near it."
        )
    return float(value) + 0.0


def _specials(specials: object) -> dict[str, int]:
    """A mapping, or its items, as the record keeps them."""
    try:
        return dict(specials)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError) as error:
        raise FormatError(
            f"Codebook needs codes by name for specials, got {specials!r}. Pass a mapping, for example {{'nan': 255}}."
        ) from error


def _overflow(overflow: object, specials: Mapping[str, int]) -> str | tuple[str, str]:
    """One word, or one for below and one for above; what they name has a code."""
    words = (overflow, overflow) if isinstance(overflow, str) else overflow
    if not isinstance(words, (tuple, list)) or len(words) != 2:
        raise FormatError(f"Codebook got overflow={overflow!r}. Allowed are a word, or two: what is below, and above.")
    below, above = (choice("Codebook", "overflow", word, OVERFLOWS) for word in words)
    # An Inf for one end will do where the same word is for both: the other end saturates.
    lower = "inf" if below == above else "-inf"
    needed = {"inf": lower, "nan": "nan"}.get(below), {"inf": "inf", "nan": "nan"}.get(above)
    for special in needed:
        if special is not None and special not in specials:
            raise FormatError(
                f"Codebook cannot overflow to {special!r} without a code for it in specials, got {dict(specials)}. "
                "Choose overflow='saturate', or give the code."
            )
    return below if below == above else (below, above)


def _check_codes(codes: tuple[object, ...], count: int, specials: Mapping[str, int]) -> None:
    for name in specials:
        choice("Codebook", "special", name, SPECIALS)
    known = (*codes, *specials.values())
    if len(codes) != count or len(set(known)) != len(known):
        raise FormatError(
            f"Codebook needs a code of its own for each of its {count} values and specials, got {len(codes)} codes and "
            f"{len(specials)} specials, {len(set(known))} different ones. Give each value one."
        )
    for code in known:
        if isinstance(code, bool) or not isinstance(code, int) or not 0 <= code < SIZE:
            raise FormatError(f"Codebook has no code {code!r}. Allowed are ints from 0 to {SIZE - 1}. Choose one.")


def _beyond(values: tuple[float, ...]) -> tuple[float, float]:
    """The next values, if the last steps went on; a table of one value has no steps, and doubles it."""
    first, last = Fraction(values[0]), Fraction(values[-1])
    if len(values) == 1:
        step = abs(first) or Fraction(1)
        return _outwards(first - step, -math.inf), _outwards(last + step, math.inf)
    below, above = 2 * first - Fraction(values[1]), 2 * last - Fraction(values[-2])
    return _outwards(below, -math.inf), _outwards(above, math.inf)


def _outwards(exact: Fraction, end: float) -> float:
    """A float64 that is exact, or the next one towards an end; Inf, which counts 2**1024, beyond the largest."""
    if abs(exact) > Fraction(sys.float_info.max):
        return end
    number = float(exact)
    inwards = number > exact if end < 0 else number < exact
    return math.nextafter(number, end) if inwards else number + 0.0


def _checked_beyond(beyond: tuple[float, float], values: tuple[float, ...]) -> tuple[float, float]:
    steps = tuple(map(_number, _sequence("beyond", beyond)))
    if len(steps) != 2 or not (steps[0] < values[0] and values[-1] < steps[1]):
        raise FormatError(
            f"Codebook needs beyond={beyond!r} on both sides of its values, {values[0]} to {values[-1]}. Give what "
            "would be the next value below, and above."
        )
    return steps


def _bits(values: tuple[float, ...]) -> dict[str, int]:
    """The most bits that a value has, and log2 of the unit of which all are multiples."""
    places = [_place(value) for value in values if value]
    return {
        "significand_bits": max((bits for bits, _ in places), default=1),
        "unit_scale": min((unit for _, unit in places), default=0),
    }


def _place(value: float) -> tuple[int, int]:
    """Bits of the odd integer in a value, and log2 of its unit."""
    fraction, exponent = math.frexp(abs(value))
    integer = int(fraction * 2**53)
    zeros = (integer & -integer).bit_length() - 1
    return 53 - zeros, exponent - 53 + zeros
