"""One call of every public operation, on operands that hold what is hard: subnormals, ties, both ends, NaN and NaR.

Run as a script it prints the CPU capability and a digest of each result: what any other process must print, too.
"""

from __future__ import annotations

import hashlib
import inspect
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import refnum
from refnum import Minifloat, Posit, Quire, functions, mx, posit
from refnum.boundary import FLOAT_ROWS, SIGNED, container
from refnum.formats import parse
from refnum.sums.contracts import CONTRACTS, FAMILIES, find
from refnum.sums.operands import FP8
from refnum.testing import cases

COUNT = 120  #: elements of an elementwise operand: 2 * 3 * 4 * 5

P8, P16, P32, P64 = Posit(8), Posit(16), Posit(32), Posit(64)


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


# ---- operands: of all kinds, and drawn by Python, whose random numbers no setting of torch can touch ---------------


def patterns(fmt: Posit, seed: int, count: int = COUNT) -> Tensor:
    """0, NaR, both ends, and patterns of every kind, in the format's container."""
    draw = random.Random(seed)
    pool = torch.cat([cases.patterns(fmt, kind, count=50, seed=seed) for kind in cases.KINDS]).tolist()
    chosen = [0, fmt.nar, 1, fmt.maxpos, *draw.choices(pool, k=count)][:count]
    return torch.tensor(draw.sample(chosen, count), dtype=container(fmt), device="cpu")


def floats(dtype: torch.dtype, seed: int, count: int = COUNT) -> Tensor:
    """Zeros, subnormals, both ends, Inf, a NaN with a payload, and values of every kind for posits."""
    row, draw = FLOAT_ROWS[dtype], random.Random(seed)
    assert row.infinity is not None
    sign = -(1 << (row.width - 1))
    corners = [0, sign, 1, sign | 1, (1 << row.mantissa) - 1, row.largest, sign | row.infinity, row.infinity + 1]
    pool = torch.cat([cases.floats(P16, kind, dtype, count=50, seed=seed) for kind in cases.KINDS])
    chosen = [*corners, *draw.choices(pool.view(SIGNED[row.width]).tolist(), k=count)][:count]
    return torch.tensor(draw.sample(chosen, count), dtype=SIGNED[row.width], device="cpu").view(dtype)


def counted(start: int, stop: int, step: int = 1, dtype: torch.dtype = torch.int32) -> Tensor:
    """Integers in a row."""
    return torch.tensor(range(start, stop, step), device="cpu").to(dtype)


def whole(seed: int, *shape: int) -> Tensor:
    """Small integers in float32, whose products and sums are exact in any order."""
    source = random.Random(seed)
    size = torch.Size(shape)
    values = [float(source.randrange(-40, 41)) for _ in range(size.numel())]
    return torch.tensor(values, dtype=torch.float32, device="cpu").view(size)


# ---- the calls ----------------------------------------------------------------------------------------------------


def _scalar_formats() -> list[Call]:
    e4m3, e8m0 = refnum.formats.e4m3, refnum.formats.e8m0
    wide, random_bits = Minifloat(8, 20, overflow="inf"), counted(0, 500 * COUNT, 500)
    f16, b16, f32, f64 = (floats(dtype, 1) for dtype in FLOAT_ROWS)
    bytes_ = counted(-8, COUNT - 8, dtype=torch.uint8)
    return [
        Call("encode posit16", lambda x: refnum.encode(x, P16), (f32,)),
        Call("encode posit64", lambda x: refnum.encode(x, P64), (f64,)),
        Call("encode e4m3", lambda x: refnum.encode(x, e4m3), (b16,)),
        Call(
            "encode stochastic",
            lambda x, r: refnum.encode(x, P8, rounding="stochastic", random_bits=r),
            (f16, random_bits),
        ),
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
        *(
            call
            for fmt in map(parse, ("fixed(8,4)", "fixed(20,9,overflow='wrap')", "dmf(4,3)", "log(6)", "nf4"))
            for call in (
                Call(f"encode {fmt}", lambda x, fmt=fmt: refnum.encode(x, fmt), (f32,)),
                Call(f"decode {fmt}", lambda x, fmt=fmt: refnum.decode(x, fmt), (counted(-60, COUNT - 60),)),
                Call(f"quantize {fmt}", lambda x, fmt=fmt: refnum.quantize(x, fmt), (f32,)),
            )
        ),
    ]


