"""The scalar headers of refnum_cuda, compiled for the CPU, against refnum: the lines that a GPU runs."""

from __future__ import annotations

import ctypes
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from cuda import bridge  # before refnum_cuda, which it finds
from torch import Tensor

import refnum
from refnum import Minifloat, Posit
from refnum.core.decode import Exact
from refnum.core.decode import decode as decoded
from refnum.core.round import RULES, rounded_floats
from refnum.core.round import encode as encoded
from refnum.formats import Format, float16, float32, float64, holds, scalars
from refnum.sums.ordered import clipped_bits
from refnum_cuda import packed, parameters

VECTORS = Path(__file__).parents[1] / "conformance" / "vectors"
MINIFLOATS = [fmt for fmt in scalars().values() if isinstance(fmt, Minifloat)]
ODD_MINIFLOATS = [
    Minifloat(4, 3, specials="fn", overflow="nan"),
    Minifloat(3, 0, specials="none"),
    Minifloat(5, 2, overflow="nan", signed=False),
    Minifloat(8, 50, specials="ieee", overflow="inf"),
    Minifloat(6, 1, bias=-40, specials="fnuz", overflow="nan"),
]
FIELDS = np.dtype([("sign", "i4"), ("significand", "u8"), ("exponent", "i4"), ("kind", "i4")], align=True)
NOT_SERVED = -(1 << 31)


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    return bridge.load(bridge.HERE / "scalars.cpp")


def pointer(x: Tensor | np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.data_ptr() if isinstance(x, Tensor) else x.ctypes.data)


def call(function: object, count: int, *arguments: object) -> None:
    converted = [pointer(x) if isinstance(x, (Tensor, np.ndarray)) else x for x in arguments]
    function(ctypes.c_int64(count), *converted)  # type: ignore[operator]


def decode(library: ctypes.CDLL, codes: Tensor, fmt: Format) -> np.ndarray:
    out = np.zeros(len(codes), FIELDS)
    call(library.decode_codes, len(codes), codes, parameters.scalar(fmt), out)
    return out


def encode(library: ctypes.CDLL, x: Exact, fmt: Format, rounding: str, random: Tensor) -> Tensor:
    rows = np.zeros(len(x.sign), FIELDS)
    (rows["significand"],) = (limb.numpy() for limb in x.significand)
    rows["sign"], rows["exponent"], rows["kind"] = x.sign.numpy(), x.exponent.numpy(), x.kind.numpy()
    out = torch.empty(len(rows), dtype=torch.int64)
    number = parameters.ROUNDINGS[rounding]
    call(library.encode_values, len(rows), rows, random.to(torch.int32), parameters.scalar(fmt), number, out)
    return out


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def all_or_some(bits: int, seed: int, most: int = 16, few: int = 1 << 13) -> Tensor:
    """All codes of so many bits; beyond 2**most of them the ends, the middle, and random ones with runs of bits."""
    if bits <= most:
        return torch.arange(1 << bits)
    near = torch.arange(-64, 64)
    middles = torch.stack([near + (1 << place) for place in range(7, bits)]).flatten()
    spread = torch.randint(-(1 << 62), 1 << 62, (few,), generator=generator(seed))
    run = spread >> torch.randint(0, 62, spread.shape, generator=generator(seed + 1))
    codes = torch.cat([near, middles, -middles, spread, run, ~run << 7])
    return codes if bits == 64 else codes & ((1 << bits) - 1)


def assert_decoded(library: ctypes.CDLL, codes: Tensor, fmt: Format) -> None:
    got, want = decode(library, codes, fmt), decoded(codes, fmt)
    present = want.significand[0] != 0
    assert torch.equal(torch.from_numpy(got["significand"].view(np.int64)), want.significand[0])
    for field in ("sign", "exponent", "kind"):
        where = torch.ones_like(present) if field == "kind" else present
        got_field = torch.from_numpy(got[field].astype(np.int64))
        assert torch.equal(got_field[where], getattr(want, field)[where]), field
    assert bool((torch.from_numpy(got["exponent"])[~present] < -100_000).all()), "a 0 lies far below all others"


# ---- decode --------------------------------------------------------------------------------------


