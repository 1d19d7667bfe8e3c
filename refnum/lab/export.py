"""Golden vectors for the testbenches of circuits: of any operation in any format, or of what a user has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..boundary import check_choice
from ..core.decode import NUMBER, decode
from ..errors import ContractError
from ..formats import Block, Scalar, parse
from ..testing import cases, operations
from ..testing.lines import Words, unsigned
from ..testing.operations import Codes, Operation
from .dots import Dot
from .manifests import VALUE
from .ports import Port
from .readmemh import Vectors, export_readmemh, read_readmemh

__all__ = ["Port", "Vectors", "export_readmemh", "golden", "read_readmemh"]

DOT = ("k", "to", "rounding")  #: options of dot products
ROUNDING = "nearest_even"  #: where none is asked for
CODES = "codes of the formats named"  #: what ports hold where no accumulator stands beside them


def golden(
    operation: str,
    fmt: Scalar | Block,
    directory: Path | str,
    *,
    name: str | None = None,
    count: int = 1000,
    seed: int = 0,
    kinds: Sequence[str] = ("edges", "ties", "random"),
    nan: bool = False,
    **options: Any,
) -> Path:
    """Write golden vectors of an operation: its operands, and what refnum says of them.

    Operations are those of ``refnum gen``: encode, decode and quantize of any format, dequantize of blocks, add, mul,
    fma, convert and more of posits, gemm of minifloats. A ``dot`` product, of any format, gives its exact accumulator
    besides, an integer in two's complement, which is the quire where the format is a posit; of blocks an accumulator
    each and, where scales are powers of two, the exponent of its unit.

    >>> import tempfile
    >>> from refnum.formats import mxint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = read_readmemh(golden("dot", mxint(8, 4), folder, k=1, count=100))
    >>> for port in found.ports.values():
    ...     print(port)
    Port(a_scale: scale [870, 1] of 8 bits)
    Port(a_elements: mantissa [870, 4] of 8 bits)
    Port(b_scale: scale [870, 1] of 8 bits)
    Port(b_elements: mantissa [870, 4] of 8 bits)
    Port(accumulator: expected [870, 1] of 18 bits)
    Port(exponent: expected [870, 1] of 10 bits)
    Port(result: expected [870, 1] of 32 bits)

    Parameters
    ----------
    operation : str
        The name of a function.
    fmt : a scalar format or Block
        The format.
    directory : Path or str
        Where the files go.
    name : str, optional
        Of the vectors; by default made of the format and the operation.
    count : int
        How many cases of each kind, at most.
    seed : int
        Of what is drawn at random: the same arguments give the same files, byte for byte.
    kinds : sequence of str
        edges, ties, spaced and random, in the order in which they come. With edges, the first are operands of one code
        throughout: the code 0, 1, the last one of the first half, the first one of the second half, the last one, and
        that of the largest value, in all combinations; so there are blocks of zeros, and of the least integers.
    nan : bool
        Whether cases come with NaN or Inf in an operand or a result; else they are left out.
    options : optional
        Of the operation: dtype, rounding, profile, scale, contract, to, m, n as in ``refnum gen``. Of a dot product
        ``k``, its values, or blocks, 4; ``to``, the format of the result, by default that of the operands, and float32
        for blocks; and ``rounding``.

    Returns
    -------
    Path
        Of the manifest.

    Raises
    ------
    FormatError
        When the format has no such operation, or sums of a dot product take more than 4096 bits.
    ContractError
        When the operation has no such option, or the option no such value, or there is no such kind.

    Exactness: bit-exact: as the functions of the same names; accumulators are exact.
    Rounding: as the operation does; results of dot products once, by name.
    Special: with ``nan`` ports have a flag for NaN and Inf; else neither occurs. A dot product that is 0 is +0: an
        integer has no sign there.
    Standard: IEEE 1800-2017 section 21.4, ``$readmemh``.
    Cost: O(cases) time, and about 200 MB beside the codes.
    """
    for kind in kinds or ("none",):
        check_choice("golden", "kind", kind, cases.KINDS)
    check_choice("golden", "nan", nan, (True, False))
    job = _dot(fmt, options) if operation == "dot" else operations.find(operation, str(fmt), **options)
    operands = _operands(job, kinds, count, seed)
    exact, results = _answers(job, operands)
    coded = [*zip(job.operands, operands, strict=True), *results]
    rows = torch.arange(len(operands[0]), device="cpu") if nan else _finite(coded)
    ports = [_port(words, codes[rows], nan, expected=i >= len(operands)) for i, (words, codes) in enumerate(coded)]
    ports[len(operands) : len(operands)] = [
        Port(each, codes[rows], bits, "expected") for each, (codes, bits) in exact.items()
    ]
    return export_readmemh(
        directory,
        re.sub(r"[^A-Za-z0-9]+", "_", f"{fmt}_{operation}").strip("_") if name is None else name,
        ports,
        format={"operation": operation, "format": str(fmt), **{words.name: str(words.fmt) for words, _ in coded}},
        rounding=options.get("rounding") or ROUNDING,
        overflow=getattr(results[-1][0].fmt, "overflow", None),
        value=VALUE if isinstance(job, Dot) else CODES,
    )


def _dot(fmt: Scalar | Block, options: Mapping[str, Any]) -> Dot:
    for option in options.keys() - DOT:
        raise ContractError(
            f"golden has no option {option}={options[option]!r} for a dot product. Allowed are {', '.join(DOT)}. Leave "
            "it out."
        )
    to = options.get("to")
    return Dot(fmt, **{**options, "to": parse(to) if isinstance(to, str) else to})


def _operands(job: Operation | Dot, kinds: Sequence[str], count: int, seed: int) -> Codes:
    """Cases of each kind, one behind the other; edges begin with corners."""
    parts = [_corners(job.operands)] if "edges" in kinds else []
    parts += [job.cases(kind, count, seed) for kind in kinds]
    return tuple(torch.cat(columns) for columns in zip(*parts, strict=True))


def _corners(operands: Sequence[Words]) -> Codes:
    """Operands of one code throughout, in all combinations: codes at which something begins or ends."""
    codes = []
    for words in operands:
        top = 1 << (words.fmt.width - 1)
        largest = getattr(words.fmt, "largest", 0)  # codebooks have another order
        codes.append(dict.fromkeys((0, 1, top - 1, -top, -1, largest)))
    rows = torch.tensor(list(product(*codes)), dtype=torch.int64, device="cpu")
    return tuple(
        unsigned(column[:, None], words.fmt).expand(-1, words.count)
        for words, column in zip(operands, rows.T, strict=True)
    )


def _answers(job: Operation | Dot, operands: Codes) -> tuple[dict[str, tuple[Tensor, int]], list[tuple[Words, Tensor]]]:
    """Exact numbers by name, with their bits; and results."""
    if not isinstance(job, Dot):
        return {}, list(zip(job.results, job.right(operands), strict=True))
    answers = job.answers(*operands)
    exact = {"accumulator": (answers.accumulator, job.bits)}
    if answers.exponent is not None:
        exact["exponent"] = (answers.exponent, job.exponent_bits)
    return exact, [(job.result, answers.result[:, None])]


def _finite(coded: Sequence[tuple[Words, Tensor]]) -> Tensor:
    """The cases in which every code is a number."""
    numbers = ((decode(codes, words.fmt).kind == NUMBER).all(1) for words, codes in coded)
    return reduce(torch.logical_and, numbers).nonzero().flatten()


def _port(words: Words, codes: Tensor, nan: bool, *, expected: bool) -> Port:
    kind = "expected" if expected else "scale" if words.name.endswith("scale") else "mantissa"
    return Port.of(words.name, codes, words.fmt, kind, nan=nan)
