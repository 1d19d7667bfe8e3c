"""What the pages of this folder tell of the code, told by the code: ``python docs/tables.py`` writes it anew.

A page marks where a table goes: ``<!-- table: exactness -->`` before it, ``<!-- end of table -->`` behind it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import refnum
from refnum import Quire, functions, lab, mx, nn, posit, testing
from refnum.cli.commands import COMMANDS
from refnum.core.round import RULES
from refnum.errors import RefnumError
from refnum.formats import (
    Block,
    Codebook,
    FixedPoint,
    Format,
    Minifloat,
    Posit,
    bfloat16,
    e4m3,
    e5m2,
    e8m0,
    float16,
    holds,
    named,
    unit_scale,
)
from refnum.mx.profiles import ALIASES
from refnum.posit.standard import FUNCTIONS, SECTIONS
from refnum.sums.contracts import listed
from refnum.sums.matrixcore import UNCOVERED
from refnum.sums.posits import MODES
from refnum.sums.tensorcore import INSTRUCTIONS, ZERO

PAGES = Path(__file__).parent
REGION = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

#: the closing lines of a docstring that says how exact its function is
LINES = ("Exactness", "Rounding", "Special", "Standard", "Cost")

#: floats that tensor cores take
OPERANDS = {"bfloat16": bfloat16, "float16": float16, "float8_e4m3fn": e4m3, "float8_e5m2": e5m2}

# ---- docstrings ----------------------------------------------------------------------------------


def numeric() -> dict[str, Callable[..., Any]]:
    """What computes, by its public name."""
    plain = {name: getattr(refnum, name) for name, home in refnum._HOMES.items() if home in ("codec", "ops", "values")}
    of_blocks = {f"mx.{name}": getattr(mx, name) for name in mx.__all__ if inspect.isfunction(getattr(mx, name))}
    of_models = {f"nn.{name}": getattr(nn, name) for name in nn.__all__ if inspect.isfunction(getattr(nn, name))}
    of_posits = {f"posit.{name}": getattr(posit, name) for name in posit.__all__}
    of_reals = {f"functions.{name}": getattr(functions, name) for name in functions.__all__}
    return plain | of_blocks | of_posits | of_reals | {"Quire": Quire} | of_models


def of_tests() -> dict[str, Callable[..., Any]]:
    """What compares, by its public name."""
    return {
        f"testing.{name}": getattr(testing, name)
        for name in testing.__all__
        if inspect.isfunction(getattr(testing, name))
    }


def fixed_lines(doc: str) -> dict[str, str]:
    """The closing lines of a docstring: name -> text, an indented line belonging to the one before."""
    found = re.findall(r"^(\w+): (.+(?:\n[ ]+.+)*)", inspect.cleandoc(doc), flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def first_sentence(doc: str | None) -> str:
    """What a docstring opens with."""
    return " ".join(inspect.cleandoc(doc or "").partition("\n\n")[0].split())


# ---- Markdown ------------------------------------------------------------------------------------


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    columns = list(header)
    lines = [columns, ["---"] * len(columns), *([escaped(str(cell)) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def escaped(text: str) -> str:
    """Text in which Markdown reads nothing but code between backticks."""
    pieces = re.split(r"(`+[^`]+`+)", text.replace("|", r"\|"))
    return "".join(piece if piece.startswith("`") else re.sub(r"([*<])", r"\\\1", piece) for piece in pieces)


def code(*names: object) -> str:
    """Names as code, one behind the other."""
    return ", ".join(f"`{name}`" for name in names)


# ---- tables: exactness, formats ------------------------------------------------------------------


def exactness(room: str, *lines: str) -> str:
    """One line of each function's docstring a column; of the functions of a room, or of those outside of any."""
    functions = sorted((numeric() | of_tests()).items())
    here = {name: function for name, function in functions if name.rpartition(".")[0] == room and name != "posit.Quire"}
    texts = {name: fixed_lines(function.__doc__ or "") for name, function in here.items()}
    return table(("function", *map(str.lower, lines)), ((code(n), *(t[x] for x in lines)) for n, t in texts.items()))


