"""The operations table: one row a function, and everything that is checked follows from the rows.

Vocabulary: a *row* is a function that targets have; a *case* is one set of operands; *options* are keywords, the format
among them; a *source* tells the right result (`sources`).

Each operand, and the result, is of a kind, given by a letter:

==  =========================================================================================
p   patterns of the posit format, sign-extended
v   vectors of patterns: one more axis, along which products are summed
m   matrices of patterns, ``[cases, rows, columns]``
f   floats of ``dtype``, by their bits, as signed integers of its width
F   vectors of floats, or blocks; of ``to_dtype`` where they come out and there is one;  M   matrices of floats
i   integers: of ``dtype`` where they go in, or of 64 bits; of ``width`` bits where they come out
c   codes of a minifloat, by their low bits
r   random bits for each float, of which 16 are read; only with ``rounding="stochastic"``
t   decimal text
b   truth, 0 or 1
D   matrices of floats, ``[cases, rows, columns]`` of the result
d   the same of float32, whatever ``dtype`` says
k   blocks, ``[cases, 1 + size]``: the code of the scale, then those of the elements
e   codes of a format of `oracles.lab_rows`, by their low bits;  E   blocks of them, as k
K   matrices of blocks, ``[cases, rows, blocks, 1 + size]``: products are summed along rows of both sides
A   matrices of ``a_dtype``, ``[cases, M, K]``: floats by their bits, or integers
B   the same of ``b_dtype``, transposed: ``[cases, N, K]``
C   vectors of ``bias_dtype``, ``[cases, N]``: what every row of the result has added
y   bytes, ``[cases, bytes]``
s   what is seen of a quire: rounded, and the rest after subtracting that, rounded: ``[cases, 2]``
==  =========================================================================================

All but text are int64 arrays. Block formats go by name. What a format has no choice of is not given: ``scale``, a rule,
where scales are no powers of two, and ``tensor_scale``, a number, but for the second level of NVFP4. Rounded results
must be right in every bit, so that ``ulp`` is 0 everywhere; a row that needs more says why.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .oracles import (
    block_rows,
    blocks,
    elementary,
    float_orders,
    lab_rows,
    matrixcore,
    minifloat,
    orders,
    posit,
    quire,
    tensorcore,
)
from .oracles.elementary import Function
from .oracles.minifloat import DTYPES, FLOATS, Row
from .peers import mpfr

Array = NDArray[Any]
Options = Mapping[str, Any]

ROUNDINGS = tuple(minifloat.RULES)
INTEGERS = ("uint8", "int8", "int16", "int32", "int64")

TWO_LEVELS = ("ocp/v1", "torchao/v1")  #: profiles of NVFP4 with a scale of the whole tensor
TENSOR_SCALES = (2.0**-7, float(np.float32(0.7)), float(np.float32(1e-30)))
UNSIGNED_ZEROS = ("microxcaling/v1", "microxcaling.flush/v1")  #: profiles that leave the sign of a zero open
FP8 = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
#: dtypes of both sides of a product -> those of results
WIDENED: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("float32", "float32"): ("float32", "bfloat16", "float16", *FP8),
    ("bfloat16", "bfloat16"): ("bfloat16", "float32"),
    ("float16", "float16"): ("float16", "float32"),
    ("float8_e4m3fn", "float8_e4m3fn"): ("float32", "bfloat16"),
    ("float8_e4m3fn", "float8_e5m2"): ("float32",),
    ("float8_e5m2fnuz", "float8_e4m3fnuz"): ("float32", "float8_e5m2fnuz"),
}
MIXED: Mapping[tuple[str, str], tuple[str, ...]] = {
    **WIDENED,
    ("float64", "float64"): ("float64", "float32", "bfloat16", "float16", "float8_e4m3fn"),
    ("float32", "bfloat16"): ("float32", "float64"),
    ("float64", "float8_e5m2"): ("float64", "bfloat16"),
}
INT8 = tuple((a, b) for a in ("int8", "uint8") for b in ("int8", "uint8"))
SIXTEEN = {pair: results for pair, results in WIDENED.items() if pair[0] in FLOATS}
SGBI: tuple[Options, ...] = (
    *({"order": order} for order in ("chain", "slab8", "lane32", "splitk32", "splitk64", "dispatch")),
    *({"order": "splitm_f64", "c": c} for c in (4, 16)),
)
KINDS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "bf16": (("bfloat16", "bfloat16"),),
    "bf16_1k": (("bfloat16", "bfloat16"),),
    "f16": (("float16", "float16"),),
    "tf32": (("float32", "float32"),),
    "fp8": (("float8_e4m3fn", "float8_e4m3fn"), ("float8_e4m3fn", "float8_e5m2"), ("float8_e5m2", "float8_e5m2")),
}
FNUZ = {"fp8": (("float8_e5m2fnuz", "float8_e4m3fnuz"), ("float8_e4m3fnuz", "float8_e4m3fnuz"))}
#: names, as they stand in ``tc.<name>/v1`` -> dtypes of both sides; those of blocks multiply none of these
INSTRUCTIONS = {
    name: kinds.get(name.split(".")[1], ())
    for cores, kinds in ((tensorcore.CORES, KINDS), (matrixcore.CORES, {**KINDS, **FNUZ}))
    for name in cores
}
SPLIT = ("ampere.f16", "hopper.bf16", "hopper.fp8")
#: what is multiplied
PAIRS = tuple(dict.fromkeys((*MIXED, *INT8, *itertools.chain(*INSTRUCTIONS.values()))))

#: what formats meet in products, besides their own kind
PARTNERS = {"mxfp4": ("mxfp8_e4m3",), "mxfp8_e5m2": ("mxint8",), "mxfp6_e3m2": ("nvfp4",), "nvfp4": ("mxfp6_e2m3",)}


@dataclass(frozen=True)
class Op:
    """One function."""

    name: str  #: of the target's function
    args: str  #: the kind of each operand
    out: str  #: the kind of the result
    public: str  #: the public function of refnum that it speaks for
    oracle: Callable[..., Any]  #: the right result of one case, on plain integers
    variants: Callable[[Options], tuple[Options, ...]]  #: format -> the further options to check it with
    ulp: int = 0  #: how many patterns a result may lie from the right one
    why: str = ""  #: the reason, unless ulp is 0
    columns: Callable[..., Array] | None = None  #: the right results of columns at once, where there is a fast way


# Options -------------------------------------------------------------------------------------------------------------


def _plain(fmt: Options) -> tuple[Options, ...]:
    return ({},)


def _grid(**choices: tuple[Any, ...]) -> tuple[Options, ...]:
    """Every combination.

    >>> _grid(width=(8, 16), signed=(True,))
    ({'width': 8, 'signed': True}, {'width': 16, 'signed': True})
    """
    grid: tuple[dict[str, Any], ...] = ({},)
    for name, values in choices.items():
        grid = tuple({**options, name: value} for options in grid for value in values)
    return grid


def _targets(fmt: Options) -> tuple[Options, ...]:
    n, es = fmt["n"], fmt["es"]
    others = {(8, 2), (16, 1), (32, 2), (64, 2), (64, 4), (2, 0), (5, 3), (max(2, n - 1), es), (min(64, n + 1), es)}
    return tuple({"to_n": to_n, "to_es": to_es} for to_n, to_es in sorted(others))


def _to_float(fmt: Options) -> tuple[Options, ...]:
    return _grid(dtype=tuple(FLOATS))


def _held(fmt: Options) -> tuple[Options, ...]:
    return _grid(dtype=holding(fmt))


def _encoded(fmt: Options) -> tuple[Options, ...]:
    return _grid(dtype=tuple(FLOATS), rounding=ROUNDINGS)


def _kept(fmt: Options) -> tuple[Options, ...]:
    return _grid(dtype=keeping(fmt), rounding=ROUNDINGS)


def _to_int(fmt: Options) -> tuple[Options, ...]:
    return _grid(width=(8, 16, 32, 64), signed=(True, False))


def _from_int(fmt: Options) -> tuple[Options, ...]:
    return _grid(dtype=(*INTEGERS, "int"), sentinel=(True, False))


def _doubled(fmt: Options) -> tuple[Options, ...]:
    return _grid(doublings=(0, 29, 30, 31, 63))  # from 30 on sums may leave the register


def _stepwise(fmt: Options) -> tuple[Options, ...]:
    return ({},) if fmt["n"] <= 32 and fmt["es"] <= 3 else ()


def _float32_sums(fmt: Options) -> tuple[Options, ...]:
    return _grid(dtype=("float32",)) if "float32" in holding(fmt) else ()


def _cuposit(fmt: Options) -> tuple[Options, ...]:
    if fmt["es"] != 2 or not 4 <= fmt["n"] <= 28:
        return ()
    scalings = _grid(k_pad=(8, None), alpha=(1.0,), beta=(0.0,)) + _grid(k_pad=(8,), alpha=(0.3,), beta=(1.0, -2.5))
    return tuple({"dtype": "float32", **scaling} for scaling in scalings)


def _quantized(fmt: Options) -> tuple[Options, ...]:
    """Every scale rule in every dtype, and every rounding in one."""
    return tuple(
        {"dtype": dtype, "profile": profile, "rounding": rounding, **choice}
        for profile, default, choices in _profiles(fmt["fmt"])
        for i, choice in enumerate(choices)
        for dtype in blocks.PRECISION
        for rounding in (ROUNDINGS if dtype == "float32" and i == 0 else (default,))
    )


def _profiles(fmt: str) -> Iterator[tuple[str, str, tuple[Options, ...]]]:
    """Profile, its own rounding, and how else it can make scales, its own way first."""
    for name, profile in blocks.PROFILES.items():
        if blocks.FORMATS[fmt].scale == blocks.E8M0:
            rules = sorted(profile.rules, key=lambda rule: rule != profile.scale)
            yield name, profile.rounding, _grid(scale=tuple(rules))
        elif name in blocks.NVFP4:
            yield name, profile.rounding, _levels(fmt) if name in TWO_LEVELS else ({},)


def _levels(fmt: str) -> tuple[Options, ...]:
    """With and without a scale of the whole tensor."""
    return ({}, *_grid(tensor_scale=TENSOR_SCALES)) if blocks.FORMATS[fmt].scale == blocks.E4M3 else ({},)


def _dequantized(fmt: Options) -> tuple[Options, ...]:
    return tuple({"dtype": dtype, **level} for dtype in FLOATS for level in _levels(fmt["fmt"]))


def _fake_quantized(fmt: Options) -> tuple[Options, ...]:
    """Every profile's own way, and into another dtype."""
    dtypes = (("float32", "float32"), ("bfloat16", "bfloat16"), ("float16", "float16"), ("bfloat16", "float32"))
    return tuple(
        {"dtype": dtype, "to_dtype": to_dtype, "profile": profile, "rounding": rounding, **choices[0]}
        for profile, rounding, choices in _profiles(fmt["fmt"])
        for dtype, to_dtype in dtypes
    )


