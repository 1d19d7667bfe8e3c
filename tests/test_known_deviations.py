"""The pinned defects of peers are still there, and what the pins call right is what the oracle and refnum compute."""

from __future__ import annotations

import importlib
import math
import struct
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from refnum_conformance import target
from refnum_conformance.known_deviations import casts, gfloat, torchao
from refnum_conformance.known_deviations.pins import Pin
from refnum_conformance.known_deviations.softposit import DEVIATIONS, Deviation
from refnum_conformance.operations import BY_NAME, canonical, record
from refnum_conformance.oracles import minifloat
from refnum_conformance.oracles.reals import Dyadic
from refnum_conformance.peers import softposit
from refnum_conformance.sources import SOFTPOSIT, SOURCES

PINNED = [deviation for deviation in DEVIATIONS if deviation.signature]
DOTS = [deviation for deviation in DEVIATIONS if deviation.operation == "quire_dot" and deviation.got]
AVAILABLE, REASON = softposit.available()

needs_softposit = pytest.mark.skipif(not AVAILABLE, reason=REASON)


def _signed(x: int, n: int) -> int:
    x &= (1 << n) - 1
    return x - (1 << n) if x >> (n - 1) else x


def _pattern(deviation: Deviation, x: float) -> float:
    """A result as functions give it: sign-extended where it is a pattern."""
    return _signed(int(x), deviation.n) if deviation.gives_patterns else x


def _value(deviation: Deviation, result: int) -> float:
    """A result as the pins write it: the operations table has floats by their bits."""
    if deviation.operation != "to_float":
        return result
    return float(struct.unpack("<d", struct.pack("<q", result))[0])


def _same(x: float, y: float) -> bool:
    return x == y or (math.isnan(x) and math.isnan(y))


def _operands(deviation: Deviation) -> list[Any]:
    operands = [_signed(x, deviation.n) if deviation.takes_patterns else x for x in deviation.operands]
    return [operands[0::2], operands[1::2]] if deviation.operation == "quire_dot" else operands


def _options(deviation: Deviation) -> dict[str, Any]:
    return {"n": deviation.n, "es": deviation.es, **deviation.options}


@needs_softposit
@pytest.mark.parametrize("deviation", PINNED, ids=str)
def test_the_peer_is_still_wrong(deviation: Deviation) -> None:
    got = softposit.call(deviation.function, deviation.signature, *deviation.operands, n=deviation.n)
    expected = [_pattern(deviation, x) for x in deviation.got]
    assert any(_same(got, x) for x in expected), (
        f"{deviation}: {REASON} gives {got}, not {expected}. If {deviation.right} is right, "
        "the defect is gone: remove the row, and the exclusion that goes with it."
    )


@needs_softposit
@pytest.mark.parametrize("deviation", DOTS, ids=str)
def test_the_peers_dot_is_still_wrong(deviation: Deviation) -> None:
    a, b = (torch.tensor([side]) for side in _operands(deviation))
    got = softposit.quire_dot(a, b, deviation.n, deviation.es).item()
    assert got == _pattern(deviation, *deviation.got), "the defect is gone: remove the row, and the exclusion"


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=str)
def test_the_oracle_agrees_with_the_right_answer(deviation: Deviation) -> None:
    result = BY_NAME[deviation.operation].oracle(*_operands(deviation), **_options(deviation))
    assert _same(_value(deviation, result), _pattern(deviation, deviation.right))


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=str)
def test_refnum_gives_the_right_answer(deviation: Deviation) -> None:
    operands = [np.array([x], dtype=np.int64) for x in _operands(deviation)]
    (result,) = getattr(target, deviation.operation)(*operands, **_options(deviation))
    assert _same(_value(deviation, int(result)), _pattern(deviation, deviation.right))


@pytest.mark.parametrize("deviation", PINNED + DOTS, ids=str)
def test_a_pin_is_wrong_or_hangs_on_the_build(deviation: Deviation) -> None:
    right = any(_same(x, deviation.right) for x in deviation.got)
    assert right == (len(deviation.got) > 1)


@needs_softposit
@pytest.mark.parametrize("deviation", DEVIATIONS, ids=str)
def test_no_pinned_operand_passes_the_cross_check(deviation: Deviation) -> None:
    """What would be compared for equality comes out right; the rest is uncovered or excluded."""
    op, options = BY_NAME[deviation.operation], _options(deviation)
    operands = tuple(np.array([x], dtype=np.int64) for x in _operands(deviation))
    if SOFTPOSIT.covers(op, options) and not SOFTPOSIT.excluded(op, operands, options).item():
        got = SOFTPOSIT.answer(op, operands, options).item()
        assert _same(_value(deviation, got), _pattern(deviation, deviation.right))


