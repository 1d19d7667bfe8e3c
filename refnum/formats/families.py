"""Block formats by their customary names and parameters: functions that give rows."""

from __future__ import annotations

from collections.abc import Callable

from .blocks import Block
from .checks import choice, spelled, whole
from .integers import Exponent, FixedPoint
from .logarithms import Logarithmic
from .minifloats import Minifloat

Size = int | tuple[int, int]
MXINT = 16  #: bits of the widest MXInt

E8M0 = Minifloat(8, 0, bias=127, specials="fn", signed=False, subnormals=False)


def mxint(width: int, size: Size = 32, *, rule: str = "ocp", symmetric: bool = False) -> Block:
    """MXInt: two's complement integers that share a scale of E8M0.

    >>> str(mxint(4, 16)), mxint(4, 16).element
    ('mxint(4,16)', FixedPoint(width=4, fraction=2, signed=True, symmetric=False, overflow='saturate'))
    >>> mxint(4, rule="ceil").rule
    'bound'

    Parameters
    ----------
    width : int
        Bits of an integer, 2 to 16.
    size : int or (int, int)
        Integers of a block along the axis; or rows and columns of a tile.
    rule : str
        ocp: the scale is the largest power of two that is not above amax, integers have one bit before the point. ceil,
        MASE's: the least one that is not below amax, and they have none; both agree unless amax is a power of two.
    symmetric : bool
        Whether the least integer is never written.

    Raises
    ------
    FormatError
        When a parameter is out of range.

    Standard: OCP MX 1.0 section 5.3.4 for ``mxint(8)``.
    """
    whole("mxint", "width", width, 2, MXINT)
    choice("mxint", "rule", rule, ("ocp", "ceil"))
    behind = 2 if rule == "ocp" else 1
    element = FixedPoint(width, width - behind, symmetric=symmetric)
    return Block(element, E8M0, size, None if rule == "ocp" else "bound")


def bfp(width: int, size: Size, *, exponent: int = 8, bias: int | None = None, rule: str = "ceil") -> Block:
    """Block floating point, also called MSFP: signs and integer magnitudes that share an exponent.

    >>> bfp(8, 16).bits, bfp(8, 16).element.max_value
    (8.5, 0.9921875)

    Parameters
    ----------
    width : int
        Bits of an element, its sign among them, 2 to 24.
    size : int or (int, int)
        Elements of a block along the axis; or rows and columns of a tile.
    exponent : int
        Bits of the shared exponent, 2 to 8.
    bias : int, optional
        Of the shared exponent; default 2**(exponent - 1) - 1.
    rule : str
        ceil: the scale is the least power of two that is not below amax; floor: the least that is above it, which
        differs where amax is a power of two, and keeps that.

    Raises
    ------
    FormatError
        When a parameter is out of range.

    Standard: none; Darvish Rouhani et al., NeurIPS 2020, for MSFP.
    """
    whole("bfp", "width", width, 2, 24)
    whole("bfp", "exponent", exponent, 2, 8)
    choice("bfp", "rule", rule, ("ceil", "floor"))
    # A field of one bit makes a minifloat an integer: its subnormals and its only binade have one unit.
    element = Minifloat(1, width - 2, bias=2, specials="none")
    return Block(element, _powers(exponent, bias), size, "bound" if rule == "ceil" else "floor")


def block_minifloat(width: int, exponent: int, size: Size, *, shared: int = 8) -> Block:
    """Block minifloat: minifloats that share a power of two, which is that of amax, rounded down.

    >>> block_minifloat(8, 4, 16).element.max_scale
    0

    Parameters
    ----------
    width, exponent : int
        Bits of an element, 3 to 16, and of its exponent field.
    size : int or (int, int)
        Elements of a block along the axis; or rows and columns of a tile.
    shared : int
        Bits of the shared exponent, which is stored in two's complement, 2 to 8.

    Raises
    ------
    FormatError
        When a parameter is out of range.

    Standard: none; Fox et al., ICLR 2021.
    """
    whole("block_minifloat", "width", width, 3, 16)
    whole("block_minifloat", "exponent", exponent, 1, min(8, width - 1))
    element = Minifloat(exponent, width - exponent - 1, bias=(1 << exponent) - 1, specials="none")
    return Block(element, Exponent(shared), size, "floor")


def block_log(width: int, size: Size, *, shared: int = 8, zero_code: bool = True) -> Block:
    """Block logarithmic: signed powers of two that share another one, which is amax, rounded up to a power of two.

    >>> block_log(4, 16).element.max_scale
    0

    Parameters
    ----------
    width : int
        Bits of an element, 2 to 16.
    size : int or (int, int)
        Elements of a block along the axis; or rows and columns of a tile.
    shared : int
        Bits of the shared exponent, which is stored in two's complement, 2 to 8.
    zero_code : bool
        Whether an element can be 0.

    Raises
    ------
    FormatError
        When a parameter is out of range.

    Standard: none; MASE's block logarithm (Zhang et al. 2023).
    """
    whole("block_log", "width", width, 2, 16)
    element = Logarithmic(width, bias=(1 << (width - 1)) - 1, zero_code=zero_code)
    return Block(element, Exponent(shared), size, "ceil")


def _powers(width: int, bias: int | None) -> Minifloat:
    """Powers of two in biased codes."""
    bias = (1 << (width - 1)) - 1 if bias is None else bias
    return Minifloat(width, 0, bias=bias, specials="none", signed=False, subnormals=False)


# ---- names ---------------------------------------------------------------------------------------


def call_of(block: Block) -> str | None:
    """The call of a family that gives a block, or None.

    >>> call_of(bfp(8, 16)), call_of(mxint(4, rule="ceil")), call_of(block_log(4, (2, 8), shared=5))
    ('bfp(8,16)', "mxint(4,rule='ceil')", 'block_log(4,(2,8),shared=5)')
    """
    size = block.size if isinstance(block.size, int) else f"({block.size[0]},{block.size[1]})"
    for family, values, options in _calls(block):
        if family(*values, block.size, **options) == block:
            usual = family.__kwdefaults__ or {}
            unusual = {key: value for key, value in options.items() if value != usual[key]}
            sizes = () if family.__defaults__ == (block.size,) else (size,)
            return spelled(family.__name__, *values, *sizes, **unusual)
    return None


def _calls(block: Block) -> list[tuple[Callable[..., Block], tuple[int, ...], dict[str, object]]]:
    """The calls that could give it: family, values before the size, options."""
    match block.element, block.scale:
        case FixedPoint(width=width, symmetric=symmetric), Minifloat() if width <= MXINT:
            rules = ("ocp", "ceil")
            return [(mxint, (width,), {"rule": rule, "symmetric": symmetric}) for rule in rules]
        case Minifloat(width=width, exponent=1), Minifloat(mantissa=0, exponent=exponent, bias=bias) if exponent > 1:
            usual = (1 << (exponent - 1)) - 1
            rest = {"exponent": exponent, "bias": None if bias == usual else bias}
            return [(bfp, (width,), {**rest, "rule": rule}) for rule in ("ceil", "floor")]
        case Minifloat(width=width, exponent=exponent), Exponent(width=shared) if width <= 16 and exponent <= 8:
            return [(block_minifloat, (width, exponent), {"shared": shared})]
        case Logarithmic(width=width, zero_code=zero_code), Exponent(width=shared):
            return [(block_log, (width,), {"shared": shared, "zero_code": zero_code})]
        case _:
            return []
