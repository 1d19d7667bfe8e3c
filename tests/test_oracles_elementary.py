"""The oracle of elementary functions: two forms agree, with mpmath and the specification as witnesses.

The plain form rounds twice and asks MPFR through gmpy2, or encloses; columns are loops in C, rounded to odd.
"""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Callable
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from refnum_conformance import function_inputs, runner
from refnum_conformance.operations import BY_NAME, Op, Options, record
from refnum_conformance.oracles import elementary, minifloat, mpfr_numbers, posit, posit_literal
from refnum_conformance.oracles.elementary import FUNCTIONS, Function, evaluate
from refnum_conformance.oracles.minifloat import FLOATS, Row, Special
from refnum_conformance.oracles.mpfr_numbers import number
from refnum_conformance.oracles.reals import Dyadic
from refnum_conformance.peers import builds, mpfr
from refnum_conformance.plan import FULL, Job, jobs
from refnum_conformance.sources import ORACLE

gmpy2 = pytest.importorskip("gmpy2")
needs_loops = pytest.mark.skipif(not mpfr.available()[0], reason=mpfr.available()[1])

E4M3, E5M2 = Row(4, 3, 7, "fn"), Row(5, 2, 15, "ieee", "inf")
HALF, BFLOAT16 = FLOATS["float16"], FLOATS["bfloat16"]
ROWS = [op for op in BY_NAME.values() if op.columns is not None]


# Two forms -----------------------------------------------------------------------------------------------------------


def _formats(op: Op) -> list[Options]:
    if op.name.startswith("function"):
        rows = (E4M3, E5M2, HALF, BFLOAT16, Row(2, 1, 1, "none"), Row(4, 3, 8, "fnuz", "nan"))
        return [{**row._asdict(), **variant} for row in rows for variant in op.variants({})]
    return [{"n": n, "es": es} for n, es in ((2, 0), (3, 2), (5, 4), (8, 0), (8, 2), (16, 1), (32, 2), (32, 4))]


@needs_loops
@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_columns_are_what_is_written_out(op: Op) -> None:
    for options in _formats(op):
        operands = function_inputs.columns(op, options, 48, seed=7)
        assert op.columns is not None
        got = op.columns(*operands, **options).tolist()
        want = [op.oracle(*case, **options) for case in zip(*(x.tolist() for x in operands), strict=True)]
        assert got == want, options


@needs_loops
@pytest.mark.parametrize(("n", "es"), [*itertools.product(range(2, 8), range(5)), (9, 2), (10, 0)])
def test_columns_round_as_the_standard_says(n: int, es: int) -> None:
    """At every number, half-way between them, and a little to both sides."""
    codes = np.arange(1, 1 << (n - 1))
    numbers, halves = mpfr.posit_values(codes, n, es), mpfr.posit_values(2 * codes + 1, n + 1, es)
    places = np.concatenate([numbers, halves, numbers * 0.3])
    x = np.concatenate([places, np.nextafter(places, 0), np.nextafter(places, np.inf)])
    x = np.concatenate([x, -x])
    assert mpfr.posit_patterns(x, n, es).tolist() == [posit.rounded(_dyadic(v), n, es) for v in x.tolist()]


@needs_loops
def test_columns_round_wide_posits_as_the_standard_says() -> None:
    random = np.random.default_rng(1)
    for n, es in ((17, 1), (24, 2), (31, 2), (32, 0), (32, 2), (32, 4)):
        codes = random.integers(1, 1 << (n - 1), 2000) >> random.integers(0, n - 2, 2000)
        codes = np.where(random.random(2000) < 0.5, codes, (1 << (n - 1)) - 1 - codes).clip(1)
        numbers, halves = mpfr.posit_values(codes, n, es), mpfr.posit_values(2 * codes + 1, n + 1, es)
        x = np.concatenate([numbers, halves, np.nextafter(halves, 0), -np.nextafter(halves, np.inf)])
        assert mpfr.posit_patterns(x, n, es).tolist() == [posit.rounded(_dyadic(v), n, es) for v in x.tolist()]


