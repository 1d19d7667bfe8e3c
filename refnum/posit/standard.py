"""What the Posit Standard (2022) asks for, function by function, and what each is called here.

Its section 6.2, conversions between posits and quires, is `pToQ` and `qToP` of 5.11.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NAME = "Posit Standard (2022)"
ES = 2  #: the exponent size that it fixes; others are refnum's extension


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the standard."""

    section: str
    name: str  #: the standard's name; section 6 has none, so there it is what is converted to what
    public: str  #: refnum's, without ``refnum.``
    choices: Mapping[str, object] = field(default_factory=dict)  #: options that the standard fixes and refnum offers

    @property
    def row(self) -> str:
        """Its row in the conformance suite, which is also what a target calls it.

        >>> Function("5.4", "addition", "posit.add").row, Function("5.11", "qAbs", "Quire.abs").row
        ('add', 'quire_abs')
        """
        return self.public.removeprefix("posit.").replace("Quire.", "quire_")


SECTIONS: Mapping[str, str] = {
    "5.2": "Basic functions of one posit",
    "5.3": "Comparisons of two posits",
    "5.4": "Arithmetic of two posits",
    "5.5": "Elementary functions of one posit",
    "5.6": "Elementary functions of two posits",
    "5.7": "Functions of three posits",
    "5.8": "Functions of a posit and an integer",
    "5.11": "Functions of quires",
    "6.1": "Conversions between posit formats",
    "6.3": "Conversions between posits and decimal text",
    "6.4": "Conversions between posits and integers",
    "6.5": "Conversions between posits and IEEE 754 floats",
}

FUNCTIONS = (
    Function("5.2", "negate", "posit.negate"),
    Function("5.2", "abs", "posit.abs"),
    Function("5.2", "sign", "posit.sign"),
    Function("5.2", "nearestInt", "posit.nearest_int"),
    Function("5.2", "ceil", "posit.ceil"),
    Function("5.2", "floor", "posit.floor"),
    Function("5.2", "next", "posit.next"),
    Function("5.2", "prior", "posit.prior"),
    Function("5.3", "compareEqual", "posit.compare_equal"),
    Function("5.3", "compareNotEqual", "posit.compare_not_equal"),
    Function("5.3", "compareGreater", "posit.compare_greater"),
    Function("5.3", "compareGreaterEqual", "posit.compare_greater_equal"),
    Function("5.3", "compareLess", "posit.compare_less"),
    Function("5.3", "compareLessEqual", "posit.compare_less_equal"),
    Function("5.4", "addition", "posit.add"),
    Function("5.4", "subtraction", "posit.sub"),
    Function("5.4", "multiplication", "posit.mul"),
    Function("5.4", "division", "posit.div"),
    Function("5.5", "sqrt", "posit.sqrt"),
    Function("5.5", "rSqrt", "posit.r_sqrt"),
    Function("5.5", "exp", "posit.exp"),
    Function("5.5", "expMinus1", "posit.exp_minus1"),
    Function("5.5", "exp2", "posit.exp2"),
    Function("5.5", "exp2Minus1", "posit.exp2_minus1"),
    Function("5.5", "exp10", "posit.exp10"),
    Function("5.5", "exp10Minus1", "posit.exp10_minus1"),
    Function("5.5", "log", "posit.log"),
    Function("5.5", "logPlus1", "posit.log_plus1"),
    Function("5.5", "log2", "posit.log2"),
    Function("5.5", "log2Plus1", "posit.log2_plus1"),
    Function("5.5", "log10", "posit.log10"),
    Function("5.5", "log10Plus1", "posit.log10_plus1"),
    Function("5.5", "sin", "posit.sin"),
    Function("5.5", "sinPi", "posit.sin_pi"),
    Function("5.5", "cos", "posit.cos"),
    Function("5.5", "cosPi", "posit.cos_pi"),
    Function("5.5", "tan", "posit.tan"),
    Function("5.5", "tanPi", "posit.tan_pi"),
    Function("5.5", "arcSin", "posit.arc_sin"),
    Function("5.5", "arcSinPi", "posit.arc_sin_pi"),
    Function("5.5", "arcCos", "posit.arc_cos"),
    Function("5.5", "arcCosPi", "posit.arc_cos_pi"),
    Function("5.5", "arcTan", "posit.arc_tan"),
    Function("5.5", "arcTanPi", "posit.arc_tan_pi"),
    Function("5.5", "sinH", "posit.sin_h"),
    Function("5.5", "cosH", "posit.cos_h"),
    Function("5.5", "tanH", "posit.tan_h"),
    Function("5.5", "arcSinH", "posit.arc_sin_h"),
    Function("5.5", "arcCosH", "posit.arc_cos_h"),
    Function("5.5", "arcTanH", "posit.arc_tan_h"),
    Function("5.6", "hypot", "posit.hypot"),
    Function("5.6", "pow", "posit.pow"),
    Function("5.6", "arcTan2", "posit.arc_tan2"),
    Function("5.6", "arcTan2Pi", "posit.arc_tan2_pi"),
    Function("5.7", "fMM", "posit.fmm"),
    Function("5.8", "compound", "posit.compound"),
    Function("5.8", "rootN", "posit.root_n"),
    Function("5.11", "pToQ", "Quire.from_posit"),
    Function("5.11", "qNegate", "Quire.negate"),
    Function("5.11", "qAbs", "Quire.abs"),
    Function("5.11", "qAddP", "Quire.add_posit"),
    Function("5.11", "qSubP", "Quire.sub_posit"),
    Function("5.11", "qAddQ", "Quire.add"),
    Function("5.11", "qSubQ", "Quire.sub"),
    Function("5.11", "qMulAdd", "Quire.mul_add"),
    Function("5.11", "qMulSub", "Quire.mul_sub"),
    Function("5.11", "qToP", "Quire.to_posit"),
    Function("6.1", "posit to posit", "posit.convert"),
    Function("6.3", "posit to decimal text", "posit.to_decimal"),
    Function("6.3", "decimal text to posit", "posit.from_decimal"),
    Function("6.4", "posit to integer", "posit.to_int"),
    Function("6.4", "integer to posit", "posit.from_int", {"sentinel": True}),
    Function("6.5", "posit to float", "posit.to_float"),
    Function("6.5", "float to posit", "encode", {"rounding": "nearest_even"}),
)
