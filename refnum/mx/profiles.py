"""Profiles: which choices a library makes where a standard leaves one open, as versioned rows.

Code asks a row for a choice, and never which library it imitates. What a row does not say is as in ``ocp/v1``.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..boundary import check_choice


@dataclass(frozen=True, slots=True)
class Profile:
    """One row."""

    name: str  #: with its version
    scale: str = "floor"  #: the rule for E8M0 scales, unless another is asked for
    rounding: str = "nearest_even"  #: of elements, unless another is asked for
    tiny: str = (
        "integer"  #: amax that is subnormal, divided by the largest element: integer: not at all; divided: float32
    )
    infinite: str = "nan"  #: a block with Inf: nan: like one with NaN; largest: EVEN gives ``even_top``, Inf saturates
    even_top: int | None = None  #: the code where EVEN rounds amax up to 2**128; None: as everywhere else
    zero: str = "signed"  #: an element that is 0: signed; unsigned: code 0 where the scaled value is 0 in float32
    exponents: str = "exact"  #: floor(log2 |x|): exact; rounded: with log2 rounded to the input's dtype first
    halves: str = "exact"  #: rounding to nearest: exact; added: floor(|x| + 1/2), the sum rounded to the input's dtype
    subnormal_blocks: str = "kept"  #: a block whose amax is a subnormal float32: kept or flushed to 0


PROFILES = {
    row.name: row
    for row in (
        Profile("ocp/v1"),
        Profile("torchao/v1", even_top=255),
        Profile("aiter/v1", "even", "nearest_away", infinite="largest", even_top=254, zero="unsigned"),
        Profile("aiter/v2", "even", tiny="divided", infinite="largest", even_top=254),
        Profile("microxcaling/v1", rounding="nearest_away", exponents="rounded", halves="added"),
        Profile(
            "microxcaling.flush/v1",
            rounding="nearest_away",
            exponents="rounded",
            halves="added",
            subnormal_blocks="flushed",
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
}


def find(function: str, profile: object) -> Profile:
    """The row with this name, full or short."""
    name = ALIASES.get(profile, profile) if isinstance(profile, str) else profile
    check_choice(function, "profile", name, (*PROFILES, *ALIASES))
    assert isinstance(name, str)
    return PROFILES[name]
