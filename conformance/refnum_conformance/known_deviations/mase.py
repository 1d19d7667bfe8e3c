"""How often MASE (DeepWok/mase 6ff398cf), mase-triton (89e8db71) and mase-cuda (422ea09b) differ from the definitions.

Counted in the elements of ``vectors/mase_*.npz``, values compared by ``==``, NaN equal to NaN: a changed number says
that refnum has changed, or somebody's copy of the vectors has.
"""

from __future__ import annotations

from dataclasses import dataclass

#: tag -> at finite x, and at those among them beyond 1e-8; tags that are not here differ nowhere
ELEMENTWISE = {
    # The mantissa is clamped where it should carry; |x| <= 1e-8 is left as it is.
    "minifloat_ieee_w8e4bNone": (1356, 152),
    "minifloat_ieee_w8e5bNone": (1535, 331),
    "minifloat_ieee_w6e2bNone": (1274, 70),
    "minifloat_ieee_w6e3bNone": (1409, 205),
    "minifloat_ieee_w4e2bNone": (1494, 290),
    "minifloat_ieee_w8e4b15": (1319, 115),
    # The same; a power of two becomes the number below.
    "minifloat_denorm_w8e4bNone": (1539, 335),
    "minifloat_denorm_w8e5bNone": (2011, 807),
    "minifloat_denorm_w6e2bNone": (1321, 117),
    "minifloat_denorm_w4e2bNone": (1711, 507),
    "minifloat_denorm_w8e4b15": (1410, 206),
    "minifloat_denorm_w8e3b4": (1320, 116),
    # An offset moves the borders, and makes small negative numbers positive.
    "log_w8bNone": (289, 0),
    "log_w4bNone": (1182, 600),
    "log_w5b0": (1493, 911),
    # The carry is joined with OR; subnormals are cut off; rounding up and down goes by the magnitude.
    "mxminifloat_e4m3_fn_rn": (605, 605),
    "mxminifloat_e4m3_fn_ru": (2852, 2229),
    "mxminifloat_e4m3_fn_rd": (2715, 2134),
    "mxminifloat_e5m2_fn_rn": (297, 297),
    "mxminifloat_e5m2_fn_rz": (38, 38),
    "mxminifloat_e5m2_fn_ru": (2860, 2237),
    "mxminifloat_e5m2_fn_rd": (2611, 2030),
    "mxminifloat_e2m3_fn_rn": (998, 998),
    "mxminifloat_e2m3_fn_rz": (654, 654),
    "mxminifloat_e2m3_fn_ru": (2772, 2149),
    "mxminifloat_e2m3_fn_rd": (2684, 2103),
    "mxminifloat_e3m2_fn_rn": (680, 680),
    "mxminifloat_e3m2_fn_rz": (311, 311),
    "mxminifloat_e3m2_fn_ru": (2817, 2194),
    "mxminifloat_e3m2_fn_rd": (2654, 2073),
    "mxminifloat_e2m1_fn_rn": (786, 786),
    "mxminifloat_e2m1_fn_rz": (257, 257),
    "mxminifloat_e2m1_fn_ru": (2564, 1941),
    "mxminifloat_e1m2_fn_rn": (1003, 1003),
    "mxminifloat_e1m2_fn_rz": (601, 601),
    "mxminifloat_e1m2_fn_ru": (2637, 2014),
    "mxminifloat_e1m2_fn_rd": (2574, 1993),
    "mxminifloat_e5m10_fn_rn": (382, 382),
    "mxminifloat_e5m10_fn_rz": (270, 270),
    "mxminifloat_e5m10_fn_rd": (2429, 1848),
    # The same, and Inf and NaN are numbers while some numbers become Inf.
    "mxminifloat_e4m3_ieee_rn": (1764, 1764),
    "mxminifloat_e4m3_ieee_rz": (358, 358),
    "mxminifloat_e4m3_ieee_ru": (3452, 2829),
    "mxminifloat_e4m3_ieee_rd": (3251, 2670),
    "mxminifloat_e5m2_ieee_rn": (1327, 1327),
    "mxminifloat_e5m2_ieee_rz": (38, 38),
    "mxminifloat_e5m2_ieee_ru": (3403, 2780),
    "mxminifloat_e5m2_ieee_rd": (3098, 2517),
    "mxminifloat_e2m3_ieee_rn": (2692, 2692),
    "mxminifloat_e2m3_ieee_ru": (3566, 2943),
    "mxminifloat_e2m3_ieee_rd": (3436, 2855),
    "mxminifloat_e3m2_ieee_rz": (311, 311),
    "mxminifloat_e3m2_ieee_ru": (3466, 2843),
    "mxminifloat_e3m2_ieee_rd": (3272, 2691),
    "mxminifloat_e2m1_ieee_rn": (2461, 2461),
    "mxminifloat_e2m1_ieee_rz": (257, 257),
    "mxminifloat_e2m1_ieee_ru": (3328, 2705),
    "mxminifloat_e2m1_ieee_rd": (3247, 2666),
    "mxminifloat_e1m2_ieee_rn": (2901, 2901),
    "mxminifloat_e1m2_ieee_rz": (601, 601),
    "mxminifloat_e1m2_ieee_ru": (3499, 2876),
    "mxminifloat_e5m10_ieee_rn": (1412, 1412),
    "mxminifloat_e5m10_ieee_rz": (270, 270),
    "mxminifloat_e5m10_ieee_ru": (3044, 2421),
    "mxminifloat_e5m10_ieee_rd": (2916, 2335),
}

