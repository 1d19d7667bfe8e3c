"""Codes as the text that Verilog's ``$readmemh`` reads: a word a line, in lower-case hexadecimal.

1. A word packs codes side by side, lane 0 in its low bits, each masked to its width: two's complement where it has a
   sign. A lane wider than 64 bits comes as limbs of 64 bits, the least first.
2. Words are made in limbs of 64 bits, some rows at a time, and turned into digits as a whole.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LIMB = 64  #: bits
HAND = 1 << 17  #: codes in hand at once, which a cache holds
ZERO, NEWLINE = b"0\n"

Codes = NDArray[np.int64]  #: [rows, lanes, limbs]: of a code of 64 bits or more the bits, whatever they mean
Page = NDArray[np.uint8]  #: [rows, bytes of a line]


@dataclass(frozen=True, slots=True)
class Layout:
    r"""How codes lie in a word.

    >>> Layout(2, 5, signed=True).text(np.array([[[-1], [3]]]))
    b'07f\n'
    """

    lanes: int
    lane_bits: int
    signed: bool

    @property
    def bits(self) -> int:
        """Of a word."""
        return self.lanes * self.lane_bits

    @property
    def digits(self) -> int:
        """Of a word."""
        return -(-self.bits // 4)

    @property
    def line(self) -> int:
        """Bytes of a line, its end among them."""
        return self.digits + 1

    @property
    def limbs(self) -> int:
        """Of a lane."""
        return -(-self.lane_bits // LIMB)

    @property
    def rows(self) -> int:
        """How many are in hand at once."""
        return max(1, HAND // (self.lanes * self.limbs))

    def _bytes(self) -> int:
        """Of the integers that words are made of."""
        return next(size for size in (1, 2, 4, 8) if 8 * size >= min(self.bits, LIMB))

    def _pieces(self) -> Iterator[tuple[int, int, int, int, int]]:
        """Lane and limb, then the limb of the word and the bit at which its bits begin, and how many they are."""
        for lane in range(self.lanes):
            for limb in range(self.limbs):
                start = limb * LIMB
                place, shift = divmod(lane * self.lane_bits + start, LIMB)
                yield lane, limb, place, shift, min(LIMB, self.lane_bits - start)

    def fits(self, codes: Codes) -> bool:
        """Whether each code has no more bits than its lane."""
        top = codes[..., -1]
        spare = self.limbs * LIMB - self.lane_bits
        if spare == 0 or not top.size:
            return True
        if self.signed:
            bound = 1 << (LIMB - spare - 1)
            return bool(top.min() >= -bound and top.max() < bound)
        return bool(top.min() >= 0 and top.max() < 1 << (LIMB - spare))

    # ---- writing -------------------------------------------------------------------------------------

    def text(self, codes: Codes) -> bytes:
        """The lines of some rows."""
        words = np.zeros((-(-self.bits // LIMB), len(codes)), dtype=np.uint64)
        columns = np.ascontiguousarray(codes.transpose(1, 2, 0)).view(np.uint64)
        for lane, limb, place, shift, width in self._pieces():
            bits = columns[lane, limb]
            if width < LIMB:
                bits = bits & np.uint64((1 << width) - 1)
            words[place] |= bits << np.uint64(shift)
            if shift + width > LIMB:
                words[place + 1] |= bits >> np.uint64(LIMB - shift)
        big_endian = np.ascontiguousarray(words[::-1].T.astype(f">u{self._bytes()}"))
        digits = np.frombuffer(binascii.b2a_hex(big_endian.data), dtype=np.uint8).reshape(len(codes), -1)
        page = np.empty((len(codes), self.line), dtype=np.uint8)
        page[:, :-1] = digits[:, -self.digits :]
        page[:, -1] = NEWLINE
        return page.tobytes()

    # ---- reading -------------------------------------------------------------------------------------

    def codes(self, text: bytes) -> Codes | None:
        """The codes of whole lines; None unless each is as `text` writes it."""
        page = np.frombuffer(text, dtype=np.uint8).reshape(-1, self.line)
        if (page[:, -1] != NEWLINE).any() or text != text.lower():
            return None
        words = self._words(page[:, :-1])
        rest = self.bits % LIMB
        if words is None or (rest and (words[-1] >> np.uint64(rest)).any()):
            return None
        columns = np.empty((self.lanes, self.limbs, len(page)), dtype=np.int64)
        for lane, limb, place, shift, width in self._pieces():
            bits = words[place] >> np.uint64(shift)
            if shift + width > LIMB:
                bits = bits | words[place + 1] << np.uint64(LIMB - shift)
            spare = LIMB - width
            bits = bits << np.uint64(spare)
            columns[lane, limb] = bits.view(np.int64) >> spare if self.signed else bits >> np.uint64(spare)
        return columns.transpose(2, 0, 1)

    def _words(self, digits: Page) -> NDArray[np.uint64] | None:
        """[limbs, rows] of digits; None where one is no digit."""
        size = self._bytes()
        count = -(-self.bits // (8 * size))
        filled = np.full((len(digits), 2 * size * count), ZERO, dtype=np.uint8)
        filled[:, -self.digits :] = digits
        try:
            big_endian = np.frombuffer(binascii.a2b_hex(filled.data), dtype=f">u{size}").reshape(len(digits), count)
        except binascii.Error:
            return None
        return np.ascontiguousarray(big_endian[:, ::-1].T.astype(np.uint64))
