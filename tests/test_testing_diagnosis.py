"""diagnose: planted bugs are named, others are not, and right kernels give no alarm."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import wrong_kernels as planted
from torch import Tensor
from wrong_kernels import Bug

import refnum
from refnum import Posit, mx
from refnum.errors import ContractError, DTypeError
from refnum.formats import named
from refnum.testing import Diagnosis, assert_bit_equal, diagnose
from refnum.testing.diagnosis import OPERATIONS, Trials, arguments_of, hypotheses, mismatches
from refnum.testing.hypotheses import Case, Hypothesis, parts_of

NIBBLES = "result nibbles swapped"
SINGLE = (*planted.SCALARS, *planted.BLOCKS, *planted.PRODUCTS, *planted.PRODUCTS_OF_BLOCKS)
FAST_PAIRS = ("another es, bytes swapped", "e4m3 cut off, and no subnormals")
FAST_OUTSIDE = ("every other element cut off", "stochastic rounding")


def of(bug: Bug) -> Diagnosis:
    """The diagnosis of a planted bug."""
    return diagnose(bug.got(), bug.want(), bug.operation, *bug.operands, **bug.options)


def bugs(rows: tuple[Bug, ...], fast: tuple[str, ...] = ()) -> list[Any]:
    """Rows as parameters; those that take seconds are slow."""
    return [pytest.param(b, id=b.name, marks=[pytest.mark.slow] * bool(fast and b.name not in fast)) for b in rows]


# ---- planted bugs ----------------------------------------------------------------------------------------------------


def test_there_are_as_many_as_promised() -> None:
    assert len({bug.name for bug in SINGLE}) >= 25
    assert len({bug.causes[0] for bug in SINGLE}) >= 25
    assert len(planted.OUTSIDE) >= 10
    assert len(planted.PAIRS) >= 10


@pytest.mark.parametrize("bug", bugs(SINGLE))
def test_a_bug_is_named_rightly(bug: Bug) -> None:
    """The cause is among those named, and every other one is the same kernel on these data."""
    found = of(bug)
    assert bug.causes[0] in found.causes
    assert set(found.causes) <= set(bug.causes)
    assert found.mismatched > 0
    assert found.pairs == 0
    assert found.closest is None


@pytest.mark.parametrize("bug", bugs(planted.OUTSIDE, FAST_OUTSIDE))
def test_a_bug_outside_is_not_explained(bug: Bug) -> None:
    found = of(bug)
    assert found.mismatched > 0
    assert not found.causes
    assert found.pairs > found.tried > 10
    assert str(found).startswith(f"none of {found.tried} hypotheses explains {found.mismatched:,} mismatch")


@pytest.mark.parametrize("bug", bugs(planted.PAIRS, FAST_PAIRS))
def test_two_bugs_are_both_named(bug: Bug) -> None:
    found = of(bug)
    assert bug.causes[0] in found.causes
    assert set(found.causes) <= set(bug.causes)


# ---- right kernels ---------------------------------------------------------------------------------------------------


def right_kernels(count: int, seed: int) -> Iterator[Bug]:
    """Random calls of right kernels, computed another way than refnum's where there is one."""
    draw = random.Random(seed)
    for i in range(count):
        generator = torch.Generator().manual_seed(seed * 100003 + i)
        x = torch.randn(draw.randint(1, 4), 32 * draw.randint(1, 4), generator=generator)
        x = x * 2.0 ** draw.randint(-30, 30)
        rows, terms, columns = (draw.randint(1, 9) for _ in range(3))
        a, b = torch.randn(rows, terms, generator=generator), torch.randn(terms, columns, generator=generator)
        codes = torch.randint(0, 256, (9,), generator=generator)
        scalar = (x.clamp(-100, 100).view(-1)[:40], refnum.e4m3)
        yield draw.choice(
            (
                Bug("mxfp4", lambda x=x: planted.mxfp4(x), mx.quantize, (x, refnum.mxfp4)),
                Bug("gemm", lambda a=a, b=b: planted.tensor(planted.fused(a.numpy(), b.numpy())), refnum.gemm, (a, b)),
                Bug(
                    "encode",
                    lambda s=scalar: planted.by_table(*s, planted.nearest(planted.to_even)),
                    refnum.encode,
                    scalar,
                ),
                Bug(
                    "decode",
                    lambda c=codes: c.to(torch.uint8).view(torch.float8_e4m3fn).to(torch.float64),
                    refnum.decode,
                    (codes, refnum.e4m3),
                ),
                Bug("quantize", lambda x=x: x.bfloat16().float(), refnum.quantize, (x, refnum.bfloat16)),
            )
        )


