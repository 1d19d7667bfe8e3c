"""Exact -> Exact: arithmetic that loses nothing that a later rounding could see.

A significand is a tuple of 62-bit limbs. What leaves it at the lower end is *jammed*: the lowest bit becomes sticky.
The number of limbs is chosen by the caller through `limbs_for`, so that jamming never touches a bit that decides a
rounding.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from .decode import HIDDEN, LIMB, NAN, Exact, Limbs, floor_log2, nonzero

MASK = (1 << LIMB) - 1
DIGIT = LIMB // 2  #: bits of a factor whose products fill one limb
DIGIT_MASK = (1 << DIGIT) - 1


def limbs_for(operand_bits: int, result_bits: int) -> int:
    """Limbs in which operands of so many bits can be added and the sum then be rounded to so many bits.

    Two bits below the operands keep a sum exact when its operands' exponents differ by at most 1; only then can more
    than one leading bit cancel. In all other cases the sum has 62 * limbs - 2 leading bits, the last one sticky, and a
    rounding asks for the bit behind the result and one sticky bit.
    """
    return -(-max(operand_bits + 2, result_bits + 4) // LIMB)


# ---- limbs ---------------------------------------------------------------------------------------


def sticky(x: Tensor) -> Tensor:
    """1 where a non-negative x is not zero."""
    return x.clamp(max=1)


def select(yes: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """a where the mask says yes, else b."""
    return b ^ ((a ^ b) & yes)


def select_exact(yes: Tensor, a: Exact, b: Exact) -> Exact:
    """a where the mask says yes, else b, of as many limbs."""
    significand = tuple(select(yes, u, v) for u, v in zip(a.significand, b.significand, strict=True))
    return Exact(
        select(yes, a.sign, b.sign), significand, select(yes, a.exponent, b.exponent), select(yes, a.kind, b.kind)
    )


def dropped(x: Tensor, count: Tensor | int) -> Tensor:
    """The low ``count`` bits of x, those that x >> count loses."""
    return x ^ (x >> count << count)


def widen(x: Limbs, count: int) -> Limbs:
    """The same significand in at least ``count`` limbs."""
    return x + (torch.zeros_like(x[0]),) * (count - len(x))


def narrow(x: Limbs, count: int) -> Limbs:
    """The first ``count`` limbs, the rest jammed into the last of them."""
    if len(x) <= count:
        return widen(x, count)
    lost = x[count]
    for limb in x[count + 1 :]:
        lost = lost | limb
    return (*x[: count - 1], x[count - 1] | sticky(lost))


def shift_right_jam(x: Limbs, count: Tensor) -> Limbs:
    """x >> count for 0 <= count, what falls out jammed into the lowest bit."""
    if len(x) == 1:
        count = count.clamp(max=LIMB)
        return ((x[0] >> count) | sticky(dropped(x[0], count)),)
    lost = torch.zeros_like(x[0])
    for _ in x[1:]:  # whole limbs first
        whole = (LIMB - 1 - count) >> 63
        lost = lost | (x[-1] & whole)
        moved = (torch.zeros_like(x[0]), *x[:-1])
        x = tuple(select(whole, m, limb) for m, limb in zip(moved, x, strict=True))
        count = count - (whole & LIMB)
    count = count.clamp(max=LIMB)
    shifted = [x[0] >> count]
    for above, limb in pairwise(x):
        shifted.append(((above << (LIMB - count)) & MASK) | (limb >> count))
    lost = lost | dropped(x[-1], count)
    shifted[-1] = shifted[-1] | sticky(lost)
    return tuple(shifted)


def shift_left(x: Limbs, count: Tensor) -> Limbs:
    """x << count for 0 <= count <= 62. What leaves the first of several limbs is lost; from an only one nothing may."""
    shifted = [x[-1] << count if len(x) == 1 else (x[-1] << count) & MASK]
    for limb, below in zip(reversed(x[:-1]), reversed(x[1:]), strict=True):
        shifted.append(((limb << count) & MASK) | (below >> (LIMB - count)))
    return tuple(reversed(shifted))


def normalise(x: Limbs, exponent: Tensor) -> tuple[Limbs, Tensor]:
    """Bring the leading one to bit 61 of the first limb; ``exponent`` is that of a one already there."""
    for _ in x[1:]:  # whole limbs first
        empty = ~nonzero(x[0])
        moved = (*x[1:], torch.zeros_like(x[0]))
        x = tuple(select(empty, m, limb) for m, limb in zip(moved, x, strict=True))
        exponent = exponent - (empty & LIMB)
    left = LIMB - 1 - floor_log2(x[0] | 1)
    return shift_left(x, left), exponent - left


def from_integer(magnitude: Tensor, sign: Tensor, kind: Tensor) -> Exact:
    """The value of a magnitude below 2**64, given by its 64 bits, and a sign."""
    high, low = (magnitude >> 2) & MASK, (magnitude & 3) << (LIMB - 2)
    significand, exponent = normalise((high, low), torch.full_like(magnitude, 63))
    return Exact(sign, significand, exponent, kind)


# ---- arithmetic ----------------------------------------------------------------------------------


def negate(a: Exact) -> Exact:
    """-a."""
    return a._replace(sign=~a.sign)


def add(a: Exact, b: Exact, limbs: int) -> Exact:
    """a + b in ``limbs`` limbs, chosen by `limbs_for`. The exponent of a sum that is 0 says nothing."""
    # A1. Order by exponent and align. Both move down one bit first, which makes room for the carry.
    difference = a.exponent - b.exponent
    swap = difference >> 63
    x, y = widen(a.significand, limbs), widen(b.significand, limbs)
    large = tuple(select(swap, v, u) for u, v in zip(x, y, strict=True))
    small = tuple(v ^ u ^ w for u, v, w in zip(x, y, large, strict=True))
    large = _halve(large)
    small = shift_right_jam(_halve(small), difference.abs())
    # A2. Add as signed numbers. Only where the exponents are equal can the result change sign.
    opposite = a.sign ^ b.sign
    total = _carry(tuple(u + ((v ^ opposite) - opposite) for u, v in zip(large, small, strict=True)))
    flipped = total[0] >> 63
    total = _carry(tuple((u ^ flipped) - flipped for u in total))
    significand, exponent = normalise(total, torch.maximum(a.exponent, b.exponent) + 1)
    return Exact(select(swap, b.sign, a.sign) ^ flipped, significand, exponent, a.kind | b.kind)


def _halve(x: Limbs) -> Limbs:
    """x >> 1 of a significand whose lowest bit is 0, or jammed into the one above it."""
    return (x[0] >> 1, *(((above & 1) << (LIMB - 1)) | (limb >> 1) for above, limb in pairwise(x)))


def _carry(x: Limbs) -> Limbs:
    """Signed limbs -> limbs below 2**62; only the first keeps a sign."""
    carried = list(x)
    for i in range(len(x) - 1, 0, -1):
        carried[i - 1] = carried[i - 1] + (carried[i] >> LIMB)
        carried[i] = carried[i] & MASK
    return tuple(carried)


def multiply(a: Exact, b: Exact, a_bits: int, b_bits: int) -> Exact:
    """a * b, exactly, for significands of at most ``a_bits`` and ``b_bits`` bits."""
    product = product_limbs(a.significand, b.significand, a_bits, b_bits)
    short = 1 - (product[0] >> (LIMB - 1))  # the product of two numbers in [1, 2) lies in [1, 4)
    exponent = a.exponent + b.exponent + 1 - short
    return Exact(a.sign ^ b.sign, shift_left(product, short), exponent, a.kind | b.kind)


def product_limbs(x: Limbs, y: Limbs, x_bits: int, y_bits: int) -> Limbs:
    """The product of two significands, the exponent of its first bit being one above the sum of theirs."""
    xs, ys = _digits(x, x_bits), _digits(y, y_bits)
    if len(xs) == len(ys) == 1:
        return (xs[0] * ys[0],)
    # Schoolbook on 31-bit digits: each product of two digits is cut in halves, so that no column overflows.
    columns = [torch.zeros_like(x[0]) for _ in range(len(xs) + len(ys) + (len(xs) + len(ys)) % 2)]
    for i, u in enumerate(xs):
        for j, v in enumerate(ys):
            p = u * v
            columns[i + j] = columns[i + j] + (p >> DIGIT)
            columns[i + j + 1] = columns[i + j + 1] + (p & DIGIT_MASK)
    for i in range(len(columns) - 1, 0, -1):
        columns[i - 1] = columns[i - 1] + (columns[i] >> DIGIT)
        columns[i] = columns[i] & DIGIT_MASK
    return tuple((high << DIGIT) | low for high, low in zip(columns[::2], columns[1::2], strict=True))


def _digits(x: Limbs, bits: int) -> list[Tensor]:
    """The 31-bit digits, most significant first, that hold the leading ``bits`` bits."""
    halves = [half for limb in x for half in (limb >> DIGIT, limb & DIGIT_MASK)]
    return halves[: -(-bits // DIGIT)]


def divide(a: Exact, b: Exact, bits: int) -> Exact:
    """a / b with a sticky bit, for significands of at most ``bits`` bits; NaN where b is 0."""
    divisor = b.significand[0] | HIDDEN  # a zero divisor becomes 1: its result is not used
    if bits <= DIGIT:
        quotient = _quotient_short(a.significand[0], divisor)
    else:
        quotient = _quotient_long(a.significand[0], divisor, bits)
    short = 1 - (quotient[0] >> (LIMB - 1))  # the quotient of two numbers in [1, 2) lies in (1/2, 2)
    kind = a.kind | b.kind | (~nonzero(b.significand[0]) & NAN)
    return Exact(a.sign ^ b.sign, shift_left(quotient, short), a.exponent - b.exponent - short, kind)


def _quotient_short(x: Tensor, y: Tensor) -> Limbs:
    # Both have 31 bits; the quotient with 32 places behind the point has at most 33. The float64 quotient is right up
    # to 2**-20, so that its integer part is right or 1 too large, and the remainder tells which.
    numerator, divisor = x >> DIGIT << 32, y >> DIGIT
    quotient = (numerator.to(torch.float64) / divisor.to(torch.float64)).to(torch.int64)
    remainder = numerator - quotient * divisor
    too_large = remainder >> 63
    quotient = quotient + too_large
    remainder = remainder + (divisor & too_large)
    return ((quotient << (LIMB - 33)) | sticky(remainder),)


def _quotient_long(x: Tensor, y: Tensor, bits: int) -> Limbs:
    # One bit a step, as on paper. The first may be 0, then come those that a rounding asks for, and a sticky one.
    words, remainder = [], x
    steps = bits + 3
    for start in range(0, steps, LIMB):
        word, count = torch.zeros_like(x), min(LIMB, steps - start)
        for _ in range(count):
            smaller = (remainder - y) >> 63
            remainder = (remainder - (y & ~smaller)) << 1
            word = (word << 1) - ~smaller
        words.append(word << (LIMB - count))
    words[-1] = words[-1] | sticky(remainder)
    return tuple(words)


def square_root(a: Exact, bits: int) -> Exact:
    """The square root of a with a sticky bit, for a significand of at most ``bits`` bits; NaN for a < 0."""
    x = a.significand[0]
    present = nonzero(x)
    x = x | HIDDEN  # a zero becomes 1: its result is masked
    odd = a.exponent & 1
    root = _root_short(x, odd) if bits <= DIGIT - 1 else _root_long(x, odd)
    significand = tuple(limb & present for limb in root)
    return Exact(torch.zeros_like(a.sign), significand, a.exponent >> 1, a.kind | (a.sign & present))


def _isqrt(x: Tensor) -> tuple[Tensor, Tensor]:
    """floor(sqrt(x)) and the remainder of x in [2**60, 2**62): the float64 root is right or off by 1."""
    root = x.to(torch.float64).sqrt().to(torch.int64)
    root = root + ((x - root * root) >> 63)
    remainder = x - root * root
    too_small = (2 * root - remainder) >> 63
    return root - too_small, remainder - ((2 * root + 1) & too_small)


def _root_short(x: Tensor, odd: Tensor) -> Limbs:
    root, remainder = _isqrt(x >> (1 - odd))
    return ((root << DIGIT) | sticky(remainder),)


def _root_long(x: Tensor, odd: Tensor) -> Limbs:
    # P. Zimmermann, "Karatsuba Square Root" (INRIA RR-3805, 1999): the root of the upper half, then one division.
    # The lower half has at most one bit: its first, which goes there where the exponent is even.
    even = 1 - odd
    root, remainder = _isqrt(x >> even)
    numerator = (remainder << DIGIT) + ((x & even) << (DIGIT - 1))
    digit = torch.div(numerator, 2 * root, rounding_mode="floor")
    rest = ((numerator - digit * 2 * root) << DIGIT) - digit * digit
    root = (root << DIGIT) + digit
    too_large = rest >> 63
    rest = rest + ((2 * root - 1) & too_large)
    root = root + too_large
    # (root + 1/2)**2 is no integer, so the next bit is 1 exactly when rest > root.
    return root, (((root - rest) >> 63) & HIDDEN) | sticky(rest)


# ---- long sums -----------------------------------------------------------------------------------

WORD = 32  #: bits of a word of a long sum; words are int64, so that 2**29 additions may wait for a carry pass
WORD_MASK = (1 << WORD) - 1


def add_to_words(words: Tensor, column: Tensor, x: Limbs, sign: Tensor, position: Tensor) -> None:
    """Add (-1)**sign * x * 2**position to columns of ``words`` [count, columns], in place and without carrying.

    ``column``, ``sign``, ``position`` and the limbs have one shape; a column may be named more than once. Position 0 is
    the lowest bit of the first word.
    """
    columns, flat = words.shape[1], words.view(-1)
    for i, limb in enumerate(reversed(x)):
        bit = position + i * LIMB
        shift = bit & (WORD - 1)
        low, high = (limb & WORD_MASK) << shift, (limb >> WORD) << shift
        first = (bit >> 5) * columns + column
        parts = (low & WORD_MASK, (low >> WORD) + (high & WORD_MASK), high >> WORD)
        for j, part in enumerate(parts):
            flat.scatter_add_(0, (first + j * columns).reshape(-1), ((part ^ sign) - sign).reshape(-1))


def carry_words(words: Tensor) -> None:
    """Carry, in place: every word but the last gets 32 bits, the last keeps the sign."""
    for i in range(len(words) - 1):
        words[i + 1] += words[i] >> WORD
        words[i] &= WORD_MASK


def from_words(words: Tensor, lowest: int, kind: Tensor) -> Exact:
    """The value of carried words, whose lowest bit is worth 2**lowest."""
    # W1. The magnitude, in words that are not negative; the last one holds the sign alone.
    sign = words[-1] >> 63
    magnitude = (words ^ sign) - sign
    carry_words(magnitude)
    # W2. The first word that is not zero, the three below it, and whether anything follows those.
    index = torch.arange(len(words), device=words.device).view(-1, *(1,) * sign.dim())
    first = ((magnitude != 0) * index).amax(0)
    below = (((magnitude != 0) & (index < first - 3)).any(0)).to(torch.int64)
    a, b, c, d = (magnitude.gather(0, (first - i).clamp(min=0)[None])[0] * (first >= i) for i in range(4))
    # W3. Their 128 bits in limbs.
    limbs = (a << 30 | b >> 2, (b & 3) << 60 | c << 28 | d >> 4, (d & 15) << 58 | below)
    significand, exponent = normalise(limbs, lowest + WORD * first + WORD - 1)
    return Exact(sign, significand, exponent, kind)
