"""What is checked: which formats, with which operands. A plan is a list of jobs, each the same wherever it is run."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import (
    block_inputs,
    block_vectors,
    function_inputs,
    function_vectors,
    gemm_inputs,
    gemm_vectors,
    inputs,
    lab_inputs,
    vectors,
)
from .operations import BY_NAME, OPERATIONS, PAIRS, Op, Options, record
from .oracles import blocks, lab_rows
from .oracles.minifloat import FLOATS, Row

Array = NDArray[Any]


def _posits(*formats: tuple[int, int]) -> tuple[Options, ...]:
    return tuple({"n": n, "es": es} for n, es in formats)


#: every posit format of at most 8 bits with es up to 2, and the smallest ones with more exponent bits than fit
SMALL = _posits(*((n, es) for n in range(2, 9) for es in range(5) if es <= 2 or n <= 6))
SIXTEEN = _posits((16, 0), (16, 1), (16, 2))
WIDE = _posits((24, 2), (28, 2), (32, 2), (33, 2), (40, 1), (48, 3), (63, 0), (64, 2), (64, 4))

#: the named minifloats, each in what it does on overflow, and some that have no name
MINIFLOATS: tuple[Options, ...] = tuple(
    row._asdict()
    for row in (
        Row(2, 1, 1, "none"),
        Row(2, 3, 1, "none"),
        Row(3, 2, 3, "none"),
        Row(4, 3, 7, "fn"),
        Row(4, 3, 7, "fn", "nan"),
        Row(5, 2, 15),
        Row(5, 2, 15, "ieee", "inf"),
        Row(4, 3, 8, "fnuz"),
        Row(4, 3, 8, "fnuz", "nan"),
        Row(5, 2, 16, "fnuz"),
        Row(5, 2, 16, "fnuz", "nan"),
        Row(5, 10, 15, "ieee", "inf"),
        Row(8, 7, 127, "ieee", "inf"),
        Row(8, 10, 127, "ieee", "inf"),
        Row(8, 23, 127, "ieee", "inf"),
        Row(11, 52, 1023, "ieee", "inf"),
        Row(8, 0, 127, "fn", "saturate", False, False),
        Row(4, 3, 7, "ieee", "inf"),
        Row(3, 4, 3, "ieee", "inf"),
        Row(1, 2, 1, "none"),
        Row(5, 0, 15, "none"),
        Row(4, 3, 11, "fnuz", "nan"),
        Row(6, 9, 20, "fn"),
        Row(5, 10, 15, "ieee", "nan"),
    )
)


#: those in which elementary functions are asked for
FUNCTION_MINIFLOATS: tuple[Options, ...] = tuple(
    row._asdict()
    for row in (
        Row(2, 1, 1, "none"),
        Row(3, 2, 3, "none"),
        Row(4, 3, 7, "fn"),
        Row(4, 3, 7, "fn", "nan"),
        Row(5, 2, 15),
        Row(5, 2, 15, "ieee", "inf"),
        Row(4, 3, 8, "fnuz", "nan"),
        Row(5, 10, 15, "ieee", "inf"),
        Row(8, 7, 127, "ieee", "inf"),
        Row(8, 23, 127, "ieee", "inf"),
        Row(11, 52, 1023, "ieee", "inf"),
    )
)


@dataclass(frozen=True)
class Amount:
    """How much of what has no end."""

    samples: int  #: sets of operands for each function and format
    variant: int  #: the same for each combination where a function has many options, or each set many numbers
    every: bool  #: whether small formats are gone through completely
    terms: tuple[int, ...] = (0, 1, 5, 33)  #: of the sums in products of matrices of floats
    wide: int = 0  #: the same for each elementary function in (32,2), where that is more
    pairs: int = 0  #: the same for each one of two numbers in (16,1) and in (16,2)


#: beside the lengths at which blocks, chunks and slabs end, and kernels change their ways
LONG = tuple(n + i for n in (16, 32, 64, 128, 256, 385, 1024) for i in (-1, 0, 1))

FULL = Amount(samples=20_000, variant=2_000, every=True, terms=(*range(6), *LONG), wide=1_000_000, pairs=5_000_000)
QUICK = Amount(samples=300, variant=60, every=False)


SIDES = ("a_dtype", "b_dtype")  #: options that say what a product of floats is of


@dataclass(frozen=True)
class Job:
    """One row with one set of options: what a worker does at a time, and what is recorded."""

    op: Op
    options: Options
    formats: str  #: what the table says under format
    kind: str  #: samples, every or golden
    operands: Callable[[], tuple[Array, ...]]
    want: Array | None = None  #: the right results where they come with the operands, in golden vectors

    @property
    def choices(self) -> Options:
        """The options that are not the format."""
        # `signed` is both of a minifloat and of to_int.
        fields = next(
            (names for names in (("n", "es"), ("fmt", "b_fmt"), SIDES) if names[0] in self.options), Row._fields
        )
        return {name: value for name, value in self.options.items() if name not in fields}

    @property
    def id(self) -> str:
        """A name that is unique and says everything, without blanks: ``mul[posit(16,2)-every]``."""
        rest = [f"{name}={value}" for name, value in self.choices.items()]
        return f"{self.op.name}[{'-'.join([describe(self.options).replace(' ', '_'), *rest, self.kind])}]"


def describe(options: Options) -> str:
    """A format in words.

    >>> describe({"n": 16, "es": 1}), describe(Row(4, 3, 7, "fn")._asdict())
    ('posit(16,1)', 'e4m3 bias 7 fn saturate')
    >>> describe({"fmt": "mxfp4"}), describe({"fmt": "mxfp4", "b_fmt": "nvfp4"})
    ('mxfp4', 'mxfp4 by nvfp4')
    >>> describe({"a_dtype": "float32", "b_dtype": "float32"})
    'float32'
    """
    if "a_dtype" in options:
        return " by ".join(dict.fromkeys(options[name] for name in SIDES))
    if "fmt" in options:
        return " by ".join(options[name] for name in ("fmt", "b_fmt") if name in options)
    if "n" in options:
        return f"posit({options['n']},{options['es']})"
    row = Row(*(options[name] for name in Row._fields))
    return f"e{row.exponent}m{row.mantissa} bias {row.bias} {row.specials} {row.overflow}"


def jobs(amount: Amount, seed: int) -> Iterator[Job]:
    """All jobs, in the order of the table."""
    for op in OPERATIONS:
        yield from _samples(op)(op, amount, seed)
        if amount.every:
            yield from _every_block(op) if op.name in BLOCKS else _every(op)
    yield from golden()


def _samples(op: Op) -> Callable[[Op, Amount, int], Iterator[Job]]:
    if op.columns is not None:
        return _functions
    return _products if op.args.startswith("AB") else _sampled


def golden() -> Iterator[Job]:
    """The golden vectors."""
    files = (vectors.golden(), _golden_blocks(), gemm_vectors.golden(), function_vectors.golden())
    for i, g in enumerate(itertools.chain(*files)):
        # Some formats are in two files, and some options in several products.
        yield Job(BY_NAME[g.row], g.options, "as recorded", f"golden{i}", lambda g=g: g.operands, g.want)  # type: ignore[misc]


def _golden_blocks() -> Iterator[vectors.Golden]:
    """What peers were recorded to make of blocks, as far as a profile promises it."""
    for case in block_vectors.cases():
        if case.fmt not in blocks.FORMATS:
            continue
        fmt, width = blocks.FORMATS[case.fmt], FLOATS[case.dtype].width
        options: dict[str, Any] = {"fmt": case.fmt, "dtype": case.dtype}
        options |= {"profile": case.peer.profile, "rounding": case.peer.rounding}
        if fmt.scale == blocks.E8M0:
            options["scale"] = case.peer.scale
        if case.tensor_scale is not None:
            options["tensor_scale"] = float(np.uint32(case.tensor_scale).view(np.float32))
        row, promised = "mx_quantize", case.promised
        if case.values is not None:
            row, options["to_dtype"] = "mx_fake_quantize", case.values_dtype
            want = vectors.patterns(case.values, FLOATS[case.values_dtype].width)
        else:
            promised = promised & (case.promised_codes.all(1) | (case.scales == fmt.scale.nan))
            want = np.column_stack([case.scales, case.codes]).astype(np.int64)
        x = vectors.patterns(case.blocks >> (32 - width), width)  # what float32 makes longer are zeros
        yield vectors.Golden(row, options, (x[promised],), want[promised])


def _formats(op: Op) -> tuple[tuple[str, tuple[Options, ...]], ...]:
    if op.name.startswith(("scalar_", "block_")):
        named = lab_rows.BLOCKS if op.name.startswith("block_") else lab_rows.SCALARS
        return tuple((name.partition("(")[0], ({"fmt": name},)) for name in named)
    if op.name.startswith("mx_"):
        return tuple((name, ({"fmt": name},)) for name in blocks.FORMATS)
    if op.name.startswith("function"):
        return (("minifloats", FUNCTION_MINIFLOATS),)
    if op.name.startswith("minifloat"):
        writable = tuple(fmt for fmt in MINIFLOATS if fmt["subnormals"] or op.name == "minifloat_decode")
        return (("minifloats", writable),)
    return (("n <= 8", SMALL), ("n = 16", SIXTEEN), ("n >= 24", WIDE))


def _sampled(op: Op, amount: Amount, seed: int) -> Iterator[Job]:
    for formats, rows in _formats(op):
        for fmt in rows:
            variants = op.variants(fmt)
            size = amount.samples if len(variants) == 1 and set(op.args) <= set("p") else amount.variant
            for variant in variants:
                options = {**fmt, **variant}
                yield Job(op, options, f"{formats}, samples", "samples", _columns(op, options, size, seed))


def _width(options: Options) -> int:
    """Bits of a pattern or a code."""
    if "n" in options:
        return int(options["n"])
    return (lab_rows.SCALARS[options["fmt"]] if "fmt" in options else record(options)).width


PART = 1_000_000  #: sets of operands in one job, so that a run of many can be interrupted


def _functions(op: Op, amount: Amount, seed: int) -> Iterator[Job]:
    """Elementary functions: few where the oracle is slow, many where it is fast and there is no going through all."""
    for formats, rows in _formats(op):
        for fmt in rows:
            for variant in op.variants(fmt):
                options = {**fmt, **variant}
                size = _function_samples(op, options, amount)
                for part, start in enumerate(range(0, size, PART)):
                    count, kind = min(PART, size - start), f"samples-{part}" if size > PART else "samples"
                    operands = functools.partial(function_inputs.columns, op, options, count, seed + part)
                    yield Job(op, options, f"{formats}, samples", kind, operands)


def _function_samples(op: Op, options: Options, amount: Amount) -> int:
    """Much in the standard's formats of 32 and of 16 bits, less where everything else is written out."""
    fmt = options.get("n"), options.get("es")
    if fmt in ((16, 1), (16, 2)) and op.args == "pp":
        return max(amount.samples, amount.pairs)
    if fmt == (32, 2) or (fmt == (16, 2) and op.args == "pi"):
        return max(amount.samples, amount.wide)
    width = _width(options)
    return amount.samples if 8 < width <= 32 else amount.variant


