"""Ports of circuits: codes with what a testbench must know of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from ..boundary import INTEGERS, check_choice, check_tensor
from ..errors import DTypeError, FormatError, NonFiniteError, ShapeError
from ..formats import Exponent, FixedPoint, Minifloat, Posit, Scalar
from .hexadecimal import Layout
from .manifests import FARTHEST, KINDS, PORT, WIDEST

NAN_SCALE = 255  #: the code of E8M0 for NaN
E8M0 = ("scale", 8, False, 127)  #: kind, bits, sign and bias of a port of such codes


@dataclass(frozen=True, slots=True, eq=False)
class Port:
    """What one port of a circuit takes or gives: a word a cycle, of one code or of several side by side.

    >>> Port("ma", torch.tensor([[1, -1], [0, -128]]), 8, fraction=6)
    Port(ma: mantissa [2, 2] of 8 bits)

    Parameters
    ----------
    name : str
        An identifier.
    codes : Tensor
        Integers [depth, lanes], lane 0 in the low bits of a word; or [depth] for one lane; or [depth, lanes, limbs]
        where lanes have more than 64 bits: limbs of 64, the least first. Of codes without a sign that fill 64 bits the
        bits count.
    bits : int
        Of a lane.
    kind : str
        mantissa, scale or expected.
    signed : bool
        Whether codes are in two's complement.
    fraction : int
        How many bits of a mantissa lie behind the point.
    bias : int
        What a scale's code exceeds its exponent by.
    nan : bool
        Whether the circuit has a flag for NaN, so that code 255 of a scale like E8M0 may stand here; or that code is no
        NaN.

    Raises
    ------
    FormatError
        When a name, a width, a fraction or a bias is none, or a code has more bits than its lane.
    ShapeError
        When codes have other axes.
    DTypeError
        When they are no integers.
    ContractError
        When there is no such kind.
    NonFiniteError
        When a scale is NaN and the port has no flag for it.
    """

    name: str
    codes: Tensor  #: int64 [depth, lanes, limbs] from here on
    bits: int
    kind: str = "mantissa"
    _: KW_ONLY
    signed: bool = True
    fraction: int = 0
    bias: int = 0
    nan: bool = False

    def __post_init__(self) -> None:
        check_name("Port", "name", self.name, PORT)
        check_choice("Port", "kind", self.kind, KINDS)
        for field in ("signed", "nan"):
            check_choice("Port", field, getattr(self, field), (True, False))
        _check_integer("bits", self.bits, 1, WIDEST)
        for field in ("fraction", "bias"):
            _check_integer(field, getattr(self, field), -FARTHEST, FARTHEST)
        object.__setattr__(self, "codes", self._three_axes(self.codes))
        if self.lanes * self.bits > WIDEST:
            raise FormatError(
                f"Port {self.name} cannot have {self.lanes} lanes of {self.bits} bits. Allowed are words of at most "
                f"{WIDEST} bits. Make it several ports."
            )
        if not self.layout.fits(self.codes.numpy()):
            raise FormatError(
                f"Port {self.name} needs codes of {self.bits} bits, {'signed' if self.signed else 'without a sign'}, "
                f"got {int(self.codes.min())} to {int(self.codes.max())}. Mask them, or make the lanes wider."
            )
        if self._has_nan():
            raise NonFiniteError(
                f"Port {self.name} got the scale code {NAN_SCALE}, which is NaN, in word "
                f"{int((self.codes == NAN_SCALE).nonzero()[0, 0])}. Allowed are finite scales, or nan=True for a "
                "circuit that has a flag for NaN. Leave such blocks out."
            )

    @classmethod
    def of(cls, name: str, codes: Tensor, fmt: Scalar | Exponent, kind: str = "mantissa", *, nan: bool = False) -> Port:
        """A port of codes of a format, whatever their bits above its width."""
        signed = isinstance(fmt, (Posit, Exponent)) or (isinstance(fmt, FixedPoint) and fmt.signed)
        spare = 64 - fmt.width
        codes = codes.to(torch.int64) << spare >> spare
        if not signed and spare:
            codes = codes & ((1 << fmt.width) - 1)
        fraction = fmt.fraction if isinstance(fmt, FixedPoint) else 0
        bias = 0
        if isinstance(fmt, Minifloat) and kind == "scale":
            bias, nan = fmt.bias or 0, nan or fmt.nan is None
        return cls(name, codes, fmt.width, kind, signed=signed, fraction=fraction, bias=bias, nan=nan)

    @property
    def depth(self) -> int:
        """Words."""
        return self.codes.shape[0]

    @property
    def lanes(self) -> int:
        """Codes in a word."""
        return self.codes.shape[1]

    @property
    def layout(self) -> Layout:
        """How codes lie in a word."""
        return Layout(self.lanes, self.bits, self.signed)

    def __repr__(self) -> str:
        return f"Port({self.name}: {self.kind} [{self.depth}, {self.lanes}] of {self.bits} bits)"

    def _three_axes(self, codes: Tensor) -> Tensor:
        check_tensor("Port", "codes", codes)
        if codes.dtype not in INTEGERS:
            raise DTypeError(
                f"Port {self.name} needs integers for codes, got {codes.dtype}. Allowed are uint8, int8, int16, int32 "
                "and int64. Use refnum.encode first."
            )
        limbs = -(-self.bits // 64)
        codes = codes.detach().to("cpu", torch.int64)
        codes = codes[:, None] if codes.dim() == 1 else codes
        codes = codes[..., None] if codes.dim() == 2 else codes
        if codes.dim() != 3 or codes.shape[2] != limbs or not codes.shape[1]:
            raise ShapeError(
                f"Port {self.name} needs codes [depth, lanes, {limbs}] for lanes of {self.bits} bits, got "
                f"{list(codes.shape)}. Allowed are also [depth] and [depth, lanes] up to 64 bits. Reshape them."
            )
        return codes.contiguous()

    def _has_nan(self) -> bool:
        is_e8m0 = (self.kind, self.bits, self.signed, self.bias) == E8M0
        return is_e8m0 and not self.nan and bool((self.codes == NAN_SCALE).any())


# ---- checks --------------------------------------------------------------------------------------


def check_name(function: str, what: str, name: object, pattern: re.Pattern[str]) -> None:
    """The argument can be part of the name of a file."""
    if not isinstance(name, str) or not pattern.fullmatch(name):
        raise FormatError(
            f"{function} has no {what}={name!r}: files and ports are named after it. Allowed is text like "
            f"{pattern.pattern}. Choose another."
        )


def _check_integer(field: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise FormatError(f"Port has no {field}={value!r}. Allowed are {least} to {most}. Choose one of these.")


def check_ports(ports: Sequence[Port]) -> None:
    """There are ports, of one depth, and each has its own name."""
    names = [port.name for port in ports]
    if len(set(names)) < len(names):
        raise FormatError(f"export_readmemh needs ports of different names, got {', '.join(names)}. Rename some.")
    if len({port.depth for port in ports}) != 1:
        got = ", ".join(map(repr, ports)) or "none"
        raise ShapeError(
            f"export_readmemh needs ports of one depth, one or more, got {got}. Give each a word for every cycle."
        )
