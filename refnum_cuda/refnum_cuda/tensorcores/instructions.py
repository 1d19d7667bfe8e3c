"""The instructions of csrc/probe_tc.cu: what runs one, and refnum's model of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ctypes import c_int64, c_void_p
from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor

from refnum import backend
from refnum.sums import tensorcore
from refnum.sums.results import canonical_nan

from .. import launch, modules

ROWS, COLUMNS, THREADS = 64, 8, 128  #: of a tile, as in probe_tc.cu
MOST_BLOCKS = 1 << 12
PIECES = 4 * 8 * (ROWS + COLUMNS)  #: bytes of shared memory for wgmma's operands

INTEGER = {1: torch.uint8, 2: torch.int16, 4: torch.int32}  #: by bytes of an element
DTYPES = {
    "bf16": torch.bfloat16,
    "f16": torch.float16,
    "tf32": torch.float32,
    "e4m3": torch.float8_e4m3fn,
    "e5m2": torch.float8_e5m2,
}

#: Gives D [tiles, 64, 8] for A [tiles, 64, K], B [tiles, 8, K] and C [tiles, 64, 8]: a GPU, or a model.
Machine = Callable[["Instruction", Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction."""

    name: str  #: of the kernel, after ``rn_``
    group: str  #: mma (mma.sync) or wgmma
    types: tuple[str, str]  #: of A and B
    terms: int  #: of k
    accumulator: torch.dtype = torch.float32

    @property
    def dtypes(self) -> tuple[torch.dtype, torch.dtype, torch.dtype]:
        """Of A, B and C; D is as C."""
        return DTYPES[self.types[0]], DTYPES[self.types[1]], self.accumulator

    @property
    def narrow(self) -> bool:
        """Whether operands have 8 bits."""
        return self.types[0][0] == "e"

    def runs_on(self, capability: tuple[int, int]) -> bool:
        """Whether a GPU of this compute capability has it."""
        if self.group == "wgmma":
            return capability == (9, 0)
        return capability >= ((8, 9) if self.narrow else (8, 0))

    @property
    def twin(self) -> Instruction | None:
        """The mma.sync of the same shape and types as a wgmma."""
        return INSTRUCTIONS[self.name.replace("wgmma", "mma")] if self.group == "wgmma" else None

    @property
    def row(self) -> str:
        """The row of refnum's table, after the architecture."""
        return row_of("fp8" if self.narrow else self.types[0], self.terms, self.accumulator)


SHAPES = {"bf16": 16, "f16": 16, "tf32": 8, "fp8": 32}  #: terms of k that are not part of a row's name


def row_of(kind: str, terms: int, accumulator: torch.dtype) -> str:
    """The name of a row of refnum's table, after the architecture.

    >>> row_of("f16", 8, torch.float16), row_of("tf32", 8, torch.float32)
    ('f16.k8.acc16', 'tf32')
    """
    shape = "" if terms == SHAPES[kind] else f".k{terms}"
    return f"{kind}{shape}{'.acc16' if accumulator == torch.float16 else ''}"


def _named(group: str, types: tuple[str, str], terms: int, accumulator: torch.dtype) -> Instruction:
    kind = types[0] if types[0][0] != "e" else "_".join(types)
    suffix = "_acc16" if accumulator == torch.float16 else ""
    return Instruction(f"{group}_{kind}_k{terms}{suffix}", group, types, terms, accumulator)


def _all() -> Iterator[Instruction]:
    narrow = list(product(("e4m3", "e5m2"), repeat=2))
    both = torch.float32, torch.float16
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "mma": {"bf16": (16, 8), "f16": (16, 8), "tf32": (8, 4), "fp8": (32, 16)},
        "wgmma": {"bf16": (16,), "f16": (16,), "tf32": (8,), "fp8": (32,)},
    }
    for group, kinds in shapes.items():
        for kind, counts in kinds.items():
            pairs = narrow if kind == "fp8" else [(kind, kind)]
            for types, terms, accumulator in product(pairs, counts, both if kind in ("f16", "fp8") else both[:1]):
                yield _named(group, types, terms, accumulator)


INSTRUCTIONS: dict[str, Instruction] = {row.name: row for row in _all()}

# ---- on a GPU ------------------------------------------------------------------------------------