def _products(op: Op, amount: Amount, seed: int) -> Iterator[Job]:
    """Sums of every length, which is not among the options: a target sees it."""
    pairs = (dict(zip(SIDES, pair, strict=True)) for pair in PAIRS)
    rows = [{**pair, **variant} for pair in pairs for variant in op.variants(pair)]
    for i, options in enumerate(rows):
        first = i % len(amount.terms)  # so that jobs a few apart differ in both
        for terms in (*amount.terms[first:], *amount.terms[:first]):
            operands = functools.partial(gemm_inputs.columns, op, options, terms, amount.variant, seed)
            yield Job(op, options, f"{describe(options)}, samples", f"samples-K={terms}", operands)


def _columns(op: Op, options: Options, size: int, seed: int) -> Callable[[], tuple[Array, ...]]:
    return lambda: inputs.columns(op, options, size, seed)


def _every(op: Op) -> Iterator[Job]:
    """All patterns and codes up to 16 bits for one operand, all pairs up to 8 bits, all triples up to 4."""
    if set(op.args) not in ({"p"}, {"c"}, {"e"}):
        return
    limit, what = {1: (16, "every pattern"), 2: (8, "every pair"), 3: (4, "every triple")}[len(op.args)]
    for formats, rows in _formats(op):
        for fmt in rows:
            width = _width(fmt)
            if width > limit:
                continue
            label = f"n <= {limit}" if len(op.args) == 3 else formats
            for variant in op.variants(fmt):
                operands = _all(width, len(op.args))
                yield Job(op, {**fmt, **variant}, f"{label}, {what}", "every", operands)


#: row of blocks -> what is gone through completely, and the operands
BLOCKS: dict[str, tuple[str, Callable[[Options], tuple[Array, ...]]]] = {
    "mx_quantize": ("edges of every binade", block_inputs.every_edge),
    "mx_dequantize": ("every code and scale", block_inputs.every_code),
    "block_quantize": ("edges of every binade", lab_inputs.every_power),
}


def _every_block(op: Op) -> Iterator[Job]:
    """All codes under all scales; all largest magnitudes of float32 at which scale rules change, by every rule."""
    what, make = BLOCKS[op.name]
    for formats, (fmt,) in _formats(op):
        for variant in op.variants(fmt):
            if "rounding" not in variant or _is_the_first_of_its_rule(variant):
                options = {**fmt, **variant}
                yield Job(op, options, f"{formats}, {what}", "every", functools.partial(make, options))


def _is_the_first_of_its_rule(variant: Options) -> bool:
    if "profile" not in variant:
        return bool(variant["rounding"] == "nearest_even")
    return variant["dtype"] == "float32" and variant["rounding"] == blocks.PROFILES[variant["profile"]].rounding


def _all(width: int, count: int) -> Callable[[], tuple[Array, ...]]:
    return lambda: inputs.grid((inputs.every(width),) * count)
