"""Sections 5.5, 5.6 and 5.8 of the Posit Standard (2022): domains, saturation, laws, the definition, and integers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from calls import bits
from refnum_conformance.oracles import posit as oracle
from torch import Tensor

import refnum
from refnum import Posit, posit
from refnum.boundary import container
from refnum.errors import ContractError, DTypeError, FormatError, ShapeError
from refnum.fast.chunks import CHUNK
from refnum.functions.decisions import decide
from refnum.testing import cases

P8, P16, P32, P64 = Posit(8), Posit(16), Posit(32), Posit(64)
FORMATS = (
    *(Posit(2), Posit(3, 1), Posit(4, 0), Posit(5, 4), P8, Posit(8, 0), P16, Posit(16, 1), Posit(24, 3), P32),
    *(Posit(33, 1), Posit(48, 0), P64, Posit(64, 4)),
)

#: the standard's functions, and what C calls them
ONE = dict(
    pair.split(":")
    for pair in """
    r_sqrt:rsqrt exp:exp exp_minus1:expm1 exp2:exp2 exp2_minus1:exp2m1 exp10:exp10 exp10_minus1:exp10m1
    log:log log_plus1:log1p log2:log2 log2_plus1:log2p1 log10:log10 log10_plus1:log10p1 sin:sin
    sin_pi:sinpi cos:cos cos_pi:cospi tan:tan tan_pi:tanpi arc_sin:asin arc_sin_pi:asinpi arc_cos:acos
    arc_cos_pi:acospi arc_tan:atan arc_tan_pi:atanpi sin_h:sinh cos_h:cosh tan_h:tanh arc_sin_h:asinh
    arc_cos_h:acosh arc_tan_h:atanh
    """.split()
)
TWO = {"hypot": "hypot", "pow": "pow", "arc_tan2": "atan2", "arc_tan2_pi": "atan2pi"}
WITH_K = {"compound": "compoundn", "root_n": "rootn"}
NAR = None


def patterns(fmt: Posit, *values: float | None) -> Tensor:
    """Patterns of numbers, None being NaR."""
    floats = torch.tensor([float("nan") if x is None else x for x in values], dtype=torch.float64)
    return refnum.encode(floats, fmt)


def has(fmt: Posit, x: float | None) -> bool:
    """Whether the format has the number."""
    exact = oracle.value(int(patterns(fmt, x)), fmt.n, fmt.es)
    return x is None or (exact is not None and Fraction(exact.m) * Fraction(2) ** exact.e == Fraction(x))


def numbers(x: Tensor, fmt: Posit) -> list[Fraction]:
    """Exact values of patterns, none of them NaR."""
    exact = (oracle.value(p, fmt.n, fmt.es) for p in x.tolist())
    return [Fraction(v.m) * Fraction(2) ** v.e for v in exact]


def sample(fmt: Posit, count: int = 20) -> Tensor:
    """All patterns of a narrow format, else patterns of every kind, and the ends."""
    if fmt.n <= 8:
        return cases.exhaustive(fmt)
    kinds = [cases.patterns(fmt, kind, count=count) for kind in cases.KINDS]
    return torch.cat([*kinds, patterns(fmt, 0.0, 1.0, -1.0, 0.5, -0.5, 2.0, NAR, 1e99, -1e99, 1e-99, -1e-99)])


# ---- what has no unique real result, and what is exact ------------------------------------------------------------

#: posit.md 2.4 and 3: (operands, an integer at the end where one is taken) -> result
TABLE: dict[str, list[tuple[Any, ...]]] = {
    "r_sqrt": [(0.0, NAR), (-1.0, NAR), (-4.0, NAR), (4.0, 0.5), (0.25, 2.0), (1.0, 1.0)],
    "exp": [(0.0, 1.0)],
    "exp_minus1": [(0.0, 0.0)],
    "exp2": [(0.0, 1.0), (3.0, 8.0), (-2.0, 0.25), (1.0, 2.0)],
    "exp2_minus1": [(0.0, 0.0), (3.0, 7.0), (-1.0, -0.5), (1.0, 1.0)],
    "exp10": [(0.0, 1.0), (1.0, 10.0), (2.0, 100.0)],
    "exp10_minus1": [(0.0, 0.0), (1.0, 9.0), (2.0, 99.0)],
    "log": [(0.0, NAR), (-1.0, NAR), (-0.5, NAR), (1.0, 0.0)],
    "log_plus1": [(-1.0, NAR), (-2.0, NAR), (0.0, 0.0)],
    "log2": [(0.0, NAR), (-2.0, NAR), (1.0, 0.0), (8.0, 3.0), (0.25, -2.0)],
    "log2_plus1": [(-1.0, NAR), (-2.0, NAR), (0.0, 0.0), (7.0, 3.0), (-0.5, -1.0)],
    "log10": [(0.0, NAR), (-2.0, NAR), (1.0, 0.0), (10.0, 1.0), (100.0, 2.0)],
    "log10_plus1": [(-1.0, NAR), (-2.0, NAR), (0.0, 0.0), (9.0, 1.0), (99.0, 2.0)],
    "sin": [(0.0, 0.0)],
    "sin_pi": [(0.0, 0.0), (0.5, 1.0), (-0.5, -1.0), (1.0, 0.0), (1.5, -1.0), (-3.0, 0.0), (2.0**24, 0.0)],
    "cos": [(0.0, 1.0)],
    "cos_pi": [(0.0, 1.0), (0.5, 0.0), (-1.5, 0.0), (1.0, -1.0), (-1.0, -1.0), (3.0, -1.0), (2.0**24, 1.0)],
    "tan": [(0.0, 0.0)],
    "tan_pi": [(0.5, NAR), (-0.5, NAR), (1.5, NAR), (0.0, 0.0), (1.0, 0.0), (0.25, 1.0), (0.75, -1.0), (-1.25, -1.0)],
    "arc_sin": [(2.0, NAR), (-2.0, NAR), (0.0, 0.0)],
    "arc_sin_pi": [(2.0, NAR), (-2.0, NAR), (0.0, 0.0), (1.0, 0.5), (-1.0, -0.5)],
    "arc_cos": [(2.0, NAR), (-2.0, NAR), (1.0, 0.0)],
    "arc_cos_pi": [(2.0, NAR), (-2.0, NAR), (1.0, 0.0), (0.0, 0.5), (-1.0, 1.0)],
    "arc_tan": [(0.0, 0.0)],
    "arc_tan_pi": [(0.0, 0.0), (1.0, 0.25), (-1.0, -0.25)],
    "sin_h": [(0.0, 0.0)],
    "cos_h": [(0.0, 1.0)],
    "tan_h": [(0.0, 0.0)],
    "arc_sin_h": [(0.0, 0.0)],
    "arc_cos_h": [(0.5, NAR), (0.0, NAR), (-2.0, NAR), (1.0, 0.0)],
    "arc_tan_h": [(1.0, NAR), (-1.0, NAR), (2.0, NAR), (-4.0, NAR), (0.0, 0.0)],
    "hypot": [(0.0, 0.0, 0.0), (3.0, 4.0, 5.0), (-3.0, 4.0, 5.0), (-2.0, 0.0, 2.0), (0.0, 0.25, 0.25)],
    "pow": [
        *((0.0, 1.0, 0.0), (0.0, 0.5, 0.0), (0.0, 2.0, 0.0), (0.0, 0.0, NAR), (0.0, -1.0, NAR), (0.0, -0.5, NAR)),
        *((2.0, 0.0, 1.0), (-2.0, 0.0, 1.0), (0.25, 0.0, 1.0), (1.0, 2.0**20, 1.0), (-1.0, 3.0, -1.0)),
        *((-2.0, 3.0, -8.0), (-2.0, 2.0, 4.0), (-2.0, -1.0, -0.5), (-2.0, 0.5, NAR), (-1.0, 0.5, NAR)),
        *((4.0, 0.5, 2.0), (4.0, -1.5, 0.125), (2.0, -2.0, 0.25)),
    ],
    "arc_tan2": [(0.0, 0.0, NAR), (1.0, 0.0, 0.0), (4.0, 0.0, 0.0)],
    "arc_tan2_pi": [
        *((0.0, 0.0, NAR), (1.0, 0.0, 0.0), (-1.0, 0.0, 1.0), (0.0, 2.0, 0.5), (0.0, -2.0, -0.5)),
        *((2.0, 2.0, 0.25), (-1.0, 1.0, 0.75), (1.0, -1.0, -0.25), (-2.0, -2.0, -0.75)),
    ],
    "compound": [
        *((2.0, 0, 1.0), (0.0, 0, 1.0), (-1.0, 0, 1.0), (-4.0, 0, 1.0), (-1.0, 3, 0.0), (-1.0, 2, 0.0)),
        *((-1.0, -1, NAR), (-1.0, -2, NAR), (1.0, 3, 8.0), (1.0, -2, 0.25), (-2.0, 3, -1.0), (-2.0, 2, 1.0)),
        *((-3.0, 3, -8.0), (-3.0, -1, -0.5), (-0.5, 2, 0.25), (0.0, 2**63 - 1, 1.0), (-2.0, -(2**63), 1.0)),
        *((NAR, 0, NAR), (NAR, 2, NAR)),
    ],
    "root_n": [
        *((2.0, 0, NAR), (0.0, 0, NAR), (-1.0, 0, NAR), (0.0, 3, 0.0), (0.0, 2, 0.0), (0.0, -3, NAR), (0.0, -2, NAR)),
        *((-4.0, 2, NAR), (-4.0, -2, NAR), (-8.0, 3, -2.0), (-8.0, -3, -0.5), (4.0, 2, 2.0), (4.0, -2, 0.5)),
        *((2.0, 1, 2.0), (2.0, -1, 0.5), (-1.0, 2**63 - 1, -1.0), (-1.0, -(2**63), NAR), (NAR, 2, NAR), (NAR, 0, NAR)),
    ],
}


def test_the_table_is_complete() -> None:
    assert list(TABLE) == [*ONE, *TWO, *WITH_K]


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
@pytest.mark.parametrize("name", TABLE)
def test_domains_and_exact_results(name: str, fmt: Posit) -> None:
    checked = 0
    for *operands, want in TABLE[name]:
        reals = [x for x in operands if not isinstance(x, int)]
        if not all(has(fmt, x) for x in reals):
            continue
        arguments = [x if isinstance(x, int) else patterns(fmt, x) for x in operands]
        got = getattr(posit, name)(*arguments, fmt).item()
        assert got == patterns(fmt, want).item(), (operands, want)
        checked += 1
    assert checked


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_nar_goes_through_everything(fmt: Posit) -> None:
    x, nar = sample(fmt, 3), patterns(fmt, NAR)
    for name in ONE:
        assert getattr(posit, name)(nar, fmt).tolist() == [fmt.nar]
    for name in TWO:
        for operands in ((x, nar), (nar, x)):
            assert set(getattr(posit, name)(*operands, fmt).tolist()) == {fmt.nar}
    for name in WITH_K:
        assert set(getattr(posit, name)(nar, torch.arange(-4, 5), fmt).tolist()) == {fmt.nar}


@pytest.mark.parametrize("name", ["arc_tan2", "arc_tan2_pi"])
def test_the_real_part_comes_first(name: str) -> None:
    """The reverse of C: the angle of 1 + 2i is the larger one."""
    one, two = patterns(P16, 1.0), patterns(P16, 2.0)
    assert getattr(posit, name)(one, two, P16) > getattr(posit, name)(two, one, P16)
    assert posit.arc_tan2(patterns(P32, -1.0), patterns(P32, 0.0), P32).item() == patterns(P32, torch.pi).item()


# ---- only what is 0 gives 0, and only what has no result NaR ------------------------------------------------------


def _positive(x: Fraction) -> bool:
    return x > 0


def _above_minus_one(x: Fraction) -> bool:
    return x > -1


def _in_unit(x: Fraction) -> bool:
    return abs(x) <= 1


def _everywhere(x: Fraction) -> bool:
    return True


DOMAINS: dict[str, Callable[[Fraction], bool]] = {
    **dict.fromkeys(["r_sqrt", "log", "log2", "log10"], _positive),
    **dict.fromkeys(["log_plus1", "log2_plus1", "log10_plus1"], _above_minus_one),
    **dict.fromkeys(["arc_sin", "arc_sin_pi", "arc_cos", "arc_cos_pi"], _in_unit),
    "arc_cos_h": lambda x: x >= 1,
    "arc_tan_h": lambda x: abs(x) < 1,
    "tan_pi": lambda x: x.denominator != 2,
}
ZEROS: dict[str, Callable[[Fraction], bool]] = {
    **dict.fromkeys(["log", "log2", "log10", "arc_cos", "arc_cos_pi", "arc_cos_h"], lambda x: x == 1),
    **dict.fromkeys(["r_sqrt", "exp", "exp2", "exp10", "cos", "cos_h"], lambda x: False),
    **dict.fromkeys(["sin_pi", "tan_pi"], lambda x: x.denominator == 1),
    "cos_pi": lambda x: x.denominator == 2,
}


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
@pytest.mark.parametrize("name", ONE)
def test_results_saturate(name: str, fmt: Posit) -> None:
    x = sample(fmt)
    x = x[x != fmt.nar]
    got = getattr(posit, name)(x, fmt).tolist()
    inside, zero = DOMAINS.get(name, _everywhere), ZEROS.get(name, lambda v: v == 0)
    wrong = [
        (v, p)
        for v, p in zip(numbers(x, fmt), got, strict=True)
        if (p == fmt.nar) == inside(v) or (p == 0) != (inside(v) and zero(v))
    ]
    assert not wrong


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_functions_of_two_saturate(fmt: Posit) -> None:
    x = sample(fmt, 3)
    x = x[x > 0]
    x = x[:: max(1, len(x) // 40)]
    a, b = x[:, None].expand(len(x), len(x)), x.expand(len(x), len(x))
    for got in (
        *(posit.hypot(a, b, fmt), posit.pow(a, b, fmt), posit.pow(a, -b, fmt), posit.arc_tan2(a, b, fmt)),
        *(posit.compound(a, 10**6, fmt), posit.compound(a, -(10**6), fmt), posit.root_n(a, -7, fmt)),
    ):
        assert bool(((got != 0) & (got != fmt.nar)).all())


@pytest.mark.parametrize("fmt", [P8, P16, P32, Posit(40), P64, Posit(64, 4)], ids=str)
def test_ends(fmt: Posit) -> None:
    """Far away the results are the ends, or the asymptotes; near 0 those functions that go through it are as it is."""
    least, most, one = 1, fmt.maxpos, 1 << (fmt.n - 2)
    for name in ("exp", "exp2", "exp10"):
        function = getattr(posit, name)
        assert function(torch.tensor([-most, most]), fmt).tolist() == [least, most]
    for name in ("exp_minus1", "exp2_minus1", "exp10_minus1"):
        assert getattr(posit, name)(torch.tensor([-most, most]), fmt).tolist() == [-one, most]
    assert posit.sin_h(torch.tensor([-most, most]), fmt).tolist() == [-most, most]
    assert posit.cos_h(torch.tensor([-most, most]), fmt).tolist() == [most, most]
    assert posit.tan_h(torch.tensor([-most, most]), fmt).tolist() == [-one, one]
    for name in "sin tan arc_sin arc_tan arc_sin_pi arc_tan_pi sin_h tan_h arc_sin_h arc_tan_h log_plus1".split():
        assert getattr(posit, name)(torch.tensor([-least, least]), fmt).tolist() == [-least, least], name
    assert posit.cos(torch.tensor([least]), fmt).item() == one
    assert posit.hypot(torch.tensor([most]), torch.tensor([most]), fmt).item() == most
    assert posit.pow(torch.tensor([most, most]), torch.tensor([most, -most]), fmt).tolist() == [most, least]
    assert posit.compound(torch.tensor([most]), torch.tensor([2, -2, 2**63 - 1, -(2**63)]), fmt).tolist() == [
        *(most, least, most, least)
    ]


# ---- laws, whose other side is arithmetic that the waist does exactly ---------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_laws(fmt: Posit) -> None:
    x = sample(fmt, 9)
    one, half, two = patterns(fmt, 1.0), patterns(fmt, 0.5), torch.tensor(2)
    zero = torch.zeros_like(one)
    for name in ("sin sin_pi tan tan_pi arc_sin arc_sin_pi arc_tan arc_tan_pi sin_h tan_h arc_sin_h arc_tan_h").split():
        function = getattr(posit, name)
        assert torch.equal(function(posit.negate(x, fmt), fmt), posit.negate(function(x, fmt), fmt)), name
    for name in ("cos", "cos_pi", "cos_h"):
        function = getattr(posit, name)
        assert torch.equal(function(posit.negate(x, fmt), fmt), function(x, fmt)), name
    assert torch.equal(posit.hypot(x, zero, fmt), posit.abs(x, fmt))
    assert torch.equal(posit.hypot(x, x.flip(0), fmt), posit.hypot(posit.negate(x.flip(0), fmt), x, fmt))
    assert torch.equal(posit.pow(x, one, fmt), x)
    squares = posit.pow(x, patterns(fmt, 2.0), fmt)
    if has(fmt, 2.0):
        assert torch.equal(squares, posit.mul(x, x, fmt))
    if has(fmt, 0.5):
        assert torch.equal(posit.pow(x, half, fmt)[x != 0], posit.sqrt(x, fmt)[x != 0])
    real = (x != 0) & (x != fmt.nar)
    assert torch.equal(posit.pow(x, -one, fmt)[real], posit.div(one, x, fmt)[real])
    assert torch.equal(posit.compound(x, 1, fmt), posit.add(x, one, fmt))
    assert torch.equal(posit.root_n(x, 1, fmt), x)
    assert torch.equal(posit.root_n(x, two, fmt), posit.sqrt(x, fmt))
    assert torch.equal(posit.root_n(x, -1, fmt), posit.div(one, x, fmt))
    assert torch.equal(posit.root_n(x, -2, fmt), posit.r_sqrt(x, fmt))
    positive = x > 0
    angles = posit.arc_tan2(x, x.flip(0), fmt)
    assert torch.equal(
        posit.arc_tan2(x, posit.negate(x.flip(0), fmt), fmt)[x.flip(0) != 0],
        posit.negate(angles, fmt)[x.flip(0) != 0],
    )
    assert torch.equal(posit.arc_tan2(one, x, fmt), posit.arc_tan(x, fmt))
    assert torch.equal(posit.arc_tan2_pi(one, x, fmt), posit.arc_tan_pi(x, fmt))
    assert set(posit.arc_tan2(x[positive], zero, fmt).tolist()) == {0}


@pytest.mark.parametrize("fmt", [P8, P16, P32, P64, Posit(24, 0)], ids=str)
def test_logarithms_undo_powers(fmt: Posit) -> None:
    whole = [k for k in range(-fmt.max_scale, fmt.max_scale + 1) if has(fmt, float(k)) and has(fmt, 2.0**k)]
    k, powers = patterns(fmt, *map(float, whole)), patterns(fmt, *(2.0**e for e in whole))
    assert torch.equal(posit.exp2(k, fmt), powers)
    assert torch.equal(posit.log2(powers, fmt), k)
    assert torch.equal(posit.pow(patterns(fmt, 2.0), k, fmt), powers)


@pytest.mark.parametrize("name", [*ONE, "sqrt"])
def test_monotonic_functions_stay_monotonic(name: str) -> None:
    """Correct rounding keeps the order; all of posit16 between two poles or extrema."""
    rising = {"cos": (-0.5, 0.0), "cos_pi": (-0.5, 0.0), "cos_h": (0.0, 1e9), "tan_pi": (-0.25, 0.25)}
    rising |= dict.fromkeys(["sin", "tan", "sin_pi"], (-0.5, 0.5)) | dict.fromkeys(["exp", "sin_h"], (-1e9, 1e9))
    low, high = (int(patterns(P16, end)) for end in rising.get(name, (-1e20, 1e20)))
    x = torch.arange(low, high + 1, dtype=torch.int16)
    y = getattr(posit, name)(x, P16).int()
    y = y[y != P16.nar]
    steps = y.diff()
    falling = name in ("r_sqrt", "arc_cos", "arc_cos_pi")
    assert len(steps) > 5000
    assert bool((steps <= 0 if falling else steps >= 0).all())


# ---- the definition -----------------------------------------------------------------------------------------------

MANY = [Posit(n, n % 5) for n in range(2, 65)] + [Posit(n, es) for n in (2, 3, 5, 8, 16, 32, 33, 64) for es in range(5)]


@pytest.mark.parametrize("name", [*ONE, *TWO, *WITH_K])
def test_every_width_against_the_definition(name: str) -> None:
    row = (ONE | TWO | WITH_K)[name]
    for fmt in MANY:
        pool = [0, 1, -1, fmt.maxpos, -fmt.maxpos, fmt.nar, 1 << (fmt.n - 2), 3 << max(0, fmt.n - 4)]
        pool += [(-1) ** i * (i * 0x9E3779B97F4A7C15 & fmt.maxpos) for i in range(1, 7)]
        x = torch.tensor(pool, dtype=torch.int64)
        operands = (x,) if name not in TWO else (x, x.roll(3))
        order = operands[::-1] if name.startswith("arc_tan2") else operands
        k = torch.arange(-6, 8) if name in WITH_K else None
        want = decide(row, order, (fmt,) * len(order), fmt, k).to(container(fmt))
        got = getattr(posit, name)(*operands, *([] if k is None else [k]), fmt)
        assert torch.equal(got, want), fmt


# ---- tensors ------------------------------------------------------------------------------------------------------


def arguments(name: str, x: Tensor) -> tuple[Any, ...]:
    return (x,) if name in ONE else (x, x.flip(0)) if name in TWO else (x, 3)


EVERY = [*ONE, *TWO, *WITH_K]


@pytest.mark.parametrize("fmt", [P8, Posit(12), P16, Posit(20), P32], ids=str)
def test_containers(fmt: Posit) -> None:
    x = sample(fmt, 5)
    for name in EVERY:
        want = getattr(posit, name)(*arguments(name, x), fmt)
        assert want.dtype == container(fmt)
        assert bool((want >= fmt.nar).all())
        assert bool((want <= fmt.maxpos).all())
        for dtype in (torch.int8, torch.int16, torch.int32, torch.int64):
            if dtype.itemsize * 8 >= fmt.n:
                assert torch.equal(getattr(posit, name)(*arguments(name, x.to(dtype)), fmt), want)


@pytest.mark.parametrize("name", EVERY)
def test_bits_above_n_are_not_read(name: str) -> None:
    fmt = Posit(11)
    x = sample(fmt, 5).long()
    garbage = (x & 0x7FF) | (torch.arange(len(x)) * 0x12345 << 11)
    assert torch.equal(
        getattr(posit, name)(*arguments(name, garbage), fmt), getattr(posit, name)(*arguments(name, x), fmt)
    )


@pytest.mark.parametrize("name", EVERY)
def test_shapes(name: str) -> None:
    function = getattr(posit, name)

    def run(x: Tensor) -> Tensor:
        return function(*((x,) if name in ONE else (x, x) if name in TWO else (x, 3)), P32)

    x = sample(P32, 4)[:24].view(2, 3, 4)
    want = run(x)
    assert want.shape == (2, 3, 4)
    assert run(x[:0]).shape == (0, 3, 4)
    assert run(x[1, 2, 3]).shape == ()
    assert run(x[1, 2, 3]).item() == want[1, 2, 3].item()
    assert torch.equal(run(x.mT), want.mT)
    assert torch.equal(run(x[..., 1::2]), want[..., 1::2])
    assert torch.equal(run(x[:1].expand(2, 3, 4)), want[:1].expand(2, 3, 4))
    assert torch.equal(run(x.permute(2, 0, 1)), want.permute(2, 0, 1))


def test_operands_broadcast() -> None:
    a, b = sample(P16, 4)[:12], sample(P16, 4)[12:17]
    for name in TWO:
        table = getattr(posit, name)(a[:, None], b, P16)
        assert table.shape == (12, 5)
        assert torch.equal(table[7], getattr(posit, name)(a[7].expand(5), b, P16))
    k = torch.tensor([-2, 0, 5])
    for name in WITH_K:
        table = getattr(posit, name)(a, k[:, None], P16)
        assert table.shape == (3, 12)
        for i, each in enumerate(k.tolist()):
            assert torch.equal(table[i], getattr(posit, name)(a, each, P16))


@pytest.mark.parametrize("name", EVERY)
def test_pieces_are_as_good_as_the_whole(name: str) -> None:
    for fmt, length in ((P16, 1 << 16), (P32, CHUNK + 33)):
        x = (torch.arange(length) * 0x9E3779B1 & 0xFFFFFFFF).to(torch.int32).to(container(fmt))
        other = {**dict.fromkeys(TWO, x.flip(0)), **dict.fromkeys(WITH_K, torch.arange(length) % 9 - 4)}
        operands = (x, other[name]) if name in other else (x,)
        whole = getattr(posit, name)(*operands, fmt)
        for start, stop in ((0, 100), (length - 7, length), (length // 2, length // 2 + 1000)):
            part = getattr(posit, name)(*(o[start:stop] for o in operands), fmt)
            assert torch.equal(part, whole[start:stop])


@pytest.mark.parametrize("name", ["exp", "tan_pi", "pow", "compound"])
@pytest.mark.parametrize("fmt", [P16, P32], ids=str)
def test_one_graph(name: str, fmt: Posit) -> None:
    x = sample(fmt, 9)
    operands = arguments(name, x)
    traced = torch.compile(lambda *o: getattr(posit, name)(*o, fmt), fullgraph=True, backend="eager")
    assert bits(traced(*operands)) == bits(getattr(posit, name)(*operands, fmt))


# ---- integers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_K)
def test_integers_of_every_dtype(name: str) -> None:
    function, x = getattr(posit, name), sample(P16, 4)
    for k in (0, 3, -3, 7):
        want = function(x, k, P16)
        for dtype in (torch.int8, torch.int16, torch.int32, torch.int64):
            assert torch.equal(function(x, torch.tensor(k, dtype=dtype), P16), want)
    assert torch.equal(function(x, torch.tensor(200, dtype=torch.uint8), P16), function(x, 200, P16))


@pytest.mark.parametrize("name", WITH_K)
@pytest.mark.parametrize("k", [2**63 - 1, -(2**63), 2**31, -(2**31) - 1, 2**53 + 1, 4 * 10**9])
def test_large_integers(name: str, k: int) -> None:
    x = torch.tensor([0, 1, -1, 0x40, -0x40, 0x41, -0x41, 0x7F, -0x7F, 0x30, -0x80])
    got = getattr(posit, name)(x, k, P8).tolist()
    want = decide(WITH_K[name], (x,), (P8,), P8, torch.full_like(x, k)).tolist()
    assert got == want


@pytest.mark.parametrize("name", WITH_K)
def test_what_is_no_integer_is_refused(name: str) -> None:
    function, x = getattr(posit, name), torch.tensor([0x40])
    allowed = "Allowed are uint8, int8, int16, int32, int64 and Python ints"
    for k, got in ((True, "bool"), (2.0, "float"), ("2", "str"), (None, "NoneType"), (x.double(), "torch.float64")):
        with pytest.raises(DTypeError, match=rf"^posit\.{name} needs integers for k, got {got}\. {allowed}\."):
            function(x, k, P8)
    with pytest.raises(DTypeError, match=rf"^posit\.{name} needs integers for k, got torch\.bool"):
        function(x, x.bool(), P8)
    for k in (2**63, -(2**63) - 1):
        with pytest.raises(ContractError, match=rf"^posit\.{name} has no k={k}: k is an int from -2\*\*63 to 2"):
            function(x, k, P8)
    with pytest.raises(ShapeError, match=rf"^posit\.{name} cannot broadcast a \(2,\), k \(3,\)"):
        function(x.repeat(2), torch.arange(3), P8)
    with pytest.raises(DTypeError, match=rf"^posit\.{name} needs its tensors on one device, got a on cpu, k on meta"):
        function(x, torch.zeros(1, dtype=torch.int64, device="meta"), P8)
    with pytest.raises(FormatError, match=rf"^posit\.{name} needs a posit format"):
        function(x, 2, refnum.e4m3)


def test_every_function_of_the_standard_is_here() -> None:
    taken = {name for name in posit.__all__ if inspect.isfunction(getattr(posit, name))}
    assert {*ONE, *TWO, *WITH_K} <= taken