@pytest.mark.parametrize("n", range(2, 13))
def test_values_of_columns_are_those_of_patterns(n: int) -> None:
    codes = np.arange(1 << n)
    for es in range(5):
        want = [posit_literal.decode(code, n, es) for code in codes.tolist()]
        values = [float("nan") if x is None else float(x.fraction()) for x in want]
        np.testing.assert_array_equal(mpfr.posit_values(codes, n, es), values)


@pytest.mark.parametrize("row", [E4M3, E5M2, HALF, Row(2, 1, 1, "none"), Row(5, 0, 15, "none"), Row(4, 3, 8, "fnuz")])
def test_codes_of_columns_are_those_of_numbers(row: Row) -> None:
    numbers = np.array([float(minifloat.magnitude(code, row).fraction()) for code in range(row.largest + 2)])[::13]
    places = np.concatenate([numbers, mpfr._halves(row)[::7], mpfr._halves(row)[-2:], [0.0, 1e9, math.inf]])
    x = np.concatenate([places, np.nextafter(places, 0), np.nextafter(places, np.inf)])
    x = np.concatenate([x, -x, [math.nan]])
    want = [minifloat.encode(math.copysign(1, v) < 0, _magnitude(v), row) for v in x.tolist()]
    assert mpfr.minifloat_codes(x, row).tolist() == want


def _dyadic(x: float) -> Dyadic:
    m, denominator = x.as_integer_ratio()
    return Dyadic(m, 1 - denominator.bit_length())


def _magnitude(x: float) -> Dyadic | Special:
    if math.isnan(x) or math.isinf(x):
        return Special.NAN if math.isnan(x) else Special.INF
    return _dyadic(abs(x))


# mpmath --------------------------------------------------------------------------------------------------------------


def _meanings(mp: Any) -> dict[str, Callable[..., Any]]:
    """What each name means, in mpmath's terms."""

    def gelu_tanh(x: Any) -> Any:
        u = mp.sqrt(2 / mp.pi) * (x + mp.mpf(44715) / 10**6 * x**3)
        return x / (1 + mp.exp(-2 * u))

    alike = (
        "sqrt exp log sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh sinpi cospi atan2 expm1 log1p".split()
    )
    return {name: getattr(mp, name) for name in alike} | {
        "rsqrt": lambda x: 1 / mp.sqrt(x),
        "reciprocal": lambda x: 1 / x,
        "exp2": lambda x: mp.power(2, x),
        "exp2m1": lambda x: mp.power(2, x) - 1,
        "exp10": lambda x: mp.power(10, x),
        "exp10m1": lambda x: mp.power(10, x) - 1,
        "log2": lambda x: mp.log(x) / mp.log(2),
        "log2p1": lambda x: mp.log(1 + x) / mp.log(2),
        "log10": lambda x: mp.log(x) / mp.log(10),
        "log10p1": lambda x: mp.log(1 + x) / mp.log(10),
        "tanpi": lambda x: mp.sinpi(x) / mp.cospi(x),
        "asinpi": lambda x: mp.asin(x) / mp.pi,
        "acospi": lambda x: mp.acos(x) / mp.pi,
        "atanpi": lambda x: mp.atan(x) / mp.pi,
        "atan2pi": lambda y, x: mp.atan2(y, x) / mp.pi,
        "hypot": lambda x, y: mp.sqrt(x * x + y * y),
        "pow": mp.power,
        "compoundn": lambda x, k: mp.power(1 + x, k),
        "rootn": lambda x, k: mp.power(x, mp.mpf(1) / k) if x > 0 else -mp.power(-x, mp.mpf(1) / k),
        "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
        "silu": lambda x: x / (1 + mp.exp(-x)),
        "gelu": lambda x: x * mp.erfc(-x / mp.sqrt(2)) / 2,
        "gelu_tanh": gelu_tanh,
        "softmax_exp": lambda x, m: mp.exp(x - m),
    }


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_mpmath_agrees_to_sixty_bits(function: Function) -> None:
    """In formats so wide that a slip in rounding, or 53 bits somewhere between, would show."""
    mp = pytest.importorskip("mpmath").mp
    compared, random = 0, np.random.default_rng(3)
    for n, es in ((64, 2), (63, 0), (40, 1)):
        half = 1 << (n - 2)  # the pattern of 1
        for _ in range(40):
            codes = [int(half + random.integers(-half >> 2, half >> 2)) for _ in range(function.numbers)]
            codes = [code if random.random() < 0.7 else -code for code in codes]
            k = [int(random.choice([-9, -3, -2, -1, 1, 2, 3, 7, 30]))] if function.operands.endswith("k") else []
            got = _value(function, codes, k, n, es)
            if isinstance(got[1], Special):
                continue
            with mp.workprec(2500):
                numbers = [posit_literal.value(code, n, es) for code in codes]
                sign, m, e, _ = _meanings(mp)[function.name](*(mp.ldexp(x.m, x.e) for x in numbers), *k)._mpf_
            want = posit.rounded(Dyadic(-int(m) if sign else int(m), e), n, es)
            assert posit.rounded(minifloat.signed(*got), n, es) == want, (function.name, codes, k, n, es)
            compared += 1
    assert compared > 30


