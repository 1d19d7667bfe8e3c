"""nn.scaled_dot_product_attention: fractions, step by step; one result for every order, tile and batch."""

from __future__ import annotations

import itertools
import math
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

import pytest
import torch
from float_sums import SETTINGS
from refnum_conformance.oracles.minifloat import FLOATS, encode
from refnum_conformance.oracles.reals import ratio
from torch import Tensor
from torch.nn import functional

import refnum
from refnum import Block, ContractError, DTypeError, FixedPoint, Minifloat, ShapeError, UncoveredError
from refnum.boundary import SIGNED
from refnum.formats import e4m3, e8m0, mxint8, posit16
from refnum.nn import scaled_dot_product_attention, sdpa
from refnum.testing import assert_bit_equal

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SMALL = Block(FixedPoint(8, 6), e8m0, 4)
#: (fmt, weights)
FORMATS = {
    "none": (None, None),
    "mxint8": (mxint8, None),
    "mxint8, e4m3": (mxint8, e4m3),
    "fixed": (FixedPoint(8, 4), FixedPoint(9, 7)),
    "posit16": (posit16, posit16),
    "e4m3": (e4m3, e4m3),
    "blocks of weights": (SMALL, SMALL),
}


def drawn(*shape: int, seed: int, dtype: torch.dtype = torch.float32, size: float = 1.0) -> Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * size).to(dtype)


# ---- the oracle -----------------------------------------------------------------------------------------------------

EXACTLY, CLOSELY = Context(prec=900, Emin=-(10**6)), Context(prec=80, Emin=-(10**6))


def rounded(x: Fraction, dtype: torch.dtype) -> float:
    """The nearest number of a dtype, as torch has it."""
    row = FLOATS[str(dtype).removeprefix("torch.")]
    pattern = torch.tensor(encode(x < 0, ratio(abs(x)), row)).to(SIGNED[row.width])
    return float(pattern.view(dtype))


def exponential(score: float, most: float) -> Fraction:
    """e**(score - most) to 80 digits."""
    if score == -math.inf:
        return Fraction(0)
    x = Fraction(score) - Fraction(most)
    quotient = EXACTLY.divide(Decimal(x.numerator), Decimal(x.denominator))
    return Fraction(*CLOSELY.exp(quotient).as_integer_ratio())


def dot(x: list[float], y: list[float]) -> Fraction:
    return sum((Fraction(a) * Fraction(b) for a, b in zip(x, y, strict=True)), Fraction(0))


def by_fractions(
    q: Tensor, k: Tensor, v: Tensor, fmt: Any, weights: Any, scale: float, mask: Tensor | None
) -> list[list[float]]:
    """The result, by the steps of the documentation."""
    x, y, z = (t.float() if fmt is None else refnum.quantize(t.float(), fmt) for t in (q, k, v))
    c, result = Fraction(float(torch.tensor(scale))), []
    for i, row in enumerate(x.tolist()):
        terms = [0.0] * len(y) if mask is None else mask[i].tolist()
        scores = [
            -math.inf if term == -math.inf else rounded(c * dot(row, key) + Fraction(term), torch.float32)
            for key, term in zip(y.tolist(), terms, strict=True)
        ]
        w = torch.tensor([rounded(exponential(score, max(scores)), torch.float32) for score in scores])
        w = w if weights is None else refnum.quantize(w, weights)
        below = sum(map(Fraction, w.tolist()))
        result.append([rounded(dot(w.tolist(), column) / below, q.dtype) for column in z.mT.tolist()])
    return result


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", FORMATS)
def test_steps_are_those_of_fractions(kind: str, dtype: torch.dtype) -> None:
    fmt, weights = FORMATS[kind]
    width = 32 if fmt == mxint8 else 4
    q, k, v = (drawn(n, width, seed=n, dtype=dtype, size=2.0) for n in (3, 8, 8))
    mask = drawn(3, 8, seed=9)
    mask[0, 2:5] = mask[2, 0] = -math.inf
    for scale, terms in ((0.3, None), (1.0, mask), (-0.71, None)):
        got = scaled_dot_product_attention(q, k, v, fmt, weights=weights, scale=scale, attn_mask=terms)
        assert got.dtype == dtype
        want = torch.tensor(by_fractions(q, k, v, fmt, weights, scale, terms), dtype=torch.float64).to(dtype)
        assert_bit_equal(got, want)


