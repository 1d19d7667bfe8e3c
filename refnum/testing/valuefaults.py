"""Faults of values: how they are rounded and scaled, and what becomes of subnormals, zeros, Inf and NaN."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS, SIGNED, container
from ..codec import decode, encode
from ..core import decode as core_decode
from ..core import round as core_round
from ..formats import (
    DMF,
    Block,
    Codebook,
    FixedPoint,
    Format,
    Logarithmic,
    Minifloat,
    Posit,
    Scalar,
    bfloat16,
    e8m0,
    float16,
    float32,
    float64,
    named,
    tf32,
)
from ..mx import PROFILES, Blocks, pack4, unpack4
from ..mx import quantize as mx_quantize
from ..mx.blocks import from_blocks, packed, padded, to_blocks
from ..mx.profiles import RULES, find
from ..values import quantize
from .dyadics import is_integer, largest
from .hypotheses import Case, Change, Damage, Hypothesis

ENCODERS = (encode, quantize)
QUANTIZERS = (*ENCODERS, mx_quantize)
ROUNDINGS = tuple(name for name in core_round.RULES if name != "stochastic")  #: those that need no random bits
NAN_SCALE, TOP_SCALE = 255, 254  #: codes of E8M0
SHORT = float64.significand_bits - 2  #: bits of values that, midpoints and all, lie apart in float64
LEAST = 2.0**-150  #: the largest number that is 0 in float32

Floats = Callable[[Tensor], Tensor]
Codes = Callable[[Tensor, Scalar], Tensor]
Ties = Callable[[Tensor], Tensor]  #: of values, which of them would go to the larger magnitude if they were ties


# ---- floats ----------------------------------------------------------------------------------------------------------


def flushed(x: Tensor) -> Tensor:
    """Floats with subnormals as zeros of their sign."""
    bits, row = _bits(x), FLOAT_ROWS[x.dtype]
    sign = bits & torch.iinfo(bits.dtype).min
    return torch.where((bits ^ sign) < 1 << row.mantissa, sign, bits).view(x.dtype)


def _bits(x: Tensor) -> Tensor:
    """Patterns: what compares or copies them asks no setting what a subnormal is."""
    return x.view(SIGNED[x.itemsize * 8])


def _saturated(x: Tensor) -> Tensor:
    return torch.where(x.isinf(), x.sign() * torch.finfo(x.dtype).max, x)


def _positive_zero(x: Tensor) -> Tensor:
    bits = _bits(x)
    return bits.masked_fill(bits == torch.iinfo(bits.dtype).min, 0).view(x.dtype)


def _nan_as_zero(x: Tensor) -> Tensor:
    return x.masked_fill(x.isnan(), 0)


def _negated(x: Tensor) -> Tensor:
    bits = _bits(x)
    return (bits ^ torch.iinfo(bits.dtype).min).view(x.dtype)


def _rounded(x: Tensor, fmt: Minifloat, rounding: str = "nearest_even") -> Tensor:
    """Floats that the format has, in the dtype of x."""
    bits = _bits(x)
    return core_round.rounded_floats(bits, FLOAT_ROWS[x.dtype], fmt, rounding).to(bits.dtype).view(x.dtype)


#: what a kernel reads instead of its operands
READINGS: dict[str, Floats] = {
    "subnormal {} as 0": flushed,
    **{f"{{}} rounded to {row} first": partial(_rounded, fmt=row) for row in (bfloat16, float16, tf32, float32)},
    **{
        f"{{}} truncated to {row} first": partial(_rounded, fmt=row, rounding="toward_zero") for row in (bfloat16, tf32)
    },
    "NaN of {} as 0": _nan_as_zero,
    "Inf of {} as the largest value": _saturated,
}
#: what a kernel writes instead of floats
WRITINGS: dict[str, Floats] = {
    "subnormal results as 0": flushed,
    "-0 as +0": _positive_zero,
    "NaN as 0": _nan_as_zero,
    "Inf as the largest value": _saturated,
    "results negated": _negated,
}


def reading(read: Floats, *names: str) -> Change:
    """Floating-point operands of these names are read otherwise."""

    def change(case: Case) -> Case | None:
        operands = {name: case.arguments[name] for name in names}
        floats = {name: x for name, x in operands.items() if isinstance(x, Tensor) and x.dtype in FLOAT_ROWS}
        return case.given(**{name: read(x.detach().resolve_neg()) for name, x in floats.items()}) if floats else None

    return change


def setting(**arguments: object) -> Change:
    """Arguments have other values."""
    return lambda case: case.given(**arguments)


def _on_floats(write: Floats) -> Damage:
    def damage(x: Tensor, like: Tensor, case: Case | None) -> Tensor | None:
        return write(x) if x.dtype in FLOAT_ROWS else None

    return damage


# ---- codes -----------------------------------------------------------------------------------------------------------


def _without_subnormals(codes: Tensor, fmt: Scalar) -> Tensor:
    if not isinstance(fmt, Minifloat):
        return codes
    sign = codes & (1 << (fmt.width - 1))
    return torch.where((codes ^ sign) < 1 << fmt.mantissa, sign, codes)


def _without_negative_zero(codes: Tensor, fmt: Scalar) -> Tensor:
    match fmt:
        case Minifloat():
            signed = fmt.signed and fmt.specials != "fnuz"
        case _:
            signed = isinstance(fmt, DMF) or (isinstance(fmt, Logarithmic) and fmt.zero_code)
    return torch.where(codes == 1 << (fmt.width - 1), 0, codes) if signed else codes


def _is_nan(codes: Tensor, fmt: Scalar) -> Tensor:
    return core_decode.decode(codes, fmt).kind == core_decode.NAN


def _largest_for_nan(codes: Tensor, fmt: Scalar) -> Tensor:
    if isinstance(fmt, Codebook):
        assert fmt.codes is not None
        return torch.where(_is_nan(codes, fmt), fmt.codes[-1], codes)
    return torch.where(_is_nan(codes, fmt), largest(fmt), codes)


def _zero_for_nan(codes: Tensor, fmt: Scalar) -> Tensor:
    return torch.where(_is_nan(codes, fmt), 0, codes)


def _sign_and_magnitude(codes: Tensor, fmt: Scalar) -> Tensor:
    """Negative codes in two's complement, NaR aside, as a sign bit and a magnitude."""
    if not is_integer(fmt):
        return codes
    top = 1 << (fmt.width - 1)
    return torch.where((codes < 0) & (codes != -top), -codes - top, codes)