def _value(function: Function, codes: list[int], k: list[int], n: int, es: int) -> Any:
    return evaluate(function.name, *(number(False, posit_literal.value(code, n, es)) for code in codes), *k)


# Exact results, ties among them --------------------------------------------------------------------------------------

EXACT = [
    ("exp2m1", (11,), 2047),
    ("exp2m1", (-3,), Fraction(-7, 8)),
    ("exp10m1", (7,), 9999999),
    ("exp2", (-5,), Fraction(1, 32)),
    ("exp10", (9,), 10**9),
    ("log2", (Fraction(1, 8),), -3),
    ("log10", (10**6,), 6),
    ("log2p1", (1023,), 10),
    ("log2p1", (Fraction(-3, 4),), -2),
    ("log10p1", (99999,), 5),
    ("sinpi", (Fraction(5, 2),), 1),
    ("sinpi", (Fraction(-1, 2),), -1),
    ("cospi", (2**70,), 1),
    ("cospi", (-3,), -1),
    ("cospi", (Fraction(7, 2),), 0),
    ("tanpi", (Fraction(3, 4),), -1),
    ("tanpi", (Fraction(-3, 4),), 1),
    ("asinpi", (-1,), Fraction(-1, 2)),
    ("acospi", (0,), Fraction(1, 2)),
    ("acospi", (-1,), 1),
    ("acospi", (1,), 0),
    ("atanpi", (-1,), Fraction(-1, 4)),
    ("atan2pi", (7, -7), Fraction(3, 4)),
    ("atan2pi", (-(2**-60), 0), Fraction(-1, 2)),
    ("rsqrt", (Fraction(1, 16),), 4),
    ("sqrt", (Fraction(9, 4),), Fraction(3, 2)),
    ("rootn", (-(2**9), -3), Fraction(-1, 8)),
    ("rootn", (3**5 * 2**5, 5), 6),
    ("rootn", (Fraction(1, 4), -2), 2),
    ("hypot", (Fraction(3, 8), -Fraction(1, 2)), Fraction(5, 8)),
    ("pow", (Fraction(81, 16), Fraction(3, 4)), Fraction(27, 8)),
    ("pow", (-2, -3), Fraction(-1, 8)),
    ("compoundn", (2, 20), 3**20),
    ("compoundn", (-3, 3), -8),
    ("compoundn", (-1, 0), 1),
    ("sigmoid", (0,), Fraction(1, 2)),
    ("softmax_exp", (2**-900, 2**-900), 1),
]


@pytest.mark.parametrize(("name", "operands", "want"), EXACT, ids=[f"{name}{operands}" for name, operands, _ in EXACT])
def test_exact_values_are_exact(name: str, operands: tuple[Any, ...], want: Any) -> None:
    integers = elementary.BY_NAME[name].operands.endswith("k")
    numbers = operands[:-1] if integers else operands
    negative, x = evaluate(name, *map(_mpfr, numbers), *(operands[-1:] if integers else ()))
    assert isinstance(x, Dyadic)
    assert minifloat.signed(negative, x).fraction() == want


