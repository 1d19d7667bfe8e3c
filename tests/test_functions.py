"""refnum.functions: special values by IEEE 754's tables, every code of 16 bits against MPFR, shapes, and refusals."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from math import inf, nan, pi
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from calls import bits
from torch import Tensor

import refnum
from refnum import Minifloat, Posit, bfloat16, e4m3, e5m2, e8m0, float16, functions, posit
from refnum.boundary import container
from refnum.errors import ContractError, DTypeError, FormatError, ShapeError, UncoveredError
from refnum.fast.chunks import CHUNK
from refnum.formats import Format, e2m1, e4m3fnuz, e5m2fnuz, float32, float64, tf32
from refnum.functions.decisions import decide

gmpy2 = pytest.importorskip("gmpy2", reason="the oracle is MPFR, which the extra exact brings")

PARAMETERS = {name: tuple(inspect.signature(getattr(functions, name)).parameters) for name in functions.__all__}
OF_ONE = [name for name, names in PARAMETERS.items() if names[1] == "fmt"]
OF_TWO = [name for name, names in PARAMETERS.items() if names[1] not in ("fmt", "k")]
WITH_K = [name for name, names in PARAMETERS.items() if names[1] == "k"]
SMALL = (float16, bfloat16, e4m3, e5m2, e4m3fnuz, e5m2fnuz, tf32)


class Case(NamedTuple):
    """Operands, an integer at the end if the function takes one, and the result; as real numbers, signs of 0 count."""

    name: str
    operands: tuple[float, ...]
    want: float


ZEROS = [(0.0, 0.0), (-0.0, -0.0)]
ENDLESS = [(inf, inf), (-inf, -inf)]
TO_ONE = [(0.0, 1.0), (-0.0, 1.0)]
NOWHERE = [(inf, nan), (-inf, nan)]
EXP = [*TO_ONE, (inf, inf), (-inf, 0.0)]
EXPM1 = [*ZEROS, (inf, inf), (-inf, -1.0)]
LOG = [(0.0, -inf), (-0.0, -inf), (1.0, 0.0), (-1.0, nan), (inf, inf), (-inf, nan)]
LOG1P = [*ZEROS, (-1.0, -inf), (-2.0, nan), (inf, inf), (-inf, nan)]
ARC = [*ZEROS, (2.0, nan), (-2.0, nan), *NOWHERE]
UNIT = [*ZEROS, (inf, inf), (-inf, -0.0)]

#: IEEE 754-2019 section 9.2.1 and C23 Annex F; and what is exact
ONE: dict[str, list[tuple[float, float]]] = {
    "sqrt": [*ZEROS, (-1.0, nan), (inf, inf), (-inf, nan), (4.0, 2.0), (0.25, 0.5)],
    "rsqrt": [(0.0, inf), (-0.0, -inf), (-1.0, nan), (inf, 0.0), (-inf, nan), (4.0, 0.5)],
    "reciprocal": [(0.0, inf), (-0.0, -inf), (inf, 0.0), (-inf, -0.0), (2.0, 0.5), (-4.0, -0.25)],
    "exp": EXP,
    "expm1": EXPM1,
    "exp2": [*EXP, (3.0, 8.0), (-2.0, 0.25)],
    "exp2m1": [*EXPM1, (3.0, 7.0), (-1.0, -0.5)],
    "exp10": [*EXP, (1.0, 10.0), (2.0, 100.0)],
    "exp10m1": [*EXPM1, (1.0, 9.0)],
    "log": LOG,
    "log1p": LOG1P,
    "log2": [*LOG, (8.0, 3.0), (0.25, -2.0)],
    "log2p1": [*LOG1P, (7.0, 3.0), (-0.5, -1.0)],
    "log10": [*LOG, (10.0, 1.0), (100.0, 2.0)],
    "log10p1": [*LOG1P, (9.0, 1.0)],
    "sin": [*ZEROS, *NOWHERE],
    "sinpi": [
        *(*ZEROS, *NOWHERE, (1.0, 0.0), (-1.0, -0.0), (2.0, 0.0), (-2.0, -0.0), (96.0, 0.0), (-96.0, -0.0)),
        *((0.5, 1.0), (-0.5, -1.0), (1.5, -1.0), (2.5, 1.0)),
    ],
    "cos": [*TO_ONE, *NOWHERE],
    "cospi": [
        *(*TO_ONE, *NOWHERE, (0.5, 0.0), (-0.5, 0.0), (1.5, 0.0), (-1.5, 0.0)),
        *((1.0, -1.0), (-1.0, -1.0), (2.0, 1.0), (96.0, 1.0)),
    ],
    "tan": [*ZEROS, *NOWHERE],
    "tanpi": [
        *(*ZEROS, *NOWHERE, (1.0, -0.0), (-1.0, 0.0), (2.0, 0.0), (-2.0, -0.0), (3.0, -0.0), (96.0, 0.0)),
        *((0.5, inf), (-0.5, -inf), (1.5, -inf), (-1.5, inf), (2.5, inf), (0.25, 1.0), (0.75, -1.0), (-1.25, -1.0)),
    ],
    "asin": [*ARC, (1.0, pi / 2), (-1.0, -pi / 2)],
    "asinpi": [*ARC, (1.0, 0.5), (-1.0, -0.5)],
    "acos": [(1.0, 0.0), (0.0, pi / 2), (-0.0, pi / 2), (-1.0, pi), (2.0, nan), *NOWHERE],
    "acospi": [(1.0, 0.0), (0.0, 0.5), (-0.0, 0.5), (-1.0, 1.0), (2.0, nan), *NOWHERE],
    "atan": [*ZEROS, (inf, pi / 2), (-inf, -pi / 2), (1.0, pi / 4)],
    "atanpi": [*ZEROS, (inf, 0.5), (-inf, -0.5), (1.0, 0.25), (-1.0, -0.25)],
    "sinh": [*ZEROS, *ENDLESS],
    "cosh": [*TO_ONE, (inf, inf), (-inf, inf)],
    "tanh": [*ZEROS, (inf, 1.0), (-inf, -1.0)],
    "asinh": [*ZEROS, *ENDLESS],
    "acosh": [(1.0, 0.0), (0.5, nan), (0.0, nan), (-2.0, nan), (inf, inf), (-inf, nan)],
    "atanh": [*ZEROS, (1.0, inf), (-1.0, -inf), (2.0, nan), *NOWHERE],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (inf, 1.0), (-inf, 0.0)],
    "silu": UNIT,
    "gelu": UNIT,
}
TWO: dict[str, list[tuple[float, float, float]]] = {
    "hypot": [
        *((inf, nan, inf), (nan, -inf, inf), (-inf, 1.0, inf), (nan, 1.0, nan), (0.0, nan, nan)),
        *((0.0, -0.0, 0.0), (-0.0, -0.0, 0.0), (3.0, 4.0, 5.0), (-2.0, 0.0, 2.0)),
    ],
    "pow": [
        *((nan, 0.0, 1.0), (nan, -0.0, 1.0), (inf, 0.0, 1.0), (0.0, 0.0, 1.0), (-0.0, -0.0, 1.0), (-2.0, 0.0, 1.0)),
        *((1.0, nan, 1.0), (1.0, inf, 1.0), (1.0, -inf, 1.0), (-1.0, inf, 1.0), (-1.0, -inf, 1.0), (-1.0, nan, nan)),
        *((0.0, -1.0, inf), (-0.0, -1.0, -inf), (-0.0, -3.0, -inf), (0.0, -2.0, inf), (-0.0, -2.0, inf)),
        *((-0.0, -0.5, inf), (0.0, -inf, inf), (-0.0, -inf, inf), (0.0, 1.0, 0.0), (-0.0, 1.0, -0.0)),
        *((-0.0, 3.0, -0.0), (-0.0, 2.0, 0.0), (-0.0, 0.5, 0.0), (0.0, inf, 0.0), (-0.0, inf, 0.0)),
        *((0.5, inf, 0.0), (0.5, -inf, inf), (-0.5, inf, 0.0), (-0.5, -inf, inf), (2.0, inf, inf), (2.0, -inf, 0.0)),
        *((-2.0, inf, inf), (-2.0, -inf, 0.0), (inf, 1.0, inf), (inf, -1.0, 0.0), (-inf, -1.0, -0.0)),
        *((-inf, -2.0, 0.0), (-inf, 3.0, -inf), (-inf, 2.0, inf), (-inf, 0.5, inf), (-inf, -0.5, 0.0)),
        *((-inf, inf, inf), (-inf, -inf, 0.0), (inf, inf, inf), (inf, -inf, 0.0)),
        *((-2.0, 0.5, nan), (-2.0, 3.0, -8.0), (-2.0, -2.0, 0.25), (2.0, -1.0, 0.5), (4.0, 0.5, 2.0), (4.0, 1.5, 8.0)),
        *((nan, 1.0, nan), (2.0, nan, nan), (0.0, nan, nan), (inf, nan, nan)),
    ],
    "atan2": [
        *((0.0, 0.0, 0.0), (-0.0, 0.0, -0.0), (0.0, -0.0, pi), (-0.0, -0.0, -pi), (0.0, -1.0, pi), (-0.0, -1.0, -pi)),
        *((0.0, 1.0, 0.0), (-0.0, 1.0, -0.0), (1.0, 0.0, pi / 2), (1.0, -0.0, pi / 2), (-1.0, 0.0, -pi / 2)),
        *((-1.0, -0.0, -pi / 2), (1.0, inf, 0.0), (-1.0, inf, -0.0), (1.0, -inf, pi), (-1.0, -inf, -pi)),
        *((0.0, inf, 0.0), (-0.0, -inf, -pi), (inf, 1.0, pi / 2), (-inf, 1.0, -pi / 2), (inf, -0.0, pi / 2)),
        *((inf, inf, pi / 4), (-inf, inf, -pi / 4), (inf, -inf, 3 * pi / 4), (-inf, -inf, -3 * pi / 4)),
        *((1.0, -1.0, 3 * pi / 4), (nan, 1.0, nan), (1.0, nan, nan), (nan, inf, nan), (inf, nan, nan)),
    ],
    "softmax_exp": [
        *((inf, inf, nan), (-inf, -inf, nan), (-inf, 1.0, 0.0), (1.0, inf, 0.0), (inf, 1.0, inf), (1.0, -inf, inf)),
        *((-inf, inf, 0.0), (inf, -inf, inf), (2.0, 2.0, 1.0), (-0.0, 0.0, 1.0), (nan, 1.0, nan), (inf, nan, nan)),
    ],
}
TWO["atan2pi"] = [(y, x, math.copysign(round(4 * want / pi) / 4, want)) for y, x, want in TWO["atan2"][:-4]] + TWO[
    "atan2"
][-4:]
INTEGER: dict[str, list[tuple[float, int, float]]] = {
    "compoundn": [
        *((nan, 0, 1.0), (inf, 0, 1.0), (-1.0, 0, 1.0), (-2.0, 0, nan), (-inf, 0, nan), (-2.0, 3, nan), (-2.0, 2, nan)),
        *((-1.0, 3, 0.0), (-1.0, 2, 0.0), (-1.0, -3, inf), (-1.0, -2, inf), (inf, 2, inf), (inf, -2, 0.0)),
        *((-inf, 1, nan), (nan, 1, nan), (0.0, 5, 1.0), (-0.0, -5, 1.0), (1.0, 3, 8.0), (1.0, -1, 0.5)),
        *((-0.5, 2, 0.25), (0.0, -(2**63), 1.0), (1.0, 2**63 - 1, inf), (1.0, -(2**63), 0.0), (-0.5, 2**40, 0.0)),
    ],
    "rootn": [
        *((1.0, 0, nan), (0.0, 0, nan), (inf, 0, nan), (nan, 3, nan), (0.0, 3, 0.0), (-0.0, 3, -0.0), (-0.0, 2, 0.0)),
        *((0.0, -3, inf), (-0.0, -3, -inf), (-0.0, -2, inf), (0.0, -2, inf), (inf, 2, inf), (-inf, 3, -inf)),
        *((-inf, 2, nan), (inf, -2, 0.0), (-inf, -3, -0.0), (-inf, -2, nan), (-8.0, 3, -2.0), (-4.0, 2, nan)),
        *((4.0, -2, 0.5), (-8.0, -3, -0.5), (-4.0, 1, -4.0), (1.0, 2**63 - 1, 1.0), (-1.0, 2**63 - 1, -1.0)),
        *((2.0, -(2**63), 1.0), (-1.0, -(2**63), nan)),
    ],
}


def cases() -> Iterator[Case]:
    """All of the tables, and NaN for every function of one argument."""
    for name, pairs in ONE.items():
        yield from (Case(name, (x,), want) for x, want in [*pairs, (nan, nan)])
    for name, rows in (*TWO.items(), *INTEGER.items()):
        yield from (Case(name, row[:-1], row[-1]) for row in rows)


CASES = tuple(cases())


def codes(fmt: Format, *values: float) -> Tensor:
    return refnum.encode(torch.tensor(values, dtype=torch.float64), fmt)


def same(x: float, y: float) -> bool:
    """Whether two floats are one, the sign of 0 included."""
    return (math.isnan(x) and math.isnan(y)) or (x == y and math.copysign(1, x) == math.copysign(1, y))


def has(fmt: Format, x: float) -> bool:
    """Whether the format has the number, the infinity, the NaN, the zero of this sign."""
    return same(refnum.decode(codes(fmt, x), fmt).item(), x)


def test_the_tables_are_complete() -> None:
    assert (ONE.keys(), TWO.keys(), INTEGER.keys()) == (set(OF_ONE), set(OF_TWO), set(WITH_K))


@pytest.mark.parametrize("fmt", SMALL, ids=str)
def test_special_values(fmt: Minifloat) -> None:
    """Of the operands that the format has, as codes, and of all as float64."""
    wrong = []
    for name, operands, want in CASES:
        function, right = getattr(functions, name), codes(fmt, want)
        arguments = [torch.tensor([x], dtype=torch.float64) if isinstance(x, float) else x for x in operands]
        got = {"values": function(*arguments, fmt)}
        right_values = refnum.decode(right, fmt)
        if not same(got["values"].item(), right_values.item()):
            wrong.append((name, operands, want, got["values"].item()))
        if all(has(fmt, x) for x in operands if isinstance(x, float)):
            arguments = [codes(fmt, x) if isinstance(x, float) else x for x in operands]
            if (found := function(*arguments, fmt)).item() != right.item():
                wrong.append((name, operands, want, refnum.decode(found, fmt).item()))
    assert not wrong


@pytest.mark.parametrize("fmt", SMALL, ids=str)
def test_the_approximation_of_gelu_has_its_special_values(fmt: Minifloat) -> None:
    x, want = zip(*[*ONE["gelu"], (nan, nan)], strict=True)
    got = functions.gelu(torch.tensor(x, dtype=torch.float64), fmt, approximate="tanh")
    assert bits(got) == bits(refnum.decode(codes(fmt, *want), fmt))


def test_overflow_goes_by_the_format() -> None:
    x = torch.tensor([100.0, -100.0], dtype=torch.float64)
    for fmt, want in (
        (e4m3, [448.0, -1.0]),
        (Minifloat(4, 3, specials="fn", overflow="nan"), [nan, -1.0]),
        (Minifloat(5, 2, overflow="inf"), [inf, -1.0]),
        (e2m1, [6.0, -1.0]),
        (Posit(8), [2.0**24, -1.0]),
    ):
        assert torch.equal(functions.expm1(x, fmt).nan_to_num(5.0), torch.tensor(want).double().nan_to_num(5.0))


def test_without_a_nan_code_nan_is_zero() -> None:
    assert functions.log(codes(e2m1, -1.0), e2m1).item() == 0


# ---- MPFR ---------------------------------------------------------------------------------------------------------

WIDE = gmpy2.context(precision=320)
ODD = gmpy2.context(precision=53, round=gmpy2.RoundToZero)
HALF, FOURTH = gmpy2.mpfr("0.5"), gmpy2.mpfr("0.25")


def _turned(function: Callable[[Any], Any], exact: dict[Any, Any], sign: int) -> Callable[[Any], Any]:
    """A function of pi * x, x modulo 2 being exact: known values, or computed; odd (-1) or even (1)."""

    def of_turns(x: Any) -> Any:
        if not gmpy2.is_finite(x):
            return gmpy2.nan()
        r = gmpy2.fmod(abs(x), 2)
        y = gmpy2.mpfr(exact[r]) if r in exact else function(gmpy2.const_pi() * r)
        return sign * y if gmpy2.is_signed(x) else y

    return of_turns


#: x -> the function of pi * x; of zeros and poles the signs are IEEE 754's
SINES = {0: 0.0, HALF: 1, 1: 0.0, HALF + 1: -1}
COSINES = {0: 1, HALF: 0.0, 1: -1, HALF + 1: 0.0}
TANGENTS = {0: 0.0, FOURTH: 1, HALF: inf, 3 * FOURTH: -1, 1: -0.0, 1 + FOURTH: 1, 1 + HALF: -inf, 7 * FOURTH: -1}


def _normal(x: Any) -> Any:
    return gmpy2.erfc(-x / gmpy2.sqrt(gmpy2.mpfr(2))) / 2


def _tanh_gelu(x: Any) -> Any:
    cubic = gmpy2.mpfr("0.044715") * x * x * x
    return x / (1 + gmpy2.exp(-2 * gmpy2.sqrt(2 / gmpy2.const_pi()) * (x + cubic)))


def _minus_one(power: Callable[[Any], Any], base: int) -> Callable[[Any], Any]:
    # Of small x through expm1: 320 bits less some 140 that its product with the logarithm's last bits may cost.
    return lambda x: power(x) - 1 if abs(x) > 1 else gmpy2.expm1(x * gmpy2.log(gmpy2.mpfr(base)))


MPFR: dict[str, Callable[..., Any]] = {
    **{name: getattr(gmpy2, name) for name in "sqrt exp expm1 exp2 exp10 log log1p log2 log10".split()},
    **{name: getattr(gmpy2, name) for name in "sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh".split()},
    "rsqrt": lambda x: gmpy2.rec_sqrt(x) if x else 1 / x,  # MPFR gives Inf without the sign
    "reciprocal": lambda x: 1 / x,
    "exp2m1": _minus_one(gmpy2.exp2, 2),
    "exp10m1": _minus_one(gmpy2.exp10, 10),
    "log2p1": lambda x: gmpy2.log2(1 + x) if abs(x) > 2**-60 else gmpy2.log1p(x) / gmpy2.log(gmpy2.mpfr(2)),
    "log10p1": lambda x: gmpy2.log10(1 + x) if abs(x) > 2**-60 else gmpy2.log1p(x) / gmpy2.log(gmpy2.mpfr(10)),
    "sinpi": _turned(gmpy2.sin, SINES, -1),
    "cospi": _turned(gmpy2.cos, COSINES, 1),
    "tanpi": _turned(gmpy2.tan, TANGENTS, -1),
    "asinpi": lambda x: gmpy2.asin(x) / gmpy2.const_pi(),
    "acospi": lambda x: gmpy2.acos(x) / gmpy2.const_pi(),
    "atanpi": lambda x: gmpy2.atan(x) / gmpy2.const_pi(),
    "sigmoid": lambda x: 1 / (1 + gmpy2.exp(-x)),
    "silu": lambda x: x / (1 + gmpy2.exp(-x)),
    "gelu": lambda x: x * _normal(x),
    "gelu_tanh": _tanh_gelu,
    "hypot": gmpy2.hypot,
    "pow": lambda x, y: x**y,
    "atan2": gmpy2.atan2,
    "atan2pi": lambda y, x: gmpy2.atan2(y, x) / gmpy2.const_pi(),
    "softmax_exp": lambda x, m: gmpy2.exp(x - m),
    "compoundn": lambda x, k: (1 + x) ** k,
    "rootn": lambda x, k: gmpy2.rootn(x, k) if k > 0 else 1 / gmpy2.rootn(x, -k),
}


def to_odd(y: Any) -> float:
    """The real result in float64, rounded to odd; what is very large or small, to something large or small."""
    if not gmpy2.is_finite(y) or y == 0:
        return float(y)
    if abs(y) > 2**400 or abs(y) < gmpy2.mpfr(2) ** -400:
        return math.copysign(2.0**400 if abs(y) > 1 else 2.0**-400, y)
    z = ODD.plus(y)
    if z.rc == 0:
        return float(z)
    pattern = int(np.float64(float(z)).view(np.int64))
    return float(np.int64(pattern | 1).view(np.float64))


def right_results(name: str, *columns: list[Any]) -> np.ndarray:
    """The function at rows of floats, and an integer at the end if it takes one, rounded to odd."""
    with gmpy2.context(WIDE):
        rows = zip(*columns, strict=True)
        made = (MPFR[name](*(gmpy2.mpfr(x) if isinstance(x, float) else x for x in row)) for row in rows)
        return np.array([to_odd(gmpy2.mpfr(y)) for y in made])


def nearest(y: np.ndarray, fmt: Minifloat) -> np.ndarray:
    """float64 that was rounded to odd, rounded to the format: to nearest, ties to even; overflow as it says."""
    _, exponent = np.frexp(y)
    unit = np.maximum(exponent - 1, fmt.min_scale) - fmt.mantissa
    finite = np.isfinite(y)
    rounded = np.where(finite, np.ldexp(np.rint(np.ldexp(np.where(finite, y, 0.0), -unit)), unit), y)
    end = np.inf if fmt.overflow == "inf" else fmt.max_value
    rounded = np.where(np.abs(rounded) > fmt.max_value, np.copysign(end, rounded), rounded)
    return rounded + 0.0 if fmt.specials == "fnuz" else rounded  # which has no -0


def differing(got: Tensor, want: np.ndarray) -> Tensor:
    """Indices where two float64 results differ, all NaNs being one."""
    return (
        (torch.from_numpy(want).view(torch.int64) != got.contiguous().view(torch.int64))
        & ~(torch.from_numpy(np.isnan(want)) & got.isnan())
    ).nonzero()[:, 0]


def test_the_oracle_rounds_as_torch_and_numpy_do() -> None:
    """On float64 that is no result of anything: all halves of float16 and their neighbours, subnormal and too large."""
    every = torch.arange(1 << 15, dtype=torch.int16).view(torch.float16).double().numpy()[: float16.largest]
    halves = (every[1:] + every[:-1]) / 2
    y = np.concatenate([every, halves, np.nextafter(halves, 0), np.nextafter(halves, 9e9), -halves, [65520.0, 65519.9]])
    with np.errstate(over="ignore"):
        assert np.array_equal(nearest(y, float16), y.astype(np.float16).astype(np.float64))


def operands_of(fmt: Minifloat, step: int) -> Tensor:
    """Codes of numbers, Inf and zeros: every one, or every so many, with the ends of each binade."""
    every = torch.arange(1 << fmt.width)
    x = refnum.decode(every, fmt)
    fraction = every & ((1 << fmt.mantissa) - 1)
    edges = (fraction <= 1) | (fraction == (1 << fmt.mantissa) - 1)
    return every[~x.isnan() & (edges | (every % step == 0))]


def check_every(name: str, fmt: Minifloat, step: int) -> None:
    every = operands_of(fmt, step)
    x = refnum.decode(every, fmt).tolist()
    result = functions.gelu(every, fmt, approximate="tanh") if name == "gelu_tanh" else None
    got = getattr(functions, name)(every, fmt) if result is None else result
    limits = [i for i, v in enumerate(x) if math.isinf(v)]
    want = nearest(right_results(name, x), fmt)
    if name in ("silu", "gelu", "gelu_tanh"):  # 0 times Inf in the oracle: the table has the limits
        want[limits] = [v if v > 0 else -0.0 for v in (x[i] for i in limits)]
    wrong = differing(refnum.decode(got, fmt), want)
    assert not [(x[i], refnum.decode(got, fmt)[i].item(), want[i]) for i in wrong[:9]]


EVERY = [*OF_ONE, "gelu_tanh"]


@pytest.mark.parametrize("fmt", [bfloat16, float16], ids=str)
@pytest.mark.parametrize("name", EVERY)
def test_codes_of_16_bits_against_mpfr(name: str, fmt: Minifloat) -> None:
    check_every(name, fmt, 61)


@pytest.mark.slow
@pytest.mark.parametrize("fmt", [bfloat16, float16], ids=str)
@pytest.mark.parametrize("name", EVERY)
def test_every_code_of_16_bits_against_mpfr(name: str, fmt: Minifloat) -> None:
    check_every(name, fmt, 1)


def numbers(fmt: Format, count: int, seed: int) -> Tensor:
    """Codes of numbers that are not 0, of all magnitudes, half of them near 1; as the format's container holds them."""
    random = np.random.default_rng(seed)
    size = 10.0 ** np.where(random.random(count) < 0.5, random.uniform(-1, 1, count), random.uniform(-40, 40, count))
    x = torch.from_numpy(np.copysign(size, random.uniform(-1, 2, count)))
    found = refnum.encode(x.clamp(-fmt.max_value, fmt.max_value), fmt)
    return found[found.long() & ((1 << fmt.width - 1) - 1) != 0]  # no zero of either sign


