"""Power series on fixed-point integers: an argument t and a value v of p places stand for t / 2**p and v / 2**p.

Each function returns a value and an error: it is off by at most so many units in its last place. p is at least 36. The
argument may be much smaller than 1: the number of terms goes with its own bits, and so does the relative error.

A floor (``>>`` or ``//``) errs by less than 1 unit. A unit is that of the places in use.
"""

from __future__ import annotations

from math import isqrt

_SPARE = 4  #: places beyond those that halving an argument costs


def expm1(t: int, p: int) -> tuple[int, int]:
    """e**t - 1 for |t| <= 0.6."""
    # E1. s = t / 2**r, exactly, with q = p + r + 4 places.
    r = _halvings(t, p, 2)
    q, s = p + r + _SPARE, t << _SPARE
    # E2. Terms s**n / n!. A term has the error of the one before, times |s| / n <= 0.3, and less than 1.5 from two
    #     floors: less than 3 in all. The last one is at most 1, truly at most 4, and those after it are less than
    #     4 (0.3 + 0.3**2 + ...) < 2 together. The sum of n terms, the first of which is exact, errs by less than 3n.
    total, term, n = s, s, 1
    while not -2 < term < 2:
        n += 1
        term = (term * s >> q) // n
        total += term
    # E3. e**2s - 1 = v (2 + v) with v = e**s - 1. An error d becomes less than 2 d (1 + |v| + d) + 1. The product of
    #     the factors 1 + |v| is at most e**(|t| / 2 + |t| / 4 + ...) <= e**0.6 < 1.83; with the d, each below 2**-20,
    #     it is less than 2. So the error ends below 2**r * 2 * (3n + 1), and after the floor below (3n + 1) / 8 + 1.
    for _ in range(r):
        total = (total << 1) + (total * total >> q)
    return total >> q - p, n + 2


def log1p(t: int, p: int) -> tuple[int, int]:
    """log(1 + t) for -0.3 <= t <= 0.52."""
    # L1. log(1 + t) = 2 log sqrt(1 + t). sqrt(1 + t) - 1 has a derivative below 0.6: errors stay below 1 / 0.4 = 2.5.
    r = _halvings(t, p, 3)
    q, s = p + r + _SPARE, t << _SPARE + r
    one = 1 << q
    for _ in range(r):
        s = isqrt((one + s) << q) - one
    # L2. log(1 + s) = 2 atanh(z), z = s / (2 + s), -0.18 <= z <= 0.21: the floor of z makes an error of at most 2.1,
    #     that of s one of at most 2.5 / 0.7 < 3.6.
    z = (s << q) // (2 * one + s)
    total, n = _arctangent(z, q, 1)
    # L3. In all 2 (2n + 1) + 2.1 + 3.6 < 4n + 8, times 2**r, and with a floor: (4n + 8) / 16 + 1.
    return total >> _SPARE - 1, n + 2


def atan(t: int, p: int) -> tuple[int, int]:
    """The arc tangent for |t| <= 1.01."""
    # A1. atan(t) = 2 atan(t / (1 + sqrt(1 + t**2))), which has a derivative of at most 1/2. The floor of the root costs
    #     less than 0.3, the one of the quotient 1: errors stay below 1.3 / 0.5 < 3.
    r = _halvings(t, p, 3)
    q, s = p + r + _SPARE, t << _SPARE + r
    one = 1 << q
    for _ in range(r):
        s = (s << q) // (one + isqrt((one << q) + s * s))
    # A2. For p >= 36 now |s| <= 0.27.  A3. 2n + 1 + 3, times 2**r, and a floor: (2n + 4) / 16 + 1.
    total, n = _arctangent(s, q, -1)
    return total >> _SPARE, n + 2


def _arctangent(z: int, q: int, sign: int) -> tuple[int, int]:
    """The sum of sign**k z**(2k + 1) / (2k + 1), |z| <= 0.27, and the number n of terms: it errs by at most 2n + 1."""
    # S1. A power has the error of the one before, times z**2 <= 0.075, and 1 for each of two floors, the first of which
    #     is multiplied by |z|: less than 2.  S2. A term has a third of that, and 1 for a floor: less than 2; the first
    #     one is exact.  S3. The last power is at most 1, truly at most 3, and all that follows it less than 1.
    square = z * z >> q
    total, power, n = z, z, 1
    while not -2 < power < 2:
        power = sign * (power * square >> q)
        total += power // (2 * n + 1)
        n += 1
    return total, n


def sin(t: int, p: int) -> tuple[int, int]:
    """The sine for |t| <= 0.8."""
    return _alternating(t, t, p, 2)


def cos(t: int, p: int) -> tuple[int, int]:
    """The cosine for |t| <= 0.8."""
    return _alternating(1 << p, t, p, 1)


def _alternating(first: int, t: int, p: int, k: int) -> tuple[int, int]:
    """first * (1 - t**2 / (k (k + 1)) + t**4 / (k (k + 1) (k + 2) (k + 3)) - ...), |first| <= 1."""
    # T1. A term has the error of the one before, times t**2 / (k (k + 1)) <= 0.32, at most 2 / (k (k + 1)) <= 1 for the
    #     floor of the square and that of the product, and 1 for that of the quotient: less than 3.
    # T2. The last one is at most 1, truly at most 4, and all that follows less than 4 * 0.32 / 0.68 < 2.
    square = t * t >> p
    total, term, n = first, first, 1
    while not -2 < term < 2:
        term = -(term * square >> p) // (k * (k + 1))
        total += term
        k += 2
        n += 1
    return total, 3 * n + 2


def mills(u: int, p: int) -> tuple[int, int]:
    """The integral of e**-s / sqrt(1 + 2us) over s >= 0, for 0 <= u <= 1 / 2p: the sum of (-1)**n (2n - 1)!! u**n."""
    # M1. Taylor's remainders of (1 + 2us)**-1/2 are at most the first omitted term; so are those of the integral.
    # M2. The ratio (2n - 1) u of terms is at most 1/2 as long as 2n <= p + 1. The term of n = (p + 1) / 2 is less than
    #     (2n / 2pe)**n * sqrt(2) < 2**(-1.2 p): the loop, which floors, has ended by then. So a term errs by less than
    #     2, and the first omitted one is less than 2 as well.
    total = term = 1 << p
    n = 0
    while term:
        n += 1
        term = (term * (2 * n - 1) * u) >> p
        total += -term if n & 1 else term
    return total, 2 * n + 2


def half_normal(v: int, p: int) -> tuple[int, int]:
    """The sum S of v**n / (2n + 1)!!: with v = x**2, x S times the normal density at x is its integral from 0 to x."""
    # H1. The ratios v / (2n + 1) of terms c(n) fall. So an error of 2 from floors in term j has become 2 c(n) / c(j) <=
    #     2 c(n - j) in term n: no term errs by more than 2 S.
    # H2. The loop ends where ratios are at most 1/2: what follows is at most the last term, 1 + 2 S.
    total = term = 1 << p
    n = 0
    while term > 1 or (2 * n + 1) << p < 2 * v:
        n += 1
        term = (term * v >> p) // (2 * n + 1)
        total += term
    # H3. So far 2 S n + 2 S + 1; an argument that is less than 1 unit larger adds at most S. And S >= 1.
    return total, (2 * n + 4) * ((total >> p) + 2)


def _halvings(t: int, p: int, share: int) -> int:
    """How often to halve an argument: about as often as saves as many terms of its series."""
    return max(0, isqrt(p) // share + t.bit_length() - p)
