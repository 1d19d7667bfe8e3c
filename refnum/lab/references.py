"""One-file references: functions of refnum as a Python file that needs torch alone, for places that install nothing.

The text is a template, ``blocks.py.txt``. A line of it that ends in ``#? words`` is written, with what is indented
below it, where all words are flags of the file. Constants of the format and the profile are filled in.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from string import Template

import torch
from torch import Tensor

from .. import __version__
from ..boundary import check_block, check_choice
from ..core.decode import LIMB, decode
from ..errors import ContractError, FormatError
from ..fast.elements import ROUNDINGS
from ..formats import Block, Element, FixedPoint, Minifloat, e2m1, e2m3, e3m2, e4m3, e5m2, e8m0, float32, mxint8, named
from ..mx import Blocks, dequantize, quantize
from ..mx.profiles import Profile, find
from ..mx.scales import INFINITY, Rule, rule
from ..ops import mx_mm
from ..sums import contracts

FUNCTIONS = ("mx.quantize", "mx.dequantize", "mx_mm")
ELEMENTS = (e2m1, e2m3, e3m2, e4m3, e5m2, mxint8.element)
PROFILES = ("ocp/v1", "torchao/v1", "aiter/v1", "aiter/v2")
#: contracts, and what a product is
CONTRACTS = {
    "exact/v1": "the exact sum, rounded once to out_dtype",
    "chain/v1": "fma by fma in float32, k ascending, then rounded",
    "unversioned/torch.mm": "torch.matmul of float32, no promise of bits",
}
#: scale rules, and what their carry does
CARRIED = {
    "floor": "its exponent stays",
    "ceil": "its exponent grows by 1 unless amax is a power of two",
    "even": "its exponent grows by 1 where amax rounds up to a power of two",
    "rceil": "its exponent grows by 1 where amax would saturate else",
}
FILL = 8  #: values that fill a block of the self-test again and again
SIGN, ONE = 1 << 31, 127 << 23  #: patterns of -0 and 1
DTYPES = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}


def vendor(
    functions: Sequence[str],
    fmt: Block,
    *,
    profile: str = "ocp",
    scale: str | None = None,
    rounding: str | None = None,
    contract: str = "exact/v1",
) -> str:
    """The text of a Python file with some of refnum's functions for one block format, bits equal to refnum's.

    The file imports torch alone, and tests itself when it is run. What it defines of

    - ``quantize(x) -> (elements, scales)``,
    - ``dequantize(elements, scales, dtype=torch.float32)``,
    - ``mx_mm(a_elements, a_scales, b_elements, b_scales, out_dtype=torch.bfloat16)``

    works on blocks along the last axis and raises ValueError and TypeError.

    >>> import refnum
    >>> text = vendor(["mx.quantize", "mx_mm"], refnum.mxfp4, profile="aiter")
    >>> print(text[:61])
    \"\"\"mx.quantize and mx_mm in one file that needs torch alone;

    Parameters
    ----------
    functions : sequence of str
        mx.quantize, mx.dequantize, mx_mm: one or more.
    fmt : Block
        A format whose scales are e8m0 and whose blocks lie along one axis.
    profile, scale, rounding : str, optional
        As in `mx.quantize`; profiles ocp, torchao, aiter and aiter_legacy, roundings nearest_even, nearest_away and
        toward_zero.
    contract : str
        As in `mx_mm`.

    Returns
    -------
    str
        The text: of mx.quantize and mx_mm not more than 250 lines.

    Raises
    ------
    FormatError
        When ``fmt`` is no block format, or one of another kind.
    ContractError
        When there is no such function, profile, scale rule, rounding or contract, or none that can be written.

    Exactness: bit-exact; the bits of the functions of the same names.
    Rounding: as asked for.
    Special: as in `mx.quantize`, `mx.dequantize` and `mx_mm`.
    Standard: OCP MX 1.0 sections 5 and 6, by the profile.
    Cost: some milliseconds; the file makes a dozen temporaries of the size of its operand.
    """
    recipe = _recipe(functions, fmt, profile, scale, rounding, contract)
    template = files(__package__).joinpath("blocks.py.txt").read_text("utf-8")
    chosen = Template(_chosen(template, _flags(recipe)))
    return chosen.substitute({**_header(recipe), **_constants(recipe), **_golden(recipe)})


# ---- recipes -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a file is about."""

    functions: tuple[str, ...]
    fmt: Block
    profile: Profile
    scale: str
    rounding: str
    contract: str

    @property
    def element(self) -> Minifloat | FixedPoint:
        """What is scaled: one of `ELEMENTS`."""
        element = self.fmt.element
        assert isinstance(element, (Minifloat, FixedPoint))
        return element

    @property
    def promises(self) -> bool:
        """Whether the contract of products says what their bits are."""
        return not self.contract.startswith("unversioned")

    @property
    def rule(self) -> Rule:
        """How scales are made; for these profiles it does not depend on the dtype of the values."""
        return rule(self.scale, self.fmt.element, self.profile, float32)

    @property
    def drops_signs(self) -> bool:
        """Whether an element that is 0 has no sign."""
        zeros = torch.full((self.fmt.tile[1],), -0.0, dtype=torch.float32, device="cpu")
        return not self.quantized(zeros).elements.any()

    def quantized(self, x: Tensor) -> Blocks:
        """What refnum makes of x."""
        return quantize(x, self.fmt, profile=self.profile.name, scale=self.scale, rounding=self.rounding)