#: tag -> for each kind of input: normal, wide, pow2, ties, zeroblocks, allzero, tiny, huge; others differ nowhere
BLOCKS = {
    # Exponents come of a float logarithm, which is wrong beside powers of two; |x| <= 1e-8 is left as it is.
    "block_fp_w8e8_b16_skip1": (0, 0, 349, 0, 0, 0, 1707, 0),
    "block_fp_w4e8_b16_skip1": (0, 0, 320, 0, 0, 0, 1707, 0),
    "block_fp_w8e8_b1x16_skip0": (0, 0, 349, 0, 0, 0, 1707, 0),
    "block_fp_w8e8_b4x4_skip0": (0, 0, 64, 0, 0, 0, 1707, 0),
    "block_fp_w12e8_b16_skip1": (0, 0, 418, 0, 0, 0, 1707, 0),
    # The shared bias has the wrong sign: the larger the largest, the smaller the range.
    "block_minifloat_w8e4bw8_b16_skip1": (1044, 833, 1401, 246, 570, 0, 1695, 1792),
    "block_minifloat_w8e4bw4_b16_skip1": (1044, 598, 1396, 246, 570, 0, 1707, 1792),
    "block_minifloat_w8e4bw8_b4x4_skip0": (1062, 866, 1063, 238, 594, 0, 1707, 1792),
    # The bias is not below 0: what is larger than 2**(2**(width - 1) - 1) saturates; the offset of logarithms.
    "block_log_w4bw8_b16_skip1": (12, 1406, 408, 0, 9, 0, 583, 1792),
    # As block_fp, but for small numbers.
    "mxint_el8_b32_dim-1": (0, 0, 193, 0, 0, 0, 0, 0),
    "mxint_el8_b32_dim0": (0, 0, 6, 0, 0, 0, 0, 0),
    "mxint_el4_b32_dim-1": (0, 0, 147, 0, 0, 0, 0, 0),
    "mxint_el8_b16_dim-1": (0, 0, 316, 0, 0, 0, 0, 0),
    "mxint_el8_b16_dim0": (0, 0, 6, 0, 0, 0, 0, 0),
    "mxint_el2_b16_dim-1": (0, 0, 303, 0, 0, 0, 0, 0),
    "mxint_el2_b16_dim0": (0, 0, 3, 0, 0, 0, 0, 0),
    # Elements as those of mxminifloat; E4M3's 480 and E5M2's largest exponent are numbers.
    "mxfp_e4m3_b32": (47, 286, 198, 116, 30, 0, 331, 49),
    "mxfp_e4m3_b16": (55, 301, 119, 135, 31, 0, 333, 62),
    "mxfp_e5m2_b32": (75, 80, 197, 113, 40, 0, 448, 83),
    "mxfp_e5m2_b16": (81, 80, 194, 120, 40, 0, 449, 85),
    "mxfp_e2m3_b32": (393, 251, 450, 223, 182, 0, 292, 394),
    "mxfp_e2m3_b16": (351, 254, 667, 204, 171, 0, 266, 333),
    "mxfp_e3m2_b32": (92, 203, 201, 118, 55, 0, 210, 103),
    "mxfp_e2m1_b32": (491, 144, 466, 389, 211, 0, 259, 475),
    "mxfp_e2m1_b16": (442, 147, 846, 400, 210, 0, 234, 433),
    "mxfp_e1m2_b32": (1100, 158, 695, 803, 515, 0, 538, 1042),
    "triton_MXFP8_E4M3_fn": (47, 286, 198, 116, 30, 0, 331, 49),
    "triton_MXFP8_E5M2_fn": (75, 80, 197, 113, 40, 0, 448, 83),
    "triton_OCP_MXFP6_E2M3": (393, 251, 450, 223, 182, 0, 292, 394),
    "triton_OCP_MXFP4_E2M1": (491, 144, 466, 389, 211, 0, 259, 475),
}

