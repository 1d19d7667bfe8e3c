"""Kernels with planted bugs, written by hand in numpy and Python: what `testing.diagnose` must name, or not name."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

import refnum
from refnum import Posit, mx
from refnum.testing import cases

Result = Tensor | mx.Blocks | tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Bug:
    """What a wrong kernel gives for a call, and the causes that explain it."""

    name: str
    got: Callable[[], Result]
    operation: Callable[..., Any]
    operands: tuple[Any, ...]
    causes: tuple[tuple[str, ...], ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def want(self) -> Result:
        """What the right kernel gives."""
        return self.operation(*self.operands, **self.options)


# ---- codes -----------------------------------------------------------------------------------------------------------

Pick = Callable[[Fraction, Fraction, Fraction, int, int], bool]  #: x, the values around it, their codes: whether up


def by_table(x: Tensor, fmt: refnum.Posit | refnum.Minifloat, up: Pick) -> Tensor:
    """Codes of finite values: of the two values around each the one that a rule picks."""
    codes = cases.exhaustive(fmt)
    values = refnum.decode(codes, fmt).tolist()
    ascending = {Fraction(v): c for c, v in zip(codes.tolist(), values, strict=True) if np.isfinite(v)} | {
        Fraction(0): 0
    }
    places = sorted(ascending)
    picked = []
    for v in map(Fraction, x.tolist()):
        i = min(max(bisect_right(places, v) - 1, 0), len(places) - 2)
        low, high = places[i], places[i + 1]
        exact = low if v <= low else high if v >= high else None
        if exact is None:
            exact = high if up(v, low, high, ascending[low], ascending[high]) else low
        negative_zero = exact == 0 and v < 0 and isinstance(fmt, refnum.Minifloat) and fmt.specials != "fnuz"
        picked.append(1 << (fmt.width - 1) if negative_zero else ascending[exact])
    return torch.tensor(picked).to(refnum.encode(x[:1], fmt).dtype)


def nearest(of_tie: Pick) -> Pick:
    """To nearest, of a tie as the rule says."""

    def up(v: Fraction, low: Fraction, high: Fraction, lower: int, upper: int) -> bool:
        return of_tie(v, low, high, lower, upper) if 2 * v == low + high else 2 * v > low + high

    return up


def never_zero(pick: Pick) -> Pick:
    """The rule, but that what is not 0 does not become 0."""
    return lambda v, low, high, i, j: low == 0 or (high != 0 and pick(v, low, high, i, j))


def to_even(v: Fraction, low: Fraction, high: Fraction, lower: int, upper: int) -> bool:
    """Of a tie the even code."""
    return upper % 2 == 0


def scalars(fmt: refnum.Posit | refnum.Minifloat, reach: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Ties, edges and random values in the format's range."""
    kinds = [cases.floats(fmt, kind, dtype, count=300) for kind in ("ties", "edges", "random")]
    x = torch.cat(kinds)
    x = x[x.isfinite() & (x.abs() <= fmt.max_value * reach) & (x != 0)]
    return torch.cat([x, torch.tensor([1.0, -1.0, 0.3], dtype=dtype)])


def unsigned(codes: Tensor) -> Tensor:
    """Codes as numbers, for numpy."""
    return codes.to(torch.int64)


E4M3, E2M1, P8, P16 = scalars(refnum.e4m3), scalars(refnum.e2m1), scalars(refnum.posit8), scalars(refnum.posit16)
WILD = torch.cat([E4M3, torch.tensor([torch.nan, torch.inf, -torch.inf, 1e9, -1e9])])
P8_WIDE = torch.cat([scalars(refnum.posit8, 1e3), torch.tensor([1e-12, -1e-12, 1e12])])
NEAR = 1 + torch.arange(1, 400, dtype=torch.float32) * 2.0**-9 * (1 + 2.0**-14)  #: close to ties of e4m3


def _flushed_codes(codes: Tensor, mantissa: int, sign: int) -> Tensor:
    return torch.where((codes & (sign - 1)) < 1 << mantissa, codes & sign, codes)