def _recipe(
    functions: Sequence[str], fmt: Block, profile: str, scale: str | None, rounding: str | None, contract: str
) -> Recipe:
    if isinstance(functions, str) or not functions:
        raise ContractError(
            f"vendor needs the names of functions, got {functions!r}. Choose one or more of {', '.join(FUNCTIONS)}."
        )
    for name in functions:
        check_choice("vendor", "function", name, FUNCTIONS)
    check_block("vendor", fmt)
    if not _writes(fmt):
        rows = (name for name, row in named().items() if isinstance(row, Block) and _writes(row))
        raise FormatError(
            f"vendor cannot write {fmt}. Allowed are formats with scales of e8m0 along one axis: {', '.join(rows)}. "
            "Choose one, or use refnum itself."
        )
    row = find("vendor", profile)
    check_choice("vendor", "profile", row.name, PROFILES)
    scale = row.scale if scale is None else scale
    rounding = row.rounding if rounding is None else rounding
    check_choice("vendor", "scale", scale, CARRIED)
    check_choice("vendor", "rounding", rounding, ROUNDINGS)
    name = contracts.find("vendor", contract).name
    check_choice("vendor", "contract", name, CONTRACTS)
    return Recipe(tuple(f for f in FUNCTIONS if f in functions), fmt, row, scale, rounding, name)


def _writes(fmt: Block) -> bool:
    rows, columns = fmt.tile
    return fmt.scale == e8m0 and rows == 1 and columns % FILL == 0 and fmt.element in ELEMENTS


# ---- the template --------------------------------------------------------------------------------


def _chosen(template: str, flags: set[str]) -> str:
    """The lines for these flags."""
    lines: list[str] = []
    dropped: int | None = None  # the indentation of a line that is left out
    for line in template.splitlines():
        text, _, words = line.partition("  #? ")
        indentation = len(line) - len(line.lstrip())
        if line and (dropped is None or indentation <= dropped):
            dropped = None if flags.issuperset(words.split()) else indentation
        if dropped is None or not line:
            lines.append(text)
    return re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines) + "\n")


def _flags(recipe: Recipe) -> set[str]:
    element, rule = recipe.element, recipe.rule
    quantizes, dequantizes, multiplies = (name in recipe.functions for name in FUNCTIONS)
    values, minifloat = dequantizes or multiplies, isinstance(element, Minifloat)
    flags = {
        "quantize": quantizes,
        "dequantize": dequantizes,
        "mm": multiplies,
        "values": values,
        "no_values": not values,
        "pairs": recipe.fmt.packed == 2,
        "bytes": recipe.fmt.packed == 1,
        "minifloat": minifloat,
        "fixed": not minifloat,
        "infinity": values and _infinity(element) is not None,
        "nan": values and _infinity(element) is None and _nan(element) is not None,
        "least_amax": quantizes and rule.least is not None,
        "overflow": quantizes and rule.overflow is not None,
        "infinite": rule.infinite,
        "unsigned": minifloat and recipe.drops_signs,
        "nearest_even": values,
        "exact": multiplies and recipe.contract == "exact/v1",
        "chain": multiplies and recipe.contract == "chain/v1",
        "bits": multiplies and recipe.promises,
        "no_bits": multiplies and not recipe.promises,
    }
    return {name for name, holds in flags.items() if holds} | ({recipe.rounding} if quantizes else set())


