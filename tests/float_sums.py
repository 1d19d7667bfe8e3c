"""What the tests of sums of floats share: operands on which they go wrong, and the right sums, by Python's integers."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from refnum_conformance.oracles.minifloat import FLOATS, Row, Special, decode, encode, signed
from refnum_conformance.oracles.reals import Dyadic, plus, times
from torch import Tensor

from refnum.boundary import FLOAT_ROWS, SIGNED

VECTORS = Path(__file__).parent.parent / "conformance" / "vectors"
RESULTS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def patterns(x: Tensor) -> Tensor:
    """The bits of floats."""
    return x.contiguous().view(SIGNED[FLOAT_ROWS[x.dtype].width])


def row_of(dtype: torch.dtype) -> Row:
    """The oracle's row."""
    return FLOATS[str(dtype).removeprefix("torch.")]


# ---- the oracle ---------------------------------------------------------------------------------------------------


class Term(NamedTuple):
    """A product, or a bias."""

    negative: bool
    value: Dyadic | Special

    @classmethod
    def of(cls, pattern: int, row: Row) -> Term:
        """The value of a pattern."""
        return cls(*decode(pattern, row))

    def __mul__(self, other: Term) -> Term:  # type: ignore[override]
        negative, values = self.negative != other.negative, (self.value, other.value)
        if Special.NAN in values or (Special.INF in values and any(isinstance(x, Dyadic) and not x.m for x in values)):
            return Term(negative, Special.NAN)
        if Special.INF in values:
            return Term(negative, Special.INF)
        return Term(negative, times(*values))  # type: ignore[arg-type]

    @property
    def is_negative_zero(self) -> bool:
        """Whether it is -0."""
        return self.negative and isinstance(self.value, Dyadic) and not self.value.m


def rounded_sum(terms: list[Term], row: Row) -> int:
    """The pattern of the exact sum, as an unsigned integer; NaN is the largest positive one."""
    infinite = {term.negative for term in terms if term.value is Special.INF}
    if len(infinite) == 2 or any(term.value is Special.NAN for term in terms):
        return (1 << (row.width - 1)) - 1
    if infinite:
        return encode(infinite.pop(), Special.INF, row)
    total = Dyadic(0, 0)
    for term in terms:
        total = plus(total, signed(term.negative, term.value))  # type: ignore[arg-type]
    negative = total.m < 0 or (total.m == 0 and bool(terms) and all(term.is_negative_zero for term in terms))
    return encode(negative, Dyadic(abs(total.m), total.e), row)


def matrix(x: Tensor) -> list[list[Term]]:
    """The values of a matrix."""
    return [[Term.of(pattern, row_of(x.dtype)) for pattern in row] for row in patterns(x).tolist()]


Dot = Callable[[list[Term], list[Term], Term | None, Row], int]