#: sections 5.5, 5.6 and 5.8, by what they take
ELEMENTARY = {
    "a": """
        r_sqrt exp exp_minus1 exp2 exp2_minus1 exp10 exp10_minus1 log log_plus1 log2 log2_plus1 log10 log10_plus1
        sin sin_pi cos cos_pi tan tan_pi arc_sin arc_sin_pi arc_cos arc_cos_pi arc_tan arc_tan_pi
        sin_h cos_h tan_h arc_sin_h arc_cos_h arc_tan_h
    """.split(),
    "a, b": "hypot pow arc_tan2 arc_tan2_pi".split(),
    "a, k": "compound root_n".split(),
}
#: One of each kind stands for the others, which share its path, wherever every shape and length is tried.
STAND_FOR_OTHERS = ("posit.tan_pi", "posit.pow", "posit.compound", "functions.gelu", "functions.softmax_exp")
UNARY = "sqrt negate abs sign nearest_int ceil floor next prior".split()
BINARY = "add sub mul div".split()
COMPARISONS = [f"compare_{name}" for name in "equal not_equal greater greater_equal less less_equal".split()]
TERNARY = "fmm fma".split()


def _posit_functions() -> list[Call]:
    arities = dict.fromkeys(UNARY, 1) | dict.fromkeys(BINARY + COMPARISONS, 2) | dict.fromkeys(TERNARY, 3)
    calls = []
    for fmt in (P16, P32, P64):
        operands = tuple(patterns(fmt, seed) for seed in (3, 4, 5))
        for name, arity in arities.items():
            function, own = getattr(posit, name), operands[:arity]
            if name in COMPARISONS:  # every third pair is one of equals
                own = own[0], torch.where(counted(0, COUNT) % 3 == 0, *own)
            calls.append(Call(f"posit.{name} {fmt}", lambda *x, f=function, fmt=fmt: f(*x, fmt), own))
    return calls


