"""One call of every public operation, on operands that hold what is hard: subnormals, ties, both ends, NaN and NaR.

Run as a script it prints the CPU capability and a digest of each result: what any other process must print, too.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import refnum
from refnum import Minifloat, Posit, Quire, posit

COUNT = 120  #: elements of an elementwise operand: 2 * 3 * 4 * 5

P8, P16, P32, P64 = Posit(8), Posit(16), Posit(32), Posit(64)
INTEGERS = {8: torch.int8, 16: torch.int16, 32: torch.int32, 64: torch.int64}
FLOATS = {torch.float16: 10, torch.bfloat16: 7, torch.float32: 23, torch.float64: 52}  #: mantissa bits


class Call(NamedTuple):
    """An operation, and operands for it."""

    name: str  #: public name, and what is special about this call
    run: Callable[..., Any]
    operands: tuple[Tensor, ...] = ()
    elementwise: bool = True  #: operands may be of any one shape, and each element goes its own way

    @property
    def covers(self) -> str:
        """The public name alone."""
        return self.name.split()[0]

    def __call__(self) -> Any:
        return self.run(*self.operands)


# ---- operands, from Python's own random numbers, which no setting of torch can touch ------------------------------


def signed(bits: int, width: int) -> int:
    """The low bits as a signed integer."""
    bits &= (1 << width) - 1
    return bits - (bits >> (width - 1) << width)


def integers(values: Iterable[int], width: int) -> Tensor:
    """A CPU tensor of the signed dtype of that width, from the low bits of the values."""
    return torch.tensor([signed(x, width) for x in values], dtype=INTEGERS[width], device="cpu")


def patterns(fmt: Posit, seed: int, count: int = COUNT) -> Tensor:
    """NaR, 0, 1, both ends, their neighbours and negatives; then random bits behind a regime of random length."""
    source = random.Random(seed)
    heads = (0, 1, 1 << (fmt.n - 2), fmt.maxpos, fmt.nar, 1 << (fmt.n // 2), fmt.maxpos >> 1)
    edges = [sign * (head + step) for head in heads for step in (-1, 0, 1) for sign in (1, -1)]
    filled = [_with_run(source.getrandbits(fmt.n), source.randrange(fmt.n), fmt.n) for _ in range(count - len(edges))]
    source.shuffle(edges)
    width = next(w for w in INTEGERS if w >= fmt.n)
    return integers((signed(x, fmt.n) for x in edges + filled), width)


def _with_run(bits: int, run: int, n: int) -> int:
    mask = ((1 << run) - 1) << (n - 1 - run)
    return bits | mask if bits & 1 else bits & ~mask


def floats(dtype: torch.dtype, seed: int, count: int = COUNT) -> Tensor:
    """Zeros, subnormals, both ends, Inf, NaNs with payloads, halves of a unit; then random bits and values near 1."""
    source = random.Random(seed)
    mantissa, width = FLOATS[dtype], dtype.itemsize * 8
    top, one = 1 << (width - 1), ((1 << (width - 2 - mantissa)) - 1) << mantissa
    infinity = top - (1 << mantissa)
    heads = [0, 1, 2, 1 << mantissa, (1 << mantissa) - 1, infinity, infinity - 1, infinity + 1, top - 1, one]
    heads += [one + 1, one - 1, one + (1 << (mantissa - 1)), (1 << mantissa - 1) + 1]
    bits = [head | sign for head in heads for sign in (0, top)]
    bits += [source.getrandbits(width) for _ in range((count - len(bits)) // 2)]
    near = range(count - len(bits))
    bits += [one + source.randrange(-6 << mantissa, 7 << mantissa) | source.randrange(2) * top for _ in near]
    return integers(bits, width).view(dtype)


def whole(seed: int, *shape: int) -> Tensor:
    """Small integers in float32, whose products and sums are exact in any order."""
    source = random.Random(seed)
    size = torch.Size(shape)
    values = [float(source.randrange(-40, 41)) for _ in range(size.numel())]
    return torch.tensor(values, dtype=torch.float32, device="cpu").view(size)


# ---- the calls ----------------------------------------------------------------------------------------------------


def _scalar_formats() -> list[Call]:
    e4m3, e8m0 = refnum.formats.e4m3, refnum.formats.e8m0
    wide, random_bits = Minifloat(8, 20, overflow="inf"), integers(range(0, 70 * COUNT, 70), 32)
    f16, b16, f32, f64 = (floats(dtype, 1) for dtype in FLOATS)
    bytes_ = integers(range(-8, COUNT - 8), 8).view(torch.uint8)
    return [
        Call("encode posit16", lambda x: refnum.encode(x, P16), (f32,)),
        Call("encode posit64", lambda x: refnum.encode(x, P64), (f64,)),
        Call("encode e4m3", lambda x: refnum.encode(x, e4m3), (b16,)),
        Call("encode stochastic", lambda x, r: refnum.encode(x, P8, rounding="stochastic", random_bits=r), (f16, random_bits)),
        Call("decode posit16", lambda x: refnum.decode(x, P16, dtype=torch.float32), (patterns(P16, 2),)),
        Call("decode posit8", lambda x: refnum.decode(x, P8, dtype=torch.bfloat16), (patterns(P8, 2),)),
        Call("decode e8m0", lambda x: refnum.decode(x, e8m0, dtype=torch.float32), (bytes_,)),
        Call("quantize posit8", lambda x: refnum.quantize(x, P8), (f32,)),
        Call("quantize posit16", lambda x: refnum.quantize(x, P16), (f32,)),
        Call("quantize posit16 bfloat16", lambda x: refnum.quantize(x, P16), (b16,)),
        Call("quantize posit20 float16", lambda x: refnum.quantize(x, Posit(20)), (f16,)),
        Call("quantize posit25", lambda x: refnum.quantize(x, Posit(25)), (f32,)),
        Call("quantize posit32 float64", lambda x: refnum.quantize(x, P32), (f64,)),
        Call("quantize minifloat", lambda x: refnum.quantize(x, wide), (f32,)),
        Call("quantize to_odd", lambda x: refnum.quantize(x, P16, rounding="to_odd"), (f32,)),
    ]


UNARY = "sqrt negate abs sign nearest_int ceil floor next prior".split()
BINARY = "add sub mul div".split()
COMPARISONS = [f"compare_{name}" for name in "equal not_equal greater greater_equal less less_equal".split()]
TERNARY = "fmm fma".split()


def _posit_functions() -> list[Call]:
    arities = {name: 1 for name in UNARY} | {name: 2 for name in BINARY + COMPARISONS} | {name: 3 for name in TERNARY}
    calls = []
    for fmt in (P16, P32, P64):
        operands = tuple(patterns(fmt, seed) for seed in (3, 4, 5))
        for name, arity in arities.items():
            function = getattr(posit, name)
            calls.append(Call(f"posit.{name} {fmt}", lambda *x, f=function, fmt=fmt: f(*x, fmt), operands[:arity]))
    return calls


def _conversions() -> list[Call]:
    p16, p64 = patterns(P16, 6), patterns(P64, 6)
    bytes_ = integers(range(60, 60 + COUNT), 8).view(torch.uint8)
    texts = ["0", "-1.5e-70", "3.14159", "1e400", "NaR", "1" * 900 + "e-899"]
    return [
        Call("posit.convert narrower", lambda x: posit.convert(x, P64, Posit(20, 1)), (p64,)),
        Call("posit.convert wider", lambda x: posit.convert(x, P16, P64), (p16,)),
        Call("posit.to_float", lambda x: posit.to_float(x, P64, torch.float32), (p64,)),
        Call("posit.to_float float16", lambda x: posit.to_float(x, P16, torch.float16), (p16,)),
        Call("posit.to_int", lambda x: posit.to_int(x, P16), (p16,)),
        Call("posit.to_int unsigned", lambda x: posit.to_int(x, P64, 64, False), (p64,)),
        Call("posit.from_int", lambda x: posit.from_int(x, P16), (bytes_,)),
        Call("posit.from_int by value", lambda x: posit.from_int(x, P16, sentinel=False), (patterns(P32, 7),)),
        Call("posit.from_int Python", lambda: posit.from_int(-(3**80), P64), (), False),
        Call("posit.to_decimal", lambda x: posit.to_decimal(x, P64), (p64,), False),
        Call("posit.from_decimal", lambda: posit.from_decimal(texts, P64), (), False),
    ]


def _quires() -> list[Call]:
    a, b, c = (patterns(P16, seed) for seed in (8, 9, 10))

    def quire(x: Tensor) -> Quire:
        return Quire.from_posit(x, P16)

    calls: dict[str, tuple[Callable[..., Quire], tuple[Tensor, ...]]] = {
        "from_posit": (quire, (a,)),
        "to_posit": (lambda x, y: Quire(P16, x.shape).mul_add(x, y), (a, b)),
        "clear": (lambda x: quire(x).clear(), (a,)),
        "clone": (lambda x: quire(x).clone(), (a,)),
        "negate": (lambda x: quire(x).negate(), (a,)),
        "abs": (lambda x: quire(x).abs(), (a,)),
        "add_posit": (lambda x, y: quire(x).add_posit(y), (a, b)),
        "sub_posit": (lambda x, y: quire(x).sub_posit(y), (a, b)),
        "add": (lambda x, y: quire(x).add(quire(y)), (a, b)),
        "sub": (lambda x, y: quire(x).sub(quire(y)), (a, b)),
        "mul_add": (lambda x, y, z: quire(x).mul_add(y, z), (a, b, c)),
        "mul_sub": (lambda x, y, z: quire(x).mul_sub(y, z), (a, b, c)),
    }
    return [
        Call(f"Quire.{name}", lambda *x, f=function: f(*x).to_posit(), operands)
        for name, (function, operands) in calls.items()
    ]


def _sums() -> list[Call]:
    rows, columns = patterns(P16, 11, 180).view(3, 4, 15), patterns(P16, 12, 105).view(15, 7)
    x, y = floats(torch.float32, 13, 180).view(3, 4, 15), whole(14, 15, 7)
    addend = floats(torch.float32, 15, 42)[14:].view(4, 7)
    return [
        Call("posit_mm", lambda a, b: refnum.posit_mm(a, b, P16), (rows, columns), False),
        Call("posit_mm posit64", lambda a, b: refnum.posit_mm(a, b, P64), (patterns(P64, 16).view(4, 30), patterns(P64, 17).view(30, 4)), False),
        Call("posit_mm floats", lambda a, b, c: refnum.posit_mm(a, b, P8, c=c), (x, y, addend), False),
        Call("posit_mm to floats", lambda a, b: refnum.posit_mm(a, b, P16, out_dtype=torch.float64), (rows, columns), False),
        Call("quire_dot", lambda a, b: refnum.quire_dot(a, b, P16), (rows, columns.T[:1]), False),
        Call("quire_dot floats", lambda a, b: refnum.quire_dot(a, b, P16), (x, y.T[0]), False),
    ]


def gradient(function: Callable[..., Tensor], *operands: Tensor) -> Tensor:
    """The gradients of all operands in one flat tensor, for an upstream of small integers."""
    leaves = [x.detach().clone().requires_grad_() for x in operands]
    result = function(*leaves)
    result.backward(whole(18, *result.shape))
    return torch.cat([leaf.grad.reshape(-1) for leaf in leaves if leaf.grad is not None])


def _gradients() -> list[Call]:
    a, b, c, f32 = whole(19, 5, 9), whole(20, 9, 4), whole(21, 5, 4), floats(torch.float32, 22)
    return [
        Call("gradient of quantize", lambda x: gradient(lambda t: refnum.quantize(t, P8), x), (f32,), False),
        Call("gradient of quantize clipped", lambda x: gradient(lambda t: refnum.quantize(t, P8, grad="clipped"), x), (f32,), False),
        Call("gradient of posit_mm", lambda *x: gradient(lambda a, b, c: refnum.posit_mm(a, b, P16, c=c), *x), (a, b, c), False),
        Call("gradient of posit_mm raw", lambda *x: gradient(lambda a, b: refnum.posit_mm(a, b, P8, grad="raw"), *x), (a, b), False),
        Call("gradient of quire_dot", lambda *x: gradient(lambda a, b: refnum.quire_dot(a, b, P16), *x), (a, b.T[:1]), False),
    ]


CALLS = (*_scalar_formats(), *_posit_functions(), *_conversions(), *_quires(), *_sums())
GRADIENTS = tuple(_gradients())


# ---- results ------------------------------------------------------------------------------------------------------


def bits(result: Any) -> tuple[Any, ...]:
    """What must be equal between two results: dtype, shape and every bit of a tensor, or the text."""
    if isinstance(result, Tensor):
        flat = result.detach().cpu().contiguous().reshape(-1)
        return str(result.dtype), tuple(result.shape), flat.view(torch.uint8).numpy().tobytes()
    return (repr(result),)


def digest(result: Any) -> str:
    """The bits, in short."""
    return hashlib.sha256(repr(bits(result)).encode()).hexdigest()[:16]


def main() -> None:
    """Print the CPU capability, then a line for each call."""
    torch.set_num_threads(1)
    print(torch.backends.cpu.get_cpu_capability())
    for call in (*CALLS, *GRADIENTS):
        print(f"{call.name}: {digest(call())}")


if __name__ == "__main__":
    main()