def standard(section: str) -> str:
    """The functions of a section of the Posit Standard."""
    rows = []
    for function in FUNCTIONS:
        if function.section == section:
            doc = value_of(function.public).__doc__ or ""
            what = first_sentence(doc).removeprefix(f"{function.name}: ")
            rows.append((function.name, code(function.public), what, fixed_lines(doc).get("Special", "")))
    return table(("the standard", "refnum", "what it gives", "special"), rows)


def value_of(public: str) -> Callable[..., Any]:
    """What has a public name, methods among it."""
    value: Any = refnum
    for part in public.split("."):
        value = getattr(value, part)
    return value  # type: ignore[no-any-return]


def formats() -> str:
    """Every floating-point format that has a name."""
    rows = [(code(name), *_numbers(fmt)) for name, fmt in named().items() if isinstance(fmt, Format)]
    return table(("format", "bits", "largest", "smallest", "significand bits", "what it is"), rows)


def _numbers(fmt: Format) -> tuple[object, ...]:
    if isinstance(fmt, Posit):
        what = f"es = {fmt.es}; its quire has {fmt.quire_bits} bits"
    else:
        what = f"{fmt.exponent} bits of exponent, bias {fmt.bias}; specials {fmt.specials}, overflow {fmt.overflow}"
    return fmt.width, f"{fmt.max_value:.6g}", f"2^{unit_scale(fmt)}", fmt.significand_bits, what


def codebooks() -> str:
    """Every table of values that has a name."""
    from refnum.cli.formats import kind, smallest

    rows = [
        (code(name), fmt.width, f"{fmt.max_value:.6g}", f"{smallest(fmt):.6g}", fmt.significand_bits, kind(fmt))
        for name, fmt in named().items()
        if isinstance(fmt, Codebook)
    ]
    return table(("format", "bits", "largest", "smallest", "significand bits", "what it is"), rows)


def block_formats() -> str:
    """Every format of blocks that has a name."""
    blocks = ((name, fmt) for name, fmt in named().items() if isinstance(fmt, Block))
    rows = [(code(name), fmt.bits, fmt.size, code(fmt.element), code(fmt.scale)) for name, fmt in blocks]
    return table(("format", "bits an element", "elements", "element", "scale"), rows)


def roundings() -> str:
    """Every rounding, by name."""
    return f"{code(*RULES)}\n"


def profiles() -> str:
    """Every profile of `mx.quantize`."""
    short = {full: name for name, full in ALIASES.items()}
    rows = [
        (
            *(code(row.name), code(short[row.name]) if row.name in short else "", "; ".join(map(str, row.forms))),
            *(row.scale, row.rounding.replace("_", " "), row.infinite),
        )
        for row in mx.PROFILES.values()
    ]
    return table(("profile", "short", "has", "E8M0 scale", "elements", "Inf in a block"), rows)


def layouts() -> str:
    """Every layout of `mx.shuffle`."""
    header = ("layout", "rows are split", "columns are split", "order in memory", "padded to", "with")
    rows = [
        (
            *(code(name), row.rows, "by their count" if callable(row.columns) else row.columns, row.order),
            *(("", "") if row.multiples == (1, 1) else (" x ".join(map(str, row.multiples)), code(f"{row.pad:#04x}"))),
        )
        for name, row in mx.LAYOUTS.items()
    ]
    return table(header, rows)


# ---- tables: contracts ---------------------------------------------------------------------------


def contracts(*prefixes: str) -> str:
    """Contracts whose names start so, what they take, and what they say."""
    from refnum.cli.contracts import operands

    rows = [
        (code(row.name), ", ".join(operands(row)), row.definition) for row in listed() if row.name.startswith(prefixes)
    ]
    return table(("contract", "operands", "what is summed how"), rows)


