"""Test vectors as lines of text, which a kernel in any language can read and write.

::

    posit16_mul 4000 4800 4800

A line is the name of an operation and then words, which are patterns in hexadecimal: operands and results, the elements
of each first to last. A word has all the digits of its format, so that the lines of an operation are of one length.
``#`` begins a comment; empty lines mean nothing.

1. Lines of one length are a page: a matrix of bytes, in which a word stands in the same columns of every row. Pages are
   read and written as a whole, by the fast conversions between bytes and hexadecimal that Python has.
2. Other lines are tidied first, one by one, until they are of that length; so comments, spaces and the ends of lines of
   other systems cost time, and nothing else.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import FormatError
from ..formats import Exponent, Scalar

PAGE = 1 << 22  #: bytes that are read at once
LONGEST = 1 << 24  #: bytes of a line: more have no end in sight
SHOWN = 40  #: characters of a word that a message repeats
SPACE, NEWLINE, ZERO = b" \n0"

Page = NDArray[np.uint8]  #: [lines, bytes]


@dataclass(frozen=True, slots=True)
class Words:
    """Neighbouring words of a line: the codes of one operand or result."""

    name: str
    fmt: Scalar | Exponent
    count: int = 1

    @property
    def digits(self) -> int:
        """Of a word."""
        return -(-self.fmt.width // 4)

    @property
    def bytes(self) -> int:
        """Of the integer that holds a word."""
        return next(size for size in (1, 2, 4, 8) if 2 * size >= self.digits)

    @property
    def length(self) -> int:
        """Of the words in a line, with a space before each."""
        return self.count * (1 + self.digits)

    def __str__(self) -> str:
        return f"{self.name} [{self.count}]" if self.count > 1 else self.name


class Lines(NamedTuple):
    """Some lines of a stream."""

    numbers: Sequence[int]  #: of the lines, from 1
    codes: tuple[Tensor, ...]  #: int64 [lines, count] for each of the words, without signs below 64 bits


@dataclass(frozen=True)
class Layout:
    r"""What the lines of an operation look like.

    >>> from refnum.formats import posit16
    >>> layout = Layout("posit16_abs", (Words("a", posit16), Words("result", posit16)))
    >>> layout.text((torch.tensor([[-1], [0]]), torch.tensor([[1], [0]])))
    b'posit16_abs ffff 0001\nposit16_abs 0000 0000\n'
    >>> layout.codes(b"posit16_abs ffff 0001\n")
    (tensor([[65535]]), tensor([[1]]))
    """

    operation: str
    words: tuple[Words, ...]

    @property
    def length(self) -> int:
        """Bytes of a line, its end included."""
        return len(self.operation) + sum(words.length for words in self.words) + 1

    @cached_property
    def _blank(self) -> Page:
        """A line without its digits, which are 0 here."""
        gaps = "".join((" " + "\0" * words.digits) * words.count for words in self.words)
        return np.frombuffer(f"{self.operation}{gaps}\n".encode(), dtype=np.uint8)

    @cached_property
    def _line(self) -> re.Pattern[bytes]:
        digits = "".join(f"( [0-9a-fA-F]{{{words.digits}}}){{{words.count}}}" for words in self.words)
        return re.compile((re.escape(self.operation) + digits).encode())

    def _spans(self, page: Page) -> Iterator[tuple[Words, Page]]:
        """The columns of each of the words, as [lines, count, 1 + digits]."""
        start = len(self.operation)
        for words in self.words:
            columns = page[:, start : start + words.length]
            yield words, columns.reshape(len(page), words.count, 1 + words.digits)
            start += words.length

    # ---- writing -------------------------------------------------------------------------------------

    def text(self, codes: Sequence[Tensor]) -> bytes:
        """Lines of codes, int64 [lines, count] for each of the words; of signed ones the low bits."""
        page = np.empty((len(codes[0]), self.length), dtype=np.uint8)
        page[:] = self._blank
        for (words, span), column in zip(self._spans(page), codes, strict=True):
            patterns = unsigned(column, words.fmt).numpy().astype(f">u{words.bytes}")
            digits = np.frombuffer(binascii.b2a_hex(patterns.tobytes()), dtype=np.uint8)
            span[..., 1:] = digits.reshape(*patterns.shape, 2 * words.bytes)[..., -words.digits :]
        return page.tobytes()

    # ---- reading -------------------------------------------------------------------------------------

    def read(self, stream: BinaryIO) -> Iterator[Lines]:
        """The lines of a stream, some at a time: at most so many as `PAGE` bytes and one line more hold.

        Raises
        ------
        FormatError
            When a line is no such line; it says which and why.
        """
        number, rest = 1, b""
        while block := stream.read(PAGE):
            whole, end, rest = (rest + block).rpartition(b"\n")
            if len(rest) > LONGEST:
                raise FormatError(
                    f"check needs lines of {self.length} bytes, got {len(rest):,} without an end in line "
                    f"{number + (whole + end).count(NEWLINE)}. Write one case a line."
                )
            if end:
                yield self._lines(whole + end, number)
                number += whole.count(NEWLINE) + 1
        if rest:
            yield self._lines(rest + b"\n", number)

    def _lines(self, text: bytes, first: int) -> Lines:
        """The lines of a text that ends with one."""
        numbers: Sequence[int] = range(first, first + len(text) // self.length)
        codes = self.codes(text)
        if codes is None:
            numbers, text = self._tidied(text, first)
            codes = self.codes(text)
            assert codes is not None
        for words, column in zip(self.words, codes, strict=True):
            self._check_bits(words, column, numbers)
        return Lines(numbers, codes)

    def codes(self, text: bytes) -> tuple[Tensor, ...] | None:
        """The codes of lines, as `text` takes them; None unless each is as `text` writes it, capitals aside."""
        if len(text) % self.length:
            return None
        page = np.frombuffer(text, dtype=np.uint8).reshape(-1, self.length)
        fixed = self._blank.nonzero()[0]
        if (page[:, fixed] != self._blank[fixed]).any():
            return None
        try:
            return tuple(_read(words, span[..., 1:]) for words, span in self._spans(page))
        except binascii.Error:
            return None

    def _tidied(self, text: bytes, first: int) -> tuple[list[int], bytes]:
        """The numbers of lines that hold a case, and these lines as `text` would write them."""
        numbers, lines = [], []
        for number, raw in enumerate(text.split(b"\n"), first):
            if parts := raw.partition(b"#")[0].split():
                lines.append(b" ".join(parts))
                numbers.append(number)
                if not self._line.fullmatch(lines[-1]):
                    raise FormatError(self._fault(parts, number))
        return numbers, b"".join(line + b"\n" for line in lines)

    # ---- what can be wrong -----------------------------------------------------------------------------

    def _fault(self, parts: list[bytes], number: int) -> str:
        """Why a line is none of this layout."""
        name, *given = (part.decode("ascii", "backslashreplace")[:SHOWN] for part in parts)
        wanted = [words for words in self.words for _ in range(words.count)]
        names = ", ".join(map(str, self.words))
        if name != self.operation:
            return f"check needs lines of {self.operation}, got {name!r} in line {number}. Check each by its own name."
        if len(given) != len(wanted):
            return (
                f"check needs {len(wanted)} words behind {name} ({names}), got {len(given)} in line {number}. Write "
                "the operands, and the results behind them."
            )
        at, words, word = next(
            (i, words, word)
            for i, (words, word) in enumerate(zip(wanted, given, strict=True), 1)
            if not re.fullmatch(f"[0-9a-fA-F]{{{words.digits}}}", word)
        )
        return (
            f"check needs {words.digits} hexadecimal digits for word {at} ({words.name}, {words.fmt}), got {word!r} in "
            f"line {number}. Write it as with %0{words.digits}x."
        )

    def _check_bits(self, words: Words, codes: Tensor, numbers: Sequence[int]) -> None:
        """Digits may hold more bits than the format."""
        if words.fmt.width % 4 == 0:
            return
        if len(over := (codes >> words.fmt.width).nonzero()):
            i, j = over[0].tolist()
            raise FormatError(
                f"check needs at most {words.fmt.width} bits for {words.name} ({words.fmt}), got "
                f"'{int(codes[i, j]):x}' in line {numbers[i]}. Leave other bits 0."
            )


def unsigned(codes: Tensor, fmt: Scalar | Exponent) -> Tensor:
    """The low bits of codes, as int64: of 64 they come out signed."""
    codes = codes.to(torch.int64)
    return codes & ((1 << fmt.width) - 1) if fmt.width < 64 else codes


def _read(words: Words, digits: Page) -> Tensor:
    """int64 [lines, count] of digits [lines, count, digits]."""
    filled = np.full((*digits.shape[:2], 2 * words.bytes), ZERO, dtype=np.uint8)
    filled[..., -words.digits :] = digits
    patterns = np.frombuffer(binascii.a2b_hex(filled.tobytes()), dtype=f">u{words.bytes}")
    return torch.from_numpy(patterns.astype(np.int64).reshape(digits.shape[:2]))