SCALARS = (
    Bug(
        "e2m1 cut off",
        lambda: by_table(E2M1, refnum.e2m1, lambda v, low, high, i, j: v < 0),
        refnum.encode,
        (E2M1, refnum.e2m1),
        (("rounding=toward_zero",),),
    ),
    Bug(
        "e2m1 ties away from zero",
        lambda: by_table(E2M1, refnum.e2m1, nearest(lambda v, *_: v > 0)),
        refnum.encode,
        (E2M1, refnum.e2m1),
        (("rounding=nearest_away",),),
    ),
    Bug(
        "e4m3 ties toward zero",
        lambda: by_table(E4M3, refnum.e4m3, nearest(lambda v, *_: v < 0)),
        refnum.encode,
        (E4M3, refnum.e4m3),
        (("ties toward zero",),),
    ),
    Bug(
        "e4m3 by floor(x + 1/2)",
        lambda: by_table(E4M3, refnum.e4m3, nearest(lambda *_: True)),
        refnum.encode,
        (E4M3, refnum.e4m3),
        (("ties upward",),),
    ),
    Bug(
        "e4m3 rounded up",
        lambda: by_table(E4M3, refnum.e4m3, lambda *_: True),
        refnum.encode,
        (E4M3, refnum.e4m3),
        (("rounding=toward_positive",),),
    ),
    Bug(
        "e4m3 rounded twice, through bfloat16",
        lambda: by_table(NEAR.bfloat16().float(), refnum.e4m3, nearest(to_even)),
        refnum.encode,
        (NEAR, refnum.e4m3),
        (("inputs rounded to bfloat16 first",),),
    ),
    Bug(
        "e4m3 without subnormals",
        lambda: _flushed_codes(refnum.encode(E4M3, refnum.e4m3), 3, 0x80),
        refnum.encode,
        (E4M3, refnum.e4m3),
        (("subnormal codes as 0",),),
    ),
    Bug(
        "posit8 with another es",
        lambda: by_table(P8, Posit(8, 1), never_zero(to_bits)),
        refnum.encode,
        (P8, refnum.posit8),
        (("es=1",),),
    ),
    Bug(
        "posit8 nearest by value",
        lambda: by_table(P8_WIDE, refnum.posit8, never_zero(nearest(to_even))),
        refnum.encode,
        (P8_WIDE, refnum.posit8),
        (("posits nearest by value",),),
    ),
    Bug(
        "posit16 with bytes swapped",
        lambda: torch.from_numpy(refnum.encode(P16, refnum.posit16).numpy().byteswap()),
        refnum.encode,
        (P16, refnum.posit16),
        (("result bytes in the other order",),),
    ),
    Bug(
        "e4m3 as AMD's fnuz",
        lambda: by_table(E4M3, refnum.e4m3fnuz, nearest(to_even)),
        refnum.encode,
        (E4M3, refnum.e4m3),
        (("fmt=e4m3fnuz",),),
    ),
    Bug(
        "e4m3 that overflows to NaN",
        lambda: torch.where(
            (unsigned(refnum.encode(WILD, refnum.e4m3)) & 0x7F == 0x7E) & (WILD.abs() > 464),
            0x7F,
            refnum.encode(WILD, refnum.e4m3),
        ),
        refnum.encode,
        (WILD, refnum.e4m3),
        (("overflow=nan",),),
    ),
    Bug(
        "NaN as 0xff",
        lambda: torch.where(WILD.isnan(), 0xFF, refnum.encode(WILD, refnum.e4m3)).to(torch.uint8),
        refnum.encode,
        (WILD, refnum.e4m3),
        (("another code of NaN",),),
    ),
    Bug(
        "posit16 as sign and magnitude",
        lambda: torch.where(P16 < 0, refnum.encode(-P16, refnum.posit16) | -0x8000, refnum.encode(P16, refnum.posit16)),
        refnum.encode,
        (P16, refnum.posit16),
        (("negative codes as sign and magnitude",),),
    ),
    Bug(
        "e5m2 decoded as fnuz",
        lambda: refnum.decode(torch.arange(124), refnum.e5m2) / 2,
        refnum.decode,
        (torch.arange(124), refnum.e5m2),
        (("fmt=e5m2fnuz",), ("bias +1",)),
    ),
)