def _mpfr(x: Any) -> Any:
    x = Fraction(x)
    return number(x < 0, Dyadic(abs(x.numerator), 1 - x.denominator.bit_length()))


@pytest.mark.parametrize(
    ("row", "operands", "n", "want"),
    [
        ("exp2_minus1", (6.0,), 10, 64.0),  # 63 is half-way between 62 and 64, to even
        ("exp2_minus1", (5.0,), 8, 32.0),
        ("exp10_minus1", (1.0,), 8, 9.0),
        ("exp10_minus1", (2.0,), 8, 96.0),
        ("exp", (2.0**20,), 8, 2.0**24),
        ("exp", (-(2.0**20),), 8, 2.0**-24),
        ("exp_minus1", (-(2.0**20),), 8, -1.0),
        ("tan_h", (2.0**24,), 8, 1.0),
        ("sin", (2.0**-24,), 8, 2.0**-24),
        ("cos", (2.0**-24,), 8, 1.0),
        ("arc_tan2", (-1.0, 0.0), 8, 3.25),  # pi; the real part comes first
        ("arc_tan2", (0.0, -1.0), 8, -1.625),
        ("arc_tan2", (1.0, 0.0), 8, 0.0),
    ],
)
def test_posits_that_were_worked_out_by_hand(row: str, operands: tuple[float, ...], n: int, want: float) -> None:
    codes = [posit.rounded(_dyadic(x), n, 2) for x in operands]
    got = posit_literal.value(elementary.of_posits(elementary.BY_STANDARD[row])(*codes, n=n, es=2), n, 2)
    assert float(got.fraction()) == want


# Where no real number decides ----------------------------------------------------------------------------------------

NAR, MAXPOS = float("nan"), 2.0**24
DECISIONS = [  # posit.md 3, in posit8; k an int
    ("pow", (0.0, 2.0), 0.0),
    ("pow", (0.0, 0.0), NAR),
    ("pow", (0.0, -1.0), NAR),
    ("pow", (-3.0, 0.0), 1.0),
    ("pow", (-2.0, 3.0), -8.0),
    ("pow", (-2.0, 0.5), NAR),
    ("pow", (NAR, 0.0), NAR),
    ("pow", (1.0, NAR), NAR),
    ("compound", (-1.0, 0), 1.0),
    ("compound", (NAR, 0), NAR),
    ("compound", (-1.0, 2), 0.0),
    ("compound", (-1.0, -2), NAR),
    ("compound", (-3.0, 3), -8.0),
    ("compound", (-3.0, -2), 0.25),
    ("compound", (1.0, 1 << 62), MAXPOS),
    ("compound", (1.0, -(1 << 63)), 1 / MAXPOS),
    ("root_n", (4.0, 0), NAR),
    ("root_n", (0.0, 3), 0.0),
    ("root_n", (0.0, -3), NAR),
    ("root_n", (-4.0, 2), NAR),
    ("root_n", (-8.0, 3), -2.0),
    ("root_n", (-8.0, -3), -0.5),
    ("root_n", (MAXPOS, -(1 << 63)), 1.0),
    ("arc_tan2", (0.0, 0.0), NAR),
    ("arc_tan2_pi", (0.0, 0.0), NAR),
    ("arc_tan2_pi", (-1.0, 0.0), 1.0),
    ("r_sqrt", (0.0,), NAR),
    ("log", (0.0,), NAR),
    ("log2", (-1.0,), NAR),
    ("log10_plus1", (-1.0,), NAR),
    ("arc_sin", (1.125,), NAR),
    ("arc_cos_pi", (-1.125,), NAR),
    ("arc_cos_h", (0.9375,), NAR),
    ("arc_tan_h", (1.0,), NAR),
    ("tan_pi", (1.5,), NAR),
    ("tan_pi", (MAXPOS,), 0.0),
]


