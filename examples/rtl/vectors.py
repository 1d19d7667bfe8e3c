"""Golden vectors for the circuits beside this file: ``python vectors.py DIRECTORY --count 2000``.

``mxint_dot`` is what `refnum.lab.export.golden` makes. ``mxint_linear`` shows how vectors of one's own are exported:
weights in sets, inputs, and the outputs that refnum predicts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import refnum
from refnum.formats import FixedPoint, mxint
from refnum.lab.dots import Dot
from refnum.lab.export import Port, export_readmemh, golden

N, W = 4, 8  #: integers of a block, and their bits
BLOCKS, OUT, PARALLEL = 4, 8, 2  #: of an input, of outputs, and outputs that are made together
OUTPUT = FixedPoint(16, 8)  #: of outputs, and of biases
SPREAD = 8  #: log2 of scales is at most this, and not below its negative
EMIN, EMAX = (2 * (side - (W - 2)) for side in (-SPREAD, SPREAD))  #: of what a block's dot product is worth
SETS = 8  #: of weights
FAR = 40  #: one input of so many has a block whose scale the layer cannot take

#: what mxint_linear is made with
LAYER = {
    "N": N,
    "W": W,
    "BLOCKS": BLOCKS,
    "OUT": OUT,
    "PARALLEL": PARALLEL,
    "EMIN": EMIN,
    "EMAX": EMAX,
    "OW": OUTPUT.width,
    "OF": OUTPUT.fraction,
}


def dot_vectors(directory: Path, count: int, seed: int) -> Path:
    """Edges, as many random cases, and what they are: accumulator and exponent."""
    return golden(
        "dot", mxint(W, N), directory, name="mxint_dot", k=1, count=count, seed=seed, kinds=("edges", "random")
    )


def linear_vectors(directory: Path, count: int, seed: int) -> tuple[Path, Path]:
    """Sets of weights, and inputs for each of them with the outputs."""
    draw = torch.Generator().manual_seed(seed)
    count = -(-(count + count // FAR) // SETS) * SETS
    elements, scales = (x.view(SETS, OUT, -1) for x in _blocks(SETS * OUT, draw))
    bias = torch.randint(-(1 << 15), 1 << 15, (SETS, OUT), generator=draw)
    x, x_scales = (x.view(SETS, count // SETS, -1) for x in _blocks(count, draw))
    for start, side in enumerate((1, -1)):  # too large for the layer, or too small, unless weights are 0
        x_scales.view(count, -1)[(start + 1) * FAR - 1 :: 2 * FAR, 1] = 127 + side * 5 * SPREAD
    outputs, outside = _layer(x, x_scales, elements, scales, bias)
    weights = [
        Port("mw", elements.flatten(0, 1), W, fraction=W - 2),
        Port("ew", scales.flatten(0, 1), 8, "scale", signed=False, bias=127),
        Port("bias", bias.flatten(), OUTPUT.width, fraction=OUTPUT.fraction),
    ]
    cases = [
        Port("mx", x.flatten(0, 1), W, fraction=W - 2),
        Port("ex", x_scales.flatten(0, 1), 8, "scale", signed=False, bias=127),
        Port("y", outputs.flatten(0, 1), OUTPUT.width, "expected", fraction=OUTPUT.fraction),
        Port("outside", outside.flatten(), 1, "expected", signed=False),
    ]
    said = {"format": str(mxint(W, N)), "result": str(OUTPUT), **LAYER}
    knobs = {"format": said, "rounding": "nearest_even", "overflow": OUTPUT.overflow}
    return (
        export_readmemh(directory, "mxint_linear_weights", weights, **knobs),
        export_readmemh(directory, "mxint_linear", cases, **knobs),
    )


def _blocks(rows: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Integers and scales of rows of blocks: first of zeros, of the least integers, of the largest ones; then random.

    Of the random rows some have a block of zeros, whose scale is the least one; some are small, so that outputs do not
    saturate; and some are 1 in one place alone, so that many outputs are ties.
    """
    elements = torch.randint(-128, 128, (rows, BLOCKS, N), generator=draw)
    scales = torch.randint(127 - SPREAD, 127 + SPREAD + 1, (rows, BLOCKS), generator=draw)
    for row, corner in enumerate((0, -128, 127)):
        elements[row], scales[row] = corner, 127 + SPREAD
    elements[3::5, 0], scales[3::5, 0] = 0, 0
    elements[4::5] >>= 4
    scales[4::5] = 127 - SPREAD // 2
    elements[5::5] = 0
    elements[5::5, 0, 0], scales[5::5, 0] = 1 << (W - 2), 127 - 3
    return elements.flatten(1), scales


def _layer(x: Tensor, x_scales: Tensor, w: Tensor, w_scales: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Codes of outputs [sets, inputs, OUT], and whether a block of an input left the range; outputs are then 0."""
    dot, every = Dot(mxint(W, N), k=BLOCKS), (SETS, x.shape[1], OUT)
    pairs = (
        (side[:, :, None] if side is x or side is x_scales else side[:, None]).expand(*every, -1).flatten(0, 2)
        for side in (x_scales, x, w_scales, w)
    )
    answers = dot.answers(*pairs)
    left = answers.exponent - EMIN
    integers = answers.accumulator[..., 0]
    wrong = (integers != 0) & ((left < 0) | (left > EMAX - EMIN))
    # Sums in units of 2**EMIN, with the bias. float64 holds them: they have less than 53 bits.
    sums = (integers << left.clamp(0, EMAX - EMIN)).sum(1).view(every) + (bias[:, None] << (-OUTPUT.fraction - EMIN))
    assert int(sums.abs().max()) < 1 << 53
    outside = wrong.any(1).view(every).any(2)
    codes = refnum.encode(torch.ldexp(sums.to(torch.float64), torch.tensor(EMIN)), OUTPUT)
    return codes.masked_fill(outside[..., None], 0), outside.to(torch.int64)


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--count", type=int, default=2000, help="random vectors of each circuit")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for manifest in (
        dot_vectors(given.directory, given.count, given.seed),
        *linear_vectors(given.directory, given.count, given.seed),
    ):
        print(manifest)


if __name__ == "__main__":
    main()
