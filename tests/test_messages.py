"""The words of every error at the public boundary: what failed, what was got, what is allowed, what to do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import refnum
from refnum import Minifloat, Posit, Quire, errors, functions, posit
from refnum.errors import (
    BackendError,
    ContractError,
    DTypeError,
    FormatError,
    RefnumError,
    ShapeError,
    UncoveredError,
)
from refnum.formats import e2m1, e4m3, e8m0, parse, posit8, posit16, posit32, posit64

X = torch.zeros(3)
P = torch.zeros(3, dtype=torch.int16)
META = torch.zeros(3, dtype=torch.int16, device="meta")
NARROW = torch.zeros(3, dtype=torch.int8)
SCALE_ONLY = Minifloat(4, 3, specials="fn", subnormals=False)
MANY = torch.zeros(1, dtype=torch.int8).expand(1 << 31)  # 2**31 elements in one byte

FLOATS = "float16, bfloat16, float32 and float64"
PATTERNS = "Allowed are int16, int32, int64."
RECORD = "Pass Posit(n, es)"
BROADCASTING = "equal or 1, from the last one on"

#: the words with which a message says what to do
DO = set("Choose Convert Correct Leave Make Move Pad Pass Reshape Round Split Transpose Use".split())


class Row(NamedTuple):
    """A call that is refused, and what the message says."""

    of: str  #: the public name whose documentation tells of the error
    error: type[RefnumError]
    call: Callable[[], object]
    parts: str  #: what failed | what was got | what is allowed | what to do


def _whole(name: str, value: object, low: int, high: int, call: Callable[[], object], owner: str = "Posit") -> Row:
    """A field of a format that takes an int of a range."""
    parts = f"{owner} has no {name} | ={value!r} | {name} is an int from {low} to {high} | Choose {name} in that range."
    return Row(owner, FormatError, call, parts)


# fmt: off
FORMATS = (
    _whole("n", 1, 2, 64, lambda: Posit(1)),
    _whole("n", 65, 2, 64, lambda: Posit(65)),
    _whole("n", 2.5, 2, 64, lambda: Posit(2.5)),
    _whole("n", 16.0, 2, 64, lambda: Posit(16.0)),
    _whole("n", True, 2, 64, lambda: Posit(True)),
    _whole("n", "16", 2, 64, lambda: Posit("16")),
    _whole("n", None, 2, 64, lambda: Posit(None)),
    _whole("es", 5, 0, 4, lambda: Posit(16, 5)),
    _whole("es", -1, 0, 4, lambda: Posit(16, -1)),
    _whole("es", False, 0, 4, lambda: Posit(16, False)),
    _whole("es", "2", 0, 4, lambda: Posit(16, "2")),
    _whole("n", 70, 2, 64, lambda: parse("posit(70,2)")),
    _whole("exponent", 0, 1, 11, lambda: Minifloat(0, 3), "Minifloat"),
    _whole("exponent", 12, 1, 11, lambda: Minifloat(12, 3), "Minifloat"),
    _whole("mantissa", -1, 0, 52, lambda: Minifloat(4, -1), "Minifloat"),
    _whole("mantissa", 53, 0, 52, lambda: Minifloat(8, 53), "Minifloat"),
    _whole("bias", 1.5, -1100, 1100, lambda: Minifloat(4, 3, bias=1.5), "Minifloat"),
    Row("Minifloat", FormatError, lambda: Minifloat(4, 3, specials="ocp"),
        "Minifloat has no specials | 'ocp' | none, fn, ieee, fnuz | Choose one of"),
    Row("Minifloat", FormatError, lambda: Minifloat(4, 3, overflow="wrap"),
        "Minifloat has no overflow | 'wrap' | saturate, inf, nan | Choose one of"),
    Row("Minifloat", FormatError, lambda: Minifloat(4, 3, specials="fn", overflow="inf"),
        "cannot overflow to 'inf' | specials='fn', which has no Inf code | specials='ieee' | "
        "Choose overflow='saturate' or 'nan'"),
    Row("Minifloat", FormatError, lambda: Minifloat(2, 1, specials="none", overflow="nan"),
        "cannot overflow to 'nan' | specials='none' | has no NaN code | Choose overflow='saturate'."),
    Row("Minifloat", FormatError, lambda: Minifloat(4, 0),
        "Minifloat has no NaN code | specials='ieee' and mantissa=0 | 'fn' or 'none' | Choose specials="),
    Row("Minifloat", FormatError, lambda: Minifloat(4, 3, specials="fnuz", signed=False),
        "Minifloat with specials='fnuz' | its NaN is the pattern of -0 | needs signed=True | Choose other specials."),
    Row("formats.parse", FormatError, lambda: parse("posit17"),
        "No format is named | 'posit17' | posit8, posit16 | or posit(n,es)"),
    Row("formats.parse", FormatError, lambda: parse(16),
        "No format is named | 16 | posit8, posit16 | or posit(n,es)"),
)

VALUES = (
    Row("encode", FormatError, lambda: refnum.encode(X, "posit16"),
        "encode needs a format record | got 'posit16' | refnum.formats.named() | Pass Posit(n, es)"),
    Row("encode", FormatError, lambda: refnum.encode(X, 16),
        "encode needs a format record | got 16 | refnum.formats.named() | Pass Posit(n, es)"),
    Row("encode", FormatError, lambda: refnum.encode(X, Posit),
        "encode needs a format record | got <class | refnum.formats.named() | Pass Posit(n, es)"),
    Row("encode", DTypeError, lambda: refnum.encode(P, posit16),
        "encode needs floating-point values for x | got torch.int16 | "
        "float16, bfloat16, float32 and float64 | Convert the tensor"),
    Row("encode", DTypeError, lambda: refnum.encode(X.to(torch.complex64), posit16),
        "encode needs floating-point values for x | got torch.complex64 | "
        "float16, bfloat16, float32 and float64 | Convert the tensor"),
    Row("encode", DTypeError, lambda: refnum.encode(X.bool(), posit16),
        "encode needs floating-point values for x | got torch.bool | "
        "float16, bfloat16, float32 and float64 | Convert the tensor"),
    Row("encode", DTypeError, lambda: refnum.encode(X.to(torch.float8_e4m3fn), posit16),
        "encode needs floating-point values for x | got torch.float8_e4m3fn | "
        "float16, bfloat16, float32 and float64 | Convert the tensor"),
    Row("encode", DTypeError, lambda: refnum.encode([1.0], posit16),
        "encode needs | got list | a tensor for x | Use torch.as_tensor first."),
    Row("encode", DTypeError, lambda: refnum.encode(1.0, posit16),
        "encode needs | got float | a tensor for x | Use torch.as_tensor first."),
    Row("encode", DTypeError, lambda: refnum.encode(X.to_sparse(), posit16),
        "encode needs | got layout torch.sparse_coo | a dense tensor for x | Use x.to_dense() first."),
    Row("encode", FormatError, lambda: refnum.encode(X, e8m0),
        "encode cannot write | e8m0 | a scale format that is only decoded | "
        "Use refnum.decode for its codes (byte b is 2**(b - 127))."),
    Row("encode", FormatError, lambda: refnum.encode(X, SCALE_ONLY),
        "encode cannot write | subnormals=False | only decoded | Use refnum.decode for its codes."),
    Row("encode", ContractError, lambda: refnum.encode(X, posit16, rounding="rne"),
        "encode has no rounding | 'rne' | nearest_even, nearest_away, toward_zero, toward_positive, toward_negative, "
        "to_odd, stochastic | Choose one of"),
    Row("encode", ContractError, lambda: refnum.encode(X, posit16, rounding=None),
        "encode has no rounding | =None | nearest_even | Choose one of"),
    Row("encode", ContractError, lambda: refnum.encode(X, posit16, rounding=["rne"]),
        "encode has no rounding | ['rne'] | nearest_even | Choose one of"),
    Row("encode", ContractError, lambda: refnum.encode(X, posit16, rounding="stochastic"),
        "encode with rounding='stochastic' needs random_bits | got None | the low 16 bits are read | "
        "Pass torch.randint"),
    Row("encode", ContractError, lambda: refnum.encode(X, posit16, rounding="stochastic", random_bits=X),
        "encode with rounding='stochastic' needs random_bits | got torch.float32 | integers | Pass torch.randint"),
    Row("encode", ContractError, lambda: refnum.encode(X, posit16, rounding="stochastic", random_bits=7),
        "encode with rounding='stochastic' needs random_bits | got 7 | integers | Pass torch.randint"),
    Row("encode", ContractError, lambda: refnum.encode(X, posit16, random_bits=P),
        "encode takes random_bits | got rounding='nearest_even' | only with rounding='stochastic' | Leave them out."),
    Row("encode", ShapeError, lambda: refnum.encode(X, posit16, rounding="stochastic", random_bits=P[:2]),
        "encode cannot broadcast | x (3,), random_bits (2,) | equal or 1, from the last one on | Reshape them."),
    Row("encode", ShapeError, lambda: refnum.encode(X, posit16, rounding="stochastic", random_bits=P.new_zeros(2, 3)),
        "encode | random_bits | (2, 3) | Reshape"),
    Row("encode", DTypeError, lambda: refnum.encode(X, posit16, rounding="stochastic", random_bits=META),
        "encode needs its tensors | x on cpu, random_bits on meta | on one device | Move them together."),
    Row("decode", FormatError, lambda: refnum.decode(P, "posit16"),
        "decode needs a format record | got 'posit16' | refnum.formats.named() | Pass Posit(n, es)"),
    Row("decode", DTypeError, lambda: refnum.decode(X, posit16),
        "decode needs posit16 patterns for bits | got torch.float32 | Allowed are int16, int32, int64. | "
        "Use refnum.encode"),
    Row("decode", DTypeError, lambda: refnum.decode(NARROW, posit16),
        "decode needs posit16 patterns for bits | got torch.int8 | Allowed are int16, int32, int64. | "
        "Use refnum.encode"),
    Row("decode", DTypeError, lambda: refnum.decode(NARROW.view(torch.uint8), posit8),
        "decode needs posit8 patterns for bits | got torch.uint8 | Allowed are int8, int16, int32, int64. | "
        "Use refnum.encode"),
    Row("decode", DTypeError, lambda: refnum.decode(P.to(torch.uint16), posit16),
        "decode needs posit16 patterns for bits | got torch.uint16 | Allowed are int16, int32, int64. | "
        "Use refnum.encode"),
    Row("decode", DTypeError, lambda: refnum.decode(P.bool(), e4m3),
        "decode needs e4m3 patterns for bits | got torch.bool | "
        "Allowed are uint8, int8, int16, int32, int64. | Use refnum.encode"),
    Row("decode", DTypeError, lambda: refnum.decode(P.to_sparse(), posit16),
        "decode needs | got layout torch.sparse_coo | a dense tensor for bits | Use bits.to_dense() first."),
    Row("decode", FormatError, lambda: refnum.decode(P, posit16, dtype=torch.float16),
        "decode cannot return posit16 as float16 | 12 significant bits, scales up to 2**56 | "
        "must hold every value exactly | Use dtype=torch.float32."),
    Row("decode", FormatError, lambda: refnum.decode(P.int(), posit32, dtype=torch.float32),
        "decode cannot return posit32 as float32 | 28 significant bits | must hold every value exactly | "
        "Use dtype=torch.float64."),
    Row("decode", FormatError, lambda: refnum.decode(P.long(), posit64),
        "decode cannot return posit64 as float64 | 60 significant bits, scales up to 2**248 | "
        "No dtype does | refnum.posit.to_float rounds once, to_decimal is exact."),
    Row("decode", DTypeError, lambda: refnum.decode(P, posit16, dtype=torch.int32),
        "decode cannot return | torch.int32 | float16, bfloat16, float32 and float64 | Choose one"),
    Row("decode", DTypeError, lambda: refnum.decode(P, posit16, dtype="float32"),
        "decode cannot return | float32 | float16, bfloat16, float32 and float64 | Choose one"),
    Row("quantize", FormatError, lambda: refnum.quantize(X, None),
        "quantize needs a format record | got None | refnum.formats.named() | Pass Posit(n, es)"),
    Row("quantize", DTypeError, lambda: refnum.quantize(P, posit16),
        "quantize needs floating-point values for x | got torch.int16 | "
        "float16, bfloat16, float32 and float64 | Convert the tensor"),
    Row("quantize", FormatError, lambda: refnum.quantize(X.half(), posit16),
        "quantize cannot round float16 to posit16 | some results | do not fit the dtype | "
        "Convert the tensor to torch.float32 first."),
    Row("quantize", FormatError, lambda: refnum.quantize(X, Posit(20, 3)),
        "quantize cannot round float32 to posit(20,3) | some results | do not fit the dtype | "
        "Convert the tensor to torch.float64 first."),
    Row("quantize", FormatError, lambda: refnum.quantize(X, e8m0),
        "quantize cannot write | e8m0 | only decoded | Use refnum.decode"),
    Row("quantize", ContractError, lambda: refnum.quantize(X, posit16, grad="ste"),
        "quantize has no grad | 'ste' | identity, clipped | Choose one of"),
    Row("quantize", ContractError, lambda: refnum.quantize(X, posit16, rounding="away"),
        "quantize has no rounding | 'away' | nearest_away | Choose one of"),
    Row("quantize", ContractError, lambda: refnum.quantize(X, posit16, rounding="stochastic"),
        "quantize with rounding='stochastic' needs random_bits | got None | the low 16 bits are read | "
        "Pass torch.randint"),
)

PATTERN_FUNCTIONS = (
    Row("posit.add", FormatError, lambda: posit.add(P, P, "posit16"),
        "posit.add needs a posit format | got 'posit16' | Pass Posit(n, es) | Pass Posit(n, es)"),
    Row("posit.add", FormatError, lambda: posit.add(P, P, e4m3),
        "posit.add needs a posit format | e | Pass Posit(n, es) | Pass Posit(n, es)"),
    Row("posit.add", DTypeError, lambda: posit.add(P, X, posit16),
        "posit.add needs posit16 patterns for b | got torch.float32 | Allowed are int16, int32, int64. | "
        "Use refnum.encode"),
    Row("posit.add", DTypeError, lambda: posit.add([1], P, posit16),
        "posit.add needs | got list | a tensor for a | Use torch.as_tensor first."),
    Row("posit.add", ShapeError, lambda: posit.add(P, P[:2], posit16),
        "posit.add cannot broadcast | a (3,), b (2,) | equal or 1, from the last one on | Reshape them."),
    Row("posit.add", DTypeError, lambda: posit.add(P, META, posit16),
        "posit.add needs its tensors | a on cpu, b on meta | on one device | Move them together."),
    Row("posit.fma", ShapeError, lambda: posit.fma(P, P, P.new_zeros(2, 2), posit16),
        "posit.fma cannot broadcast | a (3,), b (3,), c (2, 2) | equal or 1, from the last one on | Reshape them."),
    Row("posit.exp", FormatError, lambda: posit.exp(P, e4m3),
        "posit.exp needs a posit format | e | Pass Posit(n, es) | Pass Posit(n, es)"),
    Row("posit.exp", DTypeError, lambda: posit.exp(X, posit16),
        "posit.exp needs posit16 patterns for a | got torch.float32 | Allowed are int16, int32, int64. | "
        "Use refnum.encode"),
    Row("posit.arc_tan2", ShapeError, lambda: posit.arc_tan2(P, P[:2], posit16),
        "posit.arc_tan2 cannot broadcast | a (3,), b (2,) | equal or 1, from the last one on | Reshape them."),
    Row("posit.pow", DTypeError, lambda: posit.pow(P, META, posit16),
        "posit.pow needs its tensors | a on cpu, b on meta | on one device | Move them together."),
    Row("posit.compound", DTypeError, lambda: posit.compound(P, 2.0, posit16),
        "posit.compound needs integers for k | got float | uint8, int8, int16, int32, int64 and Python ints | "
        "Convert them first."),
    Row("posit.compound", DTypeError, lambda: posit.compound(P, True, posit16),
        "posit.compound needs integers for k | got bool | uint8, int8, int16, int32, int64 and Python ints | "
        "Convert them first."),
    Row("posit.compound", DTypeError, lambda: posit.compound(P, P.to_sparse(), posit16),
        "posit.compound needs | got layout torch.sparse_coo | a dense tensor for k | Use k.to_dense() first."),
    Row("posit.compound", ContractError, lambda: posit.compound(P, 1 << 63, posit16),
        "posit.compound has no k | =9223372036854775808 | an int from -2**63 to 2**63 - 1 | Choose k in that range."),
    Row("posit.root_n", DTypeError, lambda: posit.root_n(P, X, posit16),
        "posit.root_n needs integers for k | got torch.float32 | uint8, int8, int16, int32, int64 and Python ints | "
        "Convert them first."),
    Row("posit.root_n", DTypeError, lambda: posit.root_n(P, META, posit16),
        "posit.root_n needs its tensors | a on cpu, k on meta | on one device | Move them together."),
    Row("posit.root_n", ShapeError, lambda: posit.root_n(P, P[:2], posit16),
        "posit.root_n cannot broadcast | a (3,), k (2,) | equal or 1, from the last one on | Reshape them."),
    Row("posit.convert", FormatError, lambda: posit.convert(P, posit16, 8),
        "posit.convert needs a posit format | got 8 | Pass Posit(n, es) | Pass Posit(n, es)"),
    Row("posit.convert", FormatError, lambda: posit.convert(P, e2m1, posit8),
        "posit.convert needs a posit format | e | Pass Posit(n, es) | Pass Posit(n, es)"),
    Row("posit.convert", DTypeError, lambda: posit.convert(NARROW, posit16, posit8),
        "posit.convert needs posit16 patterns for bits | got torch.int8 | Allowed are int16, int32, int64. | "
        "Use refnum.encode"),
    Row("posit.to_float", DTypeError, lambda: posit.to_float(P, posit16, torch.int32),
        "posit.to_float cannot return | torch.int32 | float16, bfloat16, float32 and float64 | Choose one"),
    Row("posit.to_int", ContractError, lambda: posit.to_int(P, posit16, 24),
        "posit.to_int has no width | =24 | 8, 16, 32, 64 | Choose one of"),
    Row("posit.to_int", ContractError, lambda: posit.to_int(P, posit16, 8.0),
        "posit.to_int has no width | =8.0 | 8, 16, 32, 64 | Choose one of"),
    Row("posit.to_int", ContractError, lambda: posit.to_int(P, posit16, signed="no"),
        "posit.to_int has no signed | ='no' | True, False | Choose one of"),
    Row("posit.from_int", DTypeError, lambda: posit.from_int(X, posit16),
        "posit.from_int needs integers for i | got torch.float32 | "
        "uint8, int8, int16, int32, int64 and Python ints | Use refnum.encode"),
    Row("posit.from_int", DTypeError, lambda: posit.from_int(P.bool(), posit16),
        "posit.from_int needs integers for i | got torch.bool | "
        "uint8, int8, int16, int32, int64 and Python ints | Use refnum.encode"),
    Row("posit.from_int", DTypeError, lambda: posit.from_int(True, posit16),
        "posit.from_int needs | got bool | for i | Use"),
    Row("posit.from_int", DTypeError, lambda: posit.from_int("3", posit16),
        "posit.from_int needs | got str | for i | Use"),
    Row("posit.from_int", FormatError, lambda: posit.from_int(3, "posit16"),
        "posit.from_int needs a posit format | got 'posit16' | Pass Posit(n, es) | Pass Posit(n, es)"),
    Row("posit.from_int", ContractError, lambda: posit.from_int(P, posit16, "no"),
        "posit.from_int has no sentinel | ='no' | True, False | Choose one of"),
    Row("posit.to_decimal", DTypeError, lambda: posit.to_decimal(META, posit16),
        "posit.to_decimal reads the values of bits | a meta tensor has none | values | Pass a tensor with data."),
    Row("posit.to_decimal", DTypeError, lambda: posit.to_decimal(X, posit16),
        "posit.to_decimal needs posit16 patterns for bits | got torch.float32 | "
        "Allowed are int16, int32, int64. | Use refnum.encode"),
    Row("posit.from_decimal", FormatError, lambda: posit.from_decimal("1,5", posit16),
        "posit.from_decimal cannot read | '1,5' | "
        "a sign, up to 4,000 digits with a point, an exponent e+-N, and NaR | Correct"),
    Row("posit.from_decimal", FormatError, lambda: posit.from_decimal(["1", ""], posit16),
        "posit.from_decimal cannot read | '' | up to 4,000 digits | Correct"),
    Row("posit.from_decimal", FormatError, lambda: posit.from_decimal(".", posit16),
        "posit.from_decimal cannot read | '.' | up to 4,000 digits | Correct"),
    Row("posit.from_decimal", FormatError, lambda: posit.from_decimal("0x10", posit16),
        "posit.from_decimal cannot read | '0x10' | up to 4,000 digits | Correct"),
    Row("posit.from_decimal", FormatError, lambda: posit.from_decimal("1/3", posit16),
        "posit.from_decimal cannot read | '1/3' | up to 4,000 digits | Correct"),
    Row("posit.from_decimal", FormatError, lambda: posit.from_decimal("1" * 4001, posit16),
        "posit.from_decimal cannot read | '1111 | up to 4,000 digits | Correct"),
    Row("posit.from_decimal", FormatError, lambda: posit.from_decimal(["1", ["2"]], posit16),
        "posit.from_decimal needs | got a ragged nesting | lists of equal lengths | Pad or flatten it."),
    Row("posit.from_decimal", FormatError, lambda: posit.from_decimal([["1"], ["2", "3"]], posit16),
        "posit.from_decimal needs | got a ragged nesting | lists of equal lengths | Pad or flatten it."),
    Row("posit.from_decimal", DTypeError, lambda: posit.from_decimal(1.5, posit16),
        "posit.from_decimal needs text | got float | a str and nested lists of str | Use refnum.encode for numbers."),
    Row("posit.from_decimal", DTypeError, lambda: posit.from_decimal(["1", 2], posit16),
        "posit.from_decimal needs text | got int | a str and nested lists of str | Use refnum.encode for numbers."),
)

GRADED = torch.zeros(3, requires_grad=True)

FUNCTIONS = (
    Row("functions.exp", FormatError, lambda: functions.exp(X, "bfloat16"),
        "functions.exp needs a format record | got 'bfloat16' | refnum.formats.named() | Pass Posit(n, es)"),
    Row("functions.exp", FormatError, lambda: functions.exp(X, refnum.mxfp4),
        "functions.exp needs a format of single values | got mxfp4 | a Posit or a Minifloat | Pass a Posit"),
    Row("functions.exp", FormatError, lambda: functions.exp(X, e8m0),
        "functions.exp cannot write | e8m0 | only decoded | Use refnum.decode"),
    Row("functions.exp", FormatError, lambda: functions.exp(X, posit32),
        "functions.exp cannot return posit32 as float32 | 28 significant bits | must hold every value exactly | "
        "Convert x to torch.float64 first."),
    Row("functions.exp", DTypeError, lambda: functions.exp(NARROW, posit16),
        "functions.exp needs posit16 patterns for x | got torch.int8 | Allowed are int16, int32, int64. | "
        "Use refnum.encode"),
    Row("functions.exp", DTypeError, lambda: functions.exp(1.0, posit16),
        "functions.exp needs | got float | a tensor for x | Use torch.as_tensor first."),
    Row("functions.exp", DTypeError, lambda: functions.exp(X.to(torch.float8_e4m3fn), e4m3),
        "functions.exp needs floating-point values for x | got torch.float8_e4m3fn | "
        "float16, bfloat16, float32 and float64 | Convert the tensor"),
    Row("functions.exp", UncoveredError, lambda: functions.exp(GRADED, posit16),
        "functions.exp | got a tensor that requires grad for x: no gradient is defined here | "
        "Allowed are tensors that do not. | Use x.detach()."),
    Row("functions.hypot", DTypeError, lambda: functions.hypot(X, P, posit16),
        "functions.hypot needs | got x torch.float32, y torch.int16 | floats of one dtype, or codes throughout | "
        "Convert them."),
    Row("functions.hypot", DTypeError, lambda: functions.hypot(X, X.double(), posit16),
        "functions.hypot needs | got x torch.float32, y torch.float64 | floats of one dtype | Convert them."),
    Row("functions.atan2", ShapeError, lambda: functions.atan2(X, X[:2], posit16),
        "functions.atan2 cannot broadcast | y (3,), x (2,) | equal or 1, from the last one on | Reshape them."),
    Row("functions.atan2", DTypeError, lambda: functions.atan2(P, META, posit16),
        "functions.atan2 needs its tensors | y on cpu, x on meta | on one device | Move them together."),
    Row("functions.rootn", DTypeError, lambda: functions.rootn(X, 2.0, posit16),
        "functions.rootn needs integers for k | got float | uint8, int8, int16, int32, int64 and Python ints | "
        "Convert them first."),
    Row("functions.compoundn", ContractError, lambda: functions.compoundn(X, -(1 << 63) - 1, posit16),
        "functions.compoundn has no k | =-9223372036854775809 | an int from -2**63 to 2**63 - 1 | "
        "Choose k in that range."),
    Row("functions.gelu", ContractError, lambda: functions.gelu(X, posit16, approximate="erf"),
        "functions.gelu has no approximate | 'erf' | none, tanh | Choose one of"),
)

SUMS = (
    Row("Quire", ShapeError, lambda: Quire.from_bytes(torch.zeros(3, 4, dtype=torch.uint8), refnum.posit8),
        "Quire.from_bytes needs | got torch.uint8 of shape (3, 4) | 16 bytes a quire of posit8 | Reshape or convert"),
    Row("Quire", ContractError, lambda: Quire(posit16).to_bytes("middle"),
        "Quire.to_bytes has no order | 'middle' | big, little | Choose one of"),
    Row("posit_mm", FormatError, lambda: refnum.posit_mm(X[None], X[:, None], e4m3),
        "posit_mm needs a posit format | e | Pass Posit(n, es) | Pass Posit(n, es)"),
    Row("posit_mm", ContractError, lambda: refnum.posit_mm(X[None], X[:, None], posit16, mode="exact"),
        "posit_mm has no mode | 'exact' | quire | Choose one of"),
    Row("posit_mm", FormatError, lambda: refnum.posit_mm(X[None], X[:, None], posit64, mode="posit"),
        "posit_mm cannot run | posit64 in mode posit | n up to 32 and es up to 3 | Use mode='quire'."),
    Row("posit_mm", FormatError, lambda: refnum.posit_mm(X[None], X[:, None], Posit(29), mode="products"),
        "posit_mm cannot run | posit(29,2) in mode products | float32 holds exactly | Use mode='quire'."),
    Row("posit_mm", FormatError, lambda: refnum.posit_mm(X[None], X[:, None], Posit(8, 1), mode="cuposit"),
        "posit_mm cannot run | posit(8,1) in mode cuposit | es = 2 and n from 4 to 28 | Use mode='quire'."),
    Row("posit_mm", DTypeError, lambda: refnum.posit_mm(P[None], P[:, None], posit16, mode="cuposit"),
        "posit_mm needs | got torch.int16 | float32 operands in mode cuposit | Convert them"),
    Row("posit_mm", DTypeError,
        lambda: refnum.posit_mm(X[None], X[:, None], posit16, mode="products", c=X[:1].double()),
        "posit_mm adds c in float32 | got torch.float64 | Allowed is float32 | Convert c"),
    Row("posit_mm", DTypeError,
        lambda: refnum.posit_mm(X[None], X[:, None], posit16, mode="products", out_dtype=torch.float64),
        "posit_mm cannot return | torch.float64 in mode products | Allowed is float32 | Leave out_dtype out"),
    Row("posit_mm", ContractError, lambda: refnum.posit_mm(X[None], X[:, None], posit16, alpha=2.0),
        "posit_mm takes alpha, beta and k_pad only | alpha=2.0, beta=0.0, k_pad=8 in mode quire | in mode cuposit | "
        "Leave them out"),
    Row("posit_mm", ContractError, lambda: refnum.posit_mm(X[None], X[:, None], posit16, mode="cuposit", beta=1e39),
        "posit_mm has no beta | 1e+39 | numbers that are finite as float32 | Choose one of those."),
    Row("posit_mm", ContractError, lambda: refnum.posit_mm(X[None], X[:, None], posit16, mode="cuposit", k_pad=4),
        "posit_mm has no k_pad | 4 | 8, None | Choose one of"),
    Row("posit_mm", ContractError, lambda: refnum.posit_mm(X[None], X[:, None], posit16, grad="ste"),
        "posit_mm has no grad | 'ste' | rounded, raw | Choose one of"),
    Row("posit_mm", ShapeError, lambda: refnum.posit_mm(torch.zeros(2, 3), torch.zeros(4, 2), posit16),
        "posit_mm cannot multiply | (2, 3) by (4, 2): a has 3 columns and b 4 rows | must be equal | "
        "Transpose or reshape one."),
    Row("posit_mm", ShapeError, lambda: refnum.posit_mm(torch.zeros(3), torch.zeros(4), posit16),
        "posit_mm cannot multiply | (3,) by (4,) | must be equal | Transpose or reshape one."),
    Row("posit_mm", ShapeError, lambda: refnum.posit_mm(torch.zeros(2, 2, 3), torch.zeros(3, 3, 2), posit16),
        "posit_mm cannot broadcast | a (2,), b (3,) | equal or 1, from the last one on | Reshape them."),
    Row("posit_mm", ShapeError, lambda: refnum.posit_mm(X[0], X, posit16),
        "posit_mm needs | got a 0-d tensor | at least one axis on each side | Use posit.mul"),
    Row("posit_mm", DTypeError, lambda: refnum.posit_mm(X[None], P[:, None], posit16),
        "posit_mm needs | got a torch.float32, b torch.int16 | floats of one dtype, or patterns throughout | "
        "Convert them."),
    Row("posit_mm", DTypeError, lambda: refnum.posit_mm(X[None], X[:, None].double(), posit16),
        "posit_mm needs | got a torch.float32, b torch.float64 | floats of one dtype | Convert them."),
    Row("posit_mm", DTypeError, lambda: refnum.posit_mm(X[None], X[:, None], posit16, c=P),
        "posit_mm needs | c torch.int16 | floats of one dtype, or patterns throughout | Convert them."),
    Row("posit_mm", DTypeError, lambda: refnum.posit_mm(P[None], P[:, None], posit16, c=X),
        "posit_mm needs | c torch.float32 | floats of one dtype, or patterns throughout | Convert them."),
    Row("posit_mm", DTypeError, lambda: refnum.posit_mm(P[None].bool(), P[:, None].bool(), posit16),
        "posit_mm needs posit16 patterns for a | got torch.bool | Allowed are int16, int32, int64. | "
        "Use refnum.encode"),
    Row("posit_mm", ShapeError, lambda: refnum.posit_mm(X[None], X[:, None], posit16, c=torch.zeros(2, 2)),
        "posit_mm cannot add c | of shape (2, 2) | a result of shape (1, 1) | Make c broadcast to it."),
    Row("posit_mm", FormatError, lambda: refnum.posit_mm(X[None], X[:, None], posit32),
        "posit_mm cannot return posit32 as float32 | 28 significant bits | must hold every value exactly | "
        "Use dtype=torch.float64."),
    Row("posit_mm", FormatError, lambda: refnum.posit_mm(P[None], P[:, None], posit16, out_dtype=torch.float16),
        "posit_mm cannot return posit16 as float16 | 12 significant bits | must hold every value exactly | "
        "Use dtype=torch.float32."),
    Row("posit_mm", DTypeError, lambda: refnum.posit_mm(P[None], P[:, None], posit16, out_dtype=torch.int16),
        "posit_mm cannot return | torch.int16 | float16, bfloat16, float32 and float64 | Choose one"),
    Row("posit_mm", ShapeError, lambda: refnum.posit_mm(MANY[None], MANY[:, None], posit8),
        "posit_mm cannot add | 2,147,483,648 products | fewer than 2**31 | Split the sum and add quires."),
    Row("posit_mm", DTypeError, lambda: refnum.posit_mm(P[None], META[:, None], posit16),
        "posit_mm needs its tensors | a on cpu, b on meta | on one device | Move them together."),
    Row("quire_dot", FormatError, lambda: refnum.quire_dot(X, X, "p"),
        "quire_dot needs a posit format | got 'p' | Pass Posit(n, es) | Pass Posit(n, es)"),
    Row("quire_dot", ShapeError, lambda: refnum.quire_dot(MANY, MANY, posit8),
        "quire_dot cannot add | 2,147,483,648 products | fewer than 2**31 | Split the sum and add quires."),
    Row("quire_dot", ShapeError, lambda: refnum.quire_dot(X, X[:2], posit16),
        "quire_dot cannot broadcast | a (3,), b (2,) | equal or 1, from the last one on | Reshape them."),
    Row("quire_dot", ShapeError, lambda: refnum.quire_dot(X[0], X, posit16),
        "quire_dot needs a last axis to sum along | got a 0-d tensor | a last axis | Use reshape(1)"),
    Row("quire_dot", DTypeError, lambda: refnum.quire_dot(X, X.half(), posit16),
        "quire_dot needs | got a torch.float32, b torch.float16 | floats of one dtype | Convert them."),
    Row("quire_dot", FormatError, lambda: refnum.quire_dot(X, X, posit32),
        "quire_dot cannot return posit32 as float32 | 28 significant bits | must hold every value exactly | "
        "Use dtype=torch.float64."),
    Row("quire_dot", DTypeError, lambda: refnum.quire_dot(NARROW, P, posit16),
        "quire_dot needs posit16 patterns for a | got torch.int8 | Allowed are int16, int32, int64. | "
        "Use refnum.encode"),
    Row("Quire", FormatError, lambda: Quire(e4m3),
        "Quire needs a posit format | e | Pass Posit(n, es) | Pass Posit(n, es)"),
    Row("Quire", ShapeError, lambda: Quire(posit16, (2, -1)),
        "Quire needs a shape | got (2, -1) | whole numbers from 0 on | Pass"),
    Row("Quire", ShapeError, lambda: Quire(posit16, "ab"),
        "Quire needs a shape | got 'ab' | whole numbers from 0 on | Pass"),
    Row("Quire", FormatError, lambda: Quire(posit16).add(Quire(posit8)),
        "Quire.add needs | got Quire(posit8, ()) | a Quire of posit16 | Round it to a posit and convert that."),
    Row("Quire", FormatError, lambda: Quire(posit16).sub(3),
        "Quire.sub needs | got 3 | a Quire of posit16 | Round it to a posit and convert that."),
    Row("Quire", ShapeError, lambda: Quire(posit16, (2,)).sub(Quire(posit16, (3,))),
        "Quire.sub needs | got (2,) and (3,) | quires of one shape | Make them equal."),
    Row("Quire", ShapeError, lambda: Quire(posit16, (2,)).mul_add(P, P),
        "Quire.mul_add cannot broadcast | quire (2,), a (3,), b (3,) | equal or 1, from the last one on | "
        "Reshape them."),
    Row("Quire", ShapeError, lambda: Quire(posit16, (1,)).mul_sub(P, P),
        "Quire.mul_sub needs | got (3,), (3,) | operands that broadcast to the quire's shape (1,) | "
        "Make a quire of the larger shape."),
    Row("Quire", DTypeError, lambda: Quire(posit16, (3,)).add_posit(X),
        "Quire.add_posit needs posit16 patterns for p | got torch.float32 | "
        "Allowed are int16, int32, int64. | Use refnum.encode"),
    Row("Quire", DTypeError, lambda: Quire(posit16, (3,)).sub_posit(META),
        "Quire.sub_posit needs its tensors | quire on cpu, p on meta | on one device | Move them together."),
    Row("Quire", FormatError, lambda: Quire.from_posit(P, "x"),
        "Quire.from_posit needs a posit format | got 'x' | Pass Posit(n, es) | Pass Posit(n, es)"),
    Row("Quire", DTypeError, lambda: Quire.from_posit(X, posit16),
        "Quire.from_posit needs posit16 patterns for bits | got torch.float32 | "
        "Allowed are int16, int32, int64. | Use refnum.encode"),
)

BACKENDS = (
    Row("use_backend", BackendError, lambda: refnum.use_backend("gpu").__enter__(),
        "use_backend has no backend | 'gpu' | auto, reference, cuda | Choose one of"),
    Row("use_backend", BackendError, lambda: refnum.use_backend("cuda").__enter__(),
        "The cuda backend was asked for | refnum_cuda is not installed | "
        "Allowed here are auto and reference | Choose one of them."),
)

# fmt: on
ROWS = (*FORMATS, *VALUES, *PATTERN_FUNCTIONS, *FUNCTIONS, *SUMS, *BACKENDS)


def _refused(row: Row) -> RefnumError:
    with pytest.raises(RefnumError) as caught:
        row.call()
    return caught.value


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.of}: {row.parts.split(' | ')[1]}")
def test_the_message_has_its_four_parts(row: Row) -> None:
    error = _refused(row)
    assert type(error) is row.error
    message, parts = str(error), row.parts.split(" | ")
    assert len(parts) == 4
    for part in parts:
        assert part in message
    assert message.endswith(".")
    assert "  " not in message
    *_, last = message.rstrip(".").split(". ")
    assert last.split()[0] in DO or parts[3].rstrip(".") in last, "what to do comes last"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.of}: {row.parts.split(' | ')[1]}")
def test_no_inner_error_shines_through(row: Row) -> None:
    error = _refused(row)
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__


@pytest.mark.parametrize(("of", "error"), sorted({(r.of, r.error.__name__) for r in ROWS if r not in FORMATS}))
def test_the_documentation_names_the_error(of: str, error: str) -> None:
    """In the function's own Raises, or, where many raise alike, in that of their package."""
    documented = [_find(of).__doc__, *([posit.__doc__] if of.startswith("posit.") else [])]
    named = [doc.split("Raises\n", 1)[1] for doc in documented if "Raises\n" in doc]
    assert any(error in section for section in named)


