"""All known deviations in words, for people: who, what was asked, what came, what is right, and why."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable
from itertools import groupby
from typing import Any, NamedTuple

from ..plan import describe

CHOICES = ("dtype", "profile", "scale", "rounding")  #: the options of a row that are shown beside its format


class Listed(NamedTuple):
    """One deviation."""

    peer: str
    call: str
    got: str
    right: str
    why: str


def listed() -> list[Listed]:
    """Every pinned deviation of every peer.

    >>> next(line for line in listed() if line.call.startswith("p32_mul("))[2:4]
    ('0x80000002', '0x80000001')
    """
    found = []
    for name in sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(__package__).__path__)):
        module = importlib.import_module(f"{__package__}.{name}")
        found += [_of_softposit(name, each) for each in getattr(module, "DEVIATIONS", ())]
        found += [_of_rows(each) for each in getattr(module, "PINS", ())]
        found += [_of_instructions(name, each) for each in getattr(module, "DOTS", ())]
        found += [_of_records(name, each) for each in getattr(module, "RECORDED", ())]
    return found


def _of_softposit(peer: str, deviation: Any) -> Listed:
    word = _code if deviation.gives_patterns else str
    operands = _several((hex if deviation.takes_patterns else str)(x) for x in deviation.operands)
    got = " or ".join(word(x) for x in deviation.got) or "differs from run to run"
    call = f"{deviation.function}({operands}), posit({deviation.n},{deviation.es})"
    return Listed(peer, call, got, word(deviation.right), deviation.why)


def _of_rows(pin: Any) -> Listed:
    operand = pin.operand if isinstance(pin.operand, tuple) else (pin.operand,)
    choices = (pin.options[name] for name in CHOICES if name in pin.options)
    call = f"{pin.row}({_several(map(_float, operand))}), {', '.join((describe(pin.options), *choices))}"
    return Listed(pin.target, call, _codes(pin.got), _codes(pin.right), f"{pin.why} ({pin.rule})")


def _of_instructions(peer: str, dot: Any) -> Listed:
    a, b = (_several(f"{code:#010x}" for code in side) for side in (dot.a, dot.b))
    call = f"tc.{dot.instruction}/v1 of ({a}) and ({b}), C = {dot.c:#010x}"
    return Listed(peer, call, _code(dot.got), _code(dot.right), dot.why)


def _of_records(peer: str, recorded: Any) -> Listed:
    block = "" if recorded.amax is None else f" in a block up to {_float(recorded.amax)}"
    return Listed(
        peer, f"{recorded.tag}({_float(recorded.x)}){block}", *map(_float, (recorded.got, recorded.right)), recorded.why
    )


def _codes(codes: int | tuple[int, ...]) -> str:
    return _several(map(_code, codes)) if isinstance(codes, tuple) else _code(codes)


def _code(code: float) -> str:
    return f"{int(code):#x}"


def _float(x: float) -> str:
    """An exact one, without the zeros behind it.

    >>> _float(1.25), _float(2.0**-120)
    ('0x1.4p+0', '0x1p-120')
    """
    return re.sub(r"\.?0*p", "p", x.hex())


def _several(words: Iterable[str]) -> str:
    """With what repeats counted.

    >>> _several("abbbc")
    'a, 3 x b, c'
    """
    runs = ((word, len(list(run))) for word, run in groupby(words))
    return ", ".join(f"{count} x {word}" if count > 1 else word for word, count in runs)
