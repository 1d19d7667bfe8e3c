"""The quire, section 5.11: a fixed-point register in which sums and products of posits are exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..boundary import broadcast, check_choice, check_codes, check_posit, check_tensor, container
from ..core.decode import LIMB, Exact, decode
from ..core.exact import DIGIT, WORD, WORD_MASK, add_to_words, carry_words, from_words, product_limbs
from ..core.exact import negate as negated
from ..core.round import encode
from ..errors import FormatError, ShapeError
from ..formats import Posit

ORDERS = ("big", "little")  #: which byte of a register comes first


@dataclass(frozen=True, slots=True)
class Register:
    """How quires of a format lie in words: ``[words, columns]`` int64, one column a quire, carried at need.

    The register's sign bit is the top bit of the last word but one; the last word takes what carries out of it. Below
    the register's lowest bit, minpos squared, lie bits that stay 0: they let a product be added without trimming it
    first.
    """

    fmt: Posit

    @property
    def limbs(self) -> int:
        """Limbs of a product of two significands."""
        return 1 if self.fmt.significand_bits <= DIGIT else 2

    @property
    def unused(self) -> int:
        """Bits below the register's lowest."""
        least = self.limbs * LIMB
        return least + -(least + self.fmt.quire_bits) % WORD

    @property
    def words(self) -> int:
        """Words of a column."""
        return (self.unused + self.fmt.quire_bits) // WORD + 1

    @property
    def lowest(self) -> int:
        """log2 of what the lowest bit of the first word is worth."""
        return -2 * self.fmt.max_scale - self.unused

    def zeros(self, columns: int, device: torch.device) -> Tensor:
        """Registers that hold 0."""
        return torch.zeros(self.words, columns, dtype=torch.int64, device=device)

    def add(self, words: Tensor, column: Tensor, x: Exact) -> None:
        """Add values to columns."""
        position = x.exponent - (len(x.significand) * LIMB - 1) - self.lowest
        add_to_words(words, column, x.significand, x.sign, position.clamp(min=0))

    def add_products(self, words: Tensor, column: Tensor, a: Exact, b: Exact) -> None:
        """Add products of values to columns."""
        bits = self.fmt.significand_bits
        product = product_limbs(a.significand, b.significand, bits, bits)
        self.add(words, column, Exact(a.sign ^ b.sign, product, a.exponent + b.exponent + 1, a.kind | b.kind))

    def overflowed(self, words: Tensor) -> Tensor:
        """Mask of the carried columns whose magnitude reaches 2**(quire_bits - 1) units, the pattern 10..0 included."""
        top, carried = words[-2], words[-1]
        sign = -(top >> (WORD - 1))
        least = (top == 1 << (WORD - 1)) & (words[:-2] == 0).all(0)
        return -((carried != sign) | least).to(torch.int64)

    @property
    def bytes(self) -> int:
        """Bytes that hold the register."""
        return -(-self.fmt.quire_bits // 8)

    def to_bytes(self, words: Tensor) -> Tensor:
        """[columns, bytes] uint8 of carried columns, the least significant byte first, extended by the sign."""
        padded = torch.cat([words[:-1], words[-1:].expand(2, -1)])  # the last word is all sign
        skipped, shift = divmod(self.unused, WORD)
        low, high = padded[skipped:-1], padded[skipped + 1 :]
        shifted = ((low >> shift) | (high << (WORD - shift))) & WORD_MASK
        parts = torch.stack([shifted >> 8 * i & 0xFF for i in range(WORD // 8)], 1)
        return parts.flatten(0, 1)[: self.bytes].T.to(torch.uint8)

    def from_bytes(self, parts: Tensor) -> Tensor:
        """Carried columns that hold the low quire_bits of such bytes."""
        columns, count = parts.shape
        padded = torch.zeros(columns, 4 * self.words, dtype=torch.int64, device=parts.device)
        padded[:, :count] = parts
        weights = 1 << torch.arange(0, WORD, 8, device=parts.device)
        plain = (padded.view(columns, self.words, 4) * weights).sum(-1).T
        skipped, shift = divmod(self.unused, WORD)
        words = plain.new_zeros(plain.shape)
        words[skipped:] = plain[: self.words - skipped] << shift & WORD_MASK
        words[skipped + 1 :] |= plain[: self.words - skipped - 1] >> (WORD - shift)
        words[-1] = -(words[-2] >> (WORD - 1))  # the register's top bit is the sign
        return words

    def rounded(self, words: Tensor, kind: Tensor) -> Tensor:
        """Patterns of carried columns, as int64."""
        return encode(from_words(words, self.lowest, kind), self.fmt)


def _shape(shape: object) -> torch.Size:
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in sizes):
        raise ShapeError(f"Quire needs a shape of whole numbers from 0 on, got {shape!r}. Pass a tuple of ints.")
    return torch.Size(sizes)


class Quire:
    """A tensor of quires, all 0 at first. The functions of section 5.11 change it in place and return it.

    >>> q = Quire(Posit(8), (2,))
    >>> a = torch.tensor([0x7F, 0x01], dtype=torch.int8)  # maxpos, minpos
    >>> q.mul_add(a, a).mul_sub(a, a).add_posit(a).to_posit()
    tensor([127,   1], dtype=torch.int8)
    >>> Quire.from_posit(torch.tensor(0x40), Posit(8)).to_bytes().tolist()  # 1 is 2**48 units of minpos**2
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]

    Parameters
    ----------
    fmt : Posit
        The format of what goes in and comes out.
    shape : sequence of int
        The shape of the tensor of quires; patterns that go in broadcast to it.
    device : torch.device, optional
        Where it lives; the CPU by default.

    Raises
    ------
    DTypeError
        When operands are no dense tensors of integers that hold the format, or live elsewhere.
    FormatError
        When ``fmt`` is no posit format, or another quire has another one.
    ShapeError
        When ``shape`` is no shape, operands do not broadcast to it, or bytes are not as many as a quire has.
    ContractError
        When there is no such order of bytes.

    Exactness: bit-exact while no partial sum leaves the register. Fewer than 2**31 products never do, nor do fewer than
        2**(max_scale + 31) posits, which is the quire sum limit: 2**(23 + 4n) for es = 2.
    Rounding: none but in `to_posit`, once.
    Special: NaR in makes the quire NaR, and so does a magnitude of 2**(W - 1) units or more; it stays until `clear`.
    Standard: Posit Standard (2022) 3.4 and 5.11; W = 16n bits, for es other than 2 refnum's W = 4 * (n - 2) * 2**es +
        32.
    Cost: O(W / 32) time and W / 4 bytes a quire.
    """

    def __init__(self, fmt: Posit, shape: Sequence[int] = (), *, device: torch.device | str | None = None) -> None:
        check_posit("Quire", fmt)
        self.fmt = fmt
        self.shape = _shape(shape)
        self._register = Register(fmt)
        place = torch.device(device if device is not None else "cpu")
        self._words = self._register.zeros(self.shape.numel(), place)
        self._nar = torch.zeros(self.shape.numel(), dtype=torch.int64, device=place)

    @classmethod
    def from_posit(cls, bits: Tensor, fmt: Posit) -> Quire:
        """pToQ: quires that hold the values of patterns."""
        check_posit("Quire.from_posit", fmt)
        check_codes("Quire.from_posit", "bits", bits, fmt)
        return cls(fmt, bits.shape, device=bits.device).add_posit(bits)

    def to_posit(self) -> Tensor:
        """qToP: patterns, rounded once to nearest, ties to the even pattern."""
        return self._register.rounded(self._words, self._nar).to(container(self.fmt)).view(self.shape)

    def to_bytes(self, order: str = "big") -> Tensor:
        """The standard's bit string in bytes, uint8 ``[*shape, ceil(W / 8)]``, extended by the sign; NaR is 10..0.

        ``order`` says which byte comes first: the most significant one in ``big``, as bits are written.
        """
        check_choice("Quire.to_bytes", "order", order, ORDERS)
        nar = self._register.to_bytes(self._nar_words())
        parts = torch.where(self._nar[:, None] != 0, nar, self._register.to_bytes(self._words))
        return (parts.flip(1) if order == "big" else parts).reshape(*self.shape, self._register.bytes)

    @classmethod
    def from_bytes(cls, data: Tensor, fmt: Posit, order: str = "big") -> Quire:
        """Quires from the standard's bit string, as `to_bytes` writes it; only the low W bits are read."""
        check_posit("Quire.from_bytes", fmt)
        check_choice("Quire.from_bytes", "order", order, ORDERS)
        check_tensor("Quire.from_bytes", "data", data)
        count = Register(fmt).bytes
        if data.dtype != torch.uint8 or data.dim() == 0 or data.shape[-1] != count:
            raise ShapeError(
                f"Quire.from_bytes needs uint8 data of {count} bytes a quire of {fmt}, got {data.dtype} of shape "
                f"{tuple(data.shape)}. The last axis holds the bytes. Reshape or convert it."
            )
        quire = cls(fmt, data.shape[:-1], device=data.device)
        parts = data.reshape(-1, count)
        quire._words = quire._register.from_bytes(parts.flip(1) if order == "big" else parts)
        return quire._settle()

    def _nar_words(self) -> Tensor:
        words = self._register.zeros(1, self._words.device)
        words[-2], words[-1] = 1 << (WORD - 1), -1
        return words

    def clear(self) -> Quire:
        """Back to 0, from NaR too."""
        self._words.zero_()
        self._nar.zero_()
        return self

    def clone(self) -> Quire:
        """An independent copy."""
        copy = Quire(self.fmt, self.shape, device=self._words.device)
        copy._words, copy._nar = self._words.clone(), self._nar.clone()
        return copy

    def negate(self) -> Quire:
        """qNegate: change the sign."""
        self._words.neg_()
        return self._settle()

    def abs(self) -> Quire:
        """qAbs: drop the sign."""
        sign = self._words[-1] >> 63
        self._words.bitwise_xor_(sign).sub_(sign)
        return self._settle()

    def add_posit(self, p: Tensor) -> Quire:
        """qAddP: add posits."""
        return self._accumulate("add_posit", p=p)

    def sub_posit(self, p: Tensor) -> Quire:
        """qSubP: subtract posits."""
        return self._accumulate("sub_posit", negative=True, p=p)

    def add(self, other: Quire) -> Quire:
        """qAddQ: add a tensor of quires of the same format and shape."""
        return self._accumulate_quire("add", other, 1)

    def sub(self, other: Quire) -> Quire:
        """qSubQ: subtract a tensor of quires of the same format and shape."""
        return self._accumulate_quire("sub", other, -1)

    def mul_add(self, a: Tensor, b: Tensor) -> Quire:
        """qMulAdd: add exact products of posits."""
        return self._accumulate("mul_add", a=a, b=b)

    def mul_sub(self, a: Tensor, b: Tensor) -> Quire:
        """qMulSub: subtract exact products of posits."""
        return self._accumulate("mul_sub", negative=True, a=a, b=b)

    def __repr__(self) -> str:
        return f"Quire({self.fmt}, {tuple(self.shape)})"

    def _accumulate(self, function: str, *, negative: bool = False, **patterns: Tensor) -> Quire:
        for name, x in patterns.items():
            check_codes(f"Quire.{function}", name, x, self.fmt)
        values = [decode(x.reshape(-1), self.fmt) for x in self._matched(function, patterns)]
        if negative:
            values[0] = negated(values[0])
        column = torch.arange(len(self._nar), device=self._nar.device)
        (self._register.add if len(values) == 1 else self._register.add_products)(self._words, column, *values)
        for value in values:
            self._nar |= value.kind
        return self._settle()

    def _matched(self, function: str, patterns: dict[str, Tensor]) -> tuple[Tensor, ...]:
        probe = self._nar.new_empty(()).expand(self.shape)
        matched = broadcast(f"Quire.{function}", quire=probe, **patterns)
        if matched[0].shape != self.shape:
            raise ShapeError(
                f"Quire.{function} needs operands that broadcast to the quire's shape {tuple(self.shape)}, "
                f"got {', '.join(str(tuple(x.shape)) for x in patterns.values())}. Make a quire of the larger shape."
            )
        return matched[1:]

    def _accumulate_quire(self, function: str, other: Quire, factor: int) -> Quire:
        if not isinstance(other, Quire) or other.fmt != self.fmt:
            raise FormatError(
                f"Quire.{function} needs a Quire of {self.fmt}, got {other!r}. Round it to a posit and convert that."
            )
        if other.shape != self.shape:
            raise ShapeError(
                f"Quire.{function} needs quires of one shape, got {tuple(self.shape)} and {tuple(other.shape)}. "
                "Make them equal."
            )
        self._words += factor * other._words
        self._nar |= other._nar
        return self._settle()

    def _settle(self) -> Quire:
        """Carry, and turn into NaR what has left the register."""
        carry_words(self._words)
        self._nar |= self._register.overflowed(self._words)
        self._words &= ~self._nar  # what a NaR held no longer counts
        return self