#: what a kernel writes instead of codes
SPELLINGS: dict[str, Codes] = {
    "subnormal codes as 0": _without_subnormals,
    "the code of -0 as that of +0": _without_negative_zero,
    "negative codes as sign and magnitude": _sign_and_magnitude,
    "codes 1 too high": lambda codes, fmt: codes + 1,
    "codes 1 too low": lambda codes, fmt: codes - 1,
}
#: what it writes instead of the code of NaN; elements of blocks have none
NANS: dict[str, Codes] = {"NaN as code 0": _zero_for_nan, "NaN as the largest value's code": _largest_for_nan}
#: what a kernel reads instead of codes
CODE_READINGS: dict[str, Codes] = {
    **{name: SPELLINGS[name] for name in ("subnormal codes as 0", "negative codes as sign and magnitude")},
    "codes with their nibbles swapped": lambda codes, fmt: (codes & 15) << 4 | (codes >> 4 & 15),
    "codes with their bytes swapped": lambda codes, fmt: (codes & 255) << 8 | (codes >> 8 & 255),
}


def _reading_codes(read: Codes) -> Change:
    """Codes are read otherwise, in int64, of which the low bits count."""

    def change(case: Case) -> Case:
        bits, fmt = case.arguments["bits"], case.arguments["fmt"]
        return case.given(bits=read(bits.to(torch.int64), fmt))

    return change


def _on_codes(spell: Codes) -> Damage:
    def damage(x: Tensor, like: Tensor, case: Case | None) -> Tensor | None:
        fmt = None if case is None else case.arguments["fmt"]
        if fmt is None or (isinstance(fmt, Block) and x.dtype in FLOAT_ROWS):
            return None
        if x.dtype in FLOAT_ROWS:
            return decode(spell(encode(x, fmt).to(torch.int64), fmt), fmt, dtype=x.dtype)
        if not isinstance(fmt, Block):
            return spell(x.to(torch.int64), fmt).to(x.dtype)
        codes = unpack4(x) if fmt.packed == 2 else x.view(torch.int8) if isinstance(fmt.element, FixedPoint) else x
        spelled = spell(codes.to(torch.int64), fmt.element).to(torch.uint8)
        return pack4(spelled) if fmt.packed == 2 else spelled

    return damage