def tensor_cores() -> str:
    """The parameters of NVIDIA's instructions."""
    rows = [
        (
            *(code(f"tc.{row.name}/v1"), ", ".join(map(str, row.blocks or row.formats)), row.fraction),
            *(row.terms if row.group == 1 else f"{row.terms} sums of {row.group}", _accumulator(*row.accumulator)),
            row.zero if row.zero == ZERO else "none",
        )
        for row in INSTRUCTIONS.values()
    ]
    return table(("contract", "elements", "F", "terms of a block", "accumulator", "exponent of 0"), rows)


def _accumulator(held: object, kept: Any, rounding: str) -> str:
    name = str(held) if held == kept else f"{kept.mantissa} bits of a fraction"
    return f"{name}, {rounding.replace('_', ' ')}"


def upcasts() -> str:
    """Which floats that tensor cores take hold all values of a format."""
    formats = [*(fmt for fmt in named().values() if isinstance(fmt, Minifloat) and fmt.width <= 8 and fmt.signed)]
    rows = [
        (code(fmt), ", ".join(name for name, row in OPERANDS.items() if holds(row, fmt)) or "none")
        for fmt in (*(Posit(n) for n in (8, 12, 13, 16)), *formats)
    ]
    return table(("format", "exact in"), rows)


def upcasts_of_blocks() -> str:
    """For which scales floats of 16 bits hold all values of a block."""
    blocks = ((name, fmt) for name, fmt in named().items() if isinstance(fmt, Block))
    rows = [(code(name), *(_scales(row, fmt) for row in (bfloat16, float16))) for name, fmt in blocks]
    return table(("format", "scales in bfloat16", "scales in float16"), rows)


def _scales(row: Minifloat, fmt: Block) -> str:
    if fmt.scale != e8m0:
        return "all, without a factor of the tensor"
    low, high = exact_scales(row, fmt)
    return f"2^{low} to 2^{high}"


def exact_scales(row: Minifloat, fmt: Block) -> tuple[int, int]:
    """Exponents of e8m0 with which every element of a block is a float of the row."""
    element = fmt.element
    if isinstance(element, FixedPoint):
        finest, largest = -element.fraction, Fraction(2) ** (element.width - 1 - element.fraction)
    else:
        assert isinstance(element, Minifloat)
        finest, largest = element.min_scale - element.mantissa, Fraction(element.max_value)
    high = row.max_scale
    while largest * Fraction(2) ** high > Fraction(row.max_value):
        high -= 1
    return max(row.min_scale - row.mantissa - finest, -e8m0.bias), high


def uncovered() -> str:
    """Contracts that have a name and no definition."""
    return table(("contract", "why there is none"), ((code(f"tc.{name}.*"), why) for name, why in UNCOVERED.items()))


def modes() -> str:
    """The modes of `posit_mm`."""
    rows = [(code(name), code(mode.contract), mode.formats) for name, mode in MODES.items()]
    return table(("mode", "contract", "formats"), rows)


# ---- tables: what goes wrong ---------------------------------------------------------------------


def errors() -> str:
    """Every error type, the builtin that it also is, and when it is raised."""
    types = (getattr(refnum, name) for name, home in refnum._HOMES.items() if home == "errors")
    rows = [(code(error.__name__), _builtin(error), first_sentence(error.__doc__)) for error in types]
    return table(("error", "is also", "raised for"), rows)


def _builtin(error: type[Exception]) -> str:
    others = [base for base in error.__bases__ if base not in (RefnumError, Exception)]
    return code(*(base.__name__ for base in others))


def deviations(*peers: str) -> str:
    """The pinned defects of peers, with operands."""
    from refnum_conformance.known_deviations.listing import listed

    rows = [(code(row.call), row.got, row.right, row.why) for row in listed() if row.peer in peers]
    return table(("call", "gives", "right", "why"), rows)


