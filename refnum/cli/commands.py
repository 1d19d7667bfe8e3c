"""The command table: one row a subcommand. A row's module is imported when its command runs, not before."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand."""

    name: str  #: as it is typed
    help: str  #: its line in ``refnum --help``
    module: str  #: the file in this folder whose function ``run`` it is
    settings: Mapping[str, bool] = field(default_factory=dict)  #: how typer reads its arguments, where that is unusual

    def load(self) -> Callable[..., int | None]:
        """The function, imported now."""
        function: Callable[..., int | None] = importlib.import_module(f"{__package__}.{self.module}").run
        return function


# A value may be negative, which looks like an option.
_NUMBERS = {"ignore_unknown_options": True}

COMMANDS = (
    Command("demo", "Classify real digits in posits, checked against SoftPosit, with a picture.", "demo"),
    Command("formats", "List the formats that have a name, or tell what there is to know of one format.", "formats"),
    Command("contracts", "List the contracts of sums of products, what they take, and what each says.", "contracts"),
    Command("show", "Take one number apart in a format: its fields, pattern and value.", "show", _NUMBERS),
    Command("gen", "Write test vectors as lines of text, for kernels in any language.", "gen"),
    Command("check", "Check what a kernel has made of test vectors, from standard input.", "check"),
    Command("diff", "Compare two files of tensors by name, in bits or in ULP, and show the worst elements.", "diff"),
    Command("reveal", "Find the order in which a function adds up, and the contract whose bits it has.", "reveal"),
    Command("report", "Write recorded results as one HTML page: conformance, deviations, benchmarks, plots.", "report"),
    Command("vendor", "Write functions of refnum as one file that needs torch alone.", "vendor"),
    Command("doctor", "Say what is installed and which backend serves, and why.", "doctor"),
)