def _other_nan(x: Tensor, like: Tensor, case: Case | None) -> Tensor | None:
    """The code that was got in the place of the first NaN, for all of them, if it is one of NaN, too."""
    fmt = None if case is None else case.arguments["fmt"]
    if not isinstance(fmt, Minifloat) or x.shape != like.shape:
        return None
    nan = _is_nan(x.to(torch.int64), fmt)
    written = like[nan][:1]
    return torch.where(nan, written, x) if written.numel() and bool(_is_nan(written.to(torch.int64), fmt)) else None


# ---- rounding --------------------------------------------------------------------------------------------------------


def _ties(codes: Callable[[Tensor, str], Tensor], x: Tensor, up: Ties) -> Tensor:
    """Codes of float64 x to nearest; of a tie the larger magnitude where ``up`` says so, else the smaller one."""
    # By nearest_away a tie goes up, and the float64 that is next to it on the side of 0 lies below half and does not.
    # Everything else goes where its neighbour goes, for codes are fewer than float64s.
    bits = x.view(torch.int64)
    below = torch.where(bits << 1 == 0, bits, bits - 1).view(torch.float64)
    return torch.where(up(x), codes(x, "nearest_away"), codes(below, "nearest_away"))


#: rules for ties that no format has, by which of them go to the larger magnitude
TIES: dict[str, Ties] = {
    "ties toward zero": lambda x: torch.zeros_like(x, dtype=torch.bool),
    "ties upward": lambda x: ~x.signbit(),
    "ties downward": lambda x: x.signbit(),
}


def _float64(x: Tensor) -> Tensor:
    return decode(_bits(x), FLOAT_ROWS[x.dtype])


def _codes(x: Tensor, rounding: str, fmt: Scalar) -> Tensor:
    return core_round.encode(core_decode.decode(x.view(torch.int64), float64), fmt, rounding)


def _encoding(round_: Callable[[Tensor, Format], Tensor]) -> Change:
    """Codes of float64 values in a format are made otherwise, by `encode` and by `quantize`."""

    def change(case: Case) -> Case | None:
        def operation(x: Tensor, fmt: Format, **_: object) -> Tensor:
            codes = round_(_float64(x.detach().resolve_neg()), fmt).to(container(fmt))
            return codes if case.operation is encode else decode(codes, fmt, dtype=x.dtype)

        fmt = case.arguments["fmt"]
        exact = not isinstance(fmt, Block) and fmt.significand_bits <= SHORT
        return replace(case, operation=operation) if exact else None

    return change


def _with_ties(up: Ties) -> Change:
    return _encoding(lambda x, fmt: _ties(partial(_codes, fmt=fmt), x, up))


def _nearest_value(x: Tensor, fmt: Posit) -> Tensor:
    """Posits nearest by value; the standard rounds the bit string, which differs where exponent bits are cut off."""
    cut = _codes(x, "toward_zero", fmt)
    low = cut.abs()
    high = (low + 1).clamp(max=fmt.maxpos)
    middle = (decode(low, fmt) + decode(high, fmt)) / 2
    above = (x.abs() > middle) | ((x.abs() == middle) & (low & 1 == 1))
    nearest = torch.where(above, high, low)
    return torch.where(cut == fmt.nar, cut, torch.where(cut < 0, -nearest, nearest))


def _underflowing(x: Tensor, fmt: Posit) -> Tensor:
    return torch.where(x.abs() <= 2.0 ** -(fmt.max_scale + 1), 0, _codes(x, "nearest_even", fmt))


def _overflowing(x: Tensor, fmt: Posit) -> Tensor:
    return torch.where(x.abs() > fmt.max_value, fmt.nar, _codes(x, "nearest_even", fmt))


def _of_posits(round_: Callable[[Tensor, Posit], Tensor]) -> Change:
    """As `_encoding`, of posits alone."""
    change = _encoding(round_)  # type: ignore[arg-type]
    return lambda case: change(case) if isinstance(case.arguments["fmt"], Posit) else None


#: roundings that the standard does not have
POSITS: dict[str, Callable[[Tensor, Posit], Tensor]] = {
    "posits nearest by value": _nearest_value,
    "what is at most half the least posit as 0": _underflowing,
    "what is above the largest posit as NaR": _overflowing,
}


# ---- other formats ---------------------------------------------------------------------------------------------------


def _format(**fields: object) -> Change:
    """The format is one with other fields."""

    def change(case: Case) -> Case | None:
        fmt = case.arguments["fmt"]
        return case.given(fmt=replace(fmt, **fields)) if all(hasattr(fmt, name) for name in fields) else None

    return change


