"""Functions of codes, correctly rounded: by table, by float64 with a bound on its error, or by the definition.

V1. An estimate in float64 is off by at most a known part of itself (`estimates`; `probes` asks this machine). If both
    ends of what it can mean round to one code, that code is right. If not, the element is *doubtful* and is decided by
    the definition (`decisions`).
V2. Formats of up to 32 bits have their values, and the thresholds of their rounding, well within float64: about one
    element of a million is doubtful, and those on ties. Wider formats are decided element by element.
V3. Functions of one code of up to 16 bits are looked up in a table, which V1 made.
V4. The square root and the reciprocal ``core`` has (`algebraic`): for wide formats, and for compiled code to fuse.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ..boundary import container
from ..core.decode import decode
from ..core.round import encode
from ..fast import doubles
from ..fast.chunks import elementwise, pieces
from ..fast.conversions import converted_piece
from ..formats import Format, Minifloat, Posit, float32, float64, parse_scalar
from .algebraic import ALGEBRAIC
from .decisions import decide
from .estimates import ESTIMATES
from .probes import holds
from .rows import FUNCTIONS, Function

WIDTH = 32  #: bits of the widest formats with estimates
REACH = 900  #: estimates are good from 2**-REACH to 2**REACH
LARGEST_INTEGER = 1 << 31  #: beyond it, integers are no good for estimates
TABLED = 16  #: bits of the widest codes with tables
CHUNK = 1 << 15  #: elements of a piece
LOOKUPS = 1 << 17  #: the same where all is looked up
UNSIGNED = {8: torch.uint8, 16: torch.uint16}  #: codes that fill one are its indices


def evaluate(
    name: str, operands: Sequence[Tensor], sources: Sequence[Format], fmt: Format, k: Tensor | None = None
) -> Tensor:
    """Codes of a function of codes, of one shape: each operand of its source, the result of ``fmt``.

    An integer, if the function takes one, is an int64 tensor of the same shape.
    """
    codes = operands[0]
    if len(operands) == 1 and k is None and _tabled(codes, sources[0]):
        return _looked_up(codes, _table(name, sources[0], fmt), sources[0])
    inputs = (*operands, *(() if k is None else (k,)))
    kernel = _kernel(name, sources, fmt, codes.device.type)
    return elementwise(kernel, *inputs, dtype=container(fmt), chunk=CHUNK)


def _kernel(name: str, sources: Sequence[Format], fmt: Format, device: str) -> Callable[..., Tensor]:
    """What takes codes, and an integer at the end, to codes in int64."""
    estimated = _estimated(name, sources, fmt, device)
    if name in ALGEBRAIC and (torch.compiler.is_compiling() or not estimated):
        (source,) = sources
        bits = max(source.significand_bits, fmt.significand_bits)
        return lambda codes: encode(ALGEBRAIC[name](decode(codes, source), bits), fmt)

    def kernel(*inputs: Tensor) -> Tensor:
        if estimated:
            guess, doubtful = estimated_codes(name, inputs, sources, fmt)
        else:
            guess = torch.zeros_like(inputs[0], dtype=torch.int64)
            doubtful = torch.ones_like(inputs[0], dtype=torch.bool)
        return _settled(guess, doubtful, inputs, name, sources, fmt)

    return kernel


# ---- estimates -----------------------------------------------------------------------------------


def _estimated(name: str, sources: Sequence[Format], fmt: Format, device: str) -> bool:
    """Whether float64 can tell nearly all results, and does so on this machine."""
    return _within(fmt) and all(each == float64 or _within(each) for each in sources) and holds(name, device)


def _within(fmt: Format) -> bool:
    least = -fmt.max_scale if isinstance(fmt, Posit) else fmt.min_scale - fmt.mantissa
    return fmt.width <= WIDTH and least > -REACH and fmt.max_scale < REACH


def estimated_codes(
    name: str, inputs: Sequence[Tensor], sources: Sequence[Format], fmt: Format
) -> tuple[Tensor, Tensor]:
    """Codes that are right but where the second tensor is above 0. The inputs are codes, and an integer at the end."""
    function, estimate = FUNCTIONS[name], ESTIMATES[name]
    values = [_values(codes, source) for codes, source in zip(inputs, sources)]  # noqa: B905 - an integer may follow
    integers = inputs[len(sources) :]
    y = estimate.evaluate(*values, *integers)
    if isinstance(fmt, Posit):
        y = _in_posits(y, function, fmt, *values, *integers)
    elif function.invalid is not None:
        y = torch.where(function.invalid(*values, *integers), torch.nan, y)
    if doubles.serves(fmt):
        codes, away = doubles.rounded(y, fmt)
        if isinstance(fmt, Minifloat) and fmt.width < fmt.container_bits:
            codes = codes & ((1 << fmt.width) - 1)  # codes are not sign-extended
        doubtful = away.sub_(doubles.nearness(fmt, estimate.bound))
    else:
        codes, doubtful = rounded(y, fmt, estimate.bound)
    for x, source in zip(values, sources, strict=True):
        if source == float64:
            doubtful = (doubtful > 0) | _is_far(x)
    for k in integers:
        doubtful = (doubtful > 0) | (k > LARGEST_INTEGER) | (k < -LARGEST_INTEGER)
    return codes, doubtful


def _values(codes: Tensor, source: Format) -> Tensor:
    if source == float64:
        return codes.view(torch.float64)
    if isinstance(source, Posit) and doubles.serves(source):
        return doubles.values(codes, source)
    if source == float32 and not torch.compiler.is_compiling():
        return converted_piece(codes.to(torch.int32).view(torch.float32), torch.float64)
    return encode(decode(codes, source), float64).view(torch.float64)


def _in_posits(y: Tensor, function: Function, fmt: Posit, *operands: Tensor) -> Tensor:
    """Estimates that are NaN where there is no real number, and 0 only where the result is; inf is a large number."""
    if function.infinite == "pole":
        y = y + (y - y)
    if function.undefined is not None:
        y = torch.where(function.undefined(*operands), torch.nan, y)
    least = 2.0**-fmt.max_scale
    if function.zero == "never":
        return y.clamp_(min=least)
    if function.zero == "seen":
        return y
    small = (y.abs() < least) & ~function.zero(*operands)
    return torch.where(small, torch.full_like(y, least).copysign(y), y)


def _is_far(x: Tensor) -> Tensor:
    """Numbers, not 0, that are too large or too small for estimates; by their patterns, for some may be flushed."""
    size = x.view(torch.int64) & ((1 << 63) - 1)
    exponent = (size >> float64.mantissa) - 1023
    return (size != 0) & (exponent < 1024) & ((exponent > REACH) | (exponent < -REACH))


def rounded(y: Tensor, fmt: Format, bound: int) -> tuple[Tensor, Tensor]:
    """Codes of numbers that are at most 2**-bound of themselves away from float64 estimates, and which are doubtful.

    In posits infinite estimates are numbers beyond maxpos.
    """
    bits = y.view(torch.int64)
    size, sign = bits & ((1 << 63) - 1), bits & -(1 << 63)
    if isinstance(fmt, Posit):
        most = (fmt.max_scale + 1023) << float64.mantissa
        size = torch.where(y.isnan(), size, size.clamp(max=most))
    # The numbers lie less than so many units of the last place of their estimates away.
    reach = torch.where((y != 0) & y.isfinite(), (1 << (53 - bound)) + 1, 0)
    ends = ((size - reach).clamp(min=0) | sign, (size + reach) | sign)
    low, high = (encode(decode(end, float64), fmt) for end in ends)
    return low, low != high


# ---- doubtful elements ---------------------------------------------------------------------------


def _settled(
    guess: Tensor, doubtful: Tensor, inputs: Sequence[Tensor], name: str, sources: Sequence[Format], fmt: Format
) -> Tensor:
    """The guess, decided anew where it is doubtful: at once, or when compiled code runs."""
    if _is_plain(guess):
        return _decided(guess, doubtful, inputs, name, sources, fmt)
    settled: Tensor = torch.ops.refnum.decide(
        guess, doubtful, list(inputs), name, [_spelled(source) for source in sources], _spelled(fmt)
    )
    return settled


def _is_plain(x: Tensor) -> bool:
    """Whether it has values to look at."""
    return type(x) is Tensor and not x.is_meta and not torch.compiler.is_compiling()


def _spelled(fmt: Format) -> str:
    """The record as `parse_scalar` reads it. torch.compile takes an integer for a constant when it is an index."""
    if isinstance(fmt, Posit):
        return f"posit({operator.index(fmt.n)},{operator.index(fmt.es)})"
    assert fmt.bias is not None
    numbers = f"{operator.index(fmt.exponent)},{operator.index(fmt.mantissa)},{operator.index(fmt.bias)}"
    return f"Minifloat({numbers},'{fmt.specials}','{fmt.overflow}',{fmt.signed},{fmt.subnormals})"


def _decided(
    guess: Tensor, doubtful: Tensor, inputs: Sequence[Tensor], name: str, sources: Sequence[Format], fmt: Format
) -> Tensor:
    if doubtful.numel() and doubtful.amax() > 0:
        open_ = doubtful > 0
        operands = [x[open_] for x in inputs]
        k = operands.pop() if FUNCTIONS[name].integer else None
        guess[open_] = decide(name, operands, sources, fmt, k).to(guess.dtype)
    return guess


def _decide_reference(
    guess: Tensor, doubtful: Tensor, inputs: list[Tensor], name: str, sources: list[str], fmt: str
) -> Tensor:
    settled = guess.clone()
    for piece in pieces(guess.shape, CHUNK) if guess.dim() else ((),):
        some = [x[piece] for x in inputs]
        _decided(settled[piece], doubtful[piece], some, name, [*map(parse_scalar, sources)], parse_scalar(fmt))
    return settled


def _decide_fake(
    guess: Tensor, doubtful: Tensor, inputs: list[Tensor], name: str, sources: list[str], fmt: str
) -> Tensor:
    return torch.empty_like(guess)


LIBRARY = torch.library.Library("refnum", "FRAGMENT")  # type: ignore[no-untyped-call]
LIBRARY.define(  # type: ignore[no-untyped-call]
    "decide(Tensor guess, Tensor doubtful, Tensor[] inputs, str name, str[] sources, str fmt) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
LIBRARY.impl("decide", _decide_reference, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
torch.library.register_fake("refnum::decide", _decide_fake, lib=LIBRARY)


# ---- tables --------------------------------------------------------------------------------------


def _tabled(codes: Tensor, source: Format) -> bool:
    """Whether a table can be used, on eager CPU tensors, and is worth while."""
    plain = _is_plain(codes) and codes.device.type == "cpu"
    return plain and source.width <= TABLED and codes.numel() >= 1 << source.width >> 3


@lru_cache(maxsize=64)
def _table(name: str, source: Format, fmt: Format) -> Tensor:
    with torch.inference_mode(False):
        codes = torch.arange(1 << source.width, dtype=torch.int64, device="cpu")
        return _kernel(name, (source,), fmt, "cpu")(codes).to(container(fmt))


def _looked_up(codes: Tensor, table: Tensor, source: Format) -> Tensor:
    mask = (1 << source.width) - 1
    whole = 8 * codes.dtype.itemsize == source.width

    def index(codes: Tensor) -> Tensor:
        if whole:
            return codes.view(UNSIGNED[source.width]).to(torch.int32)
        return codes.to(torch.int32).bitwise_and_(mask)

    if not codes.is_contiguous():
        return elementwise(lambda some: table[index(some)], codes, dtype=table.dtype, chunk=LOOKUPS)
    result = torch.empty_like(codes, dtype=table.dtype)
    flat, out = codes.view(-1), result.view(-1)
    for (piece,) in pieces(flat.shape, LOOKUPS):
        torch.index_select(table, 0, index(flat[piece]), out=out[piece])
    return result
