"""``refnum demo``: a classifier of real images, its matrix products computed in posits, with SoftPosit as a witness."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from torch import Tensor

from ..errors import MissingExtraError
from ..formats import Format, Posit, float32, posit8, posit16, posit32
from ..ops import posit_mm
from . import crosscheck, digits, picture
from .digits import Digits, Layer, Product
from .status import DONE, MISMATCH

POSITS = (posit8, posit16, posit32)
CHECKED = 250  #: elements of each matrix product in each format
PICTURES = (".png", ".svg", ".pdf")
NOTE = "Worst error: the largest distance of a logit from that of the same network in float64."
STEPS = 1 + digits.EPOCHS + 2 * len(POSITS) + 1

Report = Callable[[str], None]  #: told what is being done now, once for each of `STEPS`


@dataclass(frozen=True, slots=True)
class Row:
    """How a format did."""

    fmt: Format
    accuracy: float  #: the share of the test images that were recognised
    worst: float  #: the largest distance of a logit from that of float64
    seconds: float
    products: list[Product]
    count: crosscheck.Count | None = None  #: None where SoftPosit was not asked


def run(
    out: Annotated[Path, typer.Option(help="The picture: a .png, .svg or .pdf file.")] = Path("refnum-demo.png"),
) -> int:
    """Classify real digits in posits, checked against SoftPosit, with a picture.

    A small network is trained in float32 on 1,297 handwritten digits. It then reads 500 others with every matrix
    product in posit8, posit16 and posit32: summed exactly in the quire, rounded once. Exit 1 when SoftPosit differs.
    """
    _check_picture(out)
    console = Console(highlight=False)
    with _one_thread(), _progress() as report:
        report("Reading the digits")
        seen, unseen = digits.load()
        layers = digits.train(seen, tick=lambda: report("Training in float32"))
        rows = measure(layers, unseen, report)
        report("Drawing")
        drawn = _draw(out, rows)
    console.print(_table(rows))
    for line in (NOTE, _verdict(rows), drawn):
        console.print(line, soft_wrap=True)
    return MISMATCH if any(row.count and row.count.different for row in rows) else DONE


# Inference -----------------------------------------------------------------------------------------------------------


def measure(layers: list[Layer], unseen: Digits, report: Report) -> list[Row]:
    """A row for float32 and one for each posit, compared with the same network in float64."""
    wide = [Layer(*(tensor.double() for tensor in layer)) for layer in layers]
    unseen_wide = unseen._replace(images=unseen.images.double())
    want = digits.products(wide, unseen_wide.images, _float_product)[-1].result
    rows = [_row(float32, layers, unseen, _float_product, want)]
    generator = torch.Generator().manual_seed(digits.SEED)
    for fmt in POSITS:
        report(f"Inference in {fmt}")
        row = _row(fmt, wide, unseen_wide, _posit_product(fmt), want)  # in float64, which holds every posit32
        report(f"Asking SoftPosit about {fmt}")
        rows.append(_checked(row, fmt, generator))
    return rows


def _float_product(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return a @ b + c


def _posit_product(fmt: Posit) -> digits.Arithmetic:
    return lambda a, b, c: posit_mm(a, b, fmt, c=c, mode="quire")


def _row(fmt: Format, layers: list[Layer], unseen: Digits, arithmetic: digits.Arithmetic, want: Tensor) -> Row:
    digits.products(layers, unseen.images[:1], arithmetic)  # the first call of a format makes its tables
    began = time.perf_counter()
    products = digits.products(layers, unseen.images, arithmetic)
    seconds = time.perf_counter() - began
    logits = products[-1].result
    accuracy = float((logits.argmax(1) == unseen.labels).double().mean())
    return Row(fmt, accuracy, float((logits - want).abs().max()), seconds, products)


def _checked(row: Row, fmt: Posit, generator: torch.Generator) -> Row:
    if not crosscheck.witness().available:
        return row
    return replace(row, count=crosscheck.compare(row.products, fmt, CHECKED, generator))


# What is printed -----------------------------------------------------------------------------------------------------


def _table(rows: list[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=f"{digits.TESTED} handwritten digits, one thread", title_justify="left")
    table.add_column("format", style="bold")
    for heading in ("accuracy", "worst error", "time", "asked SoftPosit", "differ"):
        table.add_column(heading, justify="right")
    for row in rows:
        count = (f"{row.count.checked:,}", f"{row.count.different:,}") if row.count else ("-", "-")
        table.add_row(str(row.fmt), f"{row.accuracy:.1%}", f"{row.worst:.2g}", f"{row.seconds * 1e3:.1f} ms", *count)
    return table


def _verdict(rows: list[Row]) -> str:
    witness = crosscheck.witness()
    if not witness.available:
        return f"[yellow]Not cross-checked[/]: {escape(witness.text)}"
    counts = [row.count for row in rows if row.count]
    checked, different = sum(count.checked for count in counts), sum(count.different for count in counts)
    colour = "red" if different else "green"
    return f"Cross-checked {checked:,} dot products with {witness.text}: [{colour}]{different:,} differ[/]."


def _draw(out: Path, rows: list[Row]) -> str:
    try:
        picture.draw(out, [picture.Bar(row.fmt, row.accuracy, row.worst) for row in rows], _numbers(rows))
    except MissingExtraError as error:
        return f"[yellow]No picture[/]: {escape(str(error))}"
    return f"Picture: {escape(str(out))}"


def _numbers(rows: list[Row]) -> Tensor:
    """Magnitudes of all that the network computes with."""
    magnitudes = torch.cat([tensor.double().abs().reshape(-1) for product in rows[0].products for tensor in product])
    return magnitudes[magnitudes > 0]


# Around it -----------------------------------------------------------------------------------------------------------


def _check_picture(out: Path) -> None:
    """Before the work rather than after it."""
    if out.suffix not in PICTURES:
        raise typer.BadParameter(f"{out} must end in one of {', '.join(PICTURES)}.", param_hint="--out")
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        raise typer.BadParameter(f"{out} cannot be written. Name a file in a folder that can.", param_hint="--out")


@contextmanager
def _progress() -> Iterator[Report]:
    """A bar on stderr, gone when the work is done."""
    columns = (BarColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=STEPS)
        yield lambda text: progress.update(task, description=text, advance=1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread inside, as many as before outside: times compare, and small products only wait for a second one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