def _biased(by: int) -> Change:
    def change(case: Case) -> Case | None:
        fmt = case.arguments["fmt"]
        biased = isinstance(fmt, Minifloat) and fmt.bias is not None
        return case.given(fmt=replace(fmt, bias=fmt.bias + by)) if biased else None

    return change


def _named(fmt: Format) -> Change:
    """The format is another one of the same width."""

    def change(case: Case) -> Case | None:
        own = case.arguments["fmt"]
        return case.given(fmt=fmt) if isinstance(own, Minifloat) and own.width == fmt.width else None

    return change


# ---- scales of blocks ------------------------------------------------------------------------------------------------

Scales = Callable[[Tensor, int], Tensor]  #: of values in blocks [blocks, elements], as many in a row


def _remade(
    x: Tensor,
    fmt: Block,
    options: Mapping[str, Any],
    scaled: Scales = lambda x, row: x,
    shift: int = 0,
    values: Floats = lambda x: x,
    ties: Ties | None = None,
) -> Blocks:
    """Blocks whose scales, powers of two, are those of other values, shifted; and elements of values by other rules."""
    blocks = mx_quantize(x, fmt, **options)
    whole = padded(x.detach().resolve_neg(), blocks.axis, fmt)
    cut = to_blocks(whole, blocks.axis, fmt)
    row = whole.shape[blocks.axis] // fmt.tile[1]
    scales = mx_quantize(scaled(cut, row), fmt, **{**options, "axis": -1}).scales.to(torch.int64)
    scales = torch.where(scales == NAN_SCALE, scales, (scales + shift).clamp(0, TOP_SCALE))
    powers = ((1023 + 127 - scales) << 52).view(torch.float64)  # 127 and 1023 are the biases of E8M0 and of float64
    small = values(_float64(cut) * powers)
    profile = find("diagnose", options["profile"])
    make = partial(_codes, fmt=fmt.element)
    codes = make(small, options["rounding"] or profile.rounding) if ties is None else _ties(make, small, ties)
    if profile.form("diagnose", fmt).zero == "unsigned":
        codes = codes.masked_fill(small.abs() <= LEAST, 0)
    codes = torch.where(scales == NAN_SCALE, 0, codes).to(torch.uint8)
    elements = packed(from_blocks(codes, whole.shape, blocks.axis, fmt), blocks.axis, fmt)
    moved = blocks.scales.movedim(blocks.axis, -1).shape
    return replace(blocks, elements=elements, scales=scales.to(torch.uint8).view(moved).movedim(-1, blocks.axis))


def _requantized(**faults: Any) -> Change:
    """Blocks are remade with these faults, where without them they are those of the call."""

    def change(case: Case) -> Case | None:
        x, fmt, options = _split_off(case.arguments)
        if fmt.scale != e8m0 or fmt.tile[0] > 1 or options["rounding"] == "stochastic":
            return None  # only powers of two divide exactly, and the scales of tiles do not lie as their elements do
        right, plain = mx_quantize(x, fmt, **options), _remade(x, fmt, options)
        if not (torch.equal(plain.elements, right.elements) and torch.equal(plain.scales, right.scales)):
            return None  # the profile rounds in a way of its own
        return replace(case, operation=operation)

    def operation(**arguments: Any) -> Blocks:
        return _remade(*_split_off(arguments), **faults)

    return change


def _split_off(arguments: Mapping[str, Any]) -> tuple[Tensor, Block, dict[str, Any]]:
    """The tensor, the format, and all options."""
    options = {name: value for name, value in arguments.items() if name not in ("x", "fmt")}
    return arguments["x"], arguments["fmt"], options


def _amax(x: Tensor) -> Tensor:
    """The largest magnitude of each row."""
    bits = _bits(x)
    return (bits & torch.iinfo(bits.dtype).max).amax(-1, keepdim=True).view(x.dtype)


def _together(x: Tensor, row: int, count: int | None) -> Tensor:
    """The largest magnitudes of so many blocks of a row; None: of all of them."""
    count = row if count is None else count
    if not x.numel() or row % count:
        return x
    return _amax(x.reshape(-1, count * x.shape[-1])).repeat_interleave(count, 0).expand(x.shape)


def _of_sign(x: Tensor, row: int, *, positive: bool) -> Tensor:
    """Values of one sign, and zeros."""
    bits = _bits(x)
    return bits.masked_fill((bits < 0) if positive else (bits >= 0), 0).view(x.dtype)