def _find(name: str) -> Any:
    found: Any = refnum
    for part in name.split("."):
        found = getattr(found, part)
    return found


# ---- what every function of patterns refuses alike ----------------------------------------------------------------


def _pattern_arguments(name: str) -> int:
    names = list(inspect.signature(getattr(posit, name)).parameters)
    return min(names.index(other) for other in ("from_fmt", "fmt", "k") if other in names)


def _call(name: str, fmt: object, operands: list[Tensor]) -> object:
    names = inspect.signature(getattr(posit, name)).parameters
    between, behind = [3] if "k" in names else [], [posit8] if name == "convert" else []
    return getattr(posit, name)(*operands, *between, fmt, *behind)


TAKE_PATTERNS = [name for name in posit.__all__ if name not in ("Quire", "from_int", "from_decimal")]


@pytest.mark.parametrize("name", TAKE_PATTERNS)
def test_every_function_refuses_what_is_no_posit_format(name: str) -> None:
    operands = [P] * _pattern_arguments(name)
    for fmt in ("posit16", 16, None, e4m3, (16, 2)):
        with pytest.raises(FormatError, match=rf"^posit\.{name} needs a posit format, got "):
            _call(name, fmt, operands)


@pytest.mark.parametrize("name", TAKE_PATTERNS)
def test_every_function_refuses_what_are_no_patterns(name: str) -> None:
    parameters = list(inspect.signature(getattr(posit, name)).parameters)
    for place in range(_pattern_arguments(name)):
        for dtype in (torch.float32, torch.bool, torch.int8, torch.complex64):
            operands = [P] * _pattern_arguments(name)
            operands[place] = P.to(dtype)
            wanted = rf"^posit\.{name} needs posit16 patterns for {parameters[place]}, got {dtype}\."
            with pytest.raises(DTypeError, match=wanted):
                _call(name, posit16, operands)


