"""Comparisons that fail with a table: which elements differ, in which bits, and by how many ULP."""

from __future__ import annotations

from torch import Tensor

from ..errors import ContractError, DTypeError, MismatchError
from ..mx.blocks import Blocks
from .comparisons import Operands, compare
from .ulp import FARTHEST, Row


def assert_bit_equal(
    got: Tensor | Blocks,
    want: Tensor | Blocks,
    *,
    fmt: Row | None = None,
    packed: bool = False,
    operands: Operands | None = None,
) -> None:
    """Nothing when two tensors have the same bits, else an error with a table of what differs.

    >>> assert_bit_equal(torch.tensor([1.0, torch.nan]), torch.tensor([1.0, -torch.nan]))
    >>> assert_bit_equal(torch.tensor([0.0]), torch.tensor([-0.0]))
    Traceback (most recent call last):
        ...
    refnum.errors.MismatchError: got is not bit-equal to want
      shape (1,)  dtype torch.float32  mismatched 1 of 1 (100.00 %)  worst 0 ULP
      index     got bits    want bits   got   want   ULP
      [0]     0x00000000   0x80000000     0     -0    +0
      ULP    0: 1  1: 0  2: 0  3: 0  >=4: 0     places 0..0

    Parameters
    ----------
    got, want : Tensor or Blocks
        Floating-point values, integers, bools, or codes of ``fmt``, of one shape, dtype and device; codes in torch's
        own dtypes of 8 bits and 4 name their format themselves. Or tensors in one block format: their elements and
        their scales are compared, but not what fills the last blocks.
    fmt : Posit, Minifloat, FixedPoint, DMF, Logarithmic or Codebook, optional
        The format of integer codes: the table then shows their values.
    packed : bool
        Whether uint8 holds two codes of 4 bits along the last axis, the even index in the low nibble.
    operands : tuple of Tensor or Blocks, optional
        Of a product, (a, b) or (a, b, bias): errors are then also told in units of ``2**-24 * (|a| @ |b|)``, which is
        what one rounding of a sum in float32 may add. What cancels is far away in ULP and near in these.

    Raises
    ------
    MismatchError
        When they differ; its ``report`` is a `Report`, of blocks a `BlocksReport`, or a tuple of `Difference` where
        shape, dtype, device or the like differ.
    ContractError
        When ``packed`` does not fit the codes, or comes with blocks, as ``fmt`` and ``operands`` must not.
    DTypeError, FormatError
        When they cannot be compared.
    ShapeError
        When the operands are not those of a product of this shape.

    Exactness: bit-exact; errors relative to a product are shown to two digits.
    Rounding: none.
    Special: all NaNs are equal, +0 and -0 are not.
    Standard: none.
    Cost: O(numel) time, that of `torch.equal` where the bits are equal; 32 MB, and a byte an element of blocks. With
        operands, where they differ, their product in float64.
    """
    _assert("assert_bit_equal", got, want, None, fmt, packed, operands)


def assert_ulp(
    got: Tensor | Blocks,
    want: Tensor | Blocks,
    *,
    ulp: int,
    fmt: Row | None = None,
    packed: bool = False,
    operands: Operands | None = None,
) -> None:
    """Nothing when two tensors are close in every element, else an error with a table of those that are not.

    >>> assert_ulp(torch.tensor([1.0]), torch.tensor([1.0 + 2**-22]), ulp=2)
    >>> assert_ulp(torch.tensor([[0x40], [0x01]]), torch.tensor([[0x44], [0x01]]), ulp=1, fmt=Posit(8))
    Traceback (most recent call last):
        ...
    refnum.errors.MismatchError: got is not within 1 ULP of want
      shape (2, 1)  dtype torch.int64  format posit8  mismatched 1 of 2 (50.00 %)  worst 4 ULP
      index    got bits   want bits   got   want   ULP
      [0, 0]       0x40        0x44     1    1.5    -4
      ULP    0: 1  1: 0  2: 0  3: 0  >=4: 1     rows 0..0, columns 0..0

    Parameters
    ----------
    got, want : Tensor or Blocks
        As `assert_bit_equal` takes them. Scales of blocks must be equal: a step of a scale moves all its elements.
    ulp : int
        How far apart two elements may be, as `ulp_distance` counts.
    fmt : Posit, Minifloat, FixedPoint, DMF, Logarithmic or Codebook, optional
        The format of integer codes.
    packed, operands
        As of `assert_bit_equal`.

    Raises
    ------
    MismatchError
        When they differ, as `assert_bit_equal` has it.
    ContractError
        When ``ulp`` is no whole number of 0 or more, or for the reasons of `assert_bit_equal`.
    DTypeError, FormatError, ShapeError
        For the reasons of `assert_bit_equal`.

    Exactness: bit-exact; errors relative to a product are shown to two digits.
    Rounding: none.
    Special: all NaNs are equal, so are +0 and -0; a NaN and a number are never close.
    Standard: none.
    Cost: O(numel) time, that of `torch.equal` where the bits are equal; 32 MB, and a byte an element of blocks. With
        operands, where they differ, their product in float64.
    """
    if isinstance(ulp, bool) or not isinstance(ulp, int) or not 0 <= ulp < FARTHEST:
        raise ContractError(
            f"assert_ulp cannot allow ulp={ulp!r}. Allowed is an int from 0 to 2**63 - 2. Use 0 for equal values."
        )
    _assert("assert_ulp", got, want, ulp, fmt, packed, operands)


def _assert(
    function: str,
    got: Tensor | Blocks,
    want: Tensor | Blocks,
    allowed: int | None,
    fmt: Row | None,
    packed: bool,
    operands: Operands | None,
) -> None:
    if isinstance(got, Blocks) != isinstance(want, Blocks):
        raise DTypeError(
            f"{function} got {type(got).__name__} and {type(want).__name__}. Blocks are compared with Blocks alone. "
            "Dequantize them, or compare their elements and scales."
        )
    if isinstance(got, Blocks) and (fmt, packed, operands) != (None, False, None):
        raise ContractError(
            f"{function} takes no fmt, packed or operands with Blocks, which name their format. Leave them out."
        )
    found = compare(function, got, want, allowed, fmt=fmt, packed=packed, operands=operands)
    if isinstance(found, tuple):
        what = "blocks of one format" if isinstance(got, Blocks) else "tensors of one"
        facts, names = ", and in ".join(map(str, found)), " and ".join(difference.name for difference in found)
        kinds = ", shape, axis, tensor_scale" if isinstance(got, Blocks) else " shape, dtype"
        raise MismatchError(
            f"got and want differ in {facts}. Only {what}{kinds} and device are compared. Give both the same {names}.",
            report=found,
        )
    if found is not None:
        raise MismatchError(str(found), report=found)
