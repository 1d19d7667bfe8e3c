"""The oracle of block formats: it reproduces what peers were recorded to do, and does what the definitions say."""

from __future__ import annotations

import math
import random
import zlib
from fractions import Fraction

import numpy as np
import pytest
from refnum_conformance import block_vectors
from refnum_conformance.block_vectors import FORMATS, Case, folded
from refnum_conformance.oracles import blocks, minifloat
from refnum_conformance.oracles.blocks import E2M1, E2M3, E3M2, E4M3, E5M2, FLOAT32, Fixed, bits_of
from refnum_conformance.oracles.minifloat import FLOATS, Row, Special
from refnum_conformance.oracles.reals import Dyadic

CASES = list(block_vectors.cases())
SAMPLES = [16, pytest.param(1, marks=pytest.mark.slow)]  #: one block of so many


# Golden vectors ------------------------------------------------------------------------------------------------------


def _quantized(case: Case, rows: slice) -> tuple[np.ndarray, np.ndarray]:
    peer, fmt = case.peer, FORMATS[case.fmt]
    options = {"scale": peer.scale, "rounding": peer.rounding, "dtype": case.dtype}
    found = [
        blocks.quantize(block, fmt, peer.profile, tensor_scale=case.tensor_scale, **options)
        for block in case.blocks[rows].tolist()
    ]
    return np.array([scale for scale, _ in found]), np.array([codes for _, codes in found])


