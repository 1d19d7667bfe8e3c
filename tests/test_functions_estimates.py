"""Estimates in float64 keep to their bounds; probes find those that do not."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from refnum.functions import probes
from refnum.functions.estimates import COMPOSED, ESTIMATES, PLAIN, ROUNDED, Estimate
from refnum.functions.rows import FUNCTIONS

inf, nan = math.inf, math.nan

Arguments = tuple[float | int, ...]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """No test sees what another one has made a probe believe."""
    probes._asked.cache_clear()
    yield
    probes._asked.cache_clear()


def columns(arguments: list[Arguments]) -> list[Tensor]:
    kinds = {int: torch.int64, float: torch.float64}
    return [torch.tensor(x, dtype=kinds[type(x[0])]) for x in zip(*arguments, strict=True)]


def estimates(name: str, arguments: list[Arguments]) -> list[float]:
    result: list[float] = ESTIMATES[name].evaluate(*columns(arguments)).tolist()
    return result


def allowed(name: str) -> float:
    """A quarter of the bound, in units of 2**-53."""
    return 2.0 ** (53 - 2 - ESTIMATES[name].bound)


def test_every_function_has_an_estimate() -> None:
    assert ESTIMATES.keys() == FUNCTIONS.keys()


def test_bounds_leave_few_elements_in_doubt() -> None:
    # Of the results with 27 significant bits, two ends each of 2**-bound of the result, and ties 2**-27 apart.
    assert {estimate.bound for estimate in ESTIMATES.values()} == {ROUNDED, PLAIN, COMPOSED}
    assert 2.0 ** (28 - COMPOSED) < 2e-6


# ---- against MPFR -------------------------------------------------------------------------------------------------


def one_argument(rng: random.Random) -> list[Arguments]:
    sizes = [scaled(rng, low, high) for low, high in ((-1021, 1022), (-60, 12), (-4, 9)) for _ in range(400)]
    sizes += [rng.uniform(0, most) for most in (1, 3, 30, 300, 700) for _ in range(200)]
    places = [1.0, 0.5, 0.25, 0.75, 2.0, 5.0, *(k / 2 for k in range(3, 30))]
    places += [k * math.pi / 2 for k in range(1, 30)] + [k * math.log(2) for k in range(1, 20)]
    places += [6381956970095103.0 * 2.0**797, 5.319372648326541e255, 710.0, 745.0, 37.5, 8.3]
    sizes += [y for x in places for y in around(rng, x)]
    return [(x,) for size in sizes for x in (size, -size)]


def around(rng: random.Random, x: float) -> list[float]:
    near = [x * (1 + rng.choice((-1, 1)) * 2.0 ** -rng.uniform(1, 53)) for _ in range(8)]
    return [x, math.nextafter(x, inf), math.nextafter(x, 0), *near]


def scaled(rng: random.Random, low: int, high: int) -> float:
    return math.ldexp(1 + rng.random(), rng.randint(low, high))


def signed(rng: random.Random, x: float) -> float:
    return rng.choice((-1, 1)) * x


def two_sides(rng: random.Random) -> Iterator[Arguments]:
    for _ in range(1500):
        x = signed(rng, scaled(rng, -900, 899))
        yield x, signed(rng, scaled(rng, -900, 899))
        yield x, x * signed(rng, 2.0 ** rng.uniform(-60, 60))
        yield signed(rng, scaled(rng, -3, 3)), signed(rng, scaled(rng, -3, 3))


def powers(rng: random.Random) -> Iterator[Arguments]:
    for _ in range(1500):
        base = rng.choice((scaled(rng, -900, 899), scaled(rng, -3, 3), 1 + 2.0 ** -rng.uniform(1, 50)))
        yield base, rng.uniform(-900, 900) * math.log(2) / math.log(base)
        yield signed(rng, scaled(rng, -20, 20)), float(rng.randint(-45, 45))


def differences(rng: random.Random) -> Iterator[Arguments]:
    for _ in range(1500):
        m = signed(rng, scaled(rng, -60, 14))
        yield m + rng.uniform(-620, 620), m
        yield signed(rng, scaled(rng, -60, 8)), signed(rng, scaled(rng, -60, 8))
        yield m * (1 + rng.random() * 2.0**-30), m


def degree(rng: random.Random) -> int:
    sizes = (1, 2, 3, rng.randint(1, 100), int(2 ** rng.uniform(0, 31)), (1 << 31) - rng.randint(0, 1))
    return rng.choice((-1, 1)) * rng.choice(sizes)


def compounds(rng: random.Random) -> Iterator[Arguments]:
    for _ in range(1500):
        k = degree(rng)
        exponent = rng.uniform(-623, 623) / k  # of e
        yield math.expm1(exponent), k
        yield -1 - math.exp(exponent), k
        yield signed(rng, scaled(rng, -60, 5)), k
    yield from ((x, k) for x in (2.0**-23, 1.3 * 2.0**-23, -(2.0**-30), 2.0**-53) for k in (1 << 31, -1 << 31))


def roots(rng: random.Random) -> Iterator[Arguments]:
    for _ in range(1500):
        k = degree(rng)
        yield signed(rng, scaled(rng, -1000, 1000)), k
        yield signed(rng, scaled(rng, -3, 3)), k
    yield from ((scaled(rng, -1000, 1000), k) for k in (1 << 31, -1 << 31) for _ in range(50))


SEVERAL: dict[str, Callable[[random.Random], Iterator[Arguments]]] = {
    "hypot": two_sides,
    "atan2": two_sides,
    "atan2pi": two_sides,
    "pow": powers,
    "softmax_exp": differences,
    "compoundn": compounds,
    "rootn": roots,
}


def worst_error(name: str, arguments: list[Arguments], results: list[float]) -> tuple[float, Arguments]:
    """In units of 2**-53, and where, among the results that count."""
    mpfr = pytest.importorskip("functions_in_mpfr", reason="needs gmpy2", exc_type=ImportError)
    worst, where, counted = 0.0, arguments[0], 0
    for each, y in zip(arguments, results, strict=True):
        want = mpfr.value(name, *each)
        if 2.0**-900 <= abs(want) <= 2.0**900:
            counted += 1
            error = float(abs((y - want) / want)) * 2.0**53
            worst, where = (worst, where) if error <= worst else (error, each)  # NaN is an error, too
        elif want == 0:
            assert y == 0, (name, each)
    assert counted > 1000
    return worst, where


@pytest.mark.parametrize("name", ESTIMATES)
def test_within_a_quarter_of_the_bound(name: str) -> None:
    arguments = list(SEVERAL.get(name, one_argument)(random.Random(name)))
    worst, where = worst_error(name, arguments, estimates(name, arguments))
    assert worst <= allowed(name), where


@pytest.mark.parametrize("name", ["exp", "pow", "gelu_tanh", "rootn"])
def test_the_comparison_sees_an_error_of_a_bound(name: str) -> None:
    arguments = list(SEVERAL.get(name, one_argument)(random.Random(name)))
    off = [y * (1 + 2.0 ** -ESTIMATES[name].bound) for y in estimates(name, arguments)]
    assert worst_error(name, arguments, off)[0] > allowed(name)


# ---- limits -------------------------------------------------------------------------------------------------------

# IEEE 754-2019, section 9.2.1, and C23, annex F: arguments and result.
LIMITS = {
    "sqrt": "0:0 -0:-0 inf:inf -inf:nan -1:nan 4:2",
    "reciprocal": "0:inf -0:-inf inf:0 -inf:-0 4:0.25",
    "rsqrt": "0:inf -0:-inf inf:0 -inf:nan -1:nan 4:0.5",
    "exp": "0:1 -0:1 inf:inf -inf:0",
    "expm1": "0:0 -0:-0 inf:inf -inf:-1",
    "exp2": "0:1 -0:1 inf:inf -inf:0",
    "exp2m1": "0:0 -0:-0 inf:inf -inf:-1 1e300:inf -1e300:-1",
    "exp10": "0:1 -0:1 inf:inf -inf:0 1e300:inf -1e300:0",
    "exp10m1": "0:0 -0:-0 inf:inf -inf:-1 1e300:inf -1e300:-1",
    "log": "0:-inf -0:-inf 1:0 inf:inf -1:nan -inf:nan",
    "log1p": "0:0 -0:-0 -1:-inf inf:inf -2:nan -inf:nan",
    "log2": "0:-inf -0:-inf 1:0 inf:inf -1:nan -inf:nan",
    "log2p1": "0:0 -0:-0 -1:-inf inf:inf -2:nan -inf:nan",
    "log10": "0:-inf -0:-inf 1:0 inf:inf -1:nan -inf:nan",
    "log10p1": "0:0 -0:-0 -1:-inf inf:inf -2:nan -inf:nan",
    "sin": "0:0 -0:-0 inf:nan -inf:nan",
    "sinpi": "0:0 -0:-0 1:0 -1:-0 2:0 -2:-0 3:0 -3:-0 1e300:0 -1e300:-0 0.5:1 -0.5:-1 1.5:-1 2.5:1 inf:nan -inf:nan",
    "cos": "0:1 -0:1 inf:nan -inf:nan",
    "cospi": "0:1 -0:1 0.5:0 -0.5:0 1.5:0 -1.5:0 2.5:0 1:-1 -1:-1 2:1 3:-1 1e300:1 inf:nan -inf:nan",
    "tan": "0:0 -0:-0 inf:nan -inf:nan",
    "tanpi": "0:0 -0:-0 1:-0 -1:0 2:0 -2:-0 3:-0 -3:0 0.5:inf -0.5:-inf 1.5:-inf -1.5:inf 2.5:inf -2.5:-inf inf:nan",
    "asin": "0:0 -0:-0 1.5:nan -1.5:nan inf:nan -inf:nan",
    "asinpi": "0:0 -0:-0 1:0.5 -1:-0.5 1.5:nan -1.5:nan inf:nan -inf:nan",
    "acos": "1:0 1.5:nan -1.5:nan inf:nan -inf:nan",
    "acospi": "1:0 0:0.5 -0:0.5 -1:1 1.5:nan -1.5:nan inf:nan -inf:nan",
    "atan": "0:0 -0:-0 inf:1.5707963267948966 -inf:-1.5707963267948966",
    "atanpi": "0:0 -0:-0 1:0.25 -1:-0.25 inf:0.5 -inf:-0.5",
    "sinh": "0:0 -0:-0 inf:inf -inf:-inf",
    "cosh": "0:1 -0:1 inf:inf -inf:inf",
    "tanh": "0:0 -0:-0 inf:1 -inf:-1",
    "asinh": "0:0 -0:-0 inf:inf -inf:-inf",
    "acosh": "1:0 inf:inf 0.5:nan -1:nan -inf:nan",
    "atanh": "0:0 -0:-0 1:inf -1:-inf 1.5:nan -1.5:nan inf:nan -inf:nan",
    "sigmoid": "0:0.5 -0:0.5 inf:1 -inf:0 1e300:1 -1e300:0",
    "silu": "0:0 -0:-0 inf:inf -inf:-0 1e300:1e300 -1e300:-0",
    "gelu": "0:0 -0:-0 inf:inf -inf:-0 1e300:1e300 -1e300:-0",
    "gelu_tanh": "0:0 -0:-0 inf:inf -inf:-0 1e300:1e300 -1e300:-0",
    "hypot": "inf,nan:inf nan,-inf:inf -inf,1:inf nan,1:nan 0,-0:0 -0,-3:3",
    "atan2": (
        "0,-0:3.141592653589793 -0,-0:-3.141592653589793 0,0:0 -0,0:-0 0,-1:3.141592653589793 -0,1:-0 "
        "-1,0:-1.5707963267948966 1,-inf:3.141592653589793 -1,inf:-0 inf,1:1.5707963267948966 "
        "inf,inf:0.7853981633974483 -inf,-inf:-2.356194490192345 nan,1:nan 1,nan:nan"
    ),
    "atan2pi": (
        "0,-0:1 -0,-0:-1 0,0:0 -0,0:-0 0,-1:1 -0,1:-0 -1,0:-0.5 1,-inf:1 -1,inf:-0 inf,1:0.5 inf,inf:0.25 "
        "-inf,-inf:-0.75 nan,1:nan 1,nan:nan"
    ),
    "pow": (
        "nan,0:1 nan,-0:1 inf,0:1 1,nan:1 1,-inf:1 -1,inf:1 -1,-inf:1 0,-3:inf -0,-3:-inf -0,-2:inf "
        "-0,-0.5:inf 0,-inf:inf -0,3:-0 -0,2:0 0,3:0 0.5,-inf:inf 2,-inf:0 0.5,inf:0 2,inf:inf -inf,-3:-0 "
        "-inf,-2:0 -inf,3:-inf -inf,2:inf inf,-1:0 inf,1:inf -2,0.5:nan nan,1:nan 2,nan:nan -2,3:-8 "
        "-2,1025:-inf"
    ),
    "softmax_exp": (
        "0,0:1 3,3:1 -inf,0:0 inf,0:inf 0,inf:0 0,-inf:inf inf,inf:nan -inf,-inf:nan -inf,inf:0 inf,-inf:inf "
        "nan,0:nan 0,nan:nan 1e300,-1e300:inf 1.7e308,-1.7e308:inf 1.1,-1e300:inf -1e300,1.1:0"
    ),
    "compoundn": (
        "nan,0:1 inf,0:1 -1,0:1 0.3,0:1 -1,3:0 -1,-3:inf -1,-2:inf 0,7:1 -0,-7:1 inf,2:inf inf,-2:0 nan,1:nan "
        "-3,3:-8 -3,2:4 -3,-1:-0.5 1e300,3:inf 1e300,-3:0 -1e300,3:-inf 1,-2147483648:0"
    ),
    "rootn": (
        "8,0:nan 0,0:nan nan,3:nan 0,3:0 -0,3:-0 -0,2:0 0,-3:inf -0,-3:-inf -0,-2:inf inf,3:inf -inf,3:-inf "
        "-inf,2:nan inf,2:inf inf,-3:0 -inf,-3:-0 -inf,-2:nan -8,2:nan -8,-2:nan -8,1:-8 4,-1:0.25 "
        "1,-2147483648:1 -1,3:-1 -1,2147483647:-1 inf,2147483648:inf"
    ),
}


def same(y: float, want: float) -> bool:
    """A limit has its sign; another number is no more than a few of its last bits off."""
    if y != y or want != want:
        return y != y and want != want
    return math.copysign(1, y) == math.copysign(1, want) and (y == want or abs(y - want) <= 2.0**-50 * abs(want) < inf)


def limits(name: str) -> list[tuple[Arguments, float]]:
    last = int if FUNCTIONS[name].integer else float
    rows = []
    for word in LIMITS[name].split():
        arguments, result = word.split(":")
        *first, final = arguments.split(",")
        rows.append(((*map(float, first), last(final)), float(result)))
    return rows


@pytest.mark.parametrize("name", ESTIMATES)
def test_limits(name: str) -> None:
    rows = limits(name)
    if FUNCTIONS[name].values == 1 and not FUNCTIONS[name].integer:
        rows.append(((nan,), nan))
    together = estimates(name, [arguments for arguments, _ in rows])
    alone = [estimates(name, [arguments])[0] for arguments, _ in rows]
    for results in (together, alone):
        assert [(*row, y) for row, y in zip(rows, results, strict=True) if not same(y, row[-1])] == []


# ---- tensors ------------------------------------------------------------------------------------------------------


def some(name: str) -> list[Tensor]:
    """Columns of normal arguments with results that count."""
    kept = [x for x in probes.arguments(name) if isinstance(probes._meant(name, x), tuple)]
    return columns(kept)


@pytest.mark.parametrize("name", ESTIMATES)
def test_shapes_stay_and_arguments_too(name: str) -> None:
    operands = some(name)
    before = [x.clone() for x in operands]
    evaluate = ESTIMATES[name].evaluate
    flat = evaluate(*operands)
    assert all(map(torch.equal, operands, before))
    assert flat.dtype == torch.float64
    for view in (lambda x: x[:24].view(2, 3, 4), lambda x: x[:24].view(4, 6).mT, lambda x: x[0], lambda x: x[:0]):
        y = evaluate(*map(view, operands))
        assert y.shape == view(operands[0]).shape
        torch.testing.assert_close(y, view(flat), rtol=2.0**-46, atol=0.0)


@pytest.mark.parametrize("name", ESTIMATES)
def test_flushing_subnormals_does_not_matter(name: str) -> None:
    operands = some(name)
    expected = ESTIMATES[name].evaluate(*operands)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush subnormals")
    try:
        flushed = ESTIMATES[name].evaluate(*operands)
    finally:
        torch.set_flush_denormal(False)
    assert torch.equal(flushed, expected)


@pytest.mark.parametrize("capability", ["default", pytest.param("avx2", marks=pytest.mark.slow)])
def test_other_instructions_pass(capability: str) -> None:
    """Both tests of bounds, with other vector instructions."""
    environment = os.environ | {"ATEN_CPU_CAPABILITY": capability}
    chosen = ["-q", "-p", "no:cacheprovider", "-k", "within_a_quarter or limits or the_probe_passes", __file__]
    done = subprocess.run([sys.executable, "-m", "pytest", *chosen], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


# ---- probes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ESTIMATES)
def test_the_probe_passes_here(name: str) -> None:
    assert 0 < probes.measure(name) <= allowed(name)
    assert probes.holds(name, "cpu")


@pytest.mark.parametrize("name", ESTIMATES)
def test_a_probe_asks_for_enough(name: str) -> None:
    meant = [probes._meant(name, each) for each in probes.arguments(name)]
    sizes = [abs(x[0]) for x in meant if isinstance(x, tuple)]
    assert len(sizes) > 90
    assert max(sizes) > min(sizes)
    assert any(isinstance(x, float) for x in meant), "no limits"


def _off(y: Tensor) -> Tensor:
    return y * (1 + 2.0**-46)


FAULTS: dict[str, tuple[str, Callable[..., Tensor]]] = {
    **{f"{name} is off by 2**-46": (name, lambda *x, f=ESTIMATES[name].formula: _off(f(*x))) for name in ESTIMATES},
    "float32 exp": ("exp", lambda x: x.to(torch.float32).exp().to(torch.float64)),
    "float32 hypot": ("hypot", lambda x, y: torch.hypot(x.to(torch.float32), y.to(torch.float32)).to(torch.float64)),
    "a wrong quadrant of sin": ("sin", lambda x: torch.where(x.abs() > 1e5, x.cos(), x.sin())),
    "a short pi in sin": ("sin", lambda x: (x - 2 * math.pi * torch.round(x / (2 * math.pi))).sin()),
    "tan by a short pi": (
        "tan",
        lambda x: (x - math.pi * torch.round(x / math.pi)).tan(),
    ),
    "sinpi by multiplication": ("sinpi", lambda x: (x * math.pi).sin()),
    "cospi by multiplication": ("cospi", lambda x: (x * math.pi).cos()),
    "exp10 by multiplication": ("exp10", lambda x: (x * math.log(10)).exp()),
    "expm1 by subtraction": ("expm1", lambda x: x.exp() - 1),
    "exp2m1 by subtraction": ("exp2m1", lambda x: x.exp2() - 1),
    "log1p by addition": ("log1p", lambda x: (1 + x).log()),
    "compoundn by addition": ("compoundn", lambda x, k: torch.pow(1 + x, k.to(torch.float64))),
    "rootn by a rounded power": ("rootn", lambda x, k: torch.pow(x.abs(), 1 / k.to(torch.float64)).copysign(x)),
    "softmax_exp of a rounded difference": ("softmax_exp", lambda x, m: (x - m).exp()),
    "tanh by exp": ("tanh", lambda x: 1 - 2 / (1 + (2 * x).exp())),
    "asinh by squares": ("asinh", lambda x: (x.abs() + (x * x + 1).sqrt()).log().copysign(x)),
    "acosh by squares": ("acosh", lambda x: (x + (x * x - 1).sqrt()).log()),
    "hypot by squares": ("hypot", lambda x, y: (x * x + y * y).sqrt()),
    "atan2 by division": ("atan2", lambda y, x: (y / x).atan()),
    "gelu of a rounded argument": (
        "gelu",
        lambda x: torch.erfc(x * -(0.5**0.5)) * x.clamp(min=-64) / 2,
    ),
    "silu with NaN at -inf": ("silu", lambda x: torch.nn.functional.silu(x)),
    "rsqrt without a sign": ("rsqrt", lambda x: torch.where(x == 0, inf, x.rsqrt())),
    "vectors wrong": ("log", lambda x: _off(x.log()) if len(x) > 7 and x.is_contiguous() else x.log()),
    "tails wrong": ("log", lambda x: _off(x.log()) if len(x) < 8 else x.log()),
    "strides wrong": ("log", lambda x: x.log() if x.is_contiguous() else _off(x.log())),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_probe_finds(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, evaluate = FAULTS[fault]
    monkeypatch.setitem(ESTIMATES, name, Estimate(name, evaluate, ESTIMATES[name].bound))
    assert not probes.holds(name, "cpu")


def test_a_probe_asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(probes, "measure", lambda name, device: asked.append(name) or 0.0)
    assert all(probes.holds("exp", "cpu") for _ in range(3))
    assert asked == ["exp"]


def test_meta_tensors_have_no_bits() -> None:
    assert probes.holds("exp", "meta")


AMBIENT: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "inference mode": torch.inference_mode,
    "no grad": torch.no_grad,
    "default device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "fake tensors": FakeTensorMode,
}


@pytest.mark.parametrize("setting", AMBIENT)
@pytest.mark.parametrize("name", ["exp", "gelu", "compoundn"])
def test_a_probe_does_not_see(setting: str, name: str) -> None:
    with AMBIENT[setting]():
        assert probes.holds(name, "cpu")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_probe_does_not_see_the_default_dtype(dtype: torch.dtype) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        assert probes.holds("gelu_tanh", "cpu")
    finally:
        torch.set_default_dtype(before)


# ---- compiled -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ESTIMATES)
def test_one_graph(name: str) -> None:
    """Of the estimate and its probe, which runs while the graph is made."""
    operands = some(name)
    evaluate = ESTIMATES[name].evaluate

    def function(*x: Tensor) -> Tensor:
        return evaluate(*x) if probes.holds(name, x[0].device.type) else torch.zeros_like(x[0])

    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*operands), evaluate(*operands))
    assert probes._asked.cache_info().misses == 1


def test_torch_marks_constants_as_probes_do() -> None:
    @torch.compiler.assume_constant_result
    def marked() -> bool:
        return True

    assert vars(marked).items() <= vars(probes.holds).items()


def test_compiled_code_computes_what_probes_asked_about() -> None:
    operands = {name: some(name) for name in ESTIMATES}
    torch.compiler.reset()
    compiled = torch.compile(
        lambda: {name: ESTIMATES[name].evaluate(*row) for name, row in operands.items()}, fullgraph=True
    )
    for name, y in compiled().items():
        assert torch.equal(y, ESTIMATES[name].formula(*operands[name])), name


@pytest.mark.parametrize("name", ["exp", "gelu", "rootn", "atan2"])
def test_the_opaque_estimate_is_registered_well(name: str) -> None:
    operands = [x[:24].view(4, 6).mT for x in some(name)]
    torch.library.opcheck(torch.ops.refnum.estimate.default, (name, operands))
    estimate = ESTIMATES[name]
    with FakeTensorMode() as mode:
        fake = estimate.evaluate(*(mode.from_tensor(x) for x in operands))
    assert fake.stride() == estimate.evaluate(*operands).stride()