@pytest.mark.parametrize(
    ("count", "seed"), [(60, 0), pytest.param(1000, 1, marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_right_kernels_give_no_alarm(count: int, seed: int) -> None:
    names = set()
    for kernel in right_kernels(count, seed):
        found = of(kernel)
        assert found == Diagnosis(0, found.total, (), 0, 0, None), (kernel.name, kernel.operands)
        names.add(kernel.name)
    assert names == {"mxfp4", "gemm", "encode", "decode", "quantize"}


# ---- the rows --------------------------------------------------------------------------------------------------------

EDGES = torch.tensor([0.0, -0.0, torch.nan, torch.inf, -torch.inf, 2.0**-140, -(2.0**-130), 448.0, 1e9, -3.0])
FLOATS = torch.cat([EDGES, planted.E4M3, planted.NEAR[:20]])
WILD_BLOCKS = torch.cat(
    [
        FLOATS[:320].view(10, 32),
        torch.tensor([torch.inf] + [1.0] * 31)[None],
        planted.X[:8, :32] * 2.0**-130,
        planted.X[:6, :32],
    ]
)
WILD_MATRIX = torch.cat([EDGES, planted.NEAR[:30]]).view(5, 8)
#: products of many binades, in the shapes of whole tiles
SPREAD = torch.cat([planted.TALL, planted.TALL.flip(1)], 1) * torch.exp2(torch.arange(512) // 32 * 3.0)
WIDE = tuple(
    x * torch.exp2(torch.arange(100) % 15.0 - 7).view(shape)
    for x, shape in zip(planted.GEMM, ((1, 100), (100, 1)), strict=True)
)
MM = tuple(mx.quantize(x, refnum.mxfp4) for x in (SPREAD.repeat(2, 1), SPREAD[30:40].flip(0)))
MM8 = tuple(mx.quantize(x, refnum.mxfp8_e4m3) for x in (SPREAD[:9], SPREAD[30:40]))
MIXED = planted.X * torch.exp2(torch.arange(256) * 7 % 16 - 8.0)
NV4 = mx.quantize(MIXED, refnum.nvfp4)
SCALED = mx.quantize(planted.X, refnum.nvfp4, tensor_scale=torch.tensor(0.5))
CALLS: tuple[tuple[Any, tuple[Any, ...], dict[str, Any]], ...] = (
    (refnum.encode, (FLOATS, refnum.e4m3), {}),
    (refnum.encode, (FLOATS, refnum.e5m2), {"rounding": "toward_zero"}),
    (refnum.encode, (FLOATS, refnum.float16), {}),
    (refnum.encode, (planted.P8_WIDE, refnum.posit8), {}),
    (refnum.encode, (planted.P8_WIDE, Posit(8, 1)), {}),
    (refnum.encode, (FLOATS, refnum.e2m3), {}),
    (refnum.encode, (FLOATS, refnum.e3m2), {}),
    (refnum.encode, (FLOATS, refnum.bfloat16), {}),
    (refnum.encode, (FLOATS.to(torch.float64) * (1 + 1e-13), refnum.e4m3), {}),
    (refnum.quantize, (FLOATS, refnum.e4m3), {}),
    (refnum.quantize, (planted.P8_WIDE, refnum.posit8), {}),
    (refnum.decode, (torch.arange(256), refnum.e4m3), {}),
    (refnum.decode, (torch.arange(1 << 15), refnum.float16), {}),
    (refnum.decode, (torch.arange(-128, 128), refnum.posit8), {}),
    (mx.quantize, planted.MXFP4, {"rounding": "toward_positive", "scale": "ceil"}),
    (mx.quantize, (WILD_BLOCKS, refnum.mxfp8_e4m3), {}),
    (mx.quantize, (planted.X, refnum.nvfp4), {"tensor_scale": torch.tensor(0.5)}),
    (mx.quantize, planted.MXFP4, {"profile": "aiter"}),
    (mx.quantize, planted.MXFP4, {"profile": "aiter_legacy"}),
    (mx.dequantize, MM[:1], {}),
    (mx.dequantize, (SCALED,), {}),
    (refnum.gemm, planted.WITH_BIAS, {"contract": "exact/v1"}),
    (refnum.gemm, planted.SQUARES, {"contract": "exact/v1"}),
    (refnum.gemm, (torch.eye(5), WILD_MATRIX), {}),
    (refnum.gemm, tuple(x.double() / 3 for x in planted.GEMM), {"contract": "exact/v1", "out_dtype": torch.float32}),
    *(
        (refnum.gemm, tuple(x.to(dtype) for x in WIDE), {"contract": "exact/v1", "out_dtype": torch.float32})
        for dtype in (torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e4m3fnuz)
    ),
    (refnum.mx_mm, MM, {"out_dtype": torch.float32}),
    (refnum.mx_mm, MM8, {"out_dtype": torch.float32}),
    (refnum.mx_mm, (SCALED, SCALED), {"out_dtype": torch.float32}),
    (refnum.mx_mm, (NV4, NV4), {"out_dtype": torch.float32}),
)


@pytest.mark.slow
def test_every_hypothesis_about_an_operation_says_something() -> None:
    """A row that no call can tell from a right kernel would be a dead one."""
    alive = {whatever(row) for call in CALLS for row in active(*call)}
    named = {name for bug in SINGLE for cause in bug.causes for name in cause}
    dead = [row.name for row in hypotheses() if row.operations and whatever(row) not in alive and row.name not in named]
    assert not dead, "; ".join(dead)


def whatever(row: Hypothesis) -> str:
    """The row's name, whichever operand it is about: what a kernel misreads of one it may misread of the other."""
    return re.sub(r"\bof (a and b|a|b|blocks)\b", "of", row.name)


def active(operation: Any, operands: tuple[Any, ...], options: dict[str, Any]) -> set[Hypothesis]:
    """Rows that change the result of a call."""
    want = parts_of(operation(*operands, **options))
    trials = Trials(Case(operation, arguments_of(operation, operands, options)), want, want)
    made = {row: trials.result(row) for row in trials.rows()}
    return {row for row, result in made.items() if result is not None and mismatches(want, result)}


@pytest.mark.parametrize("fmt", [refnum.posit64, named()["float64"], Posit(56)], ids=str)
def test_roundings_in_float64_are_of_shorter_formats_alone(fmt: Any) -> None:
    """Where float64 is no finer than the format, no tie can be told from its neighbours."""
    x = torch.tensor([1 + 2.0**-52, -1.5, 2.0**40 + 2.0**-12], dtype=torch.float64)
    want = parts_of(refnum.encode(x, fmt))
    trials = Trials(Case(refnum.encode, arguments_of(refnum.encode, (x, fmt), {})), want, want)
    rows = [row for row in trials.rows() if row.name.startswith(("ties", "posits nearest", "what is"))]
    assert len(rows) == 6
    assert all(trials.result(row) is None for row in rows)


def test_names_tell_rows_of_one_call_apart() -> None:
    for operation in OPERATIONS:
        rows = [row.name for row in hypotheses() if not row.operations or operation in row.operations]
        assert not {name for name in rows if rows.count(name) > 1}


# ---- without a call --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("got", "want", "cause"),
    [
        (torch.arange(6).view(3, 2).T.contiguous(), torch.arange(6).view(3, 2), "result transposed"),
        (torch.tensor([2, 3, 1]), torch.tensor([1, 2, 3]), "result columns shifted by -1"),
        (torch.tensor([0x12, 0x34], dtype=torch.uint8), torch.tensor([0x21, 0x43], dtype=torch.uint8), NIBBLES),
        (torch.tensor([1.0, 2.0]).view(torch.int32), torch.tensor([1.0, 2.0]), "result read in another shape or dtype"),
        (torch.tensor([0.0, 1.0]), torch.tensor([2.0**-140, 1.0]), "subnormal results as 0"),
        (torch.tensor([0.0, 1.0, 0.0]), torch.tensor([-0.0, 1.0, 0.0]), "-0 as +0"),
        (torch.tensor([-1.0, 2.0]), torch.tensor([1.0, -2.0]), "results negated"),
    ],
)
def test_bits_alone(got: Tensor, want: Tensor, cause: str) -> None:
    assert (cause,) in diagnose(got, want).causes


@pytest.mark.parametrize("name", mx.LAYOUTS)
def test_a_layout_there_and_back(name: str) -> None:
    x = torch.arange(256 * 256).mul(40503).bitwise_right_shift(3).to(torch.uint8).view(256, 256)
    assert (f"result shuffled to {name}",) in diagnose(mx.shuffle(x, name), x).causes
    back = mx.unshuffle(x.reshape(mx.shuffle(x, name).shape), name, x.shape)
    assert (f"result unshuffled from {name}",) in diagnose(back, x).causes


def test_nan_is_nan_and_zeros_have_a_sign() -> None:
    nan = torch.tensor([torch.nan, 1.0])
    other = torch.tensor([0xFFC00001 - (1 << 32), 0x3F800000]).to(torch.int32).view(torch.float32)
    assert not diagnose(other, nan).mismatched
    assert diagnose(torch.tensor([0.0]), torch.tensor([-0.0])).mismatched == 1


# ---- texts -----------------------------------------------------------------------------------------------------------


def test_the_texts() -> None:
    x = torch.tensor([1.0, 2.5, 3.5, -5.0, 1.25, 0.3])
    want = refnum.encode(x, refnum.e2m1)
    call = (refnum.encode, x, refnum.e2m1)
    assert str(diagnose(want, want, *call)) == "got equals want in all 6 elements: nothing to explain"
    off = want.clone()
    off[1] = 7
    text = str(diagnose(off, want, *call))
    assert re.fullmatch(r"none of \d+ hypotheses explains 1 mismatch of 6 elements, nor one of \d+ pairs of them", text)
    one = diagnose(refnum.encode(x, refnum.e2m1, rounding="nearest_away"), want, *call)
    assert str(one) == "all 3 mismatches of 6 elements vanish with rounding=nearest_away"
    both = Diagnosis(2, 9, (("a", "b"), ("c",), ("d",), ("e",)), 7, 8, None)
    assert str(both) == (
        "all 2 mismatches of 9 elements vanish with a and b together; or with c; or with d; or with 1 more: "
        "these data do not tell them apart"
    )
    near = Diagnosis(1304, 4096, (), 27, 0, ("rounding=nearest_away", 12))
    assert str(near) == (
        "none of 27 hypotheses explains 1,304 mismatches of 4,096 elements (the closest, rounding=nearest_away, "
        "leaves 12)"
    )


def test_a_mismatch_error_takes_it_as_a_note() -> None:
    x = planted.E2M1
    got, want = (refnum.encode(x, refnum.e2m1, rounding=rule) for rule in ("nearest_away", "nearest_even"))
    with pytest.raises(refnum.MismatchError) as caught:
        assert_bit_equal(got, want, fmt=refnum.e2m1)
    caught.value.add_note(str(diagnose(got, want, refnum.encode, x, refnum.e2m1)))
    assert caught.value.__notes__ == ["all 9 mismatches of 435 elements vanish with rounding=nearest_away"]


@pytest.mark.parametrize("profile", ["ocp", "aiter", "aiter_legacy", "torchao"])
def test_scales_of_every_profile_that_divides_by_powers_of_two(profile: str) -> None:
    """Shared scales need the elements of the profile, with its zeros and its ties."""
    x = planted.X[:8].clone()
    x[0, 32:48] = -0.0
    x[:, ::7] *= 2.0**-40
    whole = x.unflatten(1, (4, 64)).abs().amax(-1, keepdim=True).expand(8, 4, 64).reshape(x.shape)
    scales = mx.quantize(whole, refnum.mxfp4, profile=profile).scales
    exact = x.double().unflatten(1, (8, 32)) / torch.exp2(scales.double() - 127)[..., None]
    rounding = "nearest_away" if profile == "aiter_legacy" else "nearest_even"
    codes = refnum.encode(exact.flatten(1), refnum.e2m1, rounding=rounding)
    codes = torch.where((codes == 8) & (x == 0) & (profile == "aiter_legacy"), 0, codes)
    got = (mx.pack4(codes), scales)
    found = diagnose(got, mx.quantize(x, refnum.mxfp4, profile=profile), mx.quantize, x, refnum.mxfp4, profile=profile)
    assert ("scales shared by 2 blocks",) in found.causes


X32 = torch.ones(32)
BLOCKS32 = mx.quantize(X32, refnum.mxfp4)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (
            (X32.to(torch.complex64), X32),
            DTypeError,
            "diagnose has no hypotheses about torch.complex64 for got. Allowed are real numbers and codes. Pass the "
            "real and the imaginary parts.",
        ),
        ((1.0, X32), DTypeError, "diagnose needs a tensor for got, got float. Use torch.as_tensor first."),
        ((X32, (X32, 2)), DTypeError, "diagnose needs a tensor for want, got int. Use torch.as_tensor first."),
        (
            (X32, BLOCKS32),
            DTypeError,
            "diagnose needs two results of one kind, got result for got and elements and scales for want. Allowed are "
            "two tensors, or Blocks and pairs (elements, scales). Pass the same kind.",
        ),
        (
            (X32, X32, torch.abs, X32),
            ContractError,
            "diagnose has no hypotheses about 'abs'. Allowed are encode, decode, quantize, mx.quantize, mx.dequantize, "
            "gemm, mx_mm. Leave the operation out to try those about bits alone.",
        ),
        (
            (X32, X32 + 1, refnum.quantize, X32, refnum.e4m3),
            ContractError,
            "diagnose cannot make want again: from these operands quantize makes something else, 32 elements differ. "
            "Allowed is what it returns. Pass the operands and options of that call.",
        ),
        (
            (X32, X32, mx.quantize, X32, refnum.mxfp4),
            ContractError,
            "diagnose cannot make want again: from these operands mx.quantize makes something else, it gives elements "
            "and scales. Allowed is what it returns. Pass the operands and options of that call.",
        ),
    ],
)
def test_errors(arguments: tuple[Any, ...], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"^{re.escape(text)}$"):
        diagnose(*arguments)


# ---- settings --------------------------------------------------------------------------------------------------------


A, B = (x[:4, :4].contiguous() for x in planted.TINY)
FEW = (A, B)
SETTINGS = (
    Bug("subnormals flushed", lambda: planted.tensor(planted.flushing(A.numpy(), B.numpy())), refnum.gemm, FEW),
    Bug("no fma", lambda: planted.tensor(planted.unfused(A.numpy(), B.numpy())), refnum.gemm, FEW),
    *(bug for bug in SINGLE if bug.name in ("e4m3 by floor(x + 1/2)", "e4m3 without subnormals", "nibbles swapped")),
)


@pytest.mark.parametrize("bug", bugs(SETTINGS))
def test_the_diagnosis_does_not_depend_on_settings(bug: Bug) -> None:
    got, want = bug.got(), bug.want()
    before = diagnose(got, want, bug.operation, *bug.operands)
    assert before.causes
    assert torch.set_flush_denormal(True)
    torch.set_default_dtype(torch.float64)
    try:
        after = diagnose(got, want, bug.operation, *bug.operands)
    finally:
        torch.set_flush_denormal(False)
        torch.set_default_dtype(torch.float32)
    assert after == before
