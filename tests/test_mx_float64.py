"""Blocks of float64: what float32 cannot hold is not rounded on the way.

The oracle is that of the conformance suite, which works on Python's integers; it imports nothing of refnum.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable

import pytest
import torch
from refnum_conformance.oracles import lab, minifloat
from refnum_conformance.oracles.minifloat import Row
from refnum_conformance.oracles.reals import Dyadic
from test_mx_families import FAMILIES, FAST, ROUNDINGS, SIZE, codes_of, same, value
from test_mx_families import X as SINGLES
from torch import Tensor

import refnum
from refnum import formats, mx
from refnum.errors import DTypeError
from refnum.formats import Block, Codebook, Exponent, FixedPoint, Minifloat, e8m0, float32, nf4

NEAR = (-1, 0, 1)  #: units in the last place


class MxFp(lab.MxFp):
    """Of which the largest scales are not chosen, whose elements are no float32s."""

    def scale(self, amax: Dyadic) -> int:
        emax = lab.ilog(minifloat.magnitude(self.element.largest, self.element))
        return min(super().scale(amax), 254 - emax)


MX = [
    (Block(formats.e2m1, e8m0, SIZE), MxFp(Row(2, 1, 1, "none"), SIZE)),
    (Block(formats.e3m2, e8m0, SIZE), MxFp(Row(3, 2, 3, "none"), SIZE)),
    (Block(formats.e4m3, e8m0, SIZE), MxFp(Row(4, 3, 7, "fn"), SIZE)),
    (Block(formats.e5m2, e8m0, SIZE), MxFp(Row(5, 2, 15), SIZE)),
    (formats.bfp(8, SIZE, bias=1000), lab.Bfp(8, SIZE, 8, 1000)),
]
ALL = [*FAMILIES, *MX]


def near(x: Tensor) -> Tensor:
    """x, and the numbers next to it."""
    return torch.stack([(x.view(torch.int64) + step).view(torch.float64) for step in NEAR], dim=-1)


def blocks_of_all_kinds() -> Tensor:
    """[blocks, 8]: amax all over float64, on and next to powers of two; ties and their neighbours; NaN and Inf."""
    draw = torch.Generator().manual_seed(0)
    found = []
    for exponent in (-1074, -1060, -1023, -1022, -1010, -900, -760, -160, -149, -127, -126, 0, 60, 120, 126, 127, 128):
        fractions = 1 + torch.randint(0, 1 << 52, (2, SIZE), generator=draw).double() / 2**52
        spread = torch.randint(-12, 1, (2, SIZE), generator=draw)
        signs = 1 - 2 * torch.randint(0, 2, (2, SIZE), generator=draw)
        found.append(torch.ldexp(fractions, exponent + spread) * signs)
    steps = torch.arange(SIZE).double() / 8 - 0.5
    for k in (-1073, -1022, -1000, -745, -150, -149, -128, -127, -126, 0, 1, 112, 120, 127, 128, 135, 500, 1000, 1022):
        power = torch.tensor(math.ldexp(1.0, k), dtype=torch.float64)
        block = (steps * power).expand(len(NEAR), SIZE).clone()
        block[:, 0] = near(power)
        found += [block, -block]
    for k in range(1, 26):  # halves of all units, beside amax
        ties = near((2 * torch.randint(0, 1 << (k - 1), (2,), generator=draw).double() + 1) * 2.0**-k).view(-1)
        for amax in (1.5, -1.0 - 2.0**-52, 7.25):
            found.append(torch.cat([torch.tensor([amax, 0.0]).double(), ties])[None])
    largest = torch.full((1, SIZE), torch.finfo(torch.float64).max, dtype=torch.float64)
    largest[0, 3:] *= 0.3
    special = torch.ones(4, SIZE).double()
    special[0, 2], special[1, 3], special[2, 0] = torch.nan, torch.inf, -torch.inf
    special[3] = 2.0**500  # no Inf, if it is one in float32
    return torch.cat([*found, largest, -largest, torch.zeros(1, SIZE), -torch.zeros(1, SIZE), special])


X = blocks_of_all_kinds()
NUMBERS = [
    [minifloat.decode(u & (1 << 64) - 1, minifloat.FLOATS["float64"]) for u in row]
    for row in X.view(torch.int64).tolist()
]
RANDOM = torch.randint(0, 1 << 16, X.shape, generator=torch.Generator().manual_seed(1))


def assert_as_oracle(fmt: Block, word: lab.Block, rounding: str, every: slice) -> None:
    random = RANDOM[every] if rounding == "stochastic" else None
    got = mx.quantize(X[every], fmt, rounding=rounding, random_bits=random)
    found, values = codes_of(got), mx.dequantize(got, torch.float64)
    mask = (1 << fmt.element.width) - 1
    for i, (block, bits) in enumerate(zip(NUMBERS[every], RANDOM[every].tolist(), strict=True)):
        scale, codes = lab.quantize(block, word, rounding, bits)
        where = (X[every][i].tolist(), rounding)
        assert int(got.scales[i, 0]) == scale, where
        assert found[i] == [code & mask for code in codes], where
        want = [value(v) for v in lab.dequantize(scale, codes, word)]
        assert same(values[i], torch.tensor(want, dtype=torch.float64)), where


# ---- codes and values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fmt", "word"), ALL, ids=lambda word: str(word) if isinstance(word, Block) else "")
def test_codes_are_those_of_the_oracle(fmt: Block, word: lab.Block) -> None:
    which = ALL.index((fmt, word))
    assert_as_oracle(fmt, word, "nearest_even", slice(which % 6, None, 6))
    assert_as_oracle(fmt, word, ROUNDINGS[which % len(ROUNDINGS)], slice(which % 24, None, 24))


@pytest.mark.slow
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(("fmt", "word"), ALL, ids=lambda word: str(word) if isinstance(word, Block) else "")
def test_codes_are_those_of_the_oracle_in_every_rounding(fmt: Block, word: lab.Block, rounding: str) -> None:
    assert_as_oracle(fmt, word, rounding, slice(None))


def test_named_results() -> None:
    """A float64 unit decides: of an amax, of an element; and nothing overflows or vanishes in between."""
    tiny = 2.0**-52
    x = torch.tensor([[1.0, 0.0], [1.0 + tiny, 0.0]], dtype=torch.float64)
    assert mx.quantize(x, formats.bfp(8, 2)).scales.flatten().tolist() == [127, 128]
    x = torch.tensor([4.0, 2.5, 2.5 + 2 * tiny, -2.5 - 2 * tiny], dtype=torch.float64)
    assert refnum.quantize(x, Block(formats.e2m1, e8m0, 4)).tolist() == [4.0, 2.0, 3.0, -3.0]
    assert refnum.quantize(x.float(), Block(formats.e2m1, e8m0, 4)).tolist() == [4.0, 2.0, 2.0, -2.0]
    wide = Minifloat(8, 0, bias=1000, signed=False, subnormals=False, specials="none")
    for power in (-990, -760):
        block = torch.tensor([1.5, -0.75]).double() * 2.0**power
        assert torch.equal(refnum.quantize(block, Block(formats.e4m3, wide, 2)), block)
    block = torch.tensor([2.0**1000, -(2.0**127)], dtype=torch.float64)
    assert refnum.quantize(block, formats.mxint(8, 2)).tolist() == [127 * 2.0**121, -(2.0**127)]


@pytest.mark.parametrize("fmt", [fmt for fmt in FAST if fmt.by_powers] + [fmt for fmt, _ in MX], ids=str)
def test_what_float32_holds_has_the_same_codes(fmt: Block) -> None:
    rules = ("floor", "bound") if fmt.scale == e8m0 else formats.RULES
    which = len(str(fmt))
    for i, rule in enumerate((None, *rules)):
        rounding = ROUNDINGS[(which + i) % len(ROUNDINGS)]
        random = RANDOM[:1] if rounding == "stochastic" else None
        want, got = (
            mx.quantize(x, fmt, scale=rule, rounding=rounding, random_bits=random) for x in (SINGLES, SINGLES.double())
        )
        assert torch.equal(got.elements, want.elements), (rule, rounding)
        assert torch.equal(got.scales, want.scales), (rule, rounding)


def test_thresholds_of_codebooks_have_all_bits() -> None:
    """By rceil, at an amax between two float32s."""
    fmt = Block(Codebook((-1.0, 0.0, 1.0 + 2.0**-40)), Exponent(8), 2)
    x = torch.tensor([[1 + 2.0**-40, 0], [1 + 2.0**-40 + 2.0**-52, 0], [1 + 2.0**-41, 0]], dtype=torch.float64)
    assert mx.quantize(x, fmt, scale="rceil").scales.flatten().tolist() == [0, 1, 0]


# ---- what does not matter --------------------------------------------------------------------------------------------

SOME = [
    *(Block(formats.e2m1, e8m0, 8), Block(formats.e4m3, e8m0, (2, 4)), formats.mxint(8, 8), formats.bfp(12, 8)),
    *(formats.block_minifloat(8, 4, 8), formats.block_log(8, 8), Block(nf4, Exponent(8), 8)),
]


@pytest.mark.parametrize("fmt", SOME[::2], ids=str)
def test_flushing_tracing_and_strides_do_not_matter(fmt: Block) -> None:
    x = X[: len(X) // 2 * 2]
    want = mx.quantize(x, fmt)

    def parts(x: Tensor) -> tuple[Tensor, Tensor]:
        blocks = mx.quantize(x, fmt)
        return blocks.elements, blocks.scales

    torch._dynamo.reset()
    traced = torch.compile(parts, fullgraph=True, backend="eager")
    assert torch.set_flush_denormal(True)
    try:
        found = [parts(x), traced(x), parts(x.T.contiguous().T)]
    finally:
        torch.set_flush_denormal(False)
    for elements, scales in found:
        assert torch.equal(elements, want.elements)
        assert torch.equal(scales, want.scales)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile on the CPU calls g++, which is not installed")
@pytest.mark.parametrize("fmt", SOME, ids=str)
def test_compiled_code_is_the_same(fmt: Block) -> None:
    torch._dynamo.reset()
    x = X[: len(X) // 2 * 2]
    compiled = torch.compile(lambda x: refnum.quantize(x, fmt), fullgraph=True)
    assert same(compiled(x), refnum.quantize(x, fmt))


def test_gradients() -> None:
    x = torch.tensor([2.0**140, 1.0, -0.3, 2.0**-1074], dtype=torch.float64, requires_grad=True)
    for grad, want in (("identity", [1.0, 2.0, 3.0, 4.0]), ("clipped", [0.0, 2.0, 3.0, 4.0])):
        x.grad = None
        refnum.quantize(x, formats.bfp(8, 4), grad=grad).backward(torch.arange(1.0, 5.0).double())
        assert x.grad is not None
        assert x.grad.tolist() == want


# ---- refusals --------------------------------------------------------------------------------------------------------

ONES = torch.ones(1, 32, dtype=torch.float64)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: mx.quantize(ONES, formats.mxfp4, profile="torchao"),
            r"mx.quantize cannot read float64 in profile torchao/v1, whose library .*Allowed are.*Convert x",
        ),
        (
            lambda: mx.quantize(ONES, Block(formats.e2m1, formats.e4m3, 8)),
            r"cannot read float64 for block.*, whose scales of e4m3 are quotients in float32. Allowed are.*Convert x",
        ),
        (lambda: refnum.quantize(ONES, Block(nf4, float32, 8)), "cannot read float64 for block.*scales of float32 are"),
        (
            lambda: mx.quantize(ONES, formats.mxint(8), scale="ceil"),
            r"for mxint.* with scale='ceil', which counts in units of float32; floor and bound do not. Allowed .*Conv",
        ),
        *(
            (
                lambda fmt=fmt: refnum.quantize(ONES, fmt),
                f"for {fmt}, whose specification knows float32 at most. Allowed",
            )
            for fmt in (formats.mxfp4, formats.mxfp8_e4m3, formats.mxint8, formats.nvfp4)
        ),
        (lambda: mx.quantize(ONES, Block(FixedPoint(8, 6), e8m0, 8, "rceil")), "with scale='rceil', which counts in"),
        (lambda: mx.tensor_scale(ONES, formats.nvfp4), "mx.tensor_scale cannot read float64: scales of tensors are"),
    ],
)
def test_refusals(call: Callable[[], object], text: str) -> None:
    with pytest.raises(DTypeError, match=text):
        call()