def test_quotients_that_are_ties() -> None:
    """Weights that are equal give means: of two values that are neighbours of bfloat16 it is a tie."""
    zeros, steps = torch.zeros(2, 4, dtype=torch.bfloat16), torch.arange(128, 256).to(torch.bfloat16)
    v = torch.stack([steps, steps + 1])
    got = scaled_dot_product_attention(zeros[:1], zeros, v, None)
    assert got.tolist() == [[float(n + n % 2) for n in range(128, 256)]]


def test_the_usual_scale_is_the_nearest_one() -> None:
    """1 / sqrt(E) lies between the points half-way to the neighbours: their squares, times E, enclose 1."""
    for length in (1, 2, 3, 5, 48, 64, 80, 96, 128, 1000):
        scale = sdpa._scale(None, torch.zeros(1, length)).to(torch.float32)
        low, high = (Fraction(float(torch.nextafter(scale, torch.tensor(end)))) for end in (0.0, 2.0))
        middle = Fraction(float(scale))
        assert ((middle + low) / 2) ** 2 * length < 1 < ((middle + high) / 2) ** 2 * length


# ---- one result for every order -------------------------------------------------------------------------------------


def check_tiles(kind: str, dtype: torch.dtype, tiles: list[tuple[int, int]]) -> None:
    fmt, weights = FORMATS[kind]
    q, k, v = (drawn(2, 2, n, 32, seed=n, dtype=dtype, size=3.0) for n in (13, 24, 24))
    seen = drawn(13, 24, seed=7) > 0.5
    seen[4] = False
    for options in ({}, {"is_causal": True}, {"attn_mask": seen}, {"attn_mask": drawn(2, 1, 13, 24, seed=8, size=9.0)}):
        whole = scaled_dot_product_attention(q, k, v, fmt, weights=weights, **options)
        for tile in tiles:
            assert_bit_equal(scaled_dot_product_attention(q, k, v, fmt, weights=weights, tile=tile, **options), whole)


@pytest.mark.parametrize("kind", FORMATS)
def test_tiles_change_no_bit(kind: str) -> None:
    dtype = DTYPES[list(FORMATS).index(kind) % 3]
    check_tiles(kind, dtype, [(7, 20), (16, 8)])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", FORMATS)
def test_no_tile_changes_a_bit(kind: str, dtype: torch.dtype) -> None:
    blocks = kind == "blocks of weights"
    check_tiles(kind, dtype, [(5, 4), (3, 8), (13, 20)] if blocks else [(5, 3), (13, 19), (2, 24)])


def check_spread(tile: tuple[int, int]) -> None:
    """Each tile has a larger maximum than the last; weights reach from 1 to below the least float32."""
    q, k, v = torch.ones(3, 8), torch.linspace(-60, 60, 40)[:, None].expand(40, 8), drawn(40, 5, seed=1, size=1e4)
    for keys in (k, k.flip(0), k[torch.randperm(40, generator=torch.Generator().manual_seed(0))]):
        for weights in (None, e4m3, posit16, Minifloat(5, 2)):
            whole = scaled_dot_product_attention(q, keys, v, None, weights=weights)
            assert_bit_equal(scaled_dot_product_attention(q, keys, v, None, weights=weights, tile=tile), whole)


def test_scores_that_ascend_and_spread() -> None:
    check_spread((3, 13))


@pytest.mark.slow
@pytest.mark.parametrize("tile", [(1, 1), (5, 7), (3, 1), (1, 40), (2, 39), (64, 64)], ids=str)
def test_scores_that_ascend_and_spread_in_any_tile(tile: tuple[int, int]) -> None:
    check_spread(tile)


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "blocks of weights"])
def test_keys_have_no_order(kind: str) -> None:
    fmt, weights = FORMATS[kind]
    q, k, v = (drawn(n, 32, seed=n, size=2.0) for n in (6, 50, 50))
    want = scaled_dot_product_attention(q, k, v, fmt, weights=weights)
    for seed in range(2):
        order = torch.randperm(50, generator=torch.Generator().manual_seed(seed))
        assert_bit_equal(scaled_dot_product_attention(q, k[order], v[order], fmt, weights=weights, tile=(6, 17)), want)