@pytest.mark.parametrize("case", DECISIONS, ids=str)
def test_decisions_on_posits(case: tuple[str, tuple[Any, ...], float]) -> None:
    row, operands, want = case
    codes = [x if isinstance(x, int) else -128 if math.isnan(x) else posit.rounded(_dyadic(x), 8, 2) for x in operands]
    right = -128 if math.isnan(want) else posit.rounded(_dyadic(want), 8, 2)
    assert elementary.of_posits(elementary.BY_STANDARD[row])(*codes, n=8, es=2) == right
    if mpfr.available()[0]:
        columns = [np.array([code]) for code in codes]
        assert mpfr.posits(elementary.BY_STANDARD[row], *columns, n=8, es=2).tolist() == [right]


INF, NAN = math.inf, math.nan
SPECIAL = [  # IEEE 754-2019 9.2.1; k an int
    *((name, (-0.0,), -0.0) for name in "sqrt expm1 exp2m1 exp10m1 log1p log2p1 log10p1 sin sinpi tan tanpi".split()),
    *((name, (-0.0,), -0.0) for name in "asin asinpi atan atanpi sinh tanh asinh atanh silu gelu".split()),
    *((name, (-0.0,), 1.0) for name in ("exp", "exp2", "exp10", "cos", "cospi", "cosh")),
    *((name, (-INF,), 0.0) for name in ("exp", "exp2", "exp10", "sigmoid")),
    *((name, (-INF,), -1.0) for name in ("expm1", "exp2m1", "exp10m1", "tanh")),
    *((name, (INF,), INF) for name in "sqrt exp expm1 exp2m1 log log2p1 sinh cosh asinh acosh silu gelu".split()),
    *((name, (-INF,), INF) for name in ("cosh",)),
    *((name, (-INF,), -INF) for name in ("sinh", "asinh")),
    *((name, (-INF,), -0.0) for name in ("reciprocal", "silu", "gelu")),
    *((name, (0.0,), -INF) for name in ("log", "log2", "log10")),
    *((name, (-1.0,), -INF) for name in ("log1p", "log2p1", "log10p1", "atanh")),
    *((name, (INF,), NAN) for name in "sin cos tan sinpi cospi tanpi asin acospi atanh".split()),
    *(
        (name, (-1.5,), NAN)
        for name in "sqrt rsqrt log log1p log2p1 log10p1 asin acos asinpi acospi acosh atanh".split()
    ),
    *((function.name, (NAN,), NAN) for function in FUNCTIONS if function.operands == "x"),
    ("rsqrt", (-0.0,), -INF),
    ("rsqrt", (0.0,), INF),
    ("rsqrt", (INF,), 0.0),
    ("reciprocal", (-0.0,), -INF),
    ("log", (1.0,), 0.0),
    ("acos", (1.0,), 0.0),
    ("acosh", (1.0,), 0.0),
    ("sinpi", (3.0,), 0.0),
    ("sinpi", (-3.0,), -0.0),
    ("cospi", (0.5,), 0.0),
    ("cospi", (-2.5,), 0.0),
    ("tanpi", (1.0,), -0.0),
    ("tanpi", (2.0,), 0.0),
    ("tanpi", (-1.0,), 0.0),
    ("tanpi", (-2.0,), -0.0),
    ("tanpi", (0.5,), INF),
    ("tanpi", (1.5,), -INF),
    ("tanpi", (-0.5,), -INF),
    ("atanpi", (-INF,), -0.5),
    ("sigmoid", (INF,), 1.0),
    ("hypot", (-INF, NAN), INF),
    ("hypot", (NAN, -INF), INF),
    ("hypot", (-0.0, -0.0), 0.0),
    ("pow", (NAN, -0.0), 1.0),
    ("pow", (1.0, NAN), 1.0),
    ("pow", (-1.0, INF), 1.0),
    ("pow", (-0.0, -3.0), -INF),
    ("pow", (-0.0, -2.0), INF),
    ("pow", (-0.0, -INF), INF),
    ("pow", (-0.0, 3.0), -0.0),
    ("pow", (-0.0, 2.5), 0.0),
    ("pow", (0.5, -INF), INF),
    ("pow", (-0.5, INF), 0.0),
    ("pow", (-INF, -3.0), -0.0),
    ("pow", (-INF, 3.0), -INF),
    ("pow", (-INF, 2.0), INF),
    ("pow", (-INF, -2.0), 0.0),
    ("pow", (-2.0, 0.5), NAN),
    ("atan2pi", (0.0, -0.0), 1.0),
    ("atan2pi", (-0.0, -0.0), -1.0),
    ("atan2pi", (-0.0, 0.0), -0.0),
    ("atan2pi", (-0.0, 1.0), -0.0),
    ("atan2pi", (-0.0, -1.0), -1.0),
    ("atan2pi", (0.0, INF), 0.0),
    ("atan2pi", (-1.0, INF), -0.0),
    ("atan2pi", (1.0, -INF), 1.0),
    ("atan2pi", (-INF, 1.0), -0.5),
    ("atan2pi", (INF, -INF), 0.75),
    ("atan2pi", (-INF, INF), -0.25),
    ("atan2", (-0.0, 1.0), -0.0),
    ("compoundn", (-1.0, -1), INF),
    ("compoundn", (-1.0, 2), 0.0),
    ("compoundn", (-2.0, 2), NAN),
    ("compoundn", (NAN, 0), 1.0),
    ("compoundn", (-INF, 0), NAN),
    ("compoundn", (INF, -3), 0.0),
    ("compoundn", (INF, 3), INF),
    ("rootn", (-0.0, -3), -INF),
    ("rootn", (-0.0, -2), INF),
    ("rootn", (-0.0, 3), -0.0),
    ("rootn", (-0.0, 2), 0.0),
    ("rootn", (-INF, 3), -INF),
    ("rootn", (-INF, -3), -0.0),
    ("rootn", (-INF, 2), NAN),
    ("rootn", (INF, -2), 0.0),
    ("rootn", (2.0, 0), NAN),
    ("softmax_exp", (INF, INF), NAN),
    ("softmax_exp", (-INF, 1.0), 0.0),
    ("softmax_exp", (1.0, -INF), INF),
]


