"""What public functions check, once, before they run: formats, dtypes, devices, shapes, named choices; results.

Every message says what failed, what was got, what is allowed and what to do.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, get_args

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .core.round import RULES
from .errors import ContractError, DTypeError, FormatError, ShapeError, UncoveredError
from .formats import (
    DMF,
    Block,
    Codebook,
    Exponent,
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
    holds,
    keeps,
)

FLOAT_ROWS: dict[torch.dtype, Minifloat] = {
    torch.float16: float16,
    torch.bfloat16: bfloat16,
    torch.float32: float32,
    torch.float64: float64,
}
SCALARS: Any = get_args(Scalar)  #: the records; before torch 2.11 torch.compile follows no union in isinstance
FORMATS: Any = get_args(Format)
SIGNED = {8: torch.int8, 16: torch.int16, 32: torch.int32, 64: torch.int64}
INTEGERS = (torch.uint8, *SIGNED.values())


def container(fmt: Scalar) -> torch.dtype:
    """The integer dtype in which the codes of the format come out: uint8 for 8 bits that have no sign of their own."""
    integers = isinstance(fmt, Posit) or (isinstance(fmt, FixedPoint) and fmt.signed)
    return torch.uint8 if fmt.container_bits == 8 and not integers else SIGNED[fmt.container_bits]


def check_scalar(function: str, fmt: object) -> None:
    """The argument is a format of single values."""
    if isinstance(fmt, Block):
        raise FormatError(
            f"{function} needs a format of single values, got {fmt}. Pass a Posit or a Minifloat, or use "
            "refnum.mx.quantize for blocks."
        )
    if not isinstance(fmt, SCALARS):
        raise FormatError(
            f"{function} needs a format record, got {fmt!r}. "
            "Pass Posit(n, es), Minifloat(...), or a row of refnum.formats.named()."
        )
    _fix(fmt)


def check_format(function: str, fmt: object) -> None:
    """The argument is a floating-point format: a posit or a minifloat."""
    check_scalar(function, fmt)
    if not isinstance(fmt, FORMATS):
        raise FormatError(
            f"{function} needs a floating-point format, got {fmt}. Allowed are Posit and Minifloat. Decode the codes "
            "to float64, or quantize values."
        )


def _fix(fmt: Scalar | Exponent) -> None:
    """Let torch.compile take the record's integers as constants.

    Once it has seen two records in one place it would take them as unknowns; reading an integer as an index makes it
    compile for the value instead.
    """
    for name in _NUMBERS[type(fmt)]:
        operator.index(getattr(fmt, name))


_NUMBERS: dict[type[Scalar | Exponent], tuple[str, ...]] = {
    Posit: ("n", "es"),
    Minifloat: ("exponent", "mantissa", "bias"),
    DMF: ("exponent", "mantissa", "bias"),
    FixedPoint: ("width", "fraction"),
    Logarithmic: ("width", "bias"),
    Codebook: ("width", "significand_bits", "unit_scale", "zero"),  # its tables are constants as they are
    Exponent: ("width",),
}


def check_encodable(function: str, fmt: Scalar) -> None:
    """The format can be written."""
    if isinstance(fmt, Minifloat) and not fmt.subnormals:
        raise FormatError(
            f"{function} cannot write {fmt}, a scale format that is only decoded: it has no 0. "
            f"Use refnum.decode for its codes{' (byte b is 2**(b - 127))' if fmt == e8m0 else ''}."
        )


def check_posit(function: str, fmt: object) -> None:
    """The argument is a posit format."""
    if not isinstance(fmt, Posit):
        raise FormatError(
            f"{function} needs a posit format, got {fmt!r}. Pass Posit(n, es), for example refnum.posit16."
        )
    _fix(fmt)


def check_block(function: str, fmt: object) -> None:
    """The argument is a block format."""
    if not isinstance(fmt, Block):
        raise FormatError(
            f"{function} needs a block format, got {fmt!r}. Pass Block(element, scale, size), or a row such as "
            "refnum.mxfp4."
        )
    fix_block(fmt)


def fix_block(fmt: Block) -> None:
    """Let torch.compile take the integers of all three parts as constants."""
    for part in (fmt.element, fmt.scale):
        _fix(part)
    for size in fmt.tile:
        operator.index(size)


def check_choice(function: str, name: str, got: object, allowed: Iterable[object]) -> None:
    """A knob has one of its values."""
    allowed = tuple(allowed)
    if not any(type(got) is type(choice) and got == choice for choice in allowed):
        raise ContractError(f"{function} has no {name}={got!r}. Choose one of {', '.join(map(str, allowed))}.")


def check_function(function: str, name: str, got: object) -> None:
    """The argument can be called."""
    if not callable(got):
        raise DTypeError(
            f"{function} needs a function for {name}, got {type(got).__name__}. Allowed is what can be called. Pass "
            "the function itself."
        )


def check_tensor(function: str, name: str, x: object) -> None:
    """The argument is a dense tensor."""
    if not isinstance(x, Tensor):
        raise DTypeError(f"{function} needs a tensor for {name}, got {type(x).__name__}. Use torch.as_tensor first.")
    if x.is_nested:
        raise DTypeError(
            f"{function} needs a dense tensor for {name}, got a nested one. Use {name}.to_padded_tensor(0.0) first."
        )
    if x.layout != torch.strided:
        raise DTypeError(
            f"{function} needs a dense tensor for {name}, got layout {x.layout}. Use {name}.to_dense() first."
        )
    if is_dual(x):  # torch would drop the tangent
        reason = "derivatives in forward mode are not defined here"
        raise UncoveredError(
            f"{function} got a dual tensor for {name}: {reason}. Allowed are plain tensors. Use backward, or "
            f"{name}.detach().",
            op=function,
            reason=reason,
        )


def is_dual(x: Tensor) -> bool:
    """Whether the tensor carries a derivative in forward mode."""
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None  # type: ignore[no-untyped-call]


def check_values(function: str, name: str, x: Tensor) -> None:
    """The tensor has values to read."""
    if x.is_meta:
        raise DTypeError(f"{function} reads the values of {name}, and a meta tensor has none. Pass a tensor with data.")


def check_floats(function: str, name: str, x: object) -> None:
    """The argument is a tensor of one of the four floating-point dtypes."""
    check_tensor(function, name, x)
    assert isinstance(x, Tensor)
    if x.dtype not in FLOAT_ROWS:
        raise DTypeError(
            f"{function} needs floating-point values for {name}, got {x.dtype}. "
            "Allowed are float16, bfloat16, float32 and float64. Convert the tensor first."
        )


def check_codes(function: str, name: str, x: object, fmt: Scalar | Exponent) -> None:
    """The argument is an integer tensor that can hold codes of the format."""
    check_tensor(function, name, x)
    assert isinstance(x, Tensor)
    allowed = [t for t in INTEGERS if _fits(t, fmt)]
    if x.dtype not in allowed:
        names = ", ".join(str(t).removeprefix("torch.") for t in allowed)
        raise DTypeError(
            f"{function} needs {fmt} patterns for {name}, got {x.dtype}. Allowed are {names}. "
            "Use refnum.encode to turn floating-point values into patterns."
        )


def _fits(dtype: torch.dtype, fmt: Scalar | Exponent) -> bool:
    return dtype.itemsize * 8 >= fmt.width and not (isinstance(fmt, Posit) and dtype == torch.uint8)


def check_float_dtype(function: str, dtype: object) -> None:
    """The dtype is one of the four floating-point dtypes."""
    if dtype not in FLOAT_ROWS:
        raise DTypeError(
            f"{function} cannot return {dtype}. Allowed are float16, bfloat16, float32 and float64. Choose one."
        )


def check_result_dtype(function: str, dtype: object, fmt: Scalar, remedy: str = "Use dtype={}.") -> None:
    """The floating-point dtype holds every value of the format; the remedy says what to do with one that does."""
    check_float_dtype(function, dtype)
    assert isinstance(dtype, torch.dtype)
    if holds(FLOAT_ROWS[dtype], fmt):
        return
    wide = [t for t, row in FLOAT_ROWS.items() if holds(row, fmt)]
    none = "No dtype does: refnum.posit.to_float rounds once, to_decimal is exact."
    remedy = remedy.format(wide[0]) if wide else none
    raise FormatError(
        f"{function} cannot return {fmt} as {str(dtype).removeprefix('torch.')} "
        f"({fmt.significand_bits} significant bits, scales up to 2**{fmt.max_scale}; "
        f"a result dtype must hold every value exactly). {remedy}"
    )


def check_keeps(function: str, dtype: torch.dtype, fmt: Scalar) -> None:
    """Values of the dtype, rounded to the format, are values of the dtype again."""
    if keeps(FLOAT_ROWS[dtype], fmt):
        return
    wide = [t for t, row in FLOAT_ROWS.items() if keeps(row, fmt) and holds(row, FLOAT_ROWS[dtype])]
    raise FormatError(
        f"{function} cannot round {str(dtype).removeprefix('torch.')} to {fmt}: some results do not fit the dtype. "
        + (f"Convert the tensor to {wide[0]} first." if wide else "Use refnum.encode.")
    )


def check_rounding(function: str, rounding: object, random_bits: object) -> None:
    """The rounding has a name, and random bits come exactly with the stochastic one."""
    check_choice(function, "rounding", rounding, RULES)
    if rounding != "stochastic":
        if random_bits is not None:
            raise ContractError(
                f"{function} takes random_bits only with rounding='stochastic', got rounding={rounding!r}. "
                "Leave them out."
            )
        return
    if not isinstance(random_bits, Tensor) or random_bits.dtype not in INTEGERS:
        got = random_bits.dtype if isinstance(random_bits, Tensor) else random_bits
        raise ContractError(
            f"{function} with rounding='stochastic' needs random_bits, got {got}. "
            "Allowed are integers, of which the low 16 bits are read. Pass torch.randint(0, 1 << 16, x.shape)."
        )


def check_device(function: str, **tensors: Tensor) -> None:
    """The tensors are on one device."""
    if len({x.device for x in tensors.values()}) > 1:
        got = ", ".join(f"{name} on {x.device}" for name, x in tensors.items())
        raise DTypeError(f"{function} needs its tensors on one device, got {got}. Move them together.")


def broadcast(function: str, **tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors expanded to their common shape, as torch broadcasts; on one device."""
    check_device(function, **tensors)
    if len(tensors) == 1:
        return tuple(tensors.values())
    shape = broadcast_shape(function, **{name: x.shape for name, x in tensors.items()})
    return tuple(x.expand(shape) for x in tensors.values())


def broadcast_shape(function: str, **shapes: torch.Size) -> torch.Size:
    """The common shape, as torch broadcasts."""
    try:
        shape: torch.Size = torch.broadcast_shapes(*shapes.values())  # type: ignore[no-untyped-call]
    except RuntimeError:
        got = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
        raise ShapeError(
            f"{function} cannot broadcast {got}. Sizes must be equal or 1, from the last one on. Reshape them."
        ) from None
    return shape


# ---- results -------------------------------------------------------------------------------------

VIEWS = torch._C.DispatchKeySet(torch._C.DispatchKey.ADInplaceOrView)


def without_view(reference: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The reference, of whose result torch does not know that it may be a view: those must not be written to."""

    @wraps(reference)
    def run(*args: Any) -> Tensor:
        result = reference(*args)
        with torch._C._ExcludeDispatchKeyGuard(VIEWS):
            return result.detach()

    return run