@pytest.mark.parametrize("es", range(5))
def test_decode_posits(library: ctypes.CDLL, es: int) -> None:
    for n in range(2, 33):
        assert_decoded(library, all_or_some(n, n), Posit(n, es))
    dirty = torch.arange(1 << 8) | 0x5A00
    assert_decoded(library, dirty, Posit(8, es))


@pytest.mark.parametrize("fmt", MINIFLOATS + ODD_MINIFLOATS, ids=str)
def test_decode_minifloats(library: ctypes.CDLL, fmt: Minifloat) -> None:
    assert_decoded(library, all_or_some(fmt.width, 1), fmt)


# ---- encode --------------------------------------------------------------------------------------


def assert_encoded(library: ctypes.CDLL, codes: Tensor, source: Format, fmt: Format, rounding: str) -> None:
    x = decoded(codes, source)
    random = torch.randint(0, 1 << 16, codes.shape, generator=generator(0))
    got = encode(library, x, fmt, rounding, random)
    want = encoded(x, fmt, rounding, random if rounding == "stochastic" else None)
    assert torch.equal(got, want), f"{source} -> {fmt}"


@pytest.mark.parametrize("rounding", RULES)
def test_encode_posits_at_ties_and_beside_them(library: ctypes.CDLL, rounding: str) -> None:
    """A posit of 4 bits more is a posit with a tail of 4 bits: every tie, and every neighbour of one."""
    for n in range(2, 33) if rounding == "nearest_even" else (2, 3, 4, 7, 8, 15, 16, 24, 31, 32):
        for es in (0, 2, 4) if n % 8 == 0 else (2,):
            codes = all_or_some(n + 4, n, most=12)
            ties = ((codes & ~15 | 8)[:, None] + torch.arange(-1, 2)).flatten()
            assert_encoded(library, torch.cat([codes, ties]), Posit(n + 4, es), Posit(n, es), rounding)


@pytest.mark.parametrize("rounding", RULES)
def test_encode_posits_from_floats(library: ctypes.CDLL, rounding: str) -> None:
    for source, (n, es) in product(
        (float16, float32, float64), ((2, 0), (3, 1), (8, 0), (8, 2), (16, 2), (32, 2), (32, 4))
    ):
        assert_encoded(library, all_or_some(source.width, n), source, Posit(n, es), rounding)


@pytest.mark.parametrize("rounding", RULES)
@pytest.mark.parametrize("fmt", [f for f in MINIFLOATS if f.subnormals] + ODD_MINIFLOATS, ids=str)
def test_encode_minifloats(library: ctypes.CDLL, fmt: Minifloat, rounding: str) -> None:
    for source in (float32, float64, Posit(16), Posit(32, 4), Minifloat(8, 46, overflow="inf")):
        assert_encoded(library, all_or_some(source.width, 3), source, fmt, rounding)
    # Ties, and what lies beside them: the format with 3 more bits of mantissa.
    if fmt.mantissa <= 23:
        wider = Minifloat(fmt.exponent + 1, fmt.mantissa + 3, bias=fmt.bias, overflow="inf", signed=fmt.signed)
        assert_encoded(library, all_or_some(wider.width, 4), wider, fmt, rounding)


@pytest.mark.parametrize("n", range(6, 33))
def test_encode_float32_midpoints(library: ctypes.CDLL, n: int) -> None:
    """The floats nearest to the midpoints of neighbouring posits, three on each side, for both signs."""
    fmt = Posit(n)
    odd = all_or_some(n, n, most=14) << 1 | 1
    middles = encoded(decoded(odd, Posit(n + 1)), float32)
    bits = (middles[:, None] + torch.arange(-3, 4)).flatten() & 0xFFFFFFFF
    assert_encoded(library, bits, float32, fmt, "nearest_even")