@pytest.mark.parametrize("case", SPECIAL, ids=str)
def test_special_values_of_minifloats(case: tuple[str, tuple[Any, ...], float]) -> None:
    name, operands, want = case
    function, fields = elementary.BY_NAME[name], HALF._asdict()
    codes = [x if isinstance(x, int) else _half(x) for x in operands]
    assert elementary.of_minifloats(function)(*codes, **fields) == _half(want)
    if mpfr.available()[0]:
        assert mpfr.minifloats(function, *(np.array([code]) for code in codes), **fields).tolist() == [_half(want)]


def _half(x: float) -> int:
    return posit.signed(minifloat.encode(math.copysign(1, x) < 0, _magnitude(x), HALF), 16) if x == x else 0x7E00


# Without gmpy2, and without a compiler -------------------------------------------------------------------------------


def test_without_gmpy2_functions_have_no_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mpfr_numbers, "gmpy2", None)
    monkeypatch.setattr(mpfr, "_loops", mpfr._loops.__wrapped__)
    reason = "gmpy2 is not installed: pip install gmpy2"
    assert elementary.available() == mpfr.available() == (False, reason)
    assert not ORACLE.covers(BY_NAME["exp"], {"n": 8, "es": 2})
    assert ORACLE.covers(BY_NAME["add"], {"n": 8, "es": 2})
    with pytest.raises(RuntimeError, match=r"exp has no loop: gmpy2 is not installed"):
        mpfr.to_odd("exp", np.zeros(1))


def test_without_a_compiler_functions_are_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mpfr, "_loops", mpfr._loops.__wrapped__)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert builds.load(mpfr._SOURCE) == (None, "no gcc on the PATH")
    assert not mpfr.available()[0]
    known, words = ORACLE.available()
    assert known
    assert "elementary functions: MPFR" in words
    assert "C loops" not in words
    options = {"n": 16, "es": 2}
    operands = function_inputs.columns(BY_NAME["pow"], options, 40, seed=0)
    case = zip(*(x.tolist() for x in operands), strict=True)
    want = [BY_NAME["pow"].oracle(*x, **options) for x in case]
    assert ORACLE.answer(BY_NAME["pow"], operands, options).tolist() == want