def _rounded(fmt: Options) -> tuple[Options, ...]:
    """From every dtype to the nearest and at random; in every way from one."""
    ways = {"float32": ROUNDINGS}
    return tuple(
        {"dtype": dtype, "rounding": rounding}
        for dtype in (blocks.PRECISION if fmt["fmt"] in lab_rows.BLOCKS else FLOATS)
        for rounding in ways.get(dtype, ("nearest_even", "stochastic"))
    )


def _rounded_within(fmt: Options) -> tuple[Options, ...]:
    """The same in the dtypes that hold every value."""
    return tuple(variant for variant in _rounded(fmt) if lab_rows.holds(variant["dtype"], fmt["fmt"]))


def _within(fmt: Options) -> tuple[Options, ...]:
    return _grid(dtype=tuple(dtype for dtype in FLOATS if lab_rows.holds(dtype, fmt["fmt"])))


def _multiplied(fmt: Options) -> tuple[Options, ...]:
    """By its own kind and by others; a scale of the whole tensor is that of the left side."""
    return tuple(
        {"b_fmt": right, "dtype": dtype, **level}
        for right in (fmt["fmt"], *PARTNERS.get(fmt["fmt"], ()))
        for level in _levels(fmt["fmt"])
        for dtype in blocks.PRECISION
    )