def test_rows_and_batches_know_nothing_of_each_other() -> None:
    q, k, v = drawn(3, 1, 6, 8, seed=1), drawn(1, 2, 10, 8, seed=2), drawn(2, 10, 5, seed=3)
    got = scaled_dot_product_attention(q, k, v, e4m3)
    assert got.shape == (3, 2, 6, 5)
    for i, j, row in itertools.product(range(3), range(2), (0, 5)):
        alone = scaled_dot_product_attention(q[i, 0, row : row + 1], k[0, j], v[j], e4m3)
        assert_bit_equal(got[i, j, row : row + 1], alone)


def test_heads_that_are_shared() -> None:
    q, k, v = drawn(2, 6, 4, 8, seed=1), drawn(2, 3, 10, 8, seed=2), drawn(2, 3, 10, 5, seed=3)
    got = scaled_dot_product_attention(q, k, v, e4m3, enable_gqa=True)
    want = scaled_dot_product_attention(q, *(x.repeat_interleave(2, 1) for x in (k, v)), e4m3)
    assert_bit_equal(got, want)


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_setting_changes_a_bit(setting: str) -> None:
    """Subnormal scores and values among them."""
    q, k, v = drawn(4, 8, seed=1), drawn(9, 8, seed=2), drawn(9, 6, seed=3, size=1e-39)
    q[0], q[1] = q[0] * 1e-38, q[1] * 1e-42
    want = scaled_dot_product_attention(q, k, v, None, tile=(3, 4))
    assert bool((want != 0).any())
    with SETTINGS[setting]():
        assert_bit_equal(scaled_dot_product_attention(q, k, v, None, tile=(3, 4)), want)
        assert_bit_equal(scaled_dot_product_attention(q, k, v, None), want)


# ---- beside torch ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.5}, {"attn_mask": drawn(9, 12, seed=5) > 0}])
def test_near_that_of_torch_in_float64(options: dict[str, Any]) -> None:
    """Scores are off by 2**-24 of themselves, weights by as much and by the scores' error; no sum is."""
    q, k, v = drawn(2, 3, 9, 16, seed=1), drawn(2, 3, 12, 16, seed=2), drawn(2, 3, 12, 8, seed=3)
    got = scaled_dot_product_attention(q, k, v, None, **options).double()
    want = functional.scaled_dot_product_attention(q.double(), k.double(), v.double(), **options)
    scores = float((q.double() @ k.double().mT).abs().max())
    assert float((got - want).abs().max()) <= (4 * scores + 4) * 2.0**-24 * float(v.abs().max())


def test_rows_without_keys_are_0_as_in_torch() -> None:
    q, k, v = drawn(3, 8, seed=1), drawn(4, 8, seed=2), -drawn(4, 5, seed=3).abs()
    seen = torch.tensor([[True, False, True, True], [False] * 4, [True] * 4])
    terms = torch.where(seen, 0.0, -math.inf)
    for mask, tile in itertools.product((seen, terms), (None, (2, 3))):
        got = scaled_dot_product_attention(q, k, v, None, attn_mask=mask, tile=tile)
        assert_bit_equal(got[1], torch.zeros(5))
        assert_bit_equal(got[::2], scaled_dot_product_attention(q[::2], k, v, None, attn_mask=mask[::2]))
        want = functional.scaled_dot_product_attention(q.double(), k.double(), v.double(), attn_mask=seen)
        assert torch.allclose(got.double(), want, atol=1e-5)
    v[2, 2] = math.nan
    assert_bit_equal(scaled_dot_product_attention(q, k, v, None, attn_mask=seen)[1], torch.zeros(5))


def test_shapes_without_elements() -> None:
    x = drawn(3, 8, seed=1)
    assert_bit_equal(scaled_dot_product_attention(x, x[:0], x[:0], None), torch.zeros(3, 8))
    assert scaled_dot_product_attention(x[:0], x, x, None).shape == (0, 8)
    assert scaled_dot_product_attention(x[None][:0], x, x, None, tile=(2, 2)).shape == (0, 3, 8)
    mean = scaled_dot_product_attention(x[:, :0], x[:, :0], torch.tensor([[1.0], [2.0], [6.0]]), None)
    assert mean.tolist() == [[3.0]] * 3