def test_a_file_that_does_not_compile_is_a_reason(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on the PATH")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "wrong.c").write_text("int f(void) { return }\n")
    loops, reason = builds.load(tmp_path / "wrong.c")
    assert loops is None
    assert reason.startswith("gcc ")
    assert " failed: " in reason


@needs_loops
def test_columns_of_several_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pow has columns of \(2,\), \(1,\): make them equal"):
        mpfr.to_odd("pow", np.zeros(2), np.zeros(1))


# The plan ------------------------------------------------------------------------------------------------------------


def test_what_the_whole_plan_asks_of_functions() -> None:
    planned = [job for job in jobs(FULL, 0) if job.op.columns is not None]
    ids = {job.id for job in planned}
    assert len(ids) == len(planned)
    for op in ROWS:
        formats = [job.options for job in planned if job.op is op and job.kind == "every"]
        if op.args == "p":
            assert {(8, 0), (8, 2), (16, 1), (16, 2)} <= {(fmt["n"], fmt["es"]) for fmt in formats}
        elif op.args == "c":
            assert {E4M3, E5M2, HALF, BFLOAT16} <= {record(fmt) for fmt in formats}
        elif op.args in ("pp", "cc"):
            assert max(record(fmt).width if op.args == "cc" else fmt["n"] for fmt in formats) == 8
    in_five_parts = {f"pow[posit(16,{es})-samples-{part}]" for es in (1, 2) for part in range(5)}
    assert in_five_parts | {"exp[posit(32,2)-samples]", "root_n[posit(16,2)-samples]"} <= ids


# Operands ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_operands_come_in_the_number_asked_for_and_again(op: Op) -> None:
    for options in _formats(op)[-2:]:
        operands = function_inputs.columns(op, options, 101, seed=0)
        assert len(operands) == len(op.args)
        assert all(x.shape == (101,) and x.dtype == np.int64 for x in operands)
        again = function_inputs.columns(op, options, 101, seed=0)
        assert all(np.array_equal(x, y) for x, y in zip(operands, again, strict=True))


@needs_loops
@pytest.mark.parametrize("row", [name for name, f in elementary.BY_STANDARD.items() if f.operands == "x"])
def test_operands_made_for_ties_come_near_to_them(row: str) -> None:
    """To less than a hundredth of a unit in the last place, where doubles rounded to odd still show it."""
    function, fmt = elementary.BY_STANDARD[row], {"n": 32, "es": 2}
    op = BY_NAME[row]
    operands = function_inputs.columns(op, fmt, 4000, seed=0)[0][1000:2000]  # the second quarter
    results = mpfr.posits(function, operands, **fmt) if op.columns is None else op.columns(operands, **fmt)
    longer = mpfr.to_odd(function.name, mpfr.posit_values(operands, 32, 2))
    real = np.isfinite(longer) & (np.abs(mpfr.posit_values(results, 32, 2)) > 2.0**-20)
    distance = _distance_to_a_tie(longer[real])
    assert real.sum() > 100
    assert distance.min() < 0.01


def _distance_to_a_tie(x: np.ndarray) -> np.ndarray:
    """Of a unit in the last place of (32,2)."""
    halves = 2 * (np.abs(mpfr.posit_patterns(x, 32, 2)) >> 1 << 1) + 1
    below, above = (mpfr.posit_values(halves + step, 33, 2) for step in (-2, 2))
    near = np.minimum(*(np.abs(np.abs(x) - y) for y in (mpfr.posit_values(halves, 33, 2), above)))
    return near / (above - below)


@needs_loops
def test_a_wrong_function_is_found_out() -> None:
    """One that takes the imaginary part first."""
    options = {"n": 32, "es": 2}
    op = BY_NAME["arc_tan2"]
    job = Job(op, options, "", "samples", lambda: function_inputs.columns(op, options, 400, 0))
    right = SimpleNamespace(arc_tan2=lambda a, b, n, es: op.columns(a, b, n=n, es=es))  # type: ignore[misc]
    swapped = SimpleNamespace(arc_tan2=lambda a, b, n, es: op.columns(b, a, n=n, es=es))  # type: ignore[misc]
    assert not runner.check(job, right).failed
    assert runner.check(job, swapped).mismatches > 100