def to_bits(v: Fraction, low: Fraction, high: Fraction, lower: int, upper: int) -> bool:
    """Posits of 8 bits, whose tie is the posit of 9 bits between the two."""
    middle = Fraction(refnum.decode(torch.tensor([2 * lower + 1]), Posit(9, 1)).item())
    return v > middle or (v == middle and upper % 2 == 0)


# ---- blocks ----------------------------------------------------------------------------------------------------------

X = torch.from_numpy(np.random.default_rng(3).standard_normal((64, 256)).astype(np.float32))
X = X * torch.exp2(torch.arange(64, dtype=torch.float32)[:, None] % 7)
X[:, ::8] = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, -2.5]).repeat(4)[None]  # ties, at some scales
X[5, 32:64] = torch.linspace(-1, 1, 32)  # a power of two is the largest
E2M1_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def mxfp4(
    x: Tensor,
    *,
    scale_of: Callable[[np.ndarray], np.ndarray] = lambda blocks: np.abs(blocks).max(1),
    exponent: Callable[[np.ndarray], np.ndarray] = lambda amax: np.frexp(amax)[1] - 1,
    rounding: str = "even",
) -> mx.Blocks:
    """OCP's mxfp4, by tables: the scale of amax, each element's index by comparison with boundaries."""
    blocks = x.numpy().astype(np.float64).reshape(-1, 32)
    codes = np.clip(exponent(scale_of(blocks)) - 2 + 127, 0, 254)
    small = blocks / 2.0 ** (codes - 127)[:, None]
    values = np.array(E2M1_VALUES)
    middles = (values[1:] + values[:-1]) / 2
    magnitude = np.abs(small)
    if rounding == "cut":
        index = np.searchsorted(values, magnitude, side="right") - 1
    elif rounding == "away":
        index = np.searchsorted(middles, magnitude, side="right")
    else:
        up, down = (np.searchsorted(middles, magnitude, side=side) for side in ("right", "left"))
        index = np.where(up % 2 == 0, up, down)
    elements = (index + 8 * np.signbit(blocks)).astype(np.uint8)
    packed = (elements[:, ::2] | elements[:, 1::2] << 4).reshape(x.shape[0], -1)
    scales = codes.astype(np.uint8).reshape(x.shape[0], -1)
    return mx.Blocks(torch.from_numpy(packed), torch.from_numpy(scales), refnum.mxfp4, x.shape)


def ceiling(amax: np.ndarray) -> np.ndarray:
    """log2 of amax, rounded up."""
    mantissa, exponent = np.frexp(amax)
    return np.where(mantissa == 0.5, exponent - 1, exponent)


def swapped(x: Tensor) -> Tensor:
    """Bytes with their halves exchanged."""
    return torch.from_numpy((x.numpy() << 4 | x.numpy() >> 4).astype(np.uint8))