#: of what values a kernel made the scales of blocks
SCALES: dict[str, Scales] = {
    "scales of max x, not of max |x|": partial(_of_sign, positive=True),
    "scales of -min x, not of max |x|": partial(_of_sign, positive=False),
    "scales of a block's first element": lambda x, row: x[:, :1].expand(x.shape),
    "scales of a block's first half": lambda x, row: _amax(x[:, : (x.shape[1] + 1) // 2]).expand(x.shape),
    "scales of the block before": lambda x, row: x.roll(1, 0),
    "scales of the block behind": lambda x, row: x.roll(-1, 0),
    "scales shared by 2 blocks": partial(_together, count=2),
    "scales shared by 4 blocks": partial(_together, count=4),
    "scales shared by a row": partial(_together, count=None),
    "one scale for all blocks": lambda x, row: _amax(x.reshape(1, -1)).expand(x.shape) if x.numel() else x,
}


def _stored(by: int) -> Damage:
    """Scales stored too high or too low."""

    def damage(x: Tensor, like: Tensor, case: Case | None) -> Tensor | None:
        return None if x.dtype in FLOAT_ROWS else torch.where(x == NAN_SCALE, x, x + by)

    return damage


# ---- rows ------------------------------------------------------------------------------------------------------------


def faults() -> Iterator[Hypothesis]:
    """All of these faults."""
    yield from _of_roundings()
    yield from _of_formats()
    yield from _of_blocks()
    for name, read in READINGS.items():
        yield Hypothesis(name.format("inputs"), "inputs", QUANTIZERS, reading(read, "x"))
    for name, write in WRITINGS.items():
        yield Hypothesis(name, name, damage=_on_floats(write))
    for name, spell in SPELLINGS.items():
        yield Hypothesis(name, name, (mx_quantize,), part="elements", damage=_on_codes(spell))
        yield Hypothesis(name, name, ENCODERS, damage=_on_codes(spell))
    for name, spell in NANS.items():
        yield Hypothesis(name, "NaN", (encode,), damage=_on_codes(spell))
    for name, misread in CODE_READINGS.items():
        yield Hypothesis(f"{name} read", "inputs", (decode,), _reading_codes(misread))
    yield Hypothesis("another code of NaN", "NaN", (encode,), damage=_other_nan)


def _of_roundings() -> Iterator[Hypothesis]:
    for rule in ROUNDINGS:
        yield Hypothesis(f"rounding={rule}", "rounding", QUANTIZERS, setting(rounding=rule, random_bits=None))
    for name, up in TIES.items():
        yield Hypothesis(name, "rounding", ENCODERS, _with_ties(up))
        yield Hypothesis(name, "rounding", (mx_quantize,), _requantized(ties=up))
    for name, round_ in POSITS.items():
        yield Hypothesis(name, "rounding", ENCODERS, _of_posits(round_))


def _of_formats() -> Iterator[Hypothesis]:
    operations = (*ENCODERS, decode)
    for es in range(5):
        yield Hypothesis(f"es={es}", "format", operations, _format(es=es))
    for field, values in {"overflow": ("saturate", "inf", "nan"), "specials": ("none", "fn", "ieee", "fnuz")}.items():
        for value in values:
            yield Hypothesis(f"{field}={value}", "format", operations, _format(**{field: value}))
    for by in (-1, 1):
        yield Hypothesis(f"bias {by:+d}", "format", operations, _biased(by))
    widths = Counter(fmt.width for fmt in named().values() if isinstance(fmt, Minifloat))
    for name, fmt in named().items():
        if isinstance(fmt, Minifloat) and widths[fmt.width] > 1:
            yield Hypothesis(f"fmt={name}", "format", operations, _named(fmt))


def _of_blocks() -> Iterator[Hypothesis]:
    on = (mx_quantize,)
    for name in PROFILES:
        yield Hypothesis(f"profile={name}", "profile", on, setting(profile=name))
    for rule in RULES:
        yield Hypothesis(f"scale={rule}", "scale", on, setting(scale=rule))
    yield Hypothesis("tensor_scale=None", "tensor_scale", on, setting(tensor_scale=None))
    for name, scaled in SCALES.items():
        yield Hypothesis(name, "blocks", on, _requantized(scaled=scaled))
    for by in (-1, 1):
        yield Hypothesis(f"scales {by:+d}, elements by them", "blocks", on, _requantized(shift=by))
        yield Hypothesis(f"scales stored {by:+d}", "scale codes", on, part="scales", damage=_stored(by))
    for row in (bfloat16, float16):
        values = partial(_rounded, fmt=row)
        yield Hypothesis(f"scaled values rounded to {row} first", "blocks", on, _requantized(values=values))
