"""From the command table to typer: only the command that was chosen is imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from .. import __version__
from .commands import COMMANDS
from .status import DONE, refuse


def dispatch(arguments: Sequence[str]) -> int:
    """Run the chosen command and give its exit status."""
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    app = typer.Typer(name="refnum", add_completion=False)
    app.callback(invoke_without_command=True)(_refnum)
    for row in COMMANDS:
        function = row.load() if row.name == chosen else _not_chosen
        app.command(row.name, short_help=row.help, context_settings=dict(row.settings))(function)
    try:
        return app(arguments or ["--help"], prog_name="refnum", standalone_mode=False) or DONE
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        place = context.command_path if context else "refnum"
        return refuse(f"{error.format_message().rstrip('.')}. Try: {place} --help")


def _refnum(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Reference numerics: what low-precision arithmetic is, bit for bit."""
    if version:
        print(f"refnum {__version__}")
        raise typer.Exit


def _not_chosen() -> None:
    """Stand in the list of commands."""