@pytest.mark.parametrize("name", [name for name in TAKE_PATTERNS if _pattern_arguments(name) > 1])
def test_every_function_refuses_shapes_that_do_not_broadcast(name: str) -> None:
    operands = [P] * _pattern_arguments(name)
    operands[-1] = P[:2]
    with pytest.raises(ShapeError, match=rf"^posit\.{name} cannot broadcast a \(3,\), .*\(2,\)\. "):
        _call(name, posit16, operands)


def test_the_words_hold_for_wide_formats() -> None:
    wanted = r"^posit\.add needs posit64 patterns for a, got torch\.int32\. Allowed are int64\. "
    with pytest.raises(DTypeError, match=wanted):
        posit.add(P.int(), P.long(), posit64)


# ---- the types ----------------------------------------------------------------------------------------------------

BUILTINS = {
    "FormatError": ValueError,
    "ShapeError": ValueError,
    "DTypeError": TypeError,
    "ContractError": ValueError,
    "NonFiniteError": ValueError,
    "UncoveredError": NotImplementedError,
    "BackendError": RuntimeError,
    "MissingExtraError": ImportError,
    "MismatchError": AssertionError,
}


def test_every_error_is_a_refnum_error_and_what_callers_catch() -> None:
    types = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    assert types.keys() == BUILTINS.keys() | {"RefnumError"}
    for name, builtin in BUILTINS.items():
        assert issubclass(types[name], RefnumError)
        assert issubclass(types[name], builtin)


def test_errors_keep_their_facts() -> None:
    uncovered = errors.UncoveredError("no kernel", op="aten.fft", reason="complex")
    assert (str(uncovered), uncovered.op, uncovered.reason) == ("no kernel", "aten.fft", "complex")
    mismatch = errors.MismatchError("differs", report={"ulp": 3})
    assert (str(mismatch), mismatch.report) == ("differs", {"ulp": 3})