def _infinity(element: Element) -> int | None:
    return element.infinity if isinstance(element, Minifloat) else None


def _nan(element: Element) -> int | None:
    return element.nan if isinstance(element, Minifloat) else None


# ---- what is filled in ---------------------------------------------------------------------------


def _header(recipe: Recipe) -> dict[str, object]:
    *most, last = recipe.functions
    return {
        "contents": f"{', '.join(most)} and {last}" if most else last,
        "version": __version__,
        "functions": " ".join(recipe.functions),
        "format": recipe.fmt,
        "profile": recipe.profile.name,
        "scale": recipe.scale,
        "rounding": recipe.rounding,
        "contract": recipe.contract,
        "definition": CONTRACTS[recipe.contract],
    }


def _constants(recipe: Recipe) -> dict[str, object]:
    element, rule = recipe.element, recipe.rule
    match element:
        case Minifloat():
            name, mantissa, least = str(element), element.mantissa, element.min_scale
        case FixedPoint():
            name = f"int{element.width} * 2**-{element.fraction}"
            mantissa, least = element.width - 2, element.max_scale
    return {
        "size": recipe.fmt.tile[1],
        "element": name,
        "mantissa": mantissa,
        "least": least,
        "sign": _hex(1 << (element.width - 1)),
        "largest": _hex(element.largest),
        "most": element.max_value,
        "nan": _hex(_nan(element)),
        "infinity": _hex(_infinity(element)),
        "power": rule.power,
        "carry": _hex(rule.carry),
        "carried": CARRIED[recipe.scale],
        "least_amax": _hex(rule.least),
        "overflow": rule.overflow,
        "last": "INFINITY" if rule.infinite else "INFINITY - 1",
    }


def _hex(number: int | None) -> str:
    return "" if number is None else f"0x{number:X}"


# ---- the self-test -------------------------------------------------------------------------------


