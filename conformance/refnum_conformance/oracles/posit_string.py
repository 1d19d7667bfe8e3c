"""Posits rounded on their bit string, written out as text (posit.md 2.3).

Sign aside, that is the regime, the exponent, the fraction and a sticky bit; the first n - 1 characters stay, the others
decide.
"""

from __future__ import annotations

from collections.abc import Callable

from .reals import Real

RANDOM_BITS = 16


def rounded(x: Real, n: int, es: int, rounding: str = "nearest_even", random_bits: int = 0) -> int:
    """The pattern of x."""
    if x.sign == 0:
        return 0
    significand, exponent, more = x.leading(n + es + RANDOM_BITS)
    scale = exponent + significand.bit_length() - 1
    farthest = (n - 2) << es
    if scale >= farthest:
        magnitude = (1 << (n - 1)) - 1
    elif scale < -farthest:
        magnitude = 1
    else:
        body = _string(scale, significand, es) + ("1" if more else "")
        body = body.ljust(n + RANDOM_BITS, "0")
        head, tail = body[: n - 1], body[n - 1 :]
        up = RULES[rounding](head[-1], tail, x.sign < 0, random_bits & 0xFFFF)
        magnitude = max(1, int(head, 2) + up)
    return magnitude if x.sign > 0 else -magnitude


def _string(scale: int, significand: int, es: int) -> str:
    k = scale >> es
    regime = "1" * (k + 1) + "0" if k >= 0 else "0" * -k + "1"
    exponent = format(scale - (k << es), f"0{es}b") if es else ""
    return regime + exponent + format(significand, "b")[1:]


#: rounding -> whether the head goes up by 1, from its last bit, the tail, the sign and the random bits
RULES: dict[str, Callable[[str, str, bool, int], bool]] = {
    "nearest_even": lambda last, tail, negative, r: tail[0] == "1" and (last == "1" or "1" in tail[1:]),
    "nearest_away": lambda last, tail, negative, r: tail[0] == "1",
    "toward_zero": lambda last, tail, negative, r: False,
    "toward_positive": lambda last, tail, negative, r: "1" in tail and not negative,
    "toward_negative": lambda last, tail, negative, r: "1" in tail and negative,
    "to_odd": lambda last, tail, negative, r: "1" in tail and last == "0",
    "stochastic": lambda last, tail, negative, r: int(tail[:RANDOM_BITS], 2) > r,
}
