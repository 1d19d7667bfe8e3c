"""mx.hadamard: exact sums rounded once, by words and by float64; signs; what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from refnum_conformance.oracles import minifloat
from refnum_conformance.oracles.reals import Dyadic
from torch import Tensor

from refnum import mx
from refnum.boundary import FLOAT_ROWS
from refnum.errors import ContractError, DTypeError, RefnumError, ShapeError
from refnum.mx import rotations

SIGNS = 0xD7E8  #: TransformerEngine's
NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}
DTYPES = tuple(NAMES)


def bits(x: Tensor) -> Tensor:
    return x.view({2: torch.int16, 4: torch.int32}[x.dtype.itemsize])


def values(dtype: torch.dtype, size: int, groups: int = 12) -> Tensor:
    """Groups of numbers close to each other, far from each other, subnormal, and of any pattern."""
    generator = torch.Generator().manual_seed(size)
    row = FLOAT_ROWS[dtype]
    parts = []
    for spread in (0, 6, 20, 60):
        exponents = torch.randint(-spread, spread + 1, (groups, size), generator=generator)
        parts.append(torch.ldexp(torch.randn(groups, size, generator=generator), exponents))
    parts.append(torch.ldexp(torch.randint(-9, 10, (groups, size), generator=generator), torch.tensor(-149)))
    x = torch.cat(parts).clamp(-row.max_value, row.max_value).to(dtype)
    width = 8 * dtype.itemsize
    patterns = torch.randint(-(1 << (width - 1)), 1 << (width - 1), (groups, size), generator=generator)
    return torch.cat([x, patterns.to(bits(x).dtype).view(dtype).nan_to_num(1.0, 2.0, -2.0)])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [4, 16, 64])
def test_sums_are_exact_and_rounded_once(dtype: torch.dtype, size: int) -> None:
    x, signs = values(dtype, size, 3), SIGNS & ((1 << size) - 1)
    row, root = minifloat.FLOATS[NAMES[dtype]], {4: 2, 16: 4, 64: 8}[size]
    want = []
    for group in x.double().tolist():
        terms = [Fraction(v) * (-1 if signs >> i & 1 else 1) for i, v in enumerate(group)]
        for j in range(size):
            total = sum(t * (-1) ** (i & j).bit_count() for i, t in enumerate(terms)) / root
            exact = Dyadic(abs(total).numerator, 1 - total.denominator.bit_length())
            want.append(minifloat.encode(total < 0, exact, row))
    got = bits(mx.hadamard(x, signs, size=size)).view(-1).long() & ((1 << 8 * dtype.itemsize) - 1)
    assert got.tolist() == want


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", rotations.SIZES)
def test_words_and_floats_agree(dtype: torch.dtype, size: int) -> None:
    flips, row = rotations._flips(SIGNS & ((1 << size) - 1), size, torch.device("cpu")), FLOAT_ROWS[dtype]
    narrow = 0
    for group in values(dtype, size, 40).split(4):
        exact = rotations._rounded(rotations._exact(rotations.widened(group), flips, row), dtype)
        assert torch.equal(bits(rotations._transformed(group, flips, row)), bits(exact))
        narrow += rotations._narrow(rotations.widened(group), size, row)
    assert narrow, "both forms have been at work"
    assert narrow < 60 or dtype == torch.float16  # which has not so many binades


def test_the_limit_of_float64_is_the_right_one() -> None:
    """As many binades as fit, with a sum that needs its last bit; and one more."""
    for dtype, spread in ((torch.float32, 25), (torch.bfloat16, 41)):
        row = FLOAT_ROWS[dtype]
        for more in (0, 1):
            x = torch.full((1, 16), row.max_value / 2.0**row.max_scale, dtype=dtype)
            x[0, 1] = (1 + 2.0**-row.mantissa) * 2.0 ** -(spread + more)
            narrow = rotations._narrow(rotations.widened(x), 16, row)
            assert narrow == (more == 0)
            if narrow:
                assert torch.equal(rotations._rounds(x.double()), _sums(x))


def _sums(x: Tensor) -> Tensor:
    """All sums of one group, which float64 must hold."""
    terms = [Fraction(v) for v in x[0].double().tolist()]
    sums = [sum(t * (-1) ** (i & j).bit_count() for i, t in enumerate(terms)) for j in range(16)]
    assert all(Fraction(float(total)) == total for total in sums)
    return torch.tensor([[float(total) for total in sums]], dtype=torch.float64)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_special_values(dtype: torch.dtype) -> None:
    inf, nan = float("inf"), float("nan")
    top = torch.finfo(dtype).max
    cases = {
        (inf, 1.0, -1.0, 2.0): (inf, inf, inf, inf),
        (inf, -inf, 0.0, 0.0): (nan, inf, nan, inf),
        (0.0, -inf, 0.0, 0.0): (-inf, inf, -inf, inf),
        (1.0, inf, nan, -inf): (nan, nan, nan, nan),
        (-0.0, -0.0, -0.0, -0.0): (0.0, 0.0, 0.0, 0.0),
        (1.0, -1.0, 0.0, 0.0): (0.0, 1.0, 0.0, 1.0),
        (top, top, top, top): (inf, 0.0, 0.0, 0.0),
        (top, top, -top, top): (top, -top, top, top),
    }
    x, want = (torch.tensor(list(rows), dtype=torch.float64).to(dtype) for rows in (cases.keys(), cases.values()))
    got = mx.hadamard(x, 0, size=4)
    torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True)
    assert not got[want == 0].signbit().any()


def test_the_transform_is_its_own_inverse() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-8, 9, (5, 48), generator=generator).float()
    sign = torch.tensor([-1.0 if SIGNS >> i & 1 else 1.0 for i in range(16)])
    y = mx.hadamard(x, SIGNS)
    assert torch.equal((mx.hadamard(y, 0).view(5, 3, 16) * sign).view(5, 48), x)
    assert torch.equal(y.square().sum(), x.square().sum())


def test_signs_are_a_mask_or_numbers() -> None:
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    want = mx.hadamard(x, SIGNS)
    for dtype in (torch.float32, torch.int8, torch.float64):
        numbers = torch.tensor([-1 if SIGNS >> i & 1 else 1 for i in range(16)], dtype=dtype)
        assert torch.equal(mx.hadamard(x, numbers), want)
    assert not torch.equal(mx.hadamard(x, 0), want)


def test_strides_and_shapes() -> None:
    x = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(0))
    want = mx.hadamard(x, SIGNS)
    assert torch.equal(mx.hadamard(x.transpose(0, 1), SIGNS), want.transpose(0, 1))
    assert torch.equal(mx.hadamard(x[1, 2], SIGNS), want[1, 2])
    assert torch.equal(mx.hadamard(torch._neg_view(-x), SIGNS), want)
    for shape in ((0, 16), (3, 0)):
        assert mx.hadamard(torch.empty(shape), SIGNS).shape == torch.Size(shape)
    many = torch.randn(3000, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mx.hadamard(many, SIGNS)[::7], mx.hadamard(many[::7], SIGNS))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_flushing_and_compiling_do_not_matter(dtype: torch.dtype) -> None:
    x = values(dtype, 16)
    want = mx.hadamard(x, SIGNS)
    traced = torch.compile(lambda t: mx.hadamard(t, SIGNS), fullgraph=True, backend="eager")
    assert torch.equal(bits(traced(x)), bits(want))
    assert torch.set_flush_denormal(True)
    try:
        got = mx.hadamard(x, SIGNS)
    finally:
        torch.set_flush_denormal(False)
    assert torch.equal(bits(got), bits(want))


X = torch.ones(2, 16)
REFUSED: list[tuple[Callable[[], object], type[RefnumError], str]] = [
    (lambda: mx.hadamard(X.double(), 0), DTypeError, r"cannot read float64: .*Allowed are.*Convert x"),
    (lambda: mx.hadamard(X.int(), 0), DTypeError, r"floating-point values for x, got torch.int32"),
    (lambda: mx.hadamard(X, 0, size=8), ContractError, r"no size=8. Choose one of 4, 16, 64, 256"),
    (
        lambda: mx.hadamard(X[:, :15], 0),
        ShapeError,
        r"whole groups of 16 along the last axis, got shape \(2, 15\). Pad",
    ),
    (lambda: mx.hadamard(torch.tensor(1.0), 0), ShapeError, r"whole groups of 16 .*got shape \(\)"),
    (lambda: mx.hadamard(X, 1 << 16), ContractError, r"no signs=0x10000 for groups of 16: .*Choose from 0 to 0xffff"),
    (lambda: mx.hadamard(X, -1), ContractError, r"no signs=-0x1 for groups of 16"),
    (lambda: mx.hadamard(X, None), DTypeError, r"an int or a tensor of real numbers for signs, got NoneType. Pass 0"),
    (lambda: mx.hadamard(X, torch.ones(8)), ShapeError, r"needs 16 signs, got shape \(8,\). Pass as many"),
    (lambda: mx.hadamard(X, torch.ones(16, dtype=torch.complex64)), DTypeError, r"got torch.complex64"),
]


@pytest.mark.parametrize(("call", "error", "text"), REFUSED)
def test_refusals(call: Callable[[], object], error: type[RefnumError], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert re.search(text, str(caught.value)), str(caught.value)