# ---- golden vectors ------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "es"), [(12, 0), (16, 1), (16, 2), (28, 2), (32, 2)])
def test_golden_conversions(library: ctypes.CDLL, n: int, es: int) -> None:
    prefix = f"n{n}es{es}_"
    with np.load(VECTORS / "posit_sampled.npz", allow_pickle=False) as z:
        x, want, patterns, values = (z[prefix + name] for name in ("f64_in", "from_f64", "a", "to_f64"))
    bits = torch.from_numpy(x).view(torch.int64)
    fields = decode(library, bits, float64)
    got = encode_fields(library, fields, Posit(n, es))
    assert np.array_equal(got & ((1 << n) - 1), want.astype(np.int64))
    back = encode_fields(library, decode(library, torch.from_numpy(patterns.astype(np.int64)), Posit(n, es)), float64)
    assert np.array_equal(np.isnan(back.view(np.float64)), np.isnan(values))
    assert np.array_equal(back[~np.isnan(values)], values.view(np.int64)[~np.isnan(values)])


def encode_fields(library: ctypes.CDLL, fields: np.ndarray, fmt: Format) -> np.ndarray:
    out, none = np.empty(len(fields), np.int64), np.zeros(len(fields), np.int32)
    call(library.encode_values, len(fields), fields, none, parameters.scalar(fmt), 0, out)
    return out


# ---- fast rounding of float32 ----------------------------------------------------------------------

FAST = {es: [Posit(n, es) for n in range(3, 29) if holds(float32, Posit(n, es))] for es in range(5)}


def float32_inputs(fmt: Posit) -> Tensor:
    """Every binade, every midpoint and its neighbours up to 2**16 of them, specials: as int32."""
    odd = all_or_some(fmt.n, fmt.n, most=14) << 1 | 1
    middles = encoded(decoded(odd, Posit(fmt.n + 1, fmt.es)), float32)
    near = (middles[:, None] + torch.arange(-3, 4)).flatten()
    exponents = torch.arange(1 << 9)[:, None] << 23
    mantissas = torch.tensor([0, 1, 2, 0x3FFFFF, 0x400000, 0x400001, 0x7FFFFE, 0x7FFFFF])
    some = torch.randint(0, 1 << 32, (1 << 14,), generator=generator(fmt.n))
    return torch.cat([near, (exponents | mantissas).flatten(), some]).to(torch.int32)


def run_float32(function: object, x: Tensor, how: object) -> Tensor:
    out = torch.empty_like(x)
    call(function, len(x), x, how, out)
    return out


@pytest.mark.parametrize("es", range(5))
def test_fast_rounding(library: ctypes.CDLL, es: int) -> None:
    for fmt in FAST[es] if es == 2 else FAST[es][::3] + FAST[es][-1:]:
        x = float32_inputs(fmt)
        want = rounded_floats(x.long(), float32, fmt).to(torch.int32)
        got = run_float32(library.fast_round_bits, x, parameters.posit(fmt))
        assert torch.equal(got, want), fmt
        if es:
            magic = run_float32(library.fast_round_magic, x, parameters.posit(fmt))
            served = magic != NOT_SERVED
            assert torch.equal(magic[served], want[served]), fmt
            if fmt.n >= es + 5:
                # Within the posits that have all their exponent bits it always serves.
                reach = (fmt.n - 3 - es) << es
                magnitude = x.view(torch.float32).abs()
                inside = (magnitude >= 2.0 ** -(reach + (1 << es))) & (magnitude < 2.0 ** (reach + (1 << es)))
                assert torch.equal(served, inside), fmt


@pytest.mark.parametrize("n", range(3, 33))
def test_fast_encoding_and_decoding(library: ctypes.CDLL, n: int) -> None:
    for fmt in (Posit(n, es) for es in range(5)):
        if fmt.max_scale < 127 and (fmt.es == 2 or n % 4 == 0):
            x = float32_inputs(fmt)
            got = run_float32(library.fast_encode_bits, x, parameters.posit(fmt))
            assert torch.equal(got.long(), encoded(decoded(x.long(), float32), fmt)), fmt
            if holds(float32, fmt):
                codes = all_or_some(n, n).to(torch.int32)
                got = run_float32(library.fast_decode_bits, codes, parameters.posit(fmt))
                assert torch.equal(got, encoded(decoded(codes.long(), fmt), float32).to(torch.int32)), fmt


def differing_sums(library: ctypes.CDLL, fmt: Posit) -> int:
    library.differing_sums.restype = ctypes.c_int64
    return int(library.differing_sums(parameters.posit(fmt)))