def _elementary_functions() -> list[Call]:
    """Of posits: posit32, whose results are estimates that some elements doubt."""
    a, b = patterns(P32, 26), patterns(P32, 27)
    operands = {"a": (a,), "a, b": (a, b), "a, k": (a, counted(-7, COUNT - 7) // 8)}
    named = [(f"posit.{name}", kind, getattr(posit, name)) for kind, names in ELEMENTARY.items() for name in names]
    return [
        *(
            Call(name, lambda *x, f=function: f(*x, P32), operands[kind], name in STAND_FOR_OTHERS)
            for name, kind, function in named
        ),
        Call("posit.exp2 posit64", lambda x: posit.exp2(x, P64), (patterns(P64, 28),), False),
        Call("posit.sin posit16", lambda x: posit.sin(x, P16), (patterns(P16, 28),), False),
    ]


def _functions() -> list[Call]:
    """Of values, float32 rounded to bfloat16; and some of codes."""
    x, y, f64 = floats(torch.float32, 51), floats(torch.float32, 52), floats(torch.float64, 53)
    k, codes = counted(-7, COUNT - 7) // 8, counted(0, COUNT, dtype=torch.uint8) * 2
    inside = counted(-60, 60).to(torch.float32) / 59  # of domains that end at 1
    calls = []
    for name in functions.__all__:
        function = getattr(functions, name)
        second = {"fmt": (), "k": (k,)}.get(list(inspect.signature(function).parameters)[1], (y,))
        first = {"acosh": inside + 2}.get(name, inside if name in ("asin", "asinpi", "acos", "acospi", "atanh") else x)
        name = f"functions.{name}"
        calls.append(
            Call(name, lambda *o, f=function: f(*o, refnum.bfloat16), (first, *second), name in STAND_FOR_OTHERS)
        )
    return [
        *calls,
        Call("functions.exp e4m3", lambda c: functions.exp(c, refnum.e4m3), (codes,), False),
        Call("functions.tanh float64", lambda x: functions.tanh(x, refnum.float16), (f64,), False),
        Call("functions.gelu tanh", lambda x: functions.gelu(x, P16, approximate="tanh"), (x,), False),
    ]


def _conversions() -> list[Call]:
    p16, p64 = patterns(P16, 6), patterns(P64, 6)
    bytes_ = counted(60, 60 + COUNT, dtype=torch.uint8)
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
        "from_bytes": (lambda x, y: Quire.from_bytes(Quire(P16, x.shape).mul_add(x, y).to_bytes(), P16), (a, b)),
    }
    return [
        Call("Quire.to_bytes", lambda x, y: Quire(P16, x.shape).mul_add(x, y).to_bytes(), (a, b), False),
        *(
            Call(f"Quire.{name}", lambda *x, f=function: f(*x).to_posit(), operands)
            for name, (function, operands) in calls.items()
        ),
    ]


def _sums() -> list[Call]:
    rows, columns = patterns(P16, 11, 180).view(3, 4, 15), patterns(P16, 12, 105).view(15, 7) | 1  # no NaR on one side
    x, y = floats(torch.float32, 13, 180).view(3, 4, 15), whole(14, 15, 7)
    addend = floats(torch.float32, 15, 28).view(4, 7)
    a64, b64 = patterns(P64, 16).view(4, 30), patterns(P64, 17).view(30, 4) | 1
    return [
        Call("posit_mm", lambda a, b: refnum.posit_mm(a, b, P16), (rows, columns), False),
        Call("posit_mm posit64", lambda a, b: refnum.posit_mm(a, b, P64), (a64, b64), False),
        Call("posit_mm floats", lambda a, b, c: refnum.posit_mm(a, b, P8, c=c), (x, y, addend), False),
        Call(
            "posit_mm to floats",
            lambda a, b: refnum.posit_mm(a, b, P16, out_dtype=torch.float64),
            (rows, columns),
            False,
        ),
        *(
            Call(
                f"posit_mm {mode}",
                lambda a, b, c, m=mode: refnum.posit_mm(a, b, P16, mode=m, c=c),
                (x, y, addend),
                False,
            )
            for mode in ("posit", "products")
        ),
        Call(
            "posit_mm cuposit",
            lambda a, b, c: refnum.posit_mm(a, b, P8, mode="cuposit", c=c, alpha=0.3, beta=-2.0),
            (x, y, addend),
            False,
        ),
        Call("quire_dot", lambda a, b: refnum.quire_dot(a, b, P16), (rows, columns.T[:1]), False),
        Call("quire_dot floats", lambda a, b: refnum.quire_dot(a, b, P16), (x, y.T[0]), False),
    ]


def stored(blocks: mx.Blocks) -> Tensor:
    """All bytes of blocks."""
    return torch.cat([x.contiguous().view(torch.uint8).reshape(-1) for x in (blocks.elements, blocks.scales)])


def block_values(seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """[8, 64]: rows at both ends of the range, of all magnitudes, with ties, zeros of either sign, NaN and Inf."""
    x = floats(dtype, seed, 8 * 64).view(8, 64)
    row = FLOAT_ROWS[dtype]
    x[:6] = x[:6].nan_to_num(0.0, row.max_value, -row.max_value)
    x[1] = torch.arange(-32, 32, device="cpu").to(dtype) / 8
    x[2] = torch.arange(64, device="cpu").to(dtype).neg() * 2.0 ** (row.min_scale - row.mantissa)
    return x


def _blocks() -> list[Call]:
    x, f16, b16 = block_values(31), block_values(32, torch.float16), block_values(33, torch.bfloat16)
    bytes_, random_bits = counted(0, 256 * 64, dtype=torch.uint8).view(64, 256), counted(0, 512 * 97, 97).view(8, 64)
    scales = counted(0, 100 * 5, dtype=torch.uint8).view(100, 5)
    e5m2, factors = refnum.mxfp8_e5m2, counted(0, 64, dtype=torch.uint8).view(8, 8) * 37
    quantized = [
        Call(
            f"mx.quantize {fmt} {profile}",
            lambda x, f=fmt, p=profile: stored(mx.quantize(x, f, profile=p)),
            (y,),
            False,
        )
        for fmt, profile, y in (
            (refnum.mxfp4, "ocp", x),
            (refnum.mxfp4, "aiter", b16),
            (refnum.mxfp4, "aiter_legacy", f16),
            (refnum.mxfp8_e4m3, "torchao", x),
            (refnum.mxfp6_e3m2, "ocp", f16),
            (refnum.mxfp8_e4m3, "microxcaling", x),
            (refnum.nvfp4, "ocp", x),
            (refnum.nvfp4, "te", b16),
            (refnum.nvfp4, "compressed_tensors", b16),
            (refnum.mxfp8_e4m3, "flashinfer", x),
            (refnum.formats.Block(refnum.e4m3, refnum.formats.float32, 64), "ocp", x),
        )
    ]

    return [
        *quantized,
        Call(
            "mx.quantize stochastic",
            lambda x, r: stored(mx.quantize(x, e5m2, scale="rceil", rounding="stochastic", random_bits=r)),
            (x, random_bits),
            False,
        ),
        Call(
            "mx.quantize along the first axis",
            lambda x: stored(mx.quantize(x, refnum.mxfp4, axis=0, pad=True)),
            (x,),
            False,
        ),
        *(
            Call(
                f"mx.dequantize {dtype}",
                lambda c, s, d=dtype: mx.dequantize(mx.Blocks(c, s, e5m2, c.shape), d),
                (bytes_[:8], factors),
                False,
            )
            for dtype in (torch.float32, torch.bfloat16, torch.float64)
        ),
        Call("quantize mxfp4", lambda x: refnum.quantize(x, refnum.mxfp4), (x,), False),
        Call("mx.tensor_scale", lambda x: mx.tensor_scale(x[:6], refnum.nvfp4, profile="flashinfer"), (x,), False),
        Call("mx.hadamard", lambda x: mx.hadamard(x, 0xD7E8), (b16,), False),
        Call("mx.pack4", mx.pack4, (bytes_,), False),
        Call("mx.unpack4", mx.unpack4, (bytes_,), False),
        Call("mx.pack6", mx.pack6, (bytes_,), False),
        Call("mx.unpack6", mx.unpack6, (bytes_[:, :255],), False),
        Call("mx.pack_mxint8", lambda x: mx.pack_mxint8(x, 1)[1], (b16,), False),
        Call(
            "mx.unpack_mxint8",
            lambda c: mx.unpack_mxint8(c.view(torch.int8)[0], c[1, :8], c.shape[1] // 8),
            (bytes_,),
            False,
        ),
        Call("quantize block_log", lambda x: refnum.quantize(x, refnum.formats.block_log(8, 16)), (x,), False),
        Call("mx.shuffle_weight", mx.shuffle_weight, (bytes_,), False),
        Call("mx.unshuffle_weight", mx.unshuffle_weight, (bytes_,), False),
        Call("mx.shuffle_scale", mx.shuffle_scale, (scales,), False),
        Call("mx.unshuffle_scale", lambda y: mx.unshuffle_scale(y, (200, 7)), (bytes_.view(-1, 8)[:256],), False),
        Call("mx.to_blocked", mx.to_blocked, (scales,), False),
        Call("mx.from_blocked", lambda y: mx.from_blocked(y, (100, 5)), (bytes_.view(-1)[:1024],), False),
        Call("mx.shuffle", lambda x: mx.shuffle(x, "f4_weight"), (bytes_,), False),
        Call("mx.unshuffle", lambda y: mx.unshuffle(y, "f4_weight", (64, 256)), (bytes_,), False),
        Call("mx.random_bits", lambda: mx.random_bits(7, 3, (5, 7)), (), False),
        *(
            Call(f"mx_mm {contract}", lambda x, c=contract: _product(x, c), (x[:6],), False)
            for contract in ("exact/v1", "chain/v1")
        ),
        Call("scaled_mm", _scaled, (x[:6],), False),
    ]


def _product(x: Tensor, contract: str) -> Tensor:
    blocks = mx.quantize(x, refnum.mxfp8_e5m2), mx.quantize(x.flip(0), refnum.mxfp4)
    return refnum.mx_mm(*blocks, x[0, :6], contract=contract, out_dtype=torch.float32)


def _scaled(x: Tensor) -> Tensor:
    codes, scales = mx.quantize(x, refnum.mxfp4).to_torch()
    recipe = torch.nn.functional.ScalingType.BlockWise1x32
    return refnum.scaled_mm(codes, codes.mT, scales, recipe, scales, recipe)


def gradient(function: Callable[..., Tensor], *operands: Tensor) -> Tensor:
    """The gradients of all operands in one flat tensor, for an upstream of small integers."""
    leaves = [x.detach().clone().requires_grad_() for x in operands]
    result = function(*leaves)
    result.backward(whole(18, *result.shape))
    return torch.cat([leaf.grad.reshape(-1) for leaf in leaves if leaf.grad is not None])


def few_specials(dtype: torch.dtype, seed: int) -> Tensor:
    """As `floats`, for operands of products: Inf and NaN among the first 12 alone."""
    x = floats(torch.float32 if dtype in FP8 else dtype, seed)
    x[12:] = torch.where(x[12:].abs() < (64.0 if dtype in FP8 else 2.0**60), x[12:], 1.0)
    return x.to(dtype)


def _gemms() -> list[Call]:
    calls = []
    narrow = ("int/v1(acc=8, overflow=wrap)", "int/v1(acc=8, overflow=saturate)")
    for row in (find("calls", name) for name in (*CONTRACTS, *FAMILIES, *narrow)):
        if row.multiply is None or row.name.startswith("unversioned"):
            continue
        kind = row.operands[0]
        if kind.is_floating_point:
            a, b, bias = few_specials(kind, 41), few_specials(kind, 42), floats(row.biases[0], 43)[:10]
        else:
            a, b, bias = counted(0, 120, dtype=kind) % 8, counted(120, 0, -1, dtype=kind) % 8, counted(0, 10)
        calls.append(
            Call(
                f"gemm {row.name}",
                lambda a, b, c, row=row: refnum.gemm(a.view(10, 12), b.view(10, 12).mT, c, contract=row),
                (a, b, bias),
                False,
            )
        )
    whole_numbers = whole(44, 6, 70), whole(45, 70, 40)
    calls.append(
        Call(
            "exact_partial",
            lambda a, b: refnum.exact_partial(a.view(10, 12), b.view(10, 12).mT).round(torch.float64),
            (few_specials(torch.float32, 46), few_specials(torch.float32, 47)),
            False,
        )
    )
    calls.append(Call("gemm of many terms", refnum.gemm, whole_numbers, False))
    calls.append(
        Call("gemm exact of many terms", lambda a, b: refnum.gemm(a, b, contract="exact/v1"), whole_numbers, False)
    )
    return calls


def _gradients() -> list[Call]:
    a, b, c, f32 = whole(19, 5, 9), whole(20, 9, 4), whole(21, 5, 4), floats(torch.float32, 22)
    return [
        Call("gradient of quantize", lambda x: gradient(lambda t: refnum.quantize(t, P8), x), (f32,), False),
        Call(
            "gradient of quantize clipped",
            lambda x: gradient(lambda t: refnum.quantize(t, P8, grad="clipped"), x),
            (f32,),
            False,
        ),
        Call(
            "gradient of posit_mm",
            lambda *x: gradient(lambda a, b, c: refnum.posit_mm(a, b, P16, c=c), *x),
            (a, b, c),
            False,
        ),
        Call(
            "gradient of posit_mm raw",
            lambda *x: gradient(lambda a, b: refnum.posit_mm(a, b, P8, grad="raw"), *x),
            (a, b),
            False,
        ),
        Call(
            "gradient of gemm",
            lambda *x: gradient(refnum.gemm, *x),
            (a, b, c),
            False,
        ),
        Call(
            "gradient of quire_dot",
            lambda *x: gradient(lambda a, b: refnum.quire_dot(a, b, P16), *x),
            (a, b.T[:1]),
            False,
        ),
    ]


CALLS = (
    *(*_scalar_formats(), *_posit_functions(), *_elementary_functions(), *_functions(), *_conversions()),
    *(*_quires(), *_sums(), *_blocks(), *_gemms()),
)
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


def served() -> str:
    """The CPU's capability, as ATEN_CPU_CAPABILITY names it."""
    return torch.backends.cpu.get_cpu_capability().lower().replace("no avx", "default")


def main() -> None:
    """Print the CPU capability, then a line for each call."""
    torch.set_num_threads(1)
    print(served())
    for call in (*CALLS, *GRADIENTS):
        print(f"{call.name}: {digest(call())}")


if __name__ == "__main__":
    main()
