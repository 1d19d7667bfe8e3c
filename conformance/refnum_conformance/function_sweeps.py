"""Sweeps of the elementary functions of posit32: some over all patterns there are, all over random operands.

    python -m refnum_conformance.exhaustive --peer functions    # all patterns
    python -m refnum_conformance.exhaustive --peer mpfr         # random operands

All patterns go through the compiled function. The C library decides what float64 can decide; MPFR decides the others,
which lie near a tie, and some picked at random; and these are decided by refnum's own definition as well.
"""

from __future__ import annotations

import functools
import platform
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refnum import Posit, posit
from refnum.functions.decisions import decide

from .oracles.elementary import BY_STANDARD
from .peers import libm, mpfr
from .sweeps import Function, Outcome, Peer

Array = NDArray[Any]

FMT = Posit(32)
ONE, END = 1 << 30, 1 << 31  #: the pattern of 1, and the one after maxpos
PICKED = 1 << 6  #: how many of a call's patterns MPFR decides besides those near a tie: 2**20 of all patterns
SAMPLE = 80 << 18  #: random operands of a function

#: where a function of one number is real, from a first pattern to below another; of odd and even ones the positive half
REAL = {
    **dict.fromkeys(("sqrt", "r_sqrt"), (0, END)),
    **dict.fromkeys(("exp", "exp_minus1", "exp2", "exp2_minus1", "exp10", "exp10_minus1"), (-END, END)),
    **dict.fromkeys(("log", "log2", "log10"), (0, END)),
    **dict.fromkeys(("log_plus1", "log2_plus1", "log10_plus1"), (-ONE, END)),
    **dict.fromkeys(("sin", "sin_pi", "cos", "cos_pi", "tan", "tan_pi"), (0, END)),
    **dict.fromkeys(("arc_sin", "arc_sin_pi"), (0, ONE + 1)),
    **dict.fromkeys(("arc_cos", "arc_cos_pi"), (-ONE, ONE + 1)),
    **dict.fromkeys(("arc_tan", "arc_tan_pi", "sin_h", "cos_h", "tan_h", "arc_sin_h"), (0, END)),
    "arc_cos_h": (ONE, END),
    "arc_tan_h": (0, ONE),
}


def _outcome(row: str, operands: tuple[Array, ...], got: Array, want: Array, defined: int = 0) -> Outcome:
    wrong = np.flatnonzero(got != want)
    if not wrong.size:
        return Outcome(0, defined=defined)
    at = wrong[0]
    words = " ".join(str(x[at]) if x.dtype == np.int64 else _hex(x[at]) for x in operands)
    first = f"{row} {words}: refnum {_hex(got[at])}, {_hex(want[at])} is right"
    return Outcome(len(wrong), (first,), defined=defined)


def _hex(pattern: np.integer[Any]) -> str:
    return f"{int(pattern) & 0xFFFFFFFF:#x}"


# All patterns --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PatternSweep:
    """A function of one posit, compiled, on all patterns from the least integer on."""

    row: str

    total = 1 << 32  #: elements

    def __str__(self) -> str:
        return f"{self.row} {FMT}"

    def operands(self, start: int, count: int) -> tuple[Tensor, ...]:
        """The patterns."""
        first = start - END
        return (torch.arange(first, first + count, dtype=torch.int32),)

    @property
    def function(self) -> Function:
        """The public function on int32 patterns."""
        return functools.partial(getattr(posit, self.row), fmt=FMT)

    @property
    def prepared(self) -> Function:
        """The same, compiled: once per process."""
        return _compiled(self)

    def compare(self, operands: tuple[Tensor, ...], got: Tensor) -> Outcome:
        """The results against those of the C library, of MPFR and by definition."""
        (codes,) = operands
        patterns, results, function = codes.numpy(), got.numpy(), BY_STANDARD[self.row]
        want, doubtful = libm.posit32(self.row, patterns)
        picked = np.random.default_rng(int(patterns[0]) + END).integers(len(patterns), size=PICKED)
        decided = np.union1d(np.flatnonzero(doubtful), picked)
        want[decided] = mpfr.posits(function, patterns[decided], n=FMT.n, es=FMT.es)
        defined = decide(function.name, (codes[decided],), (FMT,), FMT).numpy()
        # Where only MPFR agrees, the definition is what the result is held against.
        want[decided] = np.where(defined == results[decided], want[decided], defined)
        return _outcome(self.row, (patterns,), results, want, len(decided))


@functools.cache
def _compiled(sweep: PatternSweep) -> Function:
    return torch.compile(sweep.function, fullgraph=True, dynamic=False)


# Random operands -----------------------------------------------------------------------------------------------------

CORNERS = np.array([0, -END, 1, -1, END - 1, 1 - END, *(s * (ONE + (k << 27)) for s in (1, -1) for k in range(-3, 4))])
UNIFORM = 0.55  #: share of pairs that are bits at random; the others have a structure


