"""Tensors in a block format, and how a tensor is cut into blocks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..boundary import check_block, check_tensor
from ..errors import ContractError, DTypeError, FormatError, ShapeError
from ..formats import (
    Block,
    Element,
    FixedPoint,
    Minifloat,
    Scale,
    e2m1,
    e4m3,
    e4m3fnuz,
    e5m2,
    e5m2fnuz,
    e8m0,
    float32,
)
from .packing import pack4, unpack4

#: torch's own dtypes, which are views at the edge
TORCH: dict[Element | Scale, torch.dtype] = {
    e2m1: torch.float4_e2m1fn_x2,
    e4m3: torch.float8_e4m3fn,
    e5m2: torch.float8_e5m2,
    e4m3fnuz: torch.float8_e4m3fnuz,
    e5m2fnuz: torch.float8_e5m2fnuz,
    e8m0: torch.float8_e8m0fnu,
}


@dataclass(frozen=True, eq=False)
class Blocks:
    """A tensor in a block format: codes of elements, and the scales that they share.

    >>> import refnum
    >>> from refnum import mx
    >>> blocks = mx.quantize(torch.linspace(-3, 3, 32), refnum.mxfp4)
    >>> blocks.elements.shape, blocks.scales, mx.dequantize(blocks)[-3:]
    (torch.Size([16]), tensor([126], dtype=torch.uint8), tensor([3., 3., 3.]))

    Parameters
    ----------
    elements : Tensor
        Codes in the tensor's own shape, filled up to whole blocks along the axis: uint8, above 8 bits int16, above 16
        int32, of which the low bits are read. Those of 4 bits are packed two a byte along the axis, the even index in
        the low nibble. torch's ``float4_e2m1fn_x2``, ``float8_e4m3fn`` and ``float8_e5m2`` are taken as views.
    scales : Tensor
        One a block: uint8 codes (``float8_e8m0fnu`` and ``float8_e4m3fn`` as views), or float32 values where the
        format's scales are float32.
    fmt : Block
        The format.
    shape : torch.Size
        The shape of the tensor that the blocks stand for.
    axis : int
        The axis along which elements share a scale, counted from the last one: -1.
    tensor_scale : Tensor, optional
        A factor of all values, 0-d float32; not where scales are float32.

    Raises
    ------
    ContractError
        When a tensor scale comes with float32 scales.
    FormatError
        When ``fmt`` is no block format.
    DTypeError
        When elements or scales are of another dtype.
    ShapeError
        When the elements or the scales are not as many as the shape has blocks.
    """

    elements: Tensor
    scales: Tensor
    fmt: Block
    shape: torch.Size
    axis: int = -1
    tensor_scale: Tensor | None = None

    def __post_init__(self) -> None:
        check_block("Blocks", self.fmt)
        shape, axis = torch.Size(self.shape), normalised_axis("Blocks", self.shape, self.axis, self.fmt)
        for name, value in {"shape": shape, "axis": axis}.items():
            object.__setattr__(self, name, value)
        scale_dtype = torch.float32 if self.fmt.scale == float32 else torch.uint8
        for name, dtype, row in (
            ("elements", stored_dtype(self.fmt), self.fmt.element),
            ("scales", scale_dtype, self.fmt.scale),
        ):
            object.__setattr__(self, name, _viewed(name, getattr(self, name), dtype, TORCH.get(row)))
        for name, want in zip(("elements", "scales"), stored_shapes(shape, axis, self.fmt), strict=True):
            got = getattr(self, name).shape
            if got != want:
                raise ShapeError(
                    f"Blocks needs {name} of shape {tuple(want)} for a {self.fmt} tensor of shape {tuple(shape)}, got "
                    f"{tuple(got)}. Undo a shuffle or a transposition first."
                )
        check_tensor_scale("Blocks", self.tensor_scale)
        if self.fmt.scale == float32 and self.tensor_scale is not None:
            raise ContractError(
                f"Blocks has no tensor_scale for {self.fmt}, whose scales are float32: float64 would not hold the "
                "values. Allowed is None. Make the factor part of the scales."
            )

    def __repr__(self) -> str:
        """The format and the shapes; the codes are many.

        >>> from refnum import mx, mxfp4
        >>> mx.quantize(torch.ones(2, 64), mxfp4)
        Blocks(mxfp4, shape=(2, 64), axis=-1, elements=uint8 [2, 32], scales=uint8 [2, 2])
        """
        stored = (
            f"{name}={str(x.dtype).removeprefix('torch.')} {list(x.shape)}"
            for name, x in {"elements": self.elements, "scales": self.scales}.items()
        )
        factor = "" if self.tensor_scale is None else f", tensor_scale={self.tensor_scale.item():g}"
        return f"Blocks({self.fmt}, shape={tuple(self.shape)}, axis={self.axis}, {', '.join(stored)}{factor})"

    @property
    def codes(self) -> Tensor:
        """Codes of the elements, one by one, in the tensor's shape and the dtype of ``elements``."""
        codes = self.elements.movedim(self.axis, -1)
        codes = (unpack4(codes) if self.fmt.packed == 2 else codes)[..., : self.shape[self.axis]]
        codes = codes.movedim(-1, self.axis)
        return codes[..., : self.shape[-2], :] if self.fmt.tile[0] > 1 else codes

    def to_torch(self) -> tuple[Tensor, Tensor]:
        """Elements and scales as views in torch's own dtypes, of those that it has.

        >>> import refnum
        >>> from refnum import mx
        >>> [x.dtype for x in mx.quantize(torch.ones(32), refnum.mxfp4).to_torch()]
        [torch.float4_e2m1fn_x2, torch.float8_e8m0fnu]

        Raises
        ------
        FormatError
            When torch has no dtype for the elements or the scales.
        """
        known = {**TORCH, float32: torch.float32}
        for name, row in (("elements", self.fmt.element), ("scales", self.fmt.scale)):
            if row not in known:
                raise FormatError(
                    f"to_torch cannot name the {name} of {self.fmt}: torch has no dtype for {row}. It has for e2m1, "
                    f"e4m3, e5m2 and e8m0. Use the codes in {name}."
                )
        return self.elements.view(known[self.fmt.element]), self.scales.view(known[self.fmt.scale])


