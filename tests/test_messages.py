"""The words of every error at the public boundary: what failed, what was got, what is allowed, what to do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import refnum
from refnum import Minifloat, Posit, Quire, errors, posit
from refnum.errors import BackendError, ContractError, DTypeError, FormatError, RefnumError, ShapeError
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
LAST = {"Choose", "Pass", "Use", "Convert", "Leave", "Move", "Reshape", "Split", "Make", "Transpose", "Pad", "Round", "Correct"}


class Row(NamedTuple):
    """A call that is refused, and the four parts of the message."""

    of: str  #: the public name that the message, or its docstring, is about
    call: Callable[[], object]
    error: type[RefnumError]
    failed: str
    got: str
    allowed: str
    do: str


def _whole(name: str, value: object, low: int, high: int, call: Callable[[], object], owner: str = "Posit") -> Row:
    allowed, do = f"{name} is an int from {low} to {high}", f"Choose {name} in that range."
    return Row(owner, call, FormatError, f"{owner} has no {name}", f"={value!r}", allowed, do)


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
    Row("Minifloat", lambda: Minifloat(4, 3, specials="ocp"), FormatError, "Minifloat has no specials", "'ocp'", "none, fn, ieee, fnuz", "Choose one of"),
    Row("Minifloat", lambda: Minifloat(4, 3, overflow="wrap"), FormatError, "Minifloat has no overflow", "'wrap'", "saturate, inf, nan", "Choose one of"),
    Row("Minifloat", lambda: Minifloat(4, 3, specials="fn", overflow="inf"), FormatError, "cannot overflow to 'inf'", "specials='fn', which has no Inf code", "specials='ieee'", "Choose overflow='saturate' or 'nan'"),
    Row("Minifloat", lambda: Minifloat(2, 1, specials="none", overflow="nan"), FormatError, "cannot overflow to 'nan'", "specials='none'", "has no NaN code", "Choose overflow='saturate'."),
    Row("Minifloat", lambda: Minifloat(4, 0), FormatError, "Minifloat has no NaN code", "specials='ieee' and mantissa=0", "'fn' or 'none'", "Choose specials="),
    Row("Minifloat", lambda: Minifloat(4, 3, specials="fnuz", signed=False), FormatError, "Minifloat with specials='fnuz'", "its NaN is the pattern of -0", "needs signed=True", "Choose other specials."),
    Row("formats.parse", lambda: parse("posit17"), FormatError, "No format is named", "'posit17'", "posit8, posit16", "or posit(n,es)"),
    Row("formats.parse", lambda: parse(16), FormatError, "No format is named", "16", "posit8, posit16", "or posit(n,es)"),
)  # fmt: skip

VALUES = (
    Row("encode", lambda: refnum.encode(X, "posit16"), FormatError, "encode needs a format record", "got 'posit16'", "refnum.formats.named()", RECORD),
    Row("encode", lambda: refnum.encode(X, 16), FormatError, "encode needs a format record", "got 16", "refnum.formats.named()", RECORD),
    Row("encode", lambda: refnum.encode(X, Posit), FormatError, "encode needs a format record", "got <class", "refnum.formats.named()", RECORD),
    Row("encode", lambda: refnum.encode(P, posit16), DTypeError, "encode needs floating-point values for x", "got torch.int16", FLOATS, "Convert the tensor"),
    Row("encode", lambda: refnum.encode(X.to(torch.complex64), posit16), DTypeError, "encode needs floating-point values for x", "got torch.complex64", FLOATS, "Convert the tensor"),
    Row("encode", lambda: refnum.encode(X.bool(), posit16), DTypeError, "encode needs floating-point values for x", "got torch.bool", FLOATS, "Convert the tensor"),
    Row("encode", lambda: refnum.encode(X.to(torch.float8_e4m3fn), posit16), DTypeError, "encode needs floating-point values for x", "got torch.float8_e4m3fn", FLOATS, "Convert the tensor"),
    Row("encode", lambda: refnum.encode([1.0], posit16), DTypeError, "encode needs", "got list", "a tensor for x", "Use torch.as_tensor first."),
    Row("encode", lambda: refnum.encode(1.0, posit16), DTypeError, "encode needs", "got float", "a tensor for x", "Use torch.as_tensor first."),
    Row("encode", lambda: refnum.encode(X.to_sparse(), posit16), DTypeError, "encode needs", "got layout torch.sparse_coo", "a dense tensor for x", "Use x.to_dense() first."),
    Row("encode", lambda: refnum.encode(X, e8m0), FormatError, "encode cannot write", "e8m0", "a scale format that is only decoded", "Use refnum.decode for its codes (byte b is 2**(b - 127))."),
    Row("encode", lambda: refnum.encode(X, SCALE_ONLY), FormatError, "encode cannot write", "subnormals=False", "only decoded", "Use refnum.decode for its codes."),
    Row("encode", lambda: refnum.encode(X, posit16, rounding="rne"), ContractError, "encode has no rounding", "'rne'", "nearest_even, nearest_away, toward_zero, toward_positive, toward_negative, to_odd, stochastic", "Choose one of"),
    Row("encode", lambda: refnum.encode(X, posit16, rounding=None), ContractError, "encode has no rounding", "=None", "nearest_even", "Choose one of"),
    Row("encode", lambda: refnum.encode(X, posit16, rounding=["rne"]), ContractError, "encode has no rounding", "['rne']", "nearest_even", "Choose one of"),
    Row("encode", lambda: refnum.encode(X, posit16, rounding="stochastic"), ContractError, "encode with rounding='stochastic' needs random_bits", "got None", "the low 16 bits are read", "Pass torch.randint"),
    Row("encode", lambda: refnum.encode(X, posit16, rounding="stochastic", random_bits=X), ContractError, "encode with rounding='stochastic' needs random_bits", "got torch.float32", "integers", "Pass torch.randint"),
    Row("encode", lambda: refnum.encode(X, posit16, rounding="stochastic", random_bits=7), ContractError, "encode with rounding='stochastic' needs random_bits", "got 7", "integers", "Pass torch.randint"),
    Row("encode", lambda: refnum.encode(X, posit16, random_bits=P), ContractError, "encode takes random_bits", "got rounding='nearest_even'", "only with rounding='stochastic'", "Leave them out."),
    Row("encode", lambda: refnum.encode(X, posit16, rounding="stochastic", random_bits=P[:2]), ShapeError, "encode cannot broadcast", "x (3,), random_bits (2,)", BROADCASTING, "Reshape them."),
    Row("encode", lambda: refnum.encode(X, posit16, rounding="stochastic", random_bits=META), DTypeError, "encode needs its tensors", "x on cpu, random_bits on meta", "on one device", "Move them together."),
    Row("decode", lambda: refnum.decode(P, "posit16"), FormatError, "decode needs a format record", "got 'posit16'", "refnum.formats.named()", RECORD),
    Row("decode", lambda: refnum.decode(X, posit16), DTypeError, "decode needs posit16 patterns for bits", "got torch.float32", PATTERNS, "Use refnum.encode"),
    Row("decode", lambda: refnum.decode(NARROW, posit16), DTypeError, "decode needs posit16 patterns for bits", "got torch.int8", PATTERNS, "Use refnum.encode"),
    Row("decode", lambda: refnum.decode(NARROW.view(torch.uint8), posit8), DTypeError, "decode needs posit8 patterns for bits", "got torch.uint8", "Allowed are int8, int16, int32, int64.", "Use refnum.encode"),
    Row("decode", lambda: refnum.decode(P.to(torch.uint16), posit16), DTypeError, "decode needs posit16 patterns for bits", "got torch.uint16", PATTERNS, "Use refnum.encode"),
    Row("decode", lambda: refnum.decode(P.bool(), e4m3), DTypeError, "decode needs e4m3 patterns for bits", "got torch.bool", "Allowed are uint8, int8, int16, int32, int64.", "Use refnum.encode"),
    Row("decode", lambda: refnum.decode(P.to_sparse(), posit16), DTypeError, "decode needs", "got layout torch.sparse_coo", "a dense tensor for bits", "Use bits.to_dense() first."),
    Row("decode", lambda: refnum.decode(P, posit16, dtype=torch.float16), FormatError, "decode cannot return posit16 as float16", "12 significant bits, scales up to 2**56", "must hold every value exactly", "Use dtype=torch.float32."),
    Row("decode", lambda: refnum.decode(P.int(), posit32, dtype=torch.float32), FormatError, "decode cannot return posit32 as float32", "28 significant bits", "must hold every value exactly", "Use dtype=torch.float64."),
    Row("decode", lambda: refnum.decode(P.long(), posit64), FormatError, "decode cannot return posit64 as float64", "60 significant bits, scales up to 2**248", "No dtype does", "refnum.posit.to_float rounds once, to_decimal is exact."),
    Row("decode", lambda: refnum.decode(P, posit16, dtype=torch.int32), DTypeError, "decode cannot return", "torch.int32", FLOATS, "Choose one"),
    Row("decode", lambda: refnum.decode(P, posit16, dtype="float32"), DTypeError, "decode cannot return", "float32", FLOATS, "Choose one"),
    Row("quantize", lambda: refnum.quantize(X, None), FormatError, "quantize needs a format record", "got None", "refnum.formats.named()", RECORD),
    Row("quantize", lambda: refnum.quantize(P, posit16), DTypeError, "quantize needs floating-point values for x", "got torch.int16", FLOATS, "Convert the tensor"),
    Row("quantize", lambda: refnum.quantize(X.half(), posit16), FormatError, "quantize cannot round float16 to posit16", "some results", "do not fit the dtype", "Convert the tensor to torch.float32 first."),
    Row("quantize", lambda: refnum.quantize(X, Posit(20, 3)), FormatError, "quantize cannot round float32 to posit(20,3)", "some results", "do not fit the dtype", "Convert the tensor to torch.float64 first."),
    Row("quantize", lambda: refnum.quantize(X, e8m0), FormatError, "quantize cannot write", "e8m0", "only decoded", "Use refnum.decode"),
    Row("quantize", lambda: refnum.quantize(X, posit16, grad="ste"), ContractError, "quantize has no grad", "'ste'", "identity, clipped", "Choose one of"),
    Row("quantize", lambda: refnum.quantize(X, posit16, rounding="away"), ContractError, "quantize has no rounding", "'away'", "nearest_away", "Choose one of"),
    Row("quantize", lambda: refnum.quantize(X, posit16, rounding="stochastic"), ContractError, "quantize with rounding='stochastic' needs random_bits", "got None", "the low 16 bits are read", "Pass torch.randint"),
)  # fmt: skip

PATTERN_FUNCTIONS = (
    Row("posit.add", lambda: posit.add(P, P, "posit16"), FormatError, "posit.add needs a posit format", "got 'posit16'", RECORD, "Pass Posit(n, es)"),
    Row("posit.add", lambda: posit.add(P, P, e4m3), FormatError, "posit.add needs a posit format", "e", RECORD, "Pass Posit(n, es)"),
    Row("posit.add", lambda: posit.add(P, X, posit16), DTypeError, "posit.add needs posit16 patterns for b", "got torch.float32", PATTERNS, "Use refnum.encode"),
    Row("posit.add", lambda: posit.add([1], P, posit16), DTypeError, "posit.add needs", "got list", "a tensor for a", "Use torch.as_tensor first."),
    Row("posit.add", lambda: posit.add(P, P[:2], posit16), ShapeError, "posit.add cannot broadcast", "a (3,), b (2,)", BROADCASTING, "Reshape them."),
    Row("posit.add", lambda: posit.add(P, META, posit16), DTypeError, "posit.add needs its tensors", "a on cpu, b on meta", "on one device", "Move them together."),
    Row("posit.fma", lambda: posit.fma(P, P, P.new_zeros(2, 2), posit16), ShapeError, "posit.fma cannot broadcast", "a (3,), b (3,), c (2, 2)", BROADCASTING, "Reshape them."),
    Row("posit.convert", lambda: posit.convert(P, posit16, 8), FormatError, "posit.convert needs a posit format", "got 8", RECORD, "Pass Posit(n, es)"),
    Row("posit.convert", lambda: posit.convert(P, e2m1, posit8), FormatError, "posit.convert needs a posit format", "e", RECORD, "Pass Posit(n, es)"),
    Row("posit.convert", lambda: posit.convert(NARROW, posit16, posit8), DTypeError, "posit.convert needs posit16 patterns for bits", "got torch.int8", PATTERNS, "Use refnum.encode"),
    Row("posit.to_float", lambda: posit.to_float(P, posit16, torch.int32), DTypeError, "posit.to_float cannot return", "torch.int32", FLOATS, "Choose one"),
    Row("posit.to_int", lambda: posit.to_int(P, posit16, 24), ContractError, "posit.to_int has no width", "=24", "8, 16, 32, 64", "Choose one of"),
    Row("posit.to_int", lambda: posit.to_int(P, posit16, 8.0), ContractError, "posit.to_int has no width", "=8.0", "8, 16, 32, 64", "Choose one of"),
    Row("posit.to_int", lambda: posit.to_int(P, posit16, signed="no"), ContractError, "posit.to_int has no signed", "='no'", "True, False", "Choose one of"),
    Row("posit.from_int", lambda: posit.from_int(X, posit16), DTypeError, "posit.from_int needs integers for i", "got torch.float32", "uint8, int8, int16, int32, int64 and Python ints", "Use refnum.encode"),
    Row("posit.from_int", lambda: posit.from_int(P.bool(), posit16), DTypeError, "posit.from_int needs integers for i", "got torch.bool", "uint8, int8, int16, int32, int64 and Python ints", "Use refnum.encode"),
    Row("posit.from_int", lambda: posit.from_int(True, posit16), DTypeError, "posit.from_int needs", "got bool", "for i", "Use"),
    Row("posit.from_int", lambda: posit.from_int("3", posit16), DTypeError, "posit.from_int needs", "got str", "for i", "Use"),
    Row("posit.from_int", lambda: posit.from_int(3, "posit16"), FormatError, "posit.from_int needs a posit format", "got 'posit16'", RECORD, "Pass Posit(n, es)"),
    Row("posit.from_int", lambda: posit.from_int(P, posit16, "no"), ContractError, "posit.from_int has no sentinel", "='no'", "True, False", "Choose one of"),
    Row("posit.to_decimal", lambda: posit.to_decimal(META, posit16), DTypeError, "posit.to_decimal reads the values of bits", "a meta tensor has none", "values", "Pass a tensor with data."),
    Row("posit.to_decimal", lambda: posit.to_decimal(X, posit16), DTypeError, "posit.to_decimal needs posit16 patterns for bits", "got torch.float32", PATTERNS, "Use refnum.encode"),
    Row("posit.from_decimal", lambda: posit.from_decimal("1,5", posit16), FormatError, "posit.from_decimal cannot read", "'1,5'", "a sign, up to 4,000 digits with a point, an exponent e+-N, and NaR", "Correct"),
    Row("posit.from_decimal", lambda: posit.from_decimal(["1", ""], posit16), FormatError, "posit.from_decimal cannot read", "''", "up to 4,000 digits", "Correct"),
    Row("posit.from_decimal", lambda: posit.from_decimal(".", posit16), FormatError, "posit.from_decimal cannot read", "'.'", "up to 4,000 digits", "Correct"),
    Row("posit.from_decimal", lambda: posit.from_decimal("0x10", posit16), FormatError, "posit.from_decimal cannot read", "'0x10'", "up to 4,000 digits", "Correct"),
    Row("posit.from_decimal", lambda: posit.from_decimal("1/3", posit16), FormatError, "posit.from_decimal cannot read", "'1/3'", "up to 4,000 digits", "Correct"),
    Row("posit.from_decimal", lambda: posit.from_decimal("1" * 4001, posit16), FormatError, "posit.from_decimal cannot read", "'1111", "up to 4,000 digits", "Correct"),
    Row("posit.from_decimal", lambda: posit.from_decimal(["1", ["2"]], posit16), FormatError, "posit.from_decimal needs", "got a ragged nesting", "lists of equal lengths", "Pad or flatten it."),
    Row("posit.from_decimal", lambda: posit.from_decimal([["1"], ["2", "3"]], posit16), FormatError, "posit.from_decimal needs", "got a ragged nesting", "lists of equal lengths", "Pad or flatten it."),
    Row("posit.from_decimal", lambda: posit.from_decimal(1.5, posit16), DTypeError, "posit.from_decimal needs text", "got float", "a str and nested lists of str", "Use refnum.encode for numbers."),
    Row("posit.from_decimal", lambda: posit.from_decimal(["1", 2], posit16), DTypeError, "posit.from_decimal needs text", "got int", "a str and nested lists of str", "Use refnum.encode for numbers."),
)  # fmt: skip

SUMS = (
    Row("posit_mm", lambda: refnum.posit_mm(X[None], X[:, None], e4m3), FormatError, "posit_mm needs a posit format", "e", RECORD, "Pass Posit(n, es)"),
    Row("posit_mm", lambda: refnum.posit_mm(X[None], X[:, None], posit16, mode="exact"), ContractError, "posit_mm has no mode", "'exact'", "quire", "Choose one of"),
    Row("posit_mm", lambda: refnum.posit_mm(X[None], X[:, None], posit16, grad="ste"), ContractError, "posit_mm has no grad", "'ste'", "rounded, raw", "Choose one of"),
    Row("posit_mm", lambda: refnum.posit_mm(torch.zeros(2, 3), torch.zeros(4, 2), posit16), ShapeError, "posit_mm cannot multiply", "(2, 3) by (4, 2): a has 3 columns and b 4 rows", "must be equal", "Transpose or reshape one."),
    Row("posit_mm", lambda: refnum.posit_mm(torch.zeros(3), torch.zeros(4), posit16), ShapeError, "posit_mm cannot multiply", "(3,) by (4,)", "must be equal", "Transpose or reshape one."),
    Row("posit_mm", lambda: refnum.posit_mm(torch.zeros(2, 2, 3), torch.zeros(3, 3, 2), posit16), ShapeError, "posit_mm cannot broadcast", "a (2,), b (3,)", BROADCASTING, "Reshape them."),
    Row("posit_mm", lambda: refnum.posit_mm(X[0], X, posit16), ShapeError, "posit_mm needs", "got a 0-d tensor", "at least one axis on each side", "Use posit.mul"),
    Row("posit_mm", lambda: refnum.posit_mm(X[None], P[:, None], posit16), DTypeError, "posit_mm needs", "got a torch.float32, b torch.int16", "floats of one dtype, or patterns throughout", "Convert them."),
    Row("posit_mm", lambda: refnum.posit_mm(X[None], X[:, None].double(), posit16), DTypeError, "posit_mm needs", "got a torch.float32, b torch.float64", "floats of one dtype", "Convert them."),
    Row("posit_mm", lambda: refnum.posit_mm(X[None], X[:, None], posit16, c=P), DTypeError, "posit_mm needs", "c torch.int16", "floats of one dtype, or patterns throughout", "Convert them."),
    Row("posit_mm", lambda: refnum.posit_mm(P[None], P[:, None], posit16, c=X), DTypeError, "posit_mm needs", "c torch.float32", "floats of one dtype, or patterns throughout", "Convert them."),
    Row("posit_mm", lambda: refnum.posit_mm(P[None].bool(), P[:, None].bool(), posit16), DTypeError, "posit_mm needs posit16 patterns for a", "got torch.bool", PATTERNS, "Use refnum.encode"),
    Row("posit_mm", lambda: refnum.posit_mm(X[None], X[:, None], posit16, c=torch.zeros(2, 2)), ShapeError, "posit_mm cannot add c", "of shape (2, 2)", "a result of shape (1, 1)", "Make c broadcast to it."),
    Row("posit_mm", lambda: refnum.posit_mm(X[None], X[:, None], posit32), FormatError, "posit_mm cannot return posit32 as float32", "28 significant bits", "must hold every value exactly", "Use dtype=torch.float64."),
    Row("posit_mm", lambda: refnum.posit_mm(P[None], P[:, None], posit16, out_dtype=torch.float16), FormatError, "posit_mm cannot return posit16 as float16", "12 significant bits", "must hold every value exactly", "Use dtype=torch.float32."),
    Row("posit_mm", lambda: refnum.posit_mm(P[None], P[:, None], posit16, out_dtype=torch.int16), DTypeError, "posit_mm cannot return", "torch.int16", FLOATS, "Choose one"),
    Row("posit_mm", lambda: refnum.posit_mm(MANY[None], MANY[:, None], posit8), ShapeError, "posit_mm cannot add", "2,147,483,648 products", "fewer than 2**31", "Split the sum and add quires."),
    Row("posit_mm", lambda: refnum.posit_mm(P[None], META[:, None], posit16), DTypeError, "posit_mm needs its tensors", "a on cpu, b on meta", "on one device", "Move them together."),
    Row("quire_dot", lambda: refnum.quire_dot(X, X, "p"), FormatError, "quire_dot needs a posit format", "got 'p'", RECORD, "Pass Posit(n, es)"),
    Row("quire_dot", lambda: refnum.quire_dot(MANY, MANY, posit8), ShapeError, "quire_dot cannot add", "2,147,483,648 products", "fewer than 2**31", "Split the sum and add quires."),
    Row("quire_dot", lambda: refnum.quire_dot(X, X[:2], posit16), ShapeError, "quire_dot cannot broadcast", "a (3,), b (2,)", BROADCASTING, "Reshape them."),
    Row("quire_dot", lambda: refnum.quire_dot(X[0], X, posit16), ShapeError, "quire_dot needs a last axis to sum along", "got a 0-d tensor", "a last axis", "Use reshape(1)"),
    Row("quire_dot", lambda: refnum.quire_dot(X, X.half(), posit16), DTypeError, "quire_dot needs", "got a torch.float32, b torch.float16", "floats of one dtype", "Convert them."),
    Row("quire_dot", lambda: refnum.quire_dot(X, X, posit32), FormatError, "quire_dot cannot return posit32 as float32", "28 significant bits", "must hold every value exactly", "Use dtype=torch.float64."),
    Row("quire_dot", lambda: refnum.quire_dot(NARROW, P, posit16), DTypeError, "quire_dot needs posit16 patterns for a", "got torch.int8", PATTERNS, "Use refnum.encode"),
    Row("Quire", lambda: Quire(e4m3), FormatError, "Quire needs a posit format", "e", RECORD, "Pass Posit(n, es)"),
    Row("Quire", lambda: Quire(posit16, (2, -1)), ShapeError, "Quire", "(2, -1)", "", ""),
    Row("Quire", lambda: Quire(posit16, "ab"), ShapeError, "Quire", "'ab'", "", ""),
    Row("Quire", lambda: Quire(posit16).add(Quire(posit8)), FormatError, "Quire.add needs", "got Quire(posit8, ())", "a Quire of posit16", "Round it to a posit and convert that."),
    Row("Quire", lambda: Quire(posit16).sub(3), FormatError, "Quire.sub needs", "got 3", "a Quire of posit16", "Round it to a posit and convert that."),
    Row("Quire", lambda: Quire(posit16, (2,)).sub(Quire(posit16, (3,))), ShapeError, "Quire.sub needs", "got (2,) and (3,)", "quires of one shape", "Make them equal."),
    Row("Quire", lambda: Quire(posit16, (2,)).mul_add(P, P), ShapeError, "Quire.mul_add cannot broadcast", "quire (2,), a (3,), b (3,)", BROADCASTING, "Reshape them."),
    Row("Quire", lambda: Quire(posit16, (1,)).mul_sub(P, P), ShapeError, "Quire.mul_sub needs", "got (3,), (3,)", "operands that broadcast to the quire's shape (1,)", "Make a quire of the larger shape."),
    Row("Quire", lambda: Quire(posit16, (3,)).add_posit(X), DTypeError, "Quire.add_posit needs posit16 patterns for p", "got torch.float32", PATTERNS, "Use refnum.encode"),
    Row("Quire", lambda: Quire(posit16, (3,)).sub_posit(META), DTypeError, "Quire.sub_posit needs its tensors", "quire on cpu, p on meta", "on one device", "Move them together."),
    Row("Quire", lambda: Quire.from_posit(P, "x"), FormatError, "Quire.from_posit needs a posit format", "got 'x'", RECORD, "Pass Posit(n, es)"),
    Row("Quire", lambda: Quire.from_posit(X, posit16), DTypeError, "Quire.from_posit needs posit16 patterns for bits", "got torch.float32", PATTERNS, "Use refnum.encode"),
)  # fmt: skip

BACKENDS = (
    Row("use_backend", lambda: refnum.use_backend("gpu").__enter__(), BackendError, "use_backend has no backend", "'gpu'", "auto, reference, cuda", "Choose one of"),
    Row("use_backend", lambda: refnum.use_backend("cuda").__enter__(), BackendError, "The cuda backend was asked for", "refnum_cuda is not installed", "Allowed here are auto and reference", "Choose one of them."),
)  # fmt: skip

ROWS = (*FORMATS, *VALUES, *PATTERN_FUNCTIONS, *SUMS, *BACKENDS)


def _name(row: Row) -> str:
    return f"{row.of} {row.got}"


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_the_message_has_its_four_parts(row: Row) -> None:
    with pytest.raises(RefnumError) as caught:
        row.call()
    assert type(caught.value) is row.error
    message = str(caught.value)
    for part in (row.failed, row.got, row.allowed, row.do):
        assert part in message
    assert message.endswith(".")
    assert "  " not in message


@pytest.mark.parametrize("row", [row for row in ROWS if row.of != "formats.parse"], ids=_name)
def test_the_last_sentence_says_what_to_do(row: Row) -> None:
    with pytest.raises(RefnumError) as caught:
        row.call()
    sentences = str(caught.value).rstrip(".").split(". ")
    assert sentences[-1].split()[0] in LAST or row.do in sentences[-1] + ".", sentences[-1]


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_no_inner_error_shines_through(row: Row) -> None:
    with pytest.raises(RefnumError) as caught:
        row.call()
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__


@pytest.mark.parametrize("row", [row for row in ROWS if row not in FORMATS], ids=_name)
def test_the_documentation_names_the_error(row: Row) -> None:
    """In the function's own Raises, or, where many raise alike, in that of their package."""
    documented = _find(row.of).__doc__ + (posit.__doc__ if row.of.startswith("posit.") else "")
    assert "Raises\n" in documented
    assert row.error.__name__ in documented.split("Raises\n", 1)[1]


