"""Posits whose functions are those of double precision, rounded once more: a target of refnum's conformance suite."""

import numpy as np
import torch

import refnum

__version__ = f"numpy {np.__version__}"


def has(row, n, es, **options):
    """Tell the suite what to ask for: a double holds every posit of at most 32 bits."""
    return n <= 32


def through_doubles(function):
    """Patterns to doubles, the function, doubles to patterns."""

    def row(*patterns, n, es):
        fmt = refnum.Posit(n, es)
        with np.errstate(all="ignore"):
            values = function(*(refnum.decode(torch.from_numpy(x), fmt).numpy() for x in patterns))
        return refnum.encode(torch.from_numpy(values), fmt).numpy()

    return row


add, sub, mul, div = map(through_doubles, (np.add, np.subtract, np.multiply, np.divide))
sqrt, exp, exp_minus1, exp2 = map(through_doubles, (np.sqrt, np.exp, np.expm1, np.exp2))
log, log_plus1, log2, log10 = map(through_doubles, (np.log, np.log1p, np.log2, np.log10))
sin, cos, tan = map(through_doubles, (np.sin, np.cos, np.tan))
arc_sin, arc_cos, arc_tan = map(through_doubles, (np.arcsin, np.arccos, np.arctan))
sin_h, cos_h, tan_h = map(through_doubles, (np.sinh, np.cosh, np.tanh))
arc_sin_h, arc_cos_h, arc_tan_h = map(through_doubles, (np.arcsinh, np.arccosh, np.arctanh))
hypot, pow = map(through_doubles, (np.hypot, np.power))
arc_tan2 = through_doubles(lambda real, imaginary: np.arctan2(imaginary, real))
fmm = through_doubles(lambda a, b, c: a * b * c)
