"""From operands to digits of `ExactPartial`: by definition every product is added in words; slices give them sooner.

Let entries of a be multiples of 2**u_a and less than 2**v_a in size, those of b of 2**u_b and 2**v_b, and let there be
fewer than 2**k terms.

1. Every product, and so every sum of some, is a multiple of 2**(u_a + u_b) and less than 2**(v_a + v_b + k). The digits
   from that multiple to one bit more, which is the sign's, hold it: no bit of any term lies outside of them.
2. By definition: a term adds less than 2**34 to a word, which begins below 2**32. After 2**28 terms and a few it is
   less than 2**63, and is carried.
3. By slices: their products are sums of multiples of 2**(u_a + u_b), in float64 without error (`fast.slices`), and less
   than twice the bound of 1. The part of such a sum before the point of a digit, and what is left behind it, are made
   of its own bits: nothing is rounded, and no part is 2**34 or more.
4. Nothing of that leaves the normal floats. Where -460 <= u, v <= 460 and v - u <= 440, sums are 0 or from 2**-920 to
   2**953, the last digit weighs from 2**-951 to 2**953, and in its units sums are at least 2**-913. Squares of entries,
   whose sums bound them, lie between 2**-920 and 2**952.
5. Both forms give the same digits, since a value has one carried form on a grid.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from math import ldexp

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS
from ..core.decode import INFINITE, LIMB, Exact, decode, nonzero
from ..core.exact import WORD, add_to_words, carry_words, product_limbs
from ..fast import slices
from ..fast.chunks import CHUNK, pieces
from ..fast.conversions import INTEGER, converted
from ..fast.vectors import least_unit
from .operands import on_cpu, product_shape, widened
from .partial import MINUS, NAN, OTHER, PLUS, ExactPartial, check_operands

TERMS = 1 << 28  #: terms that may be added in words between two carry passes
SLACK = 4  #: words below and above those that are kept: two limbs, and what `add_to_words` writes zeros to
PIECE = 1 << 20  #: results, and entries of operands, that are worked on at a time by slices
REACH = 460  #: slices serve where entries are multiples of 2**-REACH and below 2**REACH,
SPAN = 440  #: and below 2**SPAN of those multiples: then nothing that is computed leaves the normal float64s


def exact_partial(a: Tensor, b: Tensor, bias: Tensor | None = None) -> ExactPartial:
    """The exact product of matrices ``a @ b + bias``, not rounded yet.

    >>> a, b = torch.tensor([[1e8, 1.0, -1e8]]), torch.ones(3, 1)
    >>> exact_partial(a, b).round(torch.float32)
    tensor([[1.]])
    >>> (exact_partial(a[:, :2], b[:2]) + exact_partial(a[:, 2:], b[2:])).round(torch.float32)
    tensor([[1.]])

    Parameters
    ----------
    a, b : Tensor
        [.., M, K] and [.., K, N] of float16, bfloat16, float32, float64 or torch's float8 dtypes, which may differ;
        batches broadcast, any strides.
    bias : Tensor, optional
        One more term, which broadcasts to the result, of any of these dtypes.

    Returns
    -------
    ExactPartial
        [.., M, N], without a gradient. `ExactPartial.round` gives what ``gemm(a, b, bias, contract="exact/v1")`` does.

    Raises
    ------
    DTypeError
        When a tensor is of another dtype, or tensors are on several devices.
    ShapeError
        When shapes do not match or broadcast, or operands have less than two axes.

    Exactness: bit-exact, the exact sum.
    Rounding: none.
    Special: NaN, Inf and the sign of zeros are kept as flags.
    Standard: contract exact_partial/v1 is refnum's.
    Cost: O(M N K) time, that of a few products in float64; for each result 8 bytes a digit, of which 3 to 6 hold
        float32 data around 1 (at most 20 any float32, 135 any float64); some 150 MB beside them.
    """
    check_operands("exact_partial", a, b, bias)
    x, y = (_plain(side) for side in (a, b))
    total = (products_by_slices if _slices_serve(x, y) else products_by_words)(x, y)
    return total if bias is None else total + values(_plain(bias).expand(total.shape))


def _plain(x: Tensor) -> Tensor:
    """Values in float32 or float64."""
    return widened(x.detach().resolve_neg())


# ---- where digits are needed -----------------------------------------------------------------------

Span = tuple[int, int]  #: (u, v): entries are multiples of 2**u and less than 2**v; u = v where there are none


def _span(x: Tensor) -> Span:
    """Between which powers of 2 the finite entries are that are not 0, as their patterns tell."""
    if not x.numel():
        return 0, 0
    row = FLOAT_ROWS[x.dtype]
    assert row.bias is not None
    assert row.infinity is not None
    magnitude = x.view(INTEGER[x.dtype]) & ((1 << (row.width - 1)) - 1)
    finite = magnitude < row.infinity
    most = int(torch.where(finite, magnitude, 0).amax())
    least = int(torch.where(finite & (magnitude != 0), magnitude, row.infinity).amin())
    low, high = (max(1, pattern >> row.mantissa) - row.bias for pattern in (least, most))
    return (low - row.mantissa, high + 1) if most else (0, 0)


def _products_span(a: Tensor, b: Tensor) -> Span:
    """Where sums of products are."""
    x, y = _span(a), _span(b)
    if x[0] == x[1] or y[0] == y[1]:
        return 0, 0
    return x[0] + y[0], x[1] + y[1] + a.shape[-1].bit_length()


def _blank(shape: torch.Size, span: Span, device: torch.device, *, empty: bool) -> ExactPartial:
    """Sums that are 0, with digits for a span and a sign."""
    least, end = span[0] // WORD, -(-(span[1] + 1) // WORD)
    digits = torch.zeros((end - least if span[0] < span[1] else 0, *shape), dtype=torch.int64, device=device)
    return ExactPartial(digits, least, torch.zeros((4, *shape), dtype=torch.uint8, device=device), empty=empty)


# ---- by words: the definition ----------------------------------------------------------------------


def products_by_words(a: Tensor, b: Tensor) -> ExactPartial:
    """The exact product of operands of float32 or float64."""
    shape = product_shape(a, b)
    total = _blank(shape, _products_span(a, b), a.device, empty=not a.shape[-1])
    digits, flags = _matrices(total)
    x, y = _batched(a, b, shape)
    for place in pieces(flags.shape[1:-1], max(1, CHUNK // shape[-1])) if flags.numel() else ():
        words = _Words(flags[:, *place].shape[1:], total)
        words.add_products(x[place], y[place[:1]])
        digits[:, *place], flags[:, *place] = words.digits(), words.flags
    return total


def values(x: Tensor) -> ExactPartial:
    """Sums [.., M, N] of one term each, float32 or float64 values."""
    total = _blank(x.shape, _span(x), x.device, empty=False)
    digits, flags = _matrices(total)
    x = x.reshape(flags.shape[1:])
    for place in pieces(x.shape[:-1], max(1, CHUNK // x.shape[-1])) if x.numel() else ():
        words = _Words(x[place].shape, total)
        words.add(_decoded(x[place][..., None, :]))
        digits[:, *place], flags[:, *place] = words.digits(), words.flags
    return total


def _batched(a: Tensor, b: Tensor, shape: torch.Size) -> tuple[Tensor, ...]:
    """Both operands with one axis for the batch."""
    count = shape[:-2].numel()
    return tuple(x.expand(*shape[:-2], *x.shape[-2:]).reshape(count, *x.shape[-2:]) for x in (a, b))


def _matrices(total: ExactPartial) -> tuple[Tensor, Tensor]:
    """Digits and flags with one axis for the batch."""
    matrices = total.shape[:-2].numel(), *total.shape[-2:]
    return total.digits.view(len(total.digits), *matrices), total.flags.view(len(total.flags), *matrices)


class _Words:
    """Sums [.., M, N] in words, of which those that a grid has not stay 0."""

    def __init__(self, shape: torch.Size, grid: ExactPartial) -> None:
        # Words begin so far down that the limbs of the least term fit, whose own last bits are 0 there, and end so far
        # up that the limbs of the largest one do, whose own first bits are.
        self.shape, self.kept = shape, slice(SLACK, SLACK + len(grid.digits))
        self.lowest = WORD * (grid.least - SLACK)
        columns = shape.numel()
        self.words = torch.zeros((len(grid.digits) + 2 * SLACK, columns), dtype=torch.int64, device=grid.device)
        self.column = torch.arange(columns, device=grid.device).view(*shape[:-1], 1, shape[-1])
        self.flags = torch.zeros((4, *shape), dtype=torch.uint8, device=grid.device)

    def add_products(self, a: Tensor, b: Tensor) -> None:
        """Add all products of [.., M, K] and [.., K, N]."""
        bits = FLOAT_ROWS[a.dtype].significand_bits, FLOAT_ROWS[b.dtype].significand_bits
        step = max(1, CHUNK // self.shape.numel())
        for start in range(0, a.shape[-1], step):
            part = slice(start, start + step)
            self.add(_product(_decoded(a[..., part, None]), _decoded(b[..., None, part, :]), *bits))
            if (start + step) // TERMS > start // TERMS:
                carry_words(self.words[self.kept])

    def add(self, x: Exact) -> None:
        """Add values [.., M, some terms, N]."""
        finite = ~nonzero(x.kind)
        position = x.exponent + 1 - len(x.significand) * LIMB - self.lowest
        limbs = tuple(limb & finite for limb in x.significand)
        place = position & finite & nonzero(x.significand[0])  # of what is added; zeros go anywhere
        add_to_words(self.words, self.column.expand(x.kind.shape), limbs, x.sign, place)
        infinite, negative_zero = -x.kind >> 63, finite & ~nonzero(x.significand[0]) & x.sign
        masks = torch.stack([x.kind >> 63, infinite & ~x.sign, infinite & x.sign, ~negative_zero])
        self.flags |= (-masks).amax(-2).to(torch.uint8)

    def digits(self) -> Tensor:
        """The digits, carried."""
        words = self.words[self.kept]
        carry_words(words)
        return words.view(-1, *self.shape)


def _decoded(x: Tensor) -> Exact:
    return decode(x.view(INTEGER[x.dtype]), FLOAT_ROWS[x.dtype])


def _product(u: Exact, v: Exact, u_bits: int, v_bits: int) -> Exact:
    """u * v with a leading one at either of its first two bits."""
    zero = ~(nonzero(u.significand[0]) & nonzero(v.significand[0]))
    kind = u.kind | v.kind
    kind = kind | (-(kind & INFINITE) & zero)  # Inf times 0 is NaN
    limbs = product_limbs(u.significand, v.significand, u_bits, v_bits)
    return Exact(u.sign ^ v.sign, limbs, u.exponent + v.exponent + 1, kind)


# ---- by slices -----------------------------------------------------------------------------------


def _slices_serve(*operands: Tensor) -> bool:
    """Whether float64 has room for all that is computed of them."""
    if not on_cpu(*operands):
        return False
    return all(low >= -REACH and high <= min(REACH, low + SPAN) for low, high in map(_span, operands))


def products_by_slices(a: Tensor, b: Tensor) -> ExactPartial:
    """`products_by_words` of operands on the CPU that `slices` serve."""
    shape = product_shape(a, b)
    total = _blank(shape, _products_span(a, b), a.device, empty=not a.shape[-1])
    digits, flags = _matrices(total)
    x, y = _batched(a, b, shape)
    rows = max(1, PIECE // max(1, shape[-1]))
    for i, start in itertools.product(range(len(x)), range(0, shape[-2], rows)):
        place = i, slice(start, start + rows)
        _fill(digits[:, *place], flags[:, *place], total.least, x[place], y[i])
    return total


def _fill(digits: Tensor, flags: Tensor, least: int, a: Tensor, b: Tensor) -> None:
    """Write the digits [digits, M, N] and flags [4, M, N] of a product of two matrices."""
    # 1. Products of slices, in as few float64 matrices as hold their sum, and those in digits.
    totals = slices.Totals(digits.shape[1:])
    for x, y in _parts(a, b, _finite):
        left, right = slices.extent(x, -1, least_unit(x)), slices.extent(y, -2, least_unit(y))
        wide, high = slices.widths(left, right)
        totals.add_product(slices.cut(x, -1, left, wide), slices.cut(y, -2, right, high), slices.add_matmul)
    for part in totals.sums if len(digits) else ():
        _add_floats(digits, part, least)
    carry_words(digits)
    # 2. A sum that is not 0 has a term that is not -0. A sum that is 0 has one exactly if some factors have like signs:
    #    zeros of +0, or others, since terms that are not 0 and cancel are of both signs.
    flags[OTHER] = (digits != 0).any(0)
    if not bool(flags[OTHER].all()):
        flags[OTHER] |= _sum_of_products(_parts(a, b, _signs), flags.shape[1:]) > -a.shape[-1]
    # 3. With all finite values but 0 replaced by 1 or -1, sums are NaN or infinite exactly where those of terms are.
    if not bool(a.isfinite().all() and b.isfinite().all()):
        sums = _sum_of_products(_parts(a, b, _ends), flags.shape[1:])
        flags[NAN], flags[PLUS], flags[MINUS] = sums.isnan(), sums == torch.inf, sums == -torch.inf
        flags[OTHER] |= ~sums.isfinite()


def _add_floats(digits: Tensor, x: Tensor, least: int) -> None:
    """Add float64 values that are multiples of 2**(32 * least) and less than a half in units beyond the last digit."""
    # Each step takes the part before the point, and what is left has fewer bits and the same sign: nothing is rounded.
    rest = x * ldexp(1.0, -WORD * (least + len(digits) - 1))
    for digit in reversed(digits.unbind(0)):
        whole = rest.trunc()
        digit += whole.to(torch.int64)
        rest = rest.sub_(whole).mul_(2.0**WORD)


def _parts(a: Tensor, b: Tensor, form: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Some columns of a and rows of b at a time, in float64."""
    step = max(1, PIECE // max(1, len(a), b.shape[-1]))
    for start in range(0, a.shape[-1], step):
        part = slice(start, start + step)
        yield form(a[:, part]), form(b[part])


def _sum_of_products(parts: Iterator[tuple[Tensor, Tensor]], shape: torch.Size) -> Tensor:
    total = torch.zeros(shape, dtype=torch.float64, device="cpu")
    for x, y in parts:
        total.addmm_(x, y)
    return total


def _finite(x: Tensor) -> Tensor:
    return converted(torch.where(x.isfinite(), x, 0.0), torch.float64)


def _signs(x: Tensor) -> Tensor:
    return 1.0 - 2.0 * (x.view(INTEGER[x.dtype]) < 0).to(torch.float64)


def _ends(x: Tensor) -> Tensor:
    """Infs and NaNs as they are, 1 or -1 for what is finite and not 0."""
    nonzeros = (x.view(INTEGER[x.dtype]) << 1 != 0).to(torch.float64)
    return torch.where(x.isfinite(), _signs(x) * nonzeros, x.to(torch.float64))
