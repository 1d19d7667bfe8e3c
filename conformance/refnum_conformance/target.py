"""The default target: refnum itself behind functions named like the rows of the operations table.

It is the example for other targets, too. Operands are int64 arrays in the kinds that `operations` lists, whatever the
format; the format and every choice come as keywords; the result is an array of integers (texts for `to_decimal`).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import refnum
from refnum import Minifloat, Posit, Quire, formats, functions, mx, posit

Array = NDArray[Any]

__version__ = refnum.__version__


def _tensor(x: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x))


def _array(x: Tensor) -> Array:
    return np.asarray(x.to(torch.int64))


def _floats(bits: Array, dtype: str) -> Tensor:
    kind = getattr(torch, dtype)
    return _tensor(bits).to(getattr(torch, f"int{kind.itemsize * 8}")).view(kind)


def _bits(x: Tensor) -> Array:
    return _array(x.view(getattr(torch, f"int{x.dtype.itemsize * 8}")))


# The standard's functions --------------------------------------------------------------------------------------------


def _on_patterns(function: Callable[..., Tensor]) -> Callable[..., Array]:
    def row(*operands: Array, n: int, es: int) -> Array:
        return _array(function(*map(_tensor, operands), Posit(n, es)))

    return row


negate = _on_patterns(posit.negate)
abs = _on_patterns(posit.abs)
sign = _on_patterns(posit.sign)
nearest_int = _on_patterns(posit.nearest_int)
ceil = _on_patterns(posit.ceil)
floor = _on_patterns(posit.floor)
next = _on_patterns(posit.next)
prior = _on_patterns(posit.prior)
compare_equal = _on_patterns(posit.compare_equal)
compare_not_equal = _on_patterns(posit.compare_not_equal)
compare_greater = _on_patterns(posit.compare_greater)
compare_greater_equal = _on_patterns(posit.compare_greater_equal)
compare_less = _on_patterns(posit.compare_less)
compare_less_equal = _on_patterns(posit.compare_less_equal)
add = _on_patterns(posit.add)
sub = _on_patterns(posit.sub)
mul = _on_patterns(posit.mul)
div = _on_patterns(posit.div)
sqrt = _on_patterns(posit.sqrt)
r_sqrt = _on_patterns(posit.r_sqrt)
exp = _on_patterns(posit.exp)
exp_minus1 = _on_patterns(posit.exp_minus1)
exp2 = _on_patterns(posit.exp2)
exp2_minus1 = _on_patterns(posit.exp2_minus1)
exp10 = _on_patterns(posit.exp10)
exp10_minus1 = _on_patterns(posit.exp10_minus1)
log = _on_patterns(posit.log)
log_plus1 = _on_patterns(posit.log_plus1)
log2 = _on_patterns(posit.log2)
log2_plus1 = _on_patterns(posit.log2_plus1)
log10 = _on_patterns(posit.log10)
log10_plus1 = _on_patterns(posit.log10_plus1)
sin = _on_patterns(posit.sin)
sin_pi = _on_patterns(posit.sin_pi)
cos = _on_patterns(posit.cos)
cos_pi = _on_patterns(posit.cos_pi)
tan = _on_patterns(posit.tan)
tan_pi = _on_patterns(posit.tan_pi)
arc_sin = _on_patterns(posit.arc_sin)
arc_sin_pi = _on_patterns(posit.arc_sin_pi)
arc_cos = _on_patterns(posit.arc_cos)
arc_cos_pi = _on_patterns(posit.arc_cos_pi)
arc_tan = _on_patterns(posit.arc_tan)
arc_tan_pi = _on_patterns(posit.arc_tan_pi)
sin_h = _on_patterns(posit.sin_h)
cos_h = _on_patterns(posit.cos_h)
tan_h = _on_patterns(posit.tan_h)
arc_sin_h = _on_patterns(posit.arc_sin_h)
arc_cos_h = _on_patterns(posit.arc_cos_h)
arc_tan_h = _on_patterns(posit.arc_tan_h)
hypot = _on_patterns(posit.hypot)
pow = _on_patterns(posit.pow)
arc_tan2 = _on_patterns(posit.arc_tan2)
arc_tan2_pi = _on_patterns(posit.arc_tan2_pi)
compound = _on_patterns(posit.compound)
root_n = _on_patterns(posit.root_n)
fmm = _on_patterns(posit.fmm)
fma = _on_patterns(posit.fma)


# The same of minifloats: the fields of the record say the format -----------------------------------------------------


def _on_codes(function: Callable[..., Tensor]) -> Callable[..., Array]:
    def row(*operands: Array, **fields: Any) -> Array:
        return _array(function(*map(_tensor, operands), Minifloat(**fields)))

    return row


function_sqrt = _on_codes(functions.sqrt)
function_rsqrt = _on_codes(functions.rsqrt)
function_reciprocal = _on_codes(functions.reciprocal)
function_exp = _on_codes(functions.exp)
function_expm1 = _on_codes(functions.expm1)
function_exp2 = _on_codes(functions.exp2)
function_exp2m1 = _on_codes(functions.exp2m1)
function_exp10 = _on_codes(functions.exp10)
function_exp10m1 = _on_codes(functions.exp10m1)
function_log = _on_codes(functions.log)
function_log1p = _on_codes(functions.log1p)
function_log2 = _on_codes(functions.log2)
function_log2p1 = _on_codes(functions.log2p1)
function_log10 = _on_codes(functions.log10)
function_log10p1 = _on_codes(functions.log10p1)
function_sin = _on_codes(functions.sin)
function_sinpi = _on_codes(functions.sinpi)
function_cos = _on_codes(functions.cos)
function_cospi = _on_codes(functions.cospi)
function_tan = _on_codes(functions.tan)
function_tanpi = _on_codes(functions.tanpi)
function_asin = _on_codes(functions.asin)
function_asinpi = _on_codes(functions.asinpi)
function_acos = _on_codes(functions.acos)
function_acospi = _on_codes(functions.acospi)
function_atan = _on_codes(functions.atan)
function_atanpi = _on_codes(functions.atanpi)
function_sinh = _on_codes(functions.sinh)
function_cosh = _on_codes(functions.cosh)
function_tanh = _on_codes(functions.tanh)
function_asinh = _on_codes(functions.asinh)
function_acosh = _on_codes(functions.acosh)
function_atanh = _on_codes(functions.atanh)
function_hypot = _on_codes(functions.hypot)
function_pow = _on_codes(functions.pow)
function_atan2 = _on_codes(functions.atan2)
function_atan2pi = _on_codes(functions.atan2pi)
function_compoundn = _on_codes(functions.compoundn)
function_rootn = _on_codes(functions.rootn)
function_sigmoid = _on_codes(functions.sigmoid)
function_silu = _on_codes(functions.silu)
function_softmax_exp = _on_codes(functions.softmax_exp)


def function_gelu(codes: Array, approximate: str, **fields: Any) -> Array:
    return _array(functions.gelu(_tensor(codes), Minifloat(**fields), approximate=approximate))


# Conversions ---------------------------------------------------------------------------------------------------------


def convert(bits: Array, n: int, es: int, to_n: int, to_es: int) -> Array:
    return _array(posit.convert(_tensor(bits), Posit(n, es), Posit(to_n, to_es)))


def to_float(bits: Array, n: int, es: int, dtype: str) -> Array:
    return _bits(posit.to_float(_tensor(bits), Posit(n, es), getattr(torch, dtype)))


def to_int(bits: Array, n: int, es: int, width: int, signed: bool) -> Array:
    return _array(posit.to_int(_tensor(bits), Posit(n, es), width, signed))


def from_int(i: Array, n: int, es: int, dtype: str, sentinel: bool) -> Array:
    fmt = Posit(n, es)
    if dtype == "int":  # Python ints, one by one
        return _array(torch.stack([posit.from_int(int(x), fmt, sentinel=sentinel) for x in i]))
    return _array(posit.from_int(_tensor(i).to(getattr(torch, dtype)), fmt, sentinel=sentinel))


def to_decimal(bits: Array, n: int, es: int) -> list[str]:
    texts: list[str] = posit.to_decimal(_tensor(bits), Posit(n, es))
    return texts


def from_decimal(texts: Array, n: int, es: int) -> Array:
    return _array(posit.from_decimal(texts.tolist(), Posit(n, es)))


def _random(rest: tuple[Array, ...]) -> Tensor | None:
    return _tensor(rest[0]) if rest else None


def encode(bits: Array, *random: Array, n: int, es: int, dtype: str, rounding: str) -> Array:
    values = _floats(bits, dtype)
    return _array(refnum.encode(values, Posit(n, es), rounding=rounding, random_bits=_random(random)))


def decode(bits: Array, n: int, es: int, dtype: str) -> Array:
    return _bits(refnum.decode(_tensor(bits), Posit(n, es), dtype=getattr(torch, dtype)))


def quantize(bits: Array, *random: Array, n: int, es: int, dtype: str, rounding: str) -> Array:
    values = _floats(bits, dtype)
    return _bits(refnum.quantize(values, Posit(n, es), rounding=rounding, random_bits=_random(random)))


# Minifloats: the fields of the record say the format -----------------------------------------------------------------


def minifloat_encode(bits: Array, *random: Array, dtype: str, rounding: str, **fields: Any) -> Array:
    values, fmt = _floats(bits, dtype), Minifloat(**fields)
    return _array(refnum.encode(values, fmt, rounding=rounding, random_bits=_random(random)))


def minifloat_decode(codes: Array, dtype: str, **fields: Any) -> Array:
    return _bits(refnum.decode(_tensor(codes), Minifloat(**fields), dtype=getattr(torch, dtype)))


def minifloat_quantize(bits: Array, *random: Array, dtype: str, rounding: str, **fields: Any) -> Array:
    values = _floats(bits, dtype)
    return _bits(refnum.quantize(values, Minifloat(**fields), rounding=rounding, random_bits=_random(random)))


# The quire: a row loads a sum of products, doubles it, acts, and shows the rounded value and the rounded rest ---------


def _loaded(a: Array, b: Array, n: int, es: int, doublings: int = 0) -> Quire:
    quire = Quire(Posit(n, es), a.shape[:-1])
    for x, y in zip(_tensor(a).unbind(-1), _tensor(b).unbind(-1), strict=True):
        quire.mul_add(x, y)
    for _ in range(doublings):
        quire.add(quire)
    return quire


def _seen(quire: Quire) -> Array:
    first = quire.to_posit()
    return _array(torch.stack([first, quire.clone().sub_posit(first).to_posit()], -1))


def _on_quires(act: Callable[..., Quire]) -> Callable[..., Array]:
    def row(a: Array, b: Array, *more: Array, n: int, es: int, doublings: int) -> Array:
        return _seen(act(_loaded(a, b, n, es, doublings), *map(_tensor, more)))

    return row


def _on_two_quires(act: Callable[[Quire, Quire], Quire]) -> Callable[..., Array]:
    def row(a: Array, b: Array, c: Array, d: Array, n: int, es: int, doublings: int) -> Array:
        return _seen(act(_loaded(a, b, n, es, doublings), _loaded(c, d, n, es)))

    return row


def quire_from_posit(p: Array, n: int, es: int) -> Array:
    return _seen(Quire.from_posit(_tensor(p), Posit(n, es)))


def _copy_of_a_quire(quire: Quire) -> Quire:
    copy = quire.clone()
    quire.clear()  # which the copy must not notice
    return copy


quire_to_posit = _on_quires(lambda q: q)
quire_clear = _on_quires(Quire.clear)
quire_clone = _on_quires(_copy_of_a_quire)
quire_negate = _on_quires(Quire.negate)
quire_abs = _on_quires(Quire.abs)
quire_add_posit = _on_quires(Quire.add_posit)
quire_sub_posit = _on_quires(Quire.sub_posit)
quire_mul_add = _on_quires(Quire.mul_add)
quire_mul_sub = _on_quires(Quire.mul_sub)
quire_from_bytes = _on_quires(lambda q: Quire.from_bytes(q.to_bytes(), q.fmt))
quire_add = _on_two_quires(Quire.add)
quire_sub = _on_two_quires(Quire.sub)


def quire_to_bytes(a: Array, b: Array, n: int, es: int, doublings: int) -> Array:
    return _array(_loaded(a, b, n, es, doublings).to_bytes())


# Sums ----------------------------------------------------------------------------------------------------------------


def quire_dot(a: Array, b: Array, n: int, es: int) -> Array:
    return _array(refnum.quire_dot(_tensor(a), _tensor(b), Posit(n, es)))


def quire_dot_floats(a: Array, b: Array, n: int, es: int, dtype: str) -> Array:
    return _bits(refnum.quire_dot(_floats(a, dtype), _floats(b, dtype), Posit(n, es)))


def posit_mm(a: Array, b: Array, n: int, es: int) -> Array:
    return _array(refnum.posit_mm(_tensor(a), _tensor(b), Posit(n, es)))


def posit_mm_add(a: Array, b: Array, c: Array, n: int, es: int) -> Array:
    return _array(refnum.posit_mm(_tensor(a), _tensor(b), Posit(n, es), c=_tensor(c)))


def posit_mm_floats(a: Array, b: Array, n: int, es: int, dtype: str) -> Array:
    return _bits(refnum.posit_mm(_floats(a, dtype), _floats(b, dtype), Posit(n, es)))


def posit_mm_posit(a: Array, b: Array, n: int, es: int) -> Array:
    return _array(refnum.posit_mm(_tensor(a), _tensor(b), Posit(n, es), mode="posit"))


def posit_mm_posit_add(a: Array, b: Array, c: Array, n: int, es: int) -> Array:
    return _array(refnum.posit_mm(_tensor(a), _tensor(b), Posit(n, es), mode="posit", c=_tensor(c)))


def posit_mm_products(a: Array, b: Array, n: int, es: int, dtype: str) -> Array:
    return _bits(refnum.posit_mm(_tensor(a), _tensor(b), Posit(n, es), mode="products"))


def posit_mm_products_add(a: Array, b: Array, c: Array, n: int, es: int, dtype: str) -> Array:
    return _bits(refnum.posit_mm(_tensor(a), _tensor(b), Posit(n, es), mode="products", c=_floats(c, dtype)))


def posit_mm_cuposit(a: Array, b: Array, c: Array, n: int, es: int, dtype: str, **scaling: Any) -> Array:
    x, y, z = (_floats(side, dtype) for side in (a, b, c))
    return _bits(refnum.posit_mm(x, y, Posit(n, es), mode="cuposit", c=z, **scaling))


# Blocks: a row of integers is a block, the code of its scale first ---------------------------------------------------


def _level(tensor_scale: float | None) -> Tensor | None:
    return None if tensor_scale is None else torch.tensor(tensor_scale, dtype=torch.float32)


def _blocks(found: Array, fmt: str, tensor_scale: float | None = None) -> mx.Blocks:
    row, codes = formats.parse(fmt), _tensor(found)
    width = row.element.width
    elements = codes[..., 1:].flatten(-2).to(torch.uint8 if width <= 8 else torch.int16 if width <= 16 else torch.int32)
    packed = mx.pack4(elements) if row.packed == 2 else elements
    return mx.Blocks(packed, codes[..., 0].to(torch.uint8), row, elements.shape, -1, _level(tensor_scale))


def _quantized(
    bits: Array, *random: Array, fmt: str, dtype: str, tensor_scale: float | None = None, **choices: str
) -> mx.Blocks:
    values, level, random_bits = _floats(bits, dtype), _level(tensor_scale), _random(random)
    return mx.quantize(values, formats.parse(fmt), tensor_scale=level, random_bits=random_bits, **choices)


def mx_quantize(bits: Array, *random: Array, **choices: Any) -> Array:
    blocks = _quantized(bits, *random, **choices)
    return np.hstack([_array(blocks.scales), _array(blocks.codes)])


def mx_dequantize(found: Array, fmt: str, dtype: str, tensor_scale: float | None = None) -> Array:
    return _bits(mx.dequantize(_blocks(found[:, None], fmt, tensor_scale), getattr(torch, dtype)))


def mx_fake_quantize(bits: Array, *random: Array, to_dtype: str, **choices: Any) -> Array:
    return _bits(mx.dequantize(_quantized(bits, *random, **choices), getattr(torch, to_dtype)))


# Other formats, of single numbers and of blocks, by the names that `refnum.formats.parse` reads -----------------------


def scalar_encode(bits: Array, *random: Array, fmt: str, dtype: str, rounding: str) -> Array:
    values, format_ = _floats(bits, dtype), formats.parse(fmt)
    return _array(refnum.encode(values, format_, rounding=rounding, random_bits=_random(random)))


def scalar_decode(codes: Array, fmt: str, dtype: str) -> Array:
    return _bits(refnum.decode(_tensor(codes), formats.parse(fmt), dtype=getattr(torch, dtype)))


def scalar_quantize(bits: Array, *random: Array, fmt: str, dtype: str, rounding: str) -> Array:
    values, format_ = _floats(bits, dtype), formats.parse(fmt)
    return _bits(refnum.quantize(values, format_, rounding=rounding, random_bits=_random(random)))


block_quantize, block_dequantize, block_fake_quantize = mx_quantize, mx_dequantize, scalar_quantize


INSTRUCTIONS = {"mxfp8_e4m3": "mxf8", "mxfp8_e5m2": "mxf8", "mxfp4": "mxf4", "nvfp4": "nvf4"}


def _under(contract: str) -> Callable[..., Array]:
    """A contract by its name, with a place for the instruction that takes the format."""

    def row(
        a: Array, b: Array, *bias: Array, fmt: str, b_fmt: str, dtype: str, tensor_scale: float | None = None
    ) -> Array:
        x, y = _blocks(a, fmt, tensor_scale), _blocks(b, b_fmt)
        addend = _floats(bias[0], "float32") if bias else None
        name = contract.format(INSTRUCTIONS.get(fmt))
        return _bits(refnum.mx_mm(x, y, addend, contract=name, out_dtype=getattr(torch, dtype)))

    return row


mx_mm_exact = mx_mm_exact_add = _under("exact/v1")
mx_mm_chain = mx_mm_chain_add = _under("chain/v1")
mx_mm_tensorcore = mx_mm_tensorcore_add = _under("tc.blackwell.{}/v1")


# Matrices of floats: the right side is transposed --------------------------------------------------------------------


def _gemm(contract: str) -> Callable[..., Array]:
    """A contract by its name, with places for its parameters."""

    def row(
        a: Array,
        b: Array,
        *bias: Array,
        a_dtype: str,
        b_dtype: str,
        dtype: str,
        bias_dtype: str = "",
        **parameters: Any,
    ) -> Array:
        x, y = _floats(a, a_dtype), _floats(b, b_dtype).mT
        addend = _floats(bias[0], bias_dtype)[:, None] if bias else None
        name = contract.format(**parameters)
        return _bits(refnum.gemm(x, y, addend, contract=name, out_dtype=getattr(torch, dtype)))

    return row


gemm_exact = gemm_exact_add = _gemm("exact/v1")
gemm_chain = gemm_chain_add = _gemm("chain/v1")
gemm_tree = gemm_tree_add = _gemm("tree/v1(Kc={chunk})")
gemm_tensorcore = gemm_tensorcore_add = _gemm("tc.{instruction}/v1")
gemm_tcsplit = gemm_tcsplit_add = _gemm("tcsplit/v1(inst=tc.{instruction}, Kc={chunk})")


def gemm_partial(
    a: Array, b: Array, *bias: Array, a_dtype: str, b_dtype: str, dtype: str, shards: int, bias_dtype: str = ""
) -> Array:
    """The sum of exact sums over every so many-th term, the last of which takes the bias."""
    x, y = _floats(a, a_dtype), _floats(b, b_dtype).mT
    parts = [refnum.exact_partial(x[..., i::shards], y[..., i::shards, :]) for i in range(shards - 1)]
    addend = _floats(bias[0], bias_dtype)[:, None] if bias else None
    last = refnum.exact_partial(x[..., shards - 1 :: shards], y[..., shards - 1 :: shards, :], addend)
    return _bits(functools.reduce(operator.add, parts, last).round(getattr(torch, dtype)))


def gemm_int(a: Array, b: Array, *bias: Array, bits: int, **dtypes: str) -> Array:
    return _gemm("int/v1" if bits == 8 else f"int/v1(bits={bits})")(a, b, *bias, **dtypes)


def gemm_sgbi(a: Array, b: Array, *bias: Array, order: str, c: int | None = None, **dtypes: str) -> Array:
    return _gemm(f"sgbi.{order}/0.1.1" if c is None else f"sgbi.{order}(c={c})/0.1.1")(a, b, *bias, **dtypes)


gemm_partial_add, gemm_int_add, gemm_sgbi_add = gemm_partial, gemm_int, gemm_sgbi
