"""The table of operations with kernels, and how refnum gets them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

import refnum
from refnum import backend
from refnum.sums.products import gemm_reference

from . import (
    CONTRACTS,
    INTERFACE,
    __version__,
    dequantized,
    dequantizer,
    elementwise,
    exact,
    fp8cores,
    hardware,
    layouts,
    matrixcores,
    modules,
    ordered,
    posits,
    quantizer,
    quires,
    serving,
)
from .serving import Operation

#: Of several rows of one name the first one that covers the arguments serves them; each is tried by itself.
OPERATIONS = (
    *elementwise.OPERATIONS,
    Operation("gemm", gemm_reference, ordered.gemm, ordered.covered, tuple(ordered.KERNELS.values()), ordered.examples),
    matrixcores.OPERATION,
    fp8cores.OPERATION,
    exact.OPERATION,
    dequantized.OPERATION,
    dequantized.MX_OPERATION,
    posits.OPERATION,
    *quires.OPERATIONS,
    *quantizer.OPERATIONS,
    dequantizer.OPERATION,
    *layouts.OPERATIONS,
)


@dataclass(frozen=True, slots=True)
class Opaque:
    """What torch must know of an operation that refnum has as a function alone."""

    schema: str  #: arguments and result
    fake: Callable[..., Tensor]  #: shape and dtype of the result alone
    call: Callable[..., Tensor]  #: the operation, called as refnum calls its own function


def _codes_like(x: Tensor, fmt: str, rounding: str, random_bits: Tensor | None) -> Tensor:
    return torch.empty(x.shape, dtype=elementwise.container(fmt), device=x.device)


def _floats_like(bits: Tensor, fmt: str, dtype: torch.dtype) -> Tensor:
    return torch.empty(bits.shape, dtype=dtype, device=bits.device)


def _like(x: Tensor, fmt: str, rounding: str, random_bits: Tensor | None) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


def _patterns_like(*arguments: Any) -> Tensor:
    first, fmt = arguments[0], arguments[-1]
    return torch.empty(first.shape, dtype=elementwise.container(fmt), device=first.device)


def _of_patterns(name: str, arity: int) -> Opaque:
    """A function of so many posits, the format behind them."""

    def call(*arguments: Any) -> Tensor:
        *patterns, fmt = arguments
        result: Tensor = getattr(_ops, name)(*patterns, fmt.name)
        return result

    tensors = ", ".join(f"Tensor {letter}" for letter in "abc"[:arity])
    return Opaque(f"({tensors}, str fmt) -> Tensor", _patterns_like, call)


_FROM_FLOATS = "(Tensor x, str fmt, str rounding, Tensor? random_bits) -> Tensor"
_ops = torch.ops.refnum
OPAQUE = {
    "encode": Opaque(_FROM_FLOATS, _codes_like, lambda x, fmt, *rest: _ops.encode(x, fmt.name, *rest)),
    "decode": Opaque(
        "(Tensor bits, str fmt, ScalarType dtype) -> Tensor",
        _floats_like,
        lambda bits, fmt, dtype: _ops.decode(bits, fmt.name, dtype),
    ),
    "quantize": Opaque(_FROM_FLOATS, _like, lambda x, fmt, *rest: _ops.quantize(x, fmt.name, *rest)),
    "posit_convert": Opaque(
        "(Tensor bits, str from_fmt, str to_fmt) -> Tensor",
        _patterns_like,
        lambda bits, from_fmt, to_fmt: _ops.posit_convert(bits, from_fmt.name, to_fmt.name),
    ),
    **{f"posit_{name}": _of_patterns(f"posit_{name}", arity) for name, arity in elementwise.ARITHMETIC.items()},
    **{name: Opaque(*row) for room in (quantizer, dequantizer, layouts) for name, row in room.OPAQUE.items()},
}

LIBRARY = torch.library.Library("refnum", "FRAGMENT")  # type: ignore[no-untyped-call]


# ---- registration --------------------------------------------------------------------------------


def register() -> str | None:
    """Register every kernel: None, or why it was not done. No device is touched."""
    for name, theirs, ours in (
        ("version", refnum.__version__, __version__),
        ("interface", backend.INTERFACE, INTERFACE),
    ):
        if theirs != ours:
            return f"refnum_cuda is for refnum of {name} {ours}, and this one has {theirs}"
    if unknown := [contract for contract in CONTRACTS if contract not in backend.CONTRACTS]:
        return f"refnum_cuda has kernels for {', '.join(unknown)}, which this refnum does not define"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA (torch.version.cuda is None)"
    install("cuda")
    return None


def install(device_type: str) -> None:
    """Have torch and refnum call the kernels for tensors of a type of device."""
    for name, rows in groupby(OPERATIONS, lambda row: row.name):
        if name in OPAQUE:
            opaque = OPAQUE[name]
            LIBRARY.define(name + opaque.schema, tags=(torch.Tag.pt2_compliant_tag,))  # type: ignore[no-untyped-call]
            torch.library.register_fake(f"refnum::{name}", opaque.fake, lib=LIBRARY)
            backend.KERNELS[device_type, name] = opaque.call
        LIBRARY.impl(name, serving.implementation(*rows), device_type.upper())  # type: ignore[no-untyped-call]
    backend.OBSTACLES.append(obstacle)
    backend.NOTES.append(note)


# ---- what status and doctor say ------------------------------------------------------------------


def obstacle() -> str | None:
    """Why torch's current device is not served. It asks the driver, but loads nothing."""
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} finds no GPU (torch.version.cuda is {torch.version.cuda})"
    return modules.obstacle(torch.cuda.current_device())


def note() -> str:
    """What has kernels, and how far those for this GPU were tried."""
    names = ", ".join(dict.fromkeys(operation.name for operation in OPERATIONS))
    tried = "" if obstacle() else f". Files {hardware.summary(modules.served_by(torch.cuda.current_device()))}"
    return (
        f"kernels: {names} of refnum_cuda {__version__}, what they do not cover by the reference on the same device, "
        f"with the same bits; each is compared with the reference when it first meets a device{tried}"
    )


def warmup(device: torch.device | int | None) -> None:
    """Try every operation on a device, by default torch's current one."""
    if device is None and (why := obstacle()):
        raise backend.refusal(why)
    place = torch.device(torch.cuda.current_device() if device is None else device)
    if why := serving.obstacle(place):
        raise backend.refusal(why)
    for operation in OPERATIONS:
        serving.verify(operation, place)