def product(dot: Dot, a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The product of two matrices, dot product by dot product."""
    rows, columns = matrix(a), matrix(b.mT)
    addends = None if bias is None else matrix(bias.expand(len(rows), len(columns)))
    width = row_of(dtype).width
    codes = [
        [dot(x, y, addends and addends[i][j], row_of(dtype)) for j, y in enumerate(columns)] for i, x in enumerate(rows)
    ]
    as_signed = [[code - (code >> (width - 1) << width) for code in row] for row in codes]
    return torch.tensor(as_signed, dtype=SIGNED[width]).view(len(rows), len(columns)).view(dtype)


def exact_dot(x: list[Term], y: list[Term], bias: Term | None, row: Row) -> int:
    """Contract exact/v1."""
    return rounded_sum([u * v for u, v in zip(x, y, strict=True)] + ([] if bias is None else [bias]), row)


def chain_dot(x: list[Term], y: list[Term], bias: Term | None, row: Row) -> int:
    """Contract chain/v1."""
    float32 = FLOATS["float32"]
    accumulator = bias or Term(False, Dyadic(0, 0))
    for u, v in zip(x, y, strict=True):
        accumulator = Term.of(rounded_sum([accumulator, u * v], float32), float32)
    return rounded_sum([accumulator], row)


# ---- operands -----------------------------------------------------------------------------------------------------


class Draw:
    """Matrices of random numbers: made of integers, so that they are the same on every machine."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def whole(self, low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        """Of a variance of about 1: sums of 12 from -1/2 to 1/2."""
        units = self.whole(-(1 << 31), 1 << 31, *shape, 12).sum(-1)
        return (units.double() * 2.0**-32).float()

    def powers(self, reach: int, *shape: int) -> Tensor:
        return self.choice([2.0**e for e in range(-reach, reach + 1)], *shape)

    def bits(self, *shape: int) -> Tensor:
        return self.whole(-(1 << 31), 1 << 31, *shape).to(torch.int32).view(torch.float32)

    def choice(self, values: list[float], *shape: int) -> Tensor:
        return torch.tensor(values)[self.whole(0, len(values), *shape)]

    def signs(self, *shape: int) -> Tensor:
        return self.whole(0, 2, *shape) * 2.0 - 1


Operands = tuple[Tensor, Tensor]


def _mxfp4(draw: Draw, *shape: int) -> Tensor:
    elements = draw.choice([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0], *shape) * draw.signs(*shape)
    return elements * draw.powers(1, shape[0], 1)


def _cancelling(draw: Draw, m: int, k: int, n: int) -> Operands:
    """All terms take each other away, but for one or two that are small."""
    half = max(0, k - 1) // 2
    a, b = draw.normal(m, half), draw.normal(half, n)
    rest = draw.normal(m, k - 2 * half) * 2.0**-40
    return torch.cat([a, -a, rest], 1), torch.cat([b, b, draw.normal(k - 2 * half, n)], 0)


def _ties(draw: Draw, m: int, k: int, n: int) -> Operands:
    """1 + half a unit of some dtype + perhaps the least float32: half-way between two results, or a little beyond."""
    a, b = torch.zeros(m, k), torch.ones(k, n)
    half = draw.choice([2.0**-24, 2.0**-8, 2.0**-11], m)
    rest = draw.choice([0.0, 2.0**-149, -(2.0**-149), 2.0**-60, -(2.0**-60)], m)
    head = 1 + 2 * half * draw.whole(0, 4, m)
    for place, part in enumerate((head, half, rest)[:k]):
        a[:, place] = part * draw.signs(m)[0]
    b *= draw.powers(3, 1, n)
    return a, b


def _chain_ties(draw: Draw, m: int, k: int, n: int) -> Operands:
    """Products a little less or more than half a unit of what has been added before."""
    small = [2.0**-i for i in range(12, 24)]
    a, b = (1 + draw.choice(small, m, k)) * draw.signs(m, k), 2.0**-24 * (1 - draw.choice(small, 1, n)).repeat(k, 1)
    if k:
        a[:, 0] = 1 + 2.0**-23 * draw.whole(0, 1 << 23, m)
        b[0] = 1.0
    return a, b


#: name -> operands [m, k] and [k, n]
DATA: dict[str, Callable[[Draw, int, int, int], Operands]] = {
    "normal": lambda d, m, k, n: (d.normal(m, k), d.normal(k, n)),
    "wide": lambda d, m, k, n: (d.normal(m, k) * d.powers(60, m, k), d.normal(k, n) * d.powers(60, k, n)),
    "rows of any scale": lambda d, m, k, n: (d.normal(m, k) * d.powers(60, m, 1), d.normal(k, n) * d.powers(60, 1, n)),
    "integers": lambda d, m, k, n: (d.whole(-9, 10, m, k).float(), d.whole(-9, 10, k, n).float()),
    "tiny integers": lambda d, m, k, n: (
        d.whole(-9, 10, m, k).float() * 2.0**-75,
        d.whole(-9, 10, k, n).float() * 2.0**-74,
    ),
    "huge integers": lambda d, m, k, n: (
        d.whole(-9, 10, m, k).float() * 2.0**62,
        d.whole(-9, 10, k, n).float() * 2.0**62,
    ),
    "mxfp4": lambda d, m, k, n: (_mxfp4(d, m, k), _mxfp4(d, n, k).mT),
    "bfloat16": lambda d, m, k, n: (d.normal(m, k).bfloat16().float(), d.normal(k, n).bfloat16().float()),
    "float16": lambda d, m, k, n: (d.normal(m, k).half().float(), (d.normal(k, n) * 2.0**-12).half().float()),
    "outlier": lambda d, m, k, n: (d.normal(m, k), d.normal(k, n) * torch.where(d.whole(0, 40, k, n) == 0, 2.0**50, 1)),
    "subnormal operands": lambda d, m, k, n: (d.normal(m, k) * 2.0**-127, d.normal(k, n)),
    "subnormal results": lambda d, m, k, n: (d.normal(m, k) * 2.0**-70, d.normal(k, n) * 2.0**-66),
    "results that vanish": lambda d, m, k, n: (d.normal(m, k) * 2.0**-75, d.normal(k, n) * 2.0**-75),
    "overflow": lambda d, m, k, n: (d.normal(m, k) * 2.0**64, d.normal(k, n) * 2.0**62),
    "cancelling": _cancelling,
    "ties": _ties,
    "ties of a chain": _chain_ties,
    "zeros": lambda d, m, k, n: (d.choice([0.0, -0.0], m, k), d.choice([0.0, -0.0, 1.0, -1.0], k, n)),
    "zeros of one sign": lambda d, m, k, n: (d.choice([0.0, -0.0], m, 1).expand(m, k), d.normal(1, n).expand(k, n)),
    "powers of 2": lambda d, m, k, n: (d.powers(10, m, k) * d.signs(m, k), d.powers(10, k, n) * d.signs(k, n)),
    "bits": lambda d, m, k, n: (d.bits(m, k), d.bits(k, n)),
    "finite bits": lambda d, m, k, n: (d.bits(m, k).nan_to_num(0, 0, 0), d.bits(k, n).nan_to_num(0, 0, 0)),
    "specials": lambda d, m, k, n: (
        d.choice([1.0, -2.0, 0.0, -0.0, torch.inf, -torch.inf, torch.nan], m, k),
        d.choice([1.0, 1.0, 1.0, 0.0, -0.0, torch.inf, -1.0], k, n),
    ),
}


def operands(kind: str, m: int, k: int, n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Operands of a kind, and a bias [n] that fits them."""
    draw = Draw(seed + 1000 * random.Random(kind).randrange(1000))
    a, b = DATA[kind](draw, m, k, n)
    if kind in ("normal", "wide", "integers", "bfloat16", "mxfp4"):
        return a, b, draw.normal(n)
    return a, b, DATA[kind](draw, 1, 1, n)[1].reshape(n)


# ---- golden vectors -----------------------------------------------------------------------------------------------


class Golden(NamedTuple):
    """Operands and the right results, as floats."""

    about: dict[str, Any]
    a: Tensor
    b: Tensor
    bias: Tensor | None
    want: dict[torch.dtype, Tensor]


def floats_of(bits: np.ndarray[Any, Any], dtype: torch.dtype) -> Tensor:
    """Patterns as floats."""
    return torch.from_numpy(bits.view(f"i{bits.itemsize}").copy()).view(dtype)


def golden(contract: str) -> Iterator[Golden]:
    """The recorded products of a contract."""
    suffixes = {"d": torch.float32, "d_bf16": torch.bfloat16, "d_f16": torch.float16}
    with np.load(VECTORS / f"gemm_{contract}.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    for about in map(json.loads, arrays.pop("index")):
        part = {key.rpartition("/")[2]: x for key, x in arrays.items() if key.startswith(about["case"])}
        a, b, bias = (floats_of(part[key], torch.float32) if key in part else None for key in ("a", "b", "bias"))
        assert a is not None
        assert b is not None
        want = {dtype: floats_of(part[key], dtype) for key, dtype in suffixes.items() if key in part}
        yield Golden(about, a, b, bias, want)


def recorded_fmas() -> Iterator[tuple[str, list[Tensor]]]:
    """x, y, z and the right x * y + z, family by family."""
    with np.load(VECTORS / "gemm_chain.npz", allow_pickle=False) as file:
        for family in sorted({key.split("/")[1] for key in file.files if key.startswith("fma/")}):
            yield family, [floats_of(file[f"fma/{family}/{name}"], torch.float32) for name in "abcd"]


# ---- settings -----------------------------------------------------------------------------------------------------


@contextmanager
def _setting(get: Callable[[], Any], put: Callable[[Any], Any], value: Any) -> Iterator[None]:
    before = get()
    put(value)
    try:
        yield
    finally:
        put(before)


def _lower_mkldnn(value: str) -> None:
    torch.backends.mkldnn.matmul.fp32_precision = value


#: settings under which products of float32 matrices are no longer float32
LOWERED: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "medium": lambda: _setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"),
    "mkldnn bf16": lambda: _setting(lambda: "none", _lower_mkldnn, "bf16"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}
SETTINGS = LOWERED | {
    "flush denormal": lambda: _setting(lambda: False, torch.set_flush_denormal, True),
    "default dtype": lambda: _setting(torch.get_default_dtype, torch.set_default_dtype, torch.float64),
    "default device": lambda: torch.device("meta"),
    "threads": lambda: _setting(torch.get_num_threads, torch.set_num_threads, 2),
    "inference mode": torch.inference_mode,
}


def digest(form: Callable[..., Tensor]) -> str:
    """A fingerprint of results on operands of every kind; ``form(a, b, bias, dtype)``."""
    found = hashlib.sha256()
    for kind in DATA:
        for dtype in RESULTS[:3]:
            found.update(patterns(form(*operands(kind, 17, 50, 19), dtype)).numpy().tobytes())
    return found.hexdigest()
