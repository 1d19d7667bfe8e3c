"""Philox4x32-10: random bits as a function of a seed and a place, the same on every machine.

A counter of four words and a key of two give four words, all of 32 bits, in ten rounds (Salmon, Moraes, Dror, Shaw:
Parallel random numbers: as easy as 1, 2, 3; SC 2011). There is no state: any word of a stream can be had alone.

Words are in int64 lanes, from 0 to 2**32 - 1. A product of two of them may need 64 bits unsigned, which int64 lacks:

1. M is an odd multiplier below 2**32 and x a word. q = M (x - 2**31) + 2**31 is between -2**63 and 2**63.
2. M x = q + 2**31 (M - 1) = q + 2**32 (M >> 1), as M is odd.
3. So the low word of M x is that of q, and the high word is (q >> 32) + (M >> 1), the shift rounding down.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import ContractError, ShapeError

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85  #: what the key grows by from round to round: the golden ratio and sqrt(3), less 1
MASK = (1 << 32) - 1
HALF = 1 << 31
CHUNK = 1 << 14  #: counters of a piece: some ten int64 temporaries of 128 KiB

Word = Any  #: an int or an int64 tensor, 0 to 2**32 - 1


def random_bits(
    seed: int | Tensor, offset: int | Tensor, shape: Sequence[int], *, device: torch.device | str = "cpu"
) -> Tensor:
    """Random words of 32 bits: Philox4x32-10 with the seed as its key, counting from the offset on.

    Word i of the result, in row-major order, is word i % 4 of the block whose counter is offset + i // 4 in its two low
    words and 0 in its two high ones; the seed is the key. The low word comes first in both. So blocks of four words
    can be had alone: the words from 4 j on are those of offset + j.

    It is the stream of torch's ``philox_engine(seed, 0, offset)`` and of cuRAND's ``curand_init(seed, 0, 4 * offset)``;
    of C++26's ``std::philox4x32(seed)`` from offset 0 on, for seeds of one word; and Triton's ``tl.randint4x(seed,
    offset + j)`` gives the words 4 j to 4 j + 3 while offset + j is one word, ``tl.randint`` the first of them. What
    libraries make of threads (a subsequence for each, in the two high words) is not modelled.

    >>> [hex(word & 0xFFFFFFFF) for word in random_bits(0, 0, (4,)).tolist()]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']

    Parameters
    ----------
    seed, offset : int or Tensor
        From 0 to 2**64 - 1, or 0-d int64 tensors, whose 64 bits are taken. To compiled code an int is a constant: an
        offset that moves on from call to call should be a tensor there. Counters wrap at 2**64.
    shape : sequence of int
        Of the result.
    device : torch.device or str
        Of the result; the bits are the same on all.

    Returns
    -------
    Tensor
        int32, all 32 bits of which are random. As ``random_bits`` of a stochastic rounding the low 16 are read.

    Raises
    ------
    ContractError
        When the seed or the offset is neither an int of its range nor a 0-d int64 tensor.
    ShapeError
        When the shape is no sequence of sizes.

    Exactness: bit-exact.
    Rounding: none.
    Special: none; an empty shape gives an empty tensor.
    Standard: Salmon et al. (SC 2011), Philox4x32-10; the known answers of Random123.
    Cost: O(numel) time, some 60 integer operations a word; result + 2 MB.
    """
    _check_64_bits("seed", seed)
    _check_64_bits("offset", offset)
    count = _checked_count(shape)
    blocks = -(-count // 4)
    if torch.compiler.is_compiling() or torch.device(device).type != "cpu":
        return _blocks(seed, offset, 0, blocks, device).view(-1)[:count].view(tuple(shape))
    words = torch.empty(blocks, 4, dtype=torch.int32, device=device)
    for start in range(0, blocks, CHUNK):
        piece = words[start : start + CHUNK]
        piece.copy_(_blocks(seed, offset, start, len(piece), device))
    return words.view(-1)[:count].view(tuple(shape))


def _blocks(seed: int | Tensor, offset: int | Tensor, start: int, count: int, device: torch.device | str) -> Tensor:
    """The blocks of so many counters, ``start`` behind the offset: int32 [count, 4]."""
    low, high = _words(offset)
    low = torch.arange(start, start + count, dtype=torch.int64, device=device) + low
    counter = low & MASK, ((low >> 32) + high) & MASK, 0, 0
    return torch.stack(philox4x32(counter, _words(seed)), dim=-1).to(torch.int32)


def philox4x32(counter: Sequence[Word], key: Sequence[Word]) -> tuple[Word, ...]:
    """The four words of a block, given the four of its counter and the two of its key, low words first."""
    c0, c1, c2, c3 = counter
    for turn in range(ROUNDS):
        k0, k1 = ((word + turn * step) & MASK for word, step in zip(key, WEYL, strict=True))
        (low0, high0), (low1, high1) = _product(MULTIPLIERS[0], c0), _product(MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
    return c0, c1, c2, c3


def _product(multiplier: int, x: Word) -> tuple[Word, Word]:
    """The low and the high word of a product of words."""
    q = (x - HALF) * multiplier + HALF
    return q & MASK, (q >> 32) + (multiplier >> 1)


def _words(x: int | Tensor) -> tuple[Word, Word]:
    """The low and the high word of 64 bits."""
    return x & MASK, (x >> 32) & MASK


def _check_64_bits(name: str, x: object) -> None:
    if isinstance(x, Tensor) and x.dtype == torch.int64 and not x.dim():
        return
    if isinstance(x, bool) or not isinstance(x, int) or not 0 <= operator.index(x) < 1 << 64:
        raise ContractError(
            f"mx.random_bits has no {name}={x!r}. It is an int from 0 to 2**64 - 1, or a 0-d int64 tensor. "
            f"Choose {name} in that range."
        )


def _checked_count(shape: Sequence[int]) -> int:
    if not isinstance(shape, Sequence) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ShapeError(
            f"mx.random_bits has no shape {shape!r}. A shape is a sequence of sizes, ints from 0 on. "
            "Pass x.shape, or (n,) for n words in a row."
        )
    return math.prod(shape)