SUMMED = [Posit(n, es) for es in range(5) for n in range(3, 17) if packed.SERVES["add"](Posit(n, es))]


@pytest.mark.parametrize("fmt", [pytest.param(f, marks=[pytest.mark.slow] * (f.n > 11)) for f in SUMMED], ids=str)
def test_sums_in_float32_round_as_exact_ones(library: ctypes.CDLL, fmt: Posit) -> None:
    assert differing_sums(library, fmt) == 0


def test_no_fraction_ties_follow_the_exponent(library: ctypes.CDLL) -> None:
    """The eight ties of posit16 that a magic number alone rounds wrong."""
    ties = torch.tensor([sign * 1.5 * 2.0**e for e in (-48, -46, 44, 46) for sign in (1, -1)])
    got = run_float32(library.fast_round_magic, ties.view(torch.int32), parameters.posit(Posit(16)))
    assert torch.equal(got.view(torch.float32), refnum.quantize(ties, Posit(16)))
    assert torch.equal(got.view(torch.float32).abs().log2(), torch.tensor([-48, -48, -46, -46, 44, 44, 46, 46]) + 0.0)


#: Bounds of |x|, as powers of 2, whether they belong to what lies between them, and what that is rounded to.
BEYOND_FRACTIONS = [
    ((-149, -54), False, -56),
    ((-54, -51), True, -52),
    ((-51, -49), False, -50),
    ((-49, -48), True, -48),
    ((48, 49), True, 48),
    ((49, 51), False, 50),
    ((51, 54), True, 52),
    ((54, 127), False, 56),
]