def _by_instruction(fmt: Options) -> tuple[Options, ...]:
    """By all formats that the same instruction takes."""
    table = block_rows.INSTRUCTIONS
    mates = [name for name in table if fmt["fmt"] in table and table[name][0] == table[fmt["fmt"]][0]]
    return tuple({"b_fmt": name, "dtype": dtype} for name in mates for dtype in ("float32", "bfloat16"))


def _summed(
    results: Mapping[tuple[str, str], tuple[str, ...]], *choices: Options
) -> Callable[..., tuple[Options, ...]]:
    """By every choice in the first dtype of results, by one in each of the others."""

    def variants(fmt: Options) -> tuple[Options, ...]:
        first, *others = results.get((fmt["a_dtype"], fmt["b_dtype"]), ("",))
        found = [{"dtype": first, **choice} for choice in choices if first]
        return (*found, *({"dtype": dtype, **choice} for dtype, choice in zip(others, itertools.cycle(choices))))

    return variants


def _integers(fmt: Options) -> tuple[Options, ...]:
    """Of 8 bits, and of 4 where they are held in int8."""
    pair = fmt["a_dtype"], fmt["b_dtype"]
    return _grid(dtype=("int32",), bits=(8, 4) if pair == ("int8", "int8") else (8,)) if pair in INT8 else ()


