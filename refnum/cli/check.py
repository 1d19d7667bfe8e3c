"""``refnum check OPERATION``: what a kernel in any language has made of the cases of ``refnum gen``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated

import torch
import typer
from torch import Tensor

from ..errors import FormatError
from ..formats import Codebook, Exponent, Minifloat, Scalar
from ..testing.lines import Layout, Lines, Words
from ..testing.operations import Operation, find
from ..testing.ulp import FARTHEST, ulp_distance
from . import choices
from .status import DONE, MISMATCH
from .streams import counter, output

FIRST = 20  #: wrong cases that are shown
WIDE = 72  #: characters of a row of words

Texts = dict[str, list[str]]


@dataclass(frozen=True)
class Wrong:
    """A case with a wrong result."""

    line: int
    operands: Texts  #: name -> words
    got: Texts
    want: Texts
    ulp: int  #: how far the worst word is away


@dataclass
class Tally:
    """What came of the cases so far."""

    operation: str
    cases: int = 0
    wrong: int = 0
    worst: int = 0  #: ULP between what is and what should be
    first: list[Wrong] = field(default_factory=list)

    def __str__(self) -> str:
        verdict = f"{self.wrong:,} wrong  worst " if self.wrong else "ok  "
        return f"{self.operation}  {self.cases:,} cases  {verdict}{_apart(self.worst)}"


def run(
    name: choices.Name,
    fmt: choices.Format = None,
    profile: choices.Profile = None,
    scale: choices.Scale = None,
    rounding: choices.Rounding = None,
    dtype: choices.Dtype = None,
    to: choices.To = None,
    contract: choices.Contract = None,
    k: choices.K = None,
    m: choices.M = None,
    n: choices.N = None,
    ulp: Annotated[int, typer.Option(min=0, help="So far from the right result is right, too.")] = 0,
    want: Annotated[
        bool, typer.Option("--want", help="Lines have the right results before the kernel's: compare with those.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Check what a kernel has made of test vectors, from standard input.

    A line is the operation, its operands, and the kernel's results, patterns in hexadecimal: posit16_add 4000 4800
    4a00. What is right refnum computes. All NaNs are one; +0 and -0 are not, unless --ulp is given. Behind # stands a
    comment. Ends with 1 when a result is wrong, with 2 when a line cannot be read.
    """
    operation = find(
        name,
        fmt,
        profile=profile,
        scale=scale,
        rounding=rounding,
        dtype=dtype,
        to=to,
        contract=contract,
        k=k,
        m=m,
        n=n,
    )
    layout = Layout(operation.name, operation.operands + operation.results * (2 if want else 1))
    tally = Tally(operation.name)
    with counter() as count:
        for lines in layout.read(sys.stdin.buffer):
            _add(tally, operation, lines, ulp)
            count(len(lines.numbers))
    if not tally.cases:
        raise FormatError(
            f"check got no cases of {operation.name} on standard input. Allowed are lines as refnum gen writes them, "
            "with results. Pipe the output of a kernel into it."
        )
    with output() as stream:
        text = json.dumps(asdict(tally)) if as_json else "\n".join((*map(_shown, tally.first), str(tally)))
        stream.write(f"{text}\n".encode())
    return MISMATCH if tally.wrong else DONE


# ---- comparing ---------------------------------------------------------------------------------------------------


def _add(tally: Tally, operation: Operation, lines: Lines, ulp: int) -> None:
    """Count some lines; those that have two sets of results say themselves what is right."""
    if not lines.numbers:
        return
    of_operands, of_results = len(operation.operands), len(operation.results)
    operands, results = lines.codes[:of_operands], lines.codes[of_operands:]
    got = results[-of_results:]
    want = results[:of_results] if len(results) > of_results else operation.right(operands)
    bad = torch.zeros(len(lines.numbers), dtype=torch.bool, device="cpu")
    worst = torch.zeros(len(lines.numbers), dtype=torch.int64, device="cpu")
    for words, x, y in zip(operation.results, got, want, strict=True):
        rows = (x != y).any(1)
        if rows.any():
            apart, wrong = _compared(x[rows], y[rows], words.fmt, ulp)
            bad[rows] |= wrong.any(1)
            worst[rows] = torch.maximum(worst[rows], apart.amax(1))
    tally.cases += len(lines.numbers)
    tally.wrong += int(bad.sum())
    tally.worst = max(tally.worst, int(worst.max()))
    for row in bad.nonzero().view(-1)[: FIRST - len(tally.first)].tolist():
        ins, outs, rights = (
            _texts(words, [codes[row : row + 1] for codes in columns])
            for words, columns in ((operation.operands, operands), (operation.results, got), (operation.results, want))
        )
        tally.first.append(Wrong(lines.numbers[row], ins, outs, rights, int(worst[row])))


def _compared(got: Tensor, want: Tensor, fmt: Scalar | Exponent, ulp: int) -> tuple[Tensor, Tensor]:
    """How far codes lie apart, and which are wrong."""
    apart = ulp_distance(got, want, fmt)
    if ulp:
        return apart, apart > ulp
    nan = fmt.nan if isinstance(fmt, (Minifloat, Codebook)) else None
    if nan is None:
        return apart, got != want
    return apart, (got != want) & ((apart > 0) | (ulp_distance(got, torch.full_like(got, nan), fmt) > 0))


# ---- showing -------------------------------------------------------------------------------------------------------


def _texts(words: tuple[Words, ...], codes: Sequence[Tensor]) -> Texts:
    """The words of one case, by name."""
    texts = iter(Layout("", words).text(codes).decode().split())
    return {each.name: [next(texts) for _ in range(each.count)] for each in words}


def _shown(wrong: Wrong) -> str:
    """A case in some lines, with marks under what differs."""
    rows = [(name, text) for name, words in wrong.operands.items() for text in _rows(words)]
    for name, want in wrong.want.items():
        for got_row, want_row in zip(_rows(wrong.got[name]), _rows(want), strict=True):
            if got_row == want_row:
                rows.append((name, got_row))
                continue
            marks = (" ^"[x != y] for x, y in zip(got_row, want_row, strict=True))
            rows += [(name, f"got   {got_row}"), ("", f"want  {want_row}"), ("", f"      {''.join(marks)}")]
    width = max(len(name) for name, _ in rows)
    texts = (f"  {name:{width}}  {text}".rstrip() for name, text in rows)
    apart = _apart(wrong.ulp) if wrong.ulp else "0 ULP: another code of the same value"
    return "\n".join((f"line {wrong.line}  {apart}", *texts, ""))


def _rows(words: list[str]) -> list[str]:
    """Words of one length, so many in a row that it fits a screen; a power of two."""
    most = 1 << ((WIDE // (len(words[0]) + 1)).bit_length() - 1)
    return [" ".join(words[i : i + most]) for i in range(0, len(words), most)]


def _apart(ulp: int) -> str:
    return "NaN against a number, or as far apart" if ulp == FARTHEST else f"{ulp:,} ULP"
