"""Posits by the standard's own words: decoding, and rounding between the two neighbours of a value (posit.md 2.1, 2.2).

Every rule compares the value with a longer posit, the lower neighbour with more bits behind it; nothing here cuts bits.
"""

from __future__ import annotations

from functools import lru_cache

from .reals import Dyadic, Real


@lru_cache(maxsize=1 << 17)
def decode(pattern: int, n: int, es: int) -> Dyadic | None:
    """The value of a pattern, or None for NaR.

    >>> decode(0x4C, 8, 2).fraction(), decode(0x80, 8, 2)
    (Fraction(3, 1), None)
    """
    bits = pattern & ((1 << n) - 1)
    if bits == 0:
        return Dyadic(0, 0)
    if bits == 1 << (n - 1):
        return None
    if bits >> (n - 1):
        m, e = decode((1 << n) - bits, n, es) or Dyadic(0, 0)
        return Dyadic(-m, e)
    body = format(bits, f"0{n - 1}b")
    run = len(body) - len(body.lstrip(body[0]))
    k = run - 1 if body[0] == "1" else -run
    rest = body[run + 1 :]  # behind the bit that ends the run, if any
    exponent, fraction = rest[:es].ljust(es, "0"), rest[es:]
    scale = (k << es) + int("0" + exponent, 2)
    return Dyadic(int("1" + fraction, 2), scale - len(fraction))


def value(pattern: int, n: int, es: int) -> Dyadic:
    """The value of a pattern that is not NaR."""
    x = decode(pattern, n, es)
    if x is None:
        raise ValueError(f"{pattern:#x} is NaR in posit({n},{es}) and has no value.")
    return x


def rounded(
    x: Real, n: int, es: int, rounding: str = "nearest_even", random_bits: int = 0, near: int | None = None
) -> int:
    """The pattern of x. ``near`` is a guess of the result: it saves a search for neighbours and decides nothing."""
    if x.sign == 0:
        return 0
    maxpos = (1 << (n - 1)) - 1
    if x.compare(value(maxpos, n, es)) >= 0:
        magnitude = maxpos
    elif x.compare(value(1, n, es)) <= 0:
        magnitude = 1
    else:
        u = _lower_neighbour(x, n, es, None if near is None else abs(near))
        magnitude = u + RULES[rounding](x, u, n, es, random_bits)
    return magnitude if x.sign > 0 else -magnitude


def _lower_neighbour(x: Real, n: int, es: int, near: int | None) -> int:
    """The pattern u with u <= x < u + 1, for minpos < x < maxpos."""
    low, high = 1, (1 << (n - 1)) - 1  # low <= x < high
    for guess in () if near is None else (near - 1, near, near + 1):
        if low < guess < high:
            if x.compare(value(guess, n, es)) >= 0:
                low = guess
            else:
                high = guess
    while high - low > 1:
        middle = (low + high) // 2
        if x.compare(value(middle, n, es)) >= 0:
            low = middle
        else:
            high = middle
    return low


def _beyond(x: Real, u: int, more: int, count: int, n: int, es: int) -> int:
    """How x compares with the posit u of n bits followed by ``count`` more bits."""
    return x.compare(value((u << count) | more, n + count, es))


def _exact(x: Real, u: int, n: int, es: int) -> bool:
    return x.compare(value(u, n, es)) == 0


def _nearest_even(x: Real, u: int, n: int, es: int, random_bits: int) -> bool:
    side = _beyond(x, u, 1, 1, n, es)
    return side > 0 or (side == 0 and u % 2 == 1)


def _nearest_away(x: Real, u: int, n: int, es: int, random_bits: int) -> bool:
    return _beyond(x, u, 1, 1, n, es) >= 0


def _toward_zero(x: Real, u: int, n: int, es: int, random_bits: int) -> bool:
    return False


def _toward_positive(x: Real, u: int, n: int, es: int, random_bits: int) -> bool:
    return x.sign > 0 and not _exact(x, u, n, es)


def _toward_negative(x: Real, u: int, n: int, es: int, random_bits: int) -> bool:
    return x.sign < 0 and not _exact(x, u, n, es)


def _to_odd(x: Real, u: int, n: int, es: int, random_bits: int) -> bool:
    return u % 2 == 0 and not _exact(x, u, n, es)


def _stochastic(x: Real, u: int, n: int, es: int, random_bits: int) -> bool:
    # floor(frac * 2**16) > r says that x has reached u followed by the 16 bits of r + 1; no x reaches 2**16.
    least = (random_bits & 0xFFFF) + 1
    return least < 1 << 16 and _beyond(x, u, least, 16, n, es) >= 0


#: rounding -> whether the magnitude goes up from its lower neighbour u
RULES = {
    "nearest_even": _nearest_even,
    "nearest_away": _nearest_away,
    "toward_zero": _toward_zero,
    "toward_positive": _toward_positive,
    "toward_negative": _toward_negative,
    "to_odd": _to_odd,
    "stochastic": _stochastic,
}