def _accumulator(options: Options) -> str:
    return "float16" if options["instruction"].endswith("acc16") else "float32"


def _instructions(fmt: Options) -> tuple[Options, ...]:
    """In the dtype of the accumulator; once in another one."""
    names = [name for name, pairs in INSTRUCTIONS.items() if (fmt["a_dtype"], fmt["b_dtype"]) in pairs]
    rows = [{"instruction": name} for name in names]
    found = [{"dtype": _accumulator(row), **row} for row in rows]
    return (*found, *({**row, "dtype": "bfloat16"} for row in found[:1]))


def _split_instructions(fmt: Options) -> tuple[Options, ...]:
    """Leaves of one block, of several, and of parts of some."""
    wide = [row for row in _instructions(fmt) if row["instruction"] in SPLIT]
    return tuple({**row, "chunk": chunk} for row in wide for chunk in (8, 20, 128))


def _with_bias(
    variants: Callable[..., tuple[Options, ...]], dtypes: tuple[str, ...]
) -> Callable[..., tuple[Options, ...]]:
    """The same with a bias of one of these dtypes, in turn; without any, of that of the accumulators."""

    def both(fmt: Options) -> tuple[Options, ...]:
        rows = variants(fmt)
        biases = itertools.cycle(dtypes) if dtypes else map(_accumulator, rows)
        return tuple({**row, "bias_dtype": bias} for row, bias in zip(rows, biases, strict=False))

    return both


def scales(fmt: Options) -> tuple[int, int]:
    """log2 of the least and of the largest magnitude of a format, rounded down.

    >>> scales({"n": 16, "es": 2}), scales(Row(4, 3, 7, "fn")._asdict())
    ((-56, 56), (-9, 8))
    """
    if "n" in fmt:
        farthest = (fmt["n"] - 2) << fmt["es"]
        return -farthest, farthest
    row = record(fmt)
    least, largest = (minifloat.magnitude(code, row) for code in (int(row.subnormals), row.largest))
    return least.e + least.m.bit_length() - 1, largest.e + largest.m.bit_length() - 1


def precision(fmt: Options) -> int:
    """The most bits that a significand has."""
    return max(1, fmt["n"] - 2 - fmt["es"]) if "n" in fmt else int(fmt["mantissa"]) + 1


def holding(fmt: Options) -> tuple[str, ...]:
    """The dtypes that hold every value of a format."""
    (least, largest), bits = scales(fmt), precision(fmt)
    return tuple(
        name
        for name, row in FLOATS.items()
        if bits <= row.mantissa + 1 and largest <= row.bias and least >= 1 - row.bias - row.mantissa
    )


def keeping(fmt: Options) -> tuple[str, ...]:
    """Dtypes whose values, rounded to the format, they hold: coarser where they are changed, and never out of range."""
    least, largest = scales(fmt)
    if "n" in fmt:
        return tuple(name for name, row in FLOATS.items() if largest <= row.bias and least >= 1 - row.bias)
    return holding(fmt)


def record(fmt: Options) -> Row:
    """The minifloat among options."""
    return Row(*(fmt[name] for name in Row._fields))


# Minifloats ----------------------------------------------------------------------------------------------------------


def _split(options: Options) -> tuple[Row, Options]:
    return record(options), {name: value for name, value in options.items() if name not in Row._fields}


def _minifloat_encode(bits: int, random_bits: int = 0, **options: Any) -> int:
    row, rest = _split(options)
    negative, x = minifloat.decode(bits, FLOATS[rest["dtype"]])
    return posit.signed(minifloat.encode(negative, x, row, rest["rounding"], random_bits), row.width)