def _viewed(name: str, x: object, dtype: torch.dtype, native: torch.dtype | None) -> Tensor:
    check_tensor("Blocks", name, x)
    assert isinstance(x, Tensor)
    if x.dtype == native:
        return x.view(dtype)
    if x.dtype != dtype:
        allowed = [str(t).removeprefix("torch.") for t in (dtype, native) if t is not None]
        raise DTypeError(
            f"Blocks needs {' or '.join(allowed)} for {name}, got {x.dtype}. View the codes as {allowed[0]}."
        )
    return x


def check_tensor_scale(function: str, scale: object) -> None:
    """A factor for the whole tensor is a single float32, if there is one."""
    if scale is None:
        return
    check_tensor(function, "tensor_scale", scale)
    assert isinstance(scale, Tensor)
    if scale.dtype != torch.float32:
        raise DTypeError(f"{function} needs a float32 tensor_scale, got {scale.dtype}. Convert it.")
    if scale.dim():
        raise ShapeError(f"{function} needs a tensor_scale of shape (), got {tuple(scale.shape)}. Use reshape(()).")


def normalised_axis(function: str, shape: torch.Size, axis: object, fmt: Block) -> int:
    """The axis, counted from the last one."""
    dims, rows = len(shape), fmt.tile[0]
    if not dims:
        raise ShapeError(f"{function} needs at least one axis for blocks, got a 0-d tensor. Use reshape(1).")
    if isinstance(axis, bool) or not isinstance(axis, int) or not -dims <= axis < dims:
        raise ShapeError(
            f"{function} has no axis={axis!r} in a tensor of {dims} axes. Choose one from {-dims} to {dims - 1}."
        )
    axis = axis % dims - dims
    if rows > 1 and (axis != -1 or dims < 2):
        raise ShapeError(
            f"{function} needs a tensor of two axes or more and axis=-1 for the tiles of {fmt}, got {dims} axes and "
            f"axis={axis}. Transpose the tensor."
        )
    return axis


def stored_dtype(fmt: Block) -> torch.dtype:
    """The integers in which codes of elements are stored."""
    width = fmt.element.width
    return torch.uint8 if width <= 8 else torch.int16 if width <= 16 else torch.int32


def has_kernels(fmt: Block) -> bool:
    """Whether a backend may be asked: for formats of MX and NVFP4, and such as differ in the numbers of their rows."""
    element = fmt.element
    plain = isinstance(element, Minifloat) or (isinstance(element, FixedPoint) and element.symmetric)
    return plain and element.width <= 8 and fmt.rule is None and fmt.scale in (e8m0, e4m3, float32)


def stored_shapes(shape: torch.Size, axis: int, fmt: Block) -> tuple[torch.Size, torch.Size]:
    """The shapes of elements and scales."""
    rows, columns = fmt.tile
    elements, scales = list(shape), list(shape)
    scales[axis] = -(-shape[axis] // columns)
    elements[axis] = scales[axis] * columns
    if rows > 1:
        scales[-2] = -(-shape[-2] // rows)
        elements[-2] = scales[-2] * rows
    elements[axis] = -(-elements[axis] // fmt.packed)
    return torch.Size(elements), torch.Size(scales)


# ---- cutting -------------------------------------------------------------------------------------


def to_blocks(x: Tensor, axis: int, fmt: Block) -> Tensor:
    """[blocks, elements] of a tensor of whole blocks; a view where the blocks lie one behind the other."""
    rows, columns = fmt.tile
    x = x.movedim(axis, -1)
    if rows > 1:
        *batch, m, n = x.shape
        x = x.reshape(*batch, m // rows, rows, n // columns, columns).transpose(-3, -2)
    return x.reshape(-1, rows * columns)


def from_blocks(blocks: Tensor, shape: torch.Size, axis: int, fmt: Block) -> Tensor:
    """The tensor of this shape, of whole blocks, that `to_blocks` has cut."""
    rows, columns = fmt.tile
    moved = torch.Size([*(n for i, n in enumerate(shape, -len(shape)) if i != axis), shape[axis]])
    if rows > 1:
        *batch, m, n = moved
        blocks = blocks.view(*batch, m // rows, n // columns, rows, columns).transpose(-3, -2)
    return blocks.reshape(moved).movedim(-1, axis)


def padded(x: Tensor, axis: int, fmt: Block) -> Tensor:
    """x, filled up with zeros to whole blocks."""
    rows, columns = fmt.tile
    missing = [0] * (2 * x.dim())
    missing[2 * (-axis - 1) + 1] = -x.shape[axis] % columns
    if rows > 1:
        missing[3] = -x.shape[-2] % rows
    return torch.nn.functional.pad(x, missing) if any(missing) else x


def packed(codes: Tensor, axis: int, fmt: Block) -> Tensor:
    """Codes of whole blocks as they are stored."""
    if fmt.packed == 1:
        return codes
    return pack4(padded_even(codes.movedim(axis, -1))).movedim(-1, axis)


def padded_even(codes: Tensor) -> Tensor:
    """Codes filled up to an even number along the last axis: blocks may have an odd size."""
    return torch.nn.functional.pad(codes, (0, 1)) if codes.shape[-1] % 2 else codes