@pytest.mark.parametrize("every", SAMPLES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_golden_vectors_are_reproduced(case: Case, every: int) -> None:
    rows = slice(zlib.crc32(case.key.encode()) % every, None, every)  # other blocks for other keys
    scales, codes = _quantized(case, rows)
    promised = case.promised[rows]
    if case.values is None:
        np.testing.assert_array_equal(scales[promised], case.scales[rows][promised])
        promised = case.promised_codes[rows]
        np.testing.assert_array_equal(codes[promised], case.codes[rows][promised])
        return
    dtype = case.values_dtype
    values = np.array(
        [
            blocks.dequantize(scale, block, FORMATS[case.fmt], dtype=dtype)
            for scale, block in zip(scales.tolist(), codes.tolist(), strict=True)
        ]
    )
    got, want = values[promised], case.values[rows][promised]
    np.testing.assert_array_equal(folded(got, dtype), folded(want, dtype))
    if not case.peer.profile.startswith("microxcaling"):
        zeros = folded(want, dtype) == 0
        np.testing.assert_array_equal(got[zeros], want[zeros])


def test_golden_vectors_are_complete() -> None:
    recorded = {
        f"{name}/{key}"
        for name in ("mxfp4", "torchao_mx", "nvfp4", "dequant", "microxcaling")
        for key in block_vectors.arrays(name)
        if key.rpartition("/")[2] not in ("s", "pts_f32bits") and "aiter_hipref" not in key
    }
    assert len(CASES) == len(recorded) == 268
    left_out = {case.key: int((~case.promised).sum()) for case in CASES if not case.promised.all()}
    assert {key.split("/")[1] for key in left_out} == {*block_vectors.BY_PAYLOAD, "aiter_per1x32_even"}
    assert sum(left_out.values()) == 8 * 14 + 13 + 14 + 19  # blocks with a NaN; an amax that rounds to 2**128, or Inf


# Elements ------------------------------------------------------------------------------------------------------------

ELEMENTS = block_vectors.arrays("elements")
IN = [minifloat.decode(bits, FLOAT32) for bits in ELEMENTS["elem_in_f32bits"].tolist()]
ROWS = {
    "e2m1": E2M1,
    "e2m3": E2M3,
    "e3m2": E3M2,
    "e4m3fn": E4M3,
    "e5m2": E5M2,
    "e4m3fnuz": Row(4, 3, 8, "fnuz"),
    "e5m2fnuz": Row(5, 2, 16, "fnuz"),
    "e8m0fnu": blocks.E8M0,
    "int8": Fixed(8, 6, symmetric=False),
}
#: what a library's cast does beyond the largest value, where it does not saturate
OVERFLOW = {
    "torch/e5m2/enc": "inf",
    "torch/e4m3fnuz/enc": "nan",
    "torch/e5m2fnuz/enc": "nan",
    "ml_dtypes/e4m3fn/enc": "nan",
    "ml_dtypes/e5m2/enc": "inf",
    "gfloat/e4m3fn/enc_nosat_finite": "nan",
    "gfloat/e5m2/enc_nosat_finite": "inf",
}
CASTS = sorted(key for key in ELEMENTS if "/enc" in key and "e8m0" not in key)  # refnum casts nothing to E8M0


@pytest.mark.parametrize("key", CASTS)
def test_casts_of_elements_are_reproduced(key: str) -> None:
    library, name, _ = key.split("/")
    row = ROWS[name]
    if key in OVERFLOW:
        row = row._replace(overflow=OVERFLOW[key])
    for (negative, x), want in zip(IN, ELEMENTS[key].tolist(), strict=True):
        if x is Special.NAN or (library == "gfloat" and x is Special.INF):
            continue  # NaN codes differ; gfloat was asked for finite values alone
        got = blocks.encode(row, (negative, x))
        if blocks.decode(row, got)[1] is Special.NAN:
            assert blocks.decode(row, want)[1] is Special.NAN, x
        else:
            assert got == want, (negative, x)


DECODED = sorted(key for key in ELEMENTS if key.endswith(("dec_f32bits", "dec_f64")))


@pytest.mark.parametrize("key", DECODED)
def test_values_of_codes_are_reproduced(key: str) -> None:
    library, name, kind = key.split("/")
    dtype, codes = ("float64" if kind == "dec_f64" else "float32"), ELEMENTS[f"{library}/{name}/dec_codes"].tolist()
    want = ELEMENTS[key].view(np.uint64) if dtype == "float64" else ELEMENTS[key]
    bits = [[minifloat.encode(*x, FLOATS[dtype]) for x in _decoded(library, name, code)] for code in codes]
    got = np.array(bits, want.dtype).squeeze()
    np.testing.assert_array_equal(folded(got, dtype), folded(want, dtype))
    zeros = folded(want, dtype) == 0
    np.testing.assert_array_equal(got[zeros], want[zeros])


def _decoded(library: str, name: str, code: int) -> list[blocks.Number]:
    if name == "mxfp4_to_f32":
        return [blocks.decode(E2M1, code & 15), blocks.decode(E2M1, code >> 4)]
    return [blocks.decode(ROWS.get(name, blocks.E8M0), code)]


MICROXCALING = {
    "fp4_e2m1": E2M1,
    "fp6_e2m3": E2M3,
    "fp6_e3m2": E3M2,
    "fp8_e4m3": E4M3,
    "fp8_e5m2": E5M2,
    "int8": Fixed(8, 6),
}


@pytest.mark.parametrize("key", sorted(key for key in ELEMENTS if key.startswith("microxcaling")))
def test_elements_of_microxcaling_are_reproduced(key: str) -> None:
    _, name, rounding, _ = key.split("/")
    row, (rounding, _, saturates) = MICROXCALING[name], rounding.partition("_")
    how = blocks.Rounding(block_vectors.MICROXCALING[rounding].rounding)
    want = folded(ELEMENTS[key], "float32").tolist()
    largest = bits_of(blocks.largest(row))
    for x, value in zip(IN, want, strict=True):
        if isinstance(x[1], Special):
            continue  # a block with these has no codes
        code = blocks.microxcaling_code(x, 127, row, how)
        got = int(folded(np.array([minifloat.encode(*blocks.decode(row, code), FLOAT32)]), "float32")[0])
        over = value & 0x7FFFFFFF == 0x7F800000 and not saturates
        assert got & 0x7FFFFFFF == largest if over else got == value, x


# What the definitions say --------------------------------------------------------------------------------------------


def _value(u: int) -> Fraction:
    negative, x = minifloat.decode(u, FLOAT32)
    assert isinstance(x, Dyadic)
    return -x.fraction() if negative else x.fraction()


def _edges() -> list[int]:
    """Magnitudes at the mantissas where rules change, and next to them, in every binade."""
    mantissas = (1, 1.25, 1.5, 1.75, 1.875, 1.9375, 1.96875, 1.984375)
    middle = {np.float32(math.ldexp(m, e)).view(np.uint32).item() for m in mantissas for e in range(-149, 128)}
    return sorted({u + d for u in middle for d in (-1, 0, 1) if 0 < u + d < 0x7F800000})


@pytest.mark.parametrize("name", [name for name in blocks.FORMATS if name != "nvfp4"])
def test_scales_are_what_they_are_for(name: str) -> None:
    element = FORMATS[name].element
    power, most = Fraction(2) ** blocks.top(element), blocks.largest(element).fraction()
    unit = Fraction(2) ** -blocks.fraction_bits(element)
    for u in _edges():
        amax = _value(u)
        if amax < Fraction(2) ** -118 or amax >= Fraction(2) ** 127:
            continue  # codes are held in their range
        codes = {rule: blocks.scale_code(u, element, blocks.PROFILES["ocp/v1"], rule, 24) for rule in blocks.OCP}
        floor, ceil, even, rceil = (Fraction(2) ** (codes[rule] - 127) for rule in ("floor", "ceil", "even", "rceil"))
        if u >= 0x0B000000:  # floor's code is above 0 for every element
            assert floor * power <= amax < 2 * floor * power
            assert ceil * power / 2 < amax <= ceil * power
            assert even == (2 * floor if amax / (floor * power) >= 2 - unit / 2 else floor)
            assert rceil * most / 2 < amax <= rceil * most


@pytest.mark.parametrize("name", [name for name in blocks.FORMATS if name != "nvfp4"])
def test_rceil_is_the_exact_ceiling_but_for_one_magnitude(name: str) -> None:
    element, row = FORMATS[name].element, blocks.PROFILES["ocp/v1"]
    most = blocks.largest(element)
    first = bits_of(Dyadic(most.m, most.e - 127))  # the largest amax of code 0
    near = [u for middle in (1, 0x400000, 0x800000, first) for u in range(middle - 500, middle + 500) if u > 0]
    wrong = {
        u
        for u in _edges() + near
        if blocks.scale_code(u, element, row, "rceil", 24) != _least_scale(u, most.fraction())
    }
    # Its quotient, 2**-127 and less than half a float32 unit, rounds to 2**-127. For int8 it is more than half a unit.
    assert wrong == (set() if name == "mxint8" else {first + 1})


def _least_scale(u: int, most: Fraction) -> int:
    ratio = _value(u) / most * 2**127
    up = ratio.numerator.bit_length() - ratio.denominator.bit_length()  # ratio < 2**(up + 1)
    return next((code for code in range(max(0, up - 1), 254) if ratio <= 2**code), 254)


def test_logarithms_are_rounded_correctly() -> None:
    draw = random.Random(0)
    for precision in (8, 11, 24):
        step = 1 << (24 - precision)
        for exponent in range(-126, 128):
            for below in (1, 2, 3, 4, 60, 61, 62, 63, 88, 89, *(draw.randrange(1 << precision - 1) for _ in range(4))):
                significand = (1 << 24) - below * step
                if significand < 1 << 23:
                    continue
                logarithm = math.log2(significand) - 24 + exponent + 1  # exact to far more than 24 bits
                rounded = Fraction(round(Fraction(logarithm) / _ulp(logarithm, precision))) * _ulp(logarithm, precision)
                x = Dyadic(significand, exponent - 23)
                assert blocks.floor_rounded_log2(x, precision) == math.floor(rounded), (x, precision)


def _ulp(x: float, precision: int) -> Fraction:
    return Fraction(2) ** (math.frexp(x)[1] - precision) if x else Fraction(1)


@pytest.mark.parametrize("rounding", minifloat.RULES)
@pytest.mark.parametrize("element", [Fixed(8, 6), Fixed(4, 2), Fixed(6, 3, symmetric=False)])
def test_fixed_point_is_rounded_by_its_neighbours(element: Fixed, rounding: str) -> None:
    draw = random.Random(1)
    for _ in range(2000):
        x, r = Fraction(draw.randrange(-(1 << 14), 1 << 14), 1 << draw.randrange(6, 12)), draw.randrange(1 << 16)
        low = math.floor(x * 2**element.fraction)
        rest = x * 2**element.fraction - low
        away = rest if x > 0 else 1 - rest  # how far from the neighbour nearer to 0
        up = {
            "nearest_even": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and low % 2 == 1),
            "nearest_away": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and x > 0),
            "toward_zero": x < 0,
            "toward_positive": True,
            "toward_negative": False,
            "to_odd": low % 2 == 0,
            "stochastic": (math.floor(away * 2**16) > r) == (x > 0),
        }[rounding]
        least = -element.largest - (not element.symmetric)
        want = max(least, min(low + (rest > 0 and up), element.largest))
        code = blocks.encode(element, (x < 0, Dyadic(*_dyadic(abs(x)))), rounding, r)
        assert code == want % (1 << element.width), (x, r)