def _minifloat_decode(code: int, **options: Any) -> int:
    row, rest = _split(options)
    negative, x = minifloat.decode(code, row)
    result = FLOATS[rest["dtype"]]
    return posit.signed(minifloat.encode(negative, x, result), result.width)


def _minifloat_quantize(bits: int, random_bits: int = 0, **options: Any) -> int:
    code = _minifloat_encode(bits, random_bits, **options)
    return _minifloat_decode(code, **{name: value for name, value in options.items() if name != "rounding"})


# The table -----------------------------------------------------------------------------------------------------------


def _posit(name: str, args: str, out: str, oracle: Callable[..., Any], variants: Any = _plain) -> Op:
    return Op(name, args, out, f"posit.{name}", oracle, variants)


def _codec(name: str, args: str, out: str, oracle: Callable[..., Any], variants: Any) -> Op:
    return Op(name, args, out, name.removeprefix("minifloat_"), oracle, variants)


def _of_posits(function: Function) -> Op:
    """An elementary function of the standard."""
    name, args = str(function.standard), "".join("i" if kind == "k" else "p" for kind in function.operands)
    row, columns = elementary.of_posits(function), functools.partial(mpfr.posits, function)
    return Op(name, args, "p", f"posit.{name}", row, _plain, columns=columns)


def _of_minifloats(function: Function) -> Op:
    """An elementary function of codes of minifloats."""
    name, args = function.name, "".join("i" if kind == "k" else "c" for kind in function.operands)
    row, columns = elementary.of_minifloats(function), functools.partial(mpfr.minifloats, function)
    return Op(f"function_{name}", args, "c", f"functions.{name}", row, _plain, columns=columns)


def _gelu(code: int, approximate: str, **fields: Any) -> int:
    function = elementary.of_row("function_gelu", {"approximate": approximate})
    return elementary.of_minifloats(function)(code, **fields)


def _gelus(codes: Array, approximate: str, **fields: Any) -> Array:
    return mpfr.minifloats(elementary.of_row("function_gelu", {"approximate": approximate}), codes, **fields)


def _approximations(fmt: Options) -> tuple[Options, ...]:
    return _grid(approximate=("none", "tanh"))


def _quire(name: str, args: str, oracle: Callable[..., Any], variants: Any = _doubled) -> Op:
    return Op(f"quire_{name}", args, "s", f"Quire.{name}", oracle, variants)


def _sums(name: str, args: str, out: str, public: str, oracle: Callable[..., Any], variants: Any = _plain) -> Op:
    return Op(name, args, out, public, oracle, variants)


def _gemm(name: str, oracle: Callable[..., Any], variants: Any, *biases: str, public: str = "gemm") -> tuple[Op, Op]:
    """Without a bias, and with one."""
    out = "i" if name == "int" else "M"
    return (
        Op(f"gemm_{name}", "AB", out, public, oracle, variants),
        Op(f"gemm_{name}_add", "ABC", out, public, oracle, _with_bias(variants, biases)),
    )