#: the same of MASE's mxint against the rule of OCP: that is what ceil makes of a largest that is a power of two
AGAINST_OCP = {
    "mxint_el8_b32_dim-1": (0, 0, 390, 160, 0, 0, 0, 0),
    "mxint_el8_b32_dim0": (0, 0, 24, 164, 0, 0, 0, 0),
    "mxint_el4_b32_dim-1": (0, 0, 330, 160, 0, 0, 0, 0),
    "mxint_el8_b16_dim-1": (0, 0, 579, 82, 0, 0, 0, 0),
    "mxint_el8_b16_dim0": (0, 0, 17, 106, 0, 0, 0, 0),
    "mxint_el2_b16_dim-1": (0, 0, 560, 97, 0, 0, 0, 0),
    "mxint_el2_b16_dim0": (0, 0, 4, 118, 0, 0, 0, 0),
}

#: scales of mase-triton, for each kind: the logarithm again; and E5M2's largest exponent is taken for a number's
TRITON_SCALES = {
    "triton_MXFP8_E4M3_fn": (0, 0, 13, 0, 0, 0, 0, 0),
    "triton_MXFP8_E5M2_fn": (56, 56, 43, 56, 43, 0, 12, 56),
    "triton_OCP_MXFP6_E2M3": (0, 0, 13, 0, 0, 0, 0, 0),
    "triton_OCP_MXFP4_E2M1": (0, 0, 13, 0, 0, 0, 0, 0),
}

#: the kernel of mase-cuda against the numbers, in 154 scales: under 0 it loses the leading one, -128 becomes 0 under
#: all, and under 255 two integers are no NaN
KERNEL = 409

#: mxint_hardware against its own formula, in pow2 alone
HARDWARE = {"mxint_hardware_w8e8_p1x16": 256, "mxint_hardware_w8e4_p1x16": 104, "mxint_hardware_w4e4_p4x4": 71}


@dataclass(frozen=True)
class Recorded:
    """One number of the recorded inputs that comes out wrong."""

    tag: str
    kind: str  #: of the input; empty where numbers stand by themselves
    amax: float | None  #: the largest magnitude of its block
    x: float
    got: float
    right: float
    why: str

    def __str__(self) -> str:
        return f"{self.tag} {self.kind} {self.x.hex()}"


_CLAMPED = "the significand is clamped where it should carry"
_LEFT = "1e-8 and below is left as it is"
_POWERS = "a power of two becomes the number below it"
_OFFSET = "the offset that is to keep log2 from 0 moves the borders"
_SIGN = "the same makes what is small positive"
_OR = "the carry is joined to the exponent with OR, and lost where that is odd"
_CUT = "the low bits are dropped before the rounding"
_MAGNITUDE = "up and down go by the magnitude"
_NUMBERS = "NaN and Inf are numbers"
_LOG2 = "log2 in float32 is 7 for the number behind 2^7"
_INVERTED = "the shared bias has the wrong sign: the larger the largest, the smaller the range"
_NO_BIAS = "the bias is not below 0"
_TOP = "E4M3's code of NaN is a number, 480"
_VANISHES = "a subnormal float32 becomes 0"

