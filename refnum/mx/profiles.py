"""Profiles: which choices a library makes where a standard leaves one open, as versioned rows.

Code asks a row for a choice, and never which library it imitates. What a row does not say is as in ``ocp/v1``, but the
formats: a profile has those of its forms, and no others.

Three rows are what references in the libraries' own repositories do, run and recorded at one commit:

- ``te/v1``: TransformerEngine (d0067d0d). Its kernels, and those of flashinfer without fast math, are held to it bit
  for bit. Weights are quantized in tiles: ``Block(e2m1, e4m3, (16, 16))``.
- ``flashinfer/v1``: flashinfer (fb28d724). For NVFP4 the order of its kernels with fast math, whose reciprocals may be
  a unit in the last place away.
- ``compressed_tensors/v1``: compressed-tensors (ac8e2ba8), of weights in bfloat16 or float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..boundary import check_choice
from ..errors import ContractError
from ..formats import RULES as EVERY
from ..formats import Block, Element, Scale, e2m1, e4m3, e8m0, float32

RULES = ("floor", "ceil", "even", "rceil")  #: that libraries have, of E8M0 scales, by the formulas of ``mx.scales``


class Form(NamedTuple):
    """Formats that a profile has, and how it makes their scales."""

    scale: Scale | None  #: the format of the scales; None: any powers of two
    formula: str = "rule"  #: rule: of ``mx.scales``; else a row of ``mx.quotients.FORMULAS``
    element: Element | None = None  #: the elements; None: any
    zero: str = "signed"  #: an element that is 0: signed; unsigned: code 0 where the scaled value is 0 in float32;
    #: narrow: where it is 0 in the dtype of the values
    tensor: str | None = None  #: a ``tensor_scale`` is a factor of values, or a divisor; None: there is none

    def has(self, fmt: Block) -> bool:
        """Whether the format is one of these."""
        scale = fmt.by_powers if self.scale is None else self.scale == fmt.scale
        return scale and self.element in (None, fmt.element)

    def __str__(self) -> str:
        return f"{self.element or 'any element'} with scales of {self.scale or 'powers of two'}"


@dataclass(frozen=True, slots=True)
class Profile:
    """One row."""

    name: str  #: with its version
    forms: tuple[Form, ...] = (Form(e8m0),)  #: what it has
    scale: str = "floor"  #: the rule for scales that are powers of two, unless another is asked for
    rules: tuple[str, ...] = RULES  #: those that may be asked for
    rounding: str = "nearest_even"  #: of elements, unless another is asked for
    tiny: str = "integer"  #: a quotient of amax that is subnormal: integer: no rounding; divided: that of float32
    infinite: str = "nan"  #: a block with Inf: nan: like one with NaN; largest: EVEN gives ``even_top``, Inf saturates
    even_top: int | None = None  #: the code where EVEN rounds amax up to 2**128; None: as everywhere else
    exponents: str = "exact"  #: floor(log2 |x|): exact; rounded: with log2 rounded to the input's dtype first
    halves: str = "exact"  #: rounding to nearest: exact; added: floor(|x| + 1/2), the sum rounded to the input's dtype
    subnormal_blocks: str = "kept"  #: a block whose amax is a subnormal float32: kept or flushed to 0
    half: bool = True  #: takes float16; False: its arithmetic in that dtype is another
    double: bool = False  #: takes float64 where nothing is computed in float32

    def form(self, function: str, fmt: Block) -> Form:
        """The form of a format."""
        for form in self.forms:
            if form.has(fmt):
                return form
        raise ContractError(
            f"{function} has no {fmt} in profile {self.name}. That has {'; '.join(map(str, self.forms))}. Choose one "
            "of those, or another profile."
        )


PROFILES = {
    row.name: row
    for row in (
        Profile(
            "ocp/v1",
            (Form(e8m0), Form(e4m3, "ocp", tensor="factor"), Form(float32, "ratio"), Form(None)),
            rules=EVERY,
            double=True,
        ),
        Profile("torchao/v1", (Form(e8m0), Form(e4m3, "stored", tensor="factor")), even_top=255),
        Profile(
            "aiter/v1",
            (Form(e8m0, zero="unsigned"),),
            "even",
            rounding="nearest_away",
            infinite="largest",
            even_top=254,
        ),
        Profile(
            "aiter/v2", (Form(e8m0), Form(e4m3, "unrounded")), "even", tiny="divided", infinite="largest", even_top=254
        ),
        Profile("microxcaling/v1", rounding="nearest_away", exponents="rounded", halves="added"),
        Profile(
            "microxcaling.flush/v1",
            rounding="nearest_away",
            exponents="rounded",
            halves="added",
            subnormal_blocks="flushed",
        ),
        Profile("te/v1", (Form(e4m3, "folded", e2m1, "unsigned", "divisor"),)),
        Profile(
            "flashinfer/v1",
            (
                Form(e8m0, "ceiling", e2m1, "unsigned"),
                Form(e8m0, "capped_ceiling", e4m3),
                Form(e4m3, "unfolded", e2m1, "unsigned", "divisor"),
            ),
            "rceil",
            rules=("rceil",),
        ),
        Profile(
            "compressed_tensors/v1",
            (
                Form(e8m0, "half_up", e2m1, "narrow"),
                Form(e8m0, "half_up", e4m3, "narrow"),
                Form(e4m3, "raised", e2m1, "unsigned", "divisor"),
            ),
            "even",
            rules=("even",),
            half=False,
        ),
    )
}
#: short names of the newest versions
ALIASES = {
    "ocp": "ocp/v1",
    "torchao": "torchao/v1",
    "aiter_legacy": "aiter/v1",
    "aiter": "aiter/v2",
    "microxcaling": "microxcaling/v1",
    "microxcaling.flush": "microxcaling.flush/v1",
    "te": "te/v1",
    "flashinfer": "flashinfer/v1",
    "compressed_tensors": "compressed_tensors/v1",
}


def find(function: str, profile: object) -> Profile:
    """The row with this name, full or short."""
    name = ALIASES.get(profile, profile) if isinstance(profile, str) else profile
    check_choice(function, "profile", name, (*PROFILES, *ALIASES))
    assert isinstance(name, str)
    return PROFILES[name]