def _find(name: str) -> Any:
    found: Any = refnum
    for part in name.split("."):
        found = getattr(found, part)
    return found


# ---- what every function of patterns refuses alike ----------------------------------------------------------------


def _pattern_arguments(name: str) -> int:
    names = list(inspect.signature(getattr(posit, name)).parameters)
    return names.index("from_fmt" if "from_fmt" in names else "fmt")


def _call(name: str, fmt: object, operands: list[Tensor]) -> object:
    return getattr(posit, name)(*operands, fmt, *([posit8] if name == "convert" else []))


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
        for wrong, got in ((X, "torch.float32"), (P.bool(), "torch.bool"), (NARROW, "torch.int8"), (P.to(torch.complex64), "torch.complex64")):
            operands = [P] * _pattern_arguments(name)
            operands[place] = wrong
            with pytest.raises(DTypeError, match=rf"^posit\.{name} needs posit16 patterns for {parameters[place]}, got {got}\."):
                _call(name, posit16, operands)


@pytest.mark.parametrize("name", [name for name in TAKE_PATTERNS if _pattern_arguments(name) > 1])
def test_every_function_refuses_shapes_that_do_not_broadcast(name: str) -> None:
    operands = [P] * _pattern_arguments(name)
    operands[-1] = P[:2]
    with pytest.raises(ShapeError, match=rf"^posit\.{name} cannot broadcast a \(3,\), .*\(2,\)\. "):
        _call(name, posit16, operands)


def test_the_words_hold_for_wide_formats() -> None:
    with pytest.raises(DTypeError, match=r"^posit\.add needs posit64 patterns for a, got torch\.int32\. Allowed are int64\. "):
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
