"""Operations that a kernel in any language is checked for: one row a function, and a name for each of its formats.

``posit16_mul`` is the function ``mul`` of ``posit16``. What is computed is what refnum's public functions compute.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from .. import codec, posit
from ..boundary import FLOAT_ROWS, SIGNED, check_choice
from ..core.round import RULES
from ..errors import ContractError, FormatError
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
    e8m0,
    float32,
    named,
    parse,
    parse_scalar,
)
from ..formats.rows import NAMES
from ..mx import Blocks, dequantize, quantize
from ..mx.blocks import TORCH, packed, stored_dtype
from ..ops import gemm, mx_mm, quire_dot
from . import cases
from .lines import Words, unsigned

EACH = 1000  #: cases of edges and of ties, at most
ROUNDINGS = tuple(rule for rule in RULES if rule != "stochastic")  #: random bits are no part of a line

#: the dtype in which codes of a format are floating-point values
FLOATS: dict[Format, torch.dtype] = {
    **{row: dtype for dtype, row in FLOAT_ROWS.items()},
    **{row: dtype for row, dtype in TORCH.items() if isinstance(row, Minifloat) and row.width == 8 and row != e8m0},
}
ROWS = {dtype: row for row, dtype in FLOATS.items()}

Codes = tuple[Tensor, ...]  #: int64 [cases, count], for each of an operation's words


@dataclass(frozen=True, slots=True)
class Operation:
    """A function of one format with all its choices made."""

    name: str
    operands: tuple[Words, ...]
    results: tuple[Words, ...]
    compute: Callable[..., Codes]  #: of the codes of the operands
    cases: Callable[..., Codes]  #: of kind, count and seed: operands, as `refnum.testing.cases` has them

    def right(self, operands: Codes) -> Codes:
        """The right results, as words have them."""
        results = self.compute(*operands)
        return tuple(unsigned(codes, words.fmt) for codes, words in zip(results, self.results, strict=True))


@dataclass(frozen=True, slots=True)
class Function:
    """One row: a function of formats of one type."""

    name: str
    formats: type[Scalar] | type[Block]
    operation: Callable[..., Operation]  #: of the operation's name, the format and the options
    options: Mapping[str, Any] = field(default_factory=dict)  #: with their defaults


# ---- functions of single values --------------------------------------------------------------------------------------


def _elementwise(name: str, fmt: Posit, *, function: Callable[..., Tensor], arity: int) -> Operation:
    op = function.__name__ if function.__name__ in cases.TIES else arity

    def operands(kind: str, count: int, seed: int) -> Codes:
        if op == 1:
            return (_column(cases.patterns(fmt, kind, count=count, seed=seed)),)
        return tuple(map(_column, cases.tuples(op, fmt, kind, count=count, seed=seed)))

    words = tuple(Words(letter, fmt) for letter in "abc"[:arity])
    return Operation(name, words, (Words("result", fmt),), lambda *codes: (function(*codes, fmt),), operands)


def _convert(name: str, fmt: Posit, *, to: str) -> Operation:
    target = parse_scalar(to)
    if not isinstance(target, Posit):
        raise FormatError(f"{name} converts to posits, got {to}. Choose one for --to, or use decode or encode.")

    def operands(kind: str, count: int, seed: int) -> Codes:
        return (_column(cases.conversions(fmt, target, kind, count=count, seed=seed)),)

    return Operation(
        name,
        (Words("a", fmt),),
        (Words("result", target),),
        lambda codes: (posit.convert(codes, fmt, target),),
        operands,
    )


def _encode(name: str, fmt: Scalar, *, dtype: str, rounding: str) -> Operation:
    row, compute = _float_row(name, dtype), partial(codec.encode, fmt=fmt, rounding=_rounding(name, rounding))
    return Operation(
        name,
        (Words("x", row),),
        (Words("code", fmt),),
        lambda codes: (compute(_floats(codes, row)),),
        _float_cases(fmt, row),
    )


def _quantize(name: str, fmt: Scalar, *, dtype: str, rounding: str) -> Operation:
    row, compute = _float_row(name, dtype), partial(codec.quantize, fmt=fmt, rounding=_rounding(name, rounding))
    return Operation(
        name,
        (Words("x", row),),
        (Words("result", row),),
        lambda codes: (_codes(compute(_floats(codes, row))),),
        _float_cases(fmt, row),
    )


def _decode(name: str, fmt: Scalar, *, dtype: str) -> Operation:
    row = _float_row(name, dtype)

    def operands(kind: str, count: int, seed: int) -> Codes:
        return (_column(cases.patterns(fmt, kind, count=count, seed=seed)),)

    def compute(codes: Tensor) -> Codes:
        return (_codes(codec.decode(codes, fmt, dtype=FLOATS[row])),)

    return Operation(name, (Words("code", fmt),), (Words("result", row),), compute, operands)


def _float_cases(fmt: Scalar, row: Minifloat) -> Callable[..., Codes]:
    def operands(kind: str, count: int, seed: int) -> Codes:
        return (_column(_codes(cases.floats(fmt, kind, FLOATS[row], count=count, seed=seed))),)

    return operands


# ---- functions of blocks ---------------------------------------------------------------------------------------------


def _quantize_block(
    name: str, fmt: Block, *, dtype: str, profile: str, scale: str | None, rounding: str | None
) -> Operation:
    row, tile = _float_row(name, dtype), fmt.tile
    if rounding is not None:
        _rounding(name, rounding)

    def compute(codes: Tensor) -> Codes:
        x = _floats(codes, row).view(-1, *tile)
        blocks = quantize(x, fmt, profile=profile, scale=scale, rounding=rounding)
        return _codes(blocks.scales).view(-1, 1), blocks.codes.reshape(codes.shape)

    def operands(kind: str, count: int, seed: int) -> Codes:
        return (_codes(cases.blocks(fmt, kind, FLOATS[row], count=count, seed=seed)).flatten(1),)

    words = _block_words(fmt)
    return Operation(name, (Words("x", row, prod(tile)),), words, compute, operands)


def _dequantize_block(name: str, fmt: Block, *, dtype: str) -> Operation:
    row, size = _float_row(name, dtype), prod(fmt.tile)

    def compute(scales: Tensor, elements: Tensor) -> Codes:
        return (_codes(dequantize(_blocks(scales, elements, fmt), FLOATS[row])).flatten(1),)

    def operands(kind: str, count: int, seed: int) -> Codes:
        """Elements of blocks as they come, under any scales."""
        _, elements = _quantized(cases.blocks(fmt, kind, torch.float32, count=count, seed=seed), fmt)
        scales = cases.patterns(fmt.scale, kind, count=count, seed=seed)
        return _column(scales[torch.arange(len(elements), device="cpu") % len(scales)]), elements

    return Operation(name, _block_words(fmt), (Words("result", row, size),), compute, operands)


def _block_dot(name: str, fmt: Block, *, contract: str, dtype: str, k: int) -> Operation:
    if fmt.tile[0] > 1:
        raise FormatError(
            f"{name} has no row to multiply: blocks of {fmt} have {fmt.tile[0]}. Allowed are formats of which a "
            "block is one. Choose one, or quantize and dequantize."
        )
    row, length = _float_row(name, dtype), k * prod(fmt.tile)

    def compute(a_scales: Tensor, a: Tensor, b_scales: Tensor, b: Tensor) -> Codes:
        sides = (_blocks(a_scales, a, fmt), _blocks(b_scales, b, fmt))
        return (_codes(mx_mm(*sides, contract=contract, out_dtype=FLOATS[row])).flatten(1),)

    def operands(kind: str, count: int, seed: int) -> Codes:
        """Edges are those of blocks; else terms that belong together are quantized."""
        if kind == "edges":
            x = cases.blocks(fmt, kind, torch.float32, count=2 * count * k, seed=seed)
            x = x[: len(x) // (2 * k) * 2 * k].view(2, -1, length)
        else:
            x = _floats(torch.stack(cases.dots(float32, kind, count=count, length=length, seed=seed)), float32)
        sides = (_quantized(side, fmt) for side in x)
        return tuple(codes.flatten(1) for side in sides for codes in side)

    words = (*_block_words(fmt, "a_", k), *_block_words(fmt, "b_", k))
    return Operation(name, words, (Words("result", row),), compute, operands)


def _blocks(scales: Tensor, elements: Tensor, fmt: Block) -> Blocks:
    """A tensor [cases, rows of a tile, elements] of the codes of one tile, or of blocks one behind the other."""
    count, blocks = scales.shape
    stored = _floats(scales, float32) if fmt.scale == float32 else scales.to(torch.uint8)
    codes = elements.to(stored_dtype(fmt)).view(count, fmt.tile[0], -1)
    return Blocks(packed(codes, -1, fmt), stored.view(count, 1, blocks), fmt, codes.shape)


def _quantized(x: Tensor, fmt: Block) -> tuple[Tensor, Tensor]:
    """Scales and elements of blocks [cases, elements], of one or more."""
    blocks = quantize(x.reshape(-1, *fmt.tile), fmt)
    return _codes(blocks.scales).view(len(x), -1), blocks.codes.to(torch.int64).view(len(x), -1)


def _block_words(fmt: Block, side: str = "", blocks: int = 1) -> tuple[Words, ...]:
    size = blocks * prod(fmt.tile)
    return Words(f"{side}scale", fmt.scale, blocks), Words(f"{side}elements", fmt.element, size)


# ---- sums of products ------------------------------------------------------------------------------------------------


def _quire_dot(name: str, fmt: Posit, *, k: int) -> Operation:
    def operands(kind: str, count: int, seed: int) -> Codes:
        return cases.dots(fmt, kind, count=count, length=k, seed=seed)

    words = (Words("a", fmt, k), Words("b", fmt, k))
    return Operation(name, words, (Words("result", fmt),), lambda a, b: (_column(quire_dot(a, b, fmt)),), operands)


def _gemm(name: str, fmt: Minifloat, *, contract: str, dtype: str | None, k: int, m: int = 1, n: int = 1) -> Operation:
    if fmt not in FLOATS:
        raise FormatError(f"{name} has no tensors to multiply. Choose one of {', '.join(map(str, FLOATS))}.")
    asked = None if dtype is None else FLOATS[_float_row(name, dtype, FLOATS)]

    def multiply(a: Tensor, b: Tensor) -> Tensor:
        return gemm(a.view(-1, m, k), b.view(-1, k, n), contract=contract, out_dtype=asked)

    def compute(a: Tensor, b: Tensor) -> Codes:
        return (_codes(multiply(_floats(a, fmt), _floats(b, fmt))).flatten(1),)

    def operands(kind: str, count: int, seed: int) -> Codes:
        # A row and a column that were made for each other meet on the diagonal.
        sides = cases.dots(fmt, kind, count=count * max(m, n), length=k, seed=seed)
        a, b = (side.view(count, max(m, n), k) for side in sides)
        return a[:, :m].flatten(1), b[:, :n].mT.flatten(1)

    nothing = torch.zeros(k * max(m, n), dtype=torch.float32, device="cpu").to(FLOATS[fmt])
    result = ROWS[multiply(nothing[: m * k], nothing[: k * n]).dtype]
    words = (Words("a", fmt, m * k), Words("b", fmt, k * n))
    return Operation(name, words, (Words("result", result, m * n),), compute, operands)


# ---- the table -------------------------------------------------------------------------------------------------------

POSITS: Mapping[Callable[..., Tensor], int] = {
    **dict.fromkeys((posit.add, posit.sub, posit.mul, posit.div), 2),
    **dict.fromkeys((posit.fma, posit.fmm), 3),
    **dict.fromkeys((posit.sqrt, posit.negate, posit.abs, posit.sign, posit.nearest_int), 1),
    **dict.fromkeys((posit.ceil, posit.floor, posit.next, posit.prior), 1),
}  #: functions -> how many operands they have
SCALARS: tuple[type[Scalar], ...] = (Posit, Minifloat, FixedPoint, DMF, Logarithmic, Codebook)
ROUNDED = {"dtype": "float32", "rounding": "nearest_even"}
BLOCKED = {"dtype": "float32", "profile": "ocp", "scale": None, "rounding": None}
SUMMED = {"contract": "chain/v1", "dtype": None, "k": 8}

FUNCTIONS = (
    *(
        Function(function.__name__, Posit, partial(_elementwise, function=function, arity=arity))
        for function, arity in POSITS.items()
    ),
    Function("convert", Posit, _convert, {"to": "posit16"}),
    Function("dot", Posit, _quire_dot, {"k": 8}),
    *(Function("encode", kind, _encode, ROUNDED) for kind in SCALARS),
    *(Function("decode", kind, _decode, {"dtype": "float64"}) for kind in SCALARS),
    *(Function("quantize", kind, _quantize, ROUNDED) for kind in SCALARS),
    Function("dot", Minifloat, _gemm, SUMMED),
    Function("gemm", Minifloat, _gemm, {**SUMMED, "m": 2, "n": 2}),
    Function("quantize", Block, _quantize_block, BLOCKED),
    Function("dequantize", Block, _dequantize_block, {"dtype": "float32"}),
    Function("dot", Block, _block_dot, {"contract": "exact/v1", "dtype": "float32", "k": 2}),
)


def find(name: str, fmt: str | None = None, **options: object) -> Operation:
    """The operation of a name, or of the name of a function and a format; options that are None are not given.

    >>> find("posit16_add").results, find("posit_add", "posit(16,1)").name
    ((Words(name='result', fmt=Posit(n=16, es=2), count=1),), 'posit(16,1)_add')

    Raises
    ------
    FormatError
        When no operation has the name, or no format.
    ContractError
        When the operation has no such option, or the option no such value.
    """
    function, row = _parts(name) if fmt is None else _given(name, fmt)
    full = f"{row}_{function.name}".replace(" ", "")
    given = {option: choice for option, choice in options.items() if choice is not None}
    for option, choice in given.items():
        if option not in function.options:
            has = f"It has {', '.join(map(_flag, function.options))}" if function.options else "It has no options"
            raise ContractError(f"{full} has no {_flag(option)}, got {choice!r}. {has}. Leave it out.")
    operation = function.operation(full, row, **{**function.options, **given})
    # One case of zeros: what the public function has against its arguments it says now, before any work.
    operation.right(tuple(torch.zeros(1, words.count, dtype=torch.int64, device="cpu") for words in operation.operands))
    return operation


def names() -> list[str]:
    """Of all functions of formats that have a name."""
    return [f"{fmt}_{row.name}" for fmt in named().values() for row in FUNCTIONS if isinstance(fmt, row.formats)]


def _parts(name: str) -> tuple[Function, Scalar | Block]:
    """The function and the format of an operation's name."""
    for row in FUNCTIONS:
        fmt = name.removesuffix(f"_{row.name}")
        if fmt != name and isinstance(parsed := _parsed(fmt), row.formats):
            return row, parsed
    functions = ", ".join(dict.fromkeys(row.name for row in FUNCTIONS))
    raise FormatError(
        f"No operation is named {name!r}.{_nearest(name, names())} Allowed are a format and a function, as in "
        f"posit16_add, with the functions {functions}; or a function with --format. Choose one."
    )