# tag, kind, the largest of the block, x, got, right, why
_RECORDED = (
    ("minifloat_ieee_w8e4bNone", "", "", "0x1.fp+0", "0x1.ep+0", "0x1p+1", _CLAMPED),
    ("minifloat_ieee_w8e4bNone", "", "", "0x1.fffffep-1", "0x1.ep-1", "0x1p+0", _CLAMPED),
    ("minifloat_ieee_w8e4bNone", "", "", "0x1.5d2ap-30", "0x1.5d2ap-30", "0x0p+0", _LEFT),
    ("minifloat_denorm_w8e4bNone", "", "", "0x1p+0", "0x1.cp-1", "0x1p+0", _POWERS),
    ("minifloat_denorm_w8e4bNone", "", "", "0x1.ep+0", "0x1.cp+0", "0x1p+1", _CLAMPED),
    ("log_w4bNone", "", "", "0x1.68p+0", "0x1p+1", "0x1p+0", _OFFSET),
    ("log_w8bNone", "", "", "-0x1p-70", "0x1p-63", "-0x1p-63", _SIGN),
    ("mxminifloat_e4m3_fn_rn", "", "", "0x1.fp+0", "0x1p+0", "0x1p+1", _OR),
    ("mxminifloat_e2m1_fn_rn", "", "", "0x1.cp+0", "0x1p+0", "0x1p+1", _OR),
    ("mxminifloat_e4m3_fn_rn", "", "", "0x1.500002p+0", "0x1.4p+0", "0x1.6p+0", _CUT),
    ("mxminifloat_e4m3_fn_ru", "", "", "-0x1.040002p+0", "-0x1.2p+0", "-0x1p+0", _MAGNITUDE),
    ("mxminifloat_e4m3_ieee_rn", "", "", "inf", "0x1p+7", "inf", _NUMBERS),
    ("mxminifloat_e4m3_ieee_rn", "", "", "nan", "0x1.ep+7", "nan", _NUMBERS),
    ("block_fp_w8e8_b16_skip1", "pow2", "0x1.000002p+7", "0x1.5fadd2p+3", "0x1.6p+3", "0x1.4p+3", _LOG2),
    ("block_fp_w8e8_b16_skip1", "tiny", "0x1.17389p-110", "0x1.17389p-110", "0x1.17389p-110", "0x1.18p-110", _LEFT),
    ("mxint_el8_b32_dim-1", "pow2", "0x1.000002p+7", "0x1.5fadd2p+3", "0x1.6p+3", "0x1.4p+3", _LOG2),
    (
        "block_minifloat_w8e4bw8_b16_skip1",
        "huge",
        "0x1.af9da6p+120",
        "0x1.0c062cp+120",
        "0x1.ep-105",
        "0x1p+120",
        _INVERTED,
    ),
    (
        "block_minifloat_w8e4bw8_b16_skip1",
        "normal",
        "0x1.83f7fep+0",
        "0x1.274cf2p+0",
        "0x1.4p+0",
        "0x1.2p+0",
        _INVERTED,
    ),
    ("block_log_w4bw8_b16_skip1", "pow2", "0x1p+5", "0x1.69a5bep+0", "0x1p+1", "0x1p+0", _OFFSET),
    ("block_log_w4bw8_b16_skip1", "huge", "0x1.af9da6p+120", "0x1.0c062cp+120", "0x1p+7", "0x1p+120", _NO_BIAS),
    ("mxfp_e4m3_b32", "ties", "0x1.02p+2", "0x1.fp+0", "0x1p+0", "0x1p+1", _OR),
    ("mxfp_e2m1_b32", "ties", "0x1.02p+2", "0x1.cp+0", "0x1p+0", "0x1p+1", _OR),
    ("mxfp_e4m3_b32", "normal", "0x1.ee45cep+0", "0x1.ee45cep+0", "0x1.ep+0", "0x1.cp+0", _TOP),
    ("mxfp_e4m3_b32", "tiny", "0x1.33692p-130", "0x1.33692p-130", "0x0p+0", "0x1.4p-130", _VANISHES),
    ("triton_MXFP8_E4M3_fn", "normal", "0x1.ee45cep+0", "0x1.ee45cep+0", "0x1.ep+0", "0x1.cp+0", _TOP),
    ("triton_OCP_MXFP4_E2M1", "ties", "0x1.02p+2", "0x1.cp+0", "0x1p+0", "0x1p+1", _OR),
)

RECORDED = tuple(
    Recorded(tag, kind, float.fromhex(amax) if amax else None, *map(float.fromhex, numbers), why)
    for tag, kind, amax, *numbers, why in _RECORDED
)