def _golden(recipe: Recipe) -> dict[str, object]:
    """What the self-test knows: blocks, and what refnum makes of them."""
    cases = _cases(recipe)
    repeats = recipe.fmt.tile[1] // FILL
    inputs = torch.tensor(list(cases.values()), device="cpu").to(torch.int32)
    blocks = recipe.quantized(inputs.repeat(1, repeats).view(torch.float32))
    elements = blocks.elements[:, : blocks.elements.shape[1] // repeats]
    columns = [_words(torch.cat([blocks.scales, elements], 1))]
    if "mx.quantize" in recipe.functions:
        columns.append(_words(inputs))
    if "mx_mm" in recipe.functions and recipe.promises:
        columns.append(_products(recipe, blocks))
    stored = 1 + elements.shape[1]
    return {
        "about": _about(recipe),
        "names": " ".join(cases),
        "golden": "\n".join(map("  ".join, zip(*columns, strict=True))),
        "values": "\n".join(_words(dequantize(blocks)[:, :FILL].view(torch.int32))),
        "inputs": stored,
        "products": stored + FILL * ("mx.quantize" in recipe.functions),
    }


def _about(recipe: Recipe) -> str:
    """The comment above."""
    words = ["What refnum gave for blocks of eight values that come again and again. In a line: scale and elements"]
    if "mx.quantize" in recipe.functions:
        words.append("; the values that were quantized, as float32 patterns")
    if "mx_mm" in recipe.functions and recipe.promises:
        words.append(
            "; the product of the first and the third block, one behind the other, with this block and the one before, "
            "in float32, bfloat16 and float16"
        )
    words.append(".")
    if "mx.dequantize" in recipe.functions:
        words.append(" Below: the values of the elements, as float32 patterns.")
    return textwrap.fill("".join(words), 120, initial_indent="# ", subsequent_indent="# ")


def _words(words: Tensor) -> list[str]:
    """Lines of words in hexadecimal."""
    bits = 8 * words.dtype.itemsize
    return [" ".join(f"{word % (1 << bits):0{bits // 4}x}" for word in line) for line in words.tolist()]


def _products(recipe: Recipe, blocks: Blocks) -> list[str]:
    """Blocks 0 and 2, one behind the other, times each block and the one before it, in each dtype."""
    stored = (blocks.elements, blocks.scales)
    left = _joined(recipe.fmt, *(x[:3:2].reshape(1, -1) for x in stored))
    right = _joined(recipe.fmt, *(torch.cat([x, x.roll(1, 0)], 1) for x in stored))
    products = (
        mx_mm(right, left, contract=recipe.contract, out_dtype=dtype).view(integers)
        for dtype, integers in DTYPES.items()
    )
    return list(map(" ".join, zip(*map(_words, products), strict=True)))


def _joined(fmt: Block, elements: Tensor, scales: Tensor) -> Blocks:
    return Blocks(elements, scales, fmt, torch.Size((len(scales), scales.shape[1] * fmt.tile[1])))


def _cases(recipe: Recipe) -> dict[str, list[int]]:
    """Float32 patterns by what they show."""
    rule, ties = recipe.rule, _ties(recipe)
    step = (130 << 23) - rule.carry
    cases = {
        "ties": [tie | (k % 2) * SIGN for k, tie in enumerate(ties)],
        "largest": _largest(recipe),
        "subnormal": [0x7FFFFF, 0x400000, SIGN | 0x200001, 1, SIGN | 1, 0, SIGN, 0x100],
        "near-ties": [max(0, tie + (-1) ** k) for k, tie in enumerate(ties)],
        "zero": [0, SIGN] * (FILL // 2),
        "step": _falling(step),
        "below-step": _falling(step - 1),
        "Inf": [INFINITY, SIGN | INFINITY, ONE, INFINITY - 1, 0, SIGN, 1, SIGN | ONE],
        "NaN": [SIGN | INFINITY + 1, SIGN | ONE, INFINITY, ONE, 0, SIGN, 1, INFINITY - 1],
    }
    ends = {"least": rule.least, "overflow": None if rule.overflow is None else INFINITY - rule.carry}
    for name, amax in ends.items():
        if amax is not None:
            cases |= {name: _falling(amax), f"below-{name}": _falling(amax - 1)}
    return cases if recipe.promises else {"ones": [ONE] * FILL, **cases}


def _falling(amax: int) -> list[int]:
    return [max(0, amax - k * 0x500000) | (k % 2) * SIGN for k in range(FILL)]


def _largest(recipe: Recipe) -> list[int]:
    """The largest float32, and what is small beside it: about 2**-150 times its scale, where a quotient becomes 0."""
    amax = INFINITY - 1
    nothing = _scale(recipe, amax) - 150 << 23
    return [amax, SIGN | ONE, nothing, SIGN | nothing, SIGN | nothing + 1, SIGN | 1, SIGN, 0x800000]


def _scale(recipe: Recipe, amax: int) -> int:
    return int(recipe.rule.codes(torch.tensor([amax], dtype=torch.int32, device="cpu")))


def _ties(recipe: Recipe) -> list[int]:
    """The largest element, and ties between elements: the least, where the unit begins to grow, and the largest."""
    element = recipe.element
    x = decode(torch.arange(element.largest + 1, device="cpu"), element)
    terms = zip(x.significand[0].tolist(), x.exponent.tolist(), strict=True)
    magnitudes = [significand * 2.0 ** (exponent - LIMB + 1) for significand, exponent in terms]
    amax = _pattern(magnitudes[-1])
    unit = 2.0 ** (_scale(recipe, amax) - 127)
    ties = [_pattern((low + high) / 2 * unit) for low, high in pairwise(magnitudes)]
    ties = [tie for tie in ties if tie < amax]
    normal = max(2, (1 << element.mantissa) - 1) if isinstance(element, Minifloat) else 2
    chosen = dict.fromkeys([*ties[:2], *ties[normal : normal + 2], *ties[-3:]])
    return [amax, *chosen, *([0] * FILL)][:FILL]


def _pattern(value: float) -> int:
    return int(torch.tensor(value, dtype=torch.float32, device="cpu").view(torch.int32))