# Peers that speak as rows --------------------------------------------------------------------------------------------

PINS = (*casts.PINS, *gfloat.PINS, *torchao.PINS)


def _column(pin: Pin) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The operand by its bits."""
    values = np.array([pin.operand], np.float64)
    stored = values.astype(pin.options["dtype"])
    assert (stored == values).all()
    return stored.view(f"i{stored.itemsize}").astype(np.int64)


def _codes(pin: Pin, found: Any) -> tuple[int, ...] | int:
    """One result, unsigned; all NaNs are one."""
    (result,) = canonical(BY_NAME[pin.row], np.array([found]), pin.options)
    if isinstance(pin.right, tuple):
        return tuple(int(x) for x in result)
    return int(result) & ((1 << record(pin.options).width) - 1)


@pytest.mark.parametrize("pin", PINS, ids=str)
def test_the_peer_still_gives_it(pin: Pin) -> None:
    peer = importlib.import_module(f"refnum_conformance.peers.{pin.target}")
    installed, reason = peer.available()
    if not installed:
        pytest.skip(reason)
    assert peer.has(pin.row, **pin.options)
    (got,) = getattr(peer, pin.row)(_column(pin), **pin.options)
    assert _codes(pin, got) == pin.got, f"if {pin.right} is right, {reason} has mended it: remove the pin"


@pytest.mark.parametrize(("x", "got"), gfloat.OUTSIDE_E8M0)
def test_gfloat_still_leaves_e8m0(x: float, got: float) -> None:
    peer = pytest.importorskip("gfloat", reason="gfloat is not installed: pip install gfloat")
    e8m0 = importlib.import_module("gfloat.formats").format_info_ocp_e8m0
    assert peer.round_float(e8m0, x) == got
    assert peer.round_ndarray(e8m0, np.array([x])).tolist() == [got]
    values = {peer.decode_float(e8m0, code).fval for code in range(255)}
    assert values == {2.0**e for e in range(-127, 128)}
    assert got not in values


@pytest.mark.parametrize("pin", PINS, ids=str)
def test_oracle_and_refnum_give_what_the_pin_calls_right(pin: Pin) -> None:
    column = _column(pin)
    (asked,) = column.tolist()
    assert _codes(pin, BY_NAME[pin.row].oracle(asked, **pin.options)) == pin.right != pin.got
    (result,) = getattr(target, pin.row)(column, **pin.options)
    assert _codes(pin, result) == pin.right


@pytest.mark.parametrize("pin", [pin for pin in PINS if pin.row == "minifloat_encode"], ids=str)
def test_what_a_pin_calls_right_is_nearer(pin: Pin) -> None:
    """By fractions, without the oracle: no number of the format lies nearer, but for overflow and directed rounding."""
    fmt, codes = record(pin.options), (pin.got, pin.right)
    got, right = (minifloat.decode(int(code), fmt) for code in codes)
    if isinstance(right[1], minifloat.Special):  # beyond the middle between the largest number and the next one
        first_too_large = minifloat.magnitude(fmt.largest + 1, fmt)
        assert 2 * Fraction(pin.operand) > _fraction(minifloat.magnitude(fmt.largest, fmt)) + _fraction(first_too_large)
        return
    distance = abs(abs(Fraction(pin.operand)) - _fraction(right[1]))
    if not isinstance(got[1], minifloat.Special):
        assert distance < abs(abs(Fraction(pin.operand)) - _fraction(got[1]))
    else:
        assert abs(Fraction(pin.operand)) < _fraction(minifloat.magnitude(fmt.largest, fmt)) + distance + distance


def _fraction(x: Dyadic) -> Fraction:
    return x.m * Fraction(2) ** x.e


@pytest.mark.parametrize("pin", PINS, ids=str)
def test_no_source_of_right_results_answers_for_a_pin(pin: Pin) -> None:
    """Else equality with the peer would be asked of refnum."""
    for source in SOURCES[1:]:
        if source.covers(BY_NAME[pin.row], pin.options):
            assert source.name != pin.target
            if source.available()[0]:
                (answer,) = source.answer(BY_NAME[pin.row], (_column(pin),), pin.options)
                assert _codes(pin, answer) == pin.right