@pytest.mark.parametrize("fmt", [bfloat16, float16, e5m2, float32], ids=str)
@pytest.mark.parametrize("name", OF_TWO)
def test_two_arguments_against_mpfr(name: str, fmt: Minifloat) -> None:
    a, b = numbers(fmt, 900, 1), numbers(fmt, 900, 2)
    count = min(len(a), len(b))
    # Whole powers and equal operands are exact; powers of 2 and of 4 have roots.
    a = torch.cat([a[:count], a[:count], codes(fmt, *(2.0**k for k in range(-8, 8)))])
    b = torch.cat([b[:count], a[:count].roll(1), codes(fmt, *(0.5 * k for k in range(-8, 8)))])
    got = refnum.decode(getattr(functions, name)(a, b, fmt), fmt)
    want = nearest(right_results(name, refnum.decode(a, fmt).tolist(), refnum.decode(b, fmt).tolist()), fmt)
    if name == "pow":  # MPFR says -Inf**y of powers that overflow to it, and NaN of no other operands
        assert np.isnan(want).any()
    wrong = differing(got, want)
    assert not [(refnum.decode(a, fmt)[i].item(), refnum.decode(b, fmt)[i].item(), want[i]) for i in wrong[:9]]


@pytest.mark.parametrize("fmt", [bfloat16, float16, e5m2, float32], ids=str)
@pytest.mark.parametrize("name", WITH_K)
def test_integers_against_mpfr(name: str, fmt: Minifloat) -> None:
    a = numbers(fmt, 900, 3)
    k = torch.from_numpy(np.random.default_rng(4).integers(-40, 40, len(a)))
    x, integers = refnum.decode(a, fmt), k.tolist()
    domain = (x > -1 if name == "compoundn" else (x > 0) | (k % 2 != 0)) & (k != 0)
    assert 100 < domain.sum() < len(a)
    got = refnum.decode(getattr(functions, name)(a, k, fmt), fmt)
    assert bool(got[~domain & (k != 0) & (x != -1)].isnan().all())
    rows = domain.nonzero()[:, 0].tolist()
    want = nearest(right_results(name, [x[i].item() for i in rows], [integers[i] for i in rows]), fmt)
    assert not differing(got[domain], want).tolist()