OPERATIONS: tuple[Op, ...] = (
    # 5.2
    _posit("negate", "p", "p", posit.negate),
    _posit("abs", "p", "p", posit.abs_),
    _posit("sign", "p", "p", posit.sign),
    _posit("nearest_int", "p", "p", posit.nearest_int),
    _posit("ceil", "p", "p", posit.ceil),
    _posit("floor", "p", "p", posit.floor),
    _posit("next", "p", "p", posit.next_),
    _posit("prior", "p", "p", posit.prior),
    # 5.3
    _posit("compare_equal", "pp", "b", posit.compare_equal),
    _posit("compare_not_equal", "pp", "b", posit.compare_not_equal),
    _posit("compare_greater", "pp", "b", posit.compare_greater),
    _posit("compare_greater_equal", "pp", "b", posit.compare_greater_equal),
    _posit("compare_less", "pp", "b", posit.compare_less),
    _posit("compare_less_equal", "pp", "b", posit.compare_less_equal),
    # 5.4, the square root of 5.5, 5.7
    _posit("add", "pp", "p", posit.add),
    _posit("sub", "pp", "p", posit.sub),
    _posit("mul", "pp", "p", posit.mul),
    _posit("div", "pp", "p", posit.div),
    _posit("sqrt", "p", "p", posit.sqrt),
    _posit("fmm", "ppp", "p", posit.fmm),
    _posit("fma", "ppp", "p", posit.fma),
    # The rest of 5.5, 5.6, 5.8 to 5.10
    *(_of_posits(function) for function in elementary.FUNCTIONS if function.standard and function.name != "sqrt"),
    # The same of minifloats, and activations
    *(_of_minifloats(function) for function in elementary.FUNCTIONS if not function.name.startswith("gelu")),
    Op("function_gelu", "c", "c", "functions.gelu", _gelu, _approximations, columns=_gelus),
    # 6
    _posit("convert", "p", "p", posit.convert, _targets),
    _posit("to_float", "p", "f", posit.to_float, _to_float),
    _posit("to_int", "p", "i", posit.to_int, _to_int),
    _posit("from_int", "i", "p", posit.from_int, _from_int),
    _posit("to_decimal", "p", "t", posit.to_decimal),
    _posit("from_decimal", "t", "p", posit.from_decimal),
    # The codec
    _codec("encode", "fr", "p", posit.encode, _encoded),
    _codec("decode", "p", "f", posit.decode, _held),
    _codec("quantize", "fr", "f", posit.quantize, _kept),
    _codec("minifloat_encode", "fr", "c", _minifloat_encode, _encoded),
    _codec("minifloat_decode", "c", "f", _minifloat_decode, _held),
    _codec("minifloat_quantize", "fr", "f", _minifloat_quantize, _kept),
    # Other formats of single numbers, and of blocks
    Op("scalar_encode", "fr", "e", "encode", lab_rows.scalar_encode, _rounded),
    Op("scalar_decode", "e", "f", "decode", lab_rows.scalar_decode, _within),
    Op("scalar_quantize", "fr", "f", "quantize", lab_rows.scalar_quantize, _rounded_within),
    Op("block_quantize", "Fr", "E", "mx.quantize", lab_rows.block_quantize, _rounded),
    Op("block_dequantize", "E", "F", "mx.dequantize", lab_rows.block_dequantize, _to_float),
    Op("block_fake_quantize", "Fr", "F", "quantize", lab_rows.block_fake_quantize, _rounded),
    # 5.11
    _quire("from_posit", "p", quire.from_posit, _plain),
    _quire("to_posit", "vv", quire.to_posit),
    _quire("clear", "vv", quire.clear),
    _quire("clone", "vv", quire.to_posit),
    _quire("negate", "vv", quire.negate),
    _quire("abs", "vv", quire.abs_),
    _quire("add_posit", "vvp", quire.add_posit),
    _quire("sub_posit", "vvp", quire.sub_posit),
    _quire("mul_add", "vvpp", quire.mul_add),
    _quire("mul_sub", "vvpp", quire.mul_sub),
    _quire("add", "vvvv", quire.add),
    _quire("sub", "vvvv", quire.sub),
    Op("quire_to_bytes", "vv", "y", "Quire.to_bytes", quire.to_bytes, _doubled),
    _quire("from_bytes", "vv", quire.to_posit),
    # Sums
    _sums("quire_dot", "vv", "p", "quire_dot", quire.quire_dot),
    _sums("quire_dot_floats", "FF", "f", "quire_dot", quire.quire_dot_floats, _held),
    _sums("posit_mm", "mm", "m", "posit_mm", quire.posit_mm),
    _sums("posit_mm_add", "mmm", "m", "posit_mm", quire.posit_mm),
    _sums("posit_mm_floats", "MM", "M", "posit_mm", quire.posit_mm_floats, _held),
    _sums("posit_mm_posit", "mm", "m", "posit_mm", orders.posit_mm, _stepwise),
    _sums("posit_mm_posit_add", "mmm", "m", "posit_mm", orders.posit_mm, _stepwise),
    _sums("posit_mm_products", "mm", "M", "posit_mm", orders.products_mm, _float32_sums),
    _sums("posit_mm_products_add", "mmD", "M", "posit_mm", orders.products_mm, _float32_sums),
    _sums("posit_mm_cuposit", "MMD", "M", "posit_mm", orders.cuposit_mm, _cuposit),
    # Blocks
    Op("mx_quantize", "Fr", "k", "mx.quantize", block_rows.quantize, _quantized),
    Op("mx_dequantize", "k", "F", "mx.dequantize", block_rows.dequantize, _dequantized),
    Op("mx_fake_quantize", "Fr", "F", "mx.dequantize", block_rows.fake_quantize, _fake_quantized),
    _sums("mx_mm_exact", "KK", "M", "mx_mm", block_rows.exact_mm, _multiplied),
    _sums("mx_mm_exact_add", "KKd", "M", "mx_mm", block_rows.exact_mm, _multiplied),
    _sums("mx_mm_chain", "KK", "M", "mx_mm", block_rows.chain_mm, _multiplied),
    _sums("mx_mm_chain_add", "KKd", "M", "mx_mm", block_rows.chain_mm, _multiplied),
    _sums("mx_mm_tensorcore", "KK", "M", "mx_mm", block_rows.tensorcore_mm, _by_instruction),
    _sums("mx_mm_tensorcore_add", "KKd", "M", "mx_mm", block_rows.tensorcore_mm, _by_instruction),
    # Matrices of floats
    *_gemm("exact", float_orders.exact_mm, _summed(MIXED, {}), "float32", "float64"),
    *_gemm("partial", float_orders.exact_mm, _summed(MIXED, *_grid(shards=(1, 3))), "float64", public="exact_partial"),
    *_gemm("chain", float_orders.chain_mm, _summed(WIDENED, {}), "float32"),
    *_gemm("tree", float_orders.tree_mm, _summed(WIDENED, *_grid(chunk=(1, 4, 16, 256))), "float32"),
    *_gemm("sgbi", float_orders.sgbi_mm, _summed(SIXTEEN, *SGBI), "float32"),
    *_gemm("int", float_orders.int_mm, _integers, "int32"),
    *_gemm("tensorcore", float_orders.instruction_mm, _instructions),
    *_gemm("tcsplit", float_orders.split_mm, _split_instructions, "float32"),
)