def test_nan_and_inf_make_rows_nan_where_they_do_in_torch() -> None:
    for bad in (math.nan, math.inf, -math.inf):
        for place in ("query", "key", "value"):
            operands = {"query": drawn(4, 8, seed=1), "key": drawn(6, 8, seed=2), "value": drawn(6, 5, seed=3)}
            operands[place][1, 2] = bad
            got = scaled_dot_product_attention(**operands, fmt=None)
            want = functional.scaled_dot_product_attention(**{name: x.double() for name, x in operands.items()})
            assert torch.equal(got.isnan(), want.isnan()), (bad, place)
            assert torch.equal(got.isinf(), want.isinf())
            assert set(got[got.isnan()].view(torch.int32).tolist()) <= {0x7FFFFFFF}
            assert_bit_equal(scaled_dot_product_attention(**operands, fmt=None, tile=(3, 2)), got)


# ---- what is refused ------------------------------------------------------------------------------------------------

X = torch.ones(4, 8)
NAME = "nn.scaled_dot_product_attention"


def attention(*operands: Any, **options: Any) -> object:
    return scaled_dot_product_attention(*(operands or (X, X, X)), **{"fmt": None, **options})


ERRORS = [
    (lambda: attention(X.double(), X, X), DTypeError, "no torch.float64 for query|float32, bfloat16, float16|Convert"),
    (lambda: attention(X, X.half(), X), DTypeError, "one dtype, got torch.float32 and torch.float16 for key|Convert"),
    (lambda: attention(X, X, X.int()), DTypeError, "floating-point values for value|got torch.int32"),
    (lambda: attention(X[0], X, X), ShapeError, "two axes or more for query, got (8,)|Reshape it"),
    (lambda: attention(X, X[:, :4], X), ShapeError, "query (4, 8), key (4, 4), value (4, 8)|[.., S, E]|Transpose"),
    (lambda: attention(X, X, X[:3]), ShapeError, "value (3, 8). Allowed are"),
    (lambda: attention(X.expand(2, 4, 8), X.expand(3, 4, 8), X), ShapeError, "query (2,), key (3,)"),
    (lambda: attention(contract="chain/v1"), ContractError, "no contract='chain/v1'. Choose one of exact/v1"),
    (lambda: attention(attn_mask=X[:, :4] > 0, is_causal=True), ContractError, "attn_mask and is_causal=True|one of"),
    (lambda: attention(attn_mask=X[:, :4].int()), DTypeError, "no torch.int32 for attn_mask|bool, float32|Convert it"),
    (lambda: attention(attn_mask=X > 0), ShapeError, "cannot place attn_mask (4, 8) on scores (4, 4)|broadcast"),
    (lambda: attention(scale=math.inf), ContractError, "got scale=inf|numbers that float32 holds|Choose one"),
    (lambda: attention(scale="half"), ContractError, "got scale='half'"),
    (lambda: attention(tile=(0, 4)), ShapeError, "got tile=(0, 4)|a pair of counts, rows and keys|Pass one"),
    (lambda: attention(tile=4), ShapeError, "got tile=4"),
    (lambda: attention(weights=SMALL, tile=(4, 6)), ShapeError, "tile=(4, 6), which cuts blocks of 1 by 4|Choose such"),
    (lambda: attention(X.expand(3, 4, 8), X.expand(2, 4, 8), X.expand(2, 4, 8), enable_gqa=True), ShapeError,
     "cannot share heads of key (2, 4, 8) among those of query (3, 4, 8)|must divide|leave enable_gqa out"),
    (lambda: attention(X.clone().requires_grad_(), X, X), UncoveredError, "requires grad for query|Use query.detach()"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "parts"), ERRORS)
def test_errors_say_what_was_got_and_what_is_allowed(call, error, parts) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error) as caught:
        call()
    assert NAME in str(caught.value)
    for part in parts.split("|"):
        assert part in str(caught.value)