@pytest.mark.parametrize("name", EVERY)
def test_values_of_wide_dtypes_against_mpfr(name: str) -> None:
    """A float32 or float64 rounded once to a narrower format; and float32 to itself."""
    for dtype, fmt in ((torch.float32, bfloat16), (torch.float64, float16), (torch.float32, float32)):
        x = refnum.decode(numbers(float32, 300, 5), float32, dtype=torch.float32).to(dtype)
        x = torch.cat([x, x % 2 - 1, torch.tensor([1 - 2.0**-20, 1 + 2.0**-20, 2.0**-30, 3.0000002], dtype=dtype)])
        got = functions.gelu(x, fmt, approximate="tanh") if name == "gelu_tanh" else getattr(functions, name)(x, fmt)
        assert got.dtype == dtype
        want = nearest(right_results(name, x.tolist()), fmt)
        assert not [x[i].item() for i in differing(got.double(), want)[:9]]


@pytest.mark.parametrize("fmt", [float16, tf32, e5m2fnuz], ids=str)
@pytest.mark.parametrize("name", EVERY)
def test_values_at_the_ends_of_float64_against_mpfr(name: str, fmt: Minifloat) -> None:
    """Beyond what estimates are good for, subnormal ones among them; also where the machine takes those for 0."""
    size = [5e-324, 3e-310, 2.0**-1022, 2.0**-1000, 1e-280, 1e280, 2.0**1000, 1.7976931348623157e308]
    x = torch.tensor([*size, *(-v for v in size)], dtype=torch.float64)
    want = nearest(right_results(name, x.tolist()), fmt)
    for flush in (False, True):
        assert torch.set_flush_denormal(flush)
        got = functions.gelu(x, fmt, approximate="tanh") if name == "gelu_tanh" else getattr(functions, name)(x, fmt)
        assert torch.set_flush_denormal(False)
        assert not [(x[i].item(), got[i].item(), want[i]) for i in differing(got, want)]