def _dyadic(x: Fraction) -> tuple[int, int]:
    return x.numerator, 1 - x.denominator.bit_length()


def test_float32_arithmetic_is_ieee() -> None:
    draw = random.Random(2)
    special = [0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x3F800000, 0x40C00000]
    pool = [u | sign for u in special for sign in (0, 1 << 31)] + [draw.randrange(1 << 32) for _ in range(60)]
    x, y = (np.array(side, np.uint32) for side in zip(*((u, v) for u in pool for v in pool), strict=True))
    with np.errstate(all="ignore"):
        products, quotients = x.view(np.float32) * y.view(np.float32), x.view(np.float32) / y.view(np.float32)
    for operation, want in ((blocks.multiply, products), (blocks.divide, quotients)):
        got = np.array([operation(u, v) for u, v in zip(x.tolist(), y.tolist(), strict=True)], np.uint32)
        nan = np.isnan(want)
        assert (got[nan] == 0x7FC00000).all()
        np.testing.assert_array_equal(got[~nan], want.view(np.uint32)[~nan])


# Dot products --------------------------------------------------------------------------------------------------------


def _blocks_of(name: str, seed: int) -> tuple[int, list[int]]:
    fmt, draw = FORMATS[name], random.Random(seed)
    return blocks.quantize([bits_of(Dyadic(draw.randrange(1, 1 << 20), -10)) for _ in range(fmt.size)], fmt)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dots_are_sums_rounded_once(dtype: str) -> None:
    for seed in range(40):
        a, b = (blocks.values(*_blocks_of(name, seed + k), FORMATS[name]) for k, name in enumerate(("mxfp4", "mxint8")))
        total = sum((_number(x) * _number(y) for x, y in zip(a, b, strict=True)), Fraction(0))
        want = minifloat.encode(total < 0, Dyadic(*_dyadic(abs(total))), FLOATS[dtype])
        assert blocks.dot(a, b, dtype=dtype) == want
        assert blocks.dot(a[::-1], b[::-1], dtype=dtype) == want


