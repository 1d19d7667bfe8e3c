"""What records check of their own fields."""

from __future__ import annotations

import math
import operator

from ..errors import FormatError


def whole(owner: str, name: str, value: object, low: int, high: int) -> int:
    """An int in a range."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise FormatError(
            f"{owner} has no {name}={value!r}: {name} is an int from {low} to {high}. Choose {name} in that range."
        )
    return value


def choice(owner: str, name: str, value: object, allowed: tuple[str, ...]) -> str:
    """One of some names."""
    if value not in allowed:
        raise FormatError(f"{owner} has no {name}={value!r}. Choose one of {', '.join(allowed)}.")
    return str(value)


def flag(owner: str, name: str, value: object) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise FormatError(f"{owner} has no {name}={value!r}. Choose True or False.")


def ldexp(x: float, exponent: int) -> float:
    """x * 2**exponent; the exponent is read as an index, so that torch.compile takes it for a constant."""
    return math.ldexp(x, operator.index(exponent))


def spelled(function: str, *values: object, **options: object) -> str:
    """A record as `parse` reads it: its values, and the options that are not as usual.

    >>> spelled("fixed", 8, 6, symmetric=True)
    'fixed(8,6,symmetric=True)'
    """
    return f"{function}({','.join([*map(str, values), *(f'{key}={value!r}' for key, value in options.items())])})"