BY_NAME: Mapping[str, Op] = {op.name: op for op in OPERATIONS}


# Comparison ----------------------------------------------------------------------------------------------------------


def canonical(op: Op, x: Array, options: Options) -> Array:
    """Results in a form in which equal ones have equal bits: all NaNs are one, and a text is what it reads back as."""
    match op.out:
        case "f" | "F" | "M":
            row = DTYPES[options.get("to_dtype", options["dtype"])]
            return _one_zero(_one_nan(x, row), row, options)
        case "k":
            return _one_block(x, options)
        case "e" | "E":
            return _low_bits(x, options["fmt"])
        case "c":
            unused = 64 - record(options).width
            return _one_nan(x << unused >> unused, record(options))
        case "t":
            return np.array([_read(text, options) for text in x.reshape(-1)], object).reshape(x.shape)
        case _:
            return x


def _low_bits(found: Array, fmt: str) -> Array:
    """Codes without what stands above them; a scale's are whole."""
    if fmt in lab_rows.SCALARS:
        return found & ((1 << lab_rows.SCALARS[fmt].width) - 1)
    return np.hstack([found[:, :1], found[:, 1:] & ((1 << lab_rows.BLOCKS[fmt].width) - 1)])


def _one_nan(codes: Array, row: Row) -> Array:
    magnitude = codes & (row.sign_bit - 1)
    match row.specials:
        case "ieee":
            nan = magnitude > row.infinity
        case "fn":
            nan = magnitude > row.largest
        case "fnuz":
            nan = (magnitude == 0) & (codes & row.sign_bit != 0)
        case _:
            return codes
    return np.where(nan, row.nan or 0, codes)


def _one_zero(codes: Array, row: Row, options: Options) -> Array:
    """With one zero, where the profile leaves its sign open."""
    zero = codes & (row.sign_bit - 1) == 0
    return np.where(zero & (options.get("profile") in UNSIGNED_ZEROS), 0, codes)


def _one_block(found: Array, options: Options) -> Array:
    """With code 0 for all elements under a NaN scale, whose codes mean nothing."""
    fmt = blocks.FORMATS[options["fmt"]]
    scales, codes = _one_nan(found[:, :1], fmt.scale), found[:, 1:]
    if isinstance(fmt.element, Row):
        codes = _one_zero(_one_nan(codes, fmt.element), fmt.element, options)
    return np.hstack([scales, np.where(scales == fmt.scale.nan, 0, codes)])


def _read(text: object, options: Options) -> object:
    try:
        return posit.from_decimal(str(text), options["n"], options["es"])
    except ValueError:
        return text