@pytest.mark.parametrize("name", [n for n in OF_ONE if n not in ("sqrt", "reciprocal")])
def test_float64_to_itself(name: str) -> None:
    """By the definition alone: at precision 53, MPFR's last bit is that of the result."""
    x = torch.tensor([0.1, 0.7, 1 + 2.0**-40, 3.3, 1e-5, 17.25, 0.999], dtype=torch.float64)
    got = getattr(functions, name)(x, float64)
    with gmpy2.context(WIDE):
        made = [MPFR[name](gmpy2.mpfr(v)) for v in x.tolist()]
    with gmpy2.context(precision=53):
        want = torch.tensor([float(gmpy2.mpfr(y, 53)) for y in made], dtype=torch.float64)
    assert bits(got.nan_to_num(5.0)) == bits(want.nan_to_num(5.0))


# ---- the tiers ----------------------------------------------------------------------------------------------------

FORMATS = (Posit(16), Posit(32), Posit(20, 0), Posit(31, 4), e4m3, e5m2fnuz, bfloat16, float16, tf32, float32)


def definition(name: str, fmt: Format, *operands: Tensor, k: Tensor | None = None) -> Tensor:
    return decide(name, operands, (fmt,) * len(operands), fmt, k).to(container(fmt))


def hard(fmt: Format, seed: int) -> Tensor:
    """Codes of everything that an operand can be."""
    special = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, inf, -inf, nan, fmt.max_value, -fmt.max_value, 2.0**-200]
    exact = codes(fmt, *(x for x in special if isinstance(fmt, Posit) or has(fmt, x)))
    return torch.cat([exact, numbers(fmt, 40, seed)])


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_every_function_is_its_definition(fmt: Format) -> None:
    a = hard(fmt, 6)
    b = a.roll(5)
    k = (torch.arange(len(a)) - 20) ** 3
    for name in OF_ONE:
        assert torch.equal(getattr(functions, name)(a, fmt), definition(name, fmt, a)), name
    for name in OF_TWO:
        assert torch.equal(getattr(functions, name)(a, b, fmt), definition(name, fmt, a, b)), name
    for name in WITH_K:
        assert torch.equal(getattr(functions, name)(a, k, fmt), definition(name, fmt, a, k=k)), name


