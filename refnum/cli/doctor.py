"""``refnum doctor``: what is here, what is not, and why."""

from __future__ import annotations

import json
import platform
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from .. import __version__
from ..backend import NOTES, status
from ..errors import BackendError
from .extras import EXTRAS, installed
from .status import DONE, MISMATCH


def run(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> int:
    """Say what is installed and which backend serves, and why.

    Exit 1 when the backend that was asked for cannot serve.
    """
    from ..fast import hardware  # noqa: F401 - it has something to say on any machine

    backend, exit_status = _backend()
    notes = dict(escape(note()).split(": ", 1) for note in NOTES)
    facts = {"refnum": __version__, **_versions(), "backend": backend, **notes}
    extras = {escape(f"refnum[{extra}]"): _presence(names) for extra, names in EXTRAS.items()}
    if as_json:
        print(json.dumps({_plain(name): _plain(text) for name, text in (facts | extras).items()}))
        return exit_status
    console = Console(highlight=False)
    console.print(_table(facts))
    console.print(_table(extras))
    return exit_status


def _plain(markup: str) -> str:
    return Text.from_markup(markup).plain


def _backend() -> tuple[str, int]:
    try:
        now = status()
    except BackendError as error:
        return f"[red]none[/]: {escape(str(error))}", MISMATCH
    return escape(f"{now.backend} ({now.reason})"), DONE


def _versions() -> dict[str, str]:
    import torch

    return {
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "torch": f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads",
        "numpy": installed("numpy") or "[red]missing[/]",
        "devices": ", ".join(["cpu", *(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))]),
    }


def _presence(names: tuple[str, ...]) -> str:
    found = ((name, installed(name)) for name in names)
    return ", ".join(f"{name} {version}" if version else f"[yellow]{name} missing[/]" for name, version in found)


def _table(lines: dict[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True, min_width=max(len(f"refnum[{extra}]") for extra in EXTRAS))
    table.add_column()
    for name, text in lines.items():
        table.add_row(name, text)
    table.add_row()
    return table