def _number(x: blocks.Number) -> Fraction:
    assert isinstance(x[1], Dyadic)
    return -x[1].fraction() if x[0] else x[1].fraction()


ZERO, ONE, INF, NAN = Dyadic(0, 0), Dyadic(1, 0), Special.INF, Special.NAN


@pytest.mark.parametrize(
    ("a", "b", "bias", "want"),
    [
        ([], [], None, 0),
        ([], [], (True, ZERO), 0x80000000),
        ([(True, ZERO)], [(False, ONE)], None, 0x80000000),
        ([(True, ZERO)], [(False, ONE)], (False, ZERO), 0),
        ([(True, ZERO), (False, ZERO)], [(False, ONE)] * 2, None, 0),
        ([(True, ONE), (False, ONE)], [(False, ONE)] * 2, None, 0),
        ([(True, Dyadic(1, -200))], [(False, ONE)], None, 0x80000000),
        ([(False, INF)], [(True, ONE)], None, 0xFF800000),
        ([(False, INF)], [(False, ZERO)], None, 0x7FFFFFFF),
        ([(False, INF), (True, INF)], [(False, ONE)] * 2, None, 0x7FFFFFFF),
        ([(False, INF)], [(False, ONE)], (True, INF), 0x7FFFFFFF),
        ([(False, NAN)], [(False, ZERO)], None, 0x7FFFFFFF),
        ([(False, Dyadic((1 << 24) - 1, 104))], [(False, ONE)], (False, Dyadic(1, 103)), 0x7F800000),
    ],
)
def test_ends_of_dots(a: list[blocks.Number], b: list[blocks.Number], bias: blocks.Number | None, want: int) -> None:
    assert blocks.dot(a, b, bias) == want