def _given(name: str, text: str) -> tuple[Function, Scalar | Block]:
    """The function of a name, and the format of another."""
    fmt = parse(text)
    rows = {row.name: row for row in FUNCTIONS if isinstance(fmt, row.formats)}
    function = name.removeprefix("posit_").removeprefix("mx_")
    if function not in rows:
        raise FormatError(
            f"{fmt} has no function {name!r}.{_nearest(function, rows)} Allowed are {', '.join(rows)}. Choose one."
        )
    return rows[function], fmt


def _parsed(text: str) -> Scalar | Block | None:
    """The format of a name; one that is spelled out has to exist."""
    return parse(text) if "(" in text or text in NAMES else None


def _nearest(name: str, known: Iterable[str]) -> str:
    """A question, if something is near."""
    near = difflib.get_close_matches(name, known, n=2)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _flag(option: str) -> str:
    return f"--{option}"


# ---- choices, and codes as tensors -----------------------------------------------------------------------------------


def _float_row(name: str, dtype: str, allowed: Iterable[Format] = FLOAT_ROWS.values()) -> Minifloat:
    """The row of a floating-point format by its name."""
    rows = {str(row): row for row in allowed if isinstance(row, Minifloat)}
    check_choice(name, "dtype", dtype, rows)
    return rows[dtype]


def _rounding(name: str, rounding: str) -> str:
    check_choice(name, "rounding", rounding, ROUNDINGS)
    return rounding


def _column(codes: Tensor) -> Tensor:
    """One code a case."""
    return codes.to(torch.int64).view(-1, 1)


def _floats(codes: Tensor, row: Format) -> Tensor:
    """Codes of a floating-point row as values."""
    integers = torch.uint8 if row.width == 8 else SIGNED[row.width]
    return codes.to(integers).contiguous().view(FLOATS[row])


def _codes(x: Tensor) -> Tensor:
    """Values as codes; those that are integers already stay."""
    integers = torch.uint8 if x.itemsize == 1 else SIGNED[x.itemsize * 8]
    return x.contiguous().view(integers).to(torch.int64)