@pytest.mark.parametrize(("bounds", "closed", "value"), BEYOND_FRACTIONS)
def test_posit16_beyond_its_fractions(library: ctypes.CDLL, bounds: tuple[int, int], closed: bool, value: int) -> None:
    low, high = torch.tensor([2.0**bound for bound in bounds]).view(torch.int32).tolist()
    inside = torch.tensor([low + 1, (low + high) // 2, high - 1] + [low, high] * closed, dtype=torch.int32)
    got = run_float32(library.fast_round_bits, inside, parameters.posit(Posit(16)))
    assert got.view(torch.float32).tolist() == [2.0**value] * len(inside)


def test_clipping(library: ctypes.CDLL) -> None:
    for n in range(4, 29):
        x = float32_inputs(Posit(n))
        got = run_float32(library.fast_clip_bits, x, n)
        assert torch.equal(got, clipped_bits(x, Posit(n))), n
    with np.load(VECTORS / "cuposit_round.npz", allow_pickle=False) as z:
        for n in (4, 5, 6, 8, 12, 16, 24, 28):
            x, want = (torch.from_numpy(z[f"{side}_{n}"].view(np.int32)) for side in ("in", "out"))
            assert torch.equal(run_float32(library.fast_clip_bits, x, n), want), n


# ---- quires --------------------------------------------------------------------------------------

QUIRES = [(2, 0), (5, 2), (8, 0), (8, 2), (16, 1), (16, 2), (20, 2), (32, 2), (32, 4)]


def dots(library: ctypes.CDLL, fmt: Posit, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Patterns of c + sum(a * b), row by row."""
    out = torch.empty_like(c)
    function = getattr(library, f"quire_dot_{fmt.n}_{fmt.es}")
    call(function, len(a), ctypes.c_int64(a.shape[1]), a.contiguous(), b.contiguous(), c, out)
    return out


@pytest.mark.parametrize(("n", "es"), QUIRES)
def test_quires(library: ctypes.CDLL, n: int, es: int) -> None:
    fmt, terms, count = Posit(n, es), 12, 400
    a, b = (torch.randint(fmt.nar, fmt.maxpos + 1, (count, terms), generator=generator(n + i)) for i in (1, 2))
    a[a == fmt.nar], b[b == fmt.nar] = 1, 0  # but for the rows below
    # 1. Wide ones that cancel, so that the least products decide; some wholly. 2. Ends of the range. 3. NaR.
    a[:200, 6:], b[:200, 6:] = -a[:200, :6], b[:200, :6]
    a[:100, 11] = 1
    b[50:100, 11] = 1
    ends = torch.tensor([1, -1, fmt.maxpos, -fmt.maxpos, 0])
    a[200:300], b[200:300] = (ends[torch.randint(5, (100, terms), generator=generator(i))] for i in (3, 4))
    a[300, 0], b[301, 5], b[302, 1] = fmt.nar, fmt.nar, 0
    c = torch.zeros(count, dtype=torch.int64)
    c[::2] = torch.randint(fmt.nar, fmt.maxpos + 1, (count // 2,), generator=generator(9))
    quire = refnum.posit.Quire(fmt, (count,)).add_posit(c)
    for k in range(terms):
        quire.mul_add(a[:, k], b[:, k])
    out = dots(library, fmt, a, b, c)
    assert torch.equal(out, quire.to_posit().long())


@pytest.mark.parametrize(("n", "es"), QUIRES[2:])
def test_quires_beside_ties(library: ctypes.CDLL, n: int, es: int) -> None:
    """A posit, half the way to the next one, and a power of 2 at every place of the register, added or subtracted."""
    fmt = Posit(n, es)
    p = torch.randint(1, fmt.maxpos, (60,), generator=generator(n + es))
    p[:30] = p[:30] >> torch.arange(30) % (n - 1) | 1
    half = refnum.decode(p << 1 | 1, Posit(n + 1, es)) - refnum.decode(p, fmt)
    place = torch.arange(-2 * fmt.max_scale, 2 * fmt.max_scale + 1)
    steps = [2.0 ** exponent.double() for exponent in (place // 2, place - place // 2)]
    values = torch.cartesian_prod(torch.arange(len(p)), torch.arange(len(place)), torch.tensor([1, -1]))
    i, j, sign = values.unbind(1)
    a = torch.stack([half[i], steps[0][j] * sign], 1)
    b = torch.stack([torch.ones(len(i), dtype=torch.float64), steps[1][j]], 1)
    exact = ((refnum.quantize(a, fmt) == a) & (refnum.quantize(b, fmt) == b)).all(1)
    assert int(exact.sum()) > 900
    a, b = (refnum.encode(x[exact], fmt).long() for x in (a, b))
    c = p[i[exact]]
    quire = refnum.posit.Quire(fmt, c.shape).add_posit(c)
    for k in range(2):
        quire.mul_add(a[:, k], b[:, k])
    assert torch.equal(dots(library, fmt, a, b, c), quire.to_posit().long())
    assert torch.equal(dots(library, fmt, -a, b, -c), quire.negate().to_posit().long())


@pytest.mark.parametrize(("n", "es"), [(8, 0), (8, 2), (16, 1), (16, 2), (32, 2)])
def test_golden_dots(library: ctypes.CDLL, n: int, es: int) -> None:
    with np.load(VECTORS / "posit_quire.npz", allow_pickle=False) as z:
        length, *parts = (z[f"n{n}es{es}_{name}"].astype(np.int64) for name in ("len", "p", "q", "qToP"))
    p, q, want = map(torch.from_numpy, parts)
    a, b = (torch.nn.utils.rnn.pad_sequence(x.split(length.tolist()), batch_first=True) for x in (p, q))
    out = dots(library, Posit(n, es), a, b, torch.zeros(len(a), dtype=torch.int64))
    assert torch.equal(out & ((1 << n) - 1), want)


DOT = """
#include "rn_quire.cuh"
extern "C" __global__ void dot(const unsigned* a, const unsigned* b, unsigned* out, long long terms) {{
    constexpr rn::Posit fmt{{{n}, 2}};
    rn::Quire<{n}, 2> quire;
    for (long long k = threadIdx.x; k < terms; k += 32) quire.add_product(rn::decode(a[k], fmt), rn::decode(b[k], fmt));
    out[threadIdx.x] = static_cast<unsigned>(quire.pattern());
}}
"""


@pytest.mark.parametrize("n", [8, 16, 32])
def test_quires_stay_in_registers(n: int, tmp_path: Path) -> None:
    (source := tmp_path / "dot.cu").write_text(DOT.format(n=n))
    (used,) = bridge.stack_and_spills(source, "90a")
    assert used == bridge.IN_REGISTERS