@dataclass(frozen=True)
class RandomSweep:
    """A function on random operands, the same ones each time."""

    row: str

    total = SAMPLE  #: elements

    def __str__(self) -> str:
        return f"{self.row} {FMT}"

    def operands(self, start: int, count: int) -> tuple[Tensor, ...]:
        """Operands start to start + count."""
        random = np.random.default_rng([zlib.crc32(self.row.encode()), start])
        columns = _MAKERS[BY_STANDARD[self.row].operands](self.row, random, count)
        return tuple(map(torch.from_numpy, columns))

    @property
    def function(self) -> Function:
        """The public function."""
        return functools.partial(getattr(posit, self.row), fmt=FMT)

    prepared = function

    def compare(self, operands: tuple[Tensor, ...], got: Tensor) -> Outcome:
        """The results against MPFR's."""
        columns = tuple(x.numpy() for x in operands)
        want = mpfr.posits(BY_STANDARD[self.row], *columns, n=FMT.n, es=FMT.es)
        return _outcome(self.row, columns, got.numpy(), want)


def _bits(random: np.random.Generator, count: int) -> Array:
    return random.integers(-END, END, count, dtype=np.int32)


def _one(row: str, random: np.random.Generator, count: int) -> tuple[Array, ...]:
    """Seven of eight from where the function is real."""
    real = random.integers(*REAL[row], count).astype(np.int32)
    return (np.where(random.integers(8, size=count) > 0, real, _bits(random, count)),)


def _corners(random: np.random.Generator, count: int) -> Array:
    return (random.choice(CORNERS, count) + random.integers(-4, 5, count)).astype(np.int32)


def _small_integers(random: np.random.Generator, count: int) -> Array:
    patterns = mpfr.posit_patterns(np.arange(-64.0, 65.0), FMT.n, FMT.es)
    return random.choice(patterns, count).astype(np.int32)


def _two(row: str, random: np.random.Generator, count: int) -> tuple[Array, ...]:
    """Bits at random; or corners, small integers, values around 1, and second operands that are much like the first."""
    a, b = _bits(random, count), _bits(random, count)
    near_one = random.choice([ONE, -ONE], count) + (_bits(random, count) >> random.integers(4, 30, count))
    sign = random.choice(np.array([1, -1], np.int32), count)
    structures = (
        (_corners(random, count), _corners(random, count)),
        (_corners(random, count), b),
        (a, _corners(random, count)),
        (a, _small_integers(random, count)),
        (near_one.astype(np.int32), b),
        (near_one.astype(np.int32), _small_integers(random, count)),
        (a, sign * a + random.integers(-3, 4, count, dtype=np.int32)),
        (a, a ^ (np.int32(1) << random.integers(0, 31, count, dtype=np.int32))),
    )
    which = random.integers(len(structures), size=count)
    structured = random.random(count) >= UNIFORM
    for i, (x, y) in enumerate(structures):
        here = structured & (which == i)
        a, b = np.where(here, x, a), np.where(here, y, b)
    return a, b


def _integer(row: str, random: np.random.Generator, count: int) -> tuple[Array, ...]:
    """Patterns, some of them corners; integers of every size, and beside powers of 2."""
    x = np.where(random.random(count) < UNIFORM, _bits(random, count), _corners(random, count))
    sizes = random.integers(-END, END, count) >> random.integers(0, 32, count)
    powers = random.choice([1, -1], count) * (1 << random.integers(0, 31, count)) + random.integers(-1, 2, count)
    return x, np.where(random.random(count) < UNIFORM, sizes, powers)


_MAKERS = {"x": _one, "xy": _two, "xk": _integer}


# The peers -----------------------------------------------------------------------------------------------------------


def _ready() -> tuple[bool, str]:
    possible, how = libm.available()
    return mpfr.available() if possible else (possible, how)


SOURCES = (
    *("formats/*.py", "boundary.py", "core/*.py", "fast/*.py", "reals/*.py", "functions/*.py"),
    *("posit/_functions.py", "posit/_patterns.py", "posit/arithmetic.py"),
    *("posit/elementary.py", "posit/powers.py", "posit/trigonometry.py"),
)

PEERS = {
    "functions": Peer(
        "the C library and MPFR",
        "gcc and gmpy2",
        _ready,
        lambda: ", ".join([mpfr.available()[1], " ".join(platform.libc_ver())]),
        SOURCES,
        tuple(map(PatternSweep, libm.FUNCTIONS)),
        (
            "Right is what the C library gives in float64, rounded, where that is sure: more than 2**-18 last places",
            "from a tie. The others, and 2**20 patterns picked at random, MPFR decides, and so does the definition:",
            "these are counted. Refnum's function is compiled.",
        ),
    ),
    "mpfr": Peer(
        "MPFR",
        "gcc and gmpy2",
        mpfr.available,
        lambda: mpfr.available()[1],
        SOURCES,
        tuple(map(RandomSweep, BY_STANDARD)),
        (
            "One operand: seven of eight where the function is real. Two: 55 of 100 pairs are random bits, the others",
            "corners, small integers, values around 1, and operands much like each other. Integers: over int32.",
        ),
        kind="random",
    ),
}