def blocked(scales: Tensor) -> Tensor:
    """Scales [128 i, 4 j] in cuBLAS's order."""
    rows, columns = scales.shape
    return scales.reshape(rows // 128, 4, 32, columns // 4, 4).permute(0, 3, 2, 1, 4).reshape(-1)


MXFP4 = (X, refnum.mxfp4)
TALL = X.repeat(2, 1) * torch.exp2(torch.arange(128, dtype=torch.float32)[:, None] // 32)
TALL_MXFP4 = (TALL, refnum.mxfp4)


def _pairs(blocks: np.ndarray) -> np.ndarray:
    return np.abs(blocks).reshape(-1, 64).max(1).repeat(2)


MICROXCALING = (("profile=microxcaling/v1",), ("profile=microxcaling.flush/v1",))  #: whose ties go away from zero
BLOCKS = (
    Bug("mxfp4 cut off", lambda: mxfp4(X, rounding="cut"), mx.quantize, MXFP4, (("rounding=toward_zero",),)),
    Bug(
        "mxfp4 ties away",
        lambda: mxfp4(X, rounding="away"),
        mx.quantize,
        MXFP4,
        (("rounding=nearest_away",), *MICROXCALING),
    ),
    Bug("mxfp4 with the scale rounded up", lambda: mxfp4(X, exponent=ceiling), mx.quantize, MXFP4, (("scale=ceil",),)),
    Bug(
        "mxfp4 with the largest value's scale",
        lambda: mxfp4(X, scale_of=lambda blocks: np.maximum(blocks, 0).max(1)),
        mx.quantize,
        MXFP4,
        (("scales of max x, not of max |x|",),),
    ),
    Bug(
        "mxfp4 in blocks of 64",
        lambda: mxfp4(X, scale_of=_pairs),
        mx.quantize,
        MXFP4,
        (("scales shared by 2 blocks",),),
    ),
    Bug(
        "mxfp4 one binade too low",
        lambda: mxfp4(X, exponent=lambda amax: np.frexp(amax)[1] - 2),
        mx.quantize,
        MXFP4,
        (("scales -1, elements by them",),),
    ),
    Bug(
        "nibbles swapped",
        lambda: (swapped(mxfp4(X).elements), mxfp4(X).scales),
        mx.quantize,
        MXFP4,
        (("elements nibbles swapped",),),
    ),
    Bug(
        "scales stored one too high",
        lambda: (mxfp4(X).elements, mxfp4(X).scales + 1),
        mx.quantize,
        MXFP4,
        (("scales stored +1",),),
    ),
    Bug(
        "scales in cuBLAS's order",
        lambda: (mxfp4(TALL).elements, blocked(mxfp4(TALL).scales)),
        mx.quantize,
        TALL_MXFP4,
        (("scales shuffled to nvidia_32_4_4",),),
    ),
    Bug(
        "elements shuffled for AMD",
        lambda: (mx.shuffle_weight(mxfp4(X).elements), mxfp4(X).scales),
        mx.quantize,
        MXFP4,
        # The others lay 4 bits out as these do bytes.
        tuple(
            (f"elements shuffled to {name}",)
            for name in ("gfx950_weight", "gfx1250_weight", "f4_weight", "a16w4_weight")
        ),
    ),
    Bug(
        "scales transposed",
        lambda: (mxfp4(X).elements, mxfp4(X).scales.T.contiguous()),
        mx.quantize,
        MXFP4,
        (("scales transposed",),),
    ),
    Bug(
        "mxfp4 of bfloat16",
        lambda: mxfp4(X.bfloat16().float()),
        mx.quantize,
        MXFP4,
        (("inputs rounded to bfloat16 first",),),
    ),
)

# ---- products --------------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(7)
A, B = (RNG.standard_normal(shape).astype(np.float32) for shape in ((12, 100), (100, 20)))
BIAS = RNG.standard_normal(20).astype(np.float32)
A64, B64 = A.astype(np.float64), B.astype(np.float64)
F32, SQUARE = np.float32, RNG.standard_normal((24, 24)).astype(np.float32)


def fused(a: np.ndarray, b: np.ndarray, sums: np.ndarray | None = None) -> np.ndarray:
    """k ascending, each step the exact x * y + z rounded once."""
    sums = np.zeros((len(a), b.shape[1]), F32) if sums is None else sums
    for k in range(a.shape[1]):
        product = np.outer(a[:, k].astype(np.float64), b[k].astype(np.float64))  # exact: 48 bits
        sums = _rounded_sum(product, sums.astype(np.float64))
    return sums


def _rounded_sum(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x + y of float64, rounded once to float32: to odd in float64 first."""
    total = x + y
    kept = total - x
    error = (x - (total - kept)) + (y - kept)
    bits = total.view(np.int64)
    up = np.sign(error) * np.sign(total) > 0
    odd = np.where((error != 0) & (bits & 1 == 0), np.where(up, bits + 1, bits - 1), bits)
    return odd.view(np.float64).astype(F32)


def unfused(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """k ascending, product and sum rounded."""
    sums = np.zeros((len(a), b.shape[1]), F32)
    for k in range(a.shape[1]):
        sums = sums + np.outer(a[:, k], b[k])
    return sums


def split(a: np.ndarray, b: np.ndarray, count: int) -> np.ndarray:
    """K in equal parts, added one by one."""
    size = a.shape[1] // count
    sums = fused(a[:, :size], b[:size])
    for first in range(size, a.shape[1], size):
        sums = sums + fused(a[:, first : first + size], b[first : first + size])
    return sums


def in_bfloat16(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The accumulator is a bfloat16."""
    sums = np.zeros((len(a), b.shape[1]), F32)
    for k in range(a.shape[1]):
        sums = bf16(fused(a[:, k : k + 1], b[k : k + 1], sums))
    return sums


def bf16(x: np.ndarray) -> np.ndarray:
    """Rounded to bfloat16, in float32."""
    bits = x.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(F32)


def cut(x: np.ndarray, bits: int) -> np.ndarray:
    """float32 without its last bits."""
    return (x.view(np.uint32) & np.uint32(0xFFFFFFFF << bits & 0xFFFFFFFF)).view(F32)


def tensor(x: np.ndarray) -> Tensor:
    """A tensor of the same memory."""
    return torch.from_numpy(np.ascontiguousarray(x))


GEMM = (tensor(A), tensor(B))
WITH_BIAS = (*GEMM, tensor(BIAS))
TINY = (tensor(A * F32(2.0**-63)), tensor(B * F32(2.0**-63)))
SQUARES = (tensor(SQUARE), tensor(SQUARE[::-1].copy()))


def flushing(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """fma by fma, subnormal sums flushed."""
    sums = np.zeros((len(a), b.shape[1]), F32)
    for k in range(a.shape[1]):
        sums = fused(a[:, k : k + 1], b[k : k + 1], sums)
        sums = np.where(np.abs(sums) < F32(2.0**-126), np.copysign(F32(0), sums), sums)
    return sums


PRODUCTS = (
    Bug("no fma", lambda: tensor(unfused(A, B)), refnum.gemm, GEMM, (("chain without fma",),)),
    Bug(
        "split-K of 4",
        lambda: tensor(split(A, B, 4)),
        refnum.gemm,
        GEMM,
        (("K split in 4, added in float32",),),
    ),
    Bug("bfloat16 accumulators", lambda: tensor(in_bfloat16(A, B)), refnum.gemm, GEMM, (("chain in bfloat16",),)),
    Bug(
        "k descending",
        lambda: tensor(fused(A[:, ::-1], B[::-1])),
        refnum.gemm,
        GEMM,
        (("chain with k descending",),),
    ),
    Bug(
        "the tail of K forgotten",
        lambda: tensor(fused(A[:, :96], B[:96])),
        refnum.gemm,
        GEMM,
        (
            ("terms behind a multiple of 8 dropped",),
            ("terms behind a multiple of 16 dropped",),
            ("terms behind a multiple of 32 dropped",),
        ),
    ),
    Bug(
        "tf32 by cutting off",
        lambda: tensor(fused(cut(A, 13), cut(B, 13))),
        refnum.gemm,
        GEMM,
        (("operands truncated to tf32 first",),),
    ),
    Bug(
        "subnormals flushed",
        lambda: tensor(flushing(A * F32(2.0**-63), B * F32(2.0**-63))),
        refnum.gemm,
        TINY,
        (("chain that flushes subnormals",),),
    ),
    Bug(
        "the bias last",
        lambda: tensor(fused(A, B) + BIAS),
        refnum.gemm,
        WITH_BIAS,
        # K is shorter than these chunks, so all these are one kernel.
        (
            ("the bias added in float32, last",),
            ("the bias added to the rounded product",),
            *((f"contract=tree/v1(Kc={count})",) for count in (128, 256, 512)),
        ),
    ),
    Bug("no bias", lambda: tensor(fused(A, B)), refnum.gemm, WITH_BIAS, (("no bias",),)),
    Bug(
        "the result cut off to bfloat16",
        lambda: tensor(cut(fused(bf16(A), bf16(B)), 16)).bfloat16(),
        refnum.gemm,
        tuple(x.bfloat16() for x in GEMM),
        (("the sum truncated to bfloat16 first",),),
    ),
    Bug(
        "the other operand's transpose",
        lambda: tensor(fused(SQUARE, SQUARE[::-1].T)),
        refnum.gemm,
        SQUARES,
        (("b transposed",),),
    ),
    Bug(
        "exact sums",
        lambda: tensor((A64 @ B64).astype(F32)),
        refnum.gemm,
        GEMM,
        (("contract=exact/v1",),),
    ),
)

# ---- products of blocks ----------------------------------------------------------------------------------------------

RAMP = torch.exp2(torch.arange(256) // 32 * 3.0)
LEFT, RIGHT = (mx.quantize(x, refnum.mxfp4) for x in (X[:12] * RAMP, X[20:40] * RAMP))
MX_MM = {"contract": "chain/v1", "out_dtype": torch.float32}


def values(blocks: mx.Blocks, *, scales: np.ndarray | None = None, high_first: bool = False) -> np.ndarray:
    """What mxfp4 blocks stand for, by table."""
    table = np.array((*E2M1_VALUES, *(-v for v in E2M1_VALUES)), F32)
    stored = blocks.elements.numpy()
    nibbles = (stored >> 4, stored & 15) if high_first else (stored & 15, stored >> 4)
    elements = table[np.stack(nibbles, -1).reshape(len(stored), -1)]
    exponents = (blocks.scales.numpy() if scales is None else scales).astype(np.int32) - 127
    return elements * np.ldexp(F32(1), exponents).astype(F32).repeat(32, 1)


def _previous_scales() -> np.ndarray:
    return np.roll(RIGHT.scales.numpy(), 1, 1)


PRODUCTS_OF_BLOCKS = (
    Bug(
        "nibbles of one operand swapped",
        lambda: tensor(fused(values(LEFT, high_first=True), values(RIGHT).T)),
        refnum.mx_mm,
        (LEFT, RIGHT),
        (("nibbles of a swapped",),),
        MX_MM,
    ),
    Bug(
        "the scales of the block before",
        lambda: tensor(fused(values(LEFT), values(RIGHT, scales=_previous_scales()).T)),
        refnum.mx_mm,
        (LEFT, RIGHT),
        (("scales of b shifted by 1 block",),),
        MX_MM,
    ),
    Bug(
        "split-K of blocks",
        lambda: tensor(split(values(LEFT), values(RIGHT).T, 2)),
        refnum.mx_mm,
        (LEFT, RIGHT),
        (("K split in 2, added in float32",), ("contract=tree/v1(Kc=128)",)),  # of 256 terms one kernel
        MX_MM,
    ),
    Bug(
        "dequantized one binade too low",
        lambda: tensor(values(LEFT) / 2),
        mx.dequantize,
        (LEFT,),
        (("scales of blocks one binade too low",),),
    ),
)


# ---- two bugs at once ------------------------------------------------------------------------------------------------

CUT = "rounding=toward_zero"
PAIRS = (
    Bug(
        "cut off, nibbles swapped",
        lambda: (swapped(mxfp4(X, rounding="cut").elements), mxfp4(X).scales),
        mx.quantize,
        MXFP4,
        ((CUT, "elements nibbles swapped"),),
    ),
    Bug(
        "scale rounded up, cut off",
        lambda: mxfp4(X, exponent=ceiling, rounding="cut"),
        mx.quantize,
        MXFP4,
        ((CUT, "scale=ceil"),),
    ),
    Bug(
        "nibbles swapped, scales in cuBLAS's order",
        lambda: (swapped(mxfp4(TALL).elements), blocked(mxfp4(TALL).scales)),
        mx.quantize,
        TALL_MXFP4,
        (("elements nibbles swapped", "scales shuffled to nvidia_32_4_4"),),
    ),
    Bug(
        "bfloat16, the scales transposed",
        lambda: (mxfp4(X.bfloat16().float()).elements, mxfp4(X.bfloat16().float()).scales.T.contiguous()),
        mx.quantize,
        MXFP4,
        (("inputs rounded to bfloat16 first", "scales transposed"),),
    ),
    Bug(
        "the largest value's scale, cut off",
        lambda: mxfp4(X, scale_of=lambda blocks: np.maximum(blocks, 0).max(1), rounding="cut"),
        mx.quantize,
        MXFP4,
        ((CUT, "scales of max x, not of max |x|"),),
    ),
    Bug(
        "another es, bytes swapped",
        lambda: torch.from_numpy(refnum.encode(P16, Posit(16, 1)).numpy().byteswap()),
        refnum.encode,
        (P16, refnum.posit16),
        (("es=1", "result bytes in the other order"),),
    ),
    Bug(
        "e4m3 cut off, and no subnormals",
        lambda: _flushed_codes(by_table(E4M3, refnum.e4m3, lambda v, *_: v < 0), 3, 0x80),
        refnum.encode,
        (E4M3, refnum.e4m3),
        ((CUT, "subnormal codes as 0"),),
    ),
    Bug(
        "split-K of tf32",
        lambda: tensor(split(cut(A, 13), cut(B, 13), 4)),
        refnum.gemm,
        GEMM,
        (("K split in 4, added in float32", "operands truncated to tf32 first"),),
    ),
    Bug(
        "no fma, the tail of K forgotten",
        lambda: tensor(unfused(A[:, :96], B[:96])),
        refnum.gemm,
        GEMM,
        tuple((f"terms behind a multiple of {count} dropped", "chain without fma") for count in (8, 16, 32)),
    ),
    Bug(
        "tf32, no bias",
        lambda: tensor(fused(cut(A, 13), cut(B, 13))),
        refnum.gemm,
        WITH_BIAS,
        (("no bias", "operands truncated to tf32 first"),),
    ),
)

# ---- bugs that no hypothesis is about --------------------------------------------------------------------------------


def _with(x: Tensor, place: Any, value: Any) -> Tensor:
    x = x.clone()
    x[place] = value
    return x


def _shuffled_k() -> Tensor:
    order = np.random.default_rng(1).permutation(A.shape[1])
    return tensor(fused(A[:, order], B[order]))


def _even_rows_cut() -> Tensor:
    cut_off = refnum.encode(E4M3, refnum.e4m3, rounding="toward_zero")
    return torch.where(torch.arange(len(E4M3)) % 2 == 0, cut_off, refnum.encode(E4M3, refnum.e4m3))


OUTSIDE = (
    Bug("one element", lambda: _with(tensor(fused(A, B)), (3, 4), 1.0), refnum.gemm, GEMM),
    Bug("the last column never written", lambda: _with(tensor(fused(A, B)), (..., -1), 0.0), refnum.gemm, GEMM),
    Bug("K in an order of its own", _shuffled_k, refnum.gemm, GEMM),
    Bug("two columns exchanged", lambda: tensor(fused(A, B)[:, [1, 0, *range(2, 20)]]), refnum.gemm, GEMM),
    Bug("a term read twice", lambda: tensor(fused(A, B) + np.outer(A[:, 7], B[7])), refnum.gemm, GEMM),
    Bug("5 % too large", lambda: tensor(fused(A, B) * F32(1.05)), refnum.gemm, GEMM),
    Bug("every other element cut off", _even_rows_cut, refnum.encode, (E4M3, refnum.e4m3)),
    Bug(
        "stochastic rounding",
        lambda: refnum.encode(E4M3, refnum.e4m3, rounding="stochastic", random_bits=mx.random_bits(1, 0, E4M3.shape)),
        refnum.encode,
        (E4M3, refnum.e4m3),
    ),
    Bug(
        "scales of 0.9 amax",
        lambda: mxfp4(X, scale_of=lambda blocks: 0.9 * np.abs(blocks).max(1)),
        mx.quantize,
        MXFP4,
    ),
    Bug(
        "scales of the root mean square",
        lambda: mxfp4(X, scale_of=lambda blocks: 2 * np.sqrt((blocks**2).mean(1))),
        mx.quantize,
        MXFP4,
    ),
    Bug(
        "the last block of each row left at 0",
        lambda: (_with(mxfp4(X).elements, (..., slice(-16, None)), 0), mxfp4(X).scales),
        mx.quantize,
        MXFP4,
    ),
)