@pytest.mark.parametrize("name", ["exp", "tanpi", "log2", "gelu"])
@pytest.mark.parametrize("fmt", [bfloat16, Posit(16), e4m3], ids=str)
def test_a_table_is_what_it_is_made_of(name: str, fmt: Format) -> None:
    every = torch.arange(1 << fmt.width)
    whole = getattr(functions, name)(every, fmt)
    some = torch.arange(0, 1 << fmt.width, max(1, (1 << fmt.width) // 97))
    parts = torch.cat([getattr(functions, name)(x, fmt) for x in some.split(5)])  # too few for a table
    assert torch.equal(whole[some], parts)


@pytest.mark.parametrize("fmt", [Posit(8), Posit(16), Posit(32, 1), Posit(64)], ids=str)
def test_functions_of_posits_are_those_of_the_standard(fmt: Posit) -> None:
    a = hard(fmt, 7)
    assert torch.equal(functions.exp2m1(a, fmt), posit.exp2_minus1(a, fmt))
    assert torch.equal(functions.sqrt(a, fmt), posit.sqrt(a, fmt))
    one = codes(fmt, 1.0)
    assert torch.equal(functions.reciprocal(a, fmt), posit.div(one, a, fmt))
    assert torch.equal(functions.atan2(a, one, fmt), posit.arc_tan2(one, a, fmt))
    assert torch.equal(functions.compoundn(a, 3, fmt), posit.compound(a, 3, fmt))


# ---- arguments ----------------------------------------------------------------------------------------------------


def call(name: str, x: Any, fmt: Any, **options: Any) -> Any:
    """One operand, repeated where the function takes two; 3 where it takes an integer."""
    second = {"k": (3,), "fmt": ()}.get(PARAMETERS[name][1], (x,))
    return getattr(functions, name)(x, *second, fmt, **options)


@pytest.mark.parametrize("name", PARAMETERS)
def test_codes_come_out_as_codes_and_values_as_values(name: str) -> None:
    for fmt, dtype in ((e4m3, torch.uint8), (bfloat16, torch.int16), (Posit(8), torch.int8), (tf32, torch.int32)):
        x = codes(fmt, 0.5, 1.0)
        assert call(name, x, fmt).dtype == dtype == container(fmt)
        assert torch.equal(call(name, x.long(), fmt), call(name, x, fmt))
        values = refnum.decode(x, fmt).float()
        got = call(name, values, fmt)
        assert got.dtype == torch.float32
        assert bits(got) == bits(refnum.decode(call(name, x, fmt), fmt, dtype=torch.float32))
    same_dtype = call(name, torch.tensor([0.5, 1.0], dtype=torch.bfloat16), bfloat16)
    assert same_dtype.dtype == torch.bfloat16


@pytest.mark.parametrize("name", PARAMETERS)
def test_shapes(name: str) -> None:
    x = torch.linspace(0.1, 0.9, 24, dtype=torch.bfloat16).view(2, 3, 4)
    want = call(name, x, bfloat16)
    assert want.shape == x.shape
    assert call(name, x[:0], bfloat16).shape == (0, 3, 4)
    assert bits(call(name, x[1, 2, 3], bfloat16)) == bits(want[1, 2, 3])
    assert bits(call(name, x.mT, bfloat16)) == bits(want.mT)
    assert bits(call(name, x[:, ::2], bfloat16)) == bits(want[:, ::2])
    assert bits(call(name, x[:1].expand(2, 3, 4), bfloat16)) == bits(want[:1].expand(2, 3, 4))


def test_operands_broadcast() -> None:
    x, y = torch.tensor([[1.0], [4.0]]), torch.tensor([0.5, 2.0, -1.0])
    assert functions.pow(x, y, float32).tolist() == [[1.0, 1.0, 1.0], [2.0, 16.0, 0.25]]
    assert functions.rootn(x, torch.tensor([1, 2], dtype=torch.int8), float32).tolist() == [[1.0, 1.0], [4.0, 2.0]]
    logits = torch.tensor([[1.0, 3.0], [-inf, 0.0]])
    largest = logits.amax(-1, keepdim=True)
    assert functions.softmax_exp(logits, largest, bfloat16)[1].tolist() == [0.0, 1.0]
    assert functions.compoundn(torch.tensor(1.0), torch.tensor([2, 3], dtype=torch.uint8), float32).tolist() == [
        4.0,
        8.0,
    ]


def test_negated_views_and_ones_without_data_of_their_own() -> None:
    x = torch.tensor([1.0 + 2.0j]).conj().imag
    assert x.is_neg()
    assert bits(functions.exp(x, bfloat16)) == bits(functions.exp(torch.tensor([-2.0]), bfloat16))


@pytest.mark.parametrize("fmt", [Posit(12), e2m1, Minifloat(4, 5)], ids=str)
def test_bits_above_a_code_are_not_read(fmt: Format) -> None:
    x = torch.arange(1 << fmt.width).repeat(2)[: 1 << 10].int()
    garbage = x | (torch.arange(len(x), dtype=torch.int32) * 12345 << fmt.width)
    assert not torch.equal(x, garbage)
    assert torch.equal(functions.sinh(x, fmt), functions.sinh(garbage, fmt))
    assert torch.equal(functions.atan2(x, x.flip(0), fmt), functions.atan2(garbage, garbage.flip(0), fmt))


def test_pieces_are_as_good_as_the_whole() -> None:
    x = torch.linspace(-20, 20, CHUNK + 77)
    want = functions.tanh(x, float32)
    assert bits(torch.cat([functions.tanh(part, float32) for part in x.split(5000)])) == bits(want)
    two = functions.hypot(x, x.flip(0), float32)
    assert bits(functions.hypot(x[7:], x.flip(0)[7:], float32)) == bits(two[7:])


def test_operands_stay_as_they_are() -> None:
    x, before = torch.linspace(-2, 2, 99), torch.linspace(-2, 2, 99)
    functions.pow(x, x, bfloat16)
    functions.gelu(x, bfloat16)
    assert torch.equal(x, before)


# ---- refusals -----------------------------------------------------------------------------------------------------

X, P = torch.tensor([0.5]), torch.tensor([0x40], dtype=torch.int8)


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_function_refuses_alike(name: str) -> None:
    where = rf"^functions\.{'gelu' if name == 'gelu' else name} "
    for fmt in ("bfloat16", 16, None, (16, 2)):
        with pytest.raises(FormatError, match=where + "needs a format record, got "):
            call(name, X, fmt)
    with pytest.raises(FormatError, match=where + "needs a format of single values, got mxfp4"):
        call(name, X, refnum.mxfp4)
    with pytest.raises(FormatError, match=where + "cannot write e8m0"):
        call(name, X, e8m0)
    with pytest.raises(FormatError, match=where + r"cannot return posit32 as float32 .* Convert \w to torch\.float64"):
        call(name, X, refnum.posit32)
    with pytest.raises(DTypeError, match=where + r"needs posit16 patterns for \w, got torch\.int8\. "):
        call(name, P, refnum.posit16)
    for dtype in (torch.bool, torch.complex64):
        with pytest.raises(DTypeError, match=where + rf"needs posit8 patterns for \w, got {dtype}"):
            call(name, P.to(dtype), refnum.posit8)
    with pytest.raises(DTypeError, match=where + r"needs floating-point values for \w, got torch\.float8_e4m3fn"):
        call(name, X.to(torch.float8_e4m3fn), e4m3)
    with pytest.raises(DTypeError, match=where + r"needs a tensor for \w, got float"):
        call(name, 0.5, bfloat16)
    with pytest.raises(DTypeError, match=where + r"needs a dense tensor for \w, got layout"):
        call(name, X.to_sparse(), bfloat16)


@pytest.mark.parametrize("name", PARAMETERS)
def test_there_is_no_gradient(name: str) -> None:
    x = X.clone().requires_grad_()
    with pytest.raises(UncoveredError, match=rf"^functions\.{name} .* Use \w\.detach\(\)\.$") as caught:
        call(name, x, bfloat16)
    assert (caught.value.op, caught.value.reason) == (f"functions.{name}", "no gradient is defined here")
    with torch.no_grad():
        assert bits(call(name, x, bfloat16)) == bits(call(name, X, bfloat16))
    assert not call(name, x.detach(), bfloat16).requires_grad


@pytest.mark.parametrize("name", OF_TWO)
def test_operands_are_of_one_kind(name: str) -> None:
    function, (first, second, *_) = getattr(functions, name), PARAMETERS[name]
    wanted = (
        rf"^functions\.{name} needs floats of one dtype, or codes throughout, got {first} torch\.\w+, {second} torch"
    )
    for a, b in ((X, P), (P, X), (X, X.double()), (X.half(), X.bfloat16())):
        with pytest.raises(DTypeError, match=wanted):
            function(a, b, refnum.posit8)
    with pytest.raises(ShapeError, match=rf"^functions\.{name} cannot broadcast {first} \(2,\), {second} \(3,\)"):
        function(X.repeat(2), X.repeat(3), bfloat16)
    with pytest.raises(DTypeError, match=rf"^functions\.{name} needs its tensors on one device"):
        function(X, X.to("meta"), bfloat16)
    assert torch.equal(function(P, P.long(), refnum.posit8), function(P, P, refnum.posit8))


@pytest.mark.parametrize("name", WITH_K)
def test_integers_are_integers(name: str) -> None:
    function = getattr(functions, name)
    allowed = "Allowed are uint8, int8, int16, int32, int64 and Python ints"
    for k, got in ((True, "bool"), (2.0, "float"), ("2", "str"), (None, "NoneType"), (X, "torch.float32")):
        with pytest.raises(DTypeError, match=rf"^functions\.{name} needs integers for k, got {got}\. {allowed}\."):
            function(X, k, bfloat16)
    with pytest.raises(DTypeError, match=r"got torch\.bool"):
        function(X, torch.tensor([True]), bfloat16)
    for k in (2**63, -(2**63) - 1):
        with pytest.raises(ContractError, match=rf"^functions\.{name} has no k={k}: k is an int from -2\*\*63 to 2"):
            function(X, k, bfloat16)
    with pytest.raises(ShapeError, match=rf"^functions\.{name} cannot broadcast x \(2,\), k \(3,\)"):
        function(X.repeat(2), torch.arange(3), bfloat16)
    assert function(X, -(2**63), bfloat16).shape == X.shape
    assert function(X, 2**63 - 1, bfloat16).shape == X.shape


def test_gelu_has_two_forms() -> None:
    x = torch.linspace(-3, 3, 100)
    assert not torch.equal(functions.gelu(x, float32), functions.gelu(x, float32, approximate="tanh"))
    assert torch.equal(functions.gelu(x, float32, approximate="none"), functions.gelu(x, float32))
    with pytest.raises(ContractError, match=r"^functions\.gelu has no approximate='erf'\. Choose one of none, tanh\.$"):
        functions.gelu(x, float32, approximate="erf")
