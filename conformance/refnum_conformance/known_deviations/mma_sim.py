"""What microsoft/MMA-Sim (c785138) does otherwise than the GPU that it simulates: on Hopper, what is 0 has no exponent.

An H200 and an H100 were asked (``vectors/tensorcores_hopper.npz``). There, neither a product that is 0 nor a C that is
0 takes part in the largest exponent, which is -133 at least. The simulator gives 0 the exponent -126, so that a 0 with
a large partner, or beside small products, takes bits away from them.
"""

from __future__ import annotations

from dataclasses import dataclass

#: tiles of ``vectors/gemm_mma.npz`` in which it shows, by their keys
REFUTED = {
    "hopper.mma.bf16.f32.K16": (12, 15),
    "hopper.mma.bf16.f32.K64": (15,),
    "hopper.mma.tf32.f32.K8": (12,),
    "hopper.mma.tf32.f32.K32": (13,),
    "hopper.wgmma.bf16.f32.K32": (13,),
}


@dataclass(frozen=True)
class Dot:
    """A dot product of one block, as patterns."""

    instruction: str  #: of the contract, without ``tc.`` and version
    a: tuple[int, ...]
    b: tuple[int, ...]
    c: int
    got: int
    right: int  #: the hardware's
    why: str


DOTS = (
    Dot(
        "hopper.tf32.k4",
        (0x368BE000, 0x00000000, 0x36804000, 0xB51DA000),
        (0x369E2000, 0x7D6FC000, 0xB6C86000, 0x35B52000),
        0x266F9D1E,
        0x00000000,
        0xAC8BBCD9,
        "0 * 0x7d6fc000 counts as large as 2^-3",
    ),
    Dot(
        "hopper.tf32.k4",
        (0x1EAC0000, 0x9F84C000, 0x9CD26000, 0x9D01C000),
        (0x1EEF4000, 0x1FD1E000, 0x1D4CA000, 0x1D4C6000),
        0x00000000,
        0x80317BF0,
        0x80317BF1,
        "a C of 0 counts as large as 2^-126",
    ),
)