PARAMETERS = (c_void_p, c_void_p, c_void_p, c_void_p, c_int64, c_int64)


def prepared(instruction: Instruction, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> tuple[object, ...]:
    """What `launch.launch` takes to write D; K is one instruction, or several after each other."""
    tiles, _, terms = a.shape
    assert terms % instruction.terms == 0
    shapes = (tiles, ROWS, terms), (tiles, COLUMNS, terms), (tiles, ROWS, COLUMNS), (tiles, ROWS, COLUMNS)
    assert tuple(x.shape for x in (a, b, c, d)) == shapes
    assert tuple(x.dtype for x in (a, b, c, d)) == (*instruction.dtypes, c.dtype)
    assert all(x.is_contiguous() for x in (a, b, c, d))
    kernel = launch.Kernel("probe_tc", f"rn_{instruction.name}", PARAMETERS)
    shared = PIECES if instruction.group == "wgmma" else 0
    grid = min(tiles, MOST_BLOCKS), 1, 1
    return kernel, grid, (THREADS, 1, 1), shared, a, b, c, d, tiles, terms // instruction.terms


def on_gpu(instruction: Instruction, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """D of the hardware."""
    if why := modules.obstacle(launch.ordinal(a.device)):
        raise backend.refusal(why)
    d = torch.empty_like(c)
    with launch.place(a.device):
        launch.launch(*prepared(instruction, a, b, c, d))  # type: ignore[arg-type]
    return d


# ---- the model -----------------------------------------------------------------------------------

#: compute capability -> architecture; others have no model
ARCHITECTURES = {
    (8, 0): "ampere",
    (8, 6): "ampere",
    (8, 7): "ampere",
    (8, 9): "ada",
    (9, 0): "hopper",
    (10, 0): "blackwell",
    (10, 3): "blackwell",
}
WIDENING = ("hopper", "blackwell")  #: they have no mma.sync of 8 bits: ptxas makes it of instructions for float16
LARGE = {"SIDE": 1 << 16, "AREA": 1 << 25}  #: of refnum's tiles, where there is no cache to stay in


def use_large_tiles() -> None:
    """Have refnum's reference work on much at a time, as a GPU likes it: the same bits."""
    for constant, much in LARGE.items():
        setattr(tensorcore, constant, much)


@dataclass(frozen=True, slots=True)
class Model:
    """refnum's model of the instructions of an architecture: a machine."""

    architecture: str
    rows: Mapping[str, tensorcore.Instruction] = field(default_factory=lambda: tensorcore.INSTRUCTIONS)

    def widens(self, instruction: Instruction) -> bool:
        """Whether it goes through float16."""
        return instruction.narrow and instruction.group == "mma" and self.architecture in WIDENING

    def row(self, instruction: Instruction) -> tensorcore.Instruction:
        """That of refnum's table."""
        halved = row_of("f16", instruction.terms // 2, instruction.accumulator)
        return self.rows[f"{self.architecture}.{halved if self.widens(instruction) else instruction.row}"]

    def contract(self, instruction: Instruction) -> str:
        """Its name."""
        return f"tc.{self.row(instruction).name}/v1"

    def __call__(self, instruction: Instruction, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """D of the model."""
        row = self.row(instruction)
        if not self.widens(instruction):
            return tensorcore.tensorcore_mm(a, b.mT, c, c.dtype, instruction=row)
        # W1. Of four elements side by side, which are one word, those at even places of pairs come first: all first
        # pairs are one instruction's terms, all second pairs those of the next one. W2. They start from +0, and what
        # they leave is added to C, rounded to nearest even.
        for x, y in zip(*(torch.split(side, instruction.terms, -1) for side in (a, b)), strict=True):
            x, y = (_first_pairs_first(side.to(torch.float16)) for side in (x, y))
            c = _add(c, tensorcore.tensorcore_mm(x, y.mT, None, c.dtype, instruction=row))
        return c


def _first_pairs_first(x: Tensor) -> Tensor:
    return x.reshape(*x.shape[:-1], -1, 2, 2).transpose(-3, -2).flatten(-3)


def _add(x: Tensor, y: Tensor) -> Tensor:
    """The sum, with refnum's NaN."""
    total = x + y
    total.view(INTEGER[total.dtype.itemsize]).masked_fill_(total.isnan(), canonical_nan(total.dtype))
    return total