def commands() -> str:
    """Every subcommand."""
    return table(("command", "what it does"), ((code(f"refnum {row.name}"), row.help) for row in COMMANDS))


# ---- the reference -------------------------------------------------------------------------------


def members(module: ModuleType) -> str:
    """Where mkdocstrings puts the public names of a room: functions and modules, then classes."""
    shown = (name for name in module.__all__ if _is_shown(getattr(module, name)))
    names = sorted(shown, key=lambda name: (inspect.isclass(getattr(module, name)), name))
    return _places(f"{module.__name__}.{name}" for name in names)


def plain_members(*homes: str) -> str:
    """The same for names outside of rooms, by the module that they come from."""
    names = (name for name, home in refnum._HOMES.items() if home in homes)
    return _places(f"refnum.{name}" for name in names if _is_shown(getattr(refnum, name)))


def _is_shown(value: object) -> bool:
    return inspect.isroutine(value) or inspect.isclass(value) or inspect.ismodule(value)


def _places(names: Iterable[str]) -> str:
    return "\n".join(f"::: {name}\n" for name in names)


ROOMS = {"plain": "", "posit": "posit", "functions": "functions", "mx": "mx", "nn": "nn", "testing": "testing"}
#: peers in known_deviations, by the table that they are in
PEERS = {
    "softposit": ("softposit",),
    "ml_dtypes": ("ml_dtypes",),
    "torch": ("torch_casts",),
    "gfloat": ("gfloat", "gfloat_scalars"),
    "torchao": ("torchao_blocks",),
    "mma_sim": ("mma_sim",),
    "mase": ("mase",),
}
TABLES: dict[str, Callable[[], str]] = {
    **{f"exactness_{name}": partial(exactness, room, *LINES[:3]) for name, room in ROOMS.items()},
    **{f"costs_{name}": partial(exactness, room, *LINES[3:]) for name, room in ROOMS.items()},
    **{f"standard_{section.replace('.', '_')}": partial(standard, section) for section in SECTIONS},
    "formats": formats,
    "codebooks": codebooks,
    "block_formats": block_formats,
    "roundings": roundings,
    "profiles": profiles,
    "layouts": layouts,
    "contracts_chain": partial(contracts, "chain/"),
    "contracts_tree": partial(contracts, "tree/"),
    "contracts_exact": partial(contracts, "exact"),
    "contracts_int": partial(contracts, "int/"),
    "contracts_sgbi": partial(contracts, "sgbi."),
    "contracts_split": partial(contracts, "tcsplit/"),
    "contracts_cdna": partial(contracts, "tc.cdna"),
    "contracts_unversioned": partial(contracts, "unversioned/"),
    "tensor_cores": tensor_cores,
    "upcasts": upcasts,
    "upcasts_of_blocks": upcasts_of_blocks,
    "uncovered": uncovered,
    "modes": modes,
    "errors": errors,
    **{f"deviations_{name}": partial(deviations, *peers) for name, peers in PEERS.items()},
    "commands": commands,
    "reference_formats": partial(plain_members, "formats"),
    "reference_values": partial(plain_members, "codec", "values"),
    "reference_sums": partial(plain_members, "ops", "sums.partial"),
    "reference_backend": partial(plain_members, "backend"),
    "reference_errors": partial(plain_members, "errors"),
    **{
        f"reference_{room.__name__.partition('.')[2]}": partial(members, room)
        for room in (posit, functions, mx, nn, testing, lab)
    },
}


def written_anew(page: str) -> str:
    """A page with its tables as the code has them now."""
    return REGION.sub(lambda region: f"{region[1]}\n{TABLES[region[2]]()}\n{region[3]}", page)


def main() -> None:
    """Write every page anew."""
    for path in sorted(PAGES.rglob("*.md")):
        path.write_text(written_anew(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
