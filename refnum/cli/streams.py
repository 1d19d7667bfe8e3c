"""Standard input and output of commands that stand between two others."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from .status import CLOSED


@contextmanager
def output() -> Iterator[BinaryIO]:
    """Standard output, for bytes. When its reader has gone the command ends, without a word."""
    try:
        yield sys.stdout.buffer
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still in the buffer goes nowhere: else Python would write it when it ends, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(CLOSED) from None


@contextmanager
def counter() -> Iterator[Callable[[int], None]]:
    """Count cases before the eyes of whoever waits: on standard error, where that is a terminal and nothing else is."""
    watched = sys.stderr.isatty() and not sys.stdout.isatty()
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} cases"))
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not watched) as progress:
        yield partial(progress.advance, progress.add_task("", total=None))
